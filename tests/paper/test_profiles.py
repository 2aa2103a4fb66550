"""The study's profiles: what the generator writes, valid, and with one entry for every cell."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from report_samples import sample_record, teacher_facts

from pipeline.core.params import load_yaml
from pipeline.evaluation.configurations import (
    Configuration,
    configuration,
    of_shared_length,
    told_apart,
)
from pipeline.evaluation.runs import Run
from pipeline.paper.cells import KD, RESCALED, SOFT_ONLY, pair_cell, square_cell
from pipeline.paper.cells import student as student_cell
from pipeline.paper.published import TABLE1, TABLE2, TABLE3, read_table
from pipeline.planning.checker import Checker

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ROOT / "profiles"
NAMES = ("cifar100-paper", "cifar100-beyond", "cifar100-paper-cpu")
SLOW_LEARNERS = {"mobilenetv2", "shufflenetv1", "shufflenetv2"}
RESNETS = ["resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]

CONTENTS = {name: load_yaml(PROFILES / f"{name}.yaml") for name in NAMES}
PAPER, BEYOND, CPU = (CONTENTS[name] for name in NAMES)
TRAINED = ("teachers", "baselines", "students")


def stages(content: dict[str, Any]) -> int:
    """Number of stages of the pipeline: check, prepare and evaluate besides the entries."""
    return 3 + sum(len(content[part]) for part in ("teachers", "baselines", "dumps", "students"))


def configurations(content: dict[str, Any]) -> dict[tuple[str, str], Configuration]:
    """What the report will know of each entry."""
    return {(run.section, run.name): configuration(run) for run in runs_of(content)}


def runs_of(content: dict[str, Any]) -> list[Run]:
    """A run of each entry, with a record as its stage would write it."""
    found = []
    for part in TRAINED:
        for name, entry in content[part].items():
            training = {**content["training"], **entry.get("training", {})}
            parts = {"network": entry["network"], "entry": entry, "training": training}
            if part == "students":
                teacher_name = entry["store"].split(".zarr")[0]
                teacher = content["teachers"][teacher_name]
                mixed = content["dumps"][teacher_name]["mixed"]
                alpha = (teacher.get("mixup") or {}).get("alpha")
                drawn = {"views": 1, "draw": "stratified"}
                views = {"mixed": {**drawn, "alpha": mixed["alpha"]}} if mixed else {}
                facts = teacher_facts(teacher_name, teacher["network"], alpha)
                parts["teacher"] = {**facts, "views": views}
                parts["method"] = {"name": entry["method"], **content["methods"][entry["method"]]}
            record = sample_record([{"top1_accuracy": 0.5}], **parts)
            found.append(Run(part, name, Path(name), record))
    return found


def count(content: dict[str, Any], *parts: str) -> Counter[Configuration]:
    return Counter(c for (part, _), c in configurations(content).items() if part in parts)


def test_files_are_what_the_generator_writes(tmp_path):
    command = [sys.executable, str(PROFILES / "paper.py"), "--folder", str(tmp_path)]
    subprocess.run(command, check=True)
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(NAMES)
    for name in NAMES:
        written = (tmp_path / f"{name}.yaml").read_bytes()
        assert written == (PROFILES / f"{name}.yaml").read_bytes(), f"run profiles/paper.py: {name}"


@pytest.mark.parametrize("name", NAMES)
def test_every_network_is_of_the_usual_recipe_of_its_architecture(name):
    """Some have another learning rate, which is their architecture's; so they stand in the tables."""
    runs = runs_of(CONTENTS[name])
    assert {key.variant for _, key, _ in told_apart(runs)} == {""}
    assert of_shared_length(runs) == runs


@pytest.mark.parametrize("name", NAMES)
def test_profile_is_valid(name):
    assert Checker(CONTENTS[name]).problems == []


def test_number_of_stages():
    assert stages(PAPER) == 192
    assert stages(PAPER) < 200
    assert stages(BEYOND) == 245
    assert stages(CPU) == 44
    assert stages(CPU) <= 60
    assert {e["replicates"] for p in ("baselines", "students") for e in PAPER[p].values()} == {3}
    assert {e["replicates"] for p in ("baselines", "students") for e in CPU[p].values()} == {2}


