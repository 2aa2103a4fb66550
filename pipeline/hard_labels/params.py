"""Parameters of networks that learn from hard labels: entries of `teachers` and `baselines`."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from pipeline.core.dataset import Channels, Normalisation, normalisation_problems
from pipeline.core.params import Above, AtLeast, Between, Seed


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """Mixup of a hard-label run: Beta(alpha, alpha) per image, on a share of the images."""

    alpha: Annotated[float, Above(0)]
    share: Annotated[float, Between(0, 1)] = 1.0


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Weights that were trained elsewhere: a safetensors file and the digest of its weights.

    `mean` and `std` are of the normalisation that they were trained under; both null: the data set's.
    """

    path: str
    sha256: str
    mean: Channels | None = None
    std: Channels | None = None

    def __post_init__(self) -> None:
        problems = normalisation_problems(self.mean, self.std)
        if (self.mean is None) != (self.std is None):
            problems["std" if self.std is None else "mean"] = "mean and std go together, give both"
        if problems:
            raise ValueError("; ".join(f"{key}: {text}" for key, text in problems.items()))

    @property
    def normalisation(self) -> Normalisation | None:
        """The weights' own normalisation, if one is given."""
        if self.mean is None or self.std is None:
            return None
        return Normalisation(self.mean, self.std)


@dataclass(frozen=True, kw_only=True)
class TeacherParams:
    """One entry of `teachers`: a network that is trained, or read from `weights`, to be dumped.

    `training` overrides keys of the shared `training` section.
    """

    network: str
    seed: Seed
    mixup: Mixup | None = None
    weights: WeightsFile | None = None
    training: dict[str, Any] = field(default_factory=dict)
    replicates: int = field(default=1, init=False)


@dataclass(frozen=True, kw_only=True)
class BaselineParams:
    """One entry of `baselines`: a network trained alone; replicate r has the seed `seed + r`."""

    network: str
    seed: Seed
    replicates: Annotated[int, AtLeast(1)]
    mixup: Mixup | None = None
    training: dict[str, Any] = field(default_factory=dict)
    weights: None = field(default=None, init=False)
