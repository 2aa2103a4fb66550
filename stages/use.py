"""A profile in; params.yaml and what follows from it in dvc.yaml out.

That is the list of networks that `evaluate` depends on, and the files of the user's own losses, which
students depend on. DVC cannot interpolate a set of dependencies, so they are written out: run this
again, without a profile, after adding or removing a network or a loss of your own in params.yaml.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from ruamel.yaml import YAML

from pipeline.params import load_yaml
from stages.code import PACKAGES
from stages.common import console, stage_options

PROFILES = Path("profiles")
SECTIONS = ("teachers", "baselines", "students")


@click.command()
@click.argument("profile", required=False)
@click.option(
    "--dvc-file",
    type=click.Path(path_type=Path),
    default=Path("dvc.yaml"),
    show_default=True,
    help="The pipeline file that is brought up to date.",
)
@click.option("--force", is_flag=True, help="Replace a params.yaml with changes of your own.")
@stage_options
def use(profile: str | None, params_path: Path, dvc_file: Path, force: bool) -> None:
    """Make PROFILE (a name below profiles/, or a file) the project's params.yaml.

    Without PROFILE, only bring dvc.yaml up to date with params.yaml: the networks that the report is
    of, and the files of your own losses.
    """
    if profile is not None:
        source = find_profile(profile)
        load_yaml(source)
        if not force:
            check_replaceable(params_path, source)
        params_path.write_bytes(source.read_bytes())
        console.print(f"{params_path} is now {source}")
    bring_up_to_date(load_yaml(params_path), dvc_file)


def bring_up_to_date(content: dict[str, Any], dvc_file: Path) -> None:
    """Write into dvc.yaml what follows from a parameter file, and say so where that changes anything."""
    outputs, losses = training_outputs(content), loss_files(content)
    if write_deps(dvc_file, outputs, losses):
        own = f", students on {', '.join(losses)}" if losses else ""
        console.print(f"{dvc_file}: evaluate depends on {len(outputs)} trained networks{own}")


def check_replaceable(params_path: Path, source: Path) -> None:
    """Raise ValueError where params.yaml is neither a ready-made profile nor what will replace it."""
    if not params_path.exists():
        return
    known = {path.read_bytes() for path in (source, *PROFILES.glob("*.yaml"))}
    if params_path.read_bytes() not in known:
        raise ValueError(
            f"{params_path} has changes of your own, which {source} would replace: keep a copy (in "
            f"{PROFILES}/, say, under a name of its own), or give --force"
        )


def find_profile(name: str) -> Path:
    """The file of a profile. Raises ValueError listing the ready-made ones."""
    for candidate in (PROFILES / f"{name}.yaml", Path(name)):
        if candidate.is_file():
            return candidate
    names = ", ".join(sorted(path.stem for path in PROFILES.glob("*.yaml"))) or "none"
    raise ValueError(f"no profile {name}; ready-made ones: {names}")


def training_outputs(content: dict[str, Any]) -> list[str]:
    """Output folders of all training stages, in the order of params.yaml."""
    return [f"data/{part}/{name}" for part in SECTIONS for name in _entries(content, part)]


def loss_files(content: dict[str, Any]) -> list[str]:
    """The files of the methods' own losses, relative to the working folder; those outside are left out.

    A loss that cannot be found is left out too: `check` tells of it.
    """
    methods = [
        method for method in _entries(content, "methods").values() if isinstance(method, dict)
    ]
    paths = [path for method in methods if not (path := str(method.get("loss"))).isidentifier()]
    here, found = Path.cwd(), set()
    for path in paths:
        from pipeline.losses import own_source  # imports torch

        with suppress(ValueError):
            source = own_source(path)
            if source is not None and source.is_relative_to(here):
                found.add(source.relative_to(here).as_posix())
    return sorted(filter(_is_own_code, found))


def _entries(content: dict[str, Any], section: str) -> dict[str, Any]:
    found = content.get(section)
    return found if isinstance(found, dict) else {}


def write_deps(dvc_file: Path, outputs: list[str], losses: list[str]) -> bool:
    """Replace what depends on params.yaml among the deps of evaluate and of students.

    Returns whether anything changed.
    """
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(dvc_file.read_text(encoding="utf-8"))
    stages = content["stages"]
    networks = tuple(f"data/{part}/" for part in SECTIONS)
    evaluate, student = stages["evaluate"]["deps"], stages["train_student"]["do"]["deps"]
    changed = _replace(evaluate, lambda dep: dep.startswith(networks), outputs)
    changed |= _replace(student, _is_own_code, losses)
    if changed:
        with dvc_file.open("w", encoding="utf-8") as file:
            yaml.dump(content, file)
    return changed


def _is_own_code(dep: str) -> bool:
    return dep.endswith(".py") and dep.partition("/")[0] not in PACKAGES


def _replace(deps: list[str], chosen: Callable[[str], bool], wanted: list[str]) -> bool:
    """Replace the chosen ones of a list, in place; returns whether anything changed."""
    if [dep for dep in deps if chosen(dep)] == wanted:
        return False
    deps[:] = [dep for dep in deps if not chosen(dep)] + wanted
    return True


if __name__ == "__main__":
    use()
