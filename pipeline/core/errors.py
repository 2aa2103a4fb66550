"""What is the user's to mend: every such error of ours is a `DecantError`, and its text says how.

Below it, each beside the code that raises it: `ParamsError` (core), `DatasetError` (core), `PublishError`
(core), `CheckpointError` (models), `NonFiniteLossError`, `RanksError` and `WorkerError` (training),
`StoreError` with its family (store/format), `ResultsError` (results).
"""

import copyreg
import traceback
from pathlib import Path
from typing import Any

_OURS = Path(__file__).resolve().parents[2]


class DecantError(ValueError):
    """A mistake, a damaged file or a machine's refusal; the message says what it is and what helps."""

    def __reduce__(self) -> tuple[Any, ...]:
        # It crosses to other processes with its text and attributes; __init__ takes what the text is made of.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


def is_mistake(error: BaseException) -> bool:
    """Whether an error was raised for the user's sake rather than by a fault of ours."""
    return isinstance(error, ValueError | OSError)


def mistake_text(error: BaseException) -> str:
    """The text of an error; one that is no DecantError may come from the user's code, and then says where.

    That is the innermost line below the working folder: one of a loss, say, not that of torch's own which it
    called.
    """
    if isinstance(error, DecantError):
        return str(error)
    lines = traceback.extract_tb(error.__traceback__)
    places = [(Path(line.filename), line.lineno) for line in lines]
    own = [(path, number) for path, number in places if _is_own(path)]
    if not own:
        return str(error)
    path, number = own[-1]
    return f"{error} ({path.relative_to(Path.cwd())}:{number})"


def _is_own(path: Path) -> bool:
    """Whether a file is code of the user's own, in the folder that one works in."""
    is_ours = path.is_relative_to(_OURS / "pipeline") or path.is_relative_to(_OURS / "stages")
    is_installed = "site-packages" in path.parts
    return path.is_relative_to(Path.cwd()) and not is_ours and not is_installed
