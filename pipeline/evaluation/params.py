"""What is evaluated, and how: the section `evaluation` of params.yaml."""

from dataclasses import field

from pydantic import Field

from pipeline.core.params import Fraction, checked


@checked
class VScoreParams:
    """Groups of classes whose features are clustered, and how k-means clusters them."""

    groups: dict[str, tuple[str, ...]] = Field(
        description="name of a group: names of its classes, two or more"
    )
    seed: int = Field(default=0, ge=0, description="of k-means")
    n_init: int = Field(
        default=10, ge=1, description="restarts of k-means, of which the best counts"
    )

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


@checked
class TsneParams:
    """The t-SNE panels."""

    images_per_class: int = Field(
        default=100, ge=2, description="images of each class that are shown: its first ones"
    )
    perplexity: float = Field(
        default=30.0, gt=0, description="about how many neighbours a point heeds"
    )
    seed: int = Field(default=0, ge=0, description="of t-SNE")


@checked
class Floors:
    """Test accuracies that every network of a kind is to reach; null: none.

    A network that does not is named in the report; `decant gate` fails for it.
    """

    teachers: Fraction | None = Field(default=None, description="least test accuracy, a fraction")
    baselines: Fraction | None = Field(default=None, description="least test accuracy, a fraction")
    students: Fraction | None = Field(default=None, description="least test accuracy, a fraction")


@checked
class EvaluationParams:
    """What is evaluated, and how: the section `evaluation`."""

    vscore: VScoreParams
    tsne: TsneParams | None = Field(
        default=None, description="t-SNE panels, which take the most time; null draws none"
    )
    floors: Floors = field(default_factory=lambda: Floors())
    paper_tables: bool = Field(
        default=False,
        description="add the study's tables 1-3 and its claims, beside the published numbers",
    )
    show_images: bool = Field(
        default=True,
        description="show a few training images as a student sees them; false: the page has none",
    )
