"""Which images params.yaml asks for, and the class names of the data sets that are known."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.normalisation import Deviations, Means
from pipeline.core.params import Seed, checked

DatasetName = Literal["digits", "cifar10", "cifar100", "imagefolder"]
CIFAR = ("cifar10", "cifar100")


@checked
class DatasetParams:
    """Which images are used, and how they are split: the section `dataset` of params.yaml."""

    name: DatasetName
    image_size: int = Field(ge=8, le=512, description="height and width in pixels; CIFAR's are 32")
    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="part that is held out of data without a test set of its own, to test on",
    )
    validation_fraction: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="part of the training set that takes the test set's place everywhere; 0: none",
    )
    subset_fraction: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="part of the remaining training set that is kept; with the same seed a smaller subset "
        "lies within a larger one",
    )
    seed: Seed = Field(default=0, description="of these parts")
    mean: Means | None = Field(
        default=None, description="of pixel/255, per channel; null: measured on the training images"
    )
    std: Deviations | None = Field(
        default=None, description="of pixel/255, per channel; null: measured on the training images"
    )

    def __post_init__(self) -> None:
        problems = []
        if self.name in CIFAR and self.image_size != 32:
            found = self.image_size
            problems.append(f"image_size: CIFAR images are 32 pixels wide; set 32, found {found}")
        if self.name in CIFAR and self.test_fraction is not None:
            problems.append("test_fraction: CIFAR has a test set of its own; set null")
        if self.name == "digits" and self.test_fraction is None:
            problems.append(
                "test_fraction: digits has no test set of its own; set the part to hold out"
            )
        if problems:
            raise ValueError("; ".join(problems))


_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "digits": tuple("0123456789"),
    "cifar10": (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    "cifar100": tuple(_CIFAR100.split()),
}
