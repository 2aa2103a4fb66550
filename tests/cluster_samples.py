"""A cluster that is this process, whose workers get lost as a test asks; and a small store to learn from."""

import shutil
from collections.abc import Callable

import cloudpickle
import torch
from store_samples import TEACHER

from pipeline.cluster.tasks import Ended, Lost
from pipeline.dump.dump import dump_group, view_recipe
from pipeline.dump.params import DumpParams, PlainViews
from pipeline.store.format.manifest import Header, describe_dataset
from pipeline.store.read import open_store
from pipeline.views.params import Augmentation


class Here:
    """An engine that does one task after the other; what it is given crosses as between processes.

    Args:
        lost: called with the number of a task (from 0, in the order of their starts) and each message that
            was delivered; True: its worker is lost after that one.
        fetch: what workers fetch files with.
    """

    def __init__(
        self,
        lost: Callable[[int, object], bool] = lambda number, message: False,
        fetch: Callable[[str], bytes] = lambda path: b"",
        places: int = 1,
    ):
        self.lost, self.fetch, self._places = lost, fetch, places
        self.tasks, self.doomed, self.started, self.messages = {}, set(), [], []

    def share(self, value):
        return value

    def places(self):
        return self._places

    def start(self, work, *arguments):
        number = len(self.started)
        self.started.append(arguments)
        work, arguments = cloudpickle.loads(cloudpickle.dumps((work, arguments)))
        self.tasks[number] = work(self.fetch, *arguments)
        return number

    def next(self, handles, seconds):
        number = min(handles)
        if number in self.doomed:
            self.tasks.pop(number).close()
            return number, Lost("as the test asks")
        message = next(self.tasks[number], Ended())
        self.messages.append(message)
        if self.lost(number, message):
            self.doomed.add(number)
        return number, message

    def stop(self, handle):
        if handle in self.tasks:
            self.tasks.pop(handle).close()


VIEWS = 3
DUMP = DumpParams(
    seed=5,
    batch_size=128,
    plain=PlainViews(views=VIEWS, draw="stratified", features=True),
    mixed=None,
)


def small_store(network, data, folder):
    """A store of plain views of a network, opened."""
    header = Header(
        group="plain",
        dataset=describe_dataset(data),
        teacher=TEACHER,
        recipe=view_recipe(DUMP, "plain", Augmentation(pad=2, flip=False)),
        batch_size=DUMP.batch_size,
        precision="float32",
        tolerance=0.02,
        versions={"torch": "any"},
    )
    files = dump_group(network, header, DUMP, data, torch.device("cpu"), folder / "dumped")
    for name, path in files.items():
        (folder / "t.zarr" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / "t.zarr" / name)
    return open_store(folder / "t.zarr", groups=["plain"], dataset=describe_dataset(data))
