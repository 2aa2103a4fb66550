"""What a student sees of a few images, for its record: crops, mixup weights, the teacher's likeliest classes.

Numbers alone: whoever has the prepared data set can cut and mix the pixels again (`pipeline.report.strip`).
"""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from pipeline.core.errors import DecantError
from pipeline.results.metrics import likeliest
from pipeline.results.record import CropFacts, ExampleFacts, SeenFacts
from pipeline.results.samples import sample_rows
from pipeline.store.read import Store, ViewGroup
from pipeline.views.params import MIXED, PLAIN
from pipeline.views.plans import View

EXAMPLES = 4


def spread(count: int, n: int) -> list[int]:
    """`n` images out of `count`, at equal distances; all where there are fewer. Raises DecantError for none.

    >>> spread(1000, 4)
    [0, 250, 500, 750]
    """
    if n < 1:
        raise DecantError(f"n: expected 1 image or more, found {n}")
    n = min(n, count)
    return [place * count // n for place in range(n)]


def first_seen(store: Store, labels: NDArray[Any]) -> SeenFacts:
    """A few images in the first view that students of a store read: a mixed one where they read any.

    The images are among those of which networks leave clean logits (`pipeline.results.samples`), so that
    the teacher's answer to the clean image is known as well.

    Args:
        labels: i4 [N], of the training images.

    Raises StoreError where that view is damaged.
    """
    rows = sample_rows(labels).tolist()
    chosen = [rows[place] for place in spread(len(rows), EXAMPLES)]
    return seen(store.group(MIXED if MIXED in store.groups else PLAIN), 0, chosen)


def seen(group: ViewGroup, v: int, images: Sequence[int]) -> SeenFacts:
    """Some training images in view `v` of a store's plain or mixed group.

    Raises DecantError for a view or an image that is not there, a StoreError for a damaged store.
    """
    _check_number("view", v, group.views)
    for index in images:
        _check_number("image", index, group.num_images)
    plan, logits = group.plan(v), group.logits(v)
    examples = (
        ExampleFacts(
            image=_crop(plan, index),
            partner=None if plan.partner is None else _crop(plan, int(plan.partner[index])),
            lam=None if plan.lam is None else float(plan.lam[index]),
            likely=likeliest(logits[index]),
        )
        for index in images
    )
    return SeenFacts(group=group.name, view=v, images=tuple(examples))


def _crop(plan: View, index: int) -> CropFacts:
    y, x = plan.crop_yx[index].tolist()
    return CropFacts(index=index, crop_yx=(y, x), flip=bool(plan.flip[index]))


def _check_number(what: str, number: int, count: int) -> None:
    if not 0 <= number < count:
        raise DecantError(f"{what}: expected 0 to {count - 1}, found {number}")
