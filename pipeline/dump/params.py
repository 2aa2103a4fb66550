"""Parameters of dumps: entries of `dumps`."""

from dataclasses import field
from typing import Literal

from pydantic import Field

from pipeline.core.params import Seed, checked
from pipeline.store.format.codecs import Codec
from pipeline.views.params import Group

Precision = Literal["float32", "bfloat16"]


@checked
class PlainViews:
    """The `plain` group of a dump: crops and flips."""

    views: int = Field(ge=1, description="how many views of the whole training set")
    draw: Literal["stratified", "random"] = Field(
        description="stratified: each image meets every crop and flip once before any repeats; random: "
        "each is independent"
    )
    features: bool = Field(default=False, description="store the penultimate features as well")


@checked
class MixedViews(PlainViews):
    """The `mixed` group of a dump: crops, flips and mixup with lam ~ Beta(alpha, alpha)."""

    alpha: float = Field(gt=0, description="of mixup's weights, lam ~ Beta(alpha, alpha)")


@checked
class DumpParams:
    """One entry of `dumps`, under the teacher's name; either group may be null, not both.

    The clean images, which no student trains on, always are computed in float32 and stored as they are.
    """

    seed: Seed = Field(description="of crops, flips, partners and weights")
    batch_size: int = Field(ge=1, description="images of a forward pass")
    plain: PlainViews | None
    mixed: MixedViews | None
    codec: Codec = field(default_factory=Codec)
    precision: Precision = Field(
        default="float32",
        description="what the logits of views are computed in; on a GPU float32 is TF32",
    )

    @property
    def view_count(self) -> int:
        """Views of all groups together."""
        return sum(params.views for params in (self.plain, self.mixed) if params is not None)

    def group(self, name: Group) -> PlainViews | MixedViews | None:
        """The parameters of one group, None where it is not dumped."""
        return self.plain if name == "plain" else self.mixed
