"""How facts of a store (`pipeline.tools.describe`) are shown in a terminal."""

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.views.params import GROUPS
from stages.shared.tables import Row, bytes_text

Facts = Mapping[str, Any]
_TRAINED_WITH = {True: "mixup", False: "no mixup", None: "not known"}


def line(facts: Facts, stale: bool) -> tuple[str, ...]:
    """A store's row in the list of all."""
    groups = facts["groups"]
    views = [str(groups.get(name, {}).get("views", "-")) for name in GROUPS]
    codecs = {group["codec"]["name"] for name, group in groups.items() if "codec" in group}
    state = "complete" if facts["complete"] else "NOT complete"
    if facts["address"] and facts["complete"]:
        state = "in place"
    if stale:
        state = "STALE"
    teacher, dataset = facts["teacher"], facts["dataset"]
    return (
        facts["name"],
        dataset["name"] if dataset else "?",
        ", ".join(sorted(codecs - {"dense"} or codecs)),
        accuracy(teacher) if teacher else "?",
        *views,
        bytes_text(facts["bytes"]),
        state,
    )


def origin(facts: Facts) -> list[tuple[str, str]]:
    """Where a store comes from, and its size."""
    teacher, dataset, shares = facts["teacher"], facts["dataset"], facts["shares"]
    span = "none: it holds no views" if shares is None else f"{shares[0]:g}"
    if shares is not None and shares[0] != shares[1]:
        span += f" to {shares[1]:g}"
    size = "Size there" if facts["address"] else "Size on disk"
    return [
        ("Teacher", f"{teacher['name']} ({teacher['network']}), top-1 {accuracy(teacher)}"),
        ("  trained with", _TRAINED_WITH[facts["teacher_mixup"]]),
        ("  weights", teacher["weights_sha256"] or "not known: the logits were imported"),
        *teacher_normalised(teacher),
        (
            "Data set",
            f"{dataset['name']}: {dataset['train_images']:,} training and "
            f"{dataset['test_images']:,} test images, {dataset['classes']} classes",
        ),
        ("  fingerprint", dataset["fingerprint"]),
        ("  normalised", normalisation(dataset)),
        ("Mixup shares", span),
        *([("Read in place", facts["address"])] if facts["address"] else []),
        (size, f"{bytes_text(facts['bytes'])} in {facts['files']:,} files"),
    ]


def teacher_normalised(teacher: Facts) -> list[tuple[str, str]]:
    """A teacher's own normalisation, where it has one."""
    own = teacher.get("normalisation")
    return [("  normalised", normalisation(own))] if own else []


def normalisation(facts: Facts) -> str:
    """Mean and standard deviation of pixel/255."""
    mean, std = (" ".join(f"{x:.4g}" for x in facts[name]) for name in ("mean", "std"))
    return f"mean {mean}, std {std}"


def group_table(facts: Facts) -> tuple[Row, list[Row]]:
    """Header and rows of a table of a store's groups, a column each."""
    groups = {name: group for name, group in facts["groups"].items() if "digest" in group}
    rows = [(label, *map(text, groups.values())) for label, text in GROUP_ROWS.items()]
    return ("", *groups), [row for row in rows if set(row[1:]) != {"-"}]


def accuracy(teacher: Facts) -> str:
    """The teacher's accuracy in percent."""
    top1 = teacher["top1_accuracy"]
    return "not known" if top1 is None else f"{top1:.2%}"


def recipe_text(key: str) -> Callable[[Facts], str]:
    """How a fact of the recipe is shown; of the clean group a dash."""

    def text(group: Facts) -> str:
        value = group["recipe"] and group["recipe"][key]
        if isinstance(value, bool):
            return "yes" if value else "no"
        return "-" if value is None else f"{value}"

    return text


def error_text(key: str, form: str = ".3g") -> Callable[[Facts], str]:
    """How a measured error is shown: a dash where nothing was lost."""
    return lambda group: (
        f"{group['measured_error'][key]:{form}}" if key in group["measured_error"] else "-"
    )


def row_bytes(kind: str) -> Callable[[Facts], str]:
    """How the bytes of a row are shown."""
    return lambda group: (
        f"{group['bytes_per_row'][kind]:,.1f}" if kind in group["bytes_per_row"] else "-"
    )


GROUP_ROWS: dict[str, Callable[[Facts], str]] = {
    "Complete": lambda group: "yes" if group["complete"] else "NO",
    "Views": lambda group: str(group["views"] or "-"),
    "Drawn": recipe_text("draw"),
    "Padding, pixels": recipe_text("pad"),
    "Flips": recipe_text("flip"),
    "Mixup alpha": recipe_text("alpha"),
    "Seed": recipe_text("seed"),
    "Logits": lambda group: group["dtype"],
    "Codec": lambda group: group["codec_name"],
    "Lossy": lambda group: "yes" if group["lossy"] else "no",
    "  KL at T=1, nats": error_text("kl_t1"),
    "  KL at T=4, nats": error_text("kl_t4"),
    "  top-1 changed": error_text("top1_disagreement", ".2%"),
    "  largest difference": error_text("max_abs_difference"),
    "  mean difference": error_text("mean_abs_difference"),
    "Features": lambda group: str(group["feature_dim"] or "none"),
    "Bytes a row: logits": row_bytes("logits"),
    "  features": row_bytes("features"),
    "  plan": row_bytes("plan"),
    "Size": lambda group: bytes_text(group["bytes"]),
    "Forward pass": lambda group: group["precision"],
    "Tolerance": lambda group: f"{group['tolerance']:g}",
    "Plan": lambda group: (group["plan_sha256"] or "-")[:12],
    "Manifest": lambda group: group["digest"][:12],
}
