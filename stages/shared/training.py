"""What the three training commands share: which entries, where from, where to, and a display of progress."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline.core.files import PREPARED
from pipeline.core.params import ParamsError
from pipeline.training.launch import first_speaks, is_first
from stages.shared.completion import entries
from stages.shared.nearest import unknown
from stages.shared.options import load_params, path_option, stage_options
from stages.shared.progress import ProgressDisplay
from stages.shared.settings import setting_options

F = TypeVar("F", bound=Callable[..., Any])


def training_options(kind: str) -> Callable[[F], F]:
    """Options of a command that trains entries of `teachers`, `baselines` or `students`.

    The command is called with the folder to publish of each entry (`outputs`), the whole parameter file
    (`content`), the folder of the prepared data set, whether steps are to be CUDA graphs (`graph`), and
    a display that is open.
    """

    def decorate(function: F) -> F:
        @click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=entries(f"{kind}s"))
        @click.option(
            "--all", "everything", is_flag=True, help=f"All {kind}s, as many at a time as fit."
        )
        @path_option("--prepared", PREPARED, "Prepared data set.")
        @path_option("--out", None, f"Folder to write.  [default: data/{kind}s/NAME]")
        @click.option(
            "--no-graph",
            is_flag=True,
            help="On a GPU, run steps one operation at a time, not as a CUDA graph.",
        )
        @stage_options
        @setting_options
        @functools.wraps(function)
        def command(
            names: tuple[str, ...],
            everything: bool,
            params_path: Path,
            out: Path | None,
            no_graph: bool,
            **others: Any,
        ) -> None:
            with first_speaks():
                content = load_params(params_path)
                outputs = chosen_outputs(content, kind, names, everything, out)
                with ProgressDisplay("images", quiet=not is_first()) as display:
                    function(outputs, content, display=display, graph=not no_graph, **others)

        return command  # type: ignore[return-value]

    return decorate


def chosen_outputs(
    content: dict[str, Any],
    kind: str,
    names: tuple[str, ...],
    everything: bool,
    out: Path | None,
) -> dict[str, Path]:
    """The entries of a section that a command was asked for, and the folder of each.

    Raises click.UsageError where none is named, or where several are to share one folder, and ParamsError
    for a name that the section does not have.
    """
    valid = content.get(f"{kind}s") or ()
    chosen = tuple(valid) if everything else names
    if not names and not everything:
        raise click.UsageError(f"name the {kind}s to train, or give --all")
    if names and everything:
        raise click.UsageError("give names or --all, not both")
    for name in names:
        if name not in valid:
            raise ParamsError([unknown(kind, name, valid)])
    if out is not None and len(chosen) != 1:
        raise click.UsageError(f"--out is for one {kind}; {len(chosen)} were asked for")
    return {name: out or Path("data") / f"{kind}s" / name for name in chosen}
