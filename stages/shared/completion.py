"""Names for the shell to complete: entries of params.yaml, stages, profiles, stores, networks.

A shell waits for them, so nothing that takes long is imported; where a file cannot be read there are none.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from pipeline.core.files import STORES
from stages.shared.kept_yaml import load_kept
from stages.shared.stage_names import entries as entries_of
from stages.shared.stage_names import stage_names

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_PROFILES = Path("profiles")
_PARAMS = Path("params.yaml")


def completing(names: Callable[[click.Context], Iterable[str]], *, files: str = "") -> Complete:
    """What click calls for the names that begin with what is typed.

    Args:
        names: the names, from the command line so far.
        files: `file` or `dir`: paths are valid, too, and are completed where no name begins so.
    """

    def complete(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
        try:
            given = ctx.params.get(param.name or "") or ()
            taken = set(given) if isinstance(given, tuple) else set()
            found = [
                CompletionItem(name)
                for name in names(ctx)
                if name.startswith(typed) and name not in taken
            ]
        except (ValueError, OSError):
            found = []
        if not found and files:
            return [CompletionItem(typed, type=files)]
        return found

    return complete


def _content(ctx: click.Context) -> dict[str, Any]:
    return load_kept(Path(ctx.params.get("params_path") or _PARAMS))


def entries(section: str) -> Complete:
    """Completes names of the entries of a section."""
    return completing(lambda ctx: map(str, entries_of(_content(ctx), section)))


def profile_names() -> list[str]:
    """The ready-made profiles."""
    return sorted(path.stem for path in _PROFILES.glob("*.yaml"))


def store_names() -> list[str]:
    """The stores below data/stores."""
    return sorted(path.stem for path in STORES.glob("*.zarr"))


def network_names() -> Iterable[str]:
    """The networks of the catalogue."""
    from pipeline.models.catalogue import MODELS

    return MODELS


stages = completing(lambda ctx: stage_names(_content(ctx)))
profiles = completing(lambda ctx: profile_names(), files="file")
stores = completing(lambda ctx: store_names(), files="dir")
networks = completing(lambda ctx: network_names())
