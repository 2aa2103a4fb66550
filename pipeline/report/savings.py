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
    """

    used: int
    stored: int

    @property
    def avoided(self) -> int:
        """How many fewer there were; negative where the store was hardly read."""
        return self.used - self.stored


def savings(runs: Sequence[Run]) -> Savings:
    """Of all students among the runs, from their records."""
    students = [run for run in runs if run.section == "students"]
    used = sum(run.record.dataset.train_images * run.epochs * run.count for run in students)
    stored: dict[tuple[str, str, str], int] = {}
    for name, group, digest, images in _read(students):
        key = (name, group, digest)
        stored[key] = max(stored.get(key, 0), images)
    return Savings(used, sum(stored.values()))


def _read(students: Sequence[Run]) -> Iterator[tuple[str, str, str, int]]:
    """Teacher, group, digest of its manifest, and how many stored images each student read."""
    for run in students:
        teacher = run.record.teacher
        assert teacher is not None
        for group, views in teacher.views.items():
            images = views.views * run.record.dataset.train_images
            yield teacher.name, group, teacher.store.get(group, ""), images
