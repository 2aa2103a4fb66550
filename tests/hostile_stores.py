"""Stores that mean harm, made from good ones as a string of bytes says; for fuzzers.

Whatever the bytes, there is a store at the end: its manifest edited and signed again, files changed
with a CRC and an entry that fit, shapes that agree with metadata and listing, links, pipes and
folders where files belong. `attack` reads all of it in every way that there is.
"""

import contextlib
import functools
import hashlib
import json
import os
import resource
import shutil
import stat
import struct
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import zstd
from store_samples import CODECS, make_store, tree

from pipeline.core.files import canonical_json
from pipeline.store.format.codecs import Codec, crc32c
from pipeline.store.format.errors import StoreError
from pipeline.store.format.layout import GROUPS, GroupShape, group_arrays, metadata_files
from pipeline.store.format.manifest_text import parse_manifest
from pipeline.store.read import open_store
from pipeline.tools.compare import compare_stores
from pipeline.tools.describe import describe_store
from pipeline.tools.npz import NpzError, NpzReader
from pipeline.tools.verify import verify_store

VIEWS = 3
NAMES = tuple(CODECS)
BIG = (0, 1, 2, 3, 17, 255, 256, 65536, 2**20, 2**24, 2**31 - 1, 2**31, 2**40, 10**12, 2**63, 2**64)
# What a manifest's values are replaced with; numbers are drawn besides.
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0.5, -0.0, 1e308, 10**400),
    *(
        "",
        "..",
        "../..",
        "/etc/passwd",
        "\x1b]0;x\x07",
        "\ud800",
        "object",
        "|O",
        "NaN",
        "x" * 10**4,
    ),
    *("clean", "plain", "mixed", "dense", "zstd", "int8", "topk", "given", "numcodecs.pickle"),
    *([], {}, [[]], [0] * 1000, {"a": {"b": []}}, ["\n"] * 10, {"__class__": "x"}, "0" * 64),
)
TAMPERED_NAMES = ("../../evil", "logits/../../x", "", ".", "/etc/passwd", "c.0", "logits/c.0.0.0/")


class Choices:
    """Decisions read off a string of bytes; zeros when it is used up."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def below(self, count: int) -> int:
        """A number below `count`."""
        return int.from_bytes(self.take(1 if count <= 256 else 2), "little") % count

    def take(self, count: int) -> bytes:
        """As many bytes, or those that are left and zeros."""
        found = self._data[self._at : self._at + count]
        self._at += count
        return found.ljust(count, b"\0")

    def of(self, values: Any) -> Any:
        """One of several values."""
        return values[self.below(len(values))]

    def value(self) -> Any:
        """Something that a manifest may be made to say."""
        kind = self.below(4)
        if kind == 0:
            return self.of(BIG) * self.of((1, -1))
        if kind == 1:
            return struct.unpack("<i", self.take(4))[0]
        if kind == 2:
            return self.take(self.below(24)).decode("latin-1")
        return self.of(VALUES)


class HostileStore:
    """A store of one codec that is made bad and good again, over and over.

    Outside it lie a secret, which no reader may reach, and a good store to compare with.
    """

    def __init__(self, folder: Path, codec: Codec) -> None:
        self.path = make_store(folder, views=VIEWS, codec=codec)
        self.other = make_store(folder / "other", views=VIEWS)
        self.good = tree(self.path)
        self._marks = {name: mark(self.path / name) for name in self.good}
        self.secret = folder / "secret"
        self.secret.mkdir()
        (self.secret / "file").write_bytes(b"secret")

    @contextlib.contextmanager
    def damaged(self, choices: Choices) -> Iterator[Path]:
        """The store as the bytes say, as long as the `with` lasts."""
        try:
            for _ in range(1 + choices.below(3)):
                group = choices.of(GROUPS)
                choices.of(OPERATIONS)(self, group, choices)
            yield self.path
        finally:
            self.restore()

    def restore(self) -> None:
        """Make the store good again; a file that is still the same one has not been changed."""
        kept = set()
        for folder, folders, files in os.walk(self.path, topdown=False):
            for name in (*files, *folders):
                path = os.path.join(folder, name)
                inside = os.path.relpath(path, self.path)
                if (found := mark(path)) is None:
                    with contextlib.suppress(OSError):
                        os.rmdir(path)
                elif found == self._marks.get(inside):
                    kept.add(inside)
                else:
                    os.unlink(path)
        for name in self.good.keys() - kept:
            put(self.path / name, self.good[name])
            self._marks[name] = mark(self.path / name)

    def manifest(self, group: str) -> dict[str, Any] | None:
        """A group's manifest without its digest; None where there is none any more."""
        path = self.path / group / "manifest.json"
        if not path.is_file():  # a link to /dev/zero by now, or a pipe
            return None
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(path.read_bytes())
            if isinstance(content, dict) and isinstance(content.get("files"), dict):
                return content
        return None

    def sign(self, group: str, content: dict[str, Any]) -> None:
        """Write a manifest with the digests that fit, as far as there are any."""
        content.pop("digest", None)
        with contextlib.suppress(ValueError, RecursionError):
            content["digest"] = hashlib.sha256(canonical_json(content)).hexdigest()
            put(self.path / group / "manifest.json", canonical_json(content))

    def place(self, group: str, name: str, data: bytes, *, listed: bool = True) -> None:
        """Replace a file, with an entry in the manifest that fits."""
        put(self.path / group / name, data)
        content = self.manifest(group) if listed else None
        if content is not None:
            content["files"][name] = facts_of(name, data)
            with_plan_digest(content)
            self.sign(group, content)


