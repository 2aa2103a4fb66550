"""Everything that can be wrong with a parameter file, found before any work starts."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipeline.core.class_names import class_numbers
from pipeline.core.dataset_facts import DatasetError, read_class_names
from pipeline.core.dataset_params import CLASS_NAMES, DatasetParams
from pipeline.core.files import PREPARED
from pipeline.core.names import load
from pipeline.core.params import ParamsError, check_names, describe, read
from pipeline.distill.params import Method, StudentParams, groups_of
from pipeline.losses.signatures import check_options, needs_features
from pipeline.models.catalogue import MODELS, canonical_name, check_size, smallest_image
from pipeline.paper.published import check_dataset
from pipeline.planning.parameters import ENTRIES, TRAINED, ParameterFile
from pipeline.raw.imagefolder import find_images
from pipeline.store.format.address import PINNED, Address
from pipeline.training.params import TrainingParams

SECTIONS: dict[str, Any] = {field.name: field.type for field in fields(ParameterFile)}


def check_all(content: dict[str, Any], source: object) -> None:
    """Raises ParamsError that lists all problems of a parameter file, each after the file's name."""
    if problems := Checker(content).problems:
        raise ParamsError([f"{source}: {problem}" for problem in problems])


def _check_method(name: str, entry: dict[str, Any]) -> None:
    method = Method.parse(name, entry)
    check_options(method.loss, method.options)


def _check_network(name: str, image_size: int) -> None:
    """That a network exists and takes the images; torch is imported for one of the user's own alone."""
    if name in MODELS:
        check_size(name, smallest_image(name), image_size, image_size)
        return
    load(name, MODELS, "network", close=canonical_name(name))
    from pipeline.models.registry import check_image_size

    check_image_size(name, image_size)


