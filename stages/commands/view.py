"""What a student sees of some images, as a PNG or in the terminal."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from pipeline.core.files import PREPARED
from stages.shared.options import debug_option, path_option
from stages.shared.tables import shown

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipeline.report.strip import Example, Likely, Strip

HALF = "\N{UPPER HALF BLOCK}"
SHADES = " .:-=+*#%@"  # from dark to light, for a terminal without colours
GAP = 2  # columns between images
_PANELS = 4  # at most, beside one another
_BAR = 20  # columns of a certain class


@click.command()
@click.argument("store")
@click.option("--view", type=int, default=0, show_default=True, help="Number of the view, from 0.")
@click.option(
    "--image",
    "images",
    type=int,
    multiple=True,
    help="Index of a training image; repeatable.  [default: some, spread over the data set]",
)
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="How many images, where --image names none.",
)
@click.option(
    "--group",
    type=click.Choice(["plain", "mixed"]),
    help="Group of views.  [default: mixed where STORE has it]",
)
@path_option("--prepared", PREPARED, "Prepared data set that STORE belongs to.")
@path_option("--out", None, "PNG file to write.  [default: draw in the terminal]")
@debug_option
def view(
    store: str,
    view: int,
    images: tuple[int, ...],
    count: int,
    group: str | None,
    prepared: Path,
    out: Path | None,
) -> None:
    """Show what a student of STORE sees: each image, its crop, its partner, both mixed.

    And what the teacher says of it: its five likeliest classes. STORE is a name below data/stores, a
    folder or an address.
    """
    from decant.store import open

    chosen: dict[str, Any] = {"view": view, "n": count, "group": group, "prepared": prepared}
    opened = open(store)
    if out is None:
        draw(opened.strip(**chosen, images=images or None), Console(highlight=False))
    else:
        opened.show(**chosen, images=images or None).save(out, "PNG")
        click.echo(f"-> {out}")


def draw(strip: "Strip", console: Console) -> None:
    """Draw a strip in a terminal: colours where it has them, shades elsewhere."""
    console.print(Text(f"View {strip.view} of {strip.teacher}, {strip.group}", style="bold"))
    for example in strip.examples:
        console.print()
        width = min((console.width + GAP) // _PANELS - GAP, example.clean.shape[1])
        panels = [_fitted(pixels, width) for pixels in _panels(example)]
        coloured = console.color_system is not None and not console.no_color
        for line in _pixel_lines(panels, coloured=coloured):
            console.print(line, no_wrap=True, overflow="crop")
        for text in _words(example, strip.class_names):
            console.print(Text(shown(text)))


def _panels(example: "Example") -> list[Any]:
    partner = example.partner
    mixed = [] if partner is None else [partner.pixels, partner.mixed]
    return [example.clean, example.augmented, *mixed]


def _fitted(pixels: Any, width: int) -> "Image":
    """An image u1 [H, W, 3] of so many columns at most, and an even number of rows."""
    from PIL import Image

    height = round(width * pixels.shape[0] / pixels.shape[1] / 2) * 2
    size = max(1, width), max(2, height)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BOX)


def _pixel_lines(panels: Sequence["Image"], *, coloured: bool) -> Iterator[Text]:
    """Lines of text with the panels side by side; a letter is two pixels, one above the other."""
    for row in range(0, panels[0].height, 2):
        line = Text()
        for panel in panels:
            for column in range(panel.width):
                upper, lower = (panel.getpixel((column, row + below)) for below in (0, 1))
                line.append_text(_letter(upper, lower, coloured))
            line.append(" " * GAP)
        yield line


def _letter(upper: Any, lower: Any, coloured: bool) -> Text:
    if not coloured:
        light = sum(upper + lower) // 6
        return Text(SHADES[light * len(SHADES) // 256])
    front, back = Color.from_rgb(*upper), Color.from_rgb(*lower)
    return Text(HALF, Style(color=front, bgcolor=back))


def _words(example: "Example", names: Sequence[str]) -> Iterator[str]:
    """What stands below an image: its class, its partner, and what the teacher says."""
    own = f"#{example.index}: {names[example.label]}"
    partner = example.partner
    if partner is not None:
        own += f", {partner.lam:.2f} of it with #{partner.index}: {names[partner.label]}"
    yield own
    if example.likely_clean is not None:
        yield "teacher, clean image:"
        yield from map(_bar, example.likely_clean)
    yield f"teacher, {'augmented' if partner is None else 'mixed'} image:"
    yield from map(_bar, example.likely)


def _bar(likely: "Likely") -> str:
    bar = "#" * round(_BAR * likely.probability)
    return f"  {likely.probability:6.1%} {bar:<{_BAR}} {likely.name}"
