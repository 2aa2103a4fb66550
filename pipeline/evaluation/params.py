"""What is evaluated, and how: the section `evaluation` of params.yaml."""

from dataclasses import dataclass, field
from typing import Annotated

from pipeline.core.params import Above, AtLeast, Between


@dataclass(frozen=True, kw_only=True)
class VScoreParams:
    """Groups of classes (by name) whose features are clustered; k-means restarts and seed."""

    groups: dict[str, tuple[str, ...]]
    seed: Annotated[int, AtLeast(0)] = 0
    n_init: Annotated[int, AtLeast(1)] = 10

    def __post_init__(self) -> None:
        problems = []
        for group, names in self.groups.items():
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                problems.append(f"groups.{group} names {', '.join(repeated)} more than once")
            if len(set(names)) < 2:
                problems.append(
                    f"groups.{group} needs two classes or more, found {len(set(names))}"
                )
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class TsneParams:
    """The t-SNE panels: images of each class that are shown (the first ones), perplexity and seed."""

    images_per_class: Annotated[int, AtLeast(2)] = 100
    perplexity: Annotated[float, Above(0)] = 30.0
    seed: Annotated[int, AtLeast(0)] = 0


@dataclass(frozen=True, kw_only=True)
class Floors:
    """Test accuracies (fractions) that every network of a kind is to reach; null: none.

    A network that does not is named in the report; `decant gate` fails for it.
    """

    teachers: Annotated[float, Between(0, 1)] | None = None
    baselines: Annotated[float, Between(0, 1)] | None = None
    students: Annotated[float, Between(0, 1)] | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationParams:
    """The section `evaluation`. `tsne: null` draws no t-SNE panels, which take the most time.

    `paper_tables` adds the study's tables 1-3 and its claims, beside the published numbers.
    """

    vscore: VScoreParams
    tsne: TsneParams | None = None
    floors: Floors = field(default_factory=Floors)
    paper_tables: bool = False
