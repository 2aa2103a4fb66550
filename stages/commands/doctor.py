"""The environment and the project in; what is well, what is not, and what to do about it, out."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stages.shared.options import json_option, print_json, stage_options
from stages.shared.tables import shown

if TYPE_CHECKING:
    from stages.doctor.finding import Finding

_MARKS = {"ok": "ok", "warning": "WARNING", "problem": "PROBLEM"}


@click.command()
@json_option
@stage_options
def doctor(params_path: Path, as_json: bool) -> None:
    """Look at Python, torch, DVC, data, disk and locks, and say what to do about each problem.

    Exit code 1 where something has to be mended; warnings alone leave it 0.
    """
    from stages.doctor.examine import examine

    found = examine(params_path)
    if as_json:
        print_json({"findings": [asdict(finding) for finding in found]})
    else:
        show(found)
    if any(finding.level == "problem" for finding in found):
        sys.exit(1)


def show(found: "list[Finding]") -> None:
    """Print the findings, and how many are not well."""
    width = max(len(finding.topic) for finding in found)
    for finding in found:
        click.echo(f"{_MARKS[finding.level]:<7}  {finding.topic:<{width}}  {shown(finding.text)}")
        if finding.advice:
            click.echo(f"{'':<7}  {'':<{width}}  -> {shown(finding.advice)}")
    counts = {level: sum(f.level == level for f in found) for level in ("problem", "warning")}
    if any(counts.values()):
        click.echo(f"\n{counts['problem']} to be mended, {counts['warning']} to know of")
    else:
        click.echo("\nAll is well")
