"""`decant plan`: sums, times, disk, what is done; in a fresh folder, and beside a real DVC project."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from pipeline.core.dataset_params import DatasetParams
from pipeline.core.machine import Machine
from pipeline.core.notes import WorkNote
from pipeline.core.params import load_yaml, section
from pipeline.planning.cost import Costs, StageCost, count_images
from pipeline.planning.rate import Rate
from stages.commands import estimate
from stages.commands.estimate import (
    PlannedStage,
    make_plan,
    seconds_of,
    timed,
    totals,
    used_precisions,
)
from stages.commands.plan import plan
from stages.commands.plan_tables import bytes_text, flops_text, hours_text
from stages.dvc.clone_plan import hours_of
from stages.dvc.lock import Lock, folder_digest

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "profiles" / "digits.yaml"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with params.yaml: a fresh clone as far as results go."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(DIGITS, "params.yaml")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(plan, arguments, catch_exceptions=False)


def run_json(*arguments):
    result = run("--json", "--rate", "1e12", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_a_fresh_folder_has_everything_to_do(folder):
    found = run_json()
    assert [stage["state"] for stage in found["stages"]] == ["to do"] * 15
    assert {kind: part["stages"] for kind, part in found["kinds"].items()} == {
        "check": 1,
        "prepare": 1,
        "train_teacher": 2,
        "train_baseline": 2,
        "dump": 2,
        "train_student": 6,
        "evaluate": 1,
    }
    assert found["total"]["stages"] == 15
    assert found["total"]["done"] == 0
    assert found["total"]["hours"] == found["total"]["hours_left"] > 0
    assert found["images"] == {"train": 1438, "test": 359, "classes": 10, "image_size": 16}
    assert sorted(folder.iterdir()) == [folder / "params.yaml"]  # nothing is written


def costs_of(content):
    return Costs(content, count_images(section(content, DatasetParams, "dataset"), Path()))


def test_sums_are_those_of_the_stages(folder):
    found = run_json()
    stages, costs = found["stages"], list(costs_of(load_yaml(DIGITS)).stages())
    assert [stage["name"] for stage in stages] == [cost.name for cost in costs]
    for key in ("flops", "hours", "bytes"):  # on one device, all runs one after the other
        assert found["total"][key] == pytest.approx(sum(stage[key] for stage in stages))
        for kind, part in found["kinds"].items():
            own = [stage[key] for stage in stages if stage["name"].partition("@")[0] == kind]
            assert part[key] == pytest.approx(sum(own))
    assert found["total"]["flops"] == sum(cost.flops for cost in costs)
    assert found["disk"]["bytes_left"] == found["total"]["bytes"]
    assert set(found["stores"]) == {"resnet20", "resnet20-mixup"}
    assert (
        sum(store["bytes"] for store in found["stores"].values()) == found["kinds"]["dump"]["bytes"]
    )


def test_what_the_cache_saves(folder):
    cache = run_json()["cache"]
    costs = {cost.name: cost for cost in costs_of(load_yaml(DIGITS)).stages()}
    students = [cost for cost in costs.values() if cost.kind == "train_student"]
    # Six students with two replicates and 16 epochs each, and a teacher in every one of their steps.
    live = 6 * 2 * 16 * 1438 * students[0].live_teacher_flops // (16 * 1438)
    dumped = 2 * costs["dump@resnet20"].flops
    assert cache["live_teacher_flops"] == live
    assert cache["dump_flops"] == dumped
    assert cache["saved_flops"] == live - dumped
    expected = cache["online_hours"] - cache["student_hours"] - cache["dump_hours"]
    assert cache["saved_hours"] == pytest.approx(expected)
    assert cache["online_hours"] > cache["student_hours"]


@pytest.mark.parametrize(
    ("replicates", "processes", "rounds"), [(1, 2, 1), (2, 2, 1), (3, 2, 2), (3, 1, 3), (7, 4, 2)]
)
def test_replicates_run_beside_each_other(replicates, processes, rounds):
    cost = StageCost(
        name="train_student@a",
        kind="train_student",
        network="resnet8",
        teacher="resnet20",
        replicates=replicates,
        training_flops=600,
        forward_flops=50,
        live_teacher_flops=300,
    )
    rates = {("", "float32"): Rate(100.0, 10.0), ("resnet20", "float32"): Rate(1.0, 20.0)}
    (stage,) = timed([cost], ["to do"], rates)
    assert stage.seconds == 600 / 100 + 50 / 10
    assert seconds_of([stage], processes) == rounds * stage.seconds
    online = seconds_of([stage], processes, online=True)
    assert online == rounds * (stage.seconds + 300 / 20)
    (other,) = timed([replace(cost, network="resnet20")], ["done"], rates)
    assert other.seconds == 600 / 1 + 50 / 20
    assert totals([stage, other], processes) == {
        "stages": 2,
        "done": 1,
        "flops": 2 * replicates * 650,
        "hours": seconds_of([stage, other], processes) / 3600,
        "hours_left": rounds * stage.seconds / 3600,
        "bytes": 0,
    }


def test_stages_of_a_wave_run_beside_each_other():
    def stage(kind, seconds, replicates=1):
        cost = StageCost(name=f"{kind}@a", kind=kind, replicates=replicates)
        return PlannedStage(cost, "to do", seconds, teacher_seconds=1.0)

    teacher, baseline = stage("train_teacher", 9.0), stage("train_baseline", 4.0, replicates=2)
    dumps = [stage("dump", 3.0), stage("dump", 2.0)]
    students = [stage("train_student", 5.0, replicates=3) for _ in range(42)]
    assert seconds_of([teacher, baseline], 2) == 9 + 0 * 8
    assert seconds_of([teacher, baseline], 1) == 9 + 2 * 4
    assert seconds_of(students, 64) == 2 * 5
    assert seconds_of(students, 64, online=True) == 2 * 6
    everything = [stage("check", 0.0), teacher, baseline, *dumps, *students]
    assert seconds_of(everything, 64) == 9 + 3 + 2 * 5
    assert seconds_of(everything, 1) == 9 + 2 * 4 + 3 + 2 + 42 * 3 * 5


def test_what_is_announced_is_what_the_waves_take(folder, monkeypatch):
    """`decant repro` asks before more than an hour of computing."""
    monkeypatch.setattr(
        "stages.commands.estimate.measure", lambda *arguments: Rate(1e11, 1e11, 5.0, 9.0)
    )
    hours = []
    for cores in (1, 64):
        monkeypatch.setattr(Machine, "cores", cores)
        made = make_plan(Path("params.yaml"), ("resnet20",), None)
        students = [stage.cost.name for stage in made.of("train_student")]
        hours.append(hours_of(Path("params.yaml"), students))
    assert hours[0] == pytest.approx(12 * hours[1])  # six students of two replicates, all alike


def test_a_stated_rate_is_one_device_s_whatever_this_machine_has(folder, monkeypatch):
    hours = []
    for cores in (1, 4):
        monkeypatch.setattr(Machine, "cores", cores)
        hours.append(run_json()["total"]["hours"])
    assert hours[0] == hours[1] > 0


def test_tables_for_readers(folder):
    result = run("--rate", "1e12", "--stages")
    assert result.exit_code == 0
    for text in ("1,438 training", "train_student@rescaled-pmu50", "resnet20-mixup.zarr", "to do"):
        assert text in result.output
    assert "times as fast" in result.output
    assert "reckoned with 1,000 GFLOP/s" in result.output
    assert "WARNING" not in result.output


def test_a_profile_by_name(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = run_json("cifar100-paper-cpu")
    assert found["profile"] == "profiles/cifar100-paper-cpu.yaml"
    assert found["total"]["stages"] == 44


def test_too_little_room_is_a_warning(folder, monkeypatch):
    usage = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: usage)
    disk = run_json()["disk"]
    assert disk["free_bytes"] == 1_000_000
    assert disk["fits"] is False
    result = run("--rate", "1e12")
    assert result.exit_code == 0
    lacking = bytes_text(disk["bytes_left"] - 1_000_000)
    assert f"WARNING: {lacking} too little" in result.output


def test_what_was_written_before_is_not_to_be_written_again(folder):
    before = run_json()["disk"]["bytes_left"]
    for key, stage in (("a", "dump@resnet20"), ("b", "dump@of-another-project")):
        work = Path("data/.work", key * 16)
        (work / "plain/logits").mkdir(parents=True)
        WorkNote((stage,), group="plain", views=8).write(work)
        (work / "plain/logits/c.0.0.0").write_bytes(b"x" * 1000)
    note = (Path("data/.work", "a" * 16) / "note.json").stat().st_size
    assert run_json()["disk"]["bytes_left"] == before - 1000 - note


def test_the_rate_is_measured_where_none_is_stated(folder, monkeypatch):
    asked = []

    def measured(name, training, augmentation, classes, image_size, device):
        recipe = (training.batch_size, training.precision)
        asked.append((name, *recipe, augmentation.pad, classes, image_size))
        return Rate(2e11, 1e11, 500.0, 900.0)

    monkeypatch.setattr("stages.commands.estimate.measure", measured)
    result = run("--measure", "resnet8", "--measure", "resnet20")
    assert result.exit_code == 0
    shared = (64, "float32", 2, 10, 16)
    assert asked == [("resnet8", *shared), ("resnet20", *shared)]
    assert "resnet8, float32: 500 images/s in training (200 GFLOP/s)" in result.output
    assert "resnet20, float32: 500 images/s" in result.output


def write_params(changes):
    """The profile in params.yaml, with other values at paths such as training.precision."""
    content = load_yaml(DIGITS)
    for path, value in changes.items():
        *sections, key = path.split(".")
        entry = content
        for name in sections:
            entry = entry.setdefault(name, {})
        entry[key] = value
    with open("params.yaml", "w") as file:
        YAML(typ="safe").dump(content, file)


def planned_stages(monkeypatch, lower):
    """Each stage as planned where bfloat16 is `lower` times as slow as float32."""

    def measured(name, training, *arguments):
        slower = lower if training.precision == "bfloat16" else 1
        return Rate(2e11 / slower, 1e11 / slower, 500.0, 900.0)

    monkeypatch.setattr("stages.commands.estimate.measure", measured)
    return {
        stage.cost.name: stage
        for stage in make_plan(Path("params.yaml"), ("resnet20",), None).stages
    }


def test_each_entry_is_reckoned_in_its_own_precision(folder, monkeypatch):
    changes = {
        "students.kd.training.precision": "bfloat16",
        "dumps.resnet20.precision": "bfloat16",
    }
    write_params(changes)
    even, slow = (planned_stages(monkeypatch, lower) for lower in (1, 8))
    changed = [name for name in even if slow[name].seconds != even[name].seconds]
    assert changed == ["dump@resnet20", "train_student@kd"]
    student, cost = slow["train_student@kd"], even["train_student@kd"].cost
    # Testing stays in float32.
    more = 7 * cost.training_flops / 2e11
    assert student.seconds - even["train_student@kd"].seconds == pytest.approx(more)
    dump = even["dump@resnet20"].cost
    # So do the clean images of a dump: 16 views and one more of the training set, and the test set.
    assert dump.view_flops / dump.forward_flops == pytest.approx(16 * 1438 / (1438 + 359))
    more = 7 * dump.view_flops / 1e11
    assert slow["dump@resnet20"].seconds - even["dump@resnet20"].seconds == pytest.approx(more)
    # The live teacher would compute what its store holds.
    live = [s for s in even.values() if s.cost.teacher and s.cost.teacher_precision == "bfloat16"]
    assert live
    for stage in live:
        name = stage.cost.name
        teacher = [s[name].teacher_seconds for s in (even, slow)]
        assert teacher[1] == pytest.approx(8 * teacher[0])


def test_a_pinned_store_alone_may_be_in_bfloat16():
    student = StageCost(
        name="train_student@kd",
        kind="train_student",
        network="resnet8",
        teacher="resnet20",
        live_teacher_flops=10**12,
        teacher_precision="bfloat16",
    )
    assert used_precisions([student]) == ["float32", "bfloat16"]
    rates = {("", precision): Rate(1e12, 1e12) for precision in used_precisions([student])}
    (planned,) = timed([student], ["to do"], rates)
    assert planned.teacher_seconds == 1


def test_a_shared_precision_may_be_overridden_back(folder, monkeypatch):
    lower_but_one = {"training.precision": "bfloat16", "students.kd.training.precision": "float32"}
    write_params(lower_but_one)
    even, slow = (planned_stages(monkeypatch, lower) for lower in (1, 8))
    same = [name for name in even if slow[name].seconds == even[name].seconds]
    dumps = ["dump@resnet20", "dump@resnet20-mixup"]
    assert same == ["check", "prepare", *dumps, "train_student@kd", "evaluate"]


def test_unknown_profile(monkeypatch):
    monkeypatch.chdir(ROOT)
    result = run("cifar1000")
    assert result.exit_code == 1
    assert (
        "no profile 'cifar1000'; did you mean cifar100-views? Valid: cifar100-beyond"
        in result.output
    )


def test_mistakes_are_all_listed(folder):
    content = load_yaml(DIGITS)
    content["training"]["epochs"] = 0
    content["students"]["kd"]["method"] = "kdd"
    with open("params.yaml", "w") as file:
        YAML(typ="safe").dump(content, file)
    result = run("--rate", "1e12")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert all(line.startswith("error: params.yaml: ") for line in lines)
    assert len(lines) == 2


def test_help_needs_no_torch():
    program = (
        "import sys\nfrom stages.commands.plan import plan\n"
        "plan(['--help'], standalone_mode=False)\n"
        "print([n for n in ('torch', 'numpy', 'zarr', 'dvc', 'sklearn') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "before anything runs" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        (flops_text, 0, "-"),
        (flops_text, 3.5e9, "3.5 GFLOP"),
        (flops_text, 2.5e12, "2.5 TFLOP"),
        (flops_text, 1234.5e15, "1,234.5 PFLOP"),
        (hours_text, 0, "-"),
        (hours_text, 0.01, "36.0 s"),
        (hours_text, 0.5, "30.0 min"),
        (hours_text, 90.0, "90.0 h"),
        (hours_text, 1500.0, "62.5 days"),
        (hours_text, 34279.3, "1,428.3 days"),
        (hours_text, -3.0, "-3.0 h"),
        (bytes_text, 0, "0 B"),
        (bytes_text, 999, "999 B"),
        (bytes_text, 28.96e9, "29.0 GB"),
    ],
)
def test_numbers_have_handy_units(text, value, expected):
    assert text(value) == expected


# What is done, beside a real DVC project of the pipeline's shape.

DVC_YAML = """
stages:
  check:
    cmd: python check.py
    params:
      - items
    outs:
      - data/checked.txt
  make:
    foreach: ${items}
    do:
      cmd: python make.py ${key}
      deps:
        - data/checked.txt
        - lib
        - make.py
      params:
        - items.${key}
      outs:
        - data/${key}
  use:
    foreach: ${items}
    do:
      cmd: python use.py ${key}
      deps:
        - data/${key}/plain
        - use.py
      outs:
        - used/${key}
