"""What a group's manifest states: data set, teacher, recipe, arithmetic, and every file.

The types say which values are possible; they are checked when a manifest is parsed
(`manifest_text`), which may come from anyone, and before anything is computed (`check_header`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    TypeAdapter,
    ValidationError,
)

from pipeline.core.class_names import class_name_problem
from pipeline.core.dataset import ImageData
from pipeline.core.files import canonical_json
from pipeline.core.normalisation import Normalisation
from pipeline.store.format.codecs import Codec
from pipeline.store.format.layout import GroupShape
from pipeline.views.params import CLEAN, PLAIN, GroupName
from pipeline.views.plans import ViewRecipe

# Largest absolute difference of a logit that a recomputation may show: half a unit of float16's last
# place for logits below 32, and as much again for another device's or batch size's arithmetic.
TOLERANCE = 0.02
# Of a GPU's dump, whose float32 is TF32, against a CPU: with operands rounded to TF32, logits of a
# resnet20 and a resnet32 of 63 % on CIFAR-100 (up to 27) differed by up to 0.022 in 1,000 images.
TF32_TOLERANCE = 0.1


Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$")]
Count = Annotated[int, Field(ge=1, lt=2**31)]
MAX_WIDTH = 2**20
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Fraction = Annotated[float, Field(ge=0, le=1)]
# What a training was given: parameters, and at most sections of them, however deep others nest JSON.
_Value = str | int | float | bool | None
Facts = Mapping[str, _Value | list[_Value] | Mapping[str, _Value | list[_Value]]]
_EXACT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """The data set of a store, as the teacher saw it.

    `fingerprint` covers images, labels, class names and their order; `mean` and `std` are of the
    normalisation, per channel, of pixel / 255.
    """

    __pydantic_config__: ClassVar = _EXACT

    name: Name
    fingerprint: Digest
    train_images: Count
    test_images: Count
    classes: Width
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]

    def __post_init__(self) -> None:
        if len(self.class_names) != self.classes:
            raise ValueError(
                f"class_names: {len(self.class_names)} names of {self.classes} classes"
            )
        for name in self.class_names:
            if problem := class_name_problem(name):
                raise ValueError(f"class_names: {name[:200]!a} {problem}")


def describe_dataset(data: ImageData) -> DatasetInfo:
    """What a store records of a prepared data set."""
    return DatasetInfo(
        name=data.name,
        fingerprint=data.fingerprint,
        train_images=len(data.train.labels),
        test_images=len(data.test.labels),
        classes=len(data.class_names),
        class_names=data.class_names,
        mean=data.mean,
        std=data.std,
    )


@dataclass(frozen=True, kw_only=True)
class TeacherInfo:
    """Whose logits these are; `weights_sha256` is None where they were computed elsewhere.

    `normalisation` is the teacher's own, None where it is the data set's. It is what the teacher saw;
    students see the data set's.
    """

    __pydantic_config__: ClassVar = _EXACT

    name: Name
    network: str
    weights_sha256: Digest | None
    training: Facts
    top1_accuracy: Fraction | None
    normalisation: Normalisation | None = None


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the one who dumps states about a group.

    `recipe` is None in the clean group. `batch_size` and `precision` (the arithmetic) are those of
    the forward pass; the batch size is None where the logits were computed elsewhere. `tolerance`
    is the largest absolute difference of a logit that a recomputation may show. `dtype` is what is
    read, `codec` how it is stored; `lossy` says that what is read is worse than the float16 of a
    float32 forward pass.
    """

    __pydantic_config__: ClassVar = _EXACT

    group: GroupName
    dataset: DatasetInfo
    teacher: TeacherInfo
    recipe: ViewRecipe | None
    batch_size: Count | None
    precision: Name
    tolerance: NonNegativeFloat
    dtype: Literal["float16"] = "float16"
    codec: Codec = field(default_factory=Codec)
    lossy: bool = False
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        if (self.recipe is None) != (self.group == CLEAN):
            raise ValueError("recipe: plain and mixed views have one, the clean group has none")
        if self.recipe is not None and (self.recipe.alpha is None) != (self.group == PLAIN):
            raise ValueError("recipe: mixed views have an alpha, plain ones have none")
        if self.codec.lossy and not self.lossy:
            raise ValueError(f"lossy: the codec {self.codec.name} is lossy, and so is the group")
        if self.codec.top_k is not None and self.codec.top_k >= self.dataset.classes:
            found = f"{self.codec.top_k} of {self.dataset.classes} classes"
            raise ValueError(f"codec.top_k: keep fewer classes than there are, not {found}")


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """Size in bytes and sha256 of a file; of a chunk also the CRC-32C that ends it."""

    __pydantic_config__: ClassVar = _EXACT

    size: Annotated[int, Field(ge=0, le=2**40)]
    sha256: Digest
    crc32c: Annotated[int, Field(ge=0, lt=2**32)] | None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A finished group: its header, its size and its files (path inside the group -> facts).

    `measured_error` is what the codec was measured to cost, over all views, against the float16
    logits (`difference`: KL in nats and so on); empty where it costs nothing. Of a group that was
    computed in bfloat16 it is what that and the codec cost together, on a sample (`dump_error`).
    `digest` is the sha256 of the canonical JSON of all the rest.
    """

    __pydantic_config__: ClassVar = _EXACT

    schema: int
    header: Header
    views: Annotated[int, Field(ge=0, le=10**6)]
    feature_dim: Width | None
    plan_sha256: Digest | None
    measured_error: Mapping[str, float]
    files: Mapping[str, FileFacts]
    digest: Digest

    @property
    def group(self) -> str:
        """Name of the group."""
        return self.header.group

    @property
    def shape(self) -> GroupShape:
        """What the layout needs to know."""
        return group_shape(self.header, self.views, self.feature_dim)

    @property
    def metadata(self) -> dict[str, FileFacts]:
        """The files that hold no numbers: Zarr's metadata."""
        return {path: facts for path, facts in self.files.items() if facts.crc32c is None}

    @property
    def total_bytes(self) -> int:
        """Bytes of all files of the group, without the manifest."""
        return sum(facts.size for facts in self.files.values())


