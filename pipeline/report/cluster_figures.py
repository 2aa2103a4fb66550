"""Pictures of penultimate features: V-score bars and t-SNE panels, without and with mixup."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from pipeline.evaluation.clusters import tsne_embedding
from pipeline.evaluation.configurations import hard_label_runs
from pipeline.evaluation.features import FeaturesOf, class_rows
from pipeline.evaluation.numbers import deviation, mean
from pipeline.evaluation.params import TsneParams
from pipeline.evaluation.runs import Run
from pipeline.evaluation.vscores import SPLITS, VScores, group_features
from pipeline.evaluation.workers import in_threads
from pipeline.report.style import (
    CLASS_COLOURS,
    GREY,
    INK,
    MIXUP,
    NO_MIXUP,
    OTHER_MIXUPS,
    bare,
    figure,
    save_figure,
)

MAX_PANEL_WIDTH = 8.0  # inches
BARS_PER_FIGURE = 8  # networks
NETWORKS_PER_FIGURE = 6

Alpha = float | None


def mixup_text(alpha: Alpha) -> str:
    """`no mixup` or `mixup` with its alpha."""
    return "no mixup" if alpha is None else f"mixup, alpha {alpha:g}"


def compared_networks(runs: Sequence[Run]) -> list[Run]:
    """Hard-label runs of networks trained both with and without mixup; all, where there is none."""
    kinds = hard_label_runs(runs)
    both = [network for network, alpha in kinds if alpha is not None and (network, None) in kinds]
    chosen = [run for (network, _), found in kinds.items() for run in found if network in both]
    return chosen or [run for found in kinds.values() for run in found]


def vscore_samples(
    scores: Sequence[VScores], group: str, split: str, normalised: bool
) -> dict[tuple[str, Alpha], tuple[float, ...]]:
    """(network, mixup alpha) -> V-scores of all hard-label networks of that kind."""
    chosen = {
        (one.run.section, one.run.name): one.v_score
        for one in scores
        if (one.group, one.split, one.normalised) == (group, split, normalised)
    }
    return {
        key: tuple(v for run in runs for v in chosen[run.section, run.name])
        for key, runs in hard_label_runs([one.run for one in _unique(scores)]).items()
    }


def _unique(scores: Sequence[VScores]) -> list[VScores]:
    return list({(one.run.section, one.run.name): one for one in scores}.values())


def vscore_figures(
    scores: Sequence[VScores], folder: Path, name: str, *, normalised: bool
) -> list[str]:
    """V-score bars without and with mixup, with the deviation over networks where there are several.

    Train and test set lie beside each other, a row for each group of classes; with many networks all
    panels lie below each other, and what does not fit goes into a further figure.
    """
    keys = list(hard_label_runs([one.run for one in _unique(scores)]))
    networks = list(dict.fromkeys(network for network, _ in keys))
    alphas = _sorted_alphas(alpha for _, alpha in keys)
    sheets = [networks[i : i + BARS_PER_FIGURE] for i in range(0, len(networks), BARS_PER_FIGURE)]
    names = [name if len(sheets) == 1 else f"{name}-{i + 1}" for i in range(len(sheets))]
    for sheet, file in zip(sheets, names, strict=True):
        _vscore_figure(scores, sheet, alphas, folder, file, normalised)
    return names


def _vscore_figure(
    scores: Sequence[VScores],
    networks: Sequence[str],
    alphas: Sequence[Alpha],
    folder: Path,
    name: str,
    normalised: bool,
) -> None:
    groups = list(dict.fromkeys(one.group for one in scores))
    lines = [(group, split) for group in groups for split in SPLITS]
    width = max(3.4, 0.9 + 0.34 * (len(alphas) + 1) * len(networks))
    columns = 2 if width < MAX_PANEL_WIDTH else 1
    rows = len(lines) // columns
    with figure(columns * width + 0.6, 2.5 * rows + 0.6) as drawing:
        panels = drawing.subplots(rows, columns, squeeze=False, sharey=True, sharex=True)
        for axes, (group, split) in zip(panels.ravel(), lines, strict=True):
            _bars(axes, vscore_samples(scores, group, split, normalised), networks, alphas)
            axes.set_title(f"{group} classes, {split} set")
        for axes in panels[:, 0]:
            axes.set_ylabel("V-score")
        handles = [
            Line2D([], [], color=_alpha_colour(alpha), linewidth=7, label=mixup_text(alpha))
            for alpha in alphas
        ]
        drawing.legend(handles=handles, loc="outside upper right", ncols=len(alphas))
        save_figure(drawing, folder, name)


def _sorted_alphas(alphas: Iterable[Alpha]) -> list[Alpha]:
    return sorted(set(alphas), key=lambda alpha: (alpha is not None, alpha or 0))


def _alpha_colour(alpha: Alpha) -> str:
    """One colour for no mixup, one for the usual alpha of 1, others for other alphas."""
    if alpha is None:
        return NO_MIXUP
    return MIXUP if alpha == 1 else OTHER_MIXUPS[int(10 * alpha) % len(OTHER_MIXUPS)]


def _bars(
    axes: Axes,
    samples: Mapping[tuple[str, Alpha], Sequence[float]],
    networks: Sequence[str],
    alphas: Sequence[Alpha],
) -> None:
    width = 0.8 / len(alphas)
    for i, network in enumerate(networks):
        for j, alpha in enumerate(alphas):
            values = samples.get((network, alpha), ())
            height, error = mean(values), deviation(values)
            if height is None:
                continue
            x = i + (j - (len(alphas) - 1) / 2) * width
            axes.bar(x, height, width * 0.9, color=_alpha_colour(alpha))
            top = height + (error or 0)
            if error is not None:
                axes.errorbar(x, height, yerr=error, color=INK, linewidth=1, capsize=2)
            text = f"{height:.2f}"
            axes.text(x, top + 0.02, text, ha="center", va="bottom", fontsize=6.5, color=INK)
    axes.set_xticks(
        range(len(networks)),
        networks,
    )
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(networks) - 0.4)
    axes.set_ylim(0, 1.12)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.grid(axis="y")


def tsne_figures(
    runs: Sequence[Run],
    classes: Mapping[int, str],
    params: TsneParams,
    features: FeaturesOf,
    folder: Path,
    name: str,
    workers: int,
) -> list[str]:
    """t-SNE panels of some classes (number -> name) for hard-label networks, a few to a figure."""
    panels = tsne_panels(runs, list(classes), params, features, workers)
    networks = list(dict.fromkeys(panel.network for panel in panels))
    sheets = [
        networks[i : i + NETWORKS_PER_FIGURE] for i in range(0, len(networks), NETWORKS_PER_FIGURE)
    ]
    return [
        tsne_figure(
            [panel for panel in panels if panel.network in sheet],
            classes,
            folder,
            name if len(sheets) == 1 else f"{name}-{index + 1}",
        )
        for index, sheet in enumerate(sheets)
    ]


@dataclass(frozen=True)
class Panel:
    """A t-SNE panel: coordinates f4 [n, 2] and class numbers i4 [n] of one network's features."""

    network: str
    alpha: Alpha
    split: str
    points: NDArray[np.float32]
    labels: NDArray[np.int32]


