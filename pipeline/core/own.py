"""Code of the user's own: losses in `own/losses/`, networks in `own/networks/`.

DVC watches each folder, whole, for the stages that use what is in it, so that no result of older code
passes for a current one; an edited loss leaves teachers alone. Installed packages work too, unwatched; a
module elsewhere in the working folder is refused.
"""

import hashlib
import importlib
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from pipeline.core.errors import DecantError

FOLDER = "own"


def import_own(name: str, kind: str) -> ModuleType:
    """Import a module that a parameter file names: one of the user's own folder, or an installed one.

    Args:
        name: `own.losses.MODULE`, `own.networks.MODULE`, or an installed package's module.
        kind: what it holds: loss, network.

    Raises DecantError where it lies in the working folder but not in the folder of its kind, ImportError
    where there is none, and whatever its own code raises.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # an installed command does not look there
    package, watched = name.partition(".")[0], f"{FOLDER}.{_plural(kind)}"
    if name == watched:
        raise DecantError(f"{name} is a folder: name a file in it, too ({watched}.MODULE:NAME)")
    if not name.startswith(f"{watched}."):
        known = package != FOLDER and name in sys.modules  # what stages import, DVC watches
        if not known and (package == FOLDER or _lies_in(find_spec(package), Path.cwd())):
            raise DecantError(
                f"{name} lies in the working folder, where DVC would not see it change: move it "
                f"into {watched.replace('.', '/')}/ and write {watched}.{name.rpartition('.')[2]}"
            )
    return importlib.import_module(name)


def code_sha256(module: ModuleType) -> str | None:
    """Digest (hex) of the code that a module is: of the user's own, all of its folder; of others, theirs.

    None for one without a file.
    """
    if module.__file__ is None:
        return None
    file = Path(module.__file__)
    if module.__name__.partition(".")[0] != FOLDER:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    # own/losses of own.losses.mine, be it mine.py or a package, mine/__init__.py.
    root = file.parents[module.__name__.count(".") - 2 + hasattr(module, "__path__")]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        # Data counts, too: a table that a loss reads, weights that a network begins with.
        if path.is_file() and "__pycache__" not in name.parts and path.suffix != ".md":
            content = hashlib.sha256(path.read_bytes()).digest()
            digest.update(name.as_posix().encode() + b"\0" + content)
    return digest.hexdigest()


def _plural(kind: str) -> str:
    return {"loss": "losses"}.get(kind, f"{kind}s")


def _lies_in(spec: ModuleSpec | None, folder: Path) -> bool:
    """Whether a top-level module or package is one of a folder's."""
    if spec is None:
        return False
    places = spec.submodule_search_locations or [spec.origin or ""]
    return any(Path(place).parent == folder for place in places)
