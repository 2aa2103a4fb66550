"""The stages of a parameter file by name. A shell waits for them: nothing that takes long is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.files import STORES

# The kind of stage that goes through a section of params.yaml, and the section of each kind.
SECTIONS = {
    "teachers": "train_teacher",
    "baselines": "train_baseline",
    "dumps": "dump",
    "students": "train_student",
}
KINDS = {kind: section for section, kind in SECTIONS.items()}


def entries(params: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The entries of a section; none where there is no such section."""
    value = params.get(section)
    return value if isinstance(value, dict) else {}


def kind_of(stage: str) -> str:
    """The part of a stage's name before the @."""
    return stage.partition("@")[0]


def result_of(stage: str) -> Path:
    """Where the result of a training or a dump lies."""
    kind, _, name = stage.partition("@")
    return STORES / f"{name}.zarr" if kind == "dump" else Path("data", KINDS[kind], name)


def stage_names(params: Mapping[str, Any]) -> list[str]:
    """All stages, in the order of the pipeline."""
    each = [f"{kind}@{name}" for kind, part in KINDS.items() for name in entries(params, part)]
    return ["check", "prepare", *each, "evaluate"]
