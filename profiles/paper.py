"""Writes the profiles of the study: cifar100-paper, cifar100-beyond and cifar100-paper-cpu.

    python profiles/paper.py                  # write the files beside this one
    python profiles/paper.py --folder OTHER   # write them elsewhere

A profile is params.yaml as DVC reads it, so it is explicit: an entry for each network that is trained.
What the entries have in common is written once, here. Needs nothing but Python.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import paper_text as text

RESNETS = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
# Rows of table 3: teacher and student. DKD's beta (its weight of NCKD) for each, where it is not 8, is from
# configs/cifar100/dkd of the authors' mdistiller; see the note in the profile.
PAIRS = (
    ("wrn_40_2", "wrn_16_2"),
    ("wrn_40_2", "wrn_40_1"),
    ("resnet56", "resnet20"),
    ("resnet110", "resnet20"),
    ("resnet110", "resnet32"),
    ("resnet32x4", "resnet8x4"),
    ("vgg13", "vgg8"),
    ("vgg13", "mobilenetv2"),
    ("resnet50", "mobilenetv2"),
    ("resnet50", "vgg8"),
    ("resnet32x4", "shufflenetv1"),
    ("resnet32x4", "shufflenetv2"),
    ("wrn_40_2", "shufflenetv1"),
)
DKD_BETAS = {
    ("wrn_40_2", "wrn_16_2"): 6,
    ("wrn_40_2", "wrn_40_1"): 6,
    ("resnet56", "resnet20"): 2,
    ("resnet110", "resnet20"): 2,
    ("resnet110", "resnet32"): 2,
    ("vgg13", "vgg8"): 6,
    ("vgg13", "mobilenetv2"): 6,
}
TEACHERS = tuple(dict.fromkeys(teacher for teacher, _ in PAIRS))
STUDENTS = tuple(dict.fromkeys(student for _, student in PAIRS))
# Pairs on which partial mixup also runs with the shares that the study's released code draws.
AS_CODED_PAIRS = (("resnet56", "resnet20"), ("wrn_40_2", "wrn_16_2"), ("resnet32x4", "resnet8x4"))

SHARES = {"": 0.0, "-pmu10": 0.1, "-pmu50": 0.5, "-fmu": 1.0}
SHARES_AS_CODED = {"-as-coded10": 0.408, "-as-coded50": 0.604}

# How many views are enough: KD of one pair with the first views of the store, beside all of them.
VIEWS_PAIR, VIEWS = ("resnet56", "resnet20"), (40, 80, 162)
# Every crop and flip once; as many views as epochs for what is mixed, and for the pair above.
CELLS, EPOCHS = 162, 240

# The field trains these with a fifth of the learning rate.
LEARNING_RATES = {"mobilenetv2": 0.01, "shufflenetv1": 0.01, "shufflenetv2": 0.01}

CPU_TEACHERS = ("resnet20", "resnet32", "resnet56")
CPU_STUDENTS = ("resnet20", "resnet32")
CPU_PAIRS = (("resnet56", "resnet20"),)

Entries = dict[str, dict[str, Any]]
Section = Iterator[str | Entries]


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def lines_of(key: str, entry: Mapping[str, Any], *, block: bool) -> list[str]:
    """An entry on one line, or with a line for each of its keys."""
    if not block:
        return [f"  {key}: {flow(entry)}"]
    return [f"  {key}:", *(f"    {name}: {flow(value)}" for name, value in entry.items())]


def section(name: str, parts: Iterable[str | Entries], *, block: bool = False) -> str:
    """A section of the file: comments, each above the entries that it speaks of."""
    lines, comment = [f"{name}:"], ""
    for part in parts:
        if isinstance(part, str):
            comment = part
            continue
        if part:
            lines += [f"  # {line}" for line in comment.splitlines()]
            comment = ""
        for key, entry in part.items():
            lines += lines_of(key, entry, block=block)
    return "\n".join(lines) + "\n"


def recipe(network: str) -> dict[str, Any]:
    """The `training` of an entry whose network departs from the shared recipe."""
    rate = LEARNING_RATES.get(network)
    return {} if rate is None else {"training": {"learning_rate": rate}}


def teacher(network: str, alpha: float | None = None) -> dict[str, Any]:
    """An entry of `teachers`."""
    mixup = {} if alpha is None else {"mixup": {"alpha": alpha, "share": 1.0}}
    return {"network": network, "seed": 0} | mixup | recipe(network)


def alone(network: str, replicates: int, alpha: float | None = None) -> dict[str, Any]:
    """An entry of `baselines`."""
    mixup = {} if alpha is None else {"mixup": {"alpha": alpha, "share": 1.0}}
    return {"network": network, "seed": 10, "replicates": replicates} | mixup | recipe(network)


def dump(plain: int, mixed: int | None, batch_size: int) -> dict[str, Any]:
    """An entry of `dumps`."""
    entry: dict[str, Any] = {"seed": 1, "batch_size": batch_size, "plain": None, "mixed": None}
    entry["plain"] = {"views": plain, "draw": "stratified", "features": False}
    if mixed is not None:
        entry["mixed"] = {"views": mixed, "draw": "stratified", "alpha": 1.0, "features": False}
    return entry


def student(
    teacher: str, network: str, method: str, share: float, replicates: int
) -> dict[str, Any]:
    """An entry of `students`."""
    group = {0.0: "/plain", 1.0: "/mixed"}.get(share, "")
    entry = {"store": f"{teacher}.zarr{group}", "network": network, "method": method}
    return entry | {"share": share, "seed": 100, "replicates": replicates} | recipe(network)


def at_shares(
    pair: tuple[str, str], method: str, suffix: str, shares: Mapping[str, float], replicates: int
) -> Entries:
    """One pair and method at several shares."""
    return {
        f"{pair[0]}-{pair[1]}-{suffix}{tail}": student(*pair, method, share, replicates)
        for tail, share in shares.items()
    }


def study(
    teachers: tuple[str, ...],
    students: tuple[str, ...],
    pairs: tuple[tuple[str, str], ...],
    as_coded: tuple[tuple[str, str], ...],
    views: tuple[int, ...],
    replicates: int,
) -> Section:
    """The study's students: tables 1 to 3 and what goes beyond them."""
    grid = [(teacher, network) for teacher in teachers for network in students]
    plain = {"": 0.0}
    yield "Table 1: KD, T = 4, every teacher with every student."
    for pair in grid:
        yield at_shares(pair, "kd", "kd", plain, replicates)
    yield "Table 2: soft labels only."
    for pair in grid:
        yield at_shares(pair, "kd-soft-only", "soft", plain, replicates)
    yield "Table 3: KD. Its pairs of resnets are in table 1 above: one stage serves both."
    for pair in pairs:
        yield {} if pair in grid else at_shares(pair, "kd", "kd", plain, replicates)
    yield "Table 3: rescaled without mixup, with partial mixup (10 and 50 % of the images), full mixup."
    for pair in pairs:
        yield at_shares(pair, "rescaled", "rescaled", SHARES, replicates)
    yield text.AS_CODED_NOTE
    for pair in as_coded:
        yield at_shares(pair, "rescaled", "rescaled", SHARES_AS_CODED, replicates)
    yield "Students of mixup-trained teachers, which the study concludes about and does not tabulate."
    for name in teachers:
        yield at_shares((f"{name}-mixup", "resnet20"), "kd", "kd", plain, replicates)
    yield text.FOUR_CASES_NOTE
    for name in ("resnet56", "resnet56-mixup"):
        yield at_shares((name, "resnet20"), "kd", "kd", {"-fmu": 1.0}, replicates)
    yield text.VIEWS_NOTE
    for count in views:
        (entry,) = at_shares(VIEWS_PAIR, "kd", f"kd-views{count}", plain, replicates).items()
        yield {entry[0]: entry[1] | {"views": count}}


