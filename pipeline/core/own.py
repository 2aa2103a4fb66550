"""Code of the user's own: modules of the folder `own/`, which the stages that use them depend on whole.

DVC watches that folder, so that no result of older code passes for a current one. Installed packages
work too, unwatched; a module elsewhere in the working folder is refused.
"""

import hashlib
import importlib
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

FOLDER = "own"


def import_own(name: str) -> ModuleType:
    """Import a module that a parameter file names, `own.MODULE` or an installed one.

    Raises ImportError where there is none, ValueError where it lies in the working folder but not in
    `own/`.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # an installed command does not look there
    package, _, _ = name.partition(".")
    known = package == FOLDER or name in sys.modules  # what stages import, DVC watches
    if not known and _lies_in(find_spec(package), Path.cwd()):
        raise ValueError(
            f"{name} lies in the working folder, where DVC would not see it change: move it into "
            f"{FOLDER}/ and write {FOLDER}.{name.rpartition('.')[2]}"
        )
    return importlib.import_module(name)


def code_sha256(module: ModuleType) -> str | None:
    """Digest (hex) of the code that a module is: all of `own/`, of others their file.

    None for one without a file.
    """
    if module.__file__ is None:
        return None
    file = Path(module.__file__)
    if module.__name__.partition(".")[0] != FOLDER:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    root = file.parents[module.__name__.count(".") - 1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(
            path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0"
        )
    return digest.hexdigest()


def _lies_in(spec: ModuleSpec | None, folder: Path) -> bool:
    """Whether a top-level module or package is one of a folder's."""
    if spec is None:
        return False
    places = spec.submodule_search_locations or [spec.origin or ""]
    return any(Path(place).parent == folder for place in places)
