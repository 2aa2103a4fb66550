"""A store at an address in; its metadata and manifests on this disk, and the address in params.yaml, out."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.core.errors import DecantError
from pipeline.core.files import STORES, VERSIONS, WORK, WorkFolder, durable_write, rewrite, work_key
from pipeline.core.machine import load_machine
from pipeline.core.params import ParamsError, check_names, load_yaml
from pipeline.store.format.address import PINNED, Address, pinned_address
from pipeline.store.format.layout import (
    MANIFEST,
    METADATA,
    group_arrays,
    metadata_files,
    root_metadata,
)
from pipeline.store.format.manifest import Manifest
from pipeline.store.format.version import write_versions
from pipeline.store.remote.cache import Cache

PARAMS = Path("params.yaml")


@dataclass(frozen=True)
class Pin:
    """A store that was pinned: its groups' manifests, and whether it is another one than before."""

    address: Address
    manifests: Mapping[str, Manifest]
    changed: bool


def is_project_store(store: Path, project: Path = Path()) -> bool:
    """Whether a folder, however it is named, is one of a project's stores."""
    return store.parent.resolve() == (project / STORES).resolve()


def pin_of(store: Path, project: Path = Path()) -> tuple[Address | None, Cache | None]:
    """Where a store of a project is read in place, and where its views are kept; else None twice.

    What cannot be read pins nothing. Raises ParamsError where the cache of a pinned store cannot be told,
    DecantError where what it is pinned to is no address.
    """
    content: dict[str, Any] = {}
    address, name, params = None, store.name.removesuffix(".zarr"), (project / PARAMS).absolute()
    if is_project_store(store, project) and params.is_file():
        with contextlib.suppress(ParamsError):
            content = _content(params, params.stat().st_mtime_ns)
            address = pinned_address(content, name)
    return address, None if address is None else Cache.of(load_machine(content))


@lru_cache(maxsize=1)  # a long file takes a third of a second, and each store of a list asks
def _content(params: Path, written: int) -> dict[str, Any]:
    """A parameter file as it was `written`, for reading alone."""
    return load_yaml(params)


def pin_store(name: str, url: str, params_path: Path) -> Pin:
    """Pin a store: what `data/stores`, `data/versions` and the parameter file have afterwards is its own.

    No view is fetched; the manifests list every byte of them. Raises DecantError, and changes nothing,
    where the store cannot be had or the name is in use.
    """
    content, address = load_yaml(params_path), Address.parse(url)
    target = STORES / f"{name}.zarr"
    if problems := check_names([name], PINNED):
        raise ParamsError(problems)
    if name in (content.get("dumps") or {}):
        raise ParamsError(
            [f"dumps.{name}: the store is made here; drop the entry or take another name"]
        )
    if any(path.name not in (METADATA, MANIFEST) for path in target.rglob("*") if path.is_file()):
        raise DecantError(f"{target}: holds views; move it elsewhere or delete it first")
    with_address(_text(params_path), name, address)  # fails now, before anything is fetched
    from pipeline.store.remote.files import fetch_manifests  # needs the extra `remote`

    fetched = fetch_manifests(address)
    versions = VERSIONS / target.name
    before = _files_of(versions)
    files = {METADATA: root_metadata()}
    for group, (manifest, raw) in fetched.items():
        inside = metadata_files(group, group_arrays(manifest.shape)) | {MANIFEST: raw}
        files |= {f"{group}/{path}": data for path, data in inside.items()}
    with WorkFolder(WORK, work_key({"pin": name})) as work:
        for path, data in files.items():
            durable_write(work.path / "store" / path, data)
        work.publish({path: work.path / "store" / path for path in files}, target)
        work.remove()
    write_versions(target, fetched, versions)
    # Read again: somebody may have edited it while the server answered.
    text = with_address(_text(params_path), name, address)
    rewrite(params_path, text.encode("utf-8"))
    manifests = {group: manifest for group, (manifest, _) in fetched.items()}
    return Pin(address, manifests, before != _files_of(versions))


def _text(params_path: Path) -> str:
    return params_path.read_bytes().decode("utf-8")


def _files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*")}


def with_address(text: str, name: str, address: str) -> str:
    """A parameter file that pins a store to an address, and not a byte changed besides.

    Raises ParamsError where it is written in a way that only a hand can change.
    """
    # Of odd YAML no line can be told, or what comes of it is not what is expected.
    with contextlib.suppress(Exception):
        result = _with_line(text, name, address)
        expected = YAML(typ="safe", pure=True).load(text)
        expected[PINNED] = {**(expected.get(PINNED) or {}), name: str(address)}
        if YAML(typ="safe", pure=True).load(result) == expected:
            return result
    where = f"{PINNED}.{name}"
    raise ParamsError(
        [f"{where}: cannot be changed where it is written; write {address} there by hand"]
    )


def _with_line(text: str, name: str, address: str) -> str:
    content = YAML().load(text)
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    entry = f"  {name}: {address}\n"
    section = content.get(PINNED)
    if PINNED not in content:
        lines += ["\n", f"{PINNED}:\n", entry]
    elif section and name in section:
        line, column = section.lc.value(name)
        lines[line] = lines[line][:column] + lines[line][column:].replace(section[name], address, 1)
    elif section:
        line, column = section.lc.key(next(iter(section)))
        lines.insert(line, " " * column + entry.lstrip())
    return "".join(lines)
