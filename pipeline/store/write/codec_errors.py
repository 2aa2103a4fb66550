"""What a lossy codec was measured to cost in each part of a group that is being written."""

import contextlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pipeline.core.files import canonical_json, write_changed
from pipeline.store.write.difference import Difference, merge


class CodecErrors:
    """The measured errors of a group's parts (views or splits), a file each; none of a lossless codec.

    Args:
        folder: where the files lie, in the work folder alone: they are never published.
    """

    def __init__(self, folder: Path, *, lossy: bool) -> None:
        self._folder, self._lossy = folder, lossy

    def record(self, part: str, error: Difference) -> None:
        """Keep what was measured. Raises StorageError where the file system refuses."""
        write_changed(self._path(part), canonical_json(asdict(error)))

    def has(self, part: str) -> bool:
        """Whether nothing is left to be measured in a part."""
        return not self._lossy or self._read(part) is not None

    def total(self, parts: Iterable[str]) -> dict[str, float]:
        """The errors over all images of all parts, as the manifest states them."""
        if not self._lossy:
            return {}
        return merge(error for error in map(self._read, parts) if error is not None).facts()

    def _read(self, part: str) -> Difference | None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Difference(**json.loads(self._path(part).read_bytes()))
        return None

    def _path(self, part: str) -> Path:
        return self._folder / f"{part}.json"
