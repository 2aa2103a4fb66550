"""Locks of files: who holds one, and how far it reaches.

flock excludes the processes of every machine that shares a disk, where its file system does so: NFS, GPFS,
CephFS, Lustre mounted with `flock`. Others refuse, keep no lock at all, or keep it within each machine. The
first two are found by trying, the last by the options of the mount: one machine cannot try it.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

_MOUNTS = Path("/proc/self/mounts")
_REFUSED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_LONGEST_COMMAND = 1000  # characters
_NFS = frozenset({"nolock", "local_lock=all", "local_lock=flock"})
_SMB = frozenset({"nobrl"})
# Options of a mount with which a lock excludes the processes of one machine alone. (Lustre without `flock`
# and `localflock` refuses to lock.)
_ONE_MACHINE = {
    "nfs": _NFS,
    "nfs4": _NFS,
    "lustre": frozenset({"localflock"}),
    "gfs2": frozenset({"localflocks"}),
    "ocfs2": frozenset({"localflocks"}),
    "cifs": _SMB,
    "smb3": _SMB,
}


@dataclass(frozen=True)
class Holder:
    """The process that signed a lock file, as far as it is known."""

    host: str | None = None
    pid: int | None = None
    command: str = ""

    @classmethod
    def this_process(cls) -> "Holder":
        """The process that asks."""
        return cls(socket.gethostname(), os.getpid(), " ".join(sys.argv)[:_LONGEST_COMMAND])

    @classmethod
    def of(cls, handle: int) -> "Holder":
        """Who signed an open lock file; nobody known where it is empty, or not as `sign` writes it."""
        try:
            facts = json.loads(os.pread(handle, 8192, 0))
            host, pid, command = facts["host"], facts["pid"], facts["command"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return cls()
        is_whole = isinstance(host, str) and isinstance(pid, int) and isinstance(command, str)
        return cls(host, pid, command) if is_whole else cls()

    def __str__(self) -> str:
        if self.pid is None:
            return "another process"
        return f"process {self.pid} on {self.host} ({self.command})"

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is a process of another machine, of which nothing can be told here."""
        return self.host is not None and self.host != socket.gethostname()

    @property
    def has_ended(self) -> bool:
        """Whether it is known to run no more: of a process on this machine only."""
        return self.pid is not None and not self.is_elsewhere and not _is_alive(self.pid)


def lock(handle: int) -> None:
    """Lock an open file for this process.

    Raises BlockingIOError where another process has it, and OSError with ENOLCK where the file system
    refuses to lock.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _REFUSED:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)) from error
        raise


def check_kept(path: Path, handle: int) -> None:
    """Check that a file which this process has locked is locked: opened again, it has to be refused.

    Raises OSError with ENOLCK where the file system says yes to every lock.
    """
    second = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.path.samestat(os.fstat(second), os.fstat(handle)):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    except BlockingIOError:
        pass
    finally:
        os.close(second)


def sign(handle: int) -> None:
    """Write into a lock file who holds it; synced, so that other machines can read it meanwhile."""
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(asdict(Holder.this_process())).encode("ascii") + b"\n", 0)
    os.fsync(handle)


def sign_off(handle: int) -> None:
    """Take the signature out again: what is left in a lock file is of a process that ended without."""
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)


@dataclass(frozen=True)
class Mount:
    """A line of the system's table of mounts: where, which type of file system, with which options."""

    folder: Path
    kind: str
    options: tuple[str, ...]


def mount_of(path: Path, table: str) -> Mount | None:
    """The mount that a path lies on, in a table as /proc/mounts has it; None where the table has none."""
    mounts = [
        Mount(Path(_unescaped(folder)), kind, tuple(options.split(",")))
        for _, folder, kind, options, *_ in map(str.split, table.splitlines())
    ]
    real = path.resolve()
    above = [mount for mount in mounts if real.is_relative_to(mount.folder)]
    # The longest folder; of several mounts on one folder the last one hides the others.
    return max(reversed(above), key=lambda mount: len(mount.folder.parts), default=None)


def one_machine_mount(path: Path, table: str | None = None) -> str | None:
    """The mount of a path, in words, where its options keep locks within each machine; else None.

    Args:
        table: of mounts, as /proc/mounts has it; None: this system's, where it has one.
    """
    if table is None:
        table = _MOUNTS.read_text(errors="replace") if _MOUNTS.exists() else ""
    mount = mount_of(path, table)
    if mount is None:
        return None
    local = [option for option in mount.options if option in _ONE_MACHINE.get(mount.kind, ())]
    return f"{mount.kind} at {mount.folder} with {', '.join(local)}" if local else None


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's
    return True