@pytest.mark.parametrize(("table", "method"), [(TABLE1, KD), (TABLE2, SOFT_ONLY)])
def test_every_cell_of_tables_1_and_2_has_one_entry(table, method):
    published = read_table(table)
    students, alone = count(PAPER, "students"), count(PAPER, "baselines")
    cell = square_cell(method)
    cells = [(row, column) for (row,) in published for column in published[row,]]
    assert len(cells) == 30
    for row, column in cells:
        expected = alone if row == "baseline" else students
        assert expected[cell(row, column)] == 1, (row, column)
    assert [row for (row,) in published if row != "baseline"] == RESNETS[::-1]


def test_every_cell_of_table_3_has_one_entry():
    published = read_table(TABLE3)
    students, alone = count(PAPER, "students"), count(PAPER, "baselines")
    teachers = count(PAPER, "teachers")
    assert len(published) == 13
    for (teacher, network), numbers in published.items():
        assert len(numbers) == 9
        for column in numbers:
            wanted = pair_cell(teacher, network, column)
            # The column of teachers shows the networks that teach, not the ones trained alone.
            found = (
                teachers if column == "teacher_acc" else alone if wanted.loss is None else students
            )
            assert found[wanted] == 1, (teacher, network, column)


def test_cells_that_tables_share_are_one_stage():
    assert max(count(PAPER, "students").values()) == 1
    assert max(count(PAPER, "baselines").values()) == 1
    assert max(count(PAPER, "teachers").values()) == 1
    # 25 + 25 + 13 * 5, of which three KD pairs of table 3 are in table 1, and 13 that no table has,
    # and 3 of fewer views
    assert len(PAPER["students"]) == 25 + 25 + 13 * 5 - 3 + 13 + 3


def test_networks_of_the_figures_are_there_with_and_without_mixup():
    for network in RESNETS:
        for alpha, share in ((None, 0.0), (1.0, 1.0)):
            wanted = Configuration(network=network, share=share, mixup_alpha=alpha)
            assert count(PAPER, "teachers")[wanted] == 1
            assert count(PAPER, "baselines")[wanted] == 1


def test_students_of_mixup_trained_teachers():
    found = count(PAPER, "students")

    def by_kd(teacher, alpha, share):
        return Configuration(
            network="resnet20",
            loss=KD[0],
            options=KD[1],
            share=share,
            mixup_alpha=1.0 if share else None,
            teacher_network=teacher,
            teacher_mixup_alpha=alpha,
        )

    for teacher in RESNETS:
        assert found[by_kd(teacher, 1.0, 0.0)] == 1
    four = [by_kd("resnet56", alpha, share) for alpha in (None, 1.0) for share in (0.0, 1.0)]
    assert [found[case] for case in four] == [1, 1, 1, 1]


def test_partial_mixup_as_coded_is_named_so():
    coded = [name for name, entry in PAPER["students"].items() if entry["share"] in (0.408, 0.604)]
    assert len(coded) == 6
    assert all("-as-coded" in name for name in coded)
    found = count(PAPER, "students")
    for pair in (("resnet56", "resnet20"), ("wrn_40_2", "wrn_16_2"), ("resnet32x4", "resnet8x4")):
        assert [found[student_cell(*pair, RESCALED, share)] for share in (0.408, 0.604)] == [1, 1]


@pytest.mark.parametrize("content", [PAPER, BEYOND])
def test_recipe_is_the_fields(content):
    assert content["training"] == {
        "epochs": 240,
        "batch_size": 64,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "schedule": {"name": "step", "milestones": [150, 180, 210], "factor": 0.1},
        "evaluate_every": 10,
        "precision": "float32",
    }
    assert content["augmentation"] == {"pad": 4, "flip": True}
    entries = [entry for part in TRAINED for entry in content[part].values()]
    assert len(entries) > 100
    for entry in entries:
        slow = entry["network"] in SLOW_LEARNERS
        assert entry.get("training") == ({"learning_rate": 0.01} if slow else None)


