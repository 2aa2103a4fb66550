"""A failing test leaves nothing running; whose clone the tests run in changes nothing."""

import contextlib
import os
import select
import subprocess

from child_processes import running
from project_samples import copy_of_the_project
from sharing_team import Team

STUBBORN = "trap '' TERM; sleep 20 & sleep 1"


def test_a_test_that_fails_leaves_nothing_running(monkeypatch):
    monkeypatch.setattr("child_processes.PATIENCE_SECONDS", 0.1)
    end, theirs = os.pipe()
    failing = contextlib.suppress(ZeroDivisionError)
    with failing, running(["bash", "-c", STUBBORN], stdout=theirs):
        raise ZeroDivisionError
    os.close(theirs)
    with os.fdopen(end) as pipe:
        assert select.select([pipe], [], [], 5)[0], "one that runs still holds its other end"


def test_commits_are_unsigned_and_have_an_author():
    command = ["git", "config", "--global", "--list"]
    settings = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line.partition("=")[0] for line in settings.splitlines()] == [
        *("user.name", "user.email", "safe.directory"),
    ]


def test_a_team_has_no_remote_of_the_clone_that_it_is_made_from(tmp_path, monkeypatch):
    clone = copy_of_the_project(tmp_path / "clone")
    with (clone / ".dvc/config").open("a") as file:
        file.write("['remote \"team\"']\n    url = /srv/decant\n")
    monkeypatch.setattr("project_samples.ROOT", clone)
    team = Team(tmp_path, params={"machine": {}})
    assert "/srv/decant" not in (team.clone("first").folder / ".dvc/config").read_text()