def group_shape(header: Header, views: int, feature_dim: int | None) -> GroupShape:
    """The shape of a group that has this header."""
    return GroupShape(
        group=header.group,
        train_images=header.dataset.train_images,
        test_images=header.dataset.test_images,
        classes=header.dataset.classes,
        views=views,
        feature_dim=feature_dim,
        codec=header.codec,
    )


def header_facts(header: Header) -> dict[str, Any]:
    """A header as a manifest states it.

    A teacher without a normalisation of its own has no key for it, as in manifests written before there
    was one: the same inputs give the same bytes.
    """
    facts = asdict(header)
    own = header.teacher.normalisation
    if own is None:
        del facts["teacher"]["normalisation"]
    else:
        facts["teacher"]["normalisation"] = own.facts()
    return facts


_HEADER = TypeAdapter(Header)
_SHOWN_PROBLEMS = 5


def parse_header(raw: str | bytes) -> Header:
    """A header from JSON. Raises ValueError, saying what is wrong."""
    try:
        return _HEADER.validate_json(raw, strict=True)
    except ValidationError as error:
        raise ValueError(problems_text(error)) from None


def problems_text(error: ValidationError) -> str:
    """What is wrong with JSON, in a line: the first few problems, each after its key's path."""
    problems = [
        ".".join(map(str, found["loc"])) + f": {found['msg']}"
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return "; ".join(problem[:200] for problem in problems[:_SHOWN_PROBLEMS])


def check_header(header: Header) -> None:
    """Raise ValueError where a header could not be read back from a manifest."""
    parse_header(canonical_json(header_facts(header)))