@pytest.mark.parametrize("content", [PAPER, BEYOND])
def test_views(content):
    assert len(content["dumps"]) == len(content["teachers"])
    mixed = {"views": 240, "draw": "stratified", "alpha": 1.0, "features": False}
    for name, dump in content["dumps"].items():
        count = 240 if name == "resnet56" else 162
        assert dump["plain"] == {"views": count, "draw": "stratified", "features": False}
        read_mixed = any(
            entry["store"] in (f"{name}.zarr", f"{name}.zarr/mixed")
            for entry in content["students"].values()
        )
        assert dump["mixed"] == (mixed if read_mixed else None)


def test_numbers_of_views():
    """KD of resnet56 -> resnet20 at 40, 80, 162 and 240 views, otherwise one and the same entry."""
    whole = PAPER["students"]["resnet56-resnet20-kd"]
    assert "views" not in whole
    limited = {name: entry for name, entry in PAPER["students"].items() if "views" in entry}
    assert [entry["views"] for entry in limited.values()] == [40, 80, 162]
    for name, entry in limited.items():
        assert name == f"resnet56-resnet20-kd-views{entry['views']}"
        assert {key: value for key, value in entry.items() if key != "views"} == whole
    assert PAPER["dumps"]["resnet56"]["plain"]["views"] == PAPER["training"]["epochs"] == 240


@pytest.mark.parametrize("content", CONTENTS.values(), ids=NAMES)
def test_evaluation(content):
    evaluation = content["evaluation"]
    assert evaluation["vscore"]["groups"] == {
        "similar": ["baby", "boy", "girl", "man", "woman"],
        "different": ["beaver", "apple", "aquarium_fish", "rocket", "turtle"],
    }
    assert set(evaluation["floors"].values()) == {None}
    assert evaluation["paper_tables"] is True
    assert evaluation["tsne"] is not None


def test_beyond_shares_its_entries_with_the_paper():
    for part in ("machine", "dataset", "augmentation", "training", "evaluation"):
        assert BEYOND[part] == PAPER[part]
    for part in ("teachers", "baselines", "dumps"):
        assert BEYOND[part]
        assert BEYOND[part].items() <= PAPER[part].items()
    same = [
        name for name, entry in BEYOND["students"].items() if PAPER["students"].get(name) == entry
    ]
    assert len(same) == 13
    assert {BEYOND["students"][name]["method"] for name in same} == {"kd"}
    assert BEYOND["methods"]["kd"] == PAPER["methods"]["kd"]


def test_beyond_has_every_method_pair_and_share():
    found = Counter(
        (c.loss, c.teacher_network, c.network, c.share)
        for (part, _), c in configurations(BEYOND).items()
        if part == "students"
    )
    for loss in ("zscore", "dkd", "dist", "mse"):
        for teacher, network in read_table(TABLE3):
            for share in (0.0, 0.1, 0.5, 1.0):
                assert found.pop((loss, teacher, network, share)) == 1
    assert {loss for loss, *_ in found} == {"kd"}
    assert max(count(BEYOND, "students").values()) == 1


def test_miniature_has_every_kind_of_cell():
    assert {e["network"] for part in TRAINED for e in CPU[part].values()} == {
        "resnet20",
        "resnet32",
        "resnet56",
    }
    students, alone = count(CPU, "students"), count(CPU, "baselines")
    for method in (KD, SOFT_ONLY):
        cell = square_cell(method)
        for column in ("resnet20", "resnet32"):
            assert alone[cell("baseline", column)] == 1
            for row in ("resnet20", "resnet32", "resnet56"):
                assert students[cell(row, column)] == 1
    both = students + alone + count(CPU, "teachers")
    for column in read_table(TABLE3)["resnet56", "resnet20"]:
        assert both[pair_cell("resnet56", "resnet20", column)] >= 1, column
    for share in (0.408, 0.604):
        assert students[student_cell("resnet56", "resnet20", RESCALED, share)] == 1
    teachers = count(CPU, "teachers")
    assert {(c.network, c.mixup_alpha) for c in teachers} == {
        (network, alpha)
        for network in ("resnet20", "resnet32", "resnet56")
        for alpha in (None, 1.0)
    }
    assert {c.share for c in students if c.teacher_mixup_alpha} == {0.0, 1.0}
