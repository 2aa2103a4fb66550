"""Which of the project's modules a process has imported, and a digest of their text."""

import hashlib
import sys
from pathlib import Path

PACKAGES = ("pipeline", "stages")
# The `decant` command itself, which only finds a stage: with it or without, the same work is done.
FINDERS = ("stages/cli.py", "stages/shared/lazy.py")


def imported_files() -> list[Path]:
    """Source files of the project's modules that this process has imported, sorted."""
    root = Path(__file__).resolve().parent.parent
    names = [name for name in sys.modules if name.partition(".")[0] in (*PACKAGES, "__main__")]
    found = [getattr(sys.modules[name], "__file__", None) for name in names]
    files = {Path(file).resolve() for file in found if file}
    # A stage that runs as `python -m stages.X` is the module __main__.
    folders = [root / package for package in PACKAGES]
    return sorted(f for f in files if any(f.is_relative_to(folder) for folder in folders))


def code_digest() -> str:
    """sha256 (hex) over the imported modules' names and text: work done by other code is not reused."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for file in imported_files():
        name = file.relative_to(root).as_posix()
        if name not in FINDERS:
            digest.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
