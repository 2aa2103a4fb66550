"""The tables of every network: accuracy, likelihood and calibration."""

from collections.abc import Sequence

import pandas as pd

from pipeline.evaluation.calibration import ECE_BINS
from pipeline.evaluation.numbers import MISSING, spread_text
from pipeline.evaluation.runs import share_text
from pipeline.report.tables import Table, network_names, text_rows

KINDS = {"teachers": "teacher", "baselines": "baseline", "students": "student"}
SCORES = ("top1_accuracy", "top5_accuracy", "agreement", "nll", "ece")
CALIBRATION = ("nll", "ece", "kl", "temperature", "fitted_nll", "fitted_ece", "fitted_kl")
SCALES = {"rescaled": "divided by deviation", "zscore": "standardised"}
FACTS = (
    *("section", "name", "network", "parameters", "teacher", "method", "share", "mixup_alpha"),
    *("epochs", "replicates"),
)


def accuracy_table(runs: pd.DataFrame, caption: str) -> Table:
    """One row a network configuration: mean and deviation over its replicates.

    Args:
        runs: a row a network, as `by_run` gives them.
    """
    alpha = runs["mixup_alpha"].where(runs["section"] != "students")
    return Table(
        name="accuracy",
        title="Accuracy of every network",
        caption=f"{caption} Mean ± sample deviation over the replicates (seeds), last epoch. Top-1, "
        "top-5, agreement (with the teacher's predictions) and ECE in percent, NLL in nats, both on "
        "the scale that the method trains. Whether a difference is more than chance its interval says, not "
        "the deviations.",
        header=(
            *("Name", "Kind", "Network", "Trained with", "Teacher", "Mixed", "Runs"),
            *("Top-1", "Top-5", "Agreement", "NLL", "ECE"),
        ),
        rows=text_rows(
            runs["name"],
            runs["section"].map(KINDS),
            runs["network"],
            [_method(*facts) for facts in zip(runs["method"], alpha, runs["variant"], strict=True)],
            runs["teacher"].fillna(MISSING),
            runs["share"].map(share_text),
            runs["replicates"].map(str),
            *(score_texts(runs, name) for name in SCORES),
        ),
        data=runs.assign(mixup_alpha=alpha)[[*FACTS, *_with_deviations(SCORES)]],
        labels=5,
    )


def _method(method: str, alpha: float, variant: str) -> str:
    mixup = "" if pd.isna(alpha) else f", mixup alpha {alpha:g}"
    return method + mixup + (f", {variant}" if variant else "")


def _with_deviations(names: Sequence[str]) -> list[str]:
    return [column for name in names for column in (name, f"{name}_deviation")]


def score_texts(runs: pd.DataFrame, name: str, digits: int | None = None) -> list[str]:
    """`mean ± deviation` of a score of every network: fractions in percent, nats as they are."""
    nats = name.endswith(("nll", "kl", "temperature"))
    shown = (3, 1.0) if nats else (2 if digits is None else digits, 100.0)
    pairs = zip(runs[name], runs[f"{name}_deviation"], strict=True)
    return [spread_text(*pair, *shown) for pair in pairs]


def calibration_table(runs: pd.DataFrame, caption: str) -> Table:
    """A row for each network: likelihood and calibration, then after fitting a temperature."""
    return Table(
        name="calibration",
        title="Likelihood and calibration",
        caption=f"{caption} NLL and KL (teacher || student) in nats, ECE with {ECE_BINS} bins in "
        "percent; mean ± sample deviation over the replicates. Logits are on the scale that the method "
        "trains: rescaled ones divided by their deviation, standardised ones shifted and scaled, all "
        "others as they are. Fitted: divided by the temperature that minimises the NLL of a fixed "
        "sample of training images (none where all of them are right); a network that fits these images "
        "better than others gets too low a temperature, and fitted scores on test images may be worse.",
        header=(
            *("Name", "Trained with", "Scale", "NLL", "ECE", "KL"),
            *("Temperature", "Fitted NLL", "Fitted ECE", "Fitted KL"),
        ),
        rows=text_rows(
            network_names(runs),
            runs["trained_with"],
            runs["loss"].map(SCALES).fillna("raw"),
            *(score_texts(runs, name) for name in CALIBRATION),
        ),
        data=runs[["section", "name", *_with_deviations(CALIBRATION)]],
        labels=3,
    )


def short_table(runs: pd.DataFrame, caption: str) -> Table:
    """The columns that fit on a terminal."""
    return Table(
        name="accuracy",
        title="Accuracy of every network",
        caption=f"{caption} Top-1, agreement with the teacher and ECE in percent, NLL in nats: mean ± "
        "sample deviation over the runs.",
        header=("Kind", "Name", "Runs", "Top-1", "Agreement", "NLL", "ECE"),
        rows=text_rows(
            runs["section"].map(KINDS),
            runs["name"],
            runs["replicates"].map(str),
            score_texts(runs, "top1_accuracy"),
            score_texts(runs, "agreement", 1),
            score_texts(runs, "nll"),
            score_texts(runs, "ece", 1),
        ),
        labels=2,
    )