class Checker:
    """Collects the problems of a parameter file: each section's own, then those between sections."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.problems: list[str] = []
        self.sections = {name: self._section(name, kind) for name, kind in SECTIONS.items()}
        self.problems += [
            f"{name}: unknown section; valid ones: {', '.join(SECTIONS)}"
            for name in content
            if name not in SECTIONS
        ]
        for name in ENTRIES:
            self.problems += check_names(self._names(name), name)
        for name, method in self._valid("methods").items():
            self._attempt(f"methods.{name}", _check_method, name, method)
        for section in TRAINED:
            self._trained(section)
        self._dumps()
        for name, student in self._valid("students").items():
            self._student(f"students.{name}", student)
        self._remote_stores()
        self._evaluation()

    def _section(self, name: str, kind: Any) -> Any:
        """A section, or of one with entries those that could be read."""
        value = self.content.get(name)
        if name not in self.content and name == PINNED:
            return {}
        if name not in self.content:
            self.problems.append(f"{name}: missing section; expected {describe(kind)}")
        elif name not in ENTRIES or not isinstance(value, Mapping):
            return read(kind, value, name, self.problems)
        else:
            entries = {
                key: read(ENTRIES[name], entry, f"{name}.{key}", self.problems)
                for key, entry in value.items()
            }
            return {key: entry for key, entry in entries.items() if entry is not None}
        return None

    def _names(self, name: str) -> list[Any]:
        entries = self.content.get(name)
        return list(entries) if isinstance(entries, dict) else []

    def _valid(self, name: str) -> dict[str, Any]:
        """The entries of a section that could be read."""
        return self.sections[name] or {}

    def _attempt(self, where: str, call: Callable[..., Any], *args: Any) -> None:
        try:
            call(*args)
        except ValueError as error:
            self.problems += [f"{where}: {line}" for line in str(error).splitlines()]

    def _trained(self, section: str) -> None:
        """Networks that exist and take the images, and a training recipe that holds together."""
        dataset, shared = self.sections["dataset"], self.content.get("training")
        size = 512 if dataset is None else dataset.image_size
        for name, entry in self._valid(section).items():
            where = f"{section}.{name}"
            self._attempt(f"{where}.network", _check_network, entry.network, size)
            if entry.training and isinstance(shared, dict):
                problems: list[str] = []
                read(TrainingParams, {**shared, **entry.training}, f"{where}.training", problems)
                # What is wrong with the shared section has been said there.
                known = {f"{where}.{line}" for line in self.problems}
                self.problems += [line for line in problems if line not in known]

    def _dumps(self) -> None:
        dataset = self.sections["dataset"]
        classes = len(CLASS_NAMES.get(dataset.name, ())) if dataset is not None else 0
        for name, dump in self._valid("dumps").items():
            if name not in self._names("teachers"):
                self.problems.append(
                    f"dumps.{name}: no such teacher; valid names: {', '.join(self._names('teachers'))}"
                )
            kept = dump.codec.top_k
            if kept is not None and 0 < classes <= kept:
                self.problems.append(
                    f"dumps.{name}.codec.top_k: keep fewer classes than there are, not {kept} of "
                    f"{classes}"
                )
            if dump.plain is None and dump.mixed is None:
                self.problems.append(
                    f"dumps.{name}: plain and mixed are both null; dump one of them"
                )

    def _remote_stores(self) -> None:
        """Addresses without secrets, under names that no dump has; what lies there, the stage tells."""
        for name, address in self._valid(PINNED).items():
            self._attempt(f"{PINNED}.{name}", Address.parse, address)
            if name in self._names("dumps"):
                self.problems.append(
                    f"{PINNED}.{name}: `dumps` has a store of that name; drop either"
                )

    def _student(self, where: str, student: StudentParams) -> None:
        methods, dumps = self._valid("methods"), self._valid("dumps")
        if student.method not in self._names("methods"):
            names = ", ".join(self._names("methods"))
            self.problems.append(f"{where}.method: no {student.method}; valid names: {names}")
        if student.teacher not in dumps:
            valid = [*self._names("dumps"), *self._names(PINNED)]
            if student.teacher not in valid:
                names = ", ".join(valid)
                text = f"no dump of a teacher {student.teacher}; valid names: {names}"
                self.problems.append(f"{where}.store: {text}")
            return
        method = methods.get(student.method) or {}
        for group in groups_of(student.share):
            views = dumps[student.teacher].group(group)
            if views is None:
                self.problems.append(
                    f"{where}.store: a share of {student.share:g} reads {group} views, and "
                    f"dumps.{student.teacher}.{group} is null"
                )
                continue
            if student.views is not None and student.views > views.views:
                self.problems.append(
                    f"{where}.views: {student.views} are asked for, and "
                    f"dumps.{student.teacher}.{group} has {views.views}"
                )
            if not views.features and needs_features(method.get("loss", "")):
                self.problems.append(
                    f"{where}.method: {student.method} needs the teacher's features: set "
                    f"dumps.{student.teacher}.{group}.features to true"
                )

    def _evaluation(self) -> None:
        dataset, evaluation = self.sections["dataset"], self.sections["evaluation"]
        if dataset is None or evaluation is None:
            return
        if evaluation.paper_tables:
            self._attempt("evaluation.paper_tables", check_dataset, dataset.name)
        names = CLASS_NAMES.get(dataset.name) or self._image_classes(dataset)
        for name, classes in evaluation.vscore.groups.items() if names else ():
            try:
                class_numbers(classes, names, f"evaluation.vscore.groups.{name}")
            except ValueError as error:
                self.problems.append(str(error))

    def _image_classes(self, dataset: DatasetParams) -> tuple[str, ...]:
        """Classes of the folder of images, or else of what was prepared from it; () if unknown."""
        machine = self.sections["machine"]
        if machine is not None and machine.raw.is_dir():
            try:
                return find_images(machine.raw, dataset.test_fraction).class_names
            except DatasetError as error:
                # Another's results need no raw images, and may be all that is wanted here.
                if not PREPARED.exists() and not Path("dvc.lock").exists():
                    self.problems += [f"dataset: {line}" for line in str(error).splitlines()]
        try:
            name, class_names = read_class_names(PREPARED)
        except DatasetError:
            return ()
        return class_names if name == dataset.name else ()
