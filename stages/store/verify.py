"""A store in, everything that is wrong with it out; optionally against the teacher itself."""

import secrets
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.core.files import PREPARED
from pipeline.core.machine import Machine
from stages.shared.options import path_option
from stages.shared.tables import bytes_text, print_table, shown
from stages.store.common import (
    json_option,
    params_beside,
    params_option,
    print_json,
    stale_groups,
    store_argument,
    store_options,
)

if TYPE_CHECKING:
    from pipeline.core.dataset import ImageData
    from pipeline.models.network import Network
    from pipeline.tools.recompute import Recomputed
    from pipeline.tools.verify import Problem

_SHOWN_PROBLEMS = 20
_BATCH = 256


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
@store_options
def verify(
    store: Path,
    deep: bool,
    teacher: Path | None,
    rows: int | None,
    tolerance: float | None,
    seed: int | None,
    device: str,
    prepared: Path,
    params: Path,
    as_json: bool,
) -> None:
    """Find everything that is wrong with STORE: exit code 0 where it is good, 1 where it is bad.

    Checked are presence and sizes, the hashes of manifests, metadata and plans, the CRC of every
    file, that all numbers are finite and that plans are possible; of a store of the project also
    that it is the version of this commit. With --teacher, random rows are recomputed from the stored
    plan and compared.
    """
    from pipeline.core.dataset_params import load_dataset
    from pipeline.tools.describe import describe_store
    from pipeline.tools.verify import problem, verify_store

    if teacher is None and (rows, tolerance, seed) != (None, None, None):
        raise click.UsageError("--rows, --tolerance and --seed go with --teacher CHECKPOINT")
    # Of rows that are known beforehand a forger would make just these right.
    seed = secrets.randbits(32) if seed is None else seed
    problems = [*verify_store(store, deep=deep), *map(problem, stale_groups(store))]
    found: list[Recomputed] = []
    seen = ""
    if teacher is not None and not problems:
        data = load_dataset(prepared, params_beside(params))
        machine = Machine(data_root="", device=device)
        comparison = comparing(store, teacher, data, machine, rows or 1000, seed, tolerance)
        found = list(comparison if as_json else counted(comparison, store))
        seen = str(data.seen_by(describe_store(store)["teacher"]))
    good = not problems and all(group.good for group in found)
    if as_json:
        groups = [asdict(group) for group in found]
        told = [asdict(problem) for problem in problems]
        facts = {"store": str(store), "good": good, "deep": deep, "problems": told}
        print_json(
            {**facts, "recomputed": groups, "seed": seed if found else None, "images": seen or None}
        )
    else:
        report(store, deep, problems, found, seed, seen)
    sys.exit(0 if good else 1)


def counted(comparison: "Iterator[Recomputed]", store: Path) -> "Iterator[Recomputed]":
    """The same, telling how far it is."""
    from pipeline.tools.describe import describe_store
    from stages.shared.progress import counter

    with counter("recomputing", "groups", len(describe_store(store)["groups"])) as count:
        count(0)
        for group in comparison:
            count(1)
            yield group


def comparing(
    store: Path,
    teacher: Path,
    data: "ImageData",
    machine: Machine,
    rows: int,
    seed: int,
    tolerance: float | None,
) -> "Iterator[Recomputed]":
    """Recompute rows with a teacher. Raises ValueError where it or the data are not the store's."""
    from pipeline.compute import pick_device, set_up
    from pipeline.models.weights import weights_digest
    from pipeline.store.format.manifest import describe_dataset
    from pipeline.store.read import open_store
    from pipeline.tools.describe import describe_store
    from pipeline.tools.recompute import recompute
    from pipeline.views.predict import place

    facts: dict[str, Any] = describe_store(store)
    opened = open_store(store, groups=list(facts["groups"]), dataset=describe_dataset(data))
    path, network = load_teacher(teacher, facts["teacher"], data)
    digest, stated = weights_digest(network), facts["teacher"]["weights_sha256"]
    if stated is not None and digest != stated:
        raise ValueError(
            f"{path}: not the weights that made {store} (sha256 {digest[:12]}..., the store's "
            f"{stated[:12]}...). Take the teacher of the store, or dump this one: `dvc repro "
            f"dump@{facts['name']}`"
        )
    device = pick_device(machine)
    set_up(device, machine.threads)
    place(network, device)
    options = {"rows": rows, "seed": seed, "batch_size": _BATCH}
    return recompute(opened, network, data, device, tolerance=tolerance, **options)


def load_teacher(
    teacher: Path, stated: dict[str, Any], data: "ImageData"
) -> "tuple[Path, Network]":
    """A teacher's file of weights, and its network as a store states it.

    Raises ValueError where the weights do not fit, or where a teacher's folder says that it sees
    images under another normalisation than the store says.
    """
    from pipeline.models.registry import build
    from pipeline.models.weights import load_into, load_weights
    from pipeline.results.record import RECORD, WEIGHTS, read_record
    from pipeline.tools.foreign import read_foreign

    name = stated["network"]
    network = build(name, len(data.class_names))
    if not teacher.is_dir():
        weights = read_foreign(teacher, network, name=name).state
        load_into(network, weights, source=str(teacher), name=name)
        return teacher, network
    path = teacher / "replicate-0" / WEIGHTS
    load_into(network, load_weights(path), source=str(path), name=name)
    if (teacher / RECORD).exists():
        own, stores = (data.seen_by(x).normalisation for x in (read_record(teacher), stated))
        if own != stores:
            raise ValueError(
                f"{teacher}: its network sees images under {own}, the store's rows are of {stores}; "
                f"dump it again: `dvc repro dump@{stated['name']}`"
            )
    return path, network


def report(
    store: Path,
    deep: bool,
    problems: "list[Problem]",
    found: "list[Recomputed]",
    seed: int,
    seen: str,
) -> None:
    """Print what was found."""
    from pipeline.tools.describe import describe_store

    if problems:
        word = "problem" if len(problems) == 1 else "problems"
        click.echo(f"{shown(str(store))}: BAD, {len(problems)} {word}")
        for problem in problems[:_SHOWN_PROBLEMS]:
            click.echo(f"  {shown(problem.path or '.')}: {problem.what}")
        if len(problems) > _SHOWN_PROBLEMS:
            click.echo(f"  and {len(problems) - _SHOWN_PROBLEMS} more (--json lists all)")
        for hint in dict.fromkeys(problem.hint for problem in problems):
            click.echo(f"To mend it: {hint}")
        return
    facts = describe_store(store)
    checked = (
        "the sha256 of every file" if deep else "CRCs, plans and metadata (--deep: every hash)"
    )
    click.echo(
        f"{shown(str(store))}: good ({', '.join(facts['groups'])}; {facts['files']:,} files, "
        f"{bytes_text(facts['bytes'])})\nchecked: {checked}"
    )
    if found:
        click.echo(
            f"\nRecomputed with the teacher (random rows, --seed {seed}) from {shown(seen)}:"
        )
        header = (
            "Group",
            "Rows",
            "Largest",
            "Mean",
            "Tolerance",
            "Top-1 changed",
            "Features",
            "Verdict",
        )
        print_table(header, [recomputed_row(group) for group in found])


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


if __name__ == "__main__":
    verify()
