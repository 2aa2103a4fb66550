"""`decant plan --commands`: what is stale as commands in waves; without torch, without a measurement."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from pipeline.core import locks
from stages.cli import main
from stages.commands.plan_commands import waves_of
from stages.dvc import upstream
from stages.shared.stage_names import SECTIONS

ROOT = Path(__file__).resolve().parents[2]
yaml = YAML(typ="safe")
PAGE = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
FRESH = PAGE.partition("```\n# wave 1")[2].partition("```")[0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with params.yaml: a new clone as far as results go."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "profiles/digits.yaml", "params.yaml")
    return tmp_path


def content():
    return yaml.load(Path("params.yaml"))


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["plan", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_a_new_clone_has_everything_to_do_as_the_page_shows(folder):
    assert run("--commands").stdout == "# wave 1" + FRESH
    assert sorted(folder.iterdir()) == [folder / "params.yaml"]  # nothing is written


def test_one_wave_has_no_heading_and_all_of_them_make_the_whole(folder):
    lines = [line for line in run("--commands").stdout.splitlines() if not line.startswith("#")]
    waves = [run("--commands", "--wave", str(n)).stdout.splitlines() for n in range(1, 6)]
    assert [len(wave) for wave in waves] == [1, 4, 2, 6, 1]
    assert [line for wave in waves for line in wave] == lines


def test_it_is_quick_because_it_imports_neither_torch_nor_dvc(folder):
    program = (
        "import sys\nfrom stages.cli import main\n"
        "main(['plan', '--commands'], standalone_mode=False)\n"
        "print([name for name in ('torch', 'zarr', 'pandas', 'dvc') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "# wave 1" + FRESH + "[]\n"


def test_mistakes_are_told_before_anything_is_printed(folder):
    params = content()
    del params["students"]["kd"]["store"]
    with Path("params.yaml").open("w") as file:
        yaml.dump(params, file)
    result = run("--commands", code=1)
    assert result.stdout == ""
    assert "students.kd.store: missing" in result.stderr


def test_other_files_than_params_yaml_are_refused(folder):
    shutil.copy("params.yaml", "other.yaml")
    assert "decant use other.yaml" in run("other.yaml", "--commands", code=2).output
    assert "--wave is of --commands" in run("--wave", "1", code=2).output
    assert "0" in run("--commands", "--wave", "0", code=2).output


def test_a_disk_whose_locks_stay_within_a_machine_is_warned_of(folder, monkeypatch):
    table = folder / "mounts"
    table.write_text(f"srv:/x {folder} nfs rw,local_lock=all 0 0\n")
    monkeypatch.setattr(locks, "_MOUNTS", table)
    result = run("--commands")
    assert result.stdout == "# wave 1" + FRESH
    assert f"reach no other machine (nfs at {folder} with local_lock=all)" in result.stderr


def test_entries_that_share_their_work_are_not_side_by_side(folder):
    params = content()
    params["students"]["kd-again"] = {**params["students"]["kd"], "replicates": 5}
    params["students"]["kd-other"] = {**params["students"]["kd"], "seed": 101}
    same_recipe = {"epochs": params["training"]["epochs"]}
    params["students"]["kd-spelt"] = {**params["students"]["kd"], "training": same_recipe}
    params["baselines"]["twin"] = {**params["teachers"]["resnet20"], "replicates": 1}
    waves = waves_of(params)
    assert waves[1][0] == "decant train-teacher resnet20 && decant train-baseline twin"
    assert waves[3][0] == (
        "decant train-student kd && decant train-student kd-again && decant train-student kd-spelt"
    )
    assert waves[3][-1] == "decant train-student kd-other"
    assert [len(wave) for wave in waves] == [1, 4, 2, 7, 1]


def record(name, outs, params=()):
    """A stage as dvc.lock has it, under the parameters of params.yaml."""
    values = content()
    return {
        name: {
            "cmd": "x",
            "params": {"params.yaml": {key: values[key] for key in params}},
            "outs": [{"path": path, "md5": f"{number}a.dir"} for number, path in enumerate(outs)],
        }
    }


def write_lock(*stages):
    merged = {name: stage for each in stages for name, stage in each.items()}
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": merged}))


def everything():
    """All stages as done, on no disk."""
    outs = {
        "check": ["data/checked.txt"],
        "prepare": ["data/prepared"],
        "evaluate": ["reports/tables"],
    }
    for section, stage in SECTIONS.items():
        place = "stores" if section == "dumps" else section
        suffix = ".zarr" if section == "dumps" else ""
        for name in content()[section]:
            outs[f"{stage}@{name}"] = [f"data/{place}/{name}{suffix}"]
    return {
        name: record(name, paths, ["dataset", "students"] if name == "check" else ["dataset"])[name]
        for name, paths in outs.items()
    }


@pytest.fixture
def clone(folder, monkeypatch):
    """A clone with a remote: everything is done, nothing is here."""
    monkeypatch.setattr(upstream, "cache_folder", lambda: Path("no-cache"))
    monkeypatch.setattr("stages.dvc.clone.has_remote", lambda: True)
    write_lock(everything())
    return folder


def lay(*paths):
    for path in paths:
        Path(path).mkdir(parents=True)


def test_what_is_done_elsewhere_is_fetched_by_the_last_wave_alone(clone):
    assert waves_of(content()) == [[], [], [], [], ["decant repro"]]


def test_what_a_stale_stage_reads_is_fetched_in_the_first_wave(clone):
    stages = everything()
    del stages["train_student@rescaled-pmu50"], stages["dump@resnet20-mixup"]
    write_lock(stages)
    # The students of the store that is to be dumped do not read it as the lock says, so they are done.
    assert waves_of(content()) == [
        ["decant repro check prepare dump@resnet20 train_teacher@resnet20-mixup"],
        [],
        ["decant dump resnet20-mixup"],
        ["decant train-student rescaled-pmu50"],
        ["decant repro"],
    ]
    lay("data/checked.txt", "data/prepared", "data/stores/resnet20.zarr")
    assert waves_of(content())[0] == ["decant repro train_teacher@resnet20-mixup"]


def test_what_nobody_has_is_computed_by_its_own_command(clone, monkeypatch):
    monkeypatch.setattr("stages.dvc.clone.has_remote", lambda: False)
    lay("data/prepared")
    waves = waves_of(content())
    assert [len(wave) for wave in waves] == [1, 4, 2, 6, 1]
    assert waves[0] == ["decant repro check prepare"]


def test_with_nothing_to_do_nothing_is_printed(clone, monkeypatch):
    stages = everything()
    for stage in stages.values():
        lay(*(out["path"] for out in stage["outs"]))
    write_lock(stages)
    result = run("--commands")
    assert result.stdout == ""
    assert result.stderr == "Everything is up to date\n"
