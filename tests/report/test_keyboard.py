"""The report by keyboard alone, with real keys in a real browser: all is reached, seen and of use."""

from functools import partial

import pandas as pd
import pytest
from browser import Session, needs_browser
from page_samples import wide_table

from pipeline.report.charts import accuracy_charts
from pipeline.report.document import Folded, Overview
from pipeline.report.folder import Report
from pipeline.report.tables import Table, cells

ACCURACY = ("group", "name", "network", "loss", "share", "replicate", "accuracy")
SUMMARY = ("mean", "low", "high", "printed")
FOCUS = """(() => {
  const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
  return { tag: e.tagName, text: (e.ariaLabel ?? e.textContent).trim().slice(0, 40), type: e.type ?? "",
           region: e.classList.contains("scroll"), seen: style.outlineStyle !== "none" && box.width > 0,
           inside: box.bottom > 0 && box.top < innerHeight };
})()"""
SCROLLS = "document.activeElement.scrollTop + document.activeElement.scrollLeft"
pytestmark = needs_browser


def accuracies(count):
    """The frame of a chart of so many networks, in groups of four."""
    rows = [
        (
            f"group {i // 4}",
            f"students/n{i}",
            f"network-{i}",
            "kd",
            0.0,
            0,
            50.0 + i,
            *(50.0 + i,) * 3,
            "x",
        )
        for i in range(count)
    ]
    return pd.DataFrame(rows, columns=[*ACCURACY, *SUMMARY])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    report = Report(tmp_path_factory.mktemp("keyboard"))
    report.blocks.append(Overview("Compared.", (), ("A finding.",)))
    report.chapter("Numbers")
    report.table(wide_table())
    small = (cells("one", "2"), cells("two", "1"))
    report.table(
        Table(name="small", title="Small", caption="", header=("What", "Value"), rows=small)
    )
    report.chapter("Charts")
    report.pictures(accuracy_charts(accuracies(60)), "Accuracy: of each.")
    report.blocks.append(Folded("Parameters", "line\n" * 300))
    report.finish()
    return report.folder / "report.html"


@pytest.fixture
def session(page, tmp_path):
    with Session(tmp_path / "profile") as session:
        session.open(page)
        session.draw_all()
        yield session
        assert [p for p in session.problems if "faceted independent" not in p] == []


def tab_to(session, wanted, most=60):
    """Press Tab until what has the focus is wanted; returns what had it on the way, the last included."""
    way = []
    for _ in range(most):
        session.key("Tab")
        way.append(session.run(FOCUS))
        if wanted(way[-1]):
            return way
    raise AssertionError(way)


def test_the_skip_link_comes_first_and_leads_to_the_results(session):
    session.key("Tab")
    link = session.run(FOCUS)
    assert (link["text"], link["seen"], link["inside"]) == ("To the results", True, True)
    session.key("Enter")
    session.key("Tab")
    assert session.run("document.querySelector('main').contains(document.activeElement)")


def test_all_that_can_be_used_is_reached_and_shows_it(session):
    way = tab_to(session, lambda focus: focus["text"] == "Parameters")
    assert all(focus["seen"] and focus["inside"] for focus in way), way
    reached = [(focus["tag"], focus["text"]) for focus in way]
    for text in ("Numbers", "Charts"):
        assert ("A", text) in reached
    for name in wide_table().header:
        assert ("BUTTON", name) in reached
    assert ("BUTTON", "Save chart accuracy-1 as SVG") in reached
    assert ("SUMMARY", "Accuracy: 1 more") in reached
    assert sum(focus["type"] == "search" for focus in way) == 2, "of the page, of the table"
    assert any(focus["region"] for focus in way), "the frame that scrolls"
    assert session.run("new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size") == (
        session.run("document.querySelectorAll('[id]').length")
    ), "links lead to one place each"


def test_headers_sort(session):
    tab_to(session, lambda focus: focus["tag"] == "BUTTON" and focus["text"] == "Value")
    sort = "document.activeElement.closest('th').ariaSort"
    first = "document.querySelector('#wide tbody').rows[0].cells[1].textContent"
    given = session.run(first)
    for key, direction in (("Enter", "descending"), ("Space", "ascending"), ("Enter", "none")):
        session.key(key)
        assert session.run(sort) == direction
        assert (session.run(first) == given) == (direction == "none")


def test_filters_take_words(session):
    shown = "[...document.querySelector('#wide tbody').rows].filter((row) => !row.hidden).length"
    charts = "[...charts.keys()].map((figure) => figure.hidden)"
    tab_to(session, lambda focus: focus["type"] == "search")
    for letter in "network-5":
        session.key(letter)
    session.wait(f"{shown} === 11")
    assert session.run(charts) == [False, False]
    for letter in "9":
        session.key(letter)
    session.wait(f"{shown} === 1")
    assert session.run(charts) == [True, False], "network-59 is in the second chart"
    more = "document.querySelector('details.more').open"
    session.wait(f"{more} && document.querySelectorAll('details.more svg text').length > 0")
    labels = session.run(
        "[...document.querySelectorAll('details.more svg text')].map((t) => t.textContent)"
    )
    assert "network-59" in labels
    assert "network-58" not in labels
    for _ in "network-59":
        session.key("Backspace")
    session.wait(f"{shown} === 84")
    assert session.run(charts) == [False, False]


def test_frames_and_folded_parts_scroll(session):
    tab_to(session, lambda focus: focus["region"])
    session.key("ArrowDown")
    session.wait(f"{SCROLLS} > 0")
    tab_to(session, lambda focus: focus["text"] == "Parameters")
    session.key("Enter")
    session.key("Tab")
    assert session.run(FOCUS)["tag"] == "PRE"
    session.key("ArrowDown")
    session.wait(f"{SCROLLS} > 0")


def test_charts_are_saved(session):
    noting = "function () { saved = [this.download, this.href]; }"
    session.run(f"saved = null; HTMLAnchorElement.prototype.click = {noting}; 0")
    wanted = partial(_is_button, "Save chart accuracy-1 as PNG")
    tab_to(session, wanted)
    session.key("Enter")
    session.wait("saved")
    name, address = session.run("saved")
    assert name == "accuracy-1.png"
    assert address.startswith("data:image/png;base64,")


def _is_button(text, focus):
    return focus["tag"] == "BUTTON" and focus["text"] == text[:40]


def test_paper_has_all_charts_whatever_is_filtered_or_far(page, tmp_path):
    with Session(tmp_path / "profile") as session:
        session.open(page)
        session.run("filterPage('network-59')")
        session.run("document.querySelector('.whole input').value = 'network-59'")
        session.paper(tmp_path / "report.pdf")
        assert session.run(
            "[...charts.keys()].every((figure) => figure.querySelector('svg.marks'))"
        )
        assert session.run("document.querySelectorAll('figure[hidden], tr[hidden]').length") == 0
