"""Work folders, durable files, and publishing that a kill cannot spoil."""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.core import files as publish
from pipeline.core.files import (
    PublishError,
    StorageError,
    WorkFolder,
    WorkFolderBusyError,
    canonical_json,
    durable_write,
    rewrite,
    work_folders,
    work_key,
)
from pipeline.core.locks import Holder

ROOT = Path(__file__).resolve().parents[2]
HOST = socket.gethostname()
OLD = {"record.json": b"old", "replicate-0/weights": b"old weights"}
NEW = {"record.json": b"new", "replicate-0/weights": b"new weights", "replicate-1/weights": b"more"}

# Holds a work folder and says so, until it is killed or its input ends.
HOLD = """
import sys
from pathlib import Path
from pipeline.core.files import WorkFolder
with WorkFolder(Path(sys.argv[1]), "key"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holder(root: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.stdin.close()
        process.wait(timeout=20)
        process.stdout.close()


def written(folder: Path, files: dict[str, bytes]) -> dict[str, Path]:
    for name, data in files.items():
        durable_write(folder / name, data)
    return {name: folder / name for name in files}


def content(folder: Path) -> dict[str, bytes] | None:
    if not folder.exists():
        return None
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_canonical_json_is_one_text() -> None:
    assert canonical_json({"b": 1, "a": ["é", None, 0.1]}) == (
        b'{\n "a": [\n  "\\u00e9",\n  null,\n  0.1\n ],\n "b": 1\n}\n'
    )
    assert canonical_json({"b": 1, "a": 2}) == canonical_json({"a": 2, "b": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


def test_work_keys_tell_facts_apart() -> None:
    facts = {"device": "cpu", "seed": 1}
    assert work_key(facts) == work_key(dict(reversed(facts.items())))
    assert len({work_key(facts), work_key({**facts, "seed": 2}), work_key({})}) == 3
    assert len(work_key(facts)) == 16


def test_durable_write_replaces_and_leaves_links_alone(tmp_path: Path) -> None:
    path, link = tmp_path / "deep/er/file", tmp_path / "link"
    durable_write(path, b"one")
    os.link(path, link)
    link.chmod(0o444)
    durable_write(path, b"t", memoryview(b"wo"))
    assert (path.read_bytes(), link.read_bytes()) == (b"two", b"one")
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_file_of_the_user_s_is_rewritten_behind_its_link_and_keeps_its_mode(
    tmp_path: Path,
) -> None:
    path, link = tmp_path / "shared.yaml", tmp_path / "params.yaml"
    path.write_bytes(b"one")
    path.chmod(0o600)
    link.symlink_to(path)
    rewrite(link, b"two")
    assert (link.is_symlink(), path.read_bytes()) == (True, b"two")
    assert path.stat().st_mode & 0o777 == 0o600
    rewrite(tmp_path / "new", b"three")
    assert (tmp_path / "new").read_bytes() == b"three"


@pytest.mark.parametrize("refusal", [errno.ENOSYS, errno.EPERM, errno.EXDEV])
def test_files_are_copied_where_none_can_be_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "link", fail)
    with WorkFolder(tmp_path / ".work", "key") as work:
        durable_write(work.path / "a", b"1")
        work.publish({"a": work.path / "a"}, tmp_path / "out")
        work.remove()
    assert (tmp_path / "out/a").read_bytes() == b"1"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    durable_write(tmp_path / "file", b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(StorageError, match=r"cannot write .*file \(3 bytes\): the disk is full"):
        durable_write(tmp_path / "file", b"new")
    assert content(tmp_path) == {"file": b"old"}


def test_two_writers_of_one_file_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process writes the same file, and is interrupted, just before ours is renamed."""
    path, real = tmp_path / "params.yaml", os.replace

    def killed(*_: object) -> None:
        raise Killed

    def replace(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "replace", killed)
        with pytest.raises(Killed):
            durable_write(path, b"the other one's")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    durable_write(path, b"ours")
    assert content(tmp_path) == {"params.yaml": b"ours"}


