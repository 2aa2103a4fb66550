"""A stand-in for SLURM's queue: `sbatch` notes a job, `Queue.run` runs its tasks as real processes.

It knows the options that docs/clusters.md uses, and refuses all others.
"""

import argparse
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

AT_ONCE = 2  # tasks, whatever a job allows


def parser():
    """Options of `sbatch`, on its command line and in the lines `#SBATCH` of a script."""
    options = argparse.ArgumentParser(prog="sbatch", allow_abbrev=False)
    options.add_argument("--parsable", action="store_true", required=True)
    options.add_argument("--kill-on-invalid-dep", choices=["yes"], required=True)
    options.add_argument("--dependency", type=re.compile(r"afterok:(\d+)").fullmatch)
    options.add_argument("--array", type=re.compile(r"1-(\d+)%(\d+)").fullmatch, required=True)
    options.add_argument("--output", required=True)
    for name in ("job-name", "gres", "cpus-per-task", "time"):
        options.add_argument(f"--{name}")
    options.add_argument("script", type=Path)
    options.add_argument("arguments", nargs="*")
    return options


def submit(queue, arguments):
    """Note a job, its script as it is now; print its number."""
    script = next(Path(word) for word in arguments if not word.startswith("--"))
    text = script.read_text()
    own = re.findall(r"^#SBATCH (\S+)$", text, re.MULTILINE)
    assert len(own) == text.count("#SBATCH")
    job = parser().parse_args([*own, *arguments])
    number = 100 + len([*queue.glob("*.json"), *queue.glob("*.done")])
    facts = {
        "script": text,
        "arguments": job.arguments,
        "output": job.output,
        "after": int(job.dependency[1]) if job.dependency else None,
        "tasks": int(job.array[1]),
        "at_once": int(job.array[2]),
        "cwd": str(Path.cwd()),
    }
    (queue / f"{number}.json").write_text(json.dumps(facts))
    print(number)


class Queue:
    """Jobs in a folder; `path` goes first in the PATH of whoever submits."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "bin"
        self.path.mkdir(parents=True)
        command = f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} "$@"\n'
        (self.path / "sbatch").write_text(command)
        (self.path / "sbatch").chmod(0o755)

    def run(self, environment):
        """Run all jobs in their order; exit codes of the tasks of each, None for a job that never began."""
        codes = {}
        for file in sorted(self.folder.glob("*.json")):
            number, job = int(file.stem), json.loads(file.read_text())
            before = codes.get(job["after"], [0])
            codes[number] = None
            if before is not None and not any(before):
                codes[number] = self._run(number, job, environment)
            file.rename(file.with_suffix(".done"))
        return codes

    def _run(self, number, job, environment):
        script = self.folder / f"{number}.sh"
        script.write_text(job["script"])

        def run_task(task):
            output = job["output"].replace("%A", str(number)).replace("%a", str(task))
            with Path(job["cwd"], output).open("w") as log:
                return subprocess.run(
                    ["bash", str(script), *job["arguments"]],
                    cwd=job["cwd"],
                    env=environment | {"SLURM_ARRAY_TASK_ID": str(task)},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    check=False,
                ).returncode

        with ThreadPoolExecutor(min(AT_ONCE, job["at_once"])) as pool:
            return list(pool.map(run_task, range(1, job["tasks"] + 1)))


if __name__ == "__main__":
    submit(Path(sys.argv[1]), sys.argv[2:])
