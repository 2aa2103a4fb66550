"""`decant store`: inspect, pin, verify, compare, mend, extend, export and import stores."""

import click

from stages.shared.lazy import LazyGroup

# name: (module, attribute, one line of help)
COMMANDS = {
    "info": ("stages.store.info", "info", "Show what a store holds and where it comes from."),
    "ls": ("stages.store.info", "list_stores", "List all stores of the workspace."),
    "pin": ("stages.store.pin", "pin", "Read a store in place, from a bucket or a web server."),
    "verify": ("stages.store.verify", "verify", "Find everything that is wrong with a store."),
    "mend": ("stages.store.mend", "mend", "Fetch damaged and missing files of a store anew."),
    "diff": ("stages.store.diff", "diff", "Show how two stores differ."),
    "extend": ("stages.store.extend", "extend", "Dump more views, keeping those that are there."),
    "export": ("stages.store.export", "export", "Write a store as npz or parquet files."),
    "card": ("stages.store.card", "card", "Write a store's README for a model hub."),
    "import-logits": (
        "stages.store.import_logits",
        "import_logits",
        "Make a store of logits that were computed elsewhere.",
    ),
}


@click.command(cls=LazyGroup, lazy=COMMANDS)
def store() -> None:
    """Inspect, pin, verify, compare, mend, extend, export and import teachers' stores.

    STORE is a folder, or the name of a store below data/stores.
    """


if __name__ == "__main__":
    store()
