"""Everything that can be wrong with a store, each with the command that mends it."""

import contextlib
from collections.abc import Iterator
from typing import ClassVar

from pipeline.core.errors import DecantError
from pipeline.store.format.address import Address, Place
from pipeline.views.params import CLEAN, GROUPS

_FETCH = (
    "`dvc pull {part}`, or, where no DVC remote has it, compute it with `dvc repro dump@{name}`"
)
# Under hardlinks and symlinks a damaged file is DVC's cached one too, and DVC, which does not look
# into files whose time and mode are the old ones, would bring it back: even after a new dump.
_RESTORE = (
    "`decant store mend {store}` (drops what is damaged, from DVC's cache too, and pulls it again); "
    "where there is nothing to pull, `dvc repro dump@{name}` after it"
)
WHOLE = (
    "`dvc pull {store}`, or, where no DVC remote has it, compute it with `dvc repro dump@{name}`"
)
_REPEAT = "run `dvc repro dump@{name}`"
# Of a store that is read in place nothing can be mended here.
_ELSEWHERE = (
    "ask who keeps the store for the files of this version, or take the version that is there now: "
    "`decant store pin NAME {store}`"
)


class StoreError(DecantError):
    """A store that cannot be used.

    Attributes:
        store: the store's folder, or its address where it is read in place.
        path: the offending file or folder inside it ("" for the store itself).
        what: what is wrong with it.
        hint: how to mend it.
    """

    mend: ClassVar[str] = _RESTORE
    remote_mend: ClassVar[str] = _ELSEWHERE

    def __init__(self, store: Place, path: str, what: str, mend: str | None = None) -> None:
        if not what.isprintable():  # a stranger's manifest must not write to the terminal either
            what = ascii(what)
        self.store, self.path, self.what = store, path, what
        usual = self.remote_mend if isinstance(store, Address) else self.mend
        template = usual if mend is None else mend
        # A group is fetched alone: whoever reads one does not want the others.
        group = path.partition("/")[0]
        part = store / group if group in (CLEAN, *GROUPS) else store
        self.hint = template.format(store=store, part=part, name=store.name.removesuffix(".zarr"))
        shown = str(store / path)
        if not shown.isprintable():  # a stray file's name must not reach the terminal as it is
            shown = ascii(shown)
        super().__init__(f"{shown}: {what}. To mend it: {self.hint}")


def as_pinned(error: StoreError, address: Address) -> StoreError:
    """The error of a pinned store's folder, which git and `decant store pin` mend."""
    again = f"`decant store pin {{name}} {address.replace('{', '{{').replace('}', '}}')}`"
    mend = f"`git checkout {{store}}` where git has it, or pin it again: {again}"
    return type(error)(error.store, error.path, error.what, mend)


@contextlib.contextmanager
def mended_as(address: Address | None) -> Iterator[None]:
    """Have the errors of a store's folder say how they are mended if it is pinned to an address."""
    try:
        yield
    except StoreError as error:
        if address is None or isinstance(error.store, Address):
            raise
        raise as_pinned(error, address) from error


class StoreMissingError(StoreError):
    """There is no such store."""

    mend = _FETCH


class GroupMissingError(StoreError):
    """The store lacks the group that is to be read."""

    mend = "`dvc pull {part}`, or add the group to the teacher's entry in `dumps` and " + _REPEAT


class ManifestMissingError(StoreError):
    """A group without its manifest: unfinished, or pulled in part."""

    mend = _FETCH


class ManifestError(StoreError):
    """A manifest that is damaged, malformed or contradicts itself."""


class SchemaError(StoreError):
    """A store written under a schema that this version does not know."""

    mend = (
        "`git pull` (update this checkout to the version that wrote the store), or "
        + _REPEAT
        + " with this one"
    )


class MissingFileError(StoreError):
    """A file that the manifest lists is not there."""

    mend = _FETCH


class ExtraFileError(StoreError):
    """A file or folder that does not belong to the store."""

    mend = "move it elsewhere, or delete it"


class WrongSizeError(StoreError):
    """A file whose size is not the manifest's."""


class DamagedFileError(StoreError):
    """A file whose bytes are not those that were written."""


class MetadataError(StoreError):
    """Zarr metadata other than this layout's."""


class LinkError(StoreError):
    """A linked directory, or something that is no regular file."""


class LimitError(StoreError):
    """Sizes beyond anything that a store holds."""

    remote_mend = "do not use this store unless you trust its source"
    mend = "do not use this store unless you trust its source; " + _REPEAT + " to make your own"


class DatasetMismatchError(StoreError):
    """A store of another data set, class order, subset or normalisation than the student's."""

    mend = (
        "`dvc pull --force data/prepared` brings the data set of the commit, or `dvc repro "
        "dump@{name}` dumps the teacher on this one"
    )
    remote_mend = "`dvc pull --force data/prepared` brings the data set of the commit"


class StaleStoreError(StoreError):
    """A store of another version than the one of the project's commit."""

    mend = _FETCH
    remote_mend = (
        "`git checkout` of data/stores and data/versions brings both of one commit, or pin what is there "
        "now: `decant store pin NAME {store}`"
    )


class NonFiniteError(StoreError):
    """Logits or features that are infinite or NaN."""


class PlanError(StoreError):
    """A plan whose values no view can have."""


class StaleWorkError(StoreError):
    """A work folder that holds views of another teacher, plan or recipe."""

    mend = "delete that folder and run the stage again"


class IncompleteStoreError(StoreError):
    """Views that are still to be computed."""

    mend = _REPEAT + " again; it goes on from there"


class ChangedStoreError(StoreError):
    """A store that is another one at its address than when it was pinned, or opened."""


class UnreachableError(StoreError):
    """A server that does not answer, or not with the object."""

    remote_mend = (
        "check the address, the network and, for a bucket, that your credentials are in the environment "
        "(docs/sharing.md), then run the same command again: finished work is kept"
    )


class ForbiddenError(UnreachableError):
    """A server that wants other credentials."""
