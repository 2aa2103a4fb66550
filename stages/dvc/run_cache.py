"""Stages whose results for the present inputs are in DVC's run cache: `dvc repro` restores them.

    python -m stages.dvc.run_cache FILE STAGE...

FILE gets their names, a list as JSON.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotFoundError
from dvc_data.hashfile.hash_info import HashInfo


def restorable(names: Sequence[str]) -> Iterator[str]:
    """Those of the stages that the run cache has; nothing is restored."""
    with Repo() as repo, repo.lock:
        for name in names:
            (stage,) = repo.stage.collect(name)
            stage.save_deps()
            for out in stage.outs:  # of other inputs; with them, DVC would look no further
                out.hash_info = HashInfo()
            try:
                repo.stage_cache.restore(stage, dry=True)
            except RunCacheNotFoundError:
                continue
            yield name


if __name__ == "__main__":
    found = list(restorable(sys.argv[2:]))
    Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")
