"""Stores that teammates share: real git clones, real DVC remotes, and the flow in both directions."""

import pytest
from sharing_ssh import find_sshd, ssh_server
from sharing_team import Team, ran, student


def publish_first_results(team, *targets):
    """The first clone trains, dumps and pushes everything."""
    first = team.clone("first")
    assert first.repro(*targets)[:4] == [
        "check",
        "prepare",
        "train_teacher@resnet8",
        "dump@resnet8",
    ]
    first.commit("Teacher, store and a student")
    return first


def add_a_student_and_send_it_back(team, first):
    """The second clone trains one student from the pulled store; the first one gets the result."""
    second = team.clone("second", DECANT_DATA="/nowhere")
    second.edit("students/mine", student("plain", 0.0, seed=77))
    assert second.repro_students("plain", "mine") == ["check", "train_student@mine"]
    assert second.groups() == {"plain"}
    assert second.files("data/prepared") == first.files("data/prepared")
    assert not (second.folder / "data/teachers/resnet8").exists()
    assert not (second.folder / "data/students/plain").exists()
    second.commit("My student")
    first.git("pull", "--quiet")
    first.dvc("pull", "train_student@mine")
    assert first.files("data/students/mine") == second.files("data/students/mine")
    assert first.repro("train_student@mine") == []
    return second


@pytest.mark.slow
def test_a_teammate_adds_a_student_without_teacher_or_raw_data(tmp_path):
    team = Team(tmp_path)
    first = publish_first_results(team, "train_student@plain")
    add_a_student_and_send_it_back(team, first)


@pytest.mark.slow
@pytest.mark.skipif(find_sshd() is None, reason="sshd is missing: install openssh-server")
def test_over_ssh_with_everything_up_to_the_report(tmp_path, monkeypatch):
    with ssh_server(tmp_path) as home:
        monkeypatch.setenv("HOME", str(home))
        team = Team(tmp_path, f"ssh://storage{tmp_path}/remote")
        first = publish_first_results(team)
        second = add_a_student_and_send_it_back(team, first)
        assert second.repro_students("mine") == []
        # A parameter of a student that reads both groups: the rest of the store comes too.
        second.edit("students/half/seed", 6)
        output = second.decant("repro", "train_student@half")
        assert "here in part: dvc pull data/stores/resnet8.zarr" in output
        assert ran(output) == ["check", "train_student@half"]
        assert second.groups() == {"clean", "plain", "mixed"}
        # The report needs the others' networks, and nothing of them is trained.
        assert ran(second.decant("repro")) == ["evaluate"]
        second.commit("Half, and the report")
        first.git("pull", "--quiet")
        output = first.decant("repro")
        assert ran(output) == []
        assert "dvc pull evaluate train_student@half\n" in output
        assert "Nothing has changed since these results were made" in output
        assert first.files("reports") == second.files("reports")
        assert first.status() == {}
    assert any((tmp_path / "remote/files/md5").glob("??/*.dir"))
    assert "Accepted publickey" in (tmp_path / "sshd/log").read_text()
