"""Pages of kept results, and of a whole study of made-up ones, without their data set.

`python tests/page_samples.py` writes the page of each study in results/ again, and the README's picture.
"""

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from browser import Session
from PIL import Image
from report_samples import KD, sample_data, sample_record, sample_run, seen_facts, teacher_facts

from pipeline.core.dataset import ImageData, Split
from pipeline.core.params import load_yaml, section
from pipeline.evaluate import write_report
from pipeline.evaluation.kept import load_kept
from pipeline.evaluation.kept_format import Kept, KeptTiming, KeptVScores, read_kept
from pipeline.evaluation.networks import Networks
from pipeline.evaluation.params import EvaluationParams, VScoreParams
from pipeline.evaluation.runs import Run
from pipeline.evaluation.vscores import SPLITS
from pipeline.report.folder import Report
from pipeline.report.seen import student_strip
from pipeline.report.strip import Strip
from pipeline.report.tables import Cell, Table

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PICTURED = ROOT / "results", "cifar100-short"
# Those of which a network is kept: others have been begun.
STUDIES = sorted({path.parent.parent.name for path in RESULTS.glob("*/*/*.json")})
PICTURE = ROOT / "docs" / "images" / "report.png"
VALUES = [3.25, 100.5, -7.75, 12.125] + [200.0 + i for i in range(80)]  # of `wide_table`
KEPT_PAGES = ("report.html", "report.md")
SECTIONS = ("teachers", "baselines", "students")
SCORES = ("top5_accuracy", "agreement", "nll", "ece", "kl", "temperature", "fitted_nll")


def stand_in(content: Mapping[str, Any], facts: Mapping[str, Any]) -> ImageData:
    """What a report of kept results reads of a data set: numbers of images, names of classes; no pixels.

    Classes that the parameters do not name are called by their number, which no such report shows.
    """
    groups = content["evaluation"]["vscore"]["groups"]
    names = [name for group in groups.values() for name in group]
    names += [f"class-{number}" for number in range(len(names), facts["classes"])]
    side, dataset = content["dataset"]["image_size"], content["dataset"]

    def split(count: int) -> Split:
        images = np.broadcast_to(np.uint8(0), (count, side, side, 3))
        return Split(images, (np.arange(count) % facts["classes"]).astype(np.int32))

    return ImageData(
        name=facts["name"],
        train=split(facts["train_images"]),
        test=split(facts["test_images"]),
        class_names=tuple(names),
        mean=tuple(dataset["mean"]),
        std=tuple(dataset["std"]),
        fingerprint=facts["fingerprint"],
        evaluated_on=facts["evaluated_on"],
        notes={},
    )


def write_page(
    content: Mapping[str, Any],
    data: ImageData,
    runs: list[Run],
    folder: Path,
    not_run: Any = (),
    **changes: Any,
) -> Report:
    """What `decant evaluate --kept` writes of kept results; `changes`: of the parameters of evaluation."""
    params = replace(section(dict(content), EvaluationParams, "evaluation"), **changes)

    def no_features(run: Run, replicate: int) -> Any:
        raise AssertionError(f"{run.name}: kept results have no features")

    return write_report(
        runs, data, params, no_features, folder, 1, not_run=not_run, parameters=content
    )


def write_kept_page(study: str, folder: Path) -> Report:
    """The report of results/STUDY, as `decant evaluate --kept results/STUDY` writes it, but for images."""
    content = load_yaml(ROOT / "profiles" / f"{study}.yaml")
    first = next((RESULTS / study).glob("*/*.json"))
    facts = vars(read_kept(first)[0].dataset)
    data = stand_in(content, facts)
    kept = Path("results") / study  # as the command is given it, in the project's folder
    networks = Networks.of(dict(content), **{name: folder / name for name in SECTIONS})
    instead = partial(load_kept, kept, params=content, fingerprint=data.fingerprint)
    with chdir(ROOT):
        runs = networks.load(data, instead)
    absent = networks.absent(runs)
    return write_page(content, data, runs, folder, absent, show_images=False)


def made_up(content: Mapping[str, Any]) -> list[Run]:
    """Kept results of every network of a profile, made up: as many numbers as a real study has."""
    rng, runs = np.random.default_rng(0), []
    for part in SECTIONS:
        for name, entry in content[part].items():
            parts = {"network": entry["network"], "entry": entry, "kind": part[:-1], "name": name}
            if part == "students":
                owner = entry["store"].split(".zarr")[0]
                teacher = content["teachers"][owner]
                alpha = (teacher.get("mixup") or {}).get("alpha")
                views = {"views": 240, "draw": "stratified"}
                groups = {"plain": {**views, "alpha": None}, "mixed": {**views, "alpha": 1.0}}
                facts = {**teacher_facts(owner, teacher["network"], alpha), "views": groups}
                parts["teacher"] = {**facts, "seen": seen_facts()}
                parts["method"] = {"name": entry["method"], **content["methods"][entry["method"]]}
            runs.append(_made_up_run(content, part, name, parts, rng))
    return runs


