"""The examples in docstrings: every module with one is found, and every example gives what it says."""

import doctest
import importlib
import re

import pytest
from workspaces import ROOT

EXAMPLE = re.compile(r"^ *>>> ", re.MULTILINE)
FILES = [
    path
    for room in ("decant", "pipeline", "stages")
    for path in sorted((ROOT / room).rglob("*.py"))
]
EXAMPLES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): count
    for path in FILES
    if (count := len(EXAMPLE.findall(path.read_text(encoding="utf-8"))))
}


def test_many_modules_have_examples():
    assert len(EXAMPLES) >= 15
    assert sum(EXAMPLES.values()) >= 40


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)  # prints what differs
    assert result.failed == 0
    assert result.attempted == EXAMPLES[name], "an example that doctest does not look at"
