"""A store and the images that it belongs to, opened when they are needed and kept."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import index
from pathlib import Path
from typing import Any

from decant.batch import Replay, Student, valid
from pipeline.compute import pick_device
from pipeline.core.dataset import ImageData, load_prepared
from pipeline.core.errors import DecantError
from pipeline.core.files import PREPARED
from pipeline.core.machine import Machine
from pipeline.distill.epochs import store_augmentation
from pipeline.distill.examples import seen, spread
from pipeline.distill.params import groups_of
from pipeline.report.strip import Strip, make_strip
from pipeline.store.format.manifest import DatasetInfo, Manifest, describe_dataset
from pipeline.store.read import Store as OpenStore
from pipeline.tools.places import StorePlace
from pipeline.views.batches import ImageBank
from pipeline.views.params import CLEAN, GROUPS, MIXED, PLAIN, Augmentation

_Bank = tuple[Path, Augmentation, str]  # prepared folder, augmentation, device


class Source:
    """Where a store lies, and its project; what is kept of them is not pickled, but opened again."""

    def __init__(self, place: StorePlace, project: Path) -> None:
        self.where = place.where  # as it was named
        self.place, self.project = place.absolute(), project.absolute()
        self.digests = {name: manifest.digest for name, manifest in self.manifests.items()}
        self._data: dict[Path, ImageData] = {}
        self._banks: dict[_Bank, ImageBank] = {}

    @cached_property
    def manifests(self) -> Mapping[str, Manifest]:
        """The manifests of the groups that are there."""
        return self.place.manifests()

    def open(self, groups: Sequence[str], dataset: DatasetInfo | None = None) -> OpenStore:
        """Open some groups. Raises DecantError where they are not what was found at first."""
        store = self.place.open(groups, dataset)
        for name in groups:
            group = store.clean if name == CLEAN else store.group(name)
            if group.manifest.digest != self.digests.get(name):
                raise self._changed()
        return store

    def _changed(self) -> DecantError:
        what = "is another store than when it was opened (its manifests differ); open it again"
        return DecantError(f"{self.where}: {what}")

    def images(self, prepared: Path | None) -> tuple[Path, ImageData]:
        """The prepared data set of a folder (None: the project's), read once, and the folder.

        Raises DatasetError where it is damaged or not there.
        """
        folder = (self.project / PREPARED if prepared is None else prepared.expanduser()).absolute()
        if folder not in self._data:
            self._data[folder] = load_prepared(folder)
        return folder, self._data[folder]

    def replay(self, student: Student, device: str, prepared: Path | None) -> Replay:
        """The epochs of a student. Raises DecantError where the store has not what it reads."""
        folder, data = self.images(prepared)
        store = self.open(groups_of(student.share), describe_dataset(data))
        where = pick_device(valid(Machine, data_root="", device=device))
        augmentation = store_augmentation(store)
        key = (folder, augmentation, str(where))
        if key not in self._banks:
            images, mean, std = data.train.images, data.mean, data.std
            self._banks[key] = ImageBank(images, mean, std, augmentation, where)
        return Replay(store, data, self._banks[key], student)

    def strip(
        self,
        view: int,
        n: int,
        group: str | None,
        images: Sequence[int] | None,
        prepared: Path | None,
    ) -> Strip:
        """A strip of training images in one view; see `decant.Store.show`."""
        name = group or (MIXED if MIXED in self.manifests else PLAIN)
        if name not in GROUPS:
            raise DecantError(f"group: expected one of {', '.join(GROUPS)}, found {name!r}")
        _, data = self.images(prepared)
        opened = [CLEAN, name] if CLEAN in self.manifests else [name]
        store = self.open(opened, describe_dataset(data))
        chosen = spread(len(data.train.labels), n) if images is None else list(map(index, images))
        facts, clean = seen(store.group(name), index(view), chosen), {}
        if CLEAN in opened:
            logits = store.clean.logits("train")
            clean = {image: logits[image] for image in chosen}
        header = store.group(name).manifest.header
        assert header.recipe is not None, "views have a recipe"
        return make_strip(facts, header.teacher.name, header.recipe.augmentation, data, clean)

    def __getstate__(self) -> dict[str, Any]:
        return {"place": self.place, "project": self.project, "digests": self.digests}

    def __setstate__(self, state: dict[str, Any]) -> None:
        expected = state["digests"]
        self.__init__(state["place"], state["project"])  # type: ignore[misc]
        if self.digests != expected:
            raise self._changed()
