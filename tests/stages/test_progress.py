"""Progress in a terminal of 70 columns: no line is longer; and in plain lines."""

import io
import re

import pytest
from rich.console import Console

from pipeline.core.progress import Tick
from stages.shared import progress
from stages.shared.progress import ProgressDisplay, shortened

WIDTH = 70
LONG = "student resnet110-mixup-resnet20-kd-soft #12"


def shown(monkeypatch, draw, *, terminal=True):
    """What a display prints, without colours and movements of the cursor."""
    output = io.StringIO()
    console = Console(
        file=output, width=WIDTH, force_terminal=terminal, highlight=False, soft_wrap=not terminal
    )
    monkeypatch.setattr(progress, "console", console)
    clock = iter(range(0, 10**6, 1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with ProgressDisplay("images") as display:
        draw(display)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue())


def many_trainings(display):
    costs = {LONG: 1e12} | {f"student kd #{number}": 1e12 for number in range(127)}
    display.expect(costs, at_once=2)
    total = 240 * 50_000
    for done in (0, 50_000, 6_000_000, 11_999_999):
        for job in (LONG, "student kd #0"):
            display.show(Tick(job, done, total, "loss 12.345 accuracy 100.00%", 240))


def test_bars_fit_seventy_columns_and_nothing_is_cut(monkeypatch):
    lines = shown(monkeypatch, many_trainings).splitlines()
    assert max(len(line) for line in lines) <= WIDTH
    last = [line.rstrip() for line in lines if line.strip()][-3:]
    assert "239/240 epochs" in last[-1] or "239/240 epochs" in last[0]
    text = "\n".join(last)
    assert text.count("loss 12.345 100.00%") == 2
    assert "2 running 126 waiting" in text
    assert "left" in text
    assert "0/128" in text
    assert "student re…t #12" in text
    assert "student kd #0" in text


def test_plain_lines_count_epochs_and_say_the_whole(monkeypatch):
    lines = shown(monkeypatch, many_trainings, terminal=False).splitlines()
    assert f"{LONG}: 0/240 epochs  loss 12.345 accuracy 100.00%" in lines
    assert any(line.startswith(f"{LONG}: 120/240 epochs") for line in lines)
    assert any("2 running, 126 waiting" in line for line in lines)


def test_what_has_no_epochs_is_counted_in_its_unit(monkeypatch):
    output = shown(monkeypatch, lambda display: display.show(Tick("resnet20 mixed", 500, 9_000)))
    assert "500/9000 images" in output
    assert max(len(line) for line in output.splitlines()) <= WIDTH


@pytest.mark.parametrize(
    ("name", "short"), [("student kd #0", "student kd #0"), ("a" * 20 + " #7", "a" * 10 + "…aa #7")]
)
def test_names_keep_their_ends(name, short):
    assert shortened(name, 16) == short


def test_epochs_of_a_tick():
    assert [Tick("x", done, 100, "", 4).epochs_done for done in (0, 24, 25, 99, 100)] == [
        0,
        0,
        1,
        3,
        4,
    ]
    assert Tick("x", 0, 0, "", 4).epochs_done == 4
