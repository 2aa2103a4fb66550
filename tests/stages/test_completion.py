"""Completion as the shells ask for it, without torch; what `decant completion` prints, in a real bash."""

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner
from project_samples import small_params
from workspaces import ROOT, yaml

from stages.cli import main

PROGRAM = "import sys; sys.argv[0] = 'decant'; from stages.cli import main; main()"
PROBE = "; print('torch' in sys.modules or 'zarr' in sys.modules, file=sys.stderr)"


@pytest.fixture
def folder(tmp_path):
    with (tmp_path / "params.yaml").open("w") as file:
        yaml.dump(small_params(), file)
    (tmp_path / "profiles").mkdir()
    for name in ("small", "large"):
        (tmp_path / f"profiles/{name}.yaml").touch()
    (tmp_path / "data/stores/resnet8.zarr").mkdir(parents=True)
    return tmp_path


def completed(folder, line):
    """What bash would offer for a line, of which the last word is being typed."""
    words = line.split()
    cword = len(words) if line.endswith(" ") else len(words) - 1
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "COMP_WORDS": line,
        "COMP_CWORD": str(cword),
        "_DECANT_COMPLETE": "bash_complete",
    }
    program = PROGRAM.replace("main()", f"\ntry:\n    main()\nfinally:\n    pass{PROBE}")
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == "False\n"  # neither torch nor zarr
    return [tuple(item.split(",", 1)) for item in done.stdout.split()]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("decant sta", ["status"]),
        ("decant store ver", ["verify"]),
        ("decant train-student ", ["half", "plain"]),
        ("decant train-student half ", ["plain"]),
        ("decant train-student --no-graph p", ["plain"]),
        ("decant train-teacher r", ["resnet8"]),
        ("decant train-baseline ", ["alone"]),
        ("decant dump ", ["resnet8"]),
        ("decant repro train_s", ["train_student@half", "train_student@plain"]),
        ("decant repro dump@", ["dump@resnet8"]),
        ("decant use ", ["large", "small"]),
        ("decant plan s", ["small"]),
        ("decant store info ", ["resnet8"]),
        ("decant store extend ", ["resnet8"]),
        ("decant plan --measure resnet8", ["resnet8", "resnet8x4"]),
        ("decant import-teacher x.pth --arch wrn_40", ["wrn_40_1", "wrn_40_2"]),
        ("decant completion z", ["zsh"]),
        ("decant train-student --work", ["--workers"]),
    ],
)
def test_names(folder, line, names):
    assert completed(folder, line) == [("plain", name) for name in names]


def test_paths_where_no_name_begins_so(folder):
    assert completed(folder, "decant use ./pro") == [("file", "./pro")]
    assert completed(folder, "decant store info ../sto") == [("dir", "../sto")]


@pytest.mark.parametrize("content", ["", "[", "students: 3", "students: [a]"])
def test_a_parameter_file_that_cannot_be_read_has_no_names(folder, content):
    (folder / "params.yaml").write_text(content)
    assert completed(folder, "decant train-student ") == []


def test_an_edited_parameter_file_is_read_anew(folder):
    assert completed(folder, "decant train-teacher ") == [("plain", "resnet8")]
    content = small_params()
    content["teachers"]["other"] = content["teachers"]["resnet8"]
    with (folder / "params.yaml").open("w") as file:
        yaml.dump(content, file)
    assert completed(folder, "decant train-teacher o") == [("plain", "other")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_code_for_a_shell_says_where_it_goes(shell):
    result = CliRunner().invoke(main, ["completion", shell], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.startswith("# ")
    assert f"decant completion {shell}" in result.output
    assert f"_DECANT_COMPLETE={shell}_complete" in result.output
    assert "%(" not in result.output


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_real_bash_completes_names_with_an_at_sign(folder):
    """Words are split as readline does by the shell's own COMP_WORDBREAKS."""
    tool = folder / "decant"
    tool.write_text(f"#!{sys.executable}\n{PROGRAM}\n")
    tool.chmod(0o755)
    script = (
        'COMP_WORDBREAKS=" @"; eval "$(decant completion bash)"; '
        '[[ "$COMP_WORDBREAKS" == *@* ]] && exit 3; '
        "COMP_WORDS=(decant repro train_student@h); COMP_CWORD=2; "
        '_decant_completion decant; echo "${COMPREPLY[@]}"'
    )
    environment = {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "train_student@half\n"
