"""Chapters of the report that are the same whatever is studied."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML

from pipeline.core.dataset import ImageData
from pipeline.evaluation.runs import SECTIONS, Run
from pipeline.report.document import Folded
from pipeline.report.folder import Report
from pipeline.report.provenance import provenance_tables

# What dvc.yaml names for the report: of another section it would be stale without anyone's noticing.
SHOWN_SECTIONS = ("dataset", *SECTIONS, "evaluation")


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
