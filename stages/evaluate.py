"""Every trained network's record, test logits and weights in, the report out (`reports/`).

Networks are those that params.yaml names, never what happens to lie in the folders.
"""

import shutil
from functools import partial
from pathlib import Path

import click

from pipeline.core.machine import load_machine
from pipeline.core.params import section
from stages.shared.networks import Networks, features_option, network_options
from stages.shared.options import console, load_params, path_option, stage_options


@click.command()
@network_options
@features_option
@path_option(
    "--kept", None, "Folder of kept results (`decant keep`), for what is not trained here."
)
@path_option("--out", "reports", "Folder to write.")
@click.option(
    "--tidy",
    is_flag=True,
    help="First move what params.yaml does not name out of the networks' folders, into data/.work: "
    "DVC depends on these folders whole.",
)
@stage_options
def evaluate(
    params_path: Path,
    prepared: Path,
    teachers: Path,
    baselines: Path,
    students: Path,
    features: Path,
    kept: Path | None,
    out: Path,
    tidy: bool,
) -> None:
    """Write tables, V-scores, figures and the report of all networks of params.yaml.

    With --kept, a network that is not trained here is taken from its kept results, and one that has
    none is left out; else all of them must be there. A network that misses its floor is named in the
    report and here; `decant gate` fails for it.
    """
    from pipeline.core.dataset_params import load_dataset
    from pipeline.evaluate import check_replaceable, replace_report, write_report
    from pipeline.report.kept import load_kept
    from pipeline.report.params import EvaluationParams
    from stages.shared.features import features_of

    check_replaceable(out)
    content = load_params(params_path)
    params = section(content, EvaluationParams, "evaluation")
    networks = Networks.of(content, teachers=teachers, baselines=baselines, students=students)
    if tidy:
        for old, new in networks.tidy():
            console.print(f"{old}: not in {params_path}, moved to {new}", markup=False)
    data = load_dataset(prepared, content)
    instead = None
    if kept is not None:
        if not kept.is_dir():
            raise ValueError(f"{kept}: no such folder of kept results")
        instead = partial(load_kept, kept, params=content, fingerprint=data.fingerprint)
    runs = networks.load(data, instead)
    not_run = networks.absent(runs)
    if not_run:
        console.print(f"Not run, and left out: {', '.join(not_run)}", markup=False)
    computed = features_of(runs, content, params, data, features)
    unfinished = out.with_name(f"{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    cores = load_machine(content).cores
    report = write_report(runs, data, params, computed, unfinished, cores, not_run=not_run)
    replace_report(unfinished, out)
    console.print("\n".join(report.summary), markup=False)
    console.print(f"On the {data.evaluated_on} set of {data}.", markup=False)
    console.print(f"Report of {len(runs)} networks: {out / 'report.html'}", markup=False)


if __name__ == "__main__":
    evaluate()
