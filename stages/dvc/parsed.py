"""DVC parses params.yaml anew for each stage that it looks at, three times for one that it records.

That is most of its time beside many stages: here a file is parsed again when it has changed. DVC has no
setting for it; where another version of it reads parameters elsewhere, nothing is gained and nothing lost.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from dvc.dependency import param


@contextmanager
def parsed_once() -> Iterator[None]:
    """Meanwhile DVC parses an unchanged file of parameters once."""
    load: Callable[..., Any] | None = getattr(param, "load_path", None)
    if load is None:
        yield
        return
    parsed: dict[str, tuple[tuple[int, ...], Any]] = {}

    def load_once(path: str, fs: Any, **options: Any) -> Any:
        if options or getattr(fs, "protocol", None) != "local":
            return load(path, fs, **options)
        version = _version(path)
        if path not in parsed or parsed[path][0] != version:
            parsed[path] = version, load(path, fs)
        return deepcopy(parsed[path][1])

    param.load_path = load_once
    try:
        yield
    finally:
        param.load_path = load


def _version(path: str) -> tuple[int, ...]:
    facts = os.stat(path)
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
