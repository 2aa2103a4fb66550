"""A teacher's store: what it is, what a student sees of it, and a picture of that."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from PIL.Image import Image

from decant.batch import Step, Student, valid
from decant.dataset import StoreDataset
from decant.loader import Loader
from decant.source import Source
from pipeline.core.errors import DecantError
from pipeline.distill.params import Sampling
from pipeline.report.strip import Strip
from pipeline.report.strip_picture import strip_image
from pipeline.store.format.manifest import DatasetInfo, Manifest, TeacherInfo
from pipeline.store.read import CleanGroup, ViewGroup
from pipeline.tools.places import find_store, project_folder
from pipeline.views.params import CLEAN, GROUPS
from stages.shared.tables import bytes_text, shown

PathLike = str | os.PathLike[str]


def open(store: PathLike) -> "Store":
    """Open a teacher's store; only its manifests are read.

    Args:
        store: the name of a store below data/stores, also of a pinned one; a folder; or an address
            (s3://, gs://, https://, http://), at which it is read in place.

    Raises DecantError where there is none, with the nearest names, and where it is damaged.
    """
    project = project_folder()
    return Store(Source(find_store(store, project), project))


class Store:
    """A store of a teacher's logits, as `decant.open` returns it; it can be pickled."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def name(self) -> str:
        """Its name, without .zarr."""
        return self._source.place.folder.name.removesuffix(".zarr")

    @property
    def manifests(self) -> Mapping[str, Manifest]:
        """Of the groups that are there (`clean`, `plain`, `mixed`): all that is known of them."""
        return self._source.manifests

    @property
    def teacher(self) -> TeacherInfo:
        """Whose logits these are: name, network, training, `top1_accuracy` (a fraction)."""
        return self._first.header.teacher

    @property
    def dataset_info(self) -> DatasetInfo:
        """The data set: name, numbers of images, `class_names`, normalisation, fingerprint."""
        return self._first.header.dataset

    @property
    def _first(self) -> Manifest:
        return next(iter(self.manifests.values()))

    def __repr__(self) -> str:
        return "\n".join(_lines(self, str(self._source.where)))

    def group(self, name: str) -> ViewGroup:
        """The `plain` or `mixed` group, to read `plan(v)`, `logits(v)`, `features(v)` of view v.

        Raises DecantError for another name, a StoreError where the store lacks the group.
        """
        if name not in GROUPS:
            raise DecantError(f"group: expected one of {', '.join(GROUPS)}, found {name!r}")
        return self._source.open([name]).group(name)

    @property
    def clean(self) -> CleanGroup:
        """The clean images: `logits(split)`, `features(split)`, `labels(split)` of "train" or "test"."""
        return self._source.open([CLEAN]).clean

    def loader(
        self,
        *,
        share: float = 0.0,
        epoch: int = 0,
        batch_size: int = 64,
        device: str | torch.device = "auto",
        replicate: int = 0,
        seed: int = 0,
        views: int | None = None,
        sampling: Sampling = "epoch",
        features: bool = False,
        prepared: PathLike | None = None,
    ) -> Loader:
        """The batches of one epoch of a student, in its order and with its numbers, bit for bit.

        Args:
            share: part of the images that is mixed, 0 to 1.
            epoch: from 0.
            device: "auto", "cpu", "cuda" or "cuda:N": where batches are made.
            replicate: number of the student's replicate, which starts with another view.
            seed: of the student's entry in params.yaml; replicate r has seed + r.
            views: read the first views of each group only; None: all.
            sampling: "epoch" (one view an epoch) or "image" (one drawn for each image).
            features: read the teacher's features, too.
            prepared: folder of the prepared data set; None: the project's data/prepared.

        Raises DecantError for other values, a data set that is not the store's, or a damaged store.
        """
        step = valid(Step, epoch=epoch, batch_size=batch_size)
        student = Student.of(share, replicate, seed, views, sampling, features)
        replay = self._source.replay(student, str(device), _folder(prepared))
        return Loader(replay, step.epoch, step.batch_size)

    def dataset(
        self,
        *,
        share: float = 0.0,
        epoch: int = 0,
        replicate: int = 0,
        seed: int = 0,
        views: int | None = None,
        sampling: Sampling = "epoch",
        features: bool = False,
        prepared: PathLike | None = None,
    ) -> StoreDataset:
        """The same images one by one, as a torch data set for a DataLoader; see `loader`.

        Batches are made on the CPU.
        """
        student = Student.of(share, replicate, seed, views, sampling, features)
        make = partial(self._source.replay, student, "cpu", _folder(prepared))
        step = valid(Step, epoch=epoch)
        return StoreDataset(make, epoch=step.epoch, may_fork=not self._source.place.is_remote)

    def strip(
        self,
        *,
        view: int = 0,
        n: int = 8,
        group: str | None = None,
        images: Sequence[int] | None = None,
        prepared: PathLike | None = None,
    ) -> Strip:
        """What `show` draws, as data: images, mixup weights, likeliest classes. Arguments as there."""
        return self._source.strip(view, n, group, images, _folder(prepared))

    def show(
        self,
        *,
        view: int = 0,
        n: int = 8,
        group: str | None = None,
        images: Sequence[int] | None = None,
        prepared: PathLike | None = None,
    ) -> Image:
        """A picture of what a student sees: each image, its crop, its partner, the mixed image.

        Beside them stand the teacher's five likeliest classes, with probabilities at T = 1.

        Args:
            n: how many images, spread over the data set.
            group: "plain" or "mixed"; None: mixed where the store has it.
            images: indices of training images, in place of `n`.
            prepared: folder of the prepared data set; None: the project's data/prepared.

        Raises DecantError for a view or an image that is not there, or another data set's images.
        """
        strip = self.strip(view=view, n=n, group=group, images=images, prepared=prepared)
        return strip_image(strip)


def _folder(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)


def _lines(store: Store, where: str) -> Iterator[str]:
    """A store in a few lines; a stranger's manifest cannot move the cursor."""
    teacher, data = store.teacher, store.dataset_info
    top1 = "not known" if teacher.top1_accuracy is None else f"{teacher.top1_accuracy:.2%}"
    weights = teacher.weights_sha256
    yield f"Store {store.name} ({shown(where)})"
    yield (
        f"  teacher   {teacher.name} ({shown(teacher.network)}), top-1 {top1}, weights "
        f"{'not known' if weights is None else weights[:12]}"
    )
    yield (
        f"  data set  {data.name}: {data.train_images:,} training and {data.test_images:,} test images, "
        f"{data.classes} classes, fingerprint {data.fingerprint[:12]}"
    )
    for name, manifest in store.manifests.items():
        yield f"  {name:<9} {', '.join(_group_facts(manifest))}"
        if manifest.header.teacher != teacher or manifest.header.dataset != data:
            yield "            of another teacher or data set than the first group"


def _group_facts(manifest: Manifest) -> Iterator[str]:
    recipe, error = manifest.header.recipe, manifest.measured_error
    if recipe is not None:
        yield f"{manifest.views} views ({recipe.draw})"
    if recipe is not None and recipe.alpha is not None:
        yield f"mixup alpha {recipe.alpha:g}"
    yield f"logits {manifest.header.codec}"
    if "kl_t4" in error:
        yield f"KL {error['kl_t4']:.1e} nats at T=4"
    yield "no features" if manifest.feature_dim is None else f"{manifest.feature_dim} features"
    yield bytes_text(manifest.total_bytes)
    yield f"manifest {manifest.digest[:12]}"
