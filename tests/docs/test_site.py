"""`make docs`: the site builds without a warning, has every page, and fetches nothing."""

import os
import re
import subprocess
import sys

import pytest
from doc_pages import ROOT
from ruamel.yaml import YAML

FETCHED = re.compile(
    r"""<(?:script|link|img|iframe|source|object)\b[^>]*\s(?:src|href|data)=["']?(?:https?:)?//[^>]*>"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


def listed(nav):
    for entry in nav:
        for value in entry.values():
            yield from listed(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = list(listed(YAML(typ="safe").load(text)["nav"]))
    docs = ROOT / "docs"
    assert sorted(pages) == sorted(p.relative_to(docs).as_posix() for p in docs.rglob("*.md"))


def test_pages_fetch_nothing(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        assert FETCHED.findall(page.read_text(encoding="utf-8")) == [], page
    for style in site.rglob("*.css"):
        assert "url(http" not in style.read_text(encoding="utf-8")
    assert "googleapis" not in "".join(p.read_text(encoding="utf-8") for p in pages)


def test_fences_are_blocks(site):
    """Also those with a name, which only tests read."""
    for page in ("sharing", "clusters", "troubleshooting"):
        text = (site / f"{page}.html").read_text(encoding="utf-8")
        assert "```" not in text
        assert 'class="highlight"' in text


def test_the_api_has_signatures_docstrings_and_keys(site):
    pages = {path.stem: path.read_text(encoding="utf-8") for path in site.glob("api/*.html")}
    text = {name: re.sub(r"<[^>]*>", "", page) for name, page in pages.items()}
    assert "decant.Store" in text["decant"]
    assert "The batches of one epoch of a student" in text["decant"]
    assert "Hinton, Vinyals, Dean" in text["losses"]
    assert "<blockquote" not in pages["losses"]  # what Markdown takes `>>>` for
    assert "what the learning rate is multiplied by" in text["params"]
    assert "description=" not in text["params"]
    assert "open_store" in text["stores"]
