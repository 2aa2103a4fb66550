"""The strip of images: its numbers against a slow loop, its picture, and `decant view`."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from face_samples import inside, project
from PIL import Image
from rich.console import Console

import decant
from pipeline.core.dataset import load_prepared
from pipeline.report.strip_picture import PANEL, strip_image, strip_svg
from stages.cli import main
from stages.commands.view import HALF, draw


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strip")
    with inside(folder):
        project(folder)
    return folder


@pytest.fixture
def store(made, monkeypatch):
    monkeypatch.chdir(made)
    return decant.open("resnet8")


def slow_crop(image, corner, flip, pad):
    """A crop by its definition."""
    height, width, _ = image.shape
    made = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            row, column = y + int(corner[0]) - pad, x + int(corner[1]) - pad
            if 0 <= row < height and 0 <= column < width:
                made[y, width - 1 - x if flip else x] = image[row, column]
    return made


@pytest.mark.parametrize("group", ["plain", "mixed"])
def test_images_and_classes_are_those_of_the_definition(store, group):
    data, opened = load_prepared(Path("data/prepared")), store.group(group)
    plan, logits, clean = opened.plan(2), opened.logits(2), store.clean.logits("train")
    strip = store.strip(view=2, group=group, images=[3, 300])
    assert (strip.teacher, strip.group, strip.view) == ("resnet8", group, 2)
    assert [example.index for example in strip.examples] == [3, 300]
    for example in strip.examples:
        i = example.index

        def crop(j):
            return slow_crop(data.train.images[j], plan.crop_yx[j], plan.flip[j], pad=2)

        assert example.label == data.train.labels[i]
        assert np.array_equal(example.clean, data.train.images[i])
        assert np.array_equal(example.augmented, crop(i))
        for likely, row in ((example.likely, logits[i]), (example.likely_clean, clean[i])):
            weights = np.exp(row.astype(np.float64))
            expected = sorted(range(10), key=lambda c: -row[c])[:5]
            assert [one.label for one in likely] == expected
            for one in likely:
                assert one.name == data.class_names[one.label]
                assert one.probability == pytest.approx(
                    weights[one.label] / weights.sum(), abs=6e-7
                )
        partner = example.partner
        if group == "plain":
            assert partner is None
            continue
        assert partner.index == plan.partner[i]
        assert partner.label == data.train.labels[partner.index]
        assert partner.lam == plan.lam[i]
        assert np.array_equal(partner.pixels, crop(partner.index))
        mixed = partner.lam * crop(i) + (1 - partner.lam) * crop(partner.index)
        assert np.abs(partner.mixed - mixed).max() <= 0.501


def test_images_are_spread_over_the_data_set(store):
    indices = [example.index for example in store.strip(n=4).examples]
    assert indices == [0, 103, 206, 309]


def test_the_picture(store):
    picture = store.show(view=1, n=3)
    assert picture.mode == "RGB"
    strip = store.strip(view=1, n=3)
    assert picture.tobytes() == strip_image(strip).tobytes()
    svg = strip_svg(strip)
    assert len(re.findall("<image ", svg)) == 12
    for example in strip.examples:
        assert f"λ = {example.partner.lam:.2f}" in svg
        assert f"{example.likely[0].probability:.1%}" in svg
    left, top = 2 * 16, 2 * 62  # the first image, enlarged, lies where the layout says
    corner = np.asarray(picture)[top : top + 2 * PANEL, left : left + 2 * PANEL]
    wanted = strip.examples[0].clean.repeat(12, axis=0).repeat(12, axis=1)
    assert np.array_equal(corner, wanted)


def test_names_of_classes_are_text_and_nothing_else(store):
    strip = store.strip(n=2)
    names = ("</text><script>x()</script>", "\x1b[2J\x00", "a" * 300, *strip.class_names[3:])
    examples = tuple(
        replace(
            example, likely=tuple(replace(one, name=names[one.label]) for one in example.likely)
        )
        for example in strip.examples
    )
    hostile = replace(strip, class_names=names, examples=examples)
    svg = strip_svg(hostile)
    assert "<script" not in svg
    assert strip_image(hostile).size == strip_image(strip).size
    console = Console(width=80, record=True, file=io.StringIO(), color_system=None)
    draw(hostile, console)
    assert "\x1b" not in console.export_text(styles=False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"view": 3}, "view: expected 0 to 2, found 3"),
        ({"view": -1}, "view: expected 0 to 2"),
        ({"images": [412]}, "image: expected 0 to 411, found 412"),
        ({"n": 0}, "n: expected"),
        ({"group": "clean"}, "group: expected one of plain, mixed"),
    ],
)
def test_mistakes_are_told(store, wrong, message):
    with pytest.raises(decant.DecantError, match=message):
        store.show(**wrong)


def run(*words, code=0, **environment):
    result = CliRunner().invoke(main, ["view", "resnet8", *words], env=environment)
    assert result.exit_code == code, result.output
    return result.output


def test_view_writes_a_png(store, tmp_path):
    out = tmp_path / "strip.png"
    run("--view", "1", "--image", "5", "--image", "9", "--out", str(out))
    with Image.open(out) as picture:
        assert picture.tobytes() == store.show(view=1, images=[5, 9]).tobytes()


def test_view_draws_in_a_terminal(store, tmp_path):
    text = run("--image", "5", "--group", "plain", COLUMNS="80")
    example = store.strip(group="plain", images=[5]).examples[0]
    assert f"#5: {example.label}" in text
    assert f"{example.likely[0].probability:.1%}" in text
    assert "\x1b" not in text
    with (tmp_path / "terminal").open("w+") as file:
        coloured = Console(width=80, file=file, force_terminal=True, color_system="truecolor")
        draw(store.strip(group="plain", images=[5]), coloured)
        file.seek(0)
        drawn = file.read()
    red, green, blue = example.clean[0, 5]
    below = ";".join(map(str, example.clean[1, 5]))
    assert f"\x1b[38;2;{red};{green};{blue};48;2;{below}m{HALF}" in drawn
    assert drawn.count(HALF) == 2 * 16 * 8


def test_view_draws_shades_where_colours_are_not_wanted(store):
    console = Console(width=80, file=io.StringIO(), force_terminal=True, no_color=True)
    draw(store.strip(group="plain", images=[5]), console)
    drawn = console.file.getvalue()
    assert HALF not in drawn
    assert ".:=*" in drawn


def test_view_tells_mistakes(store):
    assert "view: expected 0 to 2, found 8" in run("--view", "8", code=1)
    assert "error: no store" in CliRunner().invoke(main, ["view", "resnet9"]).output
