"""The `decant` command: help without heavy imports, mistakes without tracebacks."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from stages.cli import COMMANDS, main
from stages.shared.options import guarded

HEAVY = ("torch", "torchvision", "zarr", "sklearn", "pandas", "altair", "numpy", "dvc")


def run(*arguments):
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def heavy_imports(code):
    program = f"import sys\n{code}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


def test_help_imports_nothing_heavy():
    code = "from stages.cli import main\nmain(['--help'], standalone_mode=False)"
    assert heavy_imports(code) == "[]"


def test_completion_imports_nothing_heavy():
    code = (
        "from stages.cli import main\n"
        "from click.shell_completion import ShellComplete\n"
        "found = ShellComplete(main, {}, 'decant', '_DECANT_COMPLETE').get_completions([], 'tr')\n"
        "assert [item.value for item in found] == ['train-teacher', 'train-baseline', 'train-student']"
    )
    assert heavy_imports(code) == "[]"


def test_the_probe_for_heavy_imports_works():
    assert "numpy" in heavy_imports("import numpy")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_imports_nothing_heavy(name):
    code = f"from stages.cli import main\nmain([{name!r}, '--help'], standalone_mode=False)"
    assert heavy_imports(code) == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_help_lists_every_command():
    output = run("--help").output
    assert all(name in output for name in COMMANDS)


def test_unknown_command_is_a_usage_error():
    result = run("trian-student")
    assert result.exit_code == 2
    assert "No such command 'trian-student'. Did you mean train-student?" in result.output
    assert run("xyzzy").output.rstrip().endswith("No such command 'xyzzy'.")


def test_missing_params_file(tmp_path):
    result = run("check", "--params", str(tmp_path / "none.yaml"))
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert "no such file" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("text", ["", "Unable to allocate 640. GiB for an array"])
def test_too_little_memory_is_told(capsys, text):
    def allocate():
        raise MemoryError(text)

    with pytest.raises(SystemExit) as ended:
        guarded(allocate, debug=False)
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: this machine has too little free memory")
    assert text in told
    assert "unless you trust its source" in told
    assert told.count("\n") == 1
    with pytest.raises(MemoryError):
        guarded(allocate, debug=True)


def test_debug_shows_the_error_itself(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        run("check", "--debug", "--params", str(tmp_path / "none.yaml"))