def mark(path: str | Path) -> tuple[int, int, int] | None:
    """What tells a file or link from any other; None for a folder."""
    facts = os.lstat(path)
    return None if stat.S_ISDIR(facts.st_mode) else (facts.st_ino, facts.st_mtime_ns, facts.st_size)


def put(path: Path, data: bytes) -> None:
    """Write a file, whatever lies there."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def facts_of(name: str, data: bytes) -> dict[str, Any]:
    """A file's entry in the manifest."""
    chunk = "/c." in name
    digest = hashlib.sha256(data).hexdigest()
    return {
        "size": len(data),
        "sha256": digest,
        "crc32c": int.from_bytes(data[-4:], "little") if chunk else None,
    }


def with_plan_digest(content: dict[str, Any]) -> None:
    """Give a manifest the digest of the plan that it lists."""
    plan = ("crop_yx/c.", "flip/c.", "partner/c.", "lam/c.", "mix_rank/c.")
    with contextlib.suppress(TypeError, KeyError):
        files = {n: f["sha256"] for n, f in content["files"].items() if n.startswith(plan)}
        content["plan_sha256"] = (
            hashlib.sha256(canonical_json(files)).hexdigest() if files else None
        )


def edit_manifest(store: HostileStore, group: str, choices: Choices) -> None:
    """Another value, no value or another name somewhere in the manifest."""
    content = store.manifest(group)
    if content is None:
        return
    node: Any = content
    while True:
        keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = choices.of(keys)
        if not (isinstance(node[key], dict | list) and node[key]) or choices.below(4) == 0:
            break
        node = node[key]
    kind = choices.below(4)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[choices.of(TAMPERED_NAMES)] = node.pop(key)
    else:
        node[key] = choices.value()
    store.sign(group, content)


def edit_text(store: HostileStore, group: str, choices: Choices) -> None:
    """Other bytes somewhere in a manifest's or the root's text, with the old digest."""
    name = choices.of((f"{group}/manifest.json", "zarr.json"))
    put(store.path / name, spliced(store.good[name], choices))


def edit_file(store: HostileStore, group: str, choices: Choices) -> None:
    """Other bytes in a file, with a CRC and an entry that fit or not."""
    content = store.manifest(group)
    names = sorted(name for name in store.good if name.startswith(f"{group}/"))
    name = choices.of(names).removeprefix(f"{group}/")
    if content is None or name == "manifest.json":
        return
    data = store.good[f"{group}/{name}"]
    if "/c." not in name:
        store.place(group, name, spliced(data, choices), listed=choices.below(2) == 1)
        return
    payload = spliced(data[:-4], choices)
    crc = crc32c(payload).to_bytes(4, "little") if choices.below(4) else choices.take(4)
    store.place(group, name, payload + crc, listed=choices.below(4) > 0)