def tsne_panels(
    runs: Sequence[Run],
    classes: Sequence[int],
    params: TsneParams,
    features_of: FeaturesOf,
    workers: int,
) -> list[Panel]:
    """Panels of the first replicate of every hard-label network, train and test set, one group."""
    settings = [
        (network, alpha, split, found[0])
        for (network, alpha), found in hard_label_runs(runs).items()
        for split in SPLITS
    ]

    def embed(setting: tuple[str, Alpha, str, Run]) -> Panel:
        network, alpha, split, run = setting
        features, labels = group_features(features_of(run, 0), split, classes)
        kept = np.sort(
            np.concatenate([class_rows(labels, [c])[: params.images_per_class] for c in classes])
        )
        points = tsne_embedding(features[kept], perplexity=params.perplexity, seed=params.seed)
        return Panel(network, alpha, split, points, labels[kept])

    return in_threads(embed, settings, workers)


def tsne_figure(panels: Sequence[Panel], names: Mapping[int, str], folder: Path, name: str) -> str:
    """Networks against train and test set, without and with mixup.

    There is a column for each network, or a row where there are too few for that.

    Args:
        names: class number -> name, in the order of the legend.
    """
    networks = list(dict.fromkeys(panel.network for panel in panels))
    alphas = _sorted_alphas(panel.alpha for panel in panels)
    lines = [(split, alpha) for split in SPLITS for alpha in alphas]
    wide = len(networks) < len(lines)
    rows, columns = (len(networks), len(lines)) if wide else (len(lines), len(networks))
    by_key = {(panel.network, panel.split, panel.alpha): panel for panel in panels}
    with figure(2.1 * columns + 0.6, 2.1 * rows + 0.8) as drawing:
        grid = drawing.subplots(rows, columns, squeeze=False)
        for i, (split, alpha) in enumerate(lines):
            for j, network in enumerate(networks):
                axes = grid[j, i] if wide else grid[i, j]
                _panel(axes, by_key.get((network, split, alpha)), list(names))
                line = f"{split} set\n{mixup_text(alpha)}"
                across, down = (line, network) if wide else (network, line)
                if axes in grid[0]:
                    axes.set_title(across, loc="center", fontsize=9)
                if axes in grid[:, 0]:
                    axes.set_ylabel(down, weight="bold" if wide else "normal")
        handles = [
            Line2D([], [], marker="o", linestyle="", color=_class_colour(index), label=label)
            for index, label in enumerate(names.values())
        ]
        drawing.legend(
            handles=handles,
            loc="outside lower center",
            ncols=min(len(handles), 2 * columns),
            handletextpad=0.2,
        )
        return save_figure(drawing, folder, name)


def _panel(axes: Axes, panel: Panel | None, classes: Sequence[int]) -> None:
    bare(axes)
    if panel is None:
        axes.text(0.5, 0.5, "not run", ha="center", va="center", color=GREY)
    else:
        _scatter(axes, panel, classes)


def _class_colour(index: int) -> str:
    return CLASS_COLOURS[index % len(CLASS_COLOURS)]


def _scatter(axes: Axes, panel: Panel, classes: Sequence[int]) -> None:
    colours = [_class_colour(classes.index(label)) for label in panel.labels]
    size = float(np.clip(2500 / len(colours), 3, 14))
    x, y = panel.points.T
    axes.scatter(x, y, s=size, c=colours, alpha=0.75, linewidths=0, rasterized=True)
    axes.margins(0.05)
