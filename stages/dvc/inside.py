"""`dvc repro`, and `dvc status` of what was asked for, in one process: DVC is slower to start than to look.

    python -m stages.dvc.inside FILE GOALS ARGUMENT...

FILE gets what `dvc status --json` prints of the GOALS (a list as JSON), where `dvc repro` succeeded; {} of
none.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from dvc.cli import main

from stages.dvc.parsed import parsed_once

LOCK = Path("dvc.lock")


def reproduce(file: Path, goals: list[str], arguments: list[str]) -> int:
    """DVC's exit code: that of the command that failed, if any.

    `dvc repro` alone looks at every input and result. Where dvc.lock is then what it was, all are as it says,
    and `dvc status` would look again.
    """
    before = LOCK.read_bytes() if LOCK.exists() and not arguments else None
    if code := main(["repro", *arguments]):
        return int(code)
    if not goals or (before is not None and LOCK.read_bytes() == before):
        file.write_text("{}", encoding="ascii")
        return 0
    with printed_to(file):
        return int(main(["status", "--json", *goals]))


@contextlib.contextmanager
def printed_to(file: Path) -> Iterator[None]:
    """What this process prints goes into a file meanwhile; DVC keeps hold of the terminal's `sys.stdout`."""
    sys.stdout.flush()
    terminal = os.dup(sys.stdout.fileno())
    with file.open("wb") as target:
        os.dup2(target.fileno(), sys.stdout.fileno())
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(terminal, sys.stdout.fileno())
        os.close(terminal)


if __name__ == "__main__":
    with parsed_once():
        sys.exit(reproduce(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]))
