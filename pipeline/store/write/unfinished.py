"""A group in the making: its files, written one by one, and at last its manifest.

Every file is complete or absent whenever the process is killed. What is there and readable is kept,
so the bytes depend on neither the order of the views nor on how often the work was interrupted.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from pipeline.core.files import canonical_json, write_changed
from pipeline.store.format.codecs import CRC_BYTES
from pipeline.store.format.errors import (
    IncompleteStoreError,
    NonFiniteError,
    StaleWorkError,
    StoreError,
)
from pipeline.store.format.layout import (
    MANIFEST,
    METADATA,
    ArraySpec,
    Index,
    group_arrays,
    metadata_files,
    root_metadata,
)
from pipeline.store.format.lossy import decode_logits, encode_logits
from pipeline.store.format.manifest import (
    FileFacts,
    Header,
    Manifest,
    check_header,
    group_shape,
    header_facts,
)
from pipeline.store.format.manifest_text import (
    MAX_MANIFEST_BYTES,
    parse_manifest,
    size_problem,
    write_manifest,
)
from pipeline.store.format.trust import TrustedStore, all_finite
from pipeline.store.write.codec_errors import CodecErrors
from pipeline.store.write.difference import measure

_MANIFEST_BYTES_A_FILE = 200  # no entry is longer
_MEND_TEACHER = "look at the teacher's training (did it diverge?) and train it again"


class DurableStore(TrustedStore):
    """A group's files as Zarr writes them: whole, on the disk, and only where their bytes change."""

    async def set(self, key: str, value: Buffer) -> None:
        """Write a chunk. Raises StorageError where the file system refuses."""
        assert isinstance(self._folder, Path), "nothing is written elsewhere"
        write_changed(self._folder / self._group / key, value.to_bytes())


