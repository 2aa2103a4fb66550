"""Parameters of dumps: entries of `dumps`."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pipeline.core.params import Above, AtLeast, Seed
from pipeline.store.format.codecs import Codec
from pipeline.views.params import Group

GroupName = Literal["clean", "plain", "mixed"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class PlainViews:
    """The `plain` group of a dump: crops and flips."""

    views: Annotated[int, AtLeast(1)]
    draw: Literal["stratified", "random"]
    features: bool = False


@dataclass(frozen=True, kw_only=True)
class MixedViews:
    """The `mixed` group of a dump: crops, flips and mixup with lam ~ Beta(alpha, alpha)."""

    views: Annotated[int, AtLeast(1)]
    draw: Literal["stratified", "random"]
    alpha: Annotated[float, Above(0)]
    features: bool = False


@dataclass(frozen=True, kw_only=True)
class DumpParams:
    """One entry of `dumps`, under the teacher's name. Either group may be null.

    `codec` is how the logits of the views are stored, `precision` what they are computed in (on a GPU
    float32 means TF32). The clean images, which no student trains on, always are computed in float32
    and stored as they are.
    """

    seed: Seed
    batch_size: Annotated[int, AtLeast(1)]
    plain: PlainViews | None
    mixed: MixedViews | None
    codec: Codec = field(default_factory=Codec)
    precision: Precision = "float32"

    def group(self, name: Group) -> PlainViews | MixedViews | None:
        """The parameters of one group, None where it is not dumped."""
        return self.plain if name == "plain" else self.mixed
