"""Parameters of views: the section `augmentation`, and the groups of a store."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pipeline.core.params import AtLeast


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How images are augmented: the section `augmentation` of params.yaml.

    `pad` is the number of zero pixels added on each side before a crop of the image's own size;
    `flip` says whether half of the views are flipped horizontally.
    """

    pad: Annotated[int, AtLeast(0)]
    flip: bool

    def __post_init__(self) -> None:
        if self.pad > 90:  # 181 x 181 crops, flipped or not, are the last that two bytes number
            raise ValueError(f"pad: at most 90 pixels, found {self.pad}")

    @property
    def cells(self) -> int:
        """Number of distinct (crop, flip) pairs."""
        return (2 * self.pad + 1) ** 2 * (2 if self.flip else 1)


# A store's groups: the clean images, and the views without and with mixup.
CLEAN: Final = "clean"
PLAIN: Final = "plain"
MIXED: Final = "mixed"
Group = Literal["plain", "mixed"]
GroupName = Literal["clean", "plain", "mixed"]


GROUPS: tuple[Group, ...] = (PLAIN, MIXED)
