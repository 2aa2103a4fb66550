"""dvc.yaml says what the stages really read: modules, parameters and trained networks."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
PACKAGES = ("pipeline", "stages")


def file_of(module):
    """The file of a module of the project; None for anything else."""
    path = ROOT.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def imports_of(file):
    """The project's modules that a file imports, also those inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (file_of(name) for name in names if name.split(".")[0] in PACKAGES)


def reached_modules(stage):
    """Everything that a stage can import, directly or not."""
    todo, found = [ROOT / "stages" / f"{stage}.py"], set()
    while todo:
        file = todo.pop()
        if file is not None and file not in found:
            found.add(file)
            todo += imports_of(file)
    names = {file.relative_to(ROOT).as_posix() for file in found}
    return {name for name in names if not name.endswith("__init__.py")}


def definition(stage):
    return STAGES[stage].get("do", STAGES[stage])


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_the_real_imports(stage):
    deps = [dep for dep in definition(stage)["deps"] if dep.startswith(("pipeline/", "stages/"))]
    assert deps
    named = set()
    for dep in deps:
        path = ROOT / dep
        assert path.exists(), f"{dep} is not there"
        inside = path.rglob("*.py") if path.is_dir() else [path]
        named |= {file.relative_to(ROOT).as_posix() for file in inside}
    named = {file for file in named if not file.endswith("__init__.py")}
    assert named == reached_modules(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_imported_at_run_time_is_reached(stage):
    code = (
        f"import stages.{stage}, stages.code, pathlib; "
        "print(*(f.relative_to(pathlib.Path.cwd()).as_posix() for f in stages.code.imported_files()))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    imported = {name for name in done.stdout.split() if not name.endswith("__init__.py")}
    assert f"stages/{stage}.py" in imported
    assert imported - {"stages/code.py"} <= reached_modules(stage)


@pytest.mark.parametrize("stage", ["train_teacher", "train_baseline", "dump"])
def test_no_teacher_or_dump_reaches_the_losses(stage):
    assert "pipeline/losses/registry.py" not in reached_modules(stage)


def test_students_reach_no_code_that_draws_or_writes_stores():
    reached = reached_modules("train_student")
    assert "pipeline/losses/registry.py" in reached
    assert not reached & {
        "pipeline/dump/dump.py",
        "pipeline/store/write/writers.py",
        "pipeline/raw/load.py",
    }


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_depends_on_the_machine(stage):
    params = definition(stage).get("params", [])
    assert params
    assert not [param for param in params if param.startswith("machine")]


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "check"])
def test_every_stage_waits_for_the_check(stage):
    assert "data/checked.txt" in definition(stage)["deps"]


def test_evaluate_depends_on_whatever_is_trained():
    trained = {
        "teachers": "train_teacher",
        "baselines": "train_baseline",
        "students": "train_student",
    }
    for section, stage in trained.items():
        assert definition(stage)["outs"] == [f"data/{section}/${{key}}"]
        assert f"data/{section}" in definition("evaluate")["deps"]
        assert (ROOT / "data" / section / ".gitignore").exists(), (
            "else it is not there without entries"
        )


@pytest.mark.parametrize("stage", STAGES)
def test_what_uses_own_code_depends_on_all_of_it(stage):
    reached, deps = reached_modules(stage), definition(stage)["deps"]
    for folder, registry in (("losses", "distill/method"), ("networks", "models/registry")):
        assert (f"own/{folder}" in deps) == (
            f"pipeline/{registry}.py" in reached or stage == "check"
        )


def test_default_params_are_the_digits_profile():
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "profiles" / "digits.yaml").read_bytes()
