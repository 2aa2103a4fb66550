"""Strict parameters: YAML or JSON becomes a frozen model, or a list of everything that is wrong.

Each module declares the models of its own section with `checked`; pydantic checks them and gives their JSON
schema. This module reads files, and tells mistakes in the schema's own terms: the key's path, what is allowed
there, what was found, and the nearest name.
"""

import difflib
import functools
import json
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import field, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.core.errors import DecantError

T = TypeVar("T")

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
KEY_PATTERN = r"[a-z0-9][a-z0-9_-]{0,99}"  # what manifests take for a name, in lower case
MOST_SEED = 2**63 - 1
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Fraction = Annotated[float, Field(ge=0, le=1)]

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 120
# A YAML alias repeats a value in a few bytes, and an alias to aliases does so without end.
_MOST_VALUES = 10**6


class ParamsError(DecantError):
    """Parameters that cannot be used; `problems` holds one line for each mistake."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field, Field))
def checked(cls: type[T]) -> type[T]:
    """A frozen dataclass whose fields are checked whenever one is read (`read`) or made.

    Making one raises ParamsError with every problem.
    """
    model = dataclass(frozen=True, kw_only=True, config=STRICT)(cls)
    make = model.__init__

    @functools.wraps(make)
    def explained(self: Any, **values: Any) -> None:
        try:
            make(self, **values)
        except ValidationError as error:
            schema = TypeAdapter(model).json_schema()
            raise ParamsError(told(error, schema, model.__name__)) from None

    model.__init__ = explained  # type: ignore[method-assign]
    return cast(type[T], model)


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
    return cast(T, result)


def read(cls: Any, value: Any, where: str, problems: list[str]) -> Any:
    """Turn what YAML or JSON gave into a model or another type, appending what is wrong to `problems`.

    A list becomes a tuple where one is asked for and a whole number a float; nothing else is converted.
    Returns None where there was a problem.
    """
    try:
        text = json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError) as error:  # a key that is a list, 5,000 digits
        problems.append(f"{where}: cannot be read ({error})")
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(cls, config=None if is_dataclass(cls) else STRICT)
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        problems += told(error, adapter.json_schema(), where)
        return None


def told(error: ValidationError, schema: Mapping[str, Any], where: str) -> list[str]:
    """What pydantic found wrong, a line for each place; `schema` is the model's, `where` its own path."""
    lines: dict[str, str] = {}
    for line in error.errors(include_url=False):
        path, text = _problem(line, schema)
        lines.setdefault(path, f"{where}{path}: {text}")
    return list(lines.values())


