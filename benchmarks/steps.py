"""Figures of the training step and of the epoch."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.engine import STUDENT, cached_run, image_bank, online_run, plain_run
from benchmarks.field import Crew, FieldLoop, best_crew
from benchmarks.figures import Measured
from benchmarks.setting import BATCH, Setting
from benchmarks.timing import Rounds, fastest, on_threads, take_turns
from pipeline.core.machine import available_cores
from pipeline.models.bfloat16 import has_bfloat16
from pipeline.views.batches import ImageBank

TEACHERS = ("resnet56", "resnet110")
NEAR_IDEAL = 0.97  # of the ratio of a step that is nothing but the student


def step_figures(setting: Setting) -> dict[str, Measured]:
    """Cached steps against those with a live teacher and against plain cross-entropy.

    Also in the other precision, unless that is bfloat16 and the processor has no instructions for it.
    """
    bank = image_bank(setting)
    found = take_step_turns(setting, bank, setting.precision)
    other = "float32" if setting.precision == "bfloat16" else "bfloat16"
    measured = other == "float32" or has_bfloat16(setting.device)
    in_other = take_step_turns(setting, bank, other) if measured else None
    figures = {}
    for teacher in TEACHERS:
        ideal = 1 + found.ratio(f"{teacher} alone", "plain").median
        figures[f"cached_vs_online_{teacher}_{STUDENT}"] = Measured.of(
            found,
            f"online {teacher}",
            "cached",
            aim=NEAR_IDEAL * ideal,
            facts={
                "precision": setting.precision,
                "step_ms": _per_step_ms(found, setting),
                **_in_other(in_other, other, f"online {teacher}", "cached", setting),
            },
        )
    figures["cached_vs_plain_step"] = Measured.of(
        found,
        "cached",
        "plain",
        facts=_in_other(in_other, other, "cached", "plain", setting),
    )
    return figures


def take_step_turns(setting: Setting, bank: ImageBank, precision: str) -> Rounds:
    """Time steps: cached, plain, online with each teacher, and each teacher's forward pass alone."""
    steps = setting.steps
    cached, plain = cached_run(setting, bank, precision), plain_run(setting, bank, precision)
    plain.start_epoch()
    images = plain.trainer.batches.images(torch.arange(BATCH, device=setting.device))
    contenders: dict[str, Callable[[], object]] = {
        "cached": partial(cached.steps, steps),
        "plain": partial(plain.steps, steps),
    }
    for teacher in TEACHERS:
        run, live = online_run(setting, bank, teacher, precision)
        contenders[f"online {teacher}"] = partial(run.steps, steps)
        contenders[f"{teacher} alone"] = partial(live.repeat, images, steps)
    return take_turns(contenders, setting.rounds, setting.wait)


def epoch_figures(setting: Setting) -> dict[str, Measured]:
    """Epochs from the store against those of the field's loop.

    Either side has the threads with which it is fastest on this machine. An epoch is its steps and,
    of ours, the reading of its view. The field's epochs are charged for neither the start of their
    workers nor the batches that these prepare while others are timed.
    """
    crew = best_crew(setting.data, setting.device, TEACHERS[0], STUDENT, setting.steps)
    return {
        f"epoch_vs_field_{teacher}_{STUDENT}": epoch_figure(setting, teacher, crew)
        for teacher in TEACHERS
    }


def epoch_figure(setting: Setting, teacher: str, crew: Crew) -> Measured:
    """One pair of networks; the field's loop has a crew."""
    steps = math.ceil(len(setting.data.train.labels) / BATCH)
    field = FieldLoop(teacher, STUDENT, setting.data, crew.workers, setting.device)
    cached = cached_run(setting, image_bank(setting))
    turn = partial(cached.steps, setting.steps)
    threads = fastest({count: on_threads(count, turn) for count in sorted({1, available_cores()})})
    share = setting.steps / steps  # of an epoch, in a turn
    contenders: dict[str, Callable[[], object]] = {
        "field": on_threads(crew.threads, partial(field.run, setting.steps)),
        "cached": on_threads(threads, turn),
        "start": cached.start_epoch,
    }
    found = take_turns(contenders, setting.rounds, setting.wait)
    found.wall["cached"] += share * found.wall["start"]
    return Measured.of(
        found,
        "field",
        "cached",
        processor_time=False,
        facts={
            "field_workers": crew.workers,
            "field_threads": crew.threads,
            "cached_threads": threads,
            "field_step_ms": found.seconds("field") / setting.steps * 1e3,
            "cached_step_ms": found.seconds("cached") / setting.steps * 1e3,
            "view_read_ms": found.seconds("start") * 1e3,
            "precision": setting.precision,
        },
    )


def _in_other(
    found: Rounds | None, precision: str, slow: str, fast: str, setting: Setting
) -> dict[str, Any]:
    if found is None:
        return {}
    return {
        f"ratio_in_{precision}": found.ratio(slow, fast).median,
        f"step_ms_in_{precision}": _per_step_ms(found, setting),
    }


def _per_step_ms(found: Rounds, setting: Setting) -> dict[str, Any]:
    return {name: found.seconds(name) / setting.steps * 1e3 for name in found.wall}
