"""What a clone has to fetch, and what it has to compute, before what was asked for is on its disk.

`dvc repro --allow-missing` calls a stage done whose results lie nowhere, and `dvc repro` without it
computes what lies in a remote. So what is read is fetched first; what nobody has is computed by name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.files import STORES
from stages.dvc.lock import DONE, Lock, digest_of
from stages.dvc.upstream import has_remote, is_pinned, lacking
from stages.shared.stage_names import KINDS, SECTIONS, entries

GOAL = "evaluate"


class Clone:
    """What dvc.lock says is done, and what of it is on this disk.

    Args:
        goals: stages that were asked for; what `evaluate` reads is asked for with it.
    """

    def __init__(self, lock: Lock, goals: Sequence[str]) -> None:
        self.lock, self.goals = lock, goals
        self.lost: set[str] = set()  # recorded, and not to be had anywhere

    @cached_property
    def lacking(self) -> set[str]:
        """The stages of which DVC's cache on this machine lacks something."""
        return set(lacking(self.lock).values())

    def wanted(self) -> tuple[list[str], list[str]]:
        """What is done and has to be brought here, and the stages that have to run, in their order.

        The former are stages, and folders of stores of which a part is read.
        """
        fetch: dict[str, None] = {}
        run: dict[str, None] = {}
        seen = set()

        def visit(stage: str, part: Path | None) -> None:
            if (stage, part) in seen:
                return
            seen.add((stage, part))
            if stage not in self.lost and self.lock.state(stage) in DONE:
                # What the cache has whole is linked whole: DVC takes a part of it for a change.
                asked = part if stage in self.lacking else None
                if not self.is_here(stage, asked):
                    fetch[stage if asked is None else str(asked)] = None
                return
            for need in needs(stage, self.lock.params):
                visit(*need)
            run[stage] = None

        for goal in self.goals:
            visit(goal, None)
            if goal == GOAL:
                for need in needs(goal, self.lock.params):
                    visit(*need)
        return list(fetch), list(run)

    def is_here(self, stage: str, part: Path | None) -> bool:
        """Whether a stage's results, or a part of them, are on this disk."""
        outs = [out["path"] for out in self.lock.stages.get(stage, {}).get("outs") or ()]
        return all((self.lock.root / path).exists() for path in ([part] if part else outs))

    def lose(self, names: Iterable[str]) -> None:
        """Note what could not be fetched, of what `wanted` gave."""
        for name in names:
            part = Path(name) if Path(name).is_relative_to(STORES) else None
            stage = name if part is None else store_stage(str(part.relative_to(STORES)))
            if not self.is_here(stage, part):
                self.lost.add(stage)

    def uncached(self) -> list[str]:
        """Stages whose results are on this disk as recorded, and in no cache (`dvc gc`, perhaps)."""
        stages = [name for name in sorted(self.lacking) if self.lock.state(name) == "done"]
        return [name for name in stages if self.is_as_recorded(name)]

    def lose_what_nobody_has(self) -> None:
        """Note what is recorded, and neither on this disk, nor in DVC's cache, nor in a remote."""
        if self.lacking and not has_remote():
            self.lost |= self.lacking - set(self.uncached())

    def is_as_recorded(self, stage: str) -> bool:
        """Whether a stage's results are on this disk, byte for byte (all of them are read)."""
        outs = self.lock.stages[stage].get("outs") or ()
        return all(digest_of(self.lock.root / out["path"]) == str(out["md5"]) for out in outs)


def needs(stage: str, params: Mapping[str, Any]) -> Iterator[tuple[str, Path | None]]:
    """The stages whose results a stage reads, each with the part of them that is read."""
    kind, _, name = stage.partition("@")
    if kind != "check":
        yield "check", None
    if kind not in ("check", "prepare"):
        yield "prepare", None
    if kind == "dump":
        yield f"train_teacher@{name}", None
    elif kind == "train_student":
        store = str(entries(params, "students").get(name, {}).get("store"))
        if not is_pinned(params, store):
            yield store_stage(store), STORES / store
    elif kind == GOAL:
        for section, stage in SECTIONS.items():
            if section != "dumps":
                yield from ((f"{stage}@{key}", None) for key in entries(params, section))


def store_stage(store: str) -> str:
    """The stage that makes a store, as a student names it (`T.zarr/plain`)."""
    return f"dump@{store.partition('/')[0].removesuffix('.zarr')}"


def stages_of(targets: Sequence[str], lock: Lock) -> list[str]:
    """The pipeline's stages that targets of `dvc repro` name.

    None: `evaluate`, which reads all, and dumps that nothing reads but that are not done.
    """
    params = lock.params
    if not targets or "dvc.yaml" in targets:
        dumps = (f"dump@{name}" for name in entries(params, "dumps"))
        return [GOAL, *(name for name in dumps if lock.state(name) not in DONE)]
    names: dict[str, None] = {}
    for target in (target.rpartition(":")[2] for target in targets):
        kind, at, name = target.partition("@")
        if kind in KINDS and not at:
            names |= dict.fromkeys(f"{kind}@{key}" for key in entries(params, KINDS[kind]))
        elif kind in ("check", "prepare", GOAL) or name in entries(params, KINDS.get(kind, "")):
            names[target] = None
    return list(names)
