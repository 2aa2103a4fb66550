"""Layout of a store: a group's arrays, how they are cut into files, and their Zarr metadata.

All of it follows from a few facts (`GroupShape`), so the metadata of an untrusted store is never
interpreted: it is compared, byte for byte, with what is generated here. One view is one chunk and
one file (`logits/c.7.0.0` is view 7), cut further only over 64 MiB; plans hold 16 views in a chunk.
Some codecs store logits as several arrays (`lossy`).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline.core.files import canonical_json
from pipeline.store.format.codecs import Codec
from pipeline.store.format.lossy import Part, logit_parts
from pipeline.views.params import CLEAN
from pipeline.views.params import GROUPS as VIEW_GROUPS
from pipeline.views.plans import PLAN_ARRAYS, PLAN_DTYPES

SCHEMA = 1
GROUPS = (CLEAN, *VIEW_GROUPS)
SPLITS = ("train", "test")
MANIFEST = "manifest.json"
METADATA = "zarr.json"
PLAN_VIEWS_PER_CHUNK = 16
MAX_CHUNK_BYTES = 64 * 2**20

Role = Literal["plan", "values", "labels"]
Index = tuple[int, ...]

_FILL: dict[str, float | int | bool] = {"f": float("nan"), "i": -1, "u": 255, "b": False}
_DENSE = Codec()


@dataclass(frozen=True, kw_only=True)
class GroupShape:
    """What decides the arrays of a group; `views` is 0 for the clean group."""

    group: str
    train_images: int
    test_images: int
    classes: int
    views: int
    feature_dim: int | None
    codec: Codec


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """One array: its path inside the group, its dtype and how it is cut into chunks.

    `lead` is the number of leading axes that count views (1 in plain and mixed, 0 in clean); the
    next axis counts images. `role` is `plan`, `values` (logits and features, which have to be
    finite) or `labels`. `codec` is that of this array: dense, zstd or bitround.
    """

    path: str
    role: Role
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dimensions: tuple[str, ...]
    lead: int
    codec: Codec

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk's numbers."""
        return math.prod(self.chunks) * self.dtype.itemsize

    @property
    def grid(self) -> Index:
        """Number of chunks along each axis."""
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def fill(self) -> float | int | bool:
        """What pads the last chunk of an axis."""
        return _FILL[self.dtype.kind]

    def indices(self, lead: Index = ()) -> Iterator[Index]:
        """Position of every chunk in the grid, or of those at one place of the leading axis."""
        axes = [*((place,) for place in lead), *map(range, self.grid[len(lead) :])]
        return itertools.product(*axes)

    def file(self, index: Index) -> str:
        """Path of a chunk's file inside the group."""
        return f"{self.path}/c.{'.'.join(map(str, index))}"

    def metadata(self) -> bytes:
        """The array's `zarr.json`."""
        grid = {"name": "regular", "configuration": {"chunk_shape": list(self.chunks)}}
        return canonical_json(
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": list(self.shape),
                "data_type": self.dtype.name,
                "chunk_grid": grid,
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
                "fill_value": "NaN" if isinstance(self.fill, float) else self.fill,
                "codecs": self.codec.chain(self.dtype.itemsize),
                "attributes": {},
                "dimension_names": list(self.dimensions),
            }
        )


def group_arrays(shape: GroupShape) -> dict[str, ArraySpec]:
    """The arrays of a group by path, the plan's first."""
    if shape.group == CLEAN:
        counts = {"train": shape.train_images, "test": shape.test_images}
        specs = [spec for split, count in counts.items() for spec in _clean(shape, split, count)]
    else:
        specs = [*_plan(shape), *_values(shape, "", (shape.views,), shape.train_images)]
    return {spec.path: spec for spec in specs}


def metadata_files(group: str, arrays: dict[str, ArraySpec]) -> dict[str, bytes]:
    """Every `zarr.json` inside a group, by path."""
    folders = {METADATA: canonical_json(_node({}))}
    if group == CLEAN:
        folders |= {f"{split}/{METADATA}": canonical_json(_node({})) for split in SPLITS}
    return folders | {f"{path}/{METADATA}": spec.metadata() for path, spec in arrays.items()}


def root_metadata() -> bytes:
    """The `zarr.json` at the root of a store."""
    return canonical_json(_node({"decant": {"schema": SCHEMA}}))


def _node(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def _plan(shape: GroupShape) -> Iterator[ArraySpec]:
    assert shape.group in VIEW_GROUPS, shape.group
    for name in PLAN_ARRAYS[shape.group]:
        pairs = name == "crop_yx"
        yield _array(
            path=name,
            role="plan",
            dtype=np.dtype(PLAN_DTYPES[name]),
            shape=(shape.views, shape.train_images, *((2,) if pairs else ())),
            views_per_chunk=PLAN_VIEWS_PER_CHUNK,
            dimensions=("view", "image", *(("yx",) if pairs else ())),
        )


def _values(
    shape: GroupShape, prefix: str, views: tuple[int, ...], count: int
) -> Iterator[ArraySpec]:
    lossless = shape.codec.lossless
    arrays = [
        (f"logits{part.suffix}", part, shape.codec if shape.codec.keep_bits else lossless)
        for part in logit_parts(shape.codec, shape.classes)
    ]
    if shape.feature_dim is not None:
        arrays.append(("features", Part("", "f2", "feature", shape.feature_dim), lossless))
    for name, part, codec in arrays:
        yield _array(
            path=prefix + name,
            role="values",
            dtype=np.dtype(part.dtype),
            shape=(*views, count, *(() if part.width is None else (part.width,))),
            views_per_chunk=1,
            dimensions=(
                *("view" for _ in views),
                "image",
                *(() if part.dimension is None else (part.dimension,)),
            ),
            codec=codec,
        )


def _clean(shape: GroupShape, split: str, count: int) -> Iterator[ArraySpec]:
    yield from _values(shape, f"{split}/", (), count)
    yield _array(
        path=f"{split}/labels",
        role="labels",
        dtype=np.dtype("i4"),
        shape=(count,),
        views_per_chunk=1,
        dimensions=("image",),
    )


def _array(
    *,
    path: str,
    role: Role,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    views_per_chunk: int,
    dimensions: tuple[str, ...],
    codec: Codec = _DENSE,
) -> ArraySpec:
    lead = int(dimensions[0] == "view")
    images, *rest = shape[lead:]
    row_bytes = views_per_chunk**lead * math.prod(rest) * dtype.itemsize
    # As few pieces as the limit allows, of equal size, so that the last one is hardly padded.
    pieces = max(1, -(-images * row_bytes // MAX_CHUNK_BYTES))
    rows = -(-images // pieces)
    return ArraySpec(
        path=path,
        role=role,
        dtype=dtype.newbyteorder("<"),
        shape=shape,
        chunks=(*(views_per_chunk,) * lead, rows, *rest),
        dimensions=dimensions,
        lead=lead,
        codec=codec,
    )
