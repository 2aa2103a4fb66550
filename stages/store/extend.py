"""A number of views in; params.yaml changed in that one place, and the new views dumped, out."""

import re
from pathlib import Path
from typing import Any

import click
from ruamel.yaml import YAML

from pipeline.core.files import rewrite
from pipeline.core.params import ParamsError, load_yaml
from pipeline.store.format.address import PINNED
from pipeline.views.params import GROUPS
from stages.shared.completion import entries
from stages.shared.nearest import unknown
from stages.shared.options import stage_options
from stages.shared.tables import shown


@click.command()
@click.argument("store", type=click.Path(path_type=Path), shell_complete=entries("dumps"))
@click.option("--views", type=click.IntRange(min=1), required=True, help="Views to have then.")
@click.option(
    "--group",
    type=click.Choice(GROUPS),
    help="Extend this group alone.  [default: every group that is dumped]",
)
@click.option("--edit-only", is_flag=True, help="Change params.yaml, and dump later.")
@stage_options
def extend(store: Path, views: int, group: str | None, edit_only: bool, params_path: Path) -> None:
    """Raise the number of views of STORE in params.yaml, and dump the new ones.

    The views that are there stay byte for byte as they are. Comments and layout of params.yaml do
    too.
    """
    name = store.name.removesuffix(".zarr")
    content = load_yaml(params_path)
    groups = extended(content, name, views, group)
    students = readers(content, name, groups)
    text = params_path.read_bytes().decode("utf-8")
    for chosen in groups:
        text = with_views(text, name, chosen, views)
    rewrite(params_path, text.encode("utf-8"))
    for chosen in groups:
        before = content["dumps"][name][chosen]["views"]
        click.echo(f"{params_path}: dumps.{name}.{chosen}.views: {before} -> {views}")
    if students:
        click.echo(
            f"Students of {' and '.join(groups)} views will be trained again by the next "
            f"`dvc repro`: {', '.join(students)}"
        )
    target = f"dump@{name}"
    if edit_only:
        click.echo(f"To dump them: decant repro {target}")
        return
    from stages.dvc.reproduce import reproduce

    click.echo(f"Running decant repro {target}")
    reproduce(params_path, [target])


def extended(content: dict[str, Any], name: str, views: int, group: str | None) -> list[str]:
    """The groups that get more views. Raises ParamsError where that cannot be."""
    dumps = content.get("dumps") or {}
    if not isinstance(dumps, dict):
        raise ParamsError(["dumps: expected a mapping"])
    if name in (content.get(PINNED) or {}):
        raise ParamsError([f"{PINNED}.{name}: read in place; views are added where it is dumped"])
    if name not in dumps:
        raise ParamsError([unknown("store", shown(name), dumps)])
    dumped = [key for key in GROUPS if dumps[name].get(key) is not None]
    if group is not None and group not in dumped:
        problem = "is not dumped yet: write its entry into the parameter file first"
        raise ParamsError([f"dumps.{name}.{group}: {problem}"])
    chosen = dumped if group is None else [group]
    counts = {key: dumps[name][key].get("views") for key in chosen}
    if problems := [
        f"dumps.{name}.{key}.views: {count!r} is no number of views; mend the parameter file"
        for key, count in counts.items()
        if type(count) is not int
    ]:
        raise ParamsError(problems)
    more: list[str] = [key for key in chosen if counts[key] < views]
    if not more:
        there = ", ".join(f"{count} {key}" for key, count in counts.items())
        raise ParamsError(
            [
                f"{name} has {there} views: name more than that (to have fewer, edit the parameter "
                "file)"
            ]
        )
    return more


def with_views(text: str, name: str, group: str, views: int) -> str:
    """A parameter file with another number of views, and not a byte changed besides."""
    entry = YAML().load(text)["dumps"][name][group]
    line, column = entry.lc.value("views")
    lines = text.splitlines(keepends=True)
    changed = re.sub(r"^\d+", str(views), lines[line][column:])
    result = "".join([*lines[:line], lines[line][:column] + changed, *lines[line + 1 :]])
    expected = YAML(typ="safe", pure=True).load(text)
    expected["dumps"][name][group]["views"] = views
    if YAML(typ="safe", pure=True).load(result) != expected:  # an alias, or digits with underscores
        where = f"dumps.{name}.{group}.views"
        raise ParamsError([f"{where}: cannot be changed where it is written; edit it by hand"])
    return result


def readers(content: dict[str, Any], name: str, groups: list[str]) -> list[str]:
    """Students that read any of these groups of a store."""
    paths = {f"{name}.zarr", *(f"{name}.zarr/{group}" for group in groups)}
    students = content.get("students") or {}
    if wrong := [key for key, student in students.items() if not isinstance(student, dict)]:
        raise ParamsError([f"students.{key}: expected a mapping" for key in wrong])
    return [key for key, student in students.items() if student.get("store") in paths]
