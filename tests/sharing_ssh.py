"""An OpenSSH server of a test's own, on the loopback address, with keys and settings of its own."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

SBIN = "/usr/sbin:/sbin:/usr/local/sbin"
DEADLINE = 20  # seconds until the server answers
PRIVILEGE_SEPARATION = Path("/run/sshd")


def find_sshd():
    """Path of the OpenSSH server; None where it is not installed."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:{SBIN}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def make_key(path):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True)
    return path.with_suffix(".pub").read_text()


def write_private(path, text):
    path.write_text(text)
    path.chmod(0o600)


@contextlib.contextmanager
def ssh_server(folder):
    """A home folder from which `ssh://storage/...` reaches a server that runs inside the `with`."""
    server, home = folder / "sshd", folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    server.mkdir(mode=0o700)
    host_key = make_key(server / "host_key")
    write_private(server / "authorized_keys", make_key(home / ".ssh" / "id_test"))
    port = free_port()
    write_private(server / "config", server_config(server, port))
    write_private(home / ".ssh" / "config", client_config(home, port))
    write_private(home / ".ssh" / "known_hosts", f"[127.0.0.1]:{port} {host_key}")
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    with (server / "log").open("wb") as log:
        command = [find_sshd(), "-D", "-e", "-f", str(server / "config")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(process, port, server / "log")
        yield home
    finally:
        process.terminate()
        process.wait(timeout=10)


def server_config(folder, port):
    """Keys only, for whoever runs the tests, and nothing of the machine's own configuration."""
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder}/host_key",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "PidFile none",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "StrictModes no",
        "MaxStartups 100",
        "MaxSessions 100",
        "Subsystem sftp internal-sftp",
    ]
    return "\n".join(lines) + "\n"


def client_config(home, port):
    lines = [
        "Host storage",
        "  HostName 127.0.0.1",
        f"  Port {port}",
        f"  User {getpass.getuser()}",
        f"  IdentityFile {home}/.ssh/id_test",
    ]
    return "\n".join(lines) + "\n"


def wait_for(process, port, log):
    """Return when the server answers; an AssertionError with its log where it ends or never does."""
    deadline = time.monotonic() + DEADLINE
    while True:
        assert process.poll() is None, f"sshd ended: {log.read_text()}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as tcp:
            tcp.settimeout(5)
            if tcp.recv(4) == b"SSH-":
                return
        assert time.monotonic() < deadline, f"sshd does not answer: {log.read_text()}"
        time.sleep(0.05)
