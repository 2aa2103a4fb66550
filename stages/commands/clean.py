"""Remove what is kept and no longer wanted: published work; after a yes, also what may be the only copy.

That is work of which no result lies in its place, and results of entries that are gone.
"""

import filecmp
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
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
    work_folders,
)
from pipeline.store.format.address import PINNED
from stages.commands.status_text import progress_lines
from stages.dvc.lock import Lock
from stages.dvc.running import Work, find_work, own_bytes
from stages.dvc.upstream import in_caches
from stages.shared.options import console, load_params, stage_options
from stages.shared.stage_names import KINDS, kind_of, result_of

# Where the results of a section's entries lie, and how an entry's name is read from a folder's.
RESULTS = {
    TEACHERS: "teachers",
    Path("data/baselines"): "baselines",
    Path("data/students"): "students",
    STORES: "dumps",
    VERSIONS: "dumps",
}
# Where `evaluate --tidy` moves results of entries that are gone; the module that says so imports torch.
REMOVED = WORK / "removed"


@click.command()
@click.option("--yes", is_flag=True, help="Remove what is listed without asking.")
@stage_options
def clean(params_path: Path, yes: bool) -> None:
    """Remove work that is kept for reuse (data/.work), and results of entries that are gone.

    More views or replicates are then computed from the start. What is in use is left alone.
    Trainings and dumps that were interrupted or not published yet, and results whose entry params.yaml no
    longer has, are listed, and removed after a yes.
    """
    freed, busy, begun = remove_work()
    in_use = f"; {busy} in use left alone" if busy else ""
    console.print(f"{WORK}: {freed / 1e6:,.1f} MB freed{in_use}")
    if begun:
        remove_begun(begun, yes=yes)
    content = load_params(params_path) if params_path.exists() else None
    if content is not None and (old := list(leftovers(content))):
        remove_leftovers(old, content, yes=yes)


def remove_work() -> tuple[int, int, list[Work]]:
    """Remove the work folders that nobody uses and of which all is published.

    Returns the bytes freed, how many folders are in use, and those of which something is not.
    """
    freed, busy = 0, 0
    folders = work_folders(WORK)
    unfinished = {work.folder: work for work in unfinished_work()}
    begun = []
    for folder in folders:
        if folder == REMOVED:
            continue
        try:
            with WorkFolder(WORK, folder.name) as work:
                if folder in unfinished:
                    begun.append(unfinished[folder])
                    continue
                freed += own_bytes(folder)
                work.remove()
        except WorkFolderBusyError:
            busy += 1
    return freed, busy, begun


def unfinished_work() -> Iterator[Work]:
    """Trainings and dumps that are not finished, or not published; of a dump all groups."""
    works = find_work(WORK)
    stages = {
        stage
        for work in works
        for stage in work.note.stages
        if work.has_begun
        or not all(
            is_published(*file, links=not work.is_publishing) for file in finished_files(work)
        )
    }
    return (work for work in works if stages & set(work.note.stages))


def finished_files(work: Work) -> Iterator[tuple[Path, list[Path]]]:
    """A file of each part of a work folder that is finished, and where it is published."""
    # Here, so that help need not wait for numpy.
    from pipeline.results.record import RECORD, WEIGHTS
    from pipeline.store.format.layout import MANIFEST

    names = []
    if work.done or (work.folder / work.note.group / MANIFEST).exists():
        names.append(f"{work.note.group}/{MANIFEST}")
    for record in work.folder.glob(f"*/{RECORD}"):
        names.append(f"{record.parent.name}/{WEIGHTS}")
    for name in names:
        yield work.folder / name, [result_of(stage) / name for stage in work.note.stages]


def is_published(file: Path, copies: list[Path], *, links: bool) -> bool:
    """Whether a finished file is in its place, or was: publishing and DVC's cache link or copy it.

    A result in its place says little: it may be of older parameters. Nor do links, where a killed
    publishing left some beside the file.
    """
    if not file.exists():
        return False
    is_linked = links and file.stat().st_nlink > 1
    return is_linked or any(
        copy.is_file() and filecmp.cmp(file, copy, shallow=False) for copy in copies
    )


def remove_begun(begun: Iterable[Work], *, yes: bool) -> None:
    """List what is not finished, or not published; remove it after a yes."""
    lines = [
        f"{', '.join(work.note.stages)}{';'.join(progress_lines(work)) or ': finished'} "
        f"({own_bytes(work.folder) / 1e6:,.1f} MB freed)"
        for work in begun
    ]
    if allowed("Not in its place yet; the same command goes on from there:", lines, yes=yes):
        for work in begun:
            with WorkFolder(WORK, work.folder.name) as folder:
                folder.remove()


def allowed(title: str, lines: Iterable[str], *, yes: bool) -> bool:
    """List what would be removed; whether it is to be."""
    console.print("\n  ".join([title, *lines]))
    if not yes and not sys.stdin.isatty():
        console.print("Left alone: `decant clean --yes` removes it")
        return False
    return yes or click.confirm("Remove it?")


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
    yield from (path for path in sorted(REMOVED.glob("*/*")) if path.is_dir())


def remove_leftovers(old: list[Path], content: Mapping[str, Any], *, yes: bool) -> None:
    """List results of removed entries, and what else has them; remove them after a yes."""
    kept = cached(old, content)
    lines = []
    for path in old:
        where = "in git" if in_git(path) else "nowhere else: gone for good"
        where = "in DVC's cache too" if path in kept else where
        lines.append(f"{path} ({own_bytes(path) / 1e6:,.1f} MB freed; {where})")
    title = (
        "Results of entries that params.yaml no longer has, or had not when they were moved here:"
    )
    if allowed(title, lines, yes=yes):
        for path in old:
            shutil.rmtree(path)
        shutil.rmtree(REMOVED, ignore_errors=True)  # what is left there says how long they took
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
        if kind_of(name) in KINDS
        for out in stages[name].get("outs") or ()
    }
    named = {path: home(path) for path in paths}
    # A moved result is not what lies in its place by now.
    return in_caches(
        {
            path: outs[place]
            for path, place in named.items()
            if place in outs and (place == path or not place.exists())
        }
    )


def home(path: Path) -> Path:
    """Where a result lay before `evaluate --tidy` moved it."""
    is_moved = path.is_relative_to(REMOVED)
    return Path("data") / path.relative_to(REMOVED) if is_moved else path
