"""The tidy frame of all results: a row a replicate, every fact and every number a column.

Tables, comparisons and claims are selections, group-bys and pivots of it; `reports/results.csv` is the
frame as it is. docs/results.md says what each column holds.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from pipeline.evaluation.configurations import Configuration, in_words, told_apart
from pipeline.evaluation.runs import Run
from pipeline.evaluation.scores import NAMES, Scores
from pipeline.evaluation.vscores import MEASURES, VScores

TEXTS = (
    *("section", "name", "network", "trained_with", "method", "loss", "options", "teacher"),
    *("teacher_network", "view_sampling", "schedule", "precision", "dataset", "evaluated_on"),
    *("variant", "configuration", "all_views_twin", "plain_teacher_twin", "double_of"),
    *("recipe", "weights_sha256", "teacher_weights_sha256", "dataset_fingerprint"),
)
COUNTS = ("replicate", "seed", "parameters", "feature_dim", "epochs", "train_images", "test_images")
FACTS = (
    *("share", "mixup_alpha", "teacher_mixup_alpha", "views", "views_read"),
    *("batch_size", "learning_rate"),
)
NUMBERS = ("train_loss", *NAMES)
# What tables count first: a baseline stands before a teacher (it has more replicates).
ORDER = {"baselines": 0, "teachers": 1, "students": 2}


def results_frame(
    runs: Sequence[Run], scores: Sequence[Scores] = (), vscores: Sequence[VScores] = ()
) -> pd.DataFrame:
    """All that is known of the runs, in their order; the index `run` numbers them.

    Columns beside the fixed ones: `option_NAME` for each hyper-parameter of a method, and
    `MEASURE_GROUP_SPLIT_FEATURES` for each V-score. Empty (NaN) is what does not apply.

    Args:
        scores: of these runs; without them the record's own numbers are all.
    """
    numbers = {id(of_run.run): of_run.values for of_run in scores}
    facts = {id(run): _facts(run, key, double) for run, key, double in told_apart(runs)}
    rows = [
        {
            "run": index,
            **facts[id(run)],
            **vars(replicate),
            **{name: values[position] for name, values in numbers.get(id(run), {}).items()},
            **_v_scores(run, position, vscores),
        }
        for index, run in enumerate(runs)
        for position, replicate in enumerate(run.record.replicates)
    ]
    fixed = ("run", *TEXTS, *COUNTS, *FACTS, *NUMBERS)
    more = dict.fromkeys(name for row in rows for name in row if name not in fixed)
    frame = pd.DataFrame(rows, columns=[*fixed, *more]).set_index("run")
    floats = dict.fromkeys((*FACTS, *NUMBERS), float)
    return frame.astype(floats | dict.fromkeys(COUNTS, int))


def _facts(run: Run, key: Configuration, double_of: str | None) -> dict[str, Any]:
    record, training, teacher = run.record, run.training, run.record.teacher
    student = run.section == "students"
    return {
        "section": run.section,
        "name": run.name,
        **key._asdict(),
        "configuration": str(key),
        "all_views_twin": str(key._replace(views=None)),
        "plain_teacher_twin": str(key._replace(teacher_mixup_alpha=None)),
        "double_of": double_of,
        "trained_with": in_words(run, key.variant),
        "method": run.method,
        **({} if record.method is None else _options(record.method.options)),
        "teacher": run.teacher,
        "teacher_weights_sha256": None if teacher is None else teacher.weights_sha256,
        "views_read": max((group.views for group in run.views_of_store.values()), default=None),
        "view_sampling": record.entry.get("view_sampling", "epoch") if student else None,
        "epochs": run.epochs,
        **{name: training.get(name) for name in ("batch_size", "learning_rate")},
        "schedule": (training.get("schedule") or {}).get("name"),
        "precision": training.get("precision"),
        "recipe": json.dumps(run.recipe, sort_keys=True) if training else None,
        "parameters": record.parameters,
        "feature_dim": record.feature_dim,
        "dataset": record.dataset.name,
        "dataset_fingerprint": record.dataset.fingerprint,
        "train_images": record.dataset.train_images,
        "test_images": record.dataset.test_images,
        "evaluated_on": record.dataset.evaluated_on,
    }


def _options(values: Any) -> dict[str, Any]:
    return {f"option_{name}": value for name, value in values.items()}


def _v_scores(run: Run, replicate: int, vscores: Sequence[VScores]) -> dict[str, float]:
    return {
        v_score_column(measure, scores): getattr(scores, measure)[replicate]
        for scores in vscores
        if scores.run is run
        for measure in MEASURES
    }


def v_score_column(measure: str, scores: VScores) -> str:
    """The column of one measure of a group of classes: `v_score_similar_train_raw`."""
    return f"{measure}_{scores.group}_{scores.split}_{scores.features}"


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows; columns are attributes."""
    return iter(frame.itertuples())


