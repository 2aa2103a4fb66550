"""A Ray cluster of this machine, in a process of its own: a head without processors, and nodes with one.

Run as a script it prints the cluster's address, then does what each line of its standard input says: `add` a
node, `kill` the oldest one that was added (with SIGKILL) or let it `hang` (SIGSTOP), and answers `done`. At
the end of its input it stops the cluster.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

OBJECTS = 100_000_000  # bytes, of each node's object store
ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # else workers starve beside the test's own processes
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEFAULT_OBJECT_STORE_MEMORY_PROPORTION": "0.01",
    "OMP_NUM_THREADS": "1",
}


class RayCluster:
    """The client: a context manager; `address` is the cluster's."""

    def __init__(self, nodes):
        self.nodes = nodes

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **ENVIRONMENT},
        )
        self.address = self.process.stdout.readline().split()[-1]
        for _ in range(self.nodes):
            self.do("add")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()

    def do(self, what):
        """Add or kill a node, or let it hang."""
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


def serve():
    from ray.cluster_utils import Cluster

    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    head = {"num_cpus": 0, "object_store_memory": OBJECTS, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes, hung = [], []
    answer.write(f"{cluster.address}\n")
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(num_cpus=1, object_store_memory=OBJECTS))
        elif line.strip() == "hang":
            (raylet,) = nodes[0].all_processes["raylet"]
            hung = family(raylet.process.pid)
            for process in hung:
                os.kill(process, signal.SIGSTOP)
        else:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
        answer.write("done\n")
    for process in hung:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
    cluster.shutdown()


def family(process):
    """A process and all that it has started."""
    done = subprocess.run(
        ["pgrep", "-P", str(process)], capture_output=True, text=True, check=False
    )
    return [process, *(each for child in done.stdout.split() for each in family(int(child)))]


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    serve()
