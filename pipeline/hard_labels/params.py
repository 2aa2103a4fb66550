"""Parameters of networks that learn from hard labels: entries of `teachers` and `baselines`."""

from dataclasses import field
from typing import Any, ClassVar

from pydantic import Field

from pipeline.core.normalisation import Deviations, Means, Normalisation
from pipeline.core.params import Fraction, Seed, check_seeds, checked


@checked
class Mixup:
    """Mixup of a network that learns from hard labels: lam ~ Beta(alpha, alpha) per image."""

    alpha: float = Field(gt=0, description="of mixup's weights, lam ~ Beta(alpha, alpha)")
    share: Fraction = Field(
        default=1.0, description="part of the images of each epoch that is mixed"
    )


@checked
class WeightsFile:
    """Weights that were trained elsewhere; mean and std are of the normalisation of their training."""

    path: str = Field(description="safetensors file, as `decant import-teacher` writes it")
    sha256: str = Field(description="digest of the weights, in hexadecimal")
    mean: Means | None = Field(
        default=None, description="of pixel/255, per channel; null: the data set's"
    )
    std: Deviations | None = Field(
        default=None, description="of pixel/255, per channel; null: the data set's"
    )

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            absent = "std" if self.std is None else "mean"
            raise ValueError(f"{absent}: mean and std go together, give both")

    @property
    def normalisation(self) -> Normalisation | None:
        """The weights' own normalisation, if one is given."""
        if self.mean is None or self.std is None:
            return None
        return Normalisation(self.mean, self.std)


@checked
class TeacherParams:
    """One entry of `teachers`: a network that is trained, or read from `weights`, to be dumped."""

    network: str = Field(description="a name, or the path of one of your own (module:Class)")
    seed: Seed = Field(description="of weights, order of the images, augmentation")
    mixup: Mixup | None = None
    weights: WeightsFile | None = None
    training: dict[str, Any] = field(default_factory=dict)
    replicates: ClassVar[int] = 1


@checked
class BaselineParams:
    """One entry of `baselines`: a network trained alone."""

    network: str = Field(description="a name, or the path of one of your own (module:Class)")
    seed: Seed = Field(description="of the first replicate; replicate r has seed + r")
    replicates: int = Field(
        ge=1, description="networks that are trained, each with a seed of its own"
    )
    mixup: Mixup | None = None
    training: dict[str, Any] = field(default_factory=dict)
    weights: ClassVar[None] = None

    def __post_init__(self) -> None:
        check_seeds(self.seed, self.replicates)
