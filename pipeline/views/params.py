"""Parameters of views: the section `augmentation`, and the groups of a store."""

from typing import Final, Literal

from pydantic import Field

from pipeline.core.params import checked

# 181 x 181 crops, flipped or not, are the last that two bytes number.
MAX_PAD = 90


@checked
class Augmentation:
    """How images are augmented: the section `augmentation` of params.yaml."""

    pad: int = Field(
        ge=0,
        le=MAX_PAD,
        description="zero pixels on each side, before a crop of the image's own size",
    )
    flip: bool = Field(
        description="whether each image is flipped horizontally in half of its views"
    )

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
