"""A name in; a project out: this version's code and profiles in a folder of their own, under git and DVC."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import click

from pipeline.core.errors import DecantError
from stages.commands.use import MODELINE, PROFILES, SCHEMA, find_profile
from stages.shared.completion import profiles
from stages.shared.options import console, debug_option
from stages.shared.tables import shown

ROOT = Path(__file__).resolve().parents[2]
# What a project is made of; tests, benchmarks and kept results stay behind.
PARTS = (
    *("decant", "pipeline", "stages", "own", "profiles", "docs"),
    *("dvc.yaml", "params.schema.json", "pyproject.toml", "constraints.txt"),
    *("Makefile", "mkdocs.yml", "LICENSE", "CITATION.cff"),
    *(".gitignore", ".gitattributes", ".dvcignore"),
    *(".dvc/config", ".dvc/.gitignore", ".dvc/plots", ".dvc/plots_page.html"),
    *(f"data/{section}/.gitignore" for section in ("teachers", "baselines", "students")),
    "data/README.md",
)
_OPTIONAL = ("docs", "mkdocs.yml", ".gitattributes", "CITATION.cff", "data/README.md")
_NO_COPIES = shutil.ignore_patterns("__pycache__", "*.egg-info", ".tmp-*")
_README = """\
# {name}

A project of Decant: `params.yaml` is the experiment (`decant use PROFILE` takes a ready-made one).

```
decant check     # find mistakes in params.yaml
decant plan      # what it will cost
decant repro     # make everything; decant status shows how far it is
```

Commit `params.yaml`, `dvc.yaml`, `dvc.lock`, `data/versions` and `reports/metrics.json` with every result
that you want to keep.
"""


@click.command()
@click.argument("name", type=click.Path(path_type=Path))
@click.option(
    "--profile",
    default="digits",
    show_default=True,
    shell_complete=profiles,
    help="The profile that becomes params.yaml.",
)
@debug_option
def init(name: Path, profile: str) -> None:
    """Make a project in the new folder NAME: this version's code, under git and DVC.

    The project has its own copy of the code, which its commands then run: another version of Decant
    changes nothing in it.
    """
    make_project(name, profile)


def make_project(folder: Path, profile: str) -> None:
    """Write a project into a folder that is new or empty. Raises DecantError where that cannot be."""
    check_place(folder)
    source = find_own_profile(profile)
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        copy_part(ROOT / part, folder / part)
    text = source.read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(MODELINE.sub(rf"\g<1>{SCHEMA}", text), encoding="utf-8")
    title = folder.resolve().name
    (folder / "README.md").write_text(_README.format(name=title), encoding="utf-8")
    refusal = start_git(folder)
    console.print(f"{folder}: a project with the profile {source.stem}")
    if refusal:
        console.print(f"git made no commit of the files (`git commit` makes one): {shown(refusal)}")
    console.print(f"Now: cd {shlex.quote(str(folder))} && decant repro")


def check_place(folder: Path) -> None:
    """Raise DecantError where a folder cannot become a project, or there is no project to copy."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DecantError(f"{folder}: is there, and not empty; give the name of a new folder")
    if missing := [part for part in PARTS if part not in _OPTIONAL and not (ROOT / part).exists()]:
        raise DecantError(
            f"{ROOT} is no whole project ({', '.join(missing[:3])} are not there): install Decant from "
            "its repository (`git clone`, `pip install -e .`)"
        )
    if shutil.which("git") is None:
        raise DecantError("there is no git: install it; DVC keeps its files beside git's")


def find_own_profile(name: str) -> Path:
    """A profile of this version, or of the working folder, or a file."""
    own = ROOT / PROFILES / f"{name}.yaml"
    return own if own.is_file() else find_profile(name)


def copy_part(source: Path, target: Path) -> None:
    """Copy a file or folder, without caches; what is optional may be absent."""
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=_NO_COPIES)
    else:
        shutil.copyfile(source, target)


def start_git(folder: Path) -> str:
    """Put a project under git, and commit it; returns why git made no commit (it knows no name, say).

    DVC needs no more: its configuration is among the files.
    """
    for arguments in (["init", "--quiet"], ["add", "--all"]):
        if refusal := _git(folder, *arguments):
            raise DecantError(f"git {arguments[0]}: {refusal}")
    return _git(folder, "commit", "--quiet", "--message", "A project of Decant")


def _git(folder: Path, *arguments: str) -> str:
    """Why git refuses; empty where it does not."""
    command: Sequence[str] = ("git", "-C", str(folder), *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else ""
