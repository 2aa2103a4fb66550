"""The normalisation of images before a network sees them."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as model

from pipeline.core.params import STRICT

Channels = tuple[float, float, float]

_Mean = Annotated[float, Field(ge=0, le=1, description="of pixel/255")]
_Deviation = Annotated[float, Field(gt=0, le=1, description="of pixel/255")]
_AnyDeviation = Annotated[float, Field(gt=0)]
Means = tuple[_Mean, _Mean, _Mean]
Deviations = tuple[_Deviation, _Deviation, _Deviation]


@model(frozen=True, config=STRICT)
class Normalisation:
    """What is done to an image before a network sees it: (pixel / 255 - mean) / std, per channel."""

    mean: Means
    std: tuple[_AnyDeviation, _AnyDeviation, _AnyDeviation]

    def facts(self) -> dict[str, list[float]]:
        """As records and manifests state it."""
        return {"mean": list(self.mean), "std": list(self.std)}

    def __str__(self) -> str:
        mean, std = (" ".join(f"{x:.4g}" for x in values) for values in (self.mean, self.std))
        return f"mean {mean}, std {std}"