def _problem(line: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[str, str]:
    kind, loc, value = line["type"], line["loc"], line["input"]
    path, allowed = _place(schema, loc)
    if kind == "unexpected_keyword_argument":
        path, parent = _place(schema, loc[:-1])
        return f"{path}.{loc[-1]}", _unknown(str(loc[-1]), _member(parent, "object")["properties"])
    if kind == "missing" and isinstance(value, list):
        path, parent = _place(schema, loc[:-1])
        return path, f"expected {_member(parent, 'array')['minItems']} values, found {len(value)}"
    if kind == "missing":
        return path, f"missing; expected {_words(allowed)}"
    if kind == "value_error":
        return path, str(line["ctx"]["error"])
    if kind == "too_long":
        return path, f"expected {line['ctx']['max_length']} values, found {len(value)}"
    if kind == "json_invalid":
        return path, f"not JSON ({line['msg']})"
    return path, f"expected {_words(allowed)}, found {_found(value)}"


def _place(schema: Mapping[str, Any], loc: Iterable[str | int]) -> tuple[str, dict[str, Any]]:
    """The path of a place, and its schema; pydantic's own words for members of unions are left out."""
    definitions: Mapping[str, dict[str, Any]] = schema.get("$defs", {})
    path, node = "", _resolved(schema, definitions)
    for key in loc:
        below = _child(node, key)
        if below is not None:
            path += f"[{key}]" if isinstance(key, int) else f".{key}"
            node = _resolved(below, definitions)
    return path, node


def _resolved(schema: Any, definitions: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A schema with those that it is made of in their places, but not those of what it holds."""
    node: dict[str, Any] = dict(schema) if isinstance(schema, Mapping) else {}
    if "$ref" in node:
        node = {**definitions[node["$ref"].rpartition("/")[2]], **node}
    if "anyOf" in node:
        node["anyOf"] = [_resolved(member, definitions) for member in node["anyOf"]]
    return node


def _child(node: Mapping[str, Any], key: str | int) -> Any:
    for member in node.get("anyOf", (node,)):
        if isinstance(key, int) and member.get("type") == "array":
            prefix = member.get("prefixItems", ())
            return prefix[key] if key < len(prefix) else member.get("items")
        if key in member.get("properties", {}):
            return member["properties"][key]
        if "additionalProperties" in member and member["additionalProperties"] is not False:
            return member["additionalProperties"]
    return None


def _member(node: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """A schema's own part for one type, beside null and others."""
    members: Iterable[Mapping[str, Any]] = node.get("anyOf", (node,))
    return next(member for member in members if member.get("type") == kind)


def describe(cls: Any) -> str:
    """What a type allows, in words."""
    return _words(_place(TypeAdapter(cls).json_schema(), ())[1])


_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "object": "a mapping",
    "null": "null",
}


def _words(node: Mapping[str, Any]) -> str:
    """What a schema allows, in words."""
    if "anyOf" in node:
        return " or ".join(map(_words, node["anyOf"]))
    if "enum" in node or "const" in node:
        return "one of " + ", ".join(map(str, node.get("enum") or [node["const"]]))
    if node.get("type") == "array":
        return f"a list of {_words((node.get('prefixItems') or [node['items']])[0])}"
    words = _WORDS.get("object" if "$ref" in node else node.get("type", ""), "a value")
    words += _bounds(node)
    if (
        "pattern" in node or "title" not in node
    ):  # fields and models have titles, and long descriptions
        more = node.get("description", node.get("pattern"))
        words += f" ({more})" if more else ""
    return words


def _bounds(node: Mapping[str, Any]) -> str:
    if "minimum" in node and "maximum" in node:
        return f" between {node['minimum']:g} and {node['maximum']:g}"
    words = {"minimum": "at least", "exclusiveMinimum": "above"}
    words |= {"maximum": "at most", "exclusiveMaximum": "below"}
    bounds = [f"{text} {node[key]:g}" for key, text in words.items() if key in node]
    return f" {' and '.join(bounds)}" if bounds else ""


def check_names(names: Iterable[Any], where: str) -> list[str]:
    """Problems of a section's keys: DVC and the file system want them plain and in lower case."""
    return [
        f"{where}.{name}: names consist of a-z, 0-9, _ and -, the first a letter or digit, 100 at most; mend "
        "the key"
        for name in names
        if not (isinstance(name, str) and re.fullmatch(KEY_PATTERN, name))
    ]


def check_seeds(seed: int, replicates: int) -> None:
    """Raise ValueError where replicates, of which number r has seed + r, have seeds beyond `MOST_SEED`."""
    last = seed + replicates - 1
    if last > MOST_SEED:
        raise ValueError(
            f"seed: the last replicate would have {last}, and {MOST_SEED} is the largest seed"
        )


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


def _unknown(key: str, valid: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(valid), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown key; {hint}valid keys: {', '.join(valid)}"


def _absent(value: Any, parents: tuple[str, ...], key: str) -> str:
    where = ".".join([*parents, key])
    if not isinstance(value, Mapping):
        return f"{where}: missing; {'.'.join(parents) or 'the file'} holds no mapping"
    names = ", ".join(map(str, value)) or "none"
    close = difflib.get_close_matches(key, list(map(str, value)), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{where}: missing; {hint}valid names here: {names}"
