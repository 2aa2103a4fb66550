"""Locks: who holds one, which file systems keep none, and which mounts keep them within a machine."""

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import locks
from pipeline.core.files import StorageError, WorkFolder, WorkFolderBusyError
from pipeline.core.locks import Holder, Mount, mount_of, one_machine_mount, sign, sign_off

ROOT = Path(__file__).resolve().parents[2]
LOCAL = "/dev/sda1 / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n"
NFS = LOCAL + (
    "srv:/a /srv/a nfs4 rw,vers=4.2,clientaddr=10.0.0.2,local_lock=none,addr=10.0.0.1 0 0\n"
    "srv:/b /srv/b nfs rw,vers=3,nolock,mountproto=udp,local_lock=all,addr=10.0.0.1 0 0\n"
    "srv:/c /srv/c nfs rw,vers=3,local_lock=flock,addr=10.0.0.1 0 0\n"
    "srv:/d /srv/d nfs rw,vers=3,local_lock=posix,addr=10.0.0.1 0 0\n"
    "srv:/a/sub /srv/a/deep/er nfs rw,vers=3,local_lock=flock,addr=10.0.0.1 0 0\n"
    "srv:/e /srv/my\\040disk nfs rw,local_lock=all 0 0\n"
    "mgs@tcp:/fs /lus lustre rw,flock,lazystatfs 0 0\n"
    "mgs@tcp:/fs /scratch lustre rw,localflock,lazystatfs 0 0\n"
    "//srv/f /smb cifs rw,vers=3.1.1,nobrl 0 0\n"
    "gpfs0 /gpfs gpfs rw,relatime 0 0\n"
    "auto /home autofs rw,fd=7 0 0\n"
    "srv:/home /home nfs rw,local_lock=all 0 0\n"
    "srv:/x /srv/x nfs rw,local_lock=all 0 0\n"
    "srv:/x /srv/x nfs4 rw,local_lock=none 0 0\n"
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/home/me/study", "nfs at /home with local_lock=all"),
        ("/srv/b", "nfs at /srv/b with nolock, local_lock=all"),
        ("/srv/c/x/y", "nfs at /srv/c with local_lock=flock"),
        ("/srv/a/deep/er/x", "nfs at /srv/a/deep/er with local_lock=flock"),
        ("/srv/my disk/x", "nfs at /srv/my disk with local_lock=all"),
        ("/scratch/study", "lustre at /scratch with localflock"),
        ("/smb/x", "cifs at /smb with nobrl"),
        *((path, None) for path in ("/srv/a", "/srv/a/deep", "/srv/d/x", "/lus/x", "/gpfs/x")),
        *((path, None) for path in ("/srv", "/srv/bb", "/srv/x/y", "/tmp")),
    ],
)
def test_mounts_that_keep_locks_within_a_machine(path: str, found: str | None) -> None:
    assert one_machine_mount(Path(path), NFS) == found


def test_the_mount_of_a_link_is_that_of_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    table = f"{LOCAL}srv:/x {tmp_path / 'there'} nfs rw,nolock 0 0\n"
    assert one_machine_mount(tmp_path / "link/work", table) is not None
    assert one_machine_mount(tmp_path, table) is None
    assert mount_of(tmp_path, LOCAL) == Mount(Path("/"), "ext4", ("rw", "relatime"))
    assert mount_of(tmp_path, "") is None


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="a system without the table")
def test_this_system_s_own_table_is_read(tmp_path: Path) -> None:
    mount = mount_of(tmp_path, Path("/proc/self/mounts").read_text())
    assert mount is not None
    assert mount.folder.stat().st_dev == tmp_path.stat().st_dev


def test_without_a_table_no_mount_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_MOUNTS", tmp_path / "none")
    assert one_machine_mount(tmp_path) is None


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_that_refuses_to_lock_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match=r"keeps no locks.*docs/clusters.md"):
        WorkFolder(tmp_path, "key").__enter__()


def test_a_file_system_that_says_yes_to_every_lock_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lambda handle, how: handles.append(handle))
        with pytest.raises(StorageError, match="keeps no locks"):
            WorkFolder(tmp_path, "key").__enter__()
    for handle in handles:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(handle)
    with WorkFolder(tmp_path, "key"):
        pass


