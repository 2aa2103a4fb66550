"""A profile in, params.yaml out."""

import os
import re
from pathlib import Path

import click

from pipeline.core.files import durable_write
from pipeline.core.params import load_yaml
from stages.shared.completion import profile_names, profiles
from stages.shared.nearest import unknown
from stages.shared.options import console, stage_options

PROFILES = Path("profiles")
SCHEMA = "params.schema.json"
# The line by which editors find the schema of a YAML file, from the file's own folder.
MODELINE = re.compile(rf"^(# yaml-language-server: \$schema=)\S*{re.escape(SCHEMA)}$", re.MULTILINE)


@click.command()
@click.argument("profile", shell_complete=profiles)
@click.option("--force", is_flag=True, help="Replace a params.yaml with changes of your own.")
@stage_options
def use(profile: str, params_path: Path, force: bool) -> None:
    """Make PROFILE (a name below profiles/, or a file) the project's params.yaml."""
    source = find_profile(profile)
    load_yaml(source)
    if not force:
        check_replaceable(params_path, source)
    schema = Path(os.path.relpath(SCHEMA, params_path.parent)).as_posix()
    text = MODELINE.sub(rf"\g<1>{schema}", source.read_text(encoding="utf-8"))
    durable_write(params_path, text.encode())
    console.print(f"{params_path} is now {source}")


def check_replaceable(params_path: Path, source: Path) -> None:
    """Raise ValueError where params.yaml has the values of no ready-made profile.

    Values count, not bytes: `dvc exp run -S` breaks lines in another way. Nor do comments.
    """
    if not params_path.exists():
        return
    content = load_yaml(params_path)
    if not any(content == load_yaml(path) for path in (source, *PROFILES.glob("*.yaml"))):
        raise ValueError(
            f"{params_path} has changes of your own, which {source} would replace: keep a copy (in "
            f"{PROFILES}/, say, under a name of its own), or give --force"
        )


def find_profile(name: str) -> Path:
    """The file of a profile. Raises ValueError with the nearest of the ready-made ones."""
    for candidate in (PROFILES / f"{name}.yaml", Path(name)):
        if candidate.is_file():
            return candidate
    raise ValueError(unknown("profile", name, profile_names()))
