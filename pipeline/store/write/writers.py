"""Writing a group into a work folder, one view at a time, so that a kill costs at most one view.

The plan and all metadata are written first, then each view as it is computed, the manifest last. A
second run over the same folder finds the views that are there and readable and computes the others;
more views later leave the old files as they are.
"""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.store.format.errors import StaleWorkError
from pipeline.store.format.layout import METADATA, PLAN_VIEWS_PER_CHUNK, SPLITS, ArraySpec
from pipeline.store.format.manifest import Header
from pipeline.store.write.unfinished import UnfinishedGroup
from pipeline.views.params import CLEAN
from pipeline.views.plans import View, check_view


class GroupWriter(UnfinishedGroup):
    """Writes the plain or the mixed group.

    `folder` is the root of the store that is being made (the group goes into a folder of its own in
    it), `plan` the plan of every view. The number of views may be another than at the last run: the
    views that both have stay. `feature_dim` is None where no features are kept.

    Raises StaleWorkError where the folder holds work of another header or plan, ValueError for a
    header or plan that no store can hold, StorageError where the file system refuses.
    """

    def __init__(
        self, folder: Path, header: Header, plan: Sequence[View], *, feature_dim: int | None
    ) -> None:
        assert header.group != CLEAN, "CleanWriter writes the clean group"
        super().__init__(folder, header, len(plan), feature_dim)
        self._check_plan(plan)
        self._prepare(plan)

    def missing_views(self) -> list[int]:
        """Views that are absent, cut short, damaged or not finite, in order."""
        specs = [spec for spec in self._arrays.values() if spec.role == "values"]
        return [
            v
            for v in range(self.views)
            if not self._codec_errors.has(f"view {v}")
            or any(self._read(spec, (v,)) is None for spec in specs)
        ]

    def write_view(
        self, v: int, logits: NDArray[Any], features: NDArray[Any] | None = None
    ) -> None:
        """Store one view: logits f2 or f4 [N, C] and features f2 or f4 [N, D], rounded to f2.

        Logits are kept as far as the header's codec does.

        On return the view is on disk. Raises NonFiniteError for numbers that are NaN or overflow
        f2, ValueError for other shapes or types, StorageError where the file system refuses.
        """
        if not 0 <= v < self.views:
            raise ValueError(f"view {v}: the group has {self.views}")
        if (features is None) != (self.feature_dim is None):
            raise ValueError(f"view {v}: features have to be given exactly if feature_dim was")
        self._write_outputs("", (v,), logits, features, f"view {v}")

    def _missing(self) -> list[str]:
        return [f"view {v}" for v in self.missing_views()]

    def _parts(self) -> list[str]:
        return [f"view {v}" for v in range(self.views)]

    def _plan_specs(self) -> list[ArraySpec]:
        return [spec for spec in self._arrays.values() if spec.role == "plan"]

    def _check_plan(self, plan: Sequence[View]) -> None:
        if not plan:
            raise ValueError("a group has at least one view")
        recipe = self.header.recipe
        assert recipe is not None
        assert self.header.group != CLEAN
        for v, view in enumerate(plan):
            problems = check_view(self.header.group, view, recipe.augmentation)
            for spec in self._plan_specs() if not problems else []:
                array = view.arrays()[spec.path]
                if array.shape != spec.shape[1:] or array.dtype != spec.dtype:
                    expected = f"{spec.dtype} {spec.shape[1:]}"
                    problems.append(f"{spec.path} is {array.dtype} {array.shape}, not {expected}")
            if problems:
                raise ValueError(f"plan of view {v}: {'; '.join(problems)}")

    def _prepare(self, plan: Sequence[View]) -> None:
        """Write plan and metadata so that a kill in between is never taken for another plan.

        The metadata never counts views that the plan lacks: they grow after it and shrink before
        it.
        """
        before = self._views_before()
        self._check_same(plan, min(before, self.views))
        if before != self.views:
            self._discard_manifest()
        if self.views < before:
            self._write_metadata()
        for spec in self._plan_specs():
            for block in range(spec.grid[0]):
                self._write(spec, (block,), _plan_block(plan, spec.path, block))
        self._write_metadata()

    def _views_before(self) -> int:
        """The view count of the last run over this folder; 0 where there was none."""
        spec = self._plan_specs()[0]
        with contextlib.suppress(FileNotFoundError):
            return int(json.loads((self._root / spec.path / METADATA).read_bytes())["shape"][0])
        return 0

    def _check_same(self, plan: Sequence[View], views: int) -> None:
        """The first views were computed under the plan that is on disk: it has to be this one."""
        for spec in self._plan_specs():
            for block in range(-(-views // PLAN_VIEWS_PER_CHUNK)):
                old = self._read(spec, (block,))
                new = _plan_block(plan[:views], spec.path, block)
                if old is not None and not np.array_equal(old[: len(new)], new):
                    what = f"holds views of another plan ({spec.path} differs)"
                    raise StaleWorkError(self.folder, self.header.group, what)


class CleanWriter(UnfinishedGroup):
    """Writes the clean group: logits, features and labels of the unaugmented images.

    Arguments and errors as for `GroupWriter`.
    """

    def __init__(self, folder: Path, header: Header, *, feature_dim: int | None) -> None:
        assert header.group == CLEAN, "GroupWriter writes views"
        super().__init__(folder, header, 0, feature_dim)
        self._write_metadata()

    def missing_splits(self) -> list[str]:
        """Of "train" and "test" those that are absent, cut short, damaged or not finite."""
        return [
            split
            for split in SPLITS
            if not self._codec_errors.has(split)
            or any(
                self._read(spec, ()) is None
                for path, spec in self._arrays.items()
                if path.startswith(f"{split}/")
            )
        ]

    def write_split(
        self,
        split: str,
        logits: NDArray[Any],
        features: NDArray[Any] | None,
        labels: NDArray[np.integer[Any]],
    ) -> None:
        """Store one split: logits f2 or f4 [n, C], features f2 or f4 [n, D], integer labels [n].

        Raises as `GroupWriter.write_view`, and ValueError for labels that are no class.
        """
        if split not in SPLITS:
            raise ValueError(f"split: expected one of {', '.join(SPLITS)}, found {split!r}")
        if (features is None) != (self.feature_dim is None):
            raise ValueError(f"{split}: features have to be given exactly if feature_dim was")
        label_spec = self._arrays[f"{split}/labels"]
        classes = self.header.dataset.classes
        if labels.shape != label_spec.shape or labels.dtype.kind not in "iu":
            raise ValueError(f"{split} labels: {labels.dtype} {labels.shape}")
        if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(f"{split} labels: not all of them are one of {classes} classes")
        self._write_outputs(f"{split}/", (), logits, features, split)
        self._write(label_spec, (), labels)

    def _missing(self) -> list[str]:
        return self.missing_splits()

    def _parts(self) -> list[str]:
        return list(SPLITS)


def _plan_block(plan: Sequence[View], name: str, block: int) -> NDArray[Any]:
    first = block * PLAN_VIEWS_PER_CHUNK
    return np.stack([v.arrays()[name] for v in plan[first : first + PLAN_VIEWS_PER_CHUNK]])
