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


def segments(folders):
    """What stands between the values in all strings, a line each, in one text."""
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    assert files
    found = {
        " ".join(segment.split())
        for path in files
        for text in literals(ast.parse(path.read_text(encoding="utf-8")))
        for segment in text.split(PLACE)
    }
    return "\n" + "\n".join(found) + "\n"


@pytest.fixture(scope="module")
def sources():
    dvc = find_spec("dvc")
    return {
        "ours": segments([ROOT / room for room in ("pipeline", "stages", "decant")]),
        "dvc": segments([Path(dvc.submodule_search_locations[0])]),
    }


def parts(line):
    """What a quoted message says between its values."""
    return [part for part in (part.strip(" ,;:().?") for part in line.split("…")) if part]


def is_in(part, source):
    """Whether a string has a part, or several have it that end and begin where it is put together."""
    return part in source or any(
        f"{first}\n" in source and goes_on(rest, source) for first, rest in splits(part)
    )


def goes_on(part, source):
    """Whether a string begins with a part, or one is its beginning and the rest goes on."""
    return f"\n{part}" in source or any(
        f"\n{first}\n" in source and goes_on(rest, source) for first, rest in splits(part)
    )


def splits(part):
    """A part in two, between any two words or signs."""
    for match in re.finditer(r"(?<=\w)(?=\W)|(?<=\W)(?=\w)|(?<=[^\w\s])(?=[^\w\s])", part):
        first, rest = part[: match.start()].strip(), part[match.start() :].strip()
        if first and rest:
            yield first, rest


def is_told(line, source):
    """Whether the source has all parts of a message, one of which is long enough to be found by it."""
    return all(is_in(part, source) for part in parts(line)) and max(map(len, parts(line))) >= 10


def test_many_messages_are_quoted():
    assert len(QUOTED) > 35
    assert {kind for kind, _ in QUOTED} == {"ours", "dvc", "torch"}


@pytest.mark.parametrize(("kind", "line"), [case for case in QUOTED if case[0] != "torch"])
def test_a_quoted_message_is_in_the_source(kind, line, sources):
    assert is_told(line, sources[kind])


def test_what_the_message_of_a_nan_goes_on_with_is_in_the_source(sources):
    told = re.findall(r"^\| `([^`]*)` \| (?:the l|a root)", PAGE, re.MULTILINE)
    assert len(told) == 3
    for line in told:
        assert is_told(line, sources["ours"]), line


@pytest.mark.parametrize(
    "line", ["the disk is empty: free some space", "the moon became nan in epoch …", "step … of …"]
)
def test_an_invented_message_is_not(line, sources):
    assert not is_told(line, sources["ours"])
