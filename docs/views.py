"""The study of docs/views.md: train students with a live teacher, then write the table and the figure.

    decant use cifar100-views
    dvc repro                   # the teacher, its store, the student alone, and students with 1 to 20 views
    python docs/views.py        # students with the live teacher; then views.csv, views.png, views.md's table

A student with the live teacher gets new random crops and flips in every epoch, and the teacher runs in
float32 on each of its batches: nothing is stored or rounded. In all else it equals the student `views-20`.
An interrupted training continues from its last epoch.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import altair as alt
import click
import torch
import vl_convert
from pandas import DataFrame
from torch import Tensor

from pipeline.compute import pick_device, set_up
from pipeline.core.asked_dataset import load_dataset
from pipeline.core.dataset import ImageData
from pipeline.core.files import PREPARED, canonical_json
from pipeline.core.machine import load_machine
from pipeline.core.params import section
from pipeline.distill.method import DistillationLoss
from pipeline.distill.params import Method, StudentParams
from pipeline.evaluation.numbers import mean, signed, spread
from pipeline.hard_labels.epochs import DrawnEpochs
from pipeline.models.network import Network
from pipeline.models.registry import build
from pipeline.models.weights import load_into, load_weights
from pipeline.report.render import ROWS, as_png, specify
from pipeline.report.theme import GREY
from pipeline.training.jobs import resolve_training
from pipeline.training.loop import fit
from pipeline.training.trainer import TestSet, Trainer
from pipeline.views.batches import Batch, ImageBank, ViewBatches
from pipeline.views.params import Augmentation
from pipeline.views.predict import clean_bank, place
from stages.shared.options import load_params

DOCS = Path(__file__).parent
LIVE = Path("data/live")
STUDENT = "views-20"  # students with the live teacher equal this one in all else
LEGEND = alt.Legend(title=None, symbolType="stroke", symbolOpacity=1, symbolSize=500)
ACCURACY = "test top-1 accuracy, %"
BLUES = ("#9ecae1", "#6baed6", "#3182bd", "#08519c")
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


@dataclass(frozen=True)
class Arm:
    """One arm of the study: name, number of views (None: no store), accuracies in percent, curves.

    `curves` maps, for each replicate, the evaluated epochs to the accuracy in percent.
    """

    name: str
    views: int | None
    accuracies: list[float]
    curves: list[dict[int, float]]


def train_live(content: dict[str, Any], data: ImageData, replicate: int, folder: Path) -> None:
    """Train one replicate with the live teacher; writes curves.csv into the folder."""
    params = section(content, StudentParams, "students", STUDENT)
    machine = load_machine(content)
    device = pick_device(machine)
    set_up(device, machine.threads)
    augmentation = section(content, Augmentation, "augmentation")
    bank = ImageBank(data.train.images, data.mean, data.std, augmentation, device)
    seed = params.seed + replicate
    torch.manual_seed(seed)
    trainer = Trainer(
        build(params.network, len(data.class_names)),
        ViewBatches(bank, data.train.labels, len(data.class_names)),
        DrawnEpochs(augmentation, None, seed, len(data.train.labels)),
        online(teacher_of(params, data, device), content["methods"][params.method]),
        resolve_training(content, params.training, f"students.{STUDENT}"),
        seed=seed,
    )
    test = TestSet(clean_bank(data.test.images, data.mean, data.std, device), data.test.labels)
    folder.mkdir(parents=True, exist_ok=True)
    curves = fit(trainer, test, checkpoint=folder / "checkpoint.safetensors")
    (folder / "curves.csv").write_text(curves.to_csv(), encoding="ascii")


def teacher_of(params: StudentParams, data: ImageData, device: torch.device) -> Network:
    """The network that dumped the student's store, in eval mode."""
    folder = Path("data/teachers") / params.teacher
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    network = build(record["network"], len(data.class_names))
    path = folder / "replicate-0" / "weights.safetensors"
    load_into(network, load_weights(path), source=str(path), name=record["network"])
    return place(network, device).eval()


