"""Charts of the kept page in a real browser: drawn when they come near, toggled by legends, filtered."""

import pytest
from browser import Session, needs_browser
from page_samples import PICTURED, RESULTS

PAGE = RESULTS / PICTURED / "report.html"
CURVES = "document.querySelector('[data-name=curves]')"
LINES = (
    f"[...{CURVES}.querySelectorAll('.mark-line path')].map((line) => line.getAttribute('opacity'))"
)
LABELS = f"[...{CURVES}.querySelectorAll('.role-legend-label text')]"
DRAWN = "[...charts.keys()].filter((figure) => figure.querySelector('svg.marks')).length"
pytestmark = needs_browser


@pytest.fixture
def session(tmp_path):
    with Session(tmp_path / "profile") as session:
        session.open(PAGE)
        yield session
        # Vega-Lite says so of every facet whose blocks have scales of their own.
        assert [p for p in session.problems if "faceted independent scales" not in p] == []
        assert session.run("document.querySelectorAll('[data-error]').length") == 0


def test_charts_are_drawn_when_they_come_near(session):
    assert session.run("charts.size") > 4
    assert session.run(DRAWN) == 0
    height = session.run("document.documentElement.scrollHeight")
    session.run(f"{CURVES}.scrollIntoView()")
    session.wait(f"{CURVES}.querySelector('svg.marks') !== null")
    session.draw_all()
    assert session.run(f"{DRAWN} === charts.size")
    later = session.run("document.documentElement.scrollHeight")
    assert abs(later - height) < 0.05 * height, "their room was kept free"


def test_a_click_on_a_legend_shows_that_name_alone(session):
    session.draw_all()
    assert set(session.run(LINES)) == {"1"}
    session.click(f"{LABELS}.find((label) => label.textContent === 'resnet32')")
    session.wait(f"{LINES}.includes('0.1')")
    assert session.run(LINES).count("1") == 1
    session.click(f"{LABELS}.find((label) => label.textContent === 'resnet32')")
    session.wait(f"!{LINES}.includes('0.1')")


def test_the_filter_leaves_panels_and_legends_of_what_is_asked_for(session):
    session.run("filterPage('resnet32 rescaled')")
    session.draw_all()
    session.draw_all()
    assert session.run(f"{LINES}.length") == 4
    labels = session.run(f"{LABELS}.map((label) => label.textContent)")
    assert labels == ["rescaled", *(f"rescaled, {part} mixed" for part in ("10 %", "50 %", "all"))]
    rows = "[...document.querySelector('#accuracy tbody').rows].filter((row) => !row.hidden)"
    names = session.run(f"{rows}.map((row) => row.cells[0].textContent)")
    assert len(names) == 4
    assert all(name.startswith("resnet32-resnet14-rescaled") for name in names)
    assert not session.run("document.querySelector('#setting tbody').rows[0].hidden")
    session.run("filterPage('')")
    session.draw_all()
    assert session.run(f"{LINES}.length") == 21
    assert session.run("document.querySelectorAll('[hidden]:not(.cue)').length") == 0
