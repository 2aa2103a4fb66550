"""Every trained network's record, test logits and weights in, the report out (`reports/`).

Networks are those that params.yaml names, never what happens to lie in the folders.
"""

from pathlib import Path

import click

from stages.shared.networks import features_option, network_options
from stages.shared.options import console, load_params, path_option, stage_options
from stages.shared.settings import setting_options


@click.command()
@network_options
@features_option
@path_option(
    "--kept", None, "Folder of kept results (`decant keep`), for what is not trained here."
)
@path_option("--out", "reports", "Folder to write.")
@path_option("--parquet", None, "Write results.csv as a Parquet file too (needs pyarrow).")
@click.option(
    "--tidy",
    is_flag=True,
    help="First move what params.yaml does not name out of the networks' folders, into data/.work: "
    "DVC depends on these folders whole.",
)
@stage_options
@setting_options
def evaluate(
    params_path: Path,
    prepared: Path,
    teachers: Path,
    baselines: Path,
    students: Path,
    features: Path,
    kept: Path | None,
    out: Path,
    parquet: Path | None,
    tidy: bool,
) -> None:
    """Write tables, V-scores, figures and the report of all networks of params.yaml.

    With --kept, a network that is not trained here is taken from its kept results, and one that has
    none is left out; else all of them must be there. A network that misses its floor is named in the
    report and here; `decant gate` fails for it.
    """
    from pipeline.evaluate import evaluate_networks

    content = load_params(params_path)
    folders = {"teachers": teachers, "baselines": baselines, "students": students}
    count = evaluate_networks(
        content,
        prepared,
        folders,
        features,
        out,
        console.print,
        kept=kept,
        parquet=parquet,
        tidy=tidy,
    )
    console.print(f"Report of {count} network{'s' * (count != 1)}: {out / 'report.html'}")


if __name__ == "__main__":
    evaluate()
