"""A plan as tables for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.dvc.lock import STATES
from stages.shared.options import console
from stages.shared.tables import Row, bytes_text, hours_text, print_table

if TYPE_CHECKING:  # for a quick --help
    from stages.commands.estimate import Plan


def show(plan: "Plan", *, list_stages: bool) -> None:
    """Print all of a plan; with `list_stages` also a line for each stage."""
    counts = plan.counts
    console.print(
        f"{plan.profile}: {counts.train:,} training and {counts.test:,} test images of "
        f"{counts.classes} classes, {counts.image_size}x{counts.image_size} pixels\n"
    )
    if list_stages:
        show_each(plan)
    show_kinds(plan)
    show_stores(plan)
    show_cache(plan)
    show_disk(plan)
    show_rates(plan)


def show_each(plan: "Plan") -> None:
    """Every stage with its state."""
    rows = [
        (
            stage.cost.name,
            stage.state,
            flops_text(stage.cost.flops),
            hours_text(plan.hours([stage])),
            size_text(stage.cost.out_bytes),
        )
        for stage in plan.stages
    ]
    print_wide(("Stage", "State", "FLOPs", "Time", "Writes"), rows, labels=2)


def show_kinds(plan: "Plan") -> None:
    """Stages by kind, and their sum."""
    parts = {**plan.totals(), "all": plan.total}
    rows = [
        (
            kind,
            f"{part['stages']}",
            f"{part['done']}",
            flops_text(part["flops"]),
            hours_text(part["hours"]),
            hours_text(part["hours_left"]),
            size_text(part["bytes"]),
        )
        for kind, part in parts.items()
    ]
    header = ("Stage", "Stages", "Done", "FLOPs", "Time", "Still to do", "Writes")
    print_wide(header, rows, labels=1)
    states = [stage.state for stage in plan.stages]
    for state, meaning in STATES.items():
        if state in ("elsewhere", "changed") and state in states:
            console.print(f"{states.count(state)} stages: {meaning}.")


def show_stores(plan: "Plan") -> None:
    """Size of each store."""
    rows = []
    for stage in plan.of("dump"):
        groups = stage.cost.group_bytes or {}
        sizes = [size_text(groups[g]) if g in groups else "-" for g in ("clean", "plain", "mixed")]
        name = stage.cost.name.partition("@")[2]
        rows.append((f"{name}.zarr", *sizes, size_text(stage.cost.out_bytes)))
    if rows:
        total = sum(stage.cost.out_bytes for stage in plan.of("dump"))
        rows.append(("all stores", "", "", "", size_text(total)))
        print_wide(("Store", "clean", "plain", "mixed", "all"), rows, labels=1)


def show_cache(plan: "Plan") -> None:
    """Students from stores, against the same students with live teachers."""
    cache = plan.cache()
    if not cache["live_teacher_flops"]:
        return
    cached = cache["dump_hours"] + cache["student_hours"]
    rows = [
        (
            "dump once, train from stores",
            flops_text(cache["dump_flops"]),
            flops_text(cache["student_flops"]),
            hours_text(cached),
        ),
        (
            "the teacher in every training step",
            flops_text(cache["live_teacher_flops"]),
            flops_text(cache["student_flops"]),
            hours_text(cache["online_hours"]),
        ),
        (
            "saved",
            flops_text(cache["saved_flops"]),
            "",
            hours_text(cache["saved_hours"]),
        ),
    ]
    print_wide(("All students", "Teachers' FLOPs", "Students' FLOPs", "Time"), rows, labels=1)
    if cached and cache["saved_hours"] > 0:
        console.print(f"The cache makes it {cache['online_hours'] / cached:.2f} times as fast.")


def show_disk(plan: "Plan") -> None:
    """Room needed and room there is."""
    console.print(
        f"Still to be written: {bytes_text(plan.bytes_left)}; free on this disk: "
        f"{bytes_text(plan.free_bytes)}."
    )
    if not plan.fits:
        lacking = bytes_text(plan.bytes_left - plan.free_bytes)
        console.print(
            f"WARNING: {lacking} too little: free some space, lower dumps.*.*.views, or work on "
            "another disk."
        )


def show_rates(plan: "Plan") -> None:
    """Where the times come from, and how far to trust them."""
    together = f"{plan.processes} processes at a time" if plan.processes > 1 else "one process"
    first = plan.rates["", "float32"]
    if first.images_per_second is None:
        console.print(f"Times: reckoned with {first.training / 1e9:,.0f} GFLOP/s, {together}.")
        return
    console.print(f"Times: on this machine ({plan.device}), {together}, as just measured:")
    for (name, precision), rate in plan.rates.items():
        if name:
            console.print(
                f"  {name}, {precision}: {rate.images_per_second:,.0f} images/s in training "
                f"({rate.training / 1e9:,.0f} GFLOP/s), {rate.forward_images_per_second:,.0f} "
                f"images/s in forward passes ({rate.forward / 1e9:,.0f} GFLOP/s)"
            )
    console.print(
        "Networks that were not measured are reckoned with the first one's GFLOP/s, which wide ones "
        "surpass and\ndepthwise ones (mobilenetv2, shufflenets) miss: `--measure NETWORK` adds one. "
        "Reading and the report are left out.\n"
        "For another machine, a GPU say: run this there, or give its FLOP/s with `--rate`."
    )


def print_wide(header: Row, rows: Sequence[Row], *, labels: int) -> None:
    """A table and an empty line. It takes the room that it needs: numbers cut short would be wrong."""
    print_table(header, rows, labels=labels, width=max(console.width, 200))
    console.print()


def flops_text(flops: float) -> str:
    """Operations with the unit that gives a handy number."""
    for unit, size in (("PFLOP", 1e15), ("TFLOP", 1e12)):
        if abs(flops) >= size:
            return f"{flops / size:,.1f} {unit}"
    return f"{flops / 1e9:,.1f} GFLOP" if flops else "-"


def size_text(count: float) -> str:
    """Bytes that are written; a dash for none."""
    return bytes_text(count) if count else "-"
