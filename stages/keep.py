"""Trained networks in, their numbers as small JSON files out: what of a study belongs beside the code."""

from pathlib import Path
from typing import Any

import click

from pipeline.params import section
from stages.common import (
    PREPARED,
    TEACHERS,
    console,
    load_machine,
    load_params,
    path_option,
    stage_options,
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@path_option("--prepared", PREPARED, "Prepared data set.")
@path_option("--teachers", TEACHERS, "Folder of the trained teachers.")
@path_option("--baselines", "data/baselines", "Folder of the networks trained alone.")
@path_option("--students", "data/students", "Folder of the students.")
@stage_options
def keep(
    folder: Path,
    params_path: Path,
    prepared: Path,
    teachers: Path,
    baselines: Path,
    students: Path,
) -> None:
    """Write the numbers of every network of params.yaml that is trained into FOLDER.

    One JSON file a network: record, timing, curves, scores and V-scores. `decant evaluate --kept
    FOLDER` makes tables and figures of them where the networks themselves are not at hand. Files of
    networks that are not trained here stay as they are.
    """
    from pipeline.prepared import load_prepared
    from pipeline.report.build import class_groups
    from pipeline.report.kept import keep_run
    from pipeline.report.params import EvaluationParams
    from pipeline.report.runs import SECTIONS, load_runs
    from pipeline.report.scores import score_runs
    from pipeline.report.vscores import vscore_runs

    content = load_params(params_path)
    params = section(content, EvaluationParams, "evaluation")
    entries = {name: section(content, dict[str, Any], name) for name in SECTIONS}
    roots = {"teachers": teachers, "baselines": baselines, "students": students}
    data, workers = load_prepared(prepared), load_machine(content).cores
    runs = load_runs(entries, roots, data.fingerprint, lambda part, name: None)
    scores = score_runs(runs, data.test.labels, workers)
    v_scores = vscore_runs(runs, class_groups(params, data), params.vscore, workers)
    for one in scores:
        keep_run(folder, one.run, one, [v for v in v_scores if v.run is one.run], params.vscore)
    total = sum(map(len, entries.values()))
    console.print(f"{len(runs)} of {total} networks -> {folder}", markup=False)


if __name__ == "__main__":
    keep()
