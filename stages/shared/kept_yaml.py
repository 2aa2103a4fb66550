"""YAML files as JSON under the digest of their bytes: YAML takes as long to read as all else that is done.

Pydantic, too, is imported where a file has changed, not before: a shell waits for the names in it.
"""

import contextlib
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.core.files import WORK, durable_write


def load_kept(path: Path) -> dict[str, Any]:
    """What `load_yaml` reads of a file, and raises; of the working folder's files it is kept."""
    content = path.read_bytes() if path.is_file() else b""
    return _content(path, hashlib.sha256(content).hexdigest())


@cache
def _content(path: Path, digest: str) -> dict[str, Any]:
    kept = WORK / f"{path.name.replace('.', '-')}.json"
    is_here = path.absolute().parent == Path.cwd()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        known = json.loads(kept.read_text(encoding="ascii"))
        if known["sha256"] == digest and isinstance(known["content"], dict):
            return known["content"]
    from pipeline.core.params import load_yaml

    content = load_yaml(path)
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        text = json.dumps({"sha256": digest, "content": content})
        if is_here and json.loads(text)["content"] == content:  # all of it is JSON
            durable_write(kept, text.encode("ascii"))
    return content
