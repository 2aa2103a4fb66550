"""docs/troubleshooting.md quotes messages that there are: every part of each is in the source."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from doc_pages import ROOT, blocks, read_page

PAGE = read_page("docs/troubleshooting.md")
QUOTED = [
    (block.kind.removeprefix("text "), line)
    for block in blocks(PAGE)
    if block.kind.startswith("text ")
    for line in block.text.splitlines()
]
PLACE = "\0"  # where a message has a value: … on the page, {...} in the source


def literals(tree):
    """Every string of a module, with a mark for each value that is put into it."""
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else PLACE for part in node.values
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in inside
        ):
            yield re.sub(r"\{\w*\}", PLACE, node.value)


def texts(folders):
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    assert files
    return [
        text for path in files for text in literals(ast.parse(path.read_text(encoding="utf-8")))
    ]


@pytest.fixture(scope="module")
def sources():
    dvc = find_spec("dvc")
    return {
        "ours": texts([ROOT / room for room in ("pipeline", "stages", "decant")]),
        "dvc": texts([Path(dvc.submodule_search_locations[0])]),
    }


def parts(line):
    """What a quoted message says between its values."""
    return [part for part in (part.strip(" ,;:().") for part in line.split("…")) if part]


def test_many_messages_are_quoted():
    assert len(QUOTED) > 35
    assert {kind for kind, _ in QUOTED} == {"ours", "dvc", "torch"}


@pytest.mark.parametrize(("kind", "line"), [case for case in QUOTED if case[0] != "torch"])
def test_a_quoted_message_is_in_the_source(kind, line, sources):
    absent = [part for part in parts(line) if not any(part in text for text in sources[kind])]
    assert not absent
    longest = max(parts(line), key=len)
    assert len(longest) >= 10, "too little of it to be told from any other"


def test_what_the_message_of_a_nan_goes_on_with_is_in_the_source(sources):
    told = re.findall(r"^\| `([^`]*)` \| the l", PAGE, re.MULTILINE)
    assert len(told) == 2
    for line in told:
        assert all(any(part in text for text in sources["ours"]) for part in parts(line)), line