def test_other_refusals_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        WorkFolder(tmp_path, "key").__enter__()


def test_a_signature_is_there_until_it_is_taken_out(tmp_path: Path) -> None:
    handle = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    try:
        assert Holder.of(handle) == Holder()
        sign(handle)
        signed = Holder.of(handle)
        assert (signed.host, signed.pid) == (socket.gethostname(), os.getpid())
        assert "pytest" in signed.command or "xdist" in signed.command or "-c" in signed.command
        sign_off(handle)
        assert os.fstat(handle).st_size == 0
    finally:
        os.close(handle)


@pytest.mark.parametrize("text", [b"", b"123\nold\n", b'{"host": 1}', b"[]", b'{"host":', b"\xff"])
def test_what_is_no_signature_names_nobody(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "lock").write_bytes(text)
    handle = os.open(tmp_path / "lock", os.O_RDWR)
    try:
        assert Holder.of(handle) == Holder()
        assert str(Holder.of(handle)) == "another process"
    finally:
        os.close(handle)


def test_only_of_its_own_machine_is_a_process_known_to_have_ended() -> None:
    here = socket.gethostname()
    assert Holder(here, 99999999, "x").has_ended
    assert not Holder(here, os.getpid(), "x").has_ended
    assert not Holder("node7", 99999999, "x").has_ended
    assert not Holder().has_ended


def test_a_work_folder_keeps_no_signature_when_it_is_left(tmp_path: Path) -> None:
    with WorkFolder(tmp_path, "key") as work:
        assert (work.path / "lock").stat().st_size > 0
    assert (tmp_path / "key/lock").read_bytes() == b""


def left_by_another_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file as a process of another machine leaves it that works still, or was killed."""
    folder.mkdir(parents=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "node7")
        sign(handle)
    os.close(handle)


def test_where_locks_stay_within_a_machine_another_s_signature_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by_another_machine(tmp_path / "key", monkeypatch)
    table = tmp_path / "mounts"
    table.write_text(f"{LOCAL}srv:/x {tmp_path} nfs rw,local_lock=all 0 0\n")
    monkeypatch.setattr(locks, "_MOUNTS", table)
    with pytest.raises(WorkFolderBusyError) as caught:
        WorkFolder(tmp_path, "key").__enter__()
    text = str(caught.value)
    assert f"signed by process {os.getpid()} on node7" in text
    assert f"(nfs at {tmp_path} with local_lock=all)" in text
    assert f"delete {tmp_path / 'key/lock'}" in text
    (tmp_path / "key/lock").unlink()
    with WorkFolder(tmp_path, "key"):
        pass
    with WorkFolder(tmp_path, "key"):  # after one's own
        pass


def test_where_locks_reach_other_machines_the_lock_alone_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by_another_machine(tmp_path / "key", monkeypatch)
    table = tmp_path / "mounts"
    table.write_text(f"{LOCAL}srv:/x {tmp_path} nfs4 rw,local_lock=none 0 0\n")
    monkeypatch.setattr(locks, "_MOUNTS", table)
    with WorkFolder(tmp_path, "key") as work:
        assert '"node7"' not in (work.path / "lock").read_text()


HOLD = """
import sys
from pathlib import Path
from pipeline.core.files import WorkFolder
with WorkFolder(Path(sys.argv[1]), "key"):
    print("held", flush=True)
    sys.stdin.read()
"""
NAMED = [
    "unshare",
    "--user",
    "--map-root-user",
    "--uts",
    "sh",
    "-c",
    'hostname node7; exec "$@"',
    "-",
]


def can_take_another_name() -> bool:
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run([*NAMED, "hostname"], capture_output=True, text=True, check=False)
    return done.stdout.strip() == "node7"


@pytest.mark.skipif(not can_take_another_name(), reason="no name spaces here")
def test_a_process_with_another_host_name_is_named_and_its_end_frees_the_folder(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [*NAMED, sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(WorkFolderBusyError) as caught:
            WorkFolder(tmp_path, "key").__enter__()
        process.kill()
    assert f"in use by process {process.pid} on node7 (-c {tmp_path})" in str(caught.value)
    with WorkFolder(tmp_path, "key"):
        pass