def _made_up_run(
    content: Mapping[str, Any], part: str, name: str, parts: dict[str, Any], rng: Any
) -> Run:
    count, epochs = parts["entry"].get("replicates", 1), content["training"]["epochs"]
    training = {**content["training"], **parts["entry"].get("training", {})}
    middle = rng.uniform(0.65, 0.76)
    accuracies = [float(a) for a in (middle + rng.normal(0, 0.002, count)).round(4)]
    replicates = [
        {"top1_accuracy": a, "seed": 100 + i, "replicate": i, "weights_sha256": rng.bytes(32).hex()}
        for i, a in enumerate(accuracies)
    ]
    record = sample_record(
        replicates,
        **parts,
        training=training,
        augmentation={"pad": 4, "flip": True},
        dataset={
            "name": content["dataset"]["name"],
            "fingerprint": "f" * 64,
            "classes": 100,
            "train_images": 50_000,
            "test_images": 10_000,
            "evaluated_on": "test",
        },
    )
    scores = {score: tuple(rng.uniform(0.1, 0.9, count).round(4).tolist()) for score in SCORES}
    groups = content["evaluation"]["vscore"]["groups"]
    measured = [
        KeptVScores(
            group=group,
            split=split,
            normalised=normalised,
            **{
                measure: tuple(rng.uniform(0.1, 0.9, count).round(6).tolist())
                for measure in ("homogeneity", "completeness", "v_score")
            },
        )
        for group in groups
        for split in SPLITS
        for normalised in (False, True)
    ]
    kept = Kept(
        timing=KeptTiming(
            replicates=tuple(
                {
                    "replicate": i,
                    "seconds": float(rng.uniform(3000, 9000)),
                    "images_per_second": float(rng.uniform(2000, 9000)),
                    "precision": "float32",
                    "steps": "graph",
                    "replicates_at_once": 3,
                    "device": "a processor",
                    "versions": {"torch": "2.13.0"},
                }
                for i in range(count)
            )
        ),
        curves=tuple(_curve(accuracy, epochs, rng) for accuracy in accuracies),
        scores={"top1_accuracy": tuple(accuracies), **scores},
        clustering=section(dict(content), VScoreParams, "evaluation", "vscore"),
        v_scores=tuple(measured),
    )
    return Run(part, name, Path("results/made-up") / part / f"{name}.json", record, kept)


def _curve(accuracy: float, epochs: int, rng: Any) -> dict[str, tuple[float | None, ...]]:
    rise = 1 - np.exp(-4 * np.arange(1, epochs + 1) / epochs)
    noise = rng.normal(0, 0.004, epochs)
    seen = [
        float(round(accuracy * r + n, 4)) if (e + 1) % 10 == 0 or e + 1 == epochs else None
        for e, (r, n) in enumerate(zip(rise, noise, strict=True))
    ]
    rate = [0.05 * 0.1 ** sum(e >= m for m in (150, 180, 210)) for e in range(epochs)]
    return {
        "epoch": tuple(map(float, range(1, epochs + 1))),
        "learning_rate": tuple(rate),
        "train_loss": tuple((4 - 3 * rise + noise).tolist()),
        "test_loss": tuple(None if s is None else 4.5 - 4 * s for s in seen),
        "test_top1_accuracy": tuple(seen),
    }


def write_large_page(folder: Path) -> Report:
    """A page of the 175 networks of `cifar100-paper`, all of whose results are made up."""
    content = load_yaml(ROOT / "profiles" / "cifar100-paper.yaml")
    runs = made_up(content)
    data = stand_in(content, vars(runs[0].record.dataset))
    return write_page(content, data, runs, folder)


def wide_table() -> Table:
    """84 rows of sixteen columns, whose numbers occur nowhere else; one cell is empty."""
    header = ("Name", "Value", *(f"Column {i}" for i in range(14)))
    rows = [
        (
            Cell(f"network-{place} of a long name by a seed"),
            Cell("–" if place == 50 else f"{value:.3f} ± 0.001"),  # noqa: RUF001
            *(Cell(f"{1000 * i + place}.{place:02}", small=f"of {i}") for i in range(14)),
        )
        for place, value in enumerate(VALUES)
    ]
    return Table(name="wide", title="A wide table", caption="", header=header, rows=tuple(rows))


def sample_strip() -> Strip:
    """Three mixed images of the sample data, as a student's record tells of them."""
    facts = {**teacher_facts("big", "resnet20"), "seen": seen_facts()}
    run = sample_run("students", "resnet8", (0.9,), teacher=facts, method=KD, share=0.5)
    return student_strip(run, [run], sample_data())


def main() -> None:
    """Write the pages of results/ again, and the picture of one."""
    for study in STUDIES:
        own = RESULTS / study
        with tempfile.TemporaryDirectory() as folder:
            report = write_kept_page(study, Path(folder) / "report")
            for name in KEPT_PAGES:
                shutil.copyfile(report.folder / name, own / name)
            shutil.rmtree(own / "figures", ignore_errors=True)
            shutil.copytree(report.folder / "figures", own / "figures")
        for picture in sorted((own / "figures").glob("*.png")):
            make_small(picture)
    with tempfile.TemporaryDirectory() as profile, Session(Path(profile)) as session:
        session.screen(1440, 850, scale=2)
        session.call("Emulation.setScrollbarsHidden", hidden=True)
        session.open(RESULTS / PICTURED / "report.html")
        PICTURE.parent.mkdir(exist_ok=True)
        session.picture(PICTURE)
    make_small(PICTURE)


def make_small(picture: Path) -> None:
    """Give a PNG a palette: a third of the size, and no difference that an eye sees."""
    with Image.open(picture) as image:
        small = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(picture, "PNG", optimize=True)


if __name__ == "__main__":
    main()