def paper_teachers() -> Section:
    """Teachers of all tables, and the mixup-trained ones."""
    yield "Teachers of tables 1 and 2 (the resnets) and of table 3."
    yield {name: teacher(name) for name in dict.fromkeys((*RESNETS, *TEACHERS))}
    yield "Trained with mixup: figures 1-3, and the teachers of the last students below."
    yield {f"{name}-mixup": teacher(name, 1.0) for name in RESNETS}


def paper_baselines() -> Section:
    """Networks alone: baseline rows and columns, Mix-S, and the bars of figure 3."""
    networks = tuple(dict.fromkeys((*RESNETS, *STUDENTS)))
    yield text.ALONE_NOTE
    yield {name: alone(name, 3) for name in networks}
    yield "With mixup of all images, alpha 1.0: Mix-S of table 3, and figure 3."
    yield {f"{name}-mixup": alone(name, 3, 1.0) for name in networks}
    yield "With mixup of all images, alpha 0.2: Mix-S of table 3."
    yield {f"{name}-mixup-alpha02": alone(name, 3, 0.2) for name in STUDENTS}


def paper_dumps() -> Section:
    """Plain views of every teacher, mixed ones where a student reads them."""
    names = (*dict.fromkeys((*RESNETS, *TEACHERS)), *(f"{name}-mixup" for name in RESNETS))
    with_mixed = (*TEACHERS, "resnet56-mixup")
    yield text.DUMPS_NOTE
    yield {name: paper_dump(name, name in with_mixed) for name in names}


