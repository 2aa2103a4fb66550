"""A store and the images that it belongs to, opened when they are needed and kept."""

from collections.abc import Mapping, Sequence
from functools import cached_property
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
from pipeline.store.format.manifest import Manifest, describe_dataset
from pipeline.tools.places import StorePlace
from pipeline.views.batches import ImageBank
from pipeline.views.params import CLEAN, GROUPS, MIXED, PLAIN, Augmentation

_Bank = tuple[Path, Augmentation, str]  # prepared folder, augmentation, device


class Source:
    """Where a store lies, and its project; what is kept of them is not pickled, but opened again."""

    def __init__(self, place: StorePlace, project: Path) -> None:
        self.place, self.project = place, project.absolute()
        self.digests = {name: manifest.digest for name, manifest in self.manifests.items()}
        self._data: dict[Path, ImageData] = {}
        self._banks: dict[_Bank, ImageBank] = {}

    @cached_property
    def manifests(self) -> Mapping[str, Manifest]:
        """The manifests of the groups that are there."""
        return self.place.manifests()

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
        store = self.place.open(groups_of(student.share), describe_dataset(data))
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
        store = self.place.open(opened, describe_dataset(data))
        chosen = spread(len(data.train.labels), n) if images is None else images
        facts, clean = seen(store.group(name), view, chosen), {}
        if CLEAN in opened:
            logits = store.clean.logits("train")
            clean = {index: logits[index] for index in chosen}
        header = store.group(name).manifest.header
        assert header.recipe is not None, "views have a recipe"
        return make_strip(facts, header.teacher.name, header.recipe.augmentation, data, clean)

    def __getstate__(self) -> dict[str, Any]:
        place = self.place.absolute()  # the other process may work in another folder
        return {"place": place, "project": self.project, "digests": self.digests}

    def __setstate__(self, state: dict[str, Any]) -> None:
        expected = state["digests"]
        self.__init__(state["place"], state["project"])  # type: ignore[misc]
        if self.digests != expected:
            raise DecantError(
                f"{self.place.where}: is another store than when it was opened (its manifests differ); "
                "open it again"
            )
