"""DVC's Python interface, where its commands would read and write dvc.lock once for each stage.

    python -m stages.dvc.repo FILE STAGE...

FILE gets the names of the stages whose results for the present inputs are in DVC's run cache, a list as JSON:
`dvc repro` restores those, and runs nothing.
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotFoundError
from dvc_data.hashfile.hash_info import HashInfo

from pipeline.core.errors import DecantError
from stages.dvc.parsed import parsed_once
from stages.shared.options import guarded


@contextlib.contextmanager
def opened() -> Iterator[Repo]:
    """DVC's project in the working folder, locked. Raises DecantError for what DVC refuses."""
    try:
        with parsed_once(), Repo() as repo, repo.lock:
            yield repo
    except DvcException as error:
        raise DecantError(f"DVC: {error}") from error


def restorable(names: Sequence[str]) -> Iterator[str]:
    """Those of the stages that the run cache has; nothing is restored. Raises DecantError."""
    with opened() as repo:
        stages = {stage.addressing: stage for stage in repo.index.stages}
        for name in names:
            stage = stages[name]
            stage.save_deps()
            for out in stage.outs:  # of other inputs; with them, DVC would look no further
                out.hash_info = HashInfo()
            try:
                repo.stage_cache.restore(stage, dry=True)
            except RunCacheNotFoundError:
                continue
            yield name


def commit(names: Sequence[str]) -> None:
    """Record stages with what is on disk, as `dvc commit --force` does. Raises DecantError."""
    with opened() as repo:
        stages = [stage for stage in repo.index.stages if stage.addressing in names]
        for stage in stages:
            stage.save()
            stage.commit()
        stages[0].dvcfile.dump_stages(stages, update_pipeline=False)


def main(file: str, names: Sequence[str]) -> None:
    """Write which stages are to be restored into a file."""
    Path(file).write_text(json.dumps(list(restorable(names))), encoding="utf-8")


if __name__ == "__main__":
    guarded(partial(main, sys.argv[1], sys.argv[2:]), debug=False)
