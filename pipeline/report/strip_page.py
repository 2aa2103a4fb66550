"""A strip of images as the page shows it: panels with words below them, and lists of likely classes."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from pipeline.core.dataset import Images
from pipeline.report.strip import Example, Likely, Strip

LARGEST = 128  # pixels of a side: larger images are made smaller


@dataclass(frozen=True, eq=False)
class Panel:
    """An image: what it is, what stands below it, and what a reader hears who does not see it."""

    title: str
    pixels: Images
    text: str
    alt: str


@dataclass(frozen=True)
class Line:
    """A likely class: `kind` is "own" for the image's class, "partner" for its partner's, else empty."""

    name: str
    probability: float
    kind: str


@dataclass(frozen=True)
class Row:
    """An image's panels, and title -> likely classes."""

    panels: tuple[Panel, ...]
    lists: dict[str, tuple[Line, ...]]


def rows(strip: Strip) -> list[Row]:
    """What the page shows of each image."""
    return [
        Row(tuple(_panels(example, strip.class_names)), _lists(example))
        for example in strip.examples
    ]


def _panels(example: Example, names: Sequence[str]) -> list[Panel]:
    own, partner = names[example.label], example.partner
    image = f"training image {example.index}, {own}"
    panels = [
        Panel("clean", example.clean, own, f"{image}, as it is"),
        Panel("augmented", example.augmented, "", f"{image}, cropped as the view has it"),
    ]
    if partner is None:
        return panels
    other, weight = names[partner.label], f"\N{GREEK SMALL LETTER LAMDA} = {partner.lam:.2f}"
    panels.append(
        Panel(
            "partner",
            partner.pixels,
            other,
            f"its partner, training image {partner.index}, {other}",
        )
    )
    heard = f"{partner.lam:.2f} of the image and {1 - partner.lam:.2f} of its partner, mixed"
    panels.append(Panel("mixed", partner.mixed, weight, heard))
    return panels


def _lists(example: Example) -> dict[str, tuple[Line, ...]]:
    seen = "augmented" if example.partner is None else "mixed"
    clean = {} if example.likely_clean is None else {"clean": example.likely_clean}
    lists = {**clean, seen: example.likely}
    return {title: tuple(_line(one, example) for one in likely) for title, likely in lists.items()}


def _line(likely: Likely, example: Example) -> Line:
    own = likely.label == example.label
    of_partner = example.partner is not None and likely.label == example.partner.label
    return Line(likely.name, likely.probability, "own" if own else "partner" if of_partner else "")


def png_uri(pixels: Images) -> str:
    """An image u1 [H, W, 3] as the address of a PNG that holds it."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    if max(image.size) > LARGEST:
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
