"""`decant store mend` with a real DVC: damage goes, whatever links the cache."""

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from store_samples import make_store, tree

from pipeline.tools.verify import verify_store
from stages.dvc.mend import kept_aside
from stages.store.group import store

STORE = Path("data/stores/resnet20.zarr")


def dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "-q", *arguments], check=True)


def mend(code: int = 0) -> str:
    result = CliRunner().invoke(store, ["mend", "resnet20"], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


every_link = pytest.mark.parametrize("project", ["hardlink", "symlink", "copy"], indirect=True)
hardlinks = pytest.mark.parametrize("project", ["hardlink"], indirect=True)


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project with a store that is pushed to a remote in the folder beside it."""
    folder = tmp_path_factory.mktemp(request.param)
    sample = make_store(folder / "sample", views=2)
    (folder / "project/data/stores").mkdir(parents=True)
    shutil.move(sample, folder / "project" / STORE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "project")
        dvc("init", "--no-scm")
        Path(".dvc/config").write_text(
            "[core]\n    analytics = false\n    no_scm = true\n    remote = beside\n"
            f"[cache]\n    type = {request.param}\n['remote \"beside\"']\n    url = ../../remote\n"
        )
        dvc("add", str(STORE))
        dvc("push")
    return folder


@pytest.fixture
def intact(project: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The store's bytes; in the project's folder, all of it being good."""
    monkeypatch.chdir(project / "project")
    assert verify_store(STORE, deep=True) == []
    return tree(STORE)


def rot(path: Path) -> None:
    """Change a byte as a failing disk does: neither time nor mode tell of it."""
    target = path.resolve()
    facts = target.stat()
    target.chmod(facts.st_mode | stat.S_IWUSR)
    with target.open("r+b") as file:
        file.seek(20)
        byte = file.read(1)
        file.seek(20)
        file.write(bytes([byte[0] ^ 1]))
    target.chmod(facts.st_mode)
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@every_link
def test_rot_is_mended_where_dvc_alone_sees_none(intact: dict[str, bytes]) -> None:
    damaged = ["plain/logits/c.1.0.0", "mixed/manifest.json", "mixed/lam/c.0.0"]
    for name in damaged:
        rot(STORE / name)
    (STORE / "clean/test/labels/c.0").unlink()
    text = mend()
    assert text.endswith("resnet20.zarr: good\n")
    assert all(f"dropped {STORE / name}" in text for name in damaged)
    assert tree(STORE) == intact
    # The cache is whole again: everything comes back from it, without the remote.
    shutil.rmtree(STORE)
    dvc("checkout", str(STORE))
    assert verify_store(STORE, deep=True) == []
    assert "nothing to mend" in mend()


@hardlinks
def test_exchanged_files_cost_no_cached_one(intact: dict[str, bytes]) -> None:
    one, other = STORE / "plain/logits/c.0.0.0", STORE / "plain/logits/c.1.0.0"
    cached = len(list(Path(".dvc/cache/files/md5").rglob("*")))
    one.rename("between")
    other.rename(one)
    Path("between").rename(other)
    text = mend()
    assert text.count("dropped") == 2
    assert tree(STORE) == intact
    assert len(list(Path(".dvc/cache/files/md5").rglob("*"))) == cached


@hardlinks
def test_a_damaged_store_of_another_version_becomes_the_one_that_dvc_knows(
    intact: dict[str, bytes], tmp_path: Path
) -> None:
    """As after `git pull`: what only the old version had is no part of the new one."""
    shutil.rmtree(STORE)
    shutil.copytree(make_store(tmp_path, views=4), STORE)
    rot(STORE / "plain/logits/c.3.0.0")
    assert mend().endswith(": good\n")
    assert tree(STORE) == intact


@hardlinks
def test_what_is_nowhere_is_told(intact: dict[str, bytes], project: Path) -> None:
    rot(STORE / "plain/logits/c.1.0.0")
    shutil.rmtree(".dvc/cache")
    (project / "remote").rename(project / "away")
    text = mend(code=1)
    assert "plain/logits/c.1.0.0: missing" in text
    assert "`dvc repro dump@resnet20`" in text
    # Everything else is still there, although DVC would have deleted it.
    assert tree(STORE) == {k: v for k, v in intact.items() if k != "plain/logits/c.1.0.0"}
    assert not list(STORE.parent.glob(".mending*"))
    (project / "away").rename(project / "remote")
    assert mend().endswith(": good\n")
    assert tree(STORE) == intact


def test_what_does_not_belong_is_left_alone(tmp_path: Path) -> None:
    path = make_store(tmp_path, views=1)
    (path / "notes.txt").write_text("mine")
    rot(path / "plain/logits/c.0.0.0")
    before = tree(path)
    result = CliRunner().invoke(store, ["mend", str(path)], catch_exceptions=False)
    assert result.exit_code == 1
    assert "move or delete what does not belong to it first: notes.txt" in result.output
    assert tree(path) == before


def test_what_a_killed_run_kept_aside_comes_back(tmp_path: Path) -> None:
    path = make_store(tmp_path, views=1)
    before = tree(path)
    with contextlib.suppress(KeyboardInterrupt), kept_aside(path):
        shutil.rmtree(path)
        raise KeyboardInterrupt
    assert tree(path) == before
    path.rename(path.parent / f".mending-{path.name}")  # what a kill in its place leaves
    with kept_aside(path):
        assert tree(path) == before
        (path / "plain/zarr.json").unlink()
    assert tree(path) == before
    assert [folder.name for folder in path.parent.iterdir()] == [path.name]


def test_outside_a_project_nothing_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = make_store(tmp_path, views=1)
    rot(path / "plain/logits/c.0.0.0")
    before = tree(path)
    result = CliRunner().invoke(store, ["mend", str(path)], catch_exceptions=False)
    assert result.exit_code == 1
    assert "this is no DVC project" in result.output
    assert tree(path) == before
