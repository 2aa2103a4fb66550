"""The `decant` command: one subcommand per stage, and what goes around them.

Subcommands are named here and imported only when they run, so that help and completion start at once.
"""

import importlib

import click
from click.shell_completion import CompletionItem

# name: (module, attribute, one line of help)
COMMANDS = {
    "use": ("stages.use", "use", "Make a ready-made profile the project's params.yaml."),
    "plan": ("stages.plan", "plan", "Show what a profile will cost, before anything runs."),
    "repro": ("stages.repro", "repro", "Rebuild what is out of date, then show the results."),
    "check": ("stages.check", "check", "Validate all of params.yaml at once."),
    "prepare": ("stages.prepare", "prepare", "Decode, split and resize the data set."),
    "train-teacher": ("stages.train_teacher", "train_teacher", "Train a teacher."),
    "train-baseline": ("stages.train_baseline", "train_baseline", "Train networks on hard labels."),
    "dump": ("stages.dump", "dump", "Dump a teacher's logits and features into its store."),
    "train-student": ("stages.train_student", "train_student", "Train students from a store."),
    "evaluate": ("stages.evaluate", "evaluate", "Make tables, V-scores, figures and the report."),
    "import-teacher": (
        "stages.import_teacher",
        "import_teacher",
        "Convert a .pth checkpoint of the field's zoo.",
    ),
    "clean": ("stages.clean", "clean", "Remove finished work that is kept for reuse."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the pipeline."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name, or an option of the group, without importing any command."""
        items = [
            CompletionItem(name, help=text)
            for name, (_, _, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.command(cls=LazyGroup)
@click.version_option(package_name="decant")
def main() -> None:
    """Distil from cached teachers: dump a teacher's logits once, train any number of students."""


if __name__ == "__main__":
    main()
