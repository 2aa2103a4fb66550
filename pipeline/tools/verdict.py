"""All that can be said of a store: of its files, and of its rows where a teacher is at hand."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.compute import pick_device, set_up
from pipeline.core.asked_dataset import load_dataset
from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError
from pipeline.core.machine import Machine
from pipeline.core.progress import Display, counter
from pipeline.models.network import Network
from pipeline.models.registry import build, check_asked_for
from pipeline.models.weights import load_into, load_weights, weights_digest
from pipeline.results.record import RECORD, WEIGHTS, read_record
from pipeline.store.format.layout import SPLITS
from pipeline.store.format.manifest import describe_dataset
from pipeline.store.read import Store, open_store
from pipeline.tools.describe import describe_store, stale_groups
from pipeline.tools.foreign import read_foreign
from pipeline.tools.pin import pin_of
from pipeline.tools.recompute import Recomputed, recompute
from pipeline.tools.verify import Problem, problem, verify_store
from pipeline.views.params import CLEAN
from pipeline.views.predict import place

_BATCH = 256


@dataclass(frozen=True)
class Verdict:
    """What a store is worth.

    Attributes:
        problems: what is wrong with its files; none: they are good.
        facts: see `describe_store`; empty where there are problems.
        recomputed: how rows of each group differ from what the teacher says; none without a teacher.
        images: what the teacher sees, in words; empty without one.
    """

    problems: list[Problem]
    facts: dict[str, Any]
    recomputed: list[Recomputed]
    images: str

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and all(group.good for group in self.recomputed)

    def to_json(self, seed: int) -> dict[str, Any]:
        """Everything but the facts, ready for JSON; `seed` is that of the rows."""
        return {
            "good": self.good,
            "problems": list(map(asdict, self.problems)),
            "recomputed": list(map(asdict, self.recomputed)),
            "seed": seed if self.recomputed else None,
            "images": self.images or None,
        }


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """How rows are recomputed with a teacher.

    Attributes:
        teacher: a folder of a trained one, or a file of weights.
        prepared: folder of the prepared data set.
        content: the parameter file that it was made from, if there is one. Of networks that are not
            Decant's, only those of its teachers are built.
        device: auto, cpu, cuda or cuda:N.
        rows: of each group; `seed` draws them.
        tolerance: the largest difference of a number; None: what the store states, within bounds.
    """

    teacher: Path
    prepared: Path
    content: dict[str, Any] | None
    device: str
    rows: int
    seed: int
    tolerance: float | None


def judge_store(
    store: Path, *, deep: bool, recheck: Mapping[str, Any] | None, display: Display
) -> Verdict:
    """The verdict; `deep` hashes every file, `recheck` (see `Recheck`) recomputes rows of good ones.

    Raises ValueError where teacher or data are not the store's.
    """
    problems = [*verify_store(store, deep=deep), *map(problem, stale_groups(store))]
    if problems:
        return Verdict(problems, {}, [], "")
    facts = describe_store(store)
    if recheck is None:
        return Verdict([], facts, [], "")
    options = Recheck(**recheck)
    data = load_dataset(options.prepared, options.content)
    count = counter(display, "recomputing", len(facts["groups"]))
    comparison = compare_rows(store, facts, data, options)
    count(0)
    recomputed = []
    for group in comparison:
        count(1)
        recomputed.append(group)
    return Verdict([], facts, recomputed, str(data.seen_by(facts["teacher"])))


def compare_rows(
    store: Path, facts: dict[str, Any], data: ImageData, options: Recheck
) -> Iterator[Recomputed]:
    """Recompute rows with a teacher. Raises ValueError where it or the data are not the store's.

    Each group states for itself which teacher saw which images: all have to say the same.
    """
    if facts["groups_disagree_on"]:
        what = " and the ".join(facts["groups_disagree_on"])
        raise DecantError(
            f"{store}: its groups disagree on the {what}, so no teacher made them all: dump it again: "
            f"`dvc repro dump@{facts['name']}`"
        )
    address, cache = pin_of(store)
    opened = open_store(
        store,
        groups=list(facts["groups"]),
        dataset=describe_dataset(data),
        address=address,
        cache=cache,
    )
    if CLEAN in facts["groups"]:
        _check_labels(opened, data)
    check_asked_for(facts["teacher"]["network"], options.content, store)
    path, network = load_teacher(options.teacher, facts["teacher"], data)
    digest, stated = weights_digest(network), facts["teacher"]["weights_sha256"]
    if stated is not None and digest != stated:
        raise DecantError(
            f"{path}: not the weights that made {store} (sha256 {digest[:12]}..., the store's "
            f"{stated[:12]}...). Take the teacher of the store, or dump this one: `dvc repro "
            f"dump@{facts['name']}`"
        )
    machine = Machine(data_root="", device=options.device)
    device = pick_device(machine)
    set_up(device, machine.threads)
    return recompute(
        opened,
        place(network, device),
        data,
        device,
        rows=options.rows,
        seed=options.seed,
        batch_size=_BATCH,
        tolerance=options.tolerance,
    )


def _check_labels(store: Store, data: ImageData) -> None:
    for split, images in zip(SPLITS, (data.train, data.test), strict=True):
        wrong = int((store.clean.labels(split) != images.labels).sum())
        if wrong:
            raise DecantError(
                f"{store.folder}: {wrong:,} of its {split} labels are not the data set's"
            )


def load_teacher(teacher: Path, stated: dict[str, Any], data: ImageData) -> tuple[Path, Network]:
    """A teacher's file of weights, and its network as a store states it, which is built by its name.

    Raises ValueError where the weights do not fit, or where a teacher's folder says that it sees
    images under another normalisation than the store says.
    """
    name = stated["network"]
    network = build(name, len(data.class_names))
    if not teacher.is_dir():
        weights = read_foreign(teacher, network, name=name).state
        load_into(network, weights, source=str(teacher), name=name)
        return teacher, network
    path = teacher / "replicate-0" / WEIGHTS
    load_into(network, load_weights(path), source=str(path), name=name)
    if (teacher / RECORD).exists():
        own = data.normalised(read_record(teacher).normalisation).normalisation
        stores = data.seen_by(stated).normalisation
        if own != stores:
            raise DecantError(
                f"{teacher}: its network sees images under {own}, the store's rows are of {stores}; "
                f"dump it again: `dvc repro dump@{stated['name']}`"
            )
    return path, network