"""
CHECK = """
from pathlib import Path
Path("data").mkdir(exist_ok=True)
Path("data/checked.txt").write_text("valid")
"""
MAKE = """
import sys
from pathlib import Path
for group in ("plain", "mixed"):
    folder = Path("data", sys.argv[1], group)
    folder.mkdir(parents=True)
    (folder / "numbers").write_text(Path("seed-" + group).read_text())
"""
USE = """
import sys
from pathlib import Path
Path("used").mkdir(exist_ok=True)
Path("used", sys.argv[1]).write_text("x")
"""
NAMES = ("check", "make@a", "make@b", "use@a", "use@b")


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """A DVC project in which everything is done."""
    root = tmp_path_factory.mktemp("project")
    (root / "lib" / "__pycache__").mkdir(parents=True)
    (root / "lib" / "sub").mkdir()
    texts = {
        "dvc.yaml": DVC_YAML,
        "params.yaml": "items:\n  a: {epochs: 1, decay: 5e-4}\n  b: {epochs: 2, list: [1, x]}\n",
        "check.py": CHECK,
        "make.py": MAKE,
        "use.py": USE,
        "seed-plain": "p",
        "seed-mixed": "m",
        ".dvcignore": "__pycache__\n",
        "lib/one.py": "1",
        "lib/sub/two.py": "2",
        "lib/__pycache__/one.pyc": "compiled",
    }
    for name, text in texts.items():
        (root / name).write_text(text)
    dvc(root, "init", "--no-scm", "-q")
    dvc(root, "repro", "-q")
    return root


def dvc(root, *arguments):
    command = [sys.executable, "-m", "dvc", *arguments]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {**os.environ, "PATH": path, "HOME": str(root)}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def project(reproduced, tmp_path):
    return Path(shutil.copytree(reproduced, tmp_path / "copy", symlinks=True))


def states(root):
    lock = Lock(root, load_yaml(root / "params.yaml"))
    return {name: lock.state(name) for name in NAMES}


def changed_by_dvc(root):
    return set(json.loads(dvc(root, "status", "--json")))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_all_is_done_as_dvc_says(project):
    assert states(project) == dict.fromkeys(NAMES, "done")
    assert changed_by_dvc(project) == set()


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("params.yaml", "epochs: 2", "epochs: 3", {"check", "make@b"}),
        ("params.yaml", "[1, x]", "[1, y]", {"check", "make@b"}),
        ("lib/sub/two.py", "2", "3", {"make@a", "make@b"}),
        ("lib/__pycache__/one.pyc", "compiled", "again", set()),
        ("use.py", '"x"', '"y"', {"use@a", "use@b"}),
    ],
)
def test_changes_are_seen_as_dvc_sees_them(file, old, new, changed, project):
    edit(project / file, old, new)
    found = states(project)
    own = {name for name, state in found.items() if state == "changed"}
    # DVC names the stage whose own inputs changed; those that read its results will follow it.
    followers = {name.replace("make", "use") for name in changed if name.startswith("make")}
    assert own == changed | followers
    assert changed_by_dvc(project) == changed


def test_results_that_were_made_anew_change_their_readers(project):
    """After the mixed part of a result changed, readers of its plain part are still done."""
    (project / "seed-mixed").write_text("other")
    edit(project / "params.yaml", "epochs: 1", "epochs: 7")
    dvc(project, "repro", "-q", "make@a")
    assert states(project) == dict.fromkeys(NAMES, "done")
    assert changed_by_dvc(project) == set()
    (project / "seed-plain").write_text("other")
    edit(project / "params.yaml", "epochs: 7", "epochs: 8")
    dvc(project, "repro", "-q", "make@a")
    assert states(project) == {**dict.fromkeys(NAMES, "done"), "use@a": "changed"}
    assert changed_by_dvc(project) == {"use@a"}


def test_results_that_are_not_on_this_disk(project):
    shutil.rmtree(project / "data" / "a")
    assert states(project) == {**dict.fromkeys(NAMES, "done"), "make@a": "elsewhere"}


def test_no_lock_and_an_empty_one(project):
    (project / "dvc.lock").write_text("schema: '2.0'\n")
    assert states(project) == dict.fromkeys(NAMES, "to do")
    (project / "dvc.lock").unlink()
    assert states(project) == dict.fromkeys(NAMES, "to do")


def test_a_stage_that_is_not_in_the_lock_is_to_do(project):
    assert Lock(project, load_yaml(project / "params.yaml")).state("make@c") == "to do"


def test_folder_digests_do_not_depend_on_the_order_of_files():
    one = folder_digest({"a": "1", "b/c": "2"})
    assert one == folder_digest({"b/c": "2", "a": "1"})
    assert one.endswith(".dir")
    assert one != folder_digest({"a": "2", "b/c": "1"})


def test_done_stages_count_no_more(folder):
    lock = {
        "schema": "2.0",
        "stages": {
            "prepare": {
                "cmd": "python -m stages.prepare",
                "params": {"params.yaml": {"dataset": load_yaml(DIGITS)["dataset"]}},
                "outs": [{"path": "data/prepared", "hash": "md5", "md5": "0" * 32}],
            }
        },
    }
    with open("dvc.lock", "w") as file:
        YAML(typ="safe").dump(lock, file)
    made = make_plan(Path("params.yaml"), (), 1e12)
    assert [stage.cost.name for stage in made.stages if not stage.left] == ["prepare"]
    prepared = made.of("prepare")[0]
    assert prepared.state == "elsewhere"
    everything = sum(stage.cost.out_bytes for stage in made.stages)
    assert made.bytes_left == everything - prepared.cost.out_bytes
