"""Manifests of an attacker's making, with every digest that fits."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.core.files import canonical_json
from pipeline.store.format.codecs import crc32c


def sign(store: Path, group: str, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest and give it the digest that fits."""
    path = store / group / "manifest.json"
    content = json.loads(path.read_bytes())
    del content["digest"]
    edit(content)
    content["digest"] = hashlib.sha256(canonical_json(content)).hexdigest()
    path.write_bytes(canonical_json(content))


def replace_file(store: Path, group: str, name: str, data: bytes) -> None:
    """Put a file of an attacker's making into a store, manifest and all."""
    (store / group / name).write_bytes(data)

    def edit(content: dict[str, Any]) -> None:
        content["files"][name] = {
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "crc32c": int.from_bytes(data[-4:], "little"),
        }
        plan_files = sorted(
            (path, facts["sha256"])
            for path, facts in content["files"].items()
            if path.split("/")[0] in ("crop_yx", "flip", "partner", "lam", "mix_rank")
            and not path.endswith("zarr.json")
        )
        if group != "clean":
            content["plan_sha256"] = hashlib.sha256(canonical_json(dict(plan_files))).hexdigest()

    sign(store, group, edit)


def with_crc(data: bytes) -> bytes:
    return data + crc32c(data).to_bytes(4, "little")
