"""The options --set, --device and --workers: other values than params.yaml's, for one command."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

import click

from pipeline.core.machine import JOBS_VARIABLE
from stages.shared.nearest import nearest

F = TypeVar("F", bound=Callable[..., Any])
Settings = Sequence[tuple[str, Any]]  # dotted key, value

_MACHINE = "machine."
_settings: ContextVar[Settings] = ContextVar("settings", default=())


def setting_options(function: F) -> F:
    """Add --set, --device and --workers; `stages.shared.options.load_params` then reads their values."""

    @click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Another value than params.yaml's, for this command: training.epochs=2. Repeatable.",
    )
    @click.option("--device", help="In place of machine.device: auto, cpu, cuda or cuda:N.")
    @click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Networks that train at the same time.  [default: machine.workers; on a GPU, what fits]",
    )
    @functools.wraps(function)
    def command(
        *args: Any,
        assignments: tuple[str, ...],
        device: str | None,
        workers: int | None,
        **others: Any,
    ) -> Any:
        given = [parsed(text) for text in assignments]
        if [key for key, _ in given if not key.startswith(_MACHINE)]:
            click.echo(
                "--set: results are not those of params.yaml; `dvc repro` makes these", err=True
            )
        if device is not None:
            given.append(("machine.device", device))
        with applied(given, workers):
            return function(*args, **others)

    return command  # type: ignore[return-value]


def parsed(text: str) -> tuple[str, Any]:
    """Key and value of `KEY=VALUE`; the value is YAML. Raises click.UsageError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.UsageError(f"--set {text}: expected KEY=VALUE, as training.epochs=2")
    try:
        return key, YAML(typ="safe", pure=True).load(value)
    except (YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise click.UsageError(f"--set {text}: the value is not YAML ({reason})") from None


@contextlib.contextmanager
def applied(settings: Settings, workers: int | None) -> Iterator[None]:
    """Inside, parameter files are read with these values, and so many networks train at a time."""
    before = os.environ.get(JOBS_VARIABLE)
    token = _settings.set(settings)
    try:
        if workers is not None:
            os.environ[JOBS_VARIABLE] = str(workers)
        yield
    finally:
        _settings.reset(token)
        if workers is not None:
            del os.environ[JOBS_VARIABLE]
            if before is not None:
                os.environ[JOBS_VARIABLE] = before


def with_settings(content: dict[str, Any]) -> dict[str, Any]:
    """A parameter file's content with the values that were given on the command line.

    Raises click.UsageError, with the nearest name, for a key that lies in no mapping.
    """
    for key, value in _settings.get():
        content = changed(content, key.split("."), value, key)
    return content


def changed(
    content: Mapping[str, Any], path: Sequence[str], value: Any, key: str
) -> dict[str, Any]:
    """A copy of nested mappings with one value changed; its last key may be new."""
    name, *rest = path
    if not rest:
        return {**content, name: value}
    below = content.get(name)
    if not isinstance(below, Mapping):
        near = nearest(name, map(str, content))
        hint = f"; did you mean {near}?" if near and near != name else ""
        raise click.UsageError(f"--set {key}: there is no mapping {name}{hint}")
    return {**content, name: changed(below, rest, value, key)}
