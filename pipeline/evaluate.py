"""The whole report from the networks of a params.yaml: what is computed, in which order it is told."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.dataset import ImageData, class_numbers
from pipeline.paper.chapter import (
    figure_runs,
    study_tables,
    study_tsne,
    study_vscores,
    terminal_table,
)
from pipeline.paper.published import check_dataset
from pipeline.report.accuracy import accuracy_table, below_floor, calibration_table, short_table
from pipeline.report.cluster_figures import compared_networks, tsne_figures, vscore_figures
from pipeline.report.comparison import comparison_table, comparisons
from pipeline.report.configurations import Results, gather, hard_label_runs
from pipeline.report.confusion import confusion_figure, shown_run
from pipeline.report.document import Block, Heading, Paragraph, Picture, write_html, write_markdown
from pipeline.report.features import FeaturesOf
from pipeline.report.figures import accuracy_figures, curve_figures
from pipeline.report.machine_readable import write_details, write_metrics, write_plot_data
from pipeline.report.params import EvaluationParams
from pipeline.report.runs import Run
from pipeline.report.scores import Scores, score_runs
from pipeline.report.setting import caption, cost_table, setting_table
from pipeline.report.tables import Table, to_text, write_table
from pipeline.report.view_counts import view_table
from pipeline.report.vscores import VScores, short_vscore_table, vscore_runs, vscore_table

TITLE = "Decant report"
INTRODUCTION = (
    "Teachers are trained on the labels. What each says of its training images is stored once, and "
    "students learn from the store, by one method each. Networks alone have the students' "
    "architectures and no teacher: what a student has to beat."
)
CONTENTS = {
    "tables",
    "figures",
    "vector",
    "plots",
    "details.json",
    "metrics.json",
    "report.md",
    "report.html",
    "summary.txt",
}


@dataclass
class Report:
    """A report in the making: blocks for readers, and what a terminal shows of it."""

    folder: Path
    blocks: list[Block] = field(default_factory=list)
    summary: list[str] = field(default_factory=list)

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.folder / "figures"

    def chapter(self, title: str, *text: str) -> None:
        """Start a chapter."""
        self.blocks += [Heading(title), *map(Paragraph, text)]

    def table(self, table: Table, *, short: Table | None = None) -> None:
        """Write a table's files and show it; `short` (or nothing) goes on the terminal."""
        write_table(table, self.folder / "tables")
        self.blocks.append(table)
        if short is not None:
            self.summary.append(to_text(short))

    def pictures(self, names: Iterable[str], text: str) -> None:
        """Show figures that have been written."""
        self.blocks += [Picture(name, text) for name in names]

    def warn(self, lines: Sequence[str]) -> None:
        """Say in the report and on the terminal what a reader must not overlook."""
        self.blocks += [Heading("Warnings"), *map(Paragraph, lines)] if lines else []
        self.summary += ["".join(f"warning: {line}\n" for line in lines)] if lines else []

    def finish(self) -> None:
        """Write report.md, report.html and summary.txt."""
        write_markdown(TITLE, self.blocks, self.folder)
        write_html(TITLE, self.blocks, self.folder)
        text = "\n".join(self.summary)
        (self.folder / "summary.txt").write_text(text, encoding="utf-8", newline="\n")


def class_groups(params: EvaluationParams, data: ImageData) -> dict[str, dict[int, str]]:
    """The groups of classes for V-scores: group -> class number -> name."""
    names = data.class_names
    return {
        group: {number: names[number] for number in class_numbers(members, names)}
        for group, members in params.vscore.groups.items()
    }


def write_report(
    runs: Sequence[Run],
    data: ImageData,
    params: EvaluationParams,
    features: FeaturesOf,
    folder: Path,
    workers: int,
    *,
    not_run: Sequence[str] = (),
) -> Report:
    """Evaluate the runs and write everything into `folder`; the same results give the same bytes.

    Args:
        features: of all classes of the V-score groups.
        folder: an empty or absent folder.
        workers: how much is computed at the same time; changes no result.
        not_run: names of networks that the report lacks.

    Raises ValueError for class groups that the data set does not have, or published tables of another
    data set; ResultsError for damaged runs.
    """
    if params.paper_tables:
        check_dataset(data.name)
    groups = class_groups(params, data)
    report = Report(folder)
    setting = caption(data, runs)
    scores = score_runs(runs, data.test.labels, workers)
    vscores = vscore_runs(runs, groups, params.vscore, features, workers)
    results = gather(runs)
    report.chapter("Setting", INTRODUCTION)
    report.table(setting_table(data, runs, not_run))
    if any(run.kept is not None for run in runs):
        report.table(cost_table(runs))
    if params.paper_tables:
        add_study(report, runs, results, vscores, setting)
    add_accuracy(report, runs, scores, data, setting)
    add_comparison(report, results, setting)
    add_features(report, runs, vscores, setting)
    trained = [run for run in runs if run.kept is None]
    if params.tsne is not None and trained:
        add_tsne(report, trained, groups, params, features, workers)
    write_metrics(scores, folder / "metrics.json")
    write_details(scores, vscores, folder / "details.json")
    write_plot_data(runs, vscores, data.test.labels, data.class_names, folder / "plots")
    report.warn(below_floor(runs, params.floors))
    report.finish()
    return report


