"""The pages of the documentation, and the fenced blocks in them."""

import re
from typing import NamedTuple

from workspaces import ROOT

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<kind>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)


class Block(NamedTuple):
    """A fenced block: the words behind the fence, and the text."""

    kind: str
    text: str


def read_page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page):
    return [Block(match["kind"].strip(), match["text"]) for match in FENCE.finditer(page)]


def prose(page):
    """A page without its fenced blocks."""
    return FENCE.sub("", page)