def by_run(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a run: its facts, its numbers' mean over the replicates, and their number.

    `NAME_deviation` is the sample standard deviation (n - 1); NaN of one replicate.
    """
    groups = frame.groupby(level="run", sort=False)
    measured = [name for name in frame if str(name).startswith(("top1", *NUMBERS, *MEASURES))]
    facts = groups.first().drop(columns=[*measured, "replicate", "seed"])
    deviations = groups[measured].std().add_suffix("_deviation")
    counts = groups.size().rename("replicates")
    lowest = groups["top1_accuracy"].min().rename("lowest_top1_accuracy")
    return pd.concat([facts, counts, lowest, groups[measured].mean(), deviations], axis=1)


class Results:
    """What tables of configurations are made of: one run of each, accuracies in percent.

    Of several that differ in seeds alone the first counts, a baseline before a teacher;
    `note` names the others, so that nothing is left out silently.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    @cached_property
    def _runs(self) -> pd.DataFrame:
        counted = self.frame[self.frame["double_of"].isna()]
        runs = by_run(counted.assign(top1=100 * counted["top1_accuracy"]))
        order = runs["section"].map(ORDER).sort_values(kind="stable").index
        return runs.loc[order].rename(columns={"top1_deviation": "deviation"})

    @cached_property
    def configurations(self) -> pd.DataFrame:
        """A row a configuration, the index: facts, `top1`, `deviation`, `replicates`; of trained networks."""
        trained = self._runs[self._runs["recipe"].notna()]
        return trained.drop_duplicates("configuration").set_index("configuration", drop=False)

    @cached_property
    def teachers(self) -> pd.DataFrame:
        """The teachers themselves, as `configurations`."""
        chosen = self._runs[self._runs["section"] == "teachers"]
        return chosen.set_index("configuration", drop=False)

    @property
    def usual(self) -> pd.DataFrame:
        """The configurations that are no variant of another one."""
        return self.configurations[self.configurations["variant"] == ""]

    @property
    def note(self) -> str:
        """A sentence on what is left out, to follow the setting in a caption."""
        rows = by_run(self.frame[self.frame["double_of"].notna()])
        rows = rows.loc[rows["section"].map(ORDER).sort_values(kind="stable").index]
        texts = rows["section"] + "." + rows["name"] + " (as " + rows["double_of"] + ")"
        listed = ", ".join(texts)
        return f" Left out, being of the same kind as another: {listed}." if listed else ""

    def measured(
        self, wanted: Sequence[Configuration | str], *, of_teachers: bool = False
    ) -> pd.DataFrame:
        """`top1`, `deviation` (percent, NaN where not run) and `replicates` of each, in order.

        Args:
            of_teachers: of the teachers themselves; of any such network where there is none.
        """
        known = self.configurations
        if of_teachers:
            known = pd.concat([self.teachers, known])
            known = known[~known.index.duplicated()]
        rows = known[["top1", "deviation", "replicates"]].reindex(list(map(str, wanted)))
        return (
            rows.astype({"replicates": float}).fillna({"replicates": 0}).astype({"replicates": int})
        )
