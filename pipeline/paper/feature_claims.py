"""The study's claims that penultimate features answer: 6, and those of figure 3."""

import itertools
from collections.abc import Sequence

from pipeline.paper.cells import ALPHA, KD
from pipeline.paper.claims import MIN_COMPARISONS, UNKNOWN, Claim, rounded, yes_or_no
from pipeline.paper.published import RESNETS
from pipeline.report.configurations import Results, hard_label_runs
from pipeline.report.numbers import mean, signed
from pipeline.report.vscores import VScores

# (network, class group, split) -> with mixup? -> mean V-score
VScoreMeans = dict[tuple[str, str, str], dict[bool, float]]


def feature_claims(results: Results, scores: Sequence[VScores]) -> list[Claim]:
    """Claim 6 and the two of figure 3."""
    v_scores = mean_v_scores(scores)
    return [
        mixup_teachers_do_not_help(results, v_scores),
        small_networks_scatter_more(v_scores),
        different_classes_gain(v_scores),
    ]


def mixup_teachers_do_not_help(results: Results, v_scores: VScoreMeans) -> Claim:
    """Claim 6: yes where V-scores drop for most networks and students of mixup teachers gain nothing.

    Gains are compared over students by KD without mixup, of the same teacher with and without.
    """
    drops = _v_score_changes(v_scores, "similar", "train")
    fallen = sum(value < 0 for value in drops.values())
    students, teachers = _mixup_gains(results)
    enough = len(drops) >= MIN_COMPARISONS and len(students) >= MIN_COMPARISONS
    gain, edge = mean(students), mean(teachers)
    holds = 2 * fallen > len(drops) and gain is not None and rounded(gain) <= 0
    numbers = (
        f"V-score of similar classes on the train set lower with mixup: {fallen} of {len(drops)}"
    )
    if gain is not None:
        numbers += (
            f"; students of teachers with mixup {signed(gain)} points over {len(students)} pairs"
        )
    if edge is not None:
        numbers += f", their teachers {signed(edge)}"
    return Claim(
        "6",
        "Mixup-trained networks scatter similar classes on the train set, so that a student of such a "
        "teacher cannot profit from its better accuracy.",
        yes_or_no(holds) if enough else UNKNOWN,
        numbers,
    )


def _mixup_gains(results: Results) -> tuple[list[float], list[float]]:
    """What a teacher's mixup changes (points): of its students by KD without mixup, and of itself."""
    students, teachers = [], []
    for wanted in results.usual:
        if wanted.teacher is None or wanted.teacher_alpha is None or wanted.views is not None:
            continue
        if (wanted.loss, wanted.options, wanted.share) != (*KD, 0.0):
            continue
        ours = mean(results.accuracies(wanted))
        theirs = mean(results.accuracies(wanted.of_plain_teacher()))
        if ours is None or theirs is None:
            continue
        students.append(ours - theirs)
        with_mixup = mean(results.teacher_accuracies(wanted.teacher, wanted.teacher_alpha))
        without = mean(results.teacher_accuracies(wanted.teacher))
        if with_mixup is not None and without is not None:
            teachers.append(with_mixup - without)
    return students, teachers


def small_networks_scatter_more(
    v_scores: VScoreMeans,
) -> Claim:
    """Claim of figure 3: yes where, with mixup, V-scores rise with size in most neighbouring pairs."""
    values = [
        (network, v_scores[network, "similar", "train"][True])
        for network in RESNETS
        if True in v_scores.get((network, "similar", "train"), {})
    ]
    rises = [later[1] > earlier[1] for earlier, later in itertools.pairwise(values)]
    shown = ", ".join(f"{network} {value:.3f}" for network, value in values)
    return Claim(
        "figure 3a",
        "With mixup, smaller networks scatter similar classes of the train set more.",
        yes_or_no(2 * sum(rises) > len(rises)) if len(values) >= MIN_COMPARISONS else UNKNOWN,
        f"V-scores: {shown}" if shown else "no network trained with mixup",
    )


def different_classes_gain(v_scores: VScoreMeans) -> Claim:
    """Claim of figure 3: yes where test V-scores of different classes rise for most networks."""
    changes = _v_score_changes(v_scores, "different", "test")
    risen = sum(value > 0 for value in changes.values())
    middle = mean(list(changes.values()))
    change = "" if middle is None else f", mean change {signed(middle, 3)}"
    enough = len(changes) >= MIN_COMPARISONS
    return Claim(
        "figure 3b",
        "For different classes the test V-score rises slightly with mixup.",
        yes_or_no(2 * risen > len(changes)) if enough else UNKNOWN,
        f"higher with mixup: {risen} of {len(changes)} networks{change}",
    )


def mean_v_scores(scores: Sequence[VScores]) -> VScoreMeans:
    """(network, class group, split) -> with mixup? -> mean V-score of raw features.

    Of networks trained on hard labels, without mixup or with mixup of all images at alpha 1.0.
    """
    kinds = hard_label_runs({(one.run.section, one.run.name): one.run for one in scores}.values())
    chosen = {
        (run.section, run.name)
        for (_, alpha), runs in kinds.items()
        for run in runs
        if alpha in (None, ALPHA)
    }
    gathered: dict[tuple[str, str, str], dict[bool, list[float]]] = {}
    for one in scores:
        run = one.run
        mixup = run.mixup_alpha is not None
        if (run.section, run.name) not in chosen or one.normalised:
            continue
        key = (run.network, one.group, one.split)
        gathered.setdefault(key, {}).setdefault(mixup, []).extend(one.v_score)
    return {
        key: {mixup: sum(values) / len(values) for mixup, values in found.items()}
        for key, found in gathered.items()
    }


def _v_score_changes(v_scores: VScoreMeans, group: str, split: str) -> dict[str, float]:
    """Network -> V-score with mixup minus without, of the networks of the study's figure 3."""
    return {
        network: found[True] - found[False]
        for (network, its_group, its_split), found in v_scores.items()
        if (its_group, its_split) == (group, split) and len(found) == 2 and network in RESNETS
    }