def compress(store: HostileStore, group: str, choices: Choices) -> None:
    """A chunk that holds another number of compressed numbers, of the bytes' choosing."""
    chunks = sorted(n for n in store.good if n.startswith(f"{group}/") and "/c." in n)
    name = choices.of(chunks).removeprefix(f"{group}/")
    if choices.below(2):
        numbers = bytes(choices.of((0, 1, 100, 561, 800, 2**16, 2**26)))
    else:
        good = store.good[f"{group}/{name}"][:-4]
        with contextlib.suppress(RuntimeError):
            good = zstd.decompress(good)
        numbers = spliced(good, choices)
    payload = zstd.compress(numbers, level=3) * (1 + choices.below(2))
    store.place(group, name, payload + crc32c(payload).to_bytes(4, "little"))


def lie_coherently(store: HostileStore, group: str, choices: Choices) -> None:
    """Another shape or codec, with metadata and a listing that fit it."""
    content = store.manifest(group)
    if content is None:
        return
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        header, dataset = content["header"], content["header"]["dataset"]
        codec = CODECS[choices.of(NAMES)] if choices.below(2) else Codec(**header["codec"])
        if choices.below(2) and codec.top_k is not None:
            codec = replace(codec, top_k=choices.of((1, 9, 10, 200)))
        classes = choices.of((dataset["classes"], 1, 11, 300, 3000))
        shape = GroupShape(
            group=group,
            train_images=choices.of((dataset["train_images"], 1, 41, 10**5, 2**31 - 1)),
            test_images=choices.of((dataset["test_images"], 1, 2**31 - 1)),
            classes=classes,
            views=0 if group == "clean" else choices.of((content["views"], 1, 2, 16, 40, 10**6)),
            feature_dim=choices.of((content["feature_dim"], None, 1, 8, 2**20)),
            codec=codec,
        )
        arrays = group_arrays(shape)
        if sum(np.prod(spec.grid, dtype=object) for spec in arrays.values()) > 200:
            return
        if any(spec.chunk_bytes > 2**27 for spec in arrays.values()):
            return  # an edit before this one left a width of 10**12
        header["codec"], header["lossy"] = asdict(codec), codec.lossy
        dataset |= {"train_images": shape.train_images, "test_images": shape.test_images}
        dataset |= {"classes": classes, "class_names": [f"c{c}" for c in range(classes)]}
        content |= {"views": shape.views, "feature_dim": shape.feature_dim, "files": {}}
        for name, data in metadata_files(group, arrays).items():
            put(store.path / group / name, data)
            content["files"][name] = facts_of(name, data)
        for spec in arrays.values():
            for name in map(spec.file, spec.indices()):
                content["files"][name] = _file_of_shape(store, group, name, spec, choices)
        with_plan_digest(content)
        store.sign(group, content)


@functools.cache
def zeros(size: int) -> bytes:
    """Compressed zeros: a bomb, if there are many."""
    return zstd.compress(np.zeros(size, np.uint8), level=1)


def _file_of_shape(
    store: HostileStore, group: str, name: str, spec: Any, choices: Choices
) -> dict[str, Any]:
    """Put a file in place that a shape may have, of zeros; a listed one alone where it is large."""
    path = store.path / group / name
    if spec.codec.level is not None:
        payload = zeros(spec.chunk_bytes)
    elif spec.chunk_bytes < 2**20:
        payload = bytes(spec.chunk_bytes)
    else:
        return {"size": spec.chunk_bytes + 4, "sha256": "0" * 64, "crc32c": 0}
    data = payload + crc32c(payload).to_bytes(4, "little")
    put(path, data)
    return facts_of(name, data)


