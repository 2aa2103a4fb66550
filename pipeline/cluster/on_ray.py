"""Tasks on a Ray cluster: the one module that knows Ray.

Nodes need Python, Decant's libraries and Ray, in the head's versions. The code is sent (`pipeline/` and
`own/`), and so are data, jobs and, by an actor on the head, the files of stores.
"""

import contextlib
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.cluster.tasks import Beat, Ended, Lost, Work
from pipeline.core.errors import DecantError
from pipeline.core.machine import Machine, asked_jobs
from pipeline.core.own import FOLDER as OWN

# Read when Ray is imported: the logs of lost nodes stay off the terminal, we tell in a line what matters.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
try:
    import ray
    from ray.exceptions import (
        NodeDiedError,
        OutOfMemoryError,
        RayError,
        RayTaskError,
        RuntimeEnvSetupError,
        WorkerCrashedError,
    )
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as missing:
    raise DecantError("machine.cluster needs Ray: `pip install -e '.[ray]'`") from missing

CONNECT_SECONDS = 3.0
RESOURCES_SECONDS = 2.0  # for so long what the cluster was last seen to have counts
CODE = Path(__file__).resolve().parents[1]
# What a client of gRPC (HTTP/2) says first, and the kind of frame with which each server answers.
_SETTINGS = b"\x04"
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0" * 5
_WORDS: dict[type[RayError], str] = {
    NodeDiedError: "its node is gone",
    OutOfMemoryError: "its node ran out of memory",
    WorkerCrashedError: "its process was killed",
}


