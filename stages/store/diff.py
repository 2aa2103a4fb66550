"""Two stores in, how they differ out: manifests, plans and logits."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from stages.shared.options import debug_option, json_option, print_json
from stages.shared.tables import print_table, shown
from stages.store.common import store_argument

_WIDTH = 26  # of a fact in the table


@click.command()
@store_argument("first")
@store_argument("second")
@click.option(
    "--views",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Compare the logits of this many views of each group, evenly spread.",
)
@json_option
@debug_option
def diff(first: Path, second: Path, views: int, as_json: bool) -> None:
    """Show how the store SECOND differs from FIRST: exit code 0 where nothing does, else 1.

    Logits are compared where both stores have the same images under the same plan.
    """
    from pipeline.tools.compare import compare_stores

    facts = compare_stores(first, second, views=views)
    if as_json:
        print_json(facts)
    elif facts["same"]:
        click.echo(f"{shown(str(first))} and {shown(str(second))}: the same")
    else:
        for name, group in facts["groups"].items():
            show_group(name, group)
        show_logits(facts["groups"])
    sys.exit(0 if facts["same"] else 1)


def show_group(name: str, group: dict[str, Any]) -> None:
    """Print what the manifests of a group state differently."""
    if group["in"] != "both":
        click.echo(f"{name}: only in the {group['in']}\n")
    elif not group["facts"]:
        click.echo(f"{name}: the same\n")
    else:
        rows = [(fact, *map(fact_text, values)) for fact, values in group["facts"].items()]
        print_table((name, "first", "second"), rows, labels=3)
        if "plan" in group:
            plan = group["plan"]
            click.echo(f"The plan of {plan['same']} of {plan['views']} common views is the same.")
        click.echo()


def show_logits(groups: dict[str, Any]) -> None:
    """Print how far the logits lie apart."""
    header = ("Logits", "Rows", "KL T=1", "KL T=4", "Top-1 changed", "Largest", "Mean")
    rows = [
        (
            name,
            f"{logits['rows']:,}",
            f"{logits['kl_t1']:.3g}",
            f"{logits['kl_t4']:.3g}",
            f"{logits['top1_disagreement']:.2%}",
            f"{logits['max_abs_difference']:.3g}",
            f"{logits['mean_abs_difference']:.3g}",
        )
        for name, group in groups.items()
        if (logits := group.get("logits")) is not None
    ]
    if rows:
        print_table(header, rows)
    else:
        click.echo("No logits compared: the stores have no images under the same plan in common.")


def fact_text(value: Any) -> str:
    """A fact, cut to the width of its column."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
