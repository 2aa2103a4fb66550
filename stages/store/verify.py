"""A store in, everything that is wrong with it out; optionally against the teacher itself."""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.core.files import PREPARED
from stages.shared.options import debug_option, json_option, path_option, print_json
from stages.shared.progress import ProgressDisplay
from stages.shared.tables import bytes_text, print_table, shown
from stages.store.common import params_beside, params_option, store_argument

if TYPE_CHECKING:
    from pipeline.tools.recompute import Recomputed
    from pipeline.tools.verdict import Verdict
    from pipeline.tools.verify import Problem

_SHOWN_PROBLEMS = 20
HEADER = ("Group", "Rows", "Largest", "Mean", "Tolerance", "Top-1 changed", "Features", "Verdict")


@click.command()
@store_argument("store")
@click.option("--deep", is_flag=True, help="Also compare the sha256 of every file.")
@click.option(
    "--teacher",
    type=click.Path(path_type=Path, exists=True),
    help="Recompute rows with this teacher: a folder of data/teachers, or a file of weights.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    help="Rows of each group to recompute.  [default: 1000]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="Largest absolute difference of a logit or feature.  [default: what the store states, "
    "0.1 at most, and what its codec can cost]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    help="Of the choice of rows, which is told.  [default: one that nobody can know before]",
)
@click.option("--device", default="auto", show_default=True, help="Where to recompute.")
@path_option("--prepared", PREPARED, "Prepared data set, for --teacher.")
@params_option
@json_option
@debug_option
def verify(
    store: Path,
    deep: bool,
    teacher: Path | None,
    rows: int | None,
    tolerance: float | None,
    seed: int | None,
    device: str,
    prepared: Path,
    params: Path | None,
    as_json: bool,
) -> None:
    """Find everything that is wrong with STORE: exit code 0 where it is good, 1 where it is bad.

    Checked are presence and sizes, the hashes of manifests, metadata and plans, the CRC of every
    file, that all numbers are finite and that plans are possible; of a store of the project also
    that it is the version of this commit. All of a pinned store is fetched, and hashed. With
    --teacher, random rows are recomputed from the stored plan and compared.
    """
    from pipeline.tools.verdict import judge_store

    if teacher is None and (rows, tolerance, seed) != (None, None, None):
        raise click.UsageError("--rows, --tolerance and --seed go with --teacher CHECKPOINT")
    # Of rows that are known beforehand a forger would make just these right.
    seed = secrets.randbits(32) if seed is None else seed
    recheck = {
        **{"teacher": teacher, "prepared": prepared, "device": device, "seed": seed},
        **{"rows": rows or 1000, "tolerance": tolerance},
        "content": params_beside(params, prepared),
    }
    with ProgressDisplay("groups", quiet=as_json) as display:
        verdict = judge_store(
            store, deep=deep, recheck=None if teacher is None else recheck, display=display
        )
    if as_json:
        print_json({"store": str(store), "deep": deep, **verdict.to_json(seed)})
    else:
        report(store, deep, verdict, seed)
    sys.exit(0 if verdict.good else 1)


def report(store: Path, deep: bool, verdict: "Verdict", seed: int) -> None:
    """Print what is wrong, and how it is mended; else what was checked."""
    if verdict.problems:
        report_problems(store, verdict.problems)
        return
    facts = verdict.facts
    checked = (
        f"the sha256 of every file, fetched from {facts['address']}"
        if facts["address"]
        else "the sha256 of every file"
        if deep
        else "CRCs, plans and metadata (--deep: every hash)"
    )
    click.echo(
        f"{shown(str(store))}: good ({', '.join(facts['groups'])}; {facts['files']:,} files, "
        f"{bytes_text(facts['bytes'])})\nchecked: {checked}"
    )
    if verdict.recomputed:
        click.echo(
            f"\nRecomputed with the teacher (random rows, --seed {seed}) from {shown(verdict.images)}:"
        )
        print_table(HEADER, [recomputed_row(group) for group in verdict.recomputed])


def report_problems(store: Path, problems: Sequence["Problem"]) -> None:
    """Print what is wrong, and how it is mended."""
    word = "problem" if len(problems) == 1 else "problems"
    click.echo(f"{shown(str(store))}: BAD, {len(problems)} {word}")
    for problem in problems[:_SHOWN_PROBLEMS]:
        click.echo(f"  {shown(problem.path or '.')}: {problem.what}")
    if len(problems) > _SHOWN_PROBLEMS:
        click.echo(f"  and {len(problems) - _SHOWN_PROBLEMS} more (--json lists all)")
    for hint in dict.fromkeys(problem.hint for problem in problems):
        click.echo(f"To mend it: {shown(hint)}")


def recomputed_row(group: "Recomputed") -> tuple[str, ...]:
    """A group's row in the table of differences."""
    features = group.features_max_abs_difference
    return (
        group.group,
        f"{group.rows:,}",
        f"{group.max_abs_difference:.3g}",
        f"{group.mean_abs_difference:.3g}",
        f"{group.tolerance:.3g}",
        f"{group.top1_disagreement:.2%}",
        "-" if features is None else f"{features:.3g}",
        "good" if group.good else "BAD",
    )
