"""Errors that are the user's to mend."""

import pickle
from pathlib import Path

from pipeline.core.files import WorkFolderBusyError
from pipeline.core.locks import Holder
from pipeline.core.params import ParamsError
from pipeline.raw.image_files import UnreadableImagesError
from pipeline.store.format.errors import MissingFileError


def test_errors_cross_from_process_to_process() -> None:
    busy = WorkFolderBusyError(Path("work"), Holder("here", 1, "decant"))
    lost = MissingFileError(Path("s.zarr"), "plain/c", "is not there")
    wrong = ParamsError(["a: 1", "b: 2"])
    unreadable = UnreadableImagesError(["x"], 2)
    for error in (busy, lost, wrong, unreadable):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
