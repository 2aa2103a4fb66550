"""Which of the processes that torchrun started this one is, and who of them speaks. Imports no torch."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Rank 0 makes a mistake in the parameters within this time of the others. torchrun then ends them.
PATIENCE_SECONDS = 10.0


def launched() -> tuple[int, int]:
    """Rank of this process, from 0, and number of ranks: (0, 1) without torchrun.

    RANK and WORLD_SIZE count only beside a variable that torchrun alone sets: containers of clusters set
    them too, for programs that were not started that way.

    >>> launched()
    (0, 1)
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def is_first() -> bool:
    """Whether this process is rank 0, which alone shows progress and writes results."""
    return launched()[0] == 0


@contextmanager
def first_speaks() -> Iterator[None]:
    """Inside, an error of another rank than 0 is told only if rank 0 does not end with one of its own.

    All ranks read the same parameters, so most mistakes are made by all of them: the others wait until
    torchrun, which sees rank 0 end, ends them too. An error of one of them alone is told after the wait.
    """
    try:
        yield
    except KeyboardInterrupt:
        if is_first():
            raise
        raise SystemExit(130) from None
    except Exception:
        if not is_first():
            time.sleep(PATIENCE_SECONDS)
        raise
