"""dvc.yaml says what the stages really read: rooms of code, parameters and trained networks."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from project_samples import DVC_CONFIG
from ruamel.yaml import YAML

from pipeline.compute import ROOMS
from pipeline.core.files import in_git
from pipeline.losses.signatures import LOSSES
from pipeline.models.catalogue import MODELS

ROOT = Path(__file__).resolve().parents[2]
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
PACKAGES = ("pipeline", "stages")
REGISTERED = re.compile(r"(pipeline(?:\.\w+)+):\w+")
# Where something is computed, never what: trainings and dumps import it where a cluster is asked for.
CLUSTER = "pipeline.cluster"


def file_of(module):
    """The file of a module of the project; None for anything else."""
    path = ROOT.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def imports_of(file):
    """The project's modules that a file imports, also inside functions, or names in a registry."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            registered = REGISTERED.fullmatch(node.value)
            names = [registered[1]] if registered else []
        else:
            continue
        if not file.is_relative_to(ROOT / "pipeline/cluster"):
            names = [name for name in names if not name.startswith(CLUSTER)]
        yield from (file_of(name) for name in names if name.split(".")[0] in PACKAGES)


def reached_modules(stage):
    """Everything that a stage can import, directly or not."""
    todo, reached = [ROOT / "stages" / f"{stage}.py"], set()
    while todo:
        file = todo.pop()
        if file is not None and file not in reached:
            reached.add(file)
            todo += imports_of(file)
    names = {file.relative_to(ROOT).as_posix() for file in reached}
    return {name for name in names if not name.endswith("__init__.py")}


def definition(stage):
    return STAGES[stage].get("do", STAGES[stage])


def code_deps(stage):
    return [dep for dep in definition(stage)["deps"] if dep.startswith(("pipeline/", "stages/"))]


def files_of(dep):
    path = ROOT / dep
    assert path.exists(), f"{dep} is not there"
    inside = path.rglob("*.py") if path.is_dir() else [path]
    names = {file.relative_to(ROOT).as_posix() for file in inside}
    return {name for name in names if not name.endswith("__init__.py")}


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_the_real_imports(stage):
    """Every room is reached whole; of `core`, on which all stand, a part will do."""
    named = set().union(*map(files_of, code_deps(stage)))
    reached = reached_modules(stage)
    commands = {name for name in reached if name.startswith("stages/")}
    assert reached - commands <= named
    if stage != "check":  # whose result never changes: it may run once too often
        idle = {name for name in named - reached if not name.startswith("pipeline/core/")}
        assert idle == set()
    assert commands & named == {f"stages/{stage}.py"}, "what else is in stages/ changes no number"


def test_the_code_of_all_stages_is_named_in_few_lines():
    assert sum(len(code_deps(stage)) for stage in STAGES) <= 68


@pytest.mark.parametrize("stage", [stage for stage in ROOMS if stage in STAGES])
def test_keys_of_finished_work_cover_what_dvc_watches(stage):
    watched = [dep for dep in code_deps(stage) if dep.startswith("pipeline/")]
    assert sorted(watched) == sorted(f"pipeline/{room}" for room in ROOMS[stage])


def test_features_come_from_whole_rooms_that_evaluate_watches():
    assert {f"pipeline/{room}" for room in ROOMS["features"]} <= set(code_deps("evaluate"))


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_imported_at_run_time_is_reached(stage):
    code = (
        f"import stages.{stage}, sys; print(*(m.__file__ for n, m in sys.modules.items() "
        "if n.split('.')[0] in ('pipeline', 'stages')))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    files = {Path(file).relative_to(ROOT).as_posix() for file in done.stdout.split()}
    imported = {name for name in files if not name.endswith("__init__.py")}
    assert f"stages/{stage}.py" in imported
    assert imported <= reached_modules(stage)


def modules_of(folder):
    return sorted(path for path in (ROOT / folder).rglob("*.py") if path.name != "__init__.py")


def room_of(file):
    """The top folder below pipeline/, or the file's own name."""
    return Path(file).relative_to("pipeline").parts[0]


def test_the_library_knows_no_commands():
    files = modules_of("pipeline")
    assert len(files) > 80
    for file in files:
        reached = {path.relative_to(ROOT).parts[0] for path in imports_of(file) if path}
        assert reached <= {"pipeline"}, file


def test_rooms_import_each_other_in_no_circle():
    below = {}
    for file in modules_of("pipeline"):
        name = file.relative_to(ROOT).as_posix()
        others = {p.relative_to(ROOT).as_posix() for p in imports_of(file) if p is not None}
        others = {other for other in others if not other.endswith("__init__.py")}
        below.setdefault(room_of(name), set()).update(map(room_of, others))
    below = {room: others - {room} for room, others in below.items()}
    assert len(below) > 15
    while below:
        ground = [room for room, others in below.items() if not others & below.keys()]
        assert ground, f"a circle among {', '.join(sorted(below))}"
        for room in ground:
            del below[room]


def test_packages_import_nothing():
    inits = [*(ROOT / "pipeline").rglob("__init__.py"), *(ROOT / "stages").rglob("__init__.py")]
    assert len(inits) > 15
    for init in inits:
        ours = {path for path in imports_of(init) if path is not None}
        assert ours <= {ROOT / "pipeline/__init__.py"}, init  # which refuses some systems


@pytest.mark.parametrize("registry", [MODELS, LOSSES], ids=["models", "losses"])
def test_every_registered_name_leads_to_a_function_of_that_name(registry):
    assert len(registry) > 7
    for name, path in registry.items():
        module, _, function = path.partition(":")
        assert function == name
        assert callable(getattr(importlib.import_module(module), function))


def test_parameters_import_no_torch():
    files = [
        path for path in modules_of("pipeline") if path.name in ("params.py", "dataset_params.py")
    ]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    assert len(names) > 7
    code = f"import {', '.join(names)}, sys; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "False"


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


def test_what_git_keeps_is_told_from_what_dvc_s_cache_keeps():
    outs = [
        out if isinstance(out, dict) else {out: {}}
        for stage in STAGES
        for key in ("outs", "metrics")
        for out in definition(stage).get(key, ())
    ]
    uncached = {path: options.get("cache", True) for out in outs for path, options in out.items()}
    assert {path for path, cached in uncached.items() if not cached}
    for path, cached in uncached.items():
        assert in_git(Path(path)) == (not cached), path


@pytest.mark.parametrize("stage", STAGES)
def test_what_uses_own_code_depends_on_all_of_it(stage):
    reached, deps = reached_modules(stage), definition(stage)["deps"]
    for folder, registry in (("losses", "distill/method"), ("networks", "models/registry")):
        assert (f"own/{folder}" in deps) == (
            f"pipeline/{registry}.py" in reached or stage == "check"
        )


def test_default_params_are_the_digits_profile():
    """As committed: `decant use` replaces them, and results are committed with those that they are of."""
    if git("ls-files", "dvc.lock"):
        pytest.skip("results are committed here, with their parameters")
    default = git("show", "HEAD:profiles/digits.yaml")
    assert git("show", "HEAD:params.yaml") == default.replace("$schema=../", "$schema=", 1)


def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_copies_for_tests_have_the_settings_of_dvc():
    """A clone's own may have more."""
    settings = (ROOT / ".dvc/config").read_text().splitlines()
    assert set(DVC_CONFIG.splitlines()) <= set(settings)
