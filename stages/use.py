"""A profile in; params.yaml and the list of what `evaluate` depends on (in dvc.yaml) out.

DVC cannot interpolate a set of dependencies, so the list is written out: run this again, without a
profile, after adding or removing a teacher, baseline or student in params.yaml.
"""

from pathlib import Path
from typing import Any

import click
from ruamel.yaml import YAML

from pipeline.params import load_yaml
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
    help="The pipeline file whose evaluate stage is brought up to date.",
)
@stage_options
def use(profile: str | None, params_path: Path, dvc_file: Path) -> None:
    """Make PROFILE (a name below profiles/, or a file) the project's params.yaml.

    Without PROFILE, only bring the evaluate stage's dependencies up to date with params.yaml.
    """
    if profile is not None:
        source = find_profile(profile)
        load_yaml(source)
        params_path.write_bytes(source.read_bytes())
        console.print(f"{params_path} is now {source}")
    outputs = training_outputs(load_yaml(params_path))
    if write_deps(dvc_file, outputs):
        console.print(f"{dvc_file}: evaluate depends on {len(outputs)} trained networks")


def find_profile(name: str) -> Path:
    """The file of a profile. Raises ValueError listing the ready-made ones."""
    for candidate in (PROFILES / f"{name}.yaml", Path(name)):
        if candidate.is_file():
            return candidate
    names = ", ".join(sorted(path.stem for path in PROFILES.glob("*.yaml"))) or "none"
    raise ValueError(f"no profile {name}; ready-made ones: {names}")


def training_outputs(content: dict[str, Any]) -> list[str]:
    """Output folders of all training stages, in the order of params.yaml."""
    return [f"data/{part}/{name}" for part in SECTIONS for name in content.get(part) or {}]


def write_deps(dvc_file: Path, outputs: list[str]) -> bool:
    """Replace the trained networks among evaluate's deps; returns whether anything changed."""
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(dvc_file.read_text(encoding="utf-8"))
    deps = content["stages"]["evaluate"]["deps"]
    folders = tuple(f"data/{part}/" for part in SECTIONS)
    if [dep for dep in deps if dep.startswith(folders)] == outputs:
        return False
    deps[:] = [dep for dep in deps if not dep.startswith(folders)] + outputs
    with dvc_file.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)
    return True


if __name__ == "__main__":
    use()