def misplace(store: HostileStore, group: str, choices: Choices) -> None:
    """A link, a pipe, a folder or a stranger where a file belongs, or a link for a folder."""
    names = [*sorted(n for n in store.good if n.startswith(f"{group}/")), "zarr.json"]
    name = choices.of(names)
    path = store.path / name
    kind = choices.below(8)
    with contextlib.suppress(OSError):
        if kind == 6:
            strange = choices.take(6).replace(b"/", b"_").replace(b"\0", b"x")
            Path(os.fsdecode(os.fsencode(path.parent) + b"/" + strange)).write_bytes(b"")
            return
        if kind == 7:
            shutil.rmtree(path.parent if path.parent != store.path else store.path / group)
            path.parent.symlink_to(store.secret)
            return
        path.unlink()
        if kind == 0:
            path.symlink_to("/dev/zero")
        elif kind == 1:
            path.symlink_to(store.secret / "file")
        elif kind == 2:
            path.symlink_to(path.name)
        elif kind == 3:
            os.mkfifo(path)
        elif kind == 4:
            path.mkdir()
        else:
            path.symlink_to(store.secret)


OPERATIONS = (edit_manifest, edit_text, edit_file, compress, lie_coherently, misplace)


def spliced(data: bytes, choices: Choices) -> bytes:
    """The data with a piece of it replaced by bytes of the choices."""
    at = choices.below(len(data) + 1) if data else 0
    gone, new = choices.below(32), choices.take(choices.below(32))
    return data[:at] + new + data[at + gone :]


def attack(store: Path, other: Path, choices: Choices | None = None) -> list[str]:
    """Read a store in every way that there is, or (`choices`) in some; returns the refusals' names.

    Any exception but a refusal comes out.
    """
    every = choices is None
    ways = 7 if choices is None else 1 << choices.below(3)
    refusals: list[str] = []

    def attempt(call: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return call(*arguments, **options)
        except StoreError as refusal:
            found = refusal
        assert str(found).isprintable()
        assert len(str(found)) < 5000
        refusals.append(type(found).__name__)
        return None

    if ways & 1:
        for deep in (False, True) if every else (True,):
            for problem in verify_store(store, deep=deep):
                assert problem.what.isprintable()
    if ways & 2:
        canonical_json(attempt(describe_store, store))
        canonical_json(attempt(compare_stores, store, other, views=1))
    for group in GROUPS if ways & 4 else ():
        opened = attempt(open_store, store, groups=[group])
        if opened is None:
            continue
        if group == "clean":
            for split in ("train", "test"):
                for read in (opened.clean.logits, opened.clean.features, opened.clean.labels):
                    check_numbers(attempt(read, split))
            continue
        views = opened.group(group)
        attempt(views.plan_arrays)
        for v in range(min(views.views, 20)):
            attempt(views.plan, v)
            check_numbers(attempt(views.logits, v))
            check_numbers(attempt(views.features, v))
    return refusals


@contextlib.contextmanager
def limited_memory(extra_bytes: int) -> Iterator[None]:
    """Make an allocation of much more than the process has now a MemoryError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra_bytes
    if before[0] != resource.RLIM_INFINITY:
        limit = min(limit, before[0])
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def check_numbers(values: Any) -> None:
    """What is read is finite numbers."""
    assert values is None or (values.dtype.kind in "fi" and np.isfinite(values).all())


def attack_manifest(raw: bytes, group: str) -> None:
    """Parse a text as a manifest; only refusals are caught."""
    with contextlib.suppress(StoreError):
        parse_manifest(raw, Path("s.zarr"), group)


def attack_npz(path: Path) -> None:
    """Read a file as exported logits; only refusals are caught."""
    from pipeline.tools.importing import feature_width, look_at, read_outputs, read_plan

    with contextlib.suppress(NpzError):
        given = look_at(path)
        with NpzReader(path) as file:
            prefix = "train_" if given.group == "clean" else ""
            feature_width(file, prefix)
            read_outputs(file, prefix, 40, 10)
            if given.group != "clean":
                read_plan(file, given.group, 40)
