"""What a student sees, in the report: pixels against slow loops, words, and what is refused."""

import base64
import copy
import io
import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from report_samples import KD, sample_data, sample_run, seen_facts, teacher_facts

from pipeline.report.chapters import add_images
from pipeline.report.folder import Report
from pipeline.report.seen import seen_student, student_strip
from pipeline.report.strip_page import LARGEST, png_uri
from pipeline.results.record import Record, ResultsError
from pipeline.results.samples import TrainSample, sample_rows, save_train_sample

DATA = sample_data()


def student(seen, share=0.5, name="student"):
    facts = {**teacher_facts("big", "resnet20"), **({} if seen is None else {"seen": seen})}
    return sample_run(
        "students", "resnet8", (0.9,), teacher=facts, method=KD, share=share, name=name
    )


class Images(HTMLParser):
    """The pixels and the words of every image of a page."""

    def __init__(self, markup):
        super().__init__()
        self.found = []
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            facts = dict(attrs)
            head, _, data = facts["src"].partition(",")
            assert head == "data:image/png;base64"
            with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                self.found.append((np.asarray(image.convert("RGB")), facts["alt"]))


def page(folder, runs, data=DATA):
    """The page's markup, without its scripts."""
    report = Report(folder)
    folder.mkdir()
    add_images(report, runs, data)
    report.finish()
    text = (folder / "report.html").read_text(encoding="utf-8")
    return re.sub(r"<script>.*?</script>\n", "", text, flags=re.DOTALL)


def crop(facts, pad=2):
    """A crop by its definition."""
    image = np.pad(DATA.train.images[facts["index"]], ((pad, pad), (pad, pad), (0, 0)))
    y, x = facts["crop_yx"]
    return image[y : y + 8, x : x + 8]


@pytest.mark.parametrize("group", ["mixed", "plain"])
def test_the_page_shows_the_images_that_the_record_tells_of(tmp_path, group):
    facts = seen_facts(group)
    text = page(tmp_path / "report", [student(facts, share=0.5 if group == "mixed" else 0.0)])
    wanted = []
    for one in facts["images"]:
        own = crop(one["image"])
        wanted += [DATA.train.images[one["image"]["index"]], own]
        if group == "mixed":
            partner, lam = crop(one["partner"]), one["lam"]
            wanted += [partner, np.rint(lam * own + (1 - lam) * partner)]
            assert f"\N{GREEK SMALL LETTER LAMDA} = {lam:.2f}" in text
        name = DATA.class_names[DATA.train.labels[one["image"]["index"]]]
        assert f"training image {one['image']['index']}, {name}" in text
    shown = Images(text).found
    assert len(shown) == len(wanted) == len(facts["images"]) * (4 if group == "mixed" else 2)
    for (pixels, alt), expected in zip(shown, wanted, strict=True):
        assert np.abs(pixels - expected.astype(float)).max() <= 1, alt
        assert alt
    assert text.count("50.0 %") == len(facts["images"])
    assert (tmp_path / "report/figures/strip.png").stat().st_size > 0
    assert "(figures/strip.png)" in (tmp_path / "report/report.md").read_text()


def test_the_same_record_gives_the_same_bytes(tmp_path):
    runs = [student(seen_facts())]
    pages = [page(tmp_path / name, runs) for name in ("first", "second")]
    assert pages[0] == pages[1]
    pictures = [
        (tmp_path / name / "figures/strip.png").read_bytes() for name in ("first", "second")
    ]
    assert pictures[0] == pictures[1]


def test_a_student_that_mixes_is_shown_first_and_an_old_record_not_at_all(tmp_path):
    plain, mixes = student(seen_facts("plain"), 0.0), student(seen_facts(), 0.5, "mixes")
    assert seen_student([student(None), plain, mixes]) is mixes
    assert seen_student([student(None), plain]) is plain
    assert seen_student([student(None)]) is None
    text = page(tmp_path / "report", [student(None)])
    assert "<img" not in text
    assert "What a student sees" not in text


def test_records_without_images_are_written_as_ever():
    old = student(None).record
    assert b"seen" not in old.to_json()
    with_images = student(seen_facts()).record
    assert Record.parse(with_images.facts(), "here") == with_images
    assert json.loads(with_images.to_json())["teacher"]["seen"] == seen_facts()


def test_the_teacher_s_answer_to_the_clean_image_is_that_of_its_own_results(tmp_path):
    teacher = replace(sample_run("teachers", "resnet20", (0.9,), name="big"), folder=tmp_path)
    rows = sample_rows(DATA.train.labels)
    logits = np.random.default_rng(0).normal(size=(len(rows), 6)).astype("f4")
    (tmp_path / "replicate-0").mkdir()
    sample = TrainSample(logits, DATA.train.labels[rows])
    save_train_sample(tmp_path / "replicate-0" / "train_sample.safetensors", sample)
    facts = seen_facts()
    run = student(facts)
    for runs in ([run], [run, teacher]):
        for example, one in zip(
            student_strip(run, runs, DATA).examples, facts["images"], strict=True
        ):
            if len(runs) == 1:
                assert example.likely_clean is None
                continue
            row = logits[rows.tolist().index(one["image"]["index"])].astype("f8")
            order = sorted(range(6), key=lambda c: -row[c])[:5]
            assert [line.label for line in example.likely_clean] == order
            weights = np.exp(row)
            shown = [line.probability for line in example.likely_clean]
            assert shown == pytest.approx(list(weights[order] / weights.sum()), abs=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["image"].update(index=120),
        lambda one: one["partner"].update(index=-1),
        lambda one: one["image"].update(crop_yx=[0, 5]),
        lambda one: one["image"].update(flip=True),
        lambda one: one.update(likely=[[6, 0.5]]),
    ],
)
def test_a_record_of_other_images_is_refused(change):
    facts = copy.deepcopy(seen_facts())
    change(facts["images"][1])
    run = student(facts)
    with pytest.raises(ResultsError, match="does not have"):
        student_strip(run, [run], DATA)


def test_names_of_classes_are_text(tmp_path):
    names = ("<img src=x onerror=x()>", '"><script>x()</script>', *"abcd")
    text = page(tmp_path / "report", [student(seen_facts())], replace(DATA, class_names=names))
    assert "<script>x" not in text
    assert len(Images(text).found) == 12
    for name in names:
        assert name in unescape(text)


def test_large_images_are_made_smaller():
    pixels = np.zeros((300, 200, 3), np.uint8)
    ((shown, _),) = Images(f'<img src="{png_uri(pixels)}" alt="x">').found
    assert shown.shape == (LARGEST, 85, 3)
