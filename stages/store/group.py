"""`decant store`: inspect, pin, verify, compare, mend, extend, export and import stores."""

import click

from stages.shared.lazy import LazyGroup

# name: (module that has it as a function, one line of help)
COMMANDS = {
    "info": ("stages.store.info", "Show what a store holds and where it comes from."),
    "ls": ("stages.store.info", "List all stores of the workspace."),
    "pin": ("stages.store.pin", "Read a store in place, from a bucket or a web server."),
    "verify": ("stages.store.verify", "Find everything that is wrong with a store."),
    "mend": ("stages.store.mend", "Fetch damaged and missing files of a store anew."),
    "diff": ("stages.store.diff", "Show how two stores differ."),
    "extend": ("stages.store.extend", "Dump more views, keeping those that are there."),
    "export": ("stages.store.export", "Write a store as npz or parquet files."),
    "card": ("stages.store.card", "Write a store's README for a model hub."),
    "import-logits": (
        "stages.store.import_logits",
        "Make a store of logits that were computed elsewhere.",
    ),
}


@click.command(cls=LazyGroup, lazy=COMMANDS)
def store() -> None:
    """Inspect, pin, verify, compare, mend, extend, export and import teachers' stores.

    STORE is a folder, or the name of a store below data/stores.
    """
