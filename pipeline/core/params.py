"""Strict parameters: a YAML mapping becomes a frozen dataclass, or a list of everything that is wrong.

Each module declares the dataclass of its own section; this one turns mappings into them. Unknown keys,
missing keys, wrong types and impossible values are all collected, each with the key's path, what is
allowed and what was found, so that a user mends a file in one go.
"""

import dataclasses
import difflib
import math
import re
import reprlib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.core.errors import DecantError

T = TypeVar("T")

KEY_PATTERN = re.compile(r"[a-z0-9_-]+")


class ParamsError(DecantError):
    """Parameters that cannot be used; `problems` holds one line for each mistake."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[Any, ...]:  # it may cross from one process to another
        return type(self), (self.problems,)


@dataclass(frozen=True)
class AtLeast:
    """Constraint of an annotated number: value >= low."""

    low: float

    def __str__(self) -> str:
        return f"at least {self.low:g}"

    def allows(self, value: float) -> bool:
        """Whether the value obeys the constraint."""
        return value >= self.low


@dataclass(frozen=True)
class Above:
    """Constraint of an annotated number: value > low."""

    low: float

    def __str__(self) -> str:
        return f"above {self.low:g}"

    def allows(self, value: float) -> bool:
        """Whether the value obeys the constraint."""
        return value > self.low


@dataclass(frozen=True)
class Between:
    """Constraint of an annotated number: low <= value <= high."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"between {self.low:g} and {self.high:g}"

    def allows(self, value: float) -> bool:
        """Whether the value obeys the constraint."""
        return self.low <= value <= self.high


