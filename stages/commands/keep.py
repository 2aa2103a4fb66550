"""Trained networks in, their numbers as small JSON files out: what of a study belongs beside the code."""

from pathlib import Path

import click

from pipeline.core.machine import load_machine
from pipeline.core.params import section
from stages.shared.networks import Networks, features_option, network_options
from stages.shared.options import console, load_params, stage_options


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@network_options
@features_option
@stage_options
def keep(
    folder: Path,
    params_path: Path,
    prepared: Path,
    teachers: Path,
    baselines: Path,
    students: Path,
    features: Path,
) -> None:
    """Write the numbers of every network of params.yaml that is trained into FOLDER.

    One JSON file a network: record, timing, curves, scores and V-scores. `decant evaluate --kept
    FOLDER` makes tables and figures of them where the networks themselves are not at hand. Files of
    networks that are not trained here stay as they are.
    """
    from pipeline.core.dataset_params import load_dataset
    from pipeline.evaluate import class_groups
    from pipeline.report.kept import keep_run
    from pipeline.report.params import EvaluationParams
    from pipeline.report.scores import score_runs
    from pipeline.report.vscores import vscore_runs
    from stages.shared.features import features_of

    content = load_params(params_path)
    params = section(content, EvaluationParams, "evaluation")
    networks = Networks.of(content, teachers=teachers, baselines=baselines, students=students)
    data, workers = load_dataset(prepared, content), load_machine(content).cores
    runs = networks.load(data, lambda part, name: None)
    computed = features_of(runs, content, params, data, features)
    scores = score_runs(runs, data.test.labels, workers)
    v_scores = vscore_runs(runs, class_groups(params, data), params.vscore, computed, workers)
    for one in scores:
        keep_run(folder, one.run, one, [v for v in v_scores if v.run is one.run], params.vscore)
    console.print(f"{len(runs)} of {networks.count} networks -> {folder}", markup=False)


if __name__ == "__main__":
    keep()
