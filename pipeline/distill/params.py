"""Parameters of students: entries of `students` and `methods`."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.core.params import Fraction, Seed, check_seeds, checked
from pipeline.views.params import GROUPS, Group

Sampling = Literal["epoch", "image"]


@checked
class StudentParams:
    """One entry of `students`: a configuration, trained several times."""

    store: str = Field(
        description="what is read below data/stores: T.zarr/plain for share 0, T.zarr/mixed for share 1, "
        "T.zarr in between"
    )
    network: str = Field(description="a name, or the path of one of your own (module:Class)")
    method: str = Field(description="an entry of `methods`")
    share: Fraction = Field(description="part of the images of each epoch that is mixed")
    seed: Seed = Field(description="of the first replicate; replicate r has seed + r")
    replicates: int = Field(
        ge=1, description="networks that are trained, each with a seed of its own"
    )
    views: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="read the first views of each group only; null: all of them"
    )
    view_sampling: Sampling = Field(
        default="epoch",
        description="epoch: one view for all images of an epoch; image: one drawn for every image and "
        "epoch",
    )
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_seeds(self.seed, self.replicates)
        root = PurePosixPath(self.store).parts[:1]
        if not root or not root[0].endswith(".zarr"):
            raise ValueError(
                f"store: expected TEACHER.zarr or a group of one, found {self.store!r}"
            )
        groups = groups_of(self.share)
        expected = f"{root[0]}/{groups[0]}" if len(groups) == 1 else root[0]
        if self.store != expected:
            raise ValueError(
                f"store: a student of share {self.share:g} reads {' and '.join(groups)} views: "
                f"write {expected}, found {self.store!r}"
            )

    @property
    def teacher(self) -> str:
        """Name of the teacher whose store is read."""
        return PurePosixPath(self.store).parts[0].removesuffix(".zarr")


def groups_of(share: float) -> tuple[Group, ...]:
    """The groups of a store that a share reads."""
    if share == 0:
        return ("plain",)
    return ("mixed",) if share == 1 else GROUPS


@dataclass(frozen=True)
class Method:
    """One entry of `methods`: a loss (a name of LOSSES, or a dotted path) and its hyper-parameters."""

    name: str
    loss: str
    options: dict[str, Any]

    @classmethod
    def parse(cls, name: str, entry: dict[str, Any]) -> "Method":
        """Read an entry; what it names is looked at by `DistillationLoss`.

        Raises ValueError where it names no loss.
        """
        if "loss" not in entry:
            raise ValueError("loss: missing; expected the name of a loss")
        if not isinstance(entry["loss"], str):
            raise ValueError(f"loss: expected the name of a loss, found {entry['loss']!r}")
        options = {key: value for key, value in entry.items() if key != "loss"}
        return cls(name, entry["loss"], options)
