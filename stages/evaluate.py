"""Every trained network's record, test logits and features in, the report out (`reports/`).

Networks are those that params.yaml names, never what happens to lie in the folders.
"""

import shutil
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
@path_option("--prepared", PREPARED, "Prepared data set.")
@path_option("--teachers", TEACHERS, "Folder of the trained teachers.")
@path_option("--baselines", "data/baselines", "Folder of the networks trained alone.")
@path_option("--students", "data/students", "Folder of the students.")
@path_option("--out", "reports", "Folder to write.")
@stage_options
def evaluate(
    params_path: Path, prepared: Path, teachers: Path, baselines: Path, students: Path, out: Path
) -> None:
    """Write tables, V-scores, figures and the report of all networks of params.yaml."""
    from pipeline.prepared import load_prepared
    from pipeline.report.build import check_replaceable, replace_report, write_report
    from pipeline.report.params import EvaluationParams
    from pipeline.report.runs import SECTIONS, load_runs

    check_replaceable(out)
    content = load_params(params_path)
    params = section(content, EvaluationParams, "evaluation")
    entries = {name: section(content, dict[str, Any], name) for name in SECTIONS}
    roots = {"teachers": teachers, "baselines": baselines, "students": students}
    data = load_prepared(prepared)
    runs = load_runs(entries, roots, data.fingerprint)
    unfinished = out.with_name(f"{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    report = write_report(runs, data, params, unfinished, load_machine(content).cores)
    replace_report(unfinished, out)
    console.print("\n".join(report.summary), markup=False)
    console.print(f"Report of {len(runs)} networks: {out / 'report.html'}", markup=False)
    if report.shortfalls:
        raise ValueError("\n".join(report.shortfalls))


if __name__ == "__main__":
    evaluate()
