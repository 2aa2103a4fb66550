"""Child processes of tests: none of them outlives its test, also where that fails."""

import contextlib
import os
import signal
import subprocess
from functools import partial

PATIENCE_SECONDS = 10


@contextlib.contextmanager
def running(command, **options):
    """A `subprocess.Popen` in a process group of its own; what still runs of it at the end is killed.

    It is asked to end (SIGTERM) before it is killed: torchrun ends its ranks then, whose groups are others.
    """
    with subprocess.Popen(
        command,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore the signal, and what they start does too.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        **options,
    ) as process:
        try:
            yield process
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE_SECONDS)
