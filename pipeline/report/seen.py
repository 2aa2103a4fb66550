"""Which images the report shows as a student sees them: those of a record, cut from the prepared data set."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.dataset import ImageData
from pipeline.evaluation.runs import Run
from pipeline.report.strip import Strip, make_strip
from pipeline.results.record import ResultsError, SeenFacts
from pipeline.results.samples import sample_rows
from pipeline.views.params import Augmentation


def seen_student(runs: Sequence[Run]) -> Run | None:
    """The first student that mixes images, else the first of all, among those whose records tell of some."""
    students = [run for run in runs if _seen(run) is not None]
    return next((run for run in students if run.share > 0), students[0] if students else None)


def student_strip(run: Run, runs: Sequence[Run], data: ImageData) -> Strip:
    """What a student's record tells of, as a strip.

    The teacher's classes of clean images are those of its own results, where they are among the runs.

    Raises ResultsError for a record of images or classes that the data set does not have.
    """
    seen, teacher = _seen(run), run.record.teacher
    assert seen is not None
    assert teacher is not None
    augmentation = Augmentation(**run.record.augmentation)
    if not _fits(seen, augmentation, data):
        raise ResultsError(
            f"{run.folder}: its record tells of images that {data.name} does not have; make it again"
        )
    return make_strip(seen, teacher.name, augmentation, data, _clean_logits(run, runs, data))


def strip_caption(strip: Strip, run: Run) -> str:
    """What a reader must know of the strip of a student."""
    lam = "\N{GREEK SMALL LETTER LAMDA}"
    mixing = f"Mixed: {lam} x augmented + (1 - {lam}) x partner, whose crop is the view's as well. "
    colours = "Blue: the image's class; orange: its partner's."
    mixed = strip.examples[0].partner is not None
    return (
        f"Training images in view {strip.view} of the {strip.group} group of {strip.teacher}'s store, as the "
        f"record of student {run.name} has them; and the five classes that the teacher thinks likeliest, at "
        f"temperature 1. {mixing + colours if mixed else colours.partition(';')[0] + '.'}"
    )


def _seen(run: Run) -> SeenFacts | None:
    teacher = run.record.teacher
    return None if teacher is None or not teacher.seen or not teacher.seen.images else teacher.seen


def _fits(seen: SeenFacts, augmentation: Augmentation, data: ImageData) -> bool:
    """Whether all images, classes and crops lie in the data set."""
    crops = [crop for one in seen.images for crop in (one.image, one.partner) if crop is not None]
    classes = [number for one in seen.images for number, _ in one.likely]
    return (
        all(0 <= crop.index < len(data.train.labels) for crop in crops)
        and all(0 <= place <= 2 * augmentation.pad for crop in crops for place in crop.crop_yx)
        and (augmentation.flip or not any(crop.flip for crop in crops))
        and all(0 <= number < len(data.class_names) for number in classes)
    )


def _clean_logits(
    run: Run, runs: Sequence[Run], data: ImageData
) -> dict[int, NDArray[np.floating]]:
    """Index of a training image -> the teacher's logits of it as it is, where its results have them."""
    teacher = next((t for t in runs if t.section == "teachers" and t.name == run.teacher), None)
    sample = None if teacher is None or teacher.kept is not None else teacher.train_sample(0)
    rows = sample_rows(data.train.labels).tolist()
    if sample is None or len(sample.logits) != len(rows):
        return {}
    return dict(zip(rows, sample.logits, strict=True))
