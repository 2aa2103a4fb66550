"""The penultimate features that V-scores and t-SNE panels need, computed where they are not yet at hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.compute import ROOMS, code_digest, pick_device, set_up, versions
from pipeline.core.dataset import ImageData
from pipeline.core.machine import Machine, load_machine
from pipeline.evaluate import class_groups
from pipeline.report.features import FeatureCache
from pipeline.report.params import EvaluationParams
from pipeline.report.runs import Run
from stages.shared.options import console


def features_of(
    runs: Sequence[Run],
    content: dict[str, Any],
    params: EvaluationParams,
    data: ImageData,
    folder: Path,
) -> FeatureCache:
    """Features of all V-score classes, on the machine's device; those that lack are computed now.

    Args:
        content: the whole parameter file.
        folder: where they are kept for the next time.
    """
    machine = load_machine(content)
    cache = feature_cache(machine, params, data, folder)
    trained = [run for run in runs if run.kept is None] if cache.classes else []
    if lacking := cache.lacking(trained):
        console.print(
            f"Penultimate features of {len(lacking)} networks are computed, of the images of "
            f"{len(cache.classes)} classes"
        )
        set_up(cache.device, machine.threads)
        cache.fill(lacking, machine.processes(len(lacking)))
    return cache


def feature_cache(
    machine: Machine, params: EvaluationParams, data: ImageData, folder: Path
) -> FeatureCache:
    """The cache of the features of all V-score classes, as this code computes them on this machine."""
    classes = {number for group in class_groups(params, data).values() for number in group}
    computed_by = {"versions": versions(), "code": code_digest(ROOMS["features"])}
    return FeatureCache(data, sorted(classes), folder, pick_device(machine), computed_by)
