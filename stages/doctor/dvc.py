"""DVC: the project's folders, its remote, and which links its cache can use."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.core.locks import Holder
from stages.doctor.finding import Finding
from stages.dvc.command import run_dvc
from stages.dvc.upstream import cache_folder

_FICLONE = 0x40049409  # of <linux/fs.h>
_DEFAULT_LINKS = "reflink,copy"


def check_dvc() -> Iterator[Finding]:
    """The project under git and DVC; the rest only where it is one."""
    name = version("dvc")
    if not Path(".dvc").is_dir():
        advice = "change into the project's folder, or make one: `decant init NAME`"
        yield Finding("DVC", "problem", f"{name}; this folder is no DVC project", advice)
        return
    if not shutil.which("git"):
        yield Finding("DVC", "problem", f"{name}; there is no git", "install git")
        return
    if not in_git_repository():
        advice = "`git init` here: DVC keeps its files beside git's"
        yield Finding("DVC", "problem", f"{name}; this project is in no git repository", advice)
        return
    done = run_dvc("config", "--list")
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        yield Finding("DVC", "problem", f"{name}: {reason[0]}", "mend .dvc/config")
        return
    yield Finding("DVC", "ok", f"{name}, in a git repository")
    settings = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    yield from check_remote(settings)
    yield from check_links(settings)
    yield from check_busy()


def in_git_repository() -> bool:
    """Whether the working folder lies in a git repository."""
    here = Path.cwd()
    return any((folder / ".git").exists() for folder in (here, *here.parents))


def check_remote(settings: dict[str, str]) -> Iterator[Finding]:
    """The default remote, and whether it is there, where it is a folder."""
    remote = settings.get("core.remote")
    if not remote:
        text = "none: results stay on this machine"
        yield Finding("remote", "ok", f"{text} (`dvc remote add --default NAME ADDRESS`)")
        return
    url = settings.get(f"remote.{remote}.url", "")
    if not url:
        advice = f"`dvc remote add --default {remote} ADDRESS`"
        yield Finding("remote", "problem", f"{remote} has no address", advice)
    elif "://" in url:
        yield Finding("remote", "ok", f"{remote}, {url} (not tried: `dvc status --cloud` does)")
    elif (folder := (Path(".dvc") / url).resolve()).is_dir() and os.access(folder, os.W_OK):
        yield Finding("remote", "ok", f"{remote}, {folder}")
    else:
        advice = "mount it, or correct .dvc/config (`dvc remote modify`)"
        yield Finding(
            "remote", "problem", f"{remote}: {folder} is not there, or not writable", advice
        )


def check_links(settings: dict[str, str]) -> Iterator[Finding]:
    """How DVC puts results from its cache into the project: the first of its ways that works here."""
    cache = cache_folder() if "cache.dir" in settings else Path(".dvc/cache")
    asked = settings.get("cache.type", _DEFAULT_LINKS).split(",")
    works = link_that_works(asked, cache)
    if works in ("hardlink", "reflink", "symlink"):
        yield Finding("links", "ok", f"{works}: results are on the disk once")
        return
    advice = "put the cache on the project's disk (`dvc cache dir`), if the disk is small"
    yield Finding("links", "warning", "copies only: results are on the disk twice", advice)


def link_that_works(asked: list[str], cache: Path) -> str:
    """The first of the ways that works between a cache and the working folder; `copy` if none does."""
    cache.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=cache, prefix=".tmp-links-") as source,
        tempfile.TemporaryDirectory(dir=".", prefix=".tmp-links-") as target,
    ):
        file = Path(source, "file").resolve()
        file.write_bytes(b"decant")
        for kind in asked:
            if kind in LINKS and _can(LINKS[kind], file, Path(target, kind)):
                return kind
    return "copy"


def _can(link: Callable[[Path, Path], None], source: Path, target: Path) -> bool:
    try:
        link(source, target)
    except OSError:
        return False
    return True


def _reflink(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("wb") as new:
        fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "hardlink": os.link,
    "symlink": os.symlink,
    "reflink": _reflink,
}


def check_busy() -> Iterator[Finding]:
    """Processes that DVC's own lock names."""
    file = Path(".dvc/tmp/rwlock")
    try:
        entries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        infos = [info for entry in entries.values() for info in _infos(entry)]
        pids = {int(info["pid"]): str(info["cmd"]) for info in infos}
    except (ValueError, TypeError, KeyError, AttributeError):
        advice = f"stop all DVC commands, then delete {file}"
        yield Finding("DVC's lock", "warning", f"{file} is damaged", advice)
        return
    for pid, command in pids.items():
        if not Holder(pid=pid).has_ended:
            text = f"process {pid} ({command}) is at work: `dvc` waits for it"
            yield Finding("DVC's lock", "ok", text)


def _infos(entry: dict[str, Any]) -> list[dict[str, Any]]:
    read, write = entry.get("read") or [], entry.get("write")
    return [*read, *([write] if isinstance(write, dict) and write else [])]