def paper_dump(name: str, mixed: bool) -> dict[str, Any]:
    """The store of a teacher at full length."""
    return dump(EPOCHS if name == VIEWS_PAIR[0] else CELLS, EPOCHS if mixed else None, 500)


def paper() -> Iterator[str]:
    """The parts of cifar100-paper: the whole study."""
    yield from (text.PAPER_HEAD, text.MACHINE, text.DATASET.format(validation=0.0, subset=1.0))
    yield from (text.TRAINING, text.METHODS)
    yield section("teachers", paper_teachers())
    yield section("baselines", paper_baselines())
    yield section("dumps", paper_dumps(), block=True)
    yield section("students", study(RESNETS, RESNETS, PAIRS, AS_CODED_PAIRS, VIEWS, 3))
    yield text.EVALUATION.format(perplexity=30.0)


def beyond_students() -> Section:
    """KD to compare with, then every method on every pair at every share."""
    yield "KD, to compare with: the entries of cifar100-paper."
    for pair in PAIRS:
        yield at_shares(pair, "kd", "kd", {"": 0.0}, 3)
    methods: dict[str, tuple[str, Callable[[tuple[str, str]], str]]] = {
        "zscore": ("Logit standardisation.", lambda pair: "zscore"),
        "dkd": ("Decoupled distillation.", lambda pair: f"dkd-beta{DKD_BETAS.get(pair, 8)}"),
        "dist": ("Relations between classes and between images.", lambda pair: "dist"),
        "mse": ("Logit matching.", lambda pair: "mse"),
    }
    for suffix, (title, method) in methods.items():
        yield title
        for pair in PAIRS:
            yield at_shares(pair, method(pair), suffix, SHARES, 3)


def beyond() -> Iterator[str]:
    """The parts of cifar100-beyond: later methods on the same stores."""
    yield from (text.BEYOND_HEAD, text.MACHINE, text.DATASET.format(validation=0.0, subset=1.0))
    yield from (text.TRAINING, text.BEYOND_METHODS)
    yield section("teachers", [{name: teacher(name) for name in TEACHERS}])
    yield section("baselines", [{name: alone(name, 3) for name in STUDENTS}])
    yield section("dumps", [{name: paper_dump(name, True) for name in TEACHERS}], block=True)
    yield section("students", beyond_students())
    yield text.EVALUATION.format(perplexity=30.0)


def paper_cpu() -> Iterator[str]:
    """The parts of cifar100-paper-cpu: the study in miniature."""
    teachers = {name: teacher(name) for name in CPU_TEACHERS}
    teachers |= {f"{name}-mixup": teacher(name, 1.0) for name in CPU_TEACHERS}
    networks_alone = {name: alone(name, 2) for name in CPU_STUDENTS}
    networks_alone |= {f"{name}-mixup": alone(name, 2, 1.0) for name in CPU_STUDENTS}
    networks_alone["resnet20-mixup-alpha02"] = alone("resnet20", 2, 0.2)
    with_mixed = ("resnet56", "resnet56-mixup")
    dumps = {name: dump(2, 2 if name in with_mixed else None, 250) for name in teachers}
    yield from (text.CPU_HEAD, text.MACHINE, text.DATASET.format(validation=0.01, subset=0.02))
    yield from (text.CPU_TRAINING, text.METHODS)
    yield section("teachers", [teachers])
    yield section("baselines", [networks_alone])
    yield section("dumps", [dumps], block=True)
    yield section("students", study(CPU_TEACHERS, CPU_STUDENTS, CPU_PAIRS, CPU_PAIRS, (1,), 2))
    yield text.EVALUATION.format(perplexity=10.0)


PROFILES = {"cifar100-paper": paper, "cifar100-beyond": beyond, "cifar100-paper-cpu": paper_cpu}


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description="Write the profiles of the study.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent)
    folder = parser.parse_args().folder
    for name, parts in PROFILES.items():
        content = text.SCHEMA + "\n".join(parts())
        (folder / f"{name}.yaml").write_text(content, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
