"""What a cache of teacher outputs saved: passes of images through teachers, counted from records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.evaluation.runs import Run


@dataclass(frozen=True)
class Savings:
    """Passes of an image through a teacher.

    Attributes:
        used: that students would have needed: an image an epoch, for each replicate.
        stored: that were made once instead: the views that were read.
        seconds: what the passes avoided take at the teachers' rate in training, which the passes
            backward make slower; None where the rate of one of them is not known.
    """

    used: int
    stored: int
    seconds: float | None

    @property
    def avoided(self) -> int:
        """How many fewer there were; negative where the store was hardly read."""
        return self.used - self.stored


def savings(runs: Sequence[Run]) -> Savings:
    """Of all students among the runs, from their records and the kept timing of teachers."""
    rates = {run.name: rate for run in runs if (rate := _rate(run)) and run.section == "teachers"}
    students = [run for run in runs if run.section == "students"]
    used: dict[str, int] = {}
    for run in students:
        images = run.record.dataset.train_images
        used[str(run.teacher)] = used.get(str(run.teacher), 0) + images * run.epochs * run.count
    stored: dict[tuple[str, str, str], int] = {}
    for name, group, digest, images in _read(students):
        key = (name, group, digest)
        stored[key] = max(stored.get(key, 0), images)
    of_teacher = {
        name: used[name] - sum(count for (owner, *_), count in stored.items() if owner == name)
        for name in used
    }
    known = all(name in rates for name in of_teacher)
    seconds = sum(count / rates[name] for name, count in of_teacher.items()) if known else None
    return Savings(sum(used.values()), sum(stored.values()), seconds)


def _read(students: Sequence[Run]) -> Iterator[tuple[str, str, str, int]]:
    """Teacher, group, digest of its manifest, and how many stored images each student read."""
    for run in students:
        teacher = run.record.teacher
        assert teacher is not None
        for group, views in teacher.views.items():
            images = views.views * run.record.dataset.train_images
            yield teacher.name, group, teacher.store.get(group, ""), images


def _rate(run: Run) -> float | None:
    """Images a second of a kept training; None where it was not kept."""
    if run.kept is None or run.kept.timing is None:
        return None
    rates = [replicate.get("images_per_second") for replicate in run.kept.timing.replicates]
    known = [float(rate) for rate in rates if rate]
    return sum(known) / len(known) if known else None
