"""docs/cli.md has every command, option and exit code, and no others."""

import ast
import importlib
import re

import click
import pytest
from click.testing import CliRunner
from workspaces import ROOT

from pipeline.core.files import WORK, WorkFolder
from stages.cli import COMMANDS, main
from stages.shared.completion import completing
from stages.store.group import COMMANDS as STORE_COMMANDS

PAGE = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
SETTINGS = {"--set", "--device", "--workers"}
COMMON = {"--params", "--debug", "--json"}
ROW = re.compile(r"^\| `(.*?)` \| (.*?) \| (.*?) \| (yes)? ?\| (yes)? ?\|$", re.MULTILINE)
ROWS = {match[0].replace("\\|", "|"): match[1:] for match in ROW.findall(PAGE)}


def commands():
    """Name -> command, of all that can be run."""
    for prefix, group in (("", COMMANDS), ("store ", STORE_COMMANDS)):
        for name, (module, text) in group.items():
            command = getattr(importlib.import_module(module), name.replace("-", "_"))
            if not isinstance(command, click.Group):
                yield f"{prefix}{name}", command, text


def usage(name, command):
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    return " ".join((name, *(p.make_metavar(click.Context(command)) for p in arguments)))


def options(command):
    return {max(p.opts, key=len) for p in command.params if isinstance(p, click.Option)}


def test_every_command_has_its_row():
    assert list(ROWS) == [usage(name, command) for name, command, _ in commands()]
    assert len(ROWS) > 25


@pytest.mark.parametrize(("name", "command", "text"), list(commands()))
def test_a_row_has_what_the_command_has(name, command, text):
    told, listed, as_json, settings = ROWS[usage(name, command)]
    found = options(command)
    own = found - COMMON - (SETTINGS if found >= SETTINGS else set())
    assert set(re.findall(r"`(--[a-z-]+)`", listed)) == own
    assert bool(as_json) == ("--json" in found)
    assert bool(settings) == (found >= SETTINGS)
    assert told[0].upper() + told[1:] + "." == text
    assert "--debug" in found or name == "completion"


def test_exit_codes_are_those_of_the_code():
    told = {int(code) for code in re.findall(r"^\| (\d+) \| ", PAGE, re.MULTILINE)}
    found = {0, 2}  # click's own
    for file in (ROOT / "stages").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.exit":
                (code,) = node.args
                either = [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
                literals = [part.value for part in either if isinstance(part, ast.Constant)]
                found |= {value for value in literals if type(value) is int}
    assert "BUSY = 75" in (ROOT / "stages/shared/options.py").read_text()
    assert told == found | {75}


def test_busy_and_wrong_usage_and_mistakes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    assert run(main, ["check"]).exit_code == 1
    assert run(main, ["check", "--none"]).exit_code == 2
    with WorkFolder(WORK, "a" * 16):
        assert run(main, ["clean"]).exit_code == 0  # leaves it alone


def test_completion_offers_nothing_where_names_cannot_be_had():
    def names(ctx):
        raise OSError

    parameter = click.Argument(["name"])
    assert completing(names)(click.Context(main), parameter, "") == []