Seed = Annotated[int, Between(0, 2**63 - 1)]
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 120
# A YAML alias repeats a value in a few bytes, and an alias to aliases does so without end.
_MOST_VALUES = 10**6


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a parameter file (YAML 1.2, so that 5e-4 is a number) as a mapping.

    Raises ParamsError where the file is absent, not YAML or not a mapping.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError([f"{path}: no such file (`decant use PROFILE` writes one)"]) from None
    except OSError as error:
        raise ParamsError([f"{path}: cannot be read ({error.strerror})"]) from None
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: e.g. a 13th month
        raise ParamsError([f"{path}: not valid YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(content, dict):
        raise ParamsError([f"{path}: expected a mapping of sections, found {_found(content)}"])
    if _count(content) > _MOST_VALUES:
        raise ParamsError([f"{path}: holds more than {_MOST_VALUES:,} values, aliases counted"])
    return content


def _count(content: Any) -> int:
    """How many values there are in YAML, as often as they are named; stops where they are too many."""
    counted, waiting = 0, [content]
    while waiting and counted <= _MOST_VALUES:
        value = waiting.pop()
        counted += 1
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return counted


def section(content: Mapping[str, Any], cls: type[T], *keys: str) -> T:
    """Read the type at a path of keys, e.g. `section(content, Training, "training")`.

    Raises ParamsError listing every problem below that path, and the valid names where a key of the
    path is absent.
    """
    value: Any = content
    for depth, key in enumerate(keys):
        if not isinstance(value, Mapping) or key not in value:
            raise ParamsError([_absent(value, keys[:depth], key)])
        value = value[key]
    problems: list[str] = []
    result = read(cls, value, ".".join(keys), problems)
    if problems:
        raise ParamsError(problems)
    return typing.cast(T, result)


def read(cls: Any, value: Any, where: str, problems: list[str]) -> Any:
    """Turn a YAML value into the annotated type, appending what is wrong to `problems`.

    Understands dataclasses, Annotated numbers, Literal, optional and union types, tuples, lists,
    dictionaries with string keys, and the plain types. Returns None where there was a problem.
    """
    origin = typing.get_origin(cls)
    if dataclasses.is_dataclass(cls) and isinstance(cls, type):
        return _read_dataclass(cls, value, where, problems)
    if origin is typing.Annotated:
        return _read_annotated(cls, value, where, problems)
    if origin is typing.Literal:
        return _read_literal(cls, value, where, problems)
    if origin in (typing.Union, types.UnionType):
        return _read_union(cls, value, where, problems)
    if origin in (tuple, list):
        return _read_sequence(cls, origin, value, where, problems)
    if origin in (dict, Mapping):
        return _read_mapping(cls, value, where, problems)
    return _read_plain(cls, value, where, problems)


def _read_dataclass(cls: type, value: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(value, Mapping):
        problems.append(f"{where}: expected a mapping, found {_found(value)}")
        return None
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    before = len(problems)
    for key in value:
        if key not in fields:
            problems.append(_unknown(f"{where}.{key}", str(key), fields))
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = read(hints[name], value[name], f"{where}.{name}", problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"{where}.{name}: missing; expected {describe(hints[name])}")
    if len(problems) > before:
        return None
    try:
        return cls(**arguments)
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return None


def _read_annotated(cls: Any, value: Any, where: str, problems: list[str]) -> Any:
    base, *constraints = typing.get_args(cls)
    wrong_type: list[str] = []
    result = read(base, value, where, wrong_type)
    if wrong_type or not all(constraint.allows(result) for constraint in constraints):
        problems.append(f"{where}: expected {describe(cls)}, found {_found(value)}")
        return None
    return result


def _read_literal(cls: Any, value: Any, where: str, problems: list[str]) -> Any:
    choices = typing.get_args(cls)
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    problems.append(f"{where}: expected {describe(cls)}, found {_found(value)}")
    return None


def _read_union(cls: Any, value: Any, where: str, problems: list[str]) -> Any:
    members = typing.get_args(cls)
    if value is None and type(None) in members:
        return None
    rest = [member for member in members if member is not type(None)]
    if len(rest) == 1:
        return read(rest[0], value, where, problems)
    for member in rest:
        attempt: list[str] = []
        result = read(member, value, where, attempt)
        if not attempt:
            return result
    problems.append(f"{where}: expected {describe(cls)}, found {_found(value)}")
    return None


def _read_sequence(cls: Any, origin: Any, value: Any, where: str, problems: list[str]) -> Any:
    arguments = typing.get_args(cls)
    if not isinstance(value, list):
        problems.append(f"{where}: expected {describe(cls)}, found {_found(value)}")
        return None
    if origin is tuple and arguments[-1] is not Ellipsis and len(value) != len(arguments):
        problems.append(f"{where}: expected {len(arguments)} values, found {len(value)}")
        return None
    fixed = origin is tuple and arguments[-1] is not Ellipsis
    hints = arguments if fixed else (arguments[0],) * len(value)
    items = [
        read(hint, item, f"{where}[{index}]", problems)
        for index, (hint, item) in enumerate(zip(hints, value, strict=True))
    ]
    return origin(items)


def _read_mapping(cls: Any, value: Any, where: str, problems: list[str]) -> Any:
    _, hint = typing.get_args(cls)
    if not isinstance(value, Mapping):
        problems.append(f"{where}: expected a mapping, found {_found(value)}")
        return None
    return {str(key): read(hint, item, f"{where}.{key}", problems) for key, item in value.items()}


def _read_plain(cls: Any, value: Any, where: str, problems: list[str]) -> Any:
    if cls is Any:
        return value
    if cls is float and isinstance(value, int) and not isinstance(value, bool):
        value = _to_float(value)
    fits = isinstance(value, cls) and not (cls is not bool and isinstance(value, bool))
    if fits and (cls is not float or math.isfinite(value)):  # infinity is no parameter, nor is NaN
        return value
    problems.append(f"{where}: expected {describe(cls)}, found {_found(value)}")
    return None


def _to_float(value: int) -> float | int:
    try:
        return float(value)
    except OverflowError:
        return value


def check_names(names: Iterable[Any], where: str) -> list[str]:
    """Problems of a section's keys: DVC and the file system want them plain and in lower case."""
    return [
        f"{where}.{name}: names consist of a-z, 0-9, _ and -; mend the key"
        for name in names
        if not (isinstance(name, str) and KEY_PATTERN.fullmatch(name))
    ]


def describe(cls: Any) -> str:
    """What a type allows, in words."""
    origin = typing.get_origin(cls)
    if origin is typing.Annotated:
        base, *constraints = typing.get_args(cls)
        return " ".join([describe(base), *map(str, constraints)])
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(cls)))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(member) for member in typing.get_args(cls))
    if origin in (tuple, list):
        return f"a list of {describe(typing.get_args(cls)[0])}"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(cls):
        return "a mapping"
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return words.get(cls, "null" if cls is type(None) else str(getattr(cls, "__name__", cls)))


def _found(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = _SHORT.repr(value)
    except ValueError:  # a whole number of thousands of digits
        text = "..."
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _unknown(where: str, key: str, valid: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(valid), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{where}: unknown key; {hint}valid keys: {', '.join(valid)}"


def _absent(value: Any, parents: tuple[str, ...], key: str) -> str:
    where = ".".join([*parents, key])
    if not isinstance(value, Mapping):
        return f"{where}: missing; {'.'.join(parents) or 'the file'} holds no mapping"
    names = ", ".join(map(str, value)) or "none"
    return f"{where}: missing; valid names here: {names}"
