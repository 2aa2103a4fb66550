"""The pages in results/ are those that their kept results give today; and a page of 175 networks."""

import re
from importlib.metadata import version

import pytest
from browser import Session, needs_browser
from lowest_versions import read_versions
from page_samples import (
    KEPT_PAGES,
    PICTURE,
    RESULTS,
    ROOT,
    STUDIES,
    write_kept_page,
    write_large_page,
)

PINNED = read_versions((ROOT / "constraints.txt").read_text())
DRAWN_BY = ("altair", "jinja2", "pandas", "vl-convert-python")
MOST_BYTES, MOST_SECONDS = 8e6, 2.0


def test_there_are_studies():
    assert "cifar100-short" in STUDIES
    assert PICTURE.stat().st_size < 400_000


@pytest.mark.parametrize("study", STUDIES)
def test_the_kept_page_is_what_its_results_give_today(study, tmp_path):
    """Where it is not: `python tests/page_samples.py`."""
    others = [name for name in DRAWN_BY if version(name) != PINNED[name]]
    if others:
        pytest.skip(f"not the versions of constraints.txt: {', '.join(others)}")
    report = write_kept_page(study, tmp_path / "report")
    for name in KEPT_PAGES:
        kept, made = (folder / name for folder in (RESULTS / study, report.folder))
        assert kept.read_text(encoding="utf-8") == made.read_text(encoding="utf-8"), name
    figures = {path.name for path in (report.folder / "figures").iterdir()}
    assert figures == {path.name for path in (RESULTS / study / "figures").iterdir()}
    assert len(figures) > 3


def opened_in(session, page):
    """Seconds that a page takes to be loaded and laid out, of the processor's time."""
    session.open(page)
    return session.busy()


@pytest.mark.slow
@needs_browser
def test_a_page_of_175_networks_is_small_opens_soon_and_is_filtered(tmp_path):
    report = write_large_page(tmp_path / "report")
    page = report.folder / "report.html"
    assert page.stat().st_size < MOST_BYTES
    rows = "[...document.querySelector('#accuracy tbody').rows].filter((row) => !row.hidden)"
    drawn = "document.querySelectorAll('figure.chart svg, figure.chart canvas').length"
    with Session(tmp_path / "profile") as session:
        seconds = min(opened_in(session, page) for _ in range(3))
        assert seconds < MOST_SECONDS
        assert session.run(f"{rows}.length") == 175
        assert session.run(drawn) < 4 < session.run("charts.size"), (
            "charts wait until they come near"
        )
        began = session.busy()
        session.run("filterPage('resnet110 resnet20 rescaled-pmu')")
        assert session.busy() - began < MOST_SECONDS
        names = session.run(f"{rows}.map((row) => row.cells[0].textContent)")
        assert names
        assert all(re.fullmatch("resnet110.*resnet20.*rescaled-pmu.*", name) for name in names)
        session.run("filterPage('')")
        session.draw_all()
        assert session.run("document.querySelectorAll('[data-error]').length") == 0
        assert session.run("document.documentElement.scrollWidth - innerWidth") <= 0
