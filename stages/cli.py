"""The `decant` command: one subcommand per stage, and what goes around them.

Subcommands are named here and imported only when they run, so that help and completion start at once.
"""

import click

from stages.shared.lazy import LazyGroup

# name: (module that has it as a function, one line of help)
COMMANDS = {
    "init": ("stages.commands.init", "Make a project in a new folder."),
    "use": ("stages.commands.use", "Make a ready-made profile the project's params.yaml."),
    "plan": ("stages.commands.plan", "Show what a profile will cost, before anything runs."),
    "repro": ("stages.commands.repro", "Rebuild what is out of date, then show the results."),
    "status": ("stages.commands.status", "Show what is done, stale, running and missing."),
    "follow": ("stages.commands.follow", "Show epochs when they end, or pass them to loggers."),
    "doctor": ("stages.commands.doctor", "Find what is wrong with the environment or the project."),
    "completion": ("stages.commands.completion", "Make a shell complete commands and names."),
    "check": ("stages.check", "Validate all of params.yaml at once."),
    "prepare": ("stages.prepare", "Decode, split and resize the data set."),
    "train-teacher": ("stages.train_teacher", "Train teachers."),
    "train-baseline": ("stages.train_baseline", "Train networks on hard labels."),
    "dump": ("stages.dump", "Dump a teacher's logits and features into its store."),
    "train-student": ("stages.train_student", "Train students from a store."),
    "evaluate": ("stages.evaluate", "Make tables, V-scores, figures and the report."),
    "gate": ("stages.commands.gate", "Fail where a network misses its floor: for CI."),
    "keep": ("stages.commands.keep", "Write the numbers of what is trained as small files."),
    "import-teacher": (
        "stages.commands.import_teacher",
        "Convert a .pth checkpoint of the field's zoo.",
    ),
    "store": (
        "stages.store.group",
        "Inspect, verify, compare, mend, extend, export and import stores.",
    ),
    "view": (
        "stages.commands.view",
        "Show what a student sees: images, crops, mixup, the teacher's classes.",
    ),
    "compare": ("stages.commands.compare", "Show how the results of two runs differ."),
    "clean": ("stages.commands.clean", "Remove kept work, and results of removed entries."),
}


@click.command(cls=LazyGroup, lazy=COMMANDS)
@click.version_option(package_name="decant")
def main() -> None:
    """Distil from cached teachers: dump a teacher's logits once, train any number of students."""


if __name__ == "__main__":
    main()
