"""docs/tutorial.md from its first to its last command, in a new project; what it shows is what is printed.

Numbers and digests may be others on another processor, and are not compared.
"""

import re
import shutil
import subprocess
import sys

import pytest
from doc_pages import ROOT, blocks, read_page
from project_samples import new_project
from ruamel.yaml import YAML

BLOCKS = blocks(read_page("docs/tutorial.md"))
NUMBER = re.compile(r"[0-9a-f]{12,}|[-+]?\d[\d.,]*")
BAR = re.compile(r"(?<=%) +#*")
PICTURE = re.compile(r"^[ .:\-=+*#%@]*$")


class Walk:
    """Runs the page's blocks in one shell's folder after the other."""

    def __init__(self, folder):
        project = new_project(folder / "decant", {})
        shutil.copy(ROOT / "profiles" / "digits.yaml", project.folder / "params.yaml")
        self.folder, self.names, self.printed = project.folder, {}, ""
        self.env = {
            **project.env,
            "COLUMNS": "80",
            "OMP_NUM_THREADS": "1",
        }
        self.remote = folder / "remote"
        self.call("git add . && git commit --quiet --message first")

    def call(self, command):
        done = subprocess.run(
            ["bash", "-c", f"{command} 2>&1\ncode=$?; pwd > {self.remote}.pwd; exit $code"],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        self.folder = type(self.folder)(self.remote.with_name("remote.pwd").read_text().strip())
        return done.stdout

    def console(self, text):
        """Run the commands of a block, each of which prints what follows it."""
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            output = self.call(command.replace("/srv/decant", str(self.remote)))
            assert_shown(shown.splitlines(), output.splitlines(), command)

    def python(self, text):
        self.names["script"] = self.names.get("script", "") + text
        done = subprocess.run(
            [sys.executable, "-c", self.names["script"]],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self.printed = done.stdout

    def yaml(self, text):
        """Add the entries of a block to params.yaml, as the page says."""
        yaml = YAML()
        content = yaml.load(self.folder / "params.yaml")
        for section, entries in yaml.load(text).items():
            content[section].update(entries)
        yaml.dump(content, self.folder / "params.yaml")

    def text(self, text):
        assert_shown(["...", *text.splitlines()], self.printed.splitlines(), "python")


def shape(line):
    """A line without its numbers and their bars; of a picture in letters only that it is one."""
    if PICTURE.match(line):
        return ""
    return " ".join(NUMBER.sub("#", BAR.sub(" ", line.replace("Mixed", "mixed"))).split())


def assert_shown(shown, printed, command):
    """The lines of a page are printed, in order; `...` stands for any lines."""
    if not shown:
        return
    left, skip = [shape(line) for line in printed], False
    for line in shown:
        if line == "...":
            skip = True
            continue
        wanted = shape(line)
        if not wanted:
            continue
        while left and (not left[0] or (skip and left[0] != wanted)):
            left.pop(0)
        assert left, f"{command}: not printed: {line}\n" + "\n".join(printed)
        assert left.pop(0) == wanted, f"{command}: {line}\n" + "\n".join(printed)
        skip = False


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorial_from_first_to_last_command(tmp_path):
    walk = Walk(tmp_path)
    for block in BLOCKS:
        if block.kind != "console setup":
            getattr(walk, block.kind)(block.text)
    assert walk.folder == tmp_path / "colleague"


def test_kinds_of_blocks():
    assert {block.kind for block in BLOCKS} == {
        "console setup",
        "console",
        "yaml",
        "python",
        "text",
    }


def test_lines_are_compared():
    assert_shown(["a 1", "...", "b 2.5"], ["a 7", "", "c", "b 3"], "x")
    with pytest.raises(AssertionError, match="b 2"):
        assert_shown(["a 1", "b 2"], ["a 7", "c", "b 3"], "x")
