"""The whole report from the networks of a params.yaml: what is computed, in which order it is told."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pandas import DataFrame

from pipeline.core.asked_dataset import load_dataset
from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError
from pipeline.core.machine import load_machine
from pipeline.core.params import section
from pipeline.evaluation.configurations import hard_label_runs, of_shared_length
from pipeline.evaluation.features import FeaturesOf
from pipeline.evaluation.floors import below_floor
from pipeline.evaluation.frame import Results, by_run, results_frame
from pipeline.evaluation.kept import load_kept
from pipeline.evaluation.networks import Networks, class_groups, features_of
from pipeline.evaluation.params import EvaluationParams
from pipeline.evaluation.remembered import remember_beside
from pipeline.evaluation.runs import Run
from pipeline.evaluation.scores import score_runs
from pipeline.evaluation.vscores import VScores, vscore_runs
from pipeline.paper.cells import published_of
from pipeline.paper.chapter import (
    TSNE_FIGURES,
    figure_runs,
    study_tables,
    study_vscores,
    terminal_table,
)
from pipeline.paper.published import check_dataset
from pipeline.report.accuracy import accuracy_table, calibration_table, short_table
from pipeline.report.chapters import (
    add_differences,
    add_images,
    add_logit_charts,
    add_losses,
    add_provenance,
)
from pipeline.report.chart_data import (
    accuracy_frame,
    curve_frame,
    tsne_frame,
    vscore_bars,
)
from pipeline.report.charts import accuracy_charts, curve_charts
from pipeline.report.comparison import comparison_table, view_table
from pipeline.report.document import Paragraph
from pipeline.report.feature_charts import tsne_charts, vscore_charts
from pipeline.report.folder import Report, check_replaceable, replace_report
from pipeline.report.machine_readable import (
    write_details,
    write_metrics,
    write_plot_data,
    write_results,
)
from pipeline.report.overview import overview
from pipeline.report.page_tables import shown_accuracies
from pipeline.report.provenance import names_text
from pipeline.report.setting import caption, cost_table, setting_table
from pipeline.report.tsne import compared_networks, file_names, tsne_panels
from pipeline.report.vscores import short_vscore_table, vscore_frame, vscore_table

INTRODUCTION = (
    "Teachers are trained on the labels, or imported. What each says of its training images is stored "
    "once, and students learn from the store, by one method each. Baselines have the students' "
    "architectures and no teacher: what a student has to beat."
)


def write_report(
    runs: Sequence[Run],
    data: ImageData,
    params: EvaluationParams,
    features: FeaturesOf,
    folder: Path,
    workers: int,
    *,
    not_run: Sequence[str] = (),
    parquet: Path | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Report:
    """Evaluate the runs and write everything into `folder`; the same results give the same bytes.

    Args:
        features: of all classes of the V-score groups.
        folder: an empty or absent folder.
        workers: how much is computed at the same time; changes no result.
        not_run: names of networks that the report lacks.
        parquet: file for the frame of all results, too.
        parameters: the parameter file, of which the report shows what it depends on.

    Raises ValueError for class groups that the data set does not have, or published tables of another
    data set; ResultsError for damaged runs.
    """
    if params.paper_tables:
        check_dataset(data.name)
    groups = class_groups(params, data)
    report = Report(folder)
    setting = caption(data, runs)
    vscores = vscore_runs(runs, groups, params.vscore, features, workers)
    frame = results_frame(runs, score_runs(runs, data.test.labels, workers), vscores)
    networks, results = by_run(frame), Results(frame)
    v_scores = vscore_frame(networks, vscores) if vscores else None
    report.blocks.append(overview(runs, data, frame, networks))
    report.chapter("Setting", INTRODUCTION)
    report.table(setting_table(data, runs, frame, not_run))
    if any(run.kept is not None for run in runs):
        report.table(cost_table(runs))
    if params.show_images:
        add_images(report, runs, data)
    study = of_shared_length(runs) if params.paper_tables else []
    places = [place for place, run in enumerate(runs) if run in study]
    if params.paper_tables:
        add_study(report, runs, study, Results(frame.loc[places]), vscores, caption(data, study))
    published = published_of(networks.loc[places])
    table = accuracy_table(networks, setting)
    shown = shown_accuracies(table, frame, networks, published)
    report.chapter("Accuracy")
    report.table(table, short=short_table(networks, setting), shown=shown)
    add_accuracy(report, runs, networks, data, setting)
    add_comparison(report, results, setting)
    add_differences(report, runs, frame, networks, setting)
    if v_scores is not None:
        add_features(report, runs, vscores, v_scores, setting)
    trained = [run for run in runs if run.kept is None]
    if params.tsne is not None and trained:
        add_tsne(report, trained, groups, params, features, workers)
    write_results(frame, folder / "results.csv", parquet)
    write_metrics(networks, folder / "metrics.json")
    write_details(networks, folder / "details.json")
    write_plot_data(runs, v_scores, data.test.labels, data.class_names, folder / "plots")
    add_provenance(report, runs, data, parameters)
    report.warn(below_floor(networks, params.floors))
    report.finish()
    return report


def add_study(
    report: Report,
    runs: Sequence[Run],
    study: Sequence[Run],
    results: Results,
    vscores: Sequence[VScores],
    setting: str,
) -> None:
    """The chapter on the study: its tables and claims beside ours, its figure 3.

    Args:
        study: those of the runs that may stand beside published numbers; `results` and `setting` are theirs.
    """
    report.chapter("The study")
    if others := [f"{run.section}.{run.name}" for run in runs if run not in study]:
        names = names_text(others, runs)
        report.blocks.append(
            Paragraph(f"Not here, being trained for a length of their own: {names}.")
        )
    for table in study_tables(results, vscores, setting):
        report.table(table, short=terminal_table(table))
    if figure_runs(study):
        report.pictures(
            study_vscores(vscores),
            "Figure 3: V-scores of the raw penultimate features without and with mixup; lines: one "
            f"sample deviation over networks of that kind. {setting}",
        )


def add_accuracy(
    report: Report, runs: Sequence[Run], networks: DataFrame, data: ImageData, setting: str
) -> None:
    """The chapter on accuracy below its table: pictures, curves, likelihood and calibration."""
    report.pictures(
        accuracy_charts(accuracy_frame(runs)),
        "Top-1 accuracy of every network: mean, sample deviation (line) and each replicate (ticks). "
        f"Circle: no mixup; diamond: a part of the images mixed; square: all. {setting}",
    )
    curves = curve_frame(runs)
    paler = "Paler: fewer views, or another recipe. " if curves["paleness"].any() else ""
    report.pictures(
        curve_charts(curves),
        "Accuracy over training: mean over the replicates, and their range (shaded). Solid: no mixup; "
        f"dashed: a part of the images mixed; dotted: all. {paler}{setting}",
    )
    add_losses(report, runs, setting)
    report.table(calibration_table(networks, setting))
    add_logit_charts(report, runs, data, setting)


def add_comparison(report: Report, results: Results, setting: str) -> None:
    """The chapter that compares methods and numbers of views, where there is something to compare."""
    setting += results.note
    compared, views = comparison_table(results, setting), view_table(results, setting)
    if compared is not None or views is not None:
        report.chapter("Comparison")
    if compared is not None:
        report.table(compared)
    if views is not None:
        report.table(views, short=views)


def add_features(
    report: Report,
    runs: Sequence[Run],
    vscores: Sequence[VScores],
    table: DataFrame,
    setting: str,
) -> None:
    """The chapter on features: V-scores (`table`: as `vscore_frame` gives them) and their bars."""
    report.chapter("Penultimate features")
    report.table(vscore_table(table, setting), short=short_vscore_table(table))
    pooled = [run for kind in hard_label_runs(runs).values() for run in kind]
    others = [
        run.name
        for run in runs
        if run.section != "students" and run.share in (0, 1) and run not in pooled
    ]
    left_out = f" Not shown, being of another recipe: {', '.join(others)}." if others else ""
    if any(run.section != "students" for run in runs):
        for name, normalised in (("vscores", False), ("vscores-l2", True)):
            kind = "L2-normalised" if normalised else "raw"
            report.pictures(
                vscore_charts(vscore_bars(vscores, normalised=normalised), name),
                f"V-scores of the {kind} features: of networks trained on hard labels, without and with "
                "mixup (imported ones: without); lines: one sample deviation over networks of that "
                f"kind.{left_out} {setting}",
            )


def add_tsne(
    report: Report,
    runs: Sequence[Run],
    groups: Mapping[str, Mapping[int, str]],
    params: EvaluationParams,
    features: FeaturesOf,
    workers: int,
) -> None:
    """t-SNE panels: figures 1 and 2 of the study where it is reported, else of all hard-label runs."""
    assert params.tsne is not None
    if params.paper_tables and figure_runs(runs):
        chosen, names = figure_runs(runs), TSNE_FIGURES
    else:
        chosen, names = compared_networks(runs), file_names(groups)
    for group in (group for group in groups if group in names):
        classes, name = groups[group], names[group]
        panels = tsne_panels(chosen, list(classes), params.tsne, features, workers)
        number = f"Figure {name.removeprefix('figure')}: " if name.startswith("figure") else ""
        report.pictures(
            tsne_charts(tsne_frame(panels, classes), list(classes.values()), name),
            f"{number}t-SNE of the penultimate features of the {group} classes "
            f"({', '.join(groups[group].values())}): the first {params.tsne.images_per_class} images "
            f"of each class at most, perplexity {params.tsne.perplexity:g} (lower among few images), one "
            "network of each kind, without mixup and with mixup of all images. Each panel is an "
            "embedding of its own: distances between panels mean nothing.",
        )


def evaluate_networks(
    content: dict[str, Any],
    prepared: Path,
    folders: Mapping[str, Path],
    features: Path,
    out: Path,
    tell: Callable[[str], None],
    *,
    kept: Path | None,
    parquet: Path | None,
    tidy: bool,
) -> int:
    """Write the report of all networks of params.yaml; returns how many it is of.

    Args:
        content: the whole parameter file.
        folders: the folder of the trained networks of each section.
        features: folder of features that have been computed.
        tell: is told what a reader of the terminal is to know, the summary last.
        kept: folder of kept results, for networks that are not trained here; None: all have to be.
        parquet: file for the frame of all results, too.
        tidy: first move what params.yaml does not name out of the folders.

    Raises ValueError as `check_replaceable` and `write_report`, and where `kept` is no folder.
    """
    check_replaceable(out)
    if parquet is not None and parquet.resolve().is_relative_to(out.resolve()):
        raise DecantError(f"--parquet {parquet}: {out} holds the report alone; give another path")
    params = section(content, EvaluationParams, "evaluation")
    networks = Networks.of(content, **folders)
    for old, new in networks.tidy() if tidy else ():
        tell(f"{old}: not in params.yaml, moved to {new}")
    data = load_dataset(prepared, content)
    instead = None
    if kept is not None:
        if not kept.is_dir():
            raise DecantError(f"{kept}: no such folder of kept results")
        instead = partial(load_kept, kept, params=content, fingerprint=data.fingerprint)
    runs = networks.load(data, instead)
    if not runs:
        raise DecantError(
            f"no network of params.yaml is trained here{f' or kept in {kept}' if kept else ''}; "
            "`decant repro` trains them, --kept FOLDER takes the folder of one study (results/STUDY), "
            "and `decant use STUDY` its parameters"
        )
    not_run = networks.absent(runs)
    if not_run:
        tell(f"Not run, and left out: {', '.join(not_run)}")
    computed = features_of(runs, content, params, data, features, tell)
    unfinished = out.with_name(f"{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    cores = load_machine(content).cores
    with remember_beside(features):
        report = write_report(
            runs,
            data,
            params,
            computed,
            unfinished,
            cores,
            not_run=not_run,
            parquet=parquet,
            parameters=content,
        )
    replace_report(unfinished, out)
    tell("\n".join(report.summary))
    return len(runs)
