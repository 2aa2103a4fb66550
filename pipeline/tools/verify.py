"""Verifying a store: every problem of every group, found without trusting any of it."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.store.format.check import content_errors, presence_errors, read_manifest, root_errors
from pipeline.store.format.errors import GroupMissingError, PlanError, StoreError
from pipeline.store.format.layout import GROUPS, SPLITS
from pipeline.store.format.manifest import Manifest
from pipeline.store.read import CleanGroup, ViewGroup
from pipeline.views.params import CLEAN


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: inside the store.
        kind: name of the error.
        message: all of it, in one line.
        what: the message without the path and the hint.
        hint: how to mend it.
    """

    path: str
    kind: str
    message: str
    what: str
    hint: str


def verify_store(
    folder: Path, *, deep: bool = False, groups: Sequence[str] | None = None
) -> list[Problem]:
    """Check a store; an empty list means that it is good.

    Checked are presence and sizes, the hashes of manifest, metadata and plans, the CRC of every
    chunk, that logits and features are finite and that plans are possible; `deep` hashes every
    file. Checked are the groups that are there, unless `groups` names them. Of each file the first
    problem is told.
    """
    problems: list[Problem] = []
    told: set[str] = set()
    for error in _errors(folder, deep, groups):
        if error.path in told and not isinstance(error, PlanError):
            continue
        told.add(error.path)
        problems.append(problem(error))
    return problems


def problem(error: StoreError) -> Problem:
    """An error as a problem."""
    return Problem(error.path, type(error).__name__, str(error), error.what, error.hint)


def _errors(folder: Path, deep: bool, groups: Sequence[str] | None) -> Iterator[StoreError]:
    yield from root_errors(folder)
    if groups is None:
        groups = [group for group in GROUPS if os.path.lexists(folder / group)]
        if not groups and folder.is_dir():
            yield GroupMissingError(folder, "", f"holds none of {', '.join(GROUPS)}")
    for group in groups:
        try:
            manifest = read_manifest(folder, group)
        except StoreError as error:
            yield error
            continue
        yield from presence_errors(folder, manifest)
        yield from content_errors(folder, manifest, deep=deep)
        for read in _reads(folder, manifest):
            try:
                read()
            except StoreError as error:
                yield error


def _reads(folder: Path, manifest: Manifest) -> Iterator[Callable[[], object]]:
    """Everything that training can read from a group."""
    if manifest.group == CLEAN:
        clean = CleanGroup(folder, manifest)
        for split in SPLITS:
            yield partial(clean.logits, split)
            yield partial(clean.labels, split)
            if manifest.feature_dim is not None:
                yield partial(clean.features, split)
        return
    views = ViewGroup(folder, manifest)
    for v in range(views.views):
        yield partial(views.plan, v)
        yield partial(views.logits, v)
        if manifest.feature_dim is not None:
            yield partial(views.features, v)
