"""Stages in forked children of a process that has imported everything: a test can kill many of them.

Run as a script it takes one request a line on its standard input (JSON: `cwd`, `command`, `log`, `kill_at`,
`environment`) and answers with the child's process id, then with how it ended. The child runs a real
command of stages/, writes every file operation and every part that it computes into `log`, and kills
itself with SIGKILL instead of file operation number `kill_at`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from child_processes import running

ROOT = Path(__file__).resolve().parent.parent
FILE_OPERATIONS = ("link", "rename", "replace", "fsync", "mkdir", "unlink", "rmdir")
MODULES = ("dump", "train_teacher", "prepare")


@dataclass(frozen=True)
class Ended:
    """How a child ended, what it printed, the file operations that it did and the parts it computed."""

    code: int
    output: str
    operations: list[str]
    computed: int

    @property
    def killed(self):
        return self.code == -signal.SIGKILL


class Child:
    """A command that runs; `end` waits for it."""

    def __init__(self, server, log):
        self.server, self.log = server, log
        self.pid = int(self.server.stdout.readline())

    def end(self):
        code = int(self.server.stdout.readline())
        lines = self.log.read_text().split() if self.log.exists() else []
        operations = [line for line in lines if line != "computed"]
        output = self.log.with_suffix(".out").read_text()
        return Ended(code, output, operations, lines.count("computed"))


class StageRunner:
    """The client: a context manager with a process of its own."""

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            logs = tempfile.TemporaryDirectory(prefix="decant-runs-")
            self.logs = Path(stack.enter_context(logs))
            server = running(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
            )
            self.server = stack.enter_context(server)
            assert self.server.stdout.readline() == "ready\n"
            self.opened = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.opened.close()

    def start(self, folder, *command, kill_at=None, **environment):
        """Start `stages.COMMAND ARGUMENTS` in a folder; one at a time."""
        log = self.logs / "run.log"
        log.unlink(missing_ok=True)
        request = {
            "cwd": str(folder),
            "command": [str(part) for part in command],
            "log": str(log),
            "kill_at": kill_at,
            "environment": environment,
        }
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return Child(self.server, log)

    def run(self, folder, *command, kill_at=None, kill_after=None, **environment):
        """Run a command to its end, or kill it after some seconds."""
        child = self.start(folder, *command, kill_at=kill_at, **environment)
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        return child.end()


def serve():
    # A killed child is reaped when its end is told, so that its id is nobody else's until then.
    commands = import_commands()
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    answer.write("ready\n")
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            answer.close()
            child(request, commands)
        answer.write(f"{pid}\n")
        _, status = os.waitpid(pid, 0)
        answer.write(f"{os.waitstatus_to_exitcode(status)}\n")


def import_commands():
    import importlib

    import torch

    import pipeline.compute  # noqa: F401

    torch.set_num_threads(1)
    return {name: getattr(importlib.import_module(f"stages.{name}"), name) for name in MODULES}


def child(request, commands):
    """Run one command; never returns."""
    os.chdir(request["cwd"])
    os.environ.update(request["environment"])
    time.tzset()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    output = os.open(request["log"].removesuffix(".log") + ".out", os.O_WRONLY | os.O_CREAT)
    os.truncate(output, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    watch(log, request["kill_at"])
    name, *arguments = request["command"]
    sys.argv = [f"stages.{name}", *arguments]
    code = 1
    try:
        commands[name].main(arguments, standalone_mode=False)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def watch(log, kill_at):
    """Log file operations and computed parts; make file operation `kill_at` a kill."""
    import pipeline.dump.dump

    done = 0

    def watched(name, real):
        def operation(*args, **options):
            nonlocal done
            if done == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            os.write(log, f"{name}\n".encode())
            return real(*args, **options)

        return operation

    def logged(real):
        def compute(*args, **options):
            answers = real(*args, **options)
            os.write(log, b"computed\n")
            return answers

        return compute

    for name in FILE_OPERATIONS:
        setattr(os, name, watched(name, getattr(os, name)))
    for name in ("predict_epoch", "predict_clean"):
        setattr(pipeline.dump.dump, name, logged(getattr(pipeline.dump.dump, name)))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    serve()
