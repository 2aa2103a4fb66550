"""DVC's linked caches, whose results are read-only, and a cache that two clones share."""

import hashlib

import pytest
from sharing_team import STORE, Clone, Team, ran, student

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
VIEW = f"{STORE}/plain/logits/c.0.0.0"
CACHE_TYPES = ["hardlink", "symlink"]


def damaged(cache):
    """Files of a cache that are not what their names say."""
    files = [path for path in cache.glob("files/md5/??/*") if path.suffix != ".unpacked"]
    assert files
    return [
        path
        for path in files
        if hashlib.md5(path.read_bytes()).hexdigest() != path.parent.name + path.stem
    ]


def is_linked(clone, kind):
    """Whether a view is a link into a cache, and read-only."""
    path = clone.folder / VIEW
    linked = path.is_symlink() if kind == "symlink" else path.stat().st_nlink > 1
    return linked and not path.stat().st_mode & 0o222


@pytest.fixture
def team(tmp_path):
    return Team(tmp_path)


@pytest.mark.parametrize("kind", CACHE_TYPES)
def test_every_command_works_with_read_only_results(team, kind):
    clone: Clone = team.clone("clone")
    clone.dvc("config", "--local", "cache.type", kind)
    cache = clone.folder / ".dvc/cache"
    clone.repro("train_student@plain")
    assert is_linked(clone, kind)
    first = (clone.folder / VIEW).read_bytes()
    output = clone.decant("store", "extend", "resnet8", "--views", "3", "--group", "plain")
    assert ran(output) == ["check", "dump@resnet8"]
    assert (clone.folder / VIEW).read_bytes() == first
    assert "good" in clone.decant("store", "verify", "resnet8", "--deep")
    assert "freed" in clone.decant("clean")
    clone.edit("dumps/resnet8/seed", 1)
    assert clone.repro("train_student@plain") == ["check", "dump@resnet8", "train_student@plain"]
    assert is_linked(clone, kind)
    assert (clone.folder / VIEW).read_bytes() != first
    # By hand, over what is linked: the cached files keep their bytes.
    clone.edit("dumps/resnet8/seed", 2)
    clone.decant("dump", "resnet8")
    clone.edit("students/plain/seed", 6)
    clone.decant("train-student", "plain")
    clone.edit("dataset/seed", 1)
    clone.decant("prepare")
    clone.decant("clean")
    assert "good" in clone.decant("store", "verify", "resnet8", "--deep")
    assert damaged(cache) == []


@pytest.mark.parametrize("kind", CACHE_TYPES)
def test_two_clones_share_a_cache(team, kind):
    first, second = team.clone("first"), team.clone("second")
    cache = team.folder / "shared"
    for clone in (first, second):
        clone.dvc("cache", "dir", "--local", str(cache))
        clone.dvc("config", "--local", "cache.type", kind)
        clone.dvc("config", "--local", "cache.shared", "group")
    first.repro("train_student@plain")
    first.git("add", "--all")
    first.git("commit", "--quiet", "--message", "Teacher, store and a student")
    first.git("push", "--quiet")
    second.git("pull", "--quiet")
    before = first.files(STORE)
    # Nothing was pushed: the cache is enough.
    second.edit("students/mine", student("plain", 0.0, seed=77))
    assert second.repro_students("mine") == ["check", "train_student@mine"]
    assert is_linked(second, kind)
    assert second.groups() == {"plain"}
    # By `decant repro` too, in a clone that knows no remote; it links the store whole, which costs nothing.
    third = team.clone("third")
    third.dvc("remote", "remove", "team")
    third.dvc("cache", "dir", "--local", str(cache))
    third.edit("students/mine", student("plain", 0.0, seed=78))
    assert ran(third.decant("repro", "train_student@mine")) == ["check", "train_student@mine"]
    assert third.groups() == {"clean", "plain", "mixed"}
    # What the second clone does to its store is not seen in the first one.
    output = second.decant("store", "extend", "resnet8", "--views", "3")
    assert ran(output) == ["check", "dump@resnet8"]
    second.edit("dumps/resnet8/seed", 1)
    assert ran(second.decant("repro", "train_student@mine")) == [
        "check",
        "dump@resnet8",
        "train_student@mine",
    ]
    assert "freed" in second.decant("clean")
    assert first.files(STORE) == before
    assert first.status("dump@resnet8", "train_student@plain") == {}
    for clone in (first, second):
        assert "good" in clone.decant("store", "verify", "resnet8", "--deep")
    assert damaged(cache) == []
    assert not team.remote_exists
