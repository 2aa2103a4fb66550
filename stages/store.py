"""`decant store`: inspect, verify, compare, mend, extend, export and import stores."""

import click

from stages.lazy import LazyGroup

# name: (module, attribute, one line of help)
COMMANDS = {
    "info": ("stages.store_info", "info", "Show what a store holds and where it comes from."),
    "ls": ("stages.store_info", "list_stores", "List all stores of the workspace."),
    "verify": ("stages.store_verify", "verify", "Find everything that is wrong with a store."),
    "mend": ("stages.store_mend", "mend", "Fetch damaged and missing files of a store anew."),
    "diff": ("stages.store_diff", "diff", "Show how two stores differ."),
    "extend": ("stages.store_extend", "extend", "Dump more views, keeping those that are there."),
    "export": ("stages.store_export", "export", "Write a store as npz or parquet files."),
    "import-logits": (
        "stages.store_import",
        "import_logits",
        "Make a store of logits that were computed elsewhere.",
    ),
}


@click.command(cls=LazyGroup, lazy=COMMANDS)
def store() -> None:
    """Inspect, verify, compare, mend, extend, export and import teachers' stores.

    STORE is a folder, or the name of a store below data/stores.
    """


if __name__ == "__main__":
    store()
