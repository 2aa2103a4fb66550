"""A command group whose commands are imported when they run, so that help and completion are quick."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from stages.shared.nearest import nearest


class LazyGroup(click.Group):
    """Commands named by `lazy`: name -> (module that has it as a function, one line of help)."""

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def main(self, args: Any = None, *rest: Any, **extra: Any) -> Any:
        """Run a command line: by the code of the project that one stands in, where it has any."""
        if args is None:
            run_code_of(Path.cwd())
        return super().main(args, *rest, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they were given."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None where there is none of that name."""
        if cmd_name not in self.lazy:
            return None
        module = importlib.import_module(self.lazy[cmd_name][0])
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command. Raises UsageError, with the nearest name, where there is none."""
        name = args[0]
        if name not in self.lazy and not name.startswith("-") and not ctx.resilient_parsing:
            near = nearest(name, self.lazy)
            ctx.fail(f"No such command {name!r}." + (f" Did you mean {near}?" if near else ""))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name, or an option of the group, without importing any command."""
        items = [
            CompletionItem(name, help=text)
            for name, (_, text) in self.lazy.items()
            if name.startswith(incomplete)
        ]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])


def run_code_of(project: Path) -> None:
    """Replace this process by the project's own `decant`, where that is not the one that runs.

    With one environment for several clones, the installed command is the code of the clone that was
    installed, and DVC's stages are the code of the clone that they run in.
    """
    own = project / "stages" / "cli.py"
    if not own.is_file() or own.samefile(Path(__file__).resolve().parents[1] / "cli.py"):
        return
    path = os.pathsep.join(filter(None, (str(project), os.environ.get("PYTHONPATH"))))
    os.environ["PYTHONPATH"] = path
    os.execv(sys.executable, [sys.executable, "-m", "stages.cli", *sys.argv[1:]])