def test_what_a_killed_writer_left_is_removed_from_a_work_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "unlink", lambda *_: None)  # the process is killed
    monkeypatch.setattr(os, "replace", lambda *_: None)
    with WorkFolder(tmp_path, "key") as work:
        durable_write(work.path / "replicate-0/checkpoint", b"half")
    monkeypatch.undo()
    assert len(list(tmp_path.rglob(".tmp-*-checkpoint"))) == 1
    with WorkFolder(tmp_path, "key") as work:
        assert content(work.path).keys() == {"lock"}


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.ENOTEMPTY, "another process has just published there"),
        (errno.EACCES, "no permission"),
        (errno.EPERM, "not permitted"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_refusals_of_the_file_system_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    cause = OSError(number, os.strerror(number))

    def fail(*_: object) -> None:
        raise cause

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StorageError, match=advice) as caught:
        durable_write(tmp_path / "file", b"x")
    assert caught.value.__cause__ is cause
    assert isinstance(caught.value, PublishError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into any folder")
def test_a_read_only_folder_is_explained(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StorageError, match="no permission"):
            durable_write(tmp_path / "file", b"x")
        with pytest.raises(StorageError, match="no permission"), WorkFolder(tmp_path, "key"):
            pass
    finally:
        tmp_path.chmod(0o755)


def test_a_file_in_the_way_of_a_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("x")
    with pytest.raises(StorageError, match="cannot use the work folder"):
        WorkFolder(tmp_path / "work", "key").__enter__()


def test_the_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(WorkFolderBusyError) as caught, WorkFolder(tmp_path, "key"):
            pass
        assert caught.value.holder == Holder(HOST, process.pid, f"-c {tmp_path}")
        assert f"in use by process {process.pid} on {HOST} (-c {tmp_path})" in str(caught.value)
        with WorkFolder(tmp_path, "another") as other:
            assert other.path.is_dir()
    with WorkFolder(tmp_path, "key") as mine:
        assert f'"pid": {os.getpid()},' in (mine.path / "lock").read_text()


def test_another_machine_s_process_is_not_taken_for_dead(tmp_path: Path) -> None:
    with holder(tmp_path):
        signed = json.dumps({"host": "node7", "pid": 99999999, "command": "decant dump x"})
        (tmp_path / "key/lock").write_text(signed)
        with pytest.raises(WorkFolderBusyError) as caught:
            WorkFolder(tmp_path, "key").__enter__()
    assert "in use by process 99999999 on node7 (decant dump x). Wait for it" in str(caught.value)


def test_a_killed_holder_does_not_block(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
        assert str(process.pid) in (tmp_path / "key/lock").read_text()
        with WorkFolder(tmp_path, "key"):
            assert str(process.pid) not in (tmp_path / "key/lock").read_text()


def test_what_a_killed_holder_left_running_still_holds(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        signed = json.dumps({"host": HOST, "pid": 99999999, "command": "stages.dump x"})
        (tmp_path / "key/lock").write_text(signed)
        with pytest.raises(WorkFolderBusyError, match="which has ended, left running"):
            WorkFolder(tmp_path, "key").__enter__()
        assert process.poll() is None


def test_a_lock_that_cannot_be_signed_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(StorageError, match="the disk is full"):
            WorkFolder(tmp_path, "key").__enter__()
    with WorkFolder(tmp_path, "key"):
        pass


def test_a_lock_in_one_process_holds_for_itself_too(tmp_path: Path) -> None:
    busy = pytest.raises(WorkFolderBusyError, match=f"process {os.getpid()}")
    with WorkFolder(tmp_path, "key"), busy:
        WorkFolder(tmp_path, "key").__enter__()
    with WorkFolder(tmp_path, "key"), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError


def test_a_removed_folder_is_made_anew(tmp_path: Path) -> None:
    with WorkFolder(tmp_path, "key") as work:
        durable_write(work.path / "file", b"x")
        work.remove()
    assert not work.path.exists()
    with WorkFolder(tmp_path, "key") as work:
        assert content(work.path).keys() == {"lock"}


def test_a_folder_is_gone_before_its_files_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opens it meanwhile makes it anew, and loses nothing."""
    real = publish._remove

    def remove(folder: Path) -> None:
        with WorkFolder(tmp_path, "key") as other:
            durable_write(other.path / "new", b"x")
            real(folder)

    monkeypatch.setattr(publish, "_remove", remove)
    with WorkFolder(tmp_path, "key") as work:
        durable_write(work.path / "old", b"x")
        work.remove()
    assert content(tmp_path / "key").keys() == {"lock", "new"}
    assert [folder.name for folder in tmp_path.iterdir()] == ["key"]


def test_a_folder_removed_while_it_is_locked_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = publish.lock, []

    def lock(handle: int) -> None:
        real(handle)
        calls.append(handle)
        if len(calls) == 1:  # somebody cleans up between our opening and our locking
            (tmp_path / "key/lock").unlink()

    monkeypatch.setattr(publish, "lock", lock)
    with WorkFolder(tmp_path, "key") as work:
        assert len(calls) == 2
        assert f'"pid": {os.getpid()},' in (work.path / "lock").read_text()


def test_a_folder_removed_while_its_lock_is_made_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.open, []

    def opened(path: Path, *arguments: int) -> int:
        calls.append(path)
        if (
            len(calls) == 1
        ):  # somebody cleans up between our making the folder and our opening the lock
            os.rename(tmp_path / "key", tmp_path / "key.removed-1")
        return real(path, *arguments)

    monkeypatch.setattr(publish.os, "open", opened)
    with WorkFolder(tmp_path, "key") as work:
        assert work.path.is_dir()
        assert calls[:2] == [work.path / "lock"] * 2


@pytest.mark.parametrize(
    "what", ["a link to nothing", "a pipe", "a lock that is a link to nothing"]
)
def test_what_is_no_folder_is_explained(tmp_path: Path, what: str) -> None:
    key = tmp_path / "key"
    if what == "a pipe":
        os.mkfifo(key)
    elif what == "a link to nothing":
        key.symlink_to(tmp_path / "nothing")
    else:
        key.mkdir()
        (key / "lock").symlink_to(tmp_path / "nothing" / "lock")
    with (
        pytest.raises(StorageError, match="cannot use the work folder"),
        WorkFolder(tmp_path, "key"),
    ):
        pass


def test_removing_leaves_nothing_where_open_files_keep_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS does it: a file that is deleted while it is open is renamed, and its folder is not empty."""
    real = os.unlink

    def unlink(path: str, *, dir_fd: int) -> None:
        facts = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        if any(os.path.samestat(facts, other) for other in open_files()):
            os.rename(path, ".nfs1", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        else:
            real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    with WorkFolder(tmp_path, "key") as work:
        (work.path / "file").write_bytes(b"x")
        work.remove()
    assert list(tmp_path.iterdir()) == []


def open_files() -> Iterator[os.stat_result]:
    for handle in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            yield os.fstat(int(handle))


def test_a_removal_that_was_killed_is_ended(tmp_path: Path) -> None:
    (tmp_path / "key.removed-1" / "inside").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    assert work_folders(tmp_path) == [tmp_path / "other"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other"]
    assert work_folders(tmp_path / "none") == []


REMOVE = """
import sys
from pathlib import Path
from pipeline.core.files import WorkFolder, WorkFolderBusyError, work_folders
for _ in range(150):
    for old in [*work_folders(Path(sys.argv[1])), Path(sys.argv[1], "key")]:
        try:
            with WorkFolder(old.parent, old.name) as work:
                work.remove()
        except WorkFolderBusyError:
            pass
"""


def test_processes_that_make_and_remove_the_same_folders_do_not_collide(tmp_path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", REMOVE, tmp_path], cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [process.communicate()[1].decode() for process in started] == [""] * 3


def test_publishing_makes_the_target_exactly_the_files(tmp_path: Path) -> None:
    target = tmp_path / "results" / "student"
    for files in (OLD, NEW, OLD):
        with WorkFolder(tmp_path / ".work", "key") as work:
            work.publish(written(work.path / "done", files), target)
        assert content(target) == files
    assert content(work.path).keys() == {"lock", *(f"done/{name}" for name in {**OLD, **NEW})}


def test_published_files_share_their_bytes_with_the_work_folder(tmp_path: Path) -> None:
    with WorkFolder(tmp_path, "key") as work:
        files = written(work.path, OLD)
        work.publish(files, tmp_path / "out")
        for name, path in files.items():
            assert path.samefile(tmp_path / "out" / name)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP])
def test_files_that_cannot_be_linked_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", fail)
    with WorkFolder(tmp_path, "key") as work:
        files = written(work.path, NEW)
        work.publish(files, tmp_path / "out")
        assert not files["record.json"].samefile(tmp_path / "out/record.json")
    assert content(tmp_path / "out") == NEW


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", ""])
def test_names_outside_the_target_are_refused(tmp_path: Path, name: str) -> None:
    with WorkFolder(tmp_path, "key") as work:
        files = written(work.path, {"fine": b"x"})
        with pytest.raises(ValueError, match="not a path inside"):
            work.publish({name: files["fine"]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_source_leaves_the_target_alone(tmp_path: Path) -> None:
    with WorkFolder(tmp_path, "key") as work:
        work.publish(written(work.path, OLD), tmp_path / "out")
        with pytest.raises(StorageError, match="cannot publish"):
            work.publish({"record.json": work.path / "nowhere"}, tmp_path / "out")
    assert content(tmp_path / "out") == OLD


def test_read_only_and_linked_files_are_replaced(tmp_path: Path) -> None:
    """What DVC makes of an output: read-only files, or links into its cache."""
    target = tmp_path / "out"
    with WorkFolder(tmp_path, "key") as work:
        work.publish(written(work.path / "old", OLD), target)
        cached = tmp_path / "cache"
        (target / "record.json").rename(cached)
        (target / "record.json").symlink_to(cached)
        (target / "replicate-0/weights").chmod(0o444)
        work.publish(written(work.path / "new", NEW), target)
    assert content(target) == NEW
    assert cached.read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_folder_is_replaced_too(tmp_path: Path, kind: str) -> None:
    target, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    if kind == "link":
        target.symlink_to(elsewhere)
    else:
        target.write_text("a file")
    with WorkFolder(tmp_path, "key") as work:
        work.publish(written(work.path, NEW), target)
    assert content(target) == NEW
    assert not target.is_symlink()
    assert content(elsewhere) == {"kept": b"x"}


class Killed(BaseException):
    """Stands for the end of the process: nothing in the code catches it."""


STEPS = ("link", "rename", "fsync", "mkdir", "unlink", "rmdir")


def interrupt(
    patch: pytest.MonkeyPatch, step: int, error: Callable[[], BaseException]
) -> list[str]:
    """Make the step-th file operation of publishing the last one, by kill or by refusal."""
    done: list[str] = []
    for name in STEPS:
        real = getattr(os, name)

        def operation(*args, real=real, name=name, **options):
            if len(done) >= step:
                raise error()
            done.append(name)
            return real(*args, **options)

        patch.setattr(os, name, operation)
    return done


def published_twice(folder: Path, after_first: Callable[[], object]) -> None:
    for number, files in enumerate((OLD, NEW)):
        with WorkFolder(folder / ".work", "key") as work:
            sources = written(work.path / f"done-{number}", files)
            if number:
                after_first()
            work.publish(sources, folder / "out")


def test_a_kill_at_any_step_is_mended_by_publishing_again(tmp_path: Path) -> None:
    counted: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        published_twice(
            tmp_path / "counted", lambda: counted.append(interrupt(patch, 10**6, Killed))
        )
    steps = len(counted[0])
    assert {"link", "rename", "fsync", "rmdir"} <= set(counted[0])
    absent = 0
    for step in range(steps):
        folder = tmp_path / f"killed-{step}"
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            published_twice(folder, lambda p=patch, s=step: interrupt(p, s, Killed))
        found = content(folder / "out")
        assert found in (OLD, NEW, None), step
        absent += found is None
        with WorkFolder(folder / ".work", "key") as work:
            sources = {name: work.path / "done-1" / name for name in NEW}
            work.publish(sources, folder / "out")
            assert content(folder / "out") == NEW
            assert not (work.path / "publish").exists()
    assert absent == 1  # only between the two renames is there nothing to read


def test_a_refusal_at_any_step_leaves_old_or_new(tmp_path: Path) -> None:
    def full() -> OSError:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    counted: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        published_twice(tmp_path / "counted", lambda: counted.append(interrupt(patch, 10**6, full)))
    for step in range(len(counted[0])):
        folder = tmp_path / f"refused-{step}"
        if counted[0][step] == "rename" and counted[0][:step].count("rename") == 1:
            continue  # refuses for good from here on, so not even the old one can come back
        full_disk = pytest.raises(StorageError, match="the disk is full")
        with pytest.MonkeyPatch.context() as patch, full_disk:
            published_twice(folder, lambda p=patch, s=step: interrupt(p, s, full))
        assert content(folder / "out") in (OLD, NEW), step


def test_a_refused_second_rename_brings_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.rename, []

    def rename(*args: Path) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise OSError(errno.EACCES, "Permission denied")
        real(*args)

    with WorkFolder(tmp_path, "key") as work:
        work.publish(written(work.path / "old", OLD), tmp_path / "out")
        sources = written(work.path / "new", NEW)
        monkeypatch.setattr(os, "rename", rename)
        with pytest.raises(StorageError, match="no permission"):
            work.publish(sources, tmp_path / "out")
    assert len(calls) == 3
    assert content(tmp_path / "out") == OLD


def between_the_renames(patch: pytest.MonkeyPatch, folder: Path, then: Callable) -> None:
    """Publish NEW over OLD; Ctrl-C comes between the two renames, and `then` is each later rename."""
    real, calls = os.rename, []

    def rename(*args: Path) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        (real if len(calls) == 1 else then)(*args)

    with WorkFolder(folder / ".work", "key") as work:
        work.publish(written(work.path / "old", OLD), folder / "out")
        sources = written(work.path / "new", NEW)
        patch.setattr(os, "rename", rename)
        with pytest.raises((KeyboardInterrupt, Killed)):
            work.publish(sources, folder / "out")


def test_ctrl_c_between_the_renames_brings_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    between_the_renames(monkeypatch, tmp_path, os.rename)
    assert content(tmp_path / "out") == OLD


def test_a_refusal_after_a_kill_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    def killed(*_: object) -> None:
        raise Killed

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        between_the_renames(patch, tmp_path, killed)
    assert not (tmp_path / "out").exists()
    with WorkFolder(tmp_path / ".work", "key") as work, pytest.MonkeyPatch.context() as patch:
        sources = written(work.path / "new", NEW)
        patch.setattr(os, "link", full)
        with pytest.raises(StorageError, match="the disk is full"):
            work.publish(sources, tmp_path / "out")
    assert content(tmp_path / "out") == OLD


def test_publishing_needs_the_lock(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        WorkFolder(tmp_path, "key").publish({}, tmp_path / "out")


def test_the_lock_names_a_command_that_people_recognise(tmp_path: Path) -> None:
    with WorkFolder(tmp_path, "key") as work:
        signed = json.loads((work.path / "lock").read_text())
    assert signed == {"host": HOST, "pid": os.getpid(), "command": " ".join(sys.argv)}


def test_facts_of_a_key_are_plain_values() -> None:
    assert work_key({"a": (1, 2)}) == work_key(json.loads('{"a": [1, 2]}'))
    with pytest.raises(TypeError):
        work_key({"a": object()})