def add_study(
    report: Report, runs: Sequence[Run], results: Results, vscores: Sequence[VScores], setting: str
) -> None:
    """The chapter on the study: its tables and claims beside ours, its figure 3."""
    report.chapter("The study")
    for table in study_tables(results, vscores, setting):
        report.table(table, short=terminal_table(table))
    if figure_runs(runs):
        report.pictures(
            study_vscores(vscores, report.figures),
            "Figure 3: V-scores of the raw penultimate features without and with mixup; lines: one "
            f"sample deviation over networks of that kind. {setting}",
        )


def add_accuracy(
    report: Report, runs: Sequence[Run], scores: Sequence[Scores], data: ImageData, setting: str
) -> None:
    """The chapter on accuracy: tables, the picture, the curves."""
    report.chapter("Accuracy")
    report.table(accuracy_table(scores, setting), short=short_table(scores, setting))
    report.pictures(
        accuracy_figures(runs, report.figures),
        "Top-1 accuracy of every network: mean, sample deviation (line) and each replicate (ticks). "
        f"Circle: no mixup; diamond: a part of the images mixed; square: all. {setting}",
    )
    report.pictures(
        curve_figures(runs, report.figures),
        "Accuracy over training: mean over the replicates, and their range (shaded). Solid: no mixup; "
        f"dashed: a part of the images mixed; dotted: all. {setting}",
    )
    report.table(calibration_table(scores, setting))
    shown = shown_run(runs)
    if shown is not None:
        report.pictures(
            [confusion_figure(shown, data.test.labels, data.class_names, report.figures)],
            f"Confusion matrix of {shown.section}/{shown.name} (the first student of the parameters), "
            f"first replicate; shades are fractions of the true class. {setting}",
        )


def add_comparison(report: Report, results: Results, setting: str) -> None:
    """The chapter that compares methods and numbers of views, where there is something to compare."""
    setting += results.note
    found, views = comparisons(results), view_table(results, setting)
    if found or views is not None:
        report.chapter("Comparison")
    if found:
        report.table(comparison_table(found, setting))
    if views is not None:
        report.table(views, short=views)


def add_features(
    report: Report, runs: Sequence[Run], vscores: Sequence[VScores], setting: str
) -> None:
    """The chapter on features: V-scores and their bars; none where no groups of classes are named."""
    if not vscores:
        return
    report.chapter("Penultimate features")
    report.table(vscore_table(vscores, setting), short=short_vscore_table(vscores))
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
                vscore_figures(vscores, report.figures, name, normalised=normalised),
                f"V-scores of the {kind} features of networks trained on hard labels, without and with "
                f"mixup; lines: one sample deviation over networks of that kind.{left_out} {setting}",
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
        found = study_tsne(runs, groups, params.tsne, features, report.figures, workers)
    else:
        chosen = compared_networks(runs)
        found = {
            group: tsne_figures(
                chosen, classes, params.tsne, features, report.figures, f"tsne-{group}", workers
            )
            for group, classes in groups.items()
        }
    for group, names in found.items():
        number = f"Figure {names[0].removeprefix('figure')}: " if "figure" in names[0] else ""
        report.pictures(
            names,
            f"{number}t-SNE of the penultimate features of the {group} classes "
            f"({', '.join(groups[group].values())}): the first {params.tsne.images_per_class} images "
            f"of each class at most, perplexity {params.tsne.perplexity:g} (lower among few images), one "
            "network of each kind, without mixup and with mixup of all images. Each panel is an "
            "embedding of its own: distances between panels mean nothing.",
        )


def replace_report(new: Path, out: Path) -> None:
    """Put a finished report in the place of an older one; raises ValueError as `check_replaceable`."""
    check_replaceable(out)
    out.mkdir(parents=True, exist_ok=True)
    for name in sorted(CONTENTS):
        old = out / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        if (new / name).exists():
            (new / name).rename(old)
    shutil.rmtree(new)


def check_replaceable(out: Path) -> None:
    """Raise ValueError where a folder holds anything but a report: names might clash."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"{out} is not a folder; give another --out")
    others = sorted({path.name for path in out.iterdir()} - CONTENTS - {".gitignore"})
    if others:
        raise ValueError(
            f"{out} holds {', '.join(others[:3])}, which is no part of a report; "
            "move it, or give another --out"
        )
