"""Every `decant ...` in the documentation is a command that there is, with its options and arguments."""

import re
import shlex

import click
import pytest
from doc_pages import PAGES, ROOT, blocks, prose

from stages.cli import main

NOT_SHELL = ("python", "yaml", "json", "text", "bibtex")
# What ends a command in a line of a shell, and what stands beside it in a list of commands.
END = re.compile(r" #|  |[|;>]|&&|\\$")
COMMAND = re.compile(r"^ *(?:\$ )?(?:\w+=\S+ )*(decant(?: .*)?)$", re.MULTILINE)
INLINE = re.compile(r"`(decant\s[^`]*)`")


def in_blocks(page):
    """The commands in blocks: whole, so that no argument may be missing."""
    for block in blocks(page):
        if not block.kind.startswith(NOT_SHELL):
            text = block.text.replace("\\\n", " ")
            for match in COMMAND.finditer(text):
                yield END.split(match[1])[0].strip()


def in_prose(page):
    """The commands in a sentence, which may leave arguments out."""
    for match in INLINE.finditer(prose(page)):
        yield END.split(" ".join(match[1].split()))[0].strip()


def parse(line, *, whole):
    """Read a command line as click does, and run nothing. Raises click.UsageError for a mistake in it."""
    words = shlex.split(line)[1:]
    command, context = main, click.Context(main, info_name="decant")
    while isinstance(command, click.Group) and words and re.match("[a-z]", words[0]):
        name = words.pop(0)
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"no command {name}")
        settings = {"parent": context, "info_name": name, **found.context_settings}
        command, context = found, click.Context(found, **settings)
    if isinstance(command, click.Group):  # `decant --help`, or a name in capitals
        return
    parser = command.make_parser(context)
    try:
        given, left, _ = parser.parse_args(list(words))
    except click.BadOptionUsage:  # a sentence may name an option without its value
        if whole:
            raise
        given, left, _ = parser.parse_args([*words, "VALUE"])
    if left:
        raise click.UsageError(f"{left} is too much")
    for parameter in command.params:
        value = given.get(parameter.name)
        absent = value in (None, (), click.core.UNSET)
        if whole and absent and parameter.required and "help" not in given:
            raise click.UsageError(f"{parameter.name} is missing")
        if isinstance(parameter.type, click.Choice) and isinstance(value, str):
            parameter.type.convert(value, parameter, context)


CASES = [
    (page.relative_to(ROOT).as_posix(), line, whole)
    for page in PAGES
    for lines, whole in ((in_blocks, True), (in_prose, False))
    for line in sorted(set(lines(page.read_text(encoding="utf-8"))))
]


def test_commands_are_found():
    assert len(CASES) > 150
    assert len({line.split()[1] for _, line, _ in CASES if " " in line}) > 20


@pytest.mark.parametrize(("page", "line", "whole"), CASES)
def test_a_command_parses(page, line, whole):
    parse(line, whole=whole)


@pytest.mark.parametrize(
    "line",
    [
        "decant no-such-command",
        "decant plan --no-such-option",
        "decant dump",
        "decant store diff ONE",
        "decant store info ONE TWO",
        "decant completion tcsh",
    ],
)
def test_a_mistake_is_found(line):
    with pytest.raises(click.UsageError):
        parse(line, whole=True)
