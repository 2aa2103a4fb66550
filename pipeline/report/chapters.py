"""Chapters of the report that are the same whatever is studied."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from pandas import DataFrame, concat
from ruamel.yaml import YAML

from pipeline.core.dataset import ImageData
from pipeline.evaluation.calibration import ECE_BINS
from pipeline.evaluation.runs import SECTIONS, Run
from pipeline.report.chart_data import confusion_frame
from pipeline.report.charts import confusion_charts
from pipeline.report.confusion import shown_run
from pipeline.report.document import Folded
from pipeline.report.folder import Report
from pipeline.report.logit_charts import (
    class_charts,
    class_frame,
    reliability_charts,
    reliability_frame,
)
from pipeline.report.provenance import provenance_tables
from pipeline.report.seen import seen_student, strip_caption, student_strip
from pipeline.report.training_charts import (
    difference_charts,
    difference_frame,
    loss_charts,
    loss_frame,
)

# What dvc.yaml names for the report: of another section it would be stale without anyone's noticing.
SHOWN_SECTIONS = ("dataset", *SECTIONS, "evaluation")


def add_images(report: Report, runs: Sequence[Run], data: ImageData) -> None:
    """The chapter that shows a few images as a student sees them, where a record tells of some."""
    run = seen_student(runs)
    if run is None:
        return
    strip = student_strip(run, runs, data)
    report.chapter("What a student sees")
    report.strip(strip, strip_caption(strip, run))


def add_differences(
    report: Report, runs: Sequence[Run], frame: DataFrame, networks: DataFrame, setting: str
) -> None:
    """The picture of paired differences, where students share seeds with plain KD."""
    report.pictures(
        difference_charts(difference_frame(runs, frame, networks)),
        "Top-1 accuracy of students minus that of KD (no mixup, same teacher, network and recipe), "
        "seed by seed: dots; their mean: tick; its 95 % t interval: line, cut at the edge where seeds are "
        "few. An interval across zero shows no difference; that of two seeds may be short by chance. "
        f"{setting}",
    )


def add_losses(report: Report, runs: Sequence[Run], setting: str) -> None:
    """Losses and learning rate over training."""
    report.pictures(
        loss_charts(loss_frame(runs)),
        "Losses and learning rate over training: mean over the replicates, by epoch. Training loss: each "
        "method's own, so that methods do not compare; test loss: cross-entropy of the logits as they are "
        f"(rescaled and zscore train another scale). {setting}",
    )


def add_logit_charts(report: Report, runs: Sequence[Run], data: ImageData, setting: str) -> None:
    """Reliability, confusion and accuracy by class, of the networks whose logits are at hand."""
    report.pictures(
        reliability_charts(reliability_frame(runs, data.test.labels)),
        f"Reliability: accuracy against confidence in {ECE_BINS} bins, as the ECE has them, first replicate; "
        "the larger a dot, the more images; lines: the gaps that the ECE averages. Below the diagonal a "
        "network is surer than it is right. "
        f"Logits are on the scale that the method trains. {setting}",
    )
    shown = shown_run(runs)
    if shown is None:
        return
    teacher = next((run for run in runs if run.name == shown.teacher and is_teacher(run)), None)
    chosen = [run for run in (shown, teacher) if run is not None]
    frames = [
        confusion_frame(run, data.test.labels, data.class_names).assign(
            network=f"{run.section}/{run.name}"
        )
        for run in chosen
    ]
    names = " and its teacher" if teacher else ""
    report.pictures(
        confusion_charts(concat(frames, ignore_index=True), data.class_names),
        f"Confusion matrices: {shown.section}/{shown.name} (the first student of the parameters){names}, "
        f"first replicate; shades are fractions of the true class. {setting}",
    )
    if teacher is not None:
        logits = {"student": shown.test_logits(0), "teacher": teacher.test_logits(0)}
        report.pictures(
            class_charts(
                class_frame(logits, data.test.labels, data.class_names),
                f"{shown.section}/{shown.name} and teachers/{teacher.name}",
            ),
            "Top-1 accuracy by class, first replicates: where the student loses most from its teacher "
            f"comes first. A class has few images: small differences say nothing. {setting}",
        )


def is_teacher(run: Run) -> bool:
    """Whether it is a teacher whose logits are at hand."""
    return run.section == "teachers" and run.kept is None


def add_provenance(
    report: Report, runs: Sequence[Run], data: ImageData, parameters: Mapping[str, Any] | None
) -> None:
    """The chapter on where the results come from: tables of the page alone, and the parameters, folded."""
    report.chapter("Provenance")
    report.blocks += provenance_tables(runs, data)
    if parameters is not None:
        report.blocks.append(
            Folded("params.yaml: the sections that the report is made from", as_yaml(parameters))
        )


def as_yaml(parameters: Mapping[str, Any]) -> str:
    """Those of SHOWN_SECTIONS that there are, as YAML in that order."""
    text = io.StringIO()
    writer = YAML(typ="safe")
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump({name: parameters[name] for name in SHOWN_SECTIONS if name in parameters}, text)
    return text.getvalue()
