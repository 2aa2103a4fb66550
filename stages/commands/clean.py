"""Remove what is kept and no longer wanted: finished work, and results of entries that are gone."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from pipeline.core.files import (
    STORES,
    TEACHERS,
    VERSIONS,
    WORK,
    WorkFolder,
    WorkFolderBusyError,
    in_git,
)
from pipeline.store.format.address import PINNED
from stages.dvc.lock import Lock
from stages.dvc.upstream import SECTIONS, in_caches
from stages.shared.options import console, load_params, stage_options

# Where the results of a section's entries lie, and how an entry's name is read from a folder's.
RESULTS = {
    TEACHERS: "teachers",
    Path("data/baselines"): "baselines",
    Path("data/students"): "students",
    STORES: "dumps",
    VERSIONS: "dumps",
}


@click.command()
@click.option("--yes", is_flag=True, help="Remove results of removed entries without asking.")
@stage_options
def clean(params_path: Path, yes: bool) -> None:
    """Remove work that is kept for reuse (data/.work), and results of entries that are gone.

    More views or replicates are then computed from the start. Work in progress is left alone.
    Results under data/ whose entry params.yaml no longer has are listed, and removed after a yes.
    """
    freed, busy = remove_work()
    in_use = f"; {busy} in use left alone" if busy else ""
    console.print(f"{WORK}: {freed / 1e6:,.1f} MB freed{in_use}")
    content = load_params(params_path) if params_path.exists() else None
    if content is not None and (old := list(leftovers(content))):
        remove_leftovers(old, content, yes=yes)


def remove_work() -> tuple[int, int]:
    """Remove the work folders; returns the bytes freed, and how many are in use."""
    freed, busy = 0, 0
    for folder in sorted(WORK.glob("*")) if WORK.is_dir() else []:
        if not folder.is_dir():
            continue
        try:
            with WorkFolder(WORK, folder.name) as work:
                freed += own_bytes(folder)
                work.remove()
        except WorkFolderBusyError:
            busy += 1
    return freed, busy


def own_bytes(folder: Path) -> int:
    """Bytes that removing a folder frees: files that lie elsewhere too (hard links) free nothing."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files if path.stat().st_nlink == 1)


def leftovers(content: Mapping[str, Any]) -> Iterator[Path]:
    """Results on this disk whose entry the parameter file does not have."""
    for folder, section in RESULTS.items():
        names = set(content.get(section) or ())
        if section == "dumps":  # and stores that are pinned under the same folders
            names |= set(content.get(PINNED) or ())
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            is_result = path.is_dir() and not path.name.startswith(".")
            if is_result and path.name.removesuffix(".zarr") not in names:
                yield path


def remove_leftovers(old: list[Path], content: Mapping[str, Any], *, yes: bool) -> None:
    """List results of removed entries, and what else has them; remove them after a yes."""
    kept = cached(old, content)
    console.print("Results of entries that params.yaml no longer has:")
    for path in old:
        where = "in git" if in_git(path) else "nowhere else: gone for good"
        where = "in DVC's cache too" if path in kept else where
        console.print(f"  {path} ({own_bytes(path) / 1e6:,.1f} MB freed; {where})")
    if not yes and not sys.stdin.isatty():
        console.print("They were left alone: `decant clean --yes` removes them")
        return
    if yes or click.confirm("Remove them?"):
        for path in old:
            shutil.rmtree(path)
        console.print(
            f"{len(old)} removed. DVC's cache keeps what it had; `dvc gc --workspace` drops from it "
            "all that this commit does not name"
        )


def cached(paths: list[Path], content: Mapping[str, Any]) -> set[Path]:
    """Those of some results that dvc.lock names, and DVC's cache holds."""
    stages = Lock(Path.cwd(), content).stages
    outs = {
        Path(out["path"]): str(out["md5"])
        for name in stages
        if name.partition("@")[0] in SECTIONS.values()
        for out in stages[name].get("outs") or ()
    }
    return in_caches({path: outs[path] for path in paths if path in outs})


if __name__ == "__main__":
    clean()
