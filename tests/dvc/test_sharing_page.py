"""docs/sharing.md, word by word: every command in it is run, in two clones of a small project."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from sharing_ssh import find_sshd, ssh_server
from sharing_team import ROOT, Clone, Team, ran, student, tiny_params, yaml

from pipeline.store.format import errors

PAGE = (ROOT / "docs" / "sharing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash (\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
STORE = Path("data/stores/resnet20.zarr")


def page_params():
    """The small project with the names of the page."""
    content = tiny_params()
    content["teachers"] = {"resnet20": content["teachers"]["resnet8"]}
    content["dumps"] = {"resnet20": content["dumps"]["resnet8"]}
    content["students"] = {"kd": student("plain", 0.0), "half": student("", 0.5)}
    for entry in content["students"].values():
        entry["store"] = entry["store"].replace("resnet8", "resnet20")
    return content


class Walk:
    """Runs the page's blocks in order; each kind of block has a clone of its own."""

    def __init__(self, team, home):
        self.team, self.done = team, []
        first = team.clone("first", HOME=str(home))
        first.dvc("remote", "remove", "team")  # the page adds it
        first.git("commit", "--quiet", "--all", "--message", "No remote yet")
        (team.folder / "second").mkdir()
        second = Clone(team.folder / "second", HOME=str(home), DECANT_DATA="/nowhere")
        self.clones = {"first": first, "second": second, "ssh": first}

    def next(self, kind, expected):
        """Run the next block, which is of this kind; its output holds what is expected."""
        found, text = BLOCKS[len(self.done)]
        assert found == kind, text
        self.done.append(text)
        for name, place in {
            "git@git.example.org:team/study.git": self.team.origin,
            "/srv/decant-cache": self.team.folder / "cache",
            "ssh://storage/srv/decant": f"ssh://storage{self.team.folder}/ssh-remote",
            " /srv/decant\n": f" {self.team.folder}/remote\n",
        }.items():
            text = text.replace(name, str(place))
        output = self.clones[kind].run("bash", "-euo", "pipefail", "-c", text)
        assert expected in output, output
        if text.startswith("git clone"):
            self.clones[kind].folder /= "study"
        return output


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_block_of_the_page(tmp_path):
    (tmp_path / "home").mkdir()
    walk = Walk(Team(tmp_path, params=page_params()), tmp_path / "home")
    first, second = walk.clones["first"], walk.clones["second"]
    walk.next("first", "team")
    walk.next("first", "Running stage 'evaluate'")
    walk.next("second", "")
    walk.next("second", "resnet20.zarr: good (plain; ")
    snippet = yaml.load(re.search(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1])
    second.edit("students/my-student", snippet["students"]["my-student"])
    output = walk.next("second", "Running stage 'train_student@my-student'")
    assert "dvc repro --pull --allow-missing train_student@my-student" in output
    walk.next("second", "Data and pipelines are up to date")
    assert ran(walk.next("second", "Running stage 'evaluate'")) == ["evaluate"]
    walk.next("second", "pushed")
    walk.next("first", "up to date")
    first.edit("teachers/resnet20/seed", 1)
    walk.next("first", "Running stage 'dump@resnet20'")
    walk.next("second", "STALE")
    walk.next("second", "Running stage 'train_student@my-student'")
    walk.next("second", "nothing to mend")
    walk.next("first", "Recomputed with the teacher")
    walk.next("second", "")
    assert second.run("bash", "-c", "ls ../../cache/files/md5").strip()
    if find_sshd() is not None:
        run_over_ssh(walk, tmp_path)
    rest = [kind for kind, _ in BLOCKS[len(walk.done) :]]
    # Those of remote stores are run by tests/store/test_remote_pin.py.
    assert rest == [*([] if find_sshd() else ["ssh"]), "remote", "remote"]


def run_over_ssh(walk, folder):
    with ssh_server(folder / "server") as home:
        walk.clones["ssh"].environment["HOME"] = str(home)
        walk.next("ssh", "pushed")
    assert (folder / "ssh-remote/files/md5").is_dir()


def test_every_other_command_of_the_page_is_one_that_a_message_names_or_a_block_runs():
    text = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    commands = set(re.findall(r"`((?:dvc|decant|git|pip) [^`]+)`", text))
    ran = {line for _, block in BLOCKS for line in block.splitlines()}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    kinds = [kind for kind in kinds if issubclass(kind, errors.StoreError)]
    hints = " ".join(kind(STORE, path, "").hint for kind in kinds for path in ("plain", ""))
    hints = hints.replace(str(STORE), "resnet20") + hints
    unknown = {
        command
        for command in commands
        if f"`{command}`" not in hints and not any(line.startswith(command) for line in ran)
    }
    elsewhere = {
        "decant clean",
        "dvc gc",
        "dvc exp run",
        "decant use",
    }  # run by other tests
    assert unknown == {'pip install -e ".[ssh]"', *elsewhere}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [one for one in extras["optional-dependencies"]["ssh"] if one.startswith("dvc-ssh")]


def test_the_page_names_kinds_of_blocks_that_the_walk_knows():
    fences = re.findall(r"^```(\S.*)$", PAGE, re.MULTILINE)
    assert {"bash first", "bash second", "bash ssh", "bash remote", "yaml"} == set(fences)
    assert len(BLOCKS) == len([fence for fence in fences if fence.startswith("bash")])
    done = subprocess.run(
        ["bash", "-n"], input="".join(b for _, b in BLOCKS), text=True, check=False
    )
    assert done.returncode == 0
