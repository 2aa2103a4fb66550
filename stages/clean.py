"""Remove the work folders under data/.work: finished work is kept there to be reused."""

from pathlib import Path

import click

from pipeline.publish import WorkFolder, WorkFolderBusyError
from stages.common import WORK, console, stage_options


@click.command()
@stage_options
def clean(params_path: Path) -> None:
    """Remove work that is kept for reuse (data/.work); published results stay.

    More views or replicates are then computed from the start. Work in progress is left alone.
    """
    freed, busy = 0, 0
    for folder in sorted(WORK.glob("*")) if WORK.is_dir() else []:
        if not folder.is_dir():
            continue
        try:
            with WorkFolder(WORK, folder.name) as work:
                # Files that are published too (hard links) free nothing; count the others.
                freed += sum(f.stat().st_size for f in folder.rglob("*") if f.stat().st_nlink == 1)
                work.remove()
        except WorkFolderBusyError:
            busy += 1
    in_use = f"; {busy} in use left alone" if busy else ""
    console.print(f"{WORK}: {freed / 1e6:,.1f} MB freed{in_use}")


if __name__ == "__main__":
    clean()