class HeadFiles:
    """Files of the head, for workers: an actor beside the driver. Only what lies below `root` is read."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def read(self, path: str) -> bytes | str:
        """The bytes of a file, or why there are none."""
        if self.root not in Path(os.path.abspath(path)).parents:  # links are the project's own
            return f"{path}: not below {self.root}"
        try:
            return Path(path).read_bytes()
        except OSError as error:
            return f"{path}: {error.strerror} on the head"


@dataclass(frozen=True)
class _Begun:
    """What a task says first: where it runs."""

    node: str


def _run(work: Work, files: Any, *arguments: Any) -> Iterator[Any]:
    """A task, on its worker."""

    def fetch(path: str) -> bytes:
        data = ray.get(files.read.remote(path))
        if isinstance(data, str):
            raise OSError(data)
        return bytes(data)

    yield _Begun(ray.get_runtime_context().get_node_id())
    yield from work(fetch, *arguments)


class RayEngine:
    """The tasks of one command on the cluster that this process has joined (`Engine`)."""

    def __init__(self, machine: Machine) -> None:
        on_gpu = machine.device == "cuda"
        self.needs = {"num_cpus": machine.threads, "num_gpus": int(on_gpu)}
        self.resource, self.amount = ("GPU", 1) if on_gpu else ("CPU", machine.threads)
        self._places: dict[str, int] = {}  # of each node
        self._looked = float("-inf")
        self._nodes: dict[Any, str] = {}  # of tasks that have begun and run
        self._left: set[str] = set()
        if self.places() == 0:
            raise DecantError(
                f"machine.device: {machine.device}: no node of the cluster has "
                f"{'a GPU' if on_gpu else f'{machine.threads} processors'}; start one that has "
                "(`ray start`), or declare another device"
            )
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, max_concurrency=4, scheduling_strategy=here)(HeadFiles)
        self.files = actor.remote(str(Path.cwd()))

    def share(self, value: Any) -> Any:
        """See `Engine`."""
        return ray.put(value)

    def places(self) -> int:
        """See `Engine`."""
        if time.monotonic() - self._looked > RESOURCES_SECONDS:
            self._looked = time.monotonic()
            self._places = {
                node["NodeID"]: int(node["Resources"].get(self.resource, 0)) // self.amount
                for node in ray.nodes()
                if node["Alive"]
            }
        return sum(places for node, places in self._places.items() if node not in self._left)

    def start(self, work: Work, *arguments: Any) -> Any:
        """See `Engine`."""
        labels = {"ray.io/node-id": f"!in({','.join(sorted(self._left))})"} if self._left else None
        options = {"num_returns": "streaming", "max_retries": 0, "label_selector": labels}
        task = ray.remote(**options, **self.needs)(_run)
        return task.remote(work, self.files, *arguments)

    def next(self, handles: Sequence[Any], seconds: float) -> tuple[Any, Any] | None:
        """See `Engine`. Raises DecantError where the code cannot be sent."""
        ready, _ = ray.wait(list(handles), num_returns=1, timeout=seconds)
        if not ready:
            return None
        (handle,) = ready
        try:
            message = ray.get(next(handle))
        except StopIteration:
            self._nodes.pop(handle, None)
            return handle, Ended()
        except (RayTaskError, RuntimeEnvSetupError) as error:
            raise DecantError(f"a worker cannot begin: {error}") from None
        except RayError as error:
            self._nodes.pop(handle, None)
            return handle, Lost(_why(error))
        if isinstance(message, _Begun):
            self._nodes[handle] = message.node
            return handle, Beat()
        return handle, message

    def leave(self, handle: Any) -> None:
        """See `Engine`."""
        node = self._nodes[handle]
        if any(
            places and other not in {node, *self._left} for other, places in self._places.items()
        ):
            self._left.add(node)
        self.stop(handle)

    def stop(self, handle: Any) -> None:
        """See `Engine`."""
        self._nodes.pop(handle, None)
        with contextlib.suppress(RayError, ValueError):
            ray.cancel(handle, force=True)


def _why(error: RayError) -> str:
    """Why a worker was lost, in a few words."""
    for kind, words in _WORDS.items():
        if isinstance(error, kind):
            return words
    return type(error).__name__


@cache
def session(machine: Machine) -> RayEngine:
    """The cluster that `machine.cluster` names, joined (`local`: started) until this process ends.

    Raises DecantError where there is none, or one of another version.
    """
    assert machine.cluster is not None
    local = machine.cluster == "local"
    address = "local" if local else _reachable(machine.cluster)
    if machine.cluster == "auto":
        address = "auto"  # then Ray takes the machine's token, which an address keeps it from
    if local:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    places = asked_jobs() or machine.workers or machine.cores
    modules = [str(CODE), *([str(Path(OWN).resolve())] if Path(OWN).is_dir() else [])]
    try:
        ray.init(
            address=address,
            num_cpus=places * machine.threads if local else None,
            runtime_env={"py_modules": modules},
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except ConnectionError as error:
        raise DecantError(
            f"machine.cluster: {machine.cluster}: {error}. Where `ray start` said that it asks for a token, "
            "set RAY_AUTH_MODE=token here too, with the same ~/.ray/auth_token"
        ) from None
    except (RayError, RuntimeError, ValueError) as error:
        raise DecantError(f"machine.cluster: {machine.cluster}: {error}") from None
    return RayEngine(machine)


def _reachable(cluster: str) -> str:
    """HOST:PORT of a cluster that answers; Ray itself would wait for minutes. Raises DecantError."""
    address = _running() if cluster == "auto" else cluster
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), CONNECT_SECONDS) as connection:
            connection.sendall(_GREETING)
            answer = connection.recv(4)
    except OSError as error:
        why = "silence" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise DecantError(
            f"machine.cluster: {cluster}: no answer at {address} ({why}); `ray start --head` starts a "
            "cluster, `ray status` shows one"
        ) from None
    if answer[3:] != _SETTINGS:
        raise DecantError(
            f"machine.cluster: {cluster}: no cluster of Ray answers at {address}; its port is the one that "
            "`ray start --head` names (6379), not the dashboard's or a client's"
        )
    return address


def _running() -> str:
    """The address of the cluster that this machine is a node of, as `ray start` leaves it."""
    if address := os.environ.get("RAY_ADDRESS"):
        return address
    file = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", "ray_current_cluster")
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        raise DecantError(
            "machine.cluster: auto: this machine is a node of no cluster; `ray start --head` starts one, "
            "`local` needs none"
        ) from None