def online(teacher: Network, method: Mapping[str, Any]) -> Callable[..., Tensor]:
    """The method's loss, with a teacher that runs on every batch."""
    loss = DistillationLoss(Method.parse("online", dict(method)))

    def compute(logits: Tensor, features: Tensor, batch: Batch, epoch: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_logits, teacher_features = teacher.forward_features(batch.images)
        batch = replace(batch, teacher_logits=teacher_logits, teacher_features=teacher_features)
        return loss(logits, features, batch, epoch)

    return compute


def read_arm(name: str, views: int | None, folder: Path, replicates: int) -> Arm:
    """The accuracies of finished replicates."""
    curves = []
    for replicate in range(replicates):
        text = (folder / f"replicate-{replicate}" / "curves.csv").read_text(encoding="ascii")
        rows = csv.DictReader(text.splitlines())
        curves.append(
            {
                int(row["epoch"]): 100 * float(row["test_top1_accuracy"])
                for row in rows
                if row["test_top1_accuracy"]
            }
        )
    return Arm(name, views, [curve[max(curve)] for curve in curves], curves)


def live_folder(content: dict[str, Any], data: ImageData) -> Path:
    """Folder of the students with the live teacher; it depends on parameters, data and teacher."""
    params = section(content, StudentParams, "students", STUDENT)
    training = resolve_training(content, params.training, f"students.{STUDENT}")
    record = Path("data/teachers") / params.teacher / "record.json"
    facts = {
        "student": [params.network, params.seed],
        "method": content["methods"][params.method],
        "training": asdict(training),
        "augmentation": content["augmentation"],
        "dataset": data.fingerprint,
        "teacher": json.loads(record.read_text(encoding="utf-8"))["replicates"][0][
            "weights_sha256"
        ],
    }
    return LIVE / hashlib.sha256(canonical_json(facts)).hexdigest()[:16]


def read_arms(content: dict[str, Any], live: Path) -> list[Arm]:
    """The student alone, those of the store by number of views, and those with the live teacher."""
    (alone,) = content["baselines"]
    count = content["baselines"][alone]["replicates"]
    arms = [read_arm("alone", None, Path("data/baselines") / alone, count)]
    for key, entry in content["students"].items():
        stored = content["dumps"][entry["store"].partition(".")[0]]["plain"]["views"]
        views, folder = entry.get("views", stored), Path("data/students") / key
        name = f"store, {views} view{'s' * (views != 1)}"
        arms.append(read_arm(name, views, folder, entry["replicates"]))
    count = content["students"][STUDENT]["replicates"]
    return [*arms, read_arm("live teacher", None, live, count)]


def write_csv(arms: list[Arm], path: Path) -> None:
    """Write a line for each replicate and evaluated epoch."""
    lines = ["arm,views,replicate,epoch,top1_accuracy_percent"]
    for arm in arms:
        for replicate, curve in enumerate(arm.curves):
            start = f"{arm.name.replace(',', '')},{arm.views or ''},{replicate}"
            lines += [f"{start},{epoch},{value:.2f}" for epoch, value in curve.items()]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def markdown_table(arms: list[Arm]) -> str:
    """The accuracy of each arm, and its difference from the live teacher's."""
    live = mean(arms[-1].accuracies)
    assert live is not None
    lines = ["| student | runs | top-1, % | from the live teacher's |", "|---|---|---|---|"]
    for arm in arms:
        difference = "" if arm is arms[-1] else signed((mean(arm.accuracies) or 0) - live)
        shown = f"{len(arm.accuracies)} | {spread(arm.accuracies, 2)}"
        lines.append(f"| {arm.name} | {shown} | {difference} |")
    return "\n".join(lines)


def draw(arms: list[Arm], path: Path) -> None:
    """Left: accuracy after the last epoch by the number of views; right: accuracy over training."""
    rows = [
        (arm.name, arm.views, replicate, epoch, value)
        for arm in arms
        for replicate, curve in enumerate(arm.curves)
        for epoch, value in curve.items()
    ]
    frame = DataFrame(rows, columns=["arm", "views", "replicate", "epoch", "accuracy"])
    base = alt.Chart(ROWS).encode(color=_colours(arms))
    over_training = base.mark_line(strokeWidth=2).encode(
        x=alt.X("epoch:Q", axis=alt.Axis(grid=False)),
        y=alt.Y("mean(accuracy):Q", title=ACCURACY, scale=alt.Scale(zero=False)),
        strokeDash=alt.StrokeDash(
            "arm:N",
            scale=alt.Scale(
                domain=[arm.name for arm in arms],
                range=[[6, 3] if arm.views is None else [1, 0] for arm in arms],
            ),
            legend=LEGEND,
        ),
    )
    last = base.transform_filter(f"datum.epoch === {frame['epoch'].max()}")
    left = _by_views(last).properties(title="After the last epoch", width=380, height=260)
    right = over_training.properties(title="Over training (means)", width=380, height=260)
    chart = specify(path.stem, alt.hconcat(left, right, spacing=30), frame)
    path.write_bytes(as_png(vl_convert.vegalite_to_svg(chart.specification)))


def _by_views(chart: alt.Chart) -> alt.LayerChart:
    """Dots and means of students of the store; range and mean of those of none as bands."""
    stored = chart.transform_filter("datum.views !== null")
    others = chart.transform_filter("datum.views === null")
    views = alt.X(
        "views:Q",
        title="views of the store that are read",
        scale=alt.Scale(type="log", nice=False, padding=16),
        axis=alt.Axis(grid=False, values=[1, 2, 4, 8, 16, 20], format="d"),
    )
    y = alt.Y("mean(accuracy):Q", title=ACCURACY, scale=alt.Scale(zero=False))
    band = others.mark_rect(opacity=0.2).encode(y="min(accuracy):Q", y2="max(accuracy):Q")
    middle = others.mark_rule(strokeDash=[6, 3], strokeWidth=2).encode(y=y)
    line = stored.mark_line(strokeWidth=2).encode(x=views, y=y, color=alt.value(BLUES[2]))
    dots = stored.mark_circle(size=50, opacity=1).encode(
        x=views, y=alt.Y("accuracy:Q", title=ACCURACY)
    )
    return alt.layer(band, middle, line, dots)


def _colours(arms: list[Arm]) -> alt.Color:
    stored = [arm for arm in arms if arm.views is not None]
    shades = {arm.name: BLUES[number % len(BLUES)] for number, arm in enumerate(stored)}
    colours = {"alone": GREY, "live teacher": "#d55e00"} | shades
    names = [arm.name for arm in arms]
    scale = alt.Scale(domain=names, range=[colours[name] for name in names])
    return alt.Color("arm:N", scale=scale, legend=LEGEND)


def replace_table(path: Path, table: str) -> None:
    """Replace the table between its marks in a Markdown page."""
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


@click.command()
@click.option("--replicate", type=int, help="Only train this replicate, and write nothing else.")
@click.option("--params", "params_path", type=Path, default=Path("params.yaml"), show_default=True)
def main(replicate: int | None, params_path: Path) -> None:
    """Train students with the live teacher, then write the table and the figure of docs/views.md."""
    content = load_params(params_path)
    data = load_dataset(PREPARED, content)
    count = content["students"][STUDENT]["replicates"]
    live = live_folder(content, data)
    for number in range(count) if replicate is None else (replicate,):
        folder = live / f"replicate-{number}"
        if not (folder / "curves.csv").exists():
            train_live(content, data, number, folder)
    if replicate is not None:
        return
    arms = read_arms(content, live)
    write_csv(arms, DOCS / "views.csv")
    draw(arms, DOCS / "views.png")
    replace_table(DOCS / "views.md", markdown_table(arms))
    click.echo(markdown_table(arms))


if __name__ == "__main__":
    main()
