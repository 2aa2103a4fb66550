"""What the work of both kinds has in common on a worker: checks, a folder, and how messages get out."""

import contextlib
import os
import queue
import socket
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.cluster.tasks import Beat, Fault, Note
from pipeline.compute import ROOMS, code_digest, pick_device, set_up, versions
from pipeline.core.dataset import ImageData, fingerprint
from pipeline.core.dataset_facts import DatasetError
from pipeline.core.errors import DecantError, is_mistake, mistake_text
from pipeline.core.files import StorageError, WorkFolder, WorkFolderBusyError, work_folders
from pipeline.core.machine import Machine

POLL_SECONDS = 0.25
BEAT_SECONDS = 2.0

Send = Callable[[Any], None]


class StoppedError(Exception):
    """The head wants nothing more of this task."""


@dataclass(frozen=True)
class Site:
    """What head and workers have to agree on, as the head has it."""

    machine: Machine
    versions: dict[str, str]
    code: str
    instructions: str  # the widest that torch's kernels use on the head's processor

    @classmethod
    def here(cls, machine: Machine) -> "Site":
        """Of this process."""
        rooms = tuple(sorted({room for rooms in ROOMS.values() for room in rooms}))
        instructions = torch.backends.cpu.get_cpu_capability()
        return cls(machine, versions(), code_digest(rooms), instructions)

    def set_up(self, send: Send) -> torch.device:
        """Prepare this worker as the head asks; returns its device.

        Raises DecantError where its versions or its code are others, or where it lacks the device.
        """
        device = pick_device(Machine(data_root="", device=self.machine.device))
        ours = Site.here(self.machine)
        for name, version in self.versions.items():
            if ours.versions[name] != version:
                raise DecantError(
                    f"{name} {ours.versions[name]} here, {version} on the head: results would differ; "
                    "install the same on both"
                )
        if ours.code != self.code:
            raise DecantError(
                "Decant's code here is not the head's: another installation goes before what was sent; "
                "uninstall decant here"
            )
        if device.type == "cpu" and ours.instructions != self.instructions:
            send(
                Note(
                    f"{socket.gethostname()} computes with {ours.instructions}, this machine with "
                    f"{self.instructions}: the last bits of their results may differ"
                )
            )
        set_up(device, self.machine.threads)
        return device


def check_data(data: ImageData) -> None:
    """Raise DatasetError where the images that came are not those of their fingerprint."""
    if fingerprint(data.train, data.test, data.class_names) != data.fingerprint:
        raise DatasetError("the prepared data set was damaged on its way; run the command again")


def streamed(
    work: Callable[[Send], None], news: Callable[[], Iterator[Any]] = lambda: iter(())
) -> Iterator[Any]:
    """What `work` sends, done in a thread of its own; what `news` finds meanwhile; and signs of life.

    A mistake or a fault of the work becomes the last message. Where the iterator is closed, `work` ends
    with a StoppedError the next time that it sends something.
    """
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stopped, end = threading.Event(), object()

    def send(message: Any) -> None:
        if stopped.is_set():
            raise StoppedError
        messages.put(message)

    def run() -> None:
        try:
            work(send)
        except StoppedError:
            pass
        except BaseException as error:
            messages.put(fault_of(error))
        finally:
            messages.put(end)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield Beat()
        yield from _drained(messages, end, news)
    finally:
        stopped.set()
        thread.join()


def _drained(
    messages: "queue.SimpleQueue[Any]", end: object, news: Callable[[], Iterator[Any]]
) -> Iterator[Any]:
    last = time.monotonic()
    while True:
        yield from news()
        try:
            message = messages.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if time.monotonic() - last < BEAT_SECONDS:
                continue
            message = Beat()
        if message is end:
            return
        last = time.monotonic()
        yield message


def fault_of(error: BaseException) -> Fault:
    """The message of what went wrong on this worker."""
    text = mistake_text(error) if is_mistake(error) else traceback.format_exc()
    return Fault(f"on node {socket.gethostname()}: {text}")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for the files of one task; removed at its end, those of killed processes too.

    Raises StorageError where there is no room for one.
    """
    root = Path(tempfile.gettempdir(), f"decant-{os.getuid()}")
    with contextlib.suppress(StorageError):  # what cannot be removed is no reason to end a task
        for old in work_folders(root):
            with contextlib.suppress(WorkFolderBusyError), WorkFolder(root, old.name) as folder:
                folder.remove()
    with WorkFolder(root, uuid.uuid4().hex) as folder:
        try:
            yield folder.path
        finally:
            folder.remove()


def counted(total: int, send: Send, message: Callable[[int], Any]) -> Callable[[int], None]:
    """What to call with how many more images are done: sends how many all are, a few times a second."""
    images, last = 0, 0.0

    def count(more: int) -> None:
        nonlocal images, last
        images += more
        now = time.monotonic()
        if now - last >= POLL_SECONDS or images >= total:
            last = now
            send(message(images))

    return count