class UnfinishedGroup(ABC):
    """What the writers of views and of clean images share (`write`)."""

    def __init__(self, folder: Path, header: Header, views: int, feature_dim: int | None) -> None:
        check_header(header)
        self.folder = folder
        self.header = header
        self.views = views
        self.feature_dim = feature_dim
        self._root = folder / header.group
        self._arrays = group_arrays(group_shape(header, views, feature_dim))
        errors = folder / f".{header.group}-error"
        self._codec_errors = CodecErrors(errors, lossy=header.codec.lossy)
        self._check_limits()
        self._manifest: Manifest | None = None
        self._claim()
        self._sizes: dict[str, FileFacts] = {}  # of what is read back: no manifest lists it yet
        files = LocalStore(self._root)
        self._store = DurableStore(files, folder, header.group, self._arrays, self._sizes)

    def finish(self, *, measured_error: Mapping[str, float] | None = None) -> Manifest:
        """Check and hash every file, then write the manifest, the last file of all.

        What the codec was measured to cost is recorded, and `measured_error` as it is (see
        `Manifest`). Raises IncompleteStoreError where something is still to be computed.
        """
        if missing := self._missing():
            names = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
            what = f"{len(missing)} parts are still to be computed ({names})"
            raise IncompleteStoreError(self.folder, self.header.group, what)
        self._write_metadata()
        raw = write_manifest(
            self.header,
            views=self.views,
            feature_dim=self.feature_dim,
            measured_error={**self._codec_errors.total(self._parts()), **(measured_error or {})},
            files=dict(self._facts()),
        )
        self._manifest = parse_manifest(raw, self.folder, self.header.group)
        write_changed(self._root / MANIFEST, raw)
        return self._manifest

    def files(self) -> dict[str, Path]:
        """The finished group's files for `WorkFolder.publish`: path inside the store -> file."""
        assert self._manifest is not None, "finish first"
        inside = [f"{self.header.group}/{path}" for path in (*self._manifest.files, MANIFEST)]
        return {path: self.folder / path for path in (METADATA, *inside)}

    def _check_limits(self) -> None:
        """Refuse before any work what could not be read back. Raises ValueError."""
        if problem := size_problem(self._arrays, self.header.dataset):
            raise ValueError(f"{self.header.group}: {problem}")
        files = sum(math.prod(spec.grid) for spec in self._arrays.values())
        facts = len(canonical_json({"header": header_facts(self.header)}))  # as in the manifest
        if files * _MANIFEST_BYTES_A_FILE + facts > MAX_MANIFEST_BYTES:
            raise ValueError(
                f"{self.header.group}: {files:,} files and {facts:,} bytes of facts (class names, above "
                "all) are more than a manifest lists; dump fewer views, none of the features, or give "
                "the classes shorter names"
            )

    @abstractmethod
    def _missing(self) -> list[str]:
        """Names of the parts that are still to be computed."""

    @abstractmethod
    def _parts(self) -> list[str]:
        """Names of all that is written in one go: views or splits."""

    def _claim(self) -> None:
        """Make the folder ours: no work of another header is in it."""
        header = self.folder / f".{self.header.group}-header.json"  # in the work folder alone
        raw = canonical_json(header_facts(self.header))
        if header.exists() and header.read_bytes() != raw:
            what = "holds work of another teacher, recipe or version"
            raise StaleWorkError(self.folder, self.header.group, what)
        write_changed(header, raw)

    def _write_metadata(self) -> None:
        metadata = metadata_files(self.header.group, self._arrays)
        for path, data in metadata.items():
            write_changed(self._root / path, data)
        write_changed(self.folder / METADATA, root_metadata())

    def _discard_manifest(self) -> None:
        """A group that is about to change is not finished any more."""
        (self._root / MANIFEST).unlink(missing_ok=True)

    def _write(self, spec: ArraySpec, lead: Index, values: NDArray[Any]) -> None:
        """Write all images at one place of the leading axis; values [views, N, ...] or [N, ...]."""
        array, size = self._store.array(spec.path), spec.chunks[spec.lead]
        views = tuple(slice(spec.chunks[0] * place, None) for place in lead)
        for number in range(spec.grid[spec.lead]):  # not all at once: each is encoded in memory
            rows = slice(number * size, min((number + 1) * size, spec.shape[spec.lead]))
            part = values[(*(slice(None) for _ in lead), rows)]
            place = tuple(slice(view.start, view.start + len(part)) for view in views)
            array[(*place, rows)] = part

    def _read(self, spec: ArraySpec, lead: Index) -> NDArray[Any] | None:
        """What `_write` wrote; None where it is missing or unreadable."""
        try:
            for path in map(spec.file, spec.indices(lead)):
                size = (self._root / path).stat().st_size
                self._sizes[path] = FileFacts(size=size, sha256="", crc32c=None)
            return self._store.read(spec.path, lead)
        except (FileNotFoundError, StoreError):
            return None

    def _write_outputs(
        self,
        prefix: str,
        lead: Index,
        logits: NDArray[Any],
        features: NDArray[Any] | None,
        part: str,
    ) -> None:
        """Write logits [N, C] and features [N, D] of a part, after a check of both.

        What the codec costs is recorded first, so that no part is there without it.
        """
        codec, classes = self.header.codec, self.header.dataset.classes
        images = self._arrays[f"{prefix}logits"].shape[len(lead)]
        half = self._half("logits", (images, classes), logits, part)
        arrays: dict[str, NDArray[Any]] = {
            f"logits{suffix}": array for suffix, array in encode_logits(codec, half).items()
        }
        if features is not None:
            spec = self._arrays[f"{prefix}features"]
            arrays["features"] = self._half("features", spec.shape[spec.lead :], features, part)
        if codec.lossy:
            read_back = {key.removeprefix("logits"): array for key, array in arrays.items()}
            error = measure(half, decode_logits(codec, read_back, classes))
            self._codec_errors.record(part, error)
        for name, array in arrays.items():
            self._write(self._arrays[prefix + name], lead, array[np.newaxis] if lead else array)

    def _half(
        self, name: str, expected: tuple[int, ...], values: NDArray[Any], where: str
    ) -> NDArray[np.float16]:
        """Logits or features as float16; ValueError and NonFiniteError as promised."""
        if values.shape != expected or values.dtype not in (np.float16, np.float32):
            raise ValueError(
                f"{name} of {where}: expected float16 or float32 {expected}, "
                f"found {values.dtype} {values.shape}"
            )
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not all_finite(half):
            what = f"{name} of {where} are NaN, or beyond what float16 holds (65504)"
            raise NonFiniteError(self.folder, self.header.group, what, _MEND_TEACHER)
        return half

    def _facts(self) -> Iterator[tuple[str, FileFacts]]:
        for path, data in metadata_files(self.header.group, self._arrays).items():
            yield path, _file_facts(data, chunk=False)
        for spec in self._arrays.values():
            for path in map(spec.file, spec.indices()):
                yield path, _file_facts((self._root / path).read_bytes(), chunk=True)


def _file_facts(data: bytes, *, chunk: bool) -> FileFacts:
    crc = int.from_bytes(data[-CRC_BYTES:], "little") if chunk else None
    return FileFacts(size=len(data), sha256=hashlib.sha256(data).hexdigest(), crc32c=crc)
