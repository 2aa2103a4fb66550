"""The study's claims that penultimate features answer: 6, and those of figure 3."""

from collections.abc import Sequence

import pandas as pd

from pipeline.evaluation.configurations import hard_label_runs, of_shared_length
from pipeline.evaluation.frame import Results
from pipeline.evaluation.numbers import printed, signed
from pipeline.evaluation.vscores import VScores
from pipeline.paper.cells import ALPHA, KD
from pipeline.paper.claims import MIN_COMPARISONS, UNKNOWN, Claim, yes_or_no
from pipeline.paper.extra import mixup_twins
from pipeline.paper.published import RESNETS


def feature_claims(results: Results, scores: Sequence[VScores]) -> list[Claim]:
    """Claim 6 and the two of figure 3."""
    v_scores = mean_v_scores(scores)
    return [
        mixup_teachers_do_not_help(results, v_scores),
        small_networks_scatter_more(v_scores),
        different_classes_gain(v_scores),
    ]


def mixup_teachers_do_not_help(results: Results, v_scores: pd.DataFrame) -> Claim:
    """Claim 6: yes where V-scores drop for most networks and students of mixup teachers gain nothing.

    Gains are compared over students by KD without mixup, of the same teacher with and without.
    """
    changes = _v_score_changes(v_scores, "similar", "train")
    fallen = int((changes < 0).sum())
    students, teachers = _mixup_gains(results)
    enough = len(changes) >= MIN_COMPARISONS and len(students) >= MIN_COMPARISONS
    gain = students.mean()
    holds = 2 * fallen > len(changes) and len(students) > 0 and printed(gain) <= 0
    numbers = (
        f"V-score of similar classes on the train set lower with mixup: {fallen} of {len(changes)}"
    )
    if len(students):
        numbers += (
            f"; students of teachers with mixup {signed(gain)} points over {len(students)} pairs"
        )
    if len(teachers):
        numbers += f", their teachers {signed(teachers.mean())}"
    return Claim(
        "6",
        "Mixup-trained networks scatter similar classes on the train set, so that a student of such a "
        "teacher cannot profit from its better accuracy.",
        yes_or_no(holds) if enough else UNKNOWN,
        numbers,
    )


def _mixup_gains(results: Results) -> tuple[pd.Series, pd.Series]:
    """What a teacher's mixup changes (points): of its students by KD without mixup, and of itself."""
    twins = mixup_twins(results)
    by_kd = (twins["loss"] == KD[0]) & (twins["options"] == KD[1]) & (twins["share"] == 0)
    twins = twins[by_kd & twins["views"].isna()]
    students = (twins["student_of_mixup"] - twins["student_of_plain"]).dropna()
    teachers = (twins["teacher_mixup"] - twins["teacher_plain"]).loc[students.index].dropna()
    return students, teachers


def small_networks_scatter_more(v_scores: pd.DataFrame) -> Claim:
    """Claim of figure 3: yes where, with mixup, V-scores rise with size in most neighbouring pairs."""
    values = _of_figure_3(v_scores, "similar", "train")[True].dropna()
    rises = int((values.diff() > 0).sum())
    shown = ", ".join(f"{network} {value:.3f}" for network, value in values.items())
    most = 2 * rises > len(values) - 1
    return Claim(
        "figure 3a",
        "With mixup, smaller networks scatter similar classes of the train set more.",
        yes_or_no(most) if len(values) >= MIN_COMPARISONS else UNKNOWN,
        f"V-scores: {shown}" if shown else "no network trained with mixup",
    )


def different_classes_gain(v_scores: pd.DataFrame) -> Claim:
    """Claim of figure 3: yes where test V-scores of different classes rise for most networks."""
    changes = _v_score_changes(v_scores, "different", "test")
    risen = int((changes > 0).sum())
    change = f", mean change {signed(changes.mean(), 3)}" if len(changes) else ""
    enough = len(changes) >= MIN_COMPARISONS
    return Claim(
        "figure 3b",
        "For different classes the test V-score rises slightly with mixup.",
        yes_or_no(2 * risen > len(changes)) if enough else UNKNOWN,
        f"higher with mixup: {risen} of {len(changes)} networks{change}",
    )


def mean_v_scores(scores: Sequence[VScores]) -> pd.DataFrame:
    """Mean V-score of raw features: a row a (group of classes, split, network), a column with mixup or not.

    Of networks trained on hard labels for the shared length, without mixup or with mixup of all images at
    alpha 1.0.
    """
    runs = {(v.run.section, v.run.name): v.run for v in scores}
    study = of_shared_length(list(runs.values()))
    pooled = [
        run
        for (_, alpha), of_kind in hard_label_runs(study).items()
        for run in of_kind
        if alpha in (None, ALPHA)
    ]
    names = {(run.section, run.name) for run in pooled}
    rows = [
        (v.group, v.split, v.run.network, v.run.mixup_alpha is not None, value)
        for v in scores
        if (v.run.section, v.run.name) in names and not v.normalised
        for value in v.v_score
    ]
    columns = ["group", "split", "network", "mixup", "v_score"]
    frame = pd.DataFrame(rows, columns=columns).astype({"v_score": float})
    means = frame.groupby(columns[:-1])["v_score"].mean().unstack("mixup")
    return means.reindex(columns=[False, True])


def _of_figure_3(v_scores: pd.DataFrame, group: str, split: str) -> pd.DataFrame:
    """Those of a group and split, of the networks of the study's figure 3, in its order."""
    return v_scores.reindex([(group, split, network) for network in RESNETS]).set_axis(
        list(RESNETS)
    )


def _v_score_changes(v_scores: pd.DataFrame, group: str, split: str) -> pd.Series:
    """V-score with mixup minus without, of each network of figure 3 that has both."""
    means = _of_figure_3(v_scores, group, split)
    return (means[True] - means[False]).dropna()
