"""OpenSSH's own server. Root gets a password account for the run; other users log in by key, as themselves."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest_pipelines_tests.servers.fleet import Fleet, Launched, ServerDown, accepts


@dataclass(frozen=True)
class SftpServer:
    """How to log in, and where the files are.

    Attributes:
        host_key: the server's public key as a connection's `host_key` wants it: `ssh-ed25519 AAAA...`.
        private_key: an OpenSSH private key, as text, that may log in.
        protected_key: the same key, encrypted with `passphrase`.
        password: of the account; None where tests do not run as root.
        root: the server's folder. Tests work in a subfolder of their own: `sftp_folder`.
    """

    host: str
    port: int
    host_key: str
    username: str
    private_key: str
    protected_key: str
    passphrase: str
    password: str | None
    root: str

    def connection(self, *, key: str = "VENDOR_KEY", **more: Any) -> dict[str, Any]:
        """The server as a connection in connections.yaml, with the private key in that variable.

        Args:
            more: keys of the connection that are others: a folder of the server as `root`, a proxy's `port`.
        """
        return {
            "type": "sftp", "host": self.host, "port": self.port, "username": self.username,
            "private_key": {"env": key}, "host_key": self.host_key, "root": self.root, **more,
        }  # fmt: skip


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The server accepts connections."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if sshd is None:
        raise ServerDown("there is no sshd; on Debian: apt-get install openssh-server")
    host_key = _make_key(folder / "host_key")
    _make_key(folder / "client_key")
    shutil.copy2(folder / "client_key", folder / "protected_key")
    passphrase = secrets.token_hex(8)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", passphrase, "-f", folder / "protected_key"], check=True)
    shutil.copy(folder / "client_key.pub", folder / "authorized_keys")
    (folder / "authorized_keys").chmod(0o644)
    root = folder / "files"
    root.mkdir()
    username, password, afterwards = _account(folder)
    account = pwd.getpwnam(username)
    os.chown(root, account.pw_uid, account.pw_gid)
    port = fleet.free_port()
    config = folder / "sshd_config"
    config.write_text(
        f"""
        Port {port}
        ListenAddress 127.0.0.1
        HostKey {folder / "host_key"}
        PidFile none
        AuthorizedKeysFile {folder / "authorized_keys"}
        StrictModes no
        UsePAM no
        PasswordAuthentication {"yes" if password else "no"}
        KbdInteractiveAuthentication no
        AllowUsers {username}
        MaxStartups 100
        MaxSessions 100
        Subsystem sftp internal-sftp
        """
    )
    process = fleet.spawn([sshd, "-D", "-e", "-f", config], folder, lambda: accepts(port))
    facts = SftpServer(
        host="127.0.0.1", port=port, host_key=host_key, username=username,
        private_key=(folder / "client_key").read_text(), protected_key=(folder / "protected_key").read_text(),
        passphrase=passphrase, password=password, root=str(root),
    )  # fmt: skip
    return Launched(facts, process.pid, afterwards=afterwards)


def _make_key(path: Path) -> str:
    """A new ed25519 key pair; its public half without the comment."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path.with_suffix(".pub").read_text().strip()


def _account(folder: Path) -> tuple[str, str | None, list[list[str]]]:
    """Who may log in, with which password, and the commands that remove the account again."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name, None, []
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    username, password = f"ingest{secrets.token_hex(4)}", secrets.token_hex(8)
    digest = subprocess.run(["openssl", "passwd", "-6", password], check=True, capture_output=True, text=True).stdout
    subprocess.run(
        ["useradd", "-M", "-d", str(folder), "-s", "/usr/sbin/nologin", "-p", digest.strip(), username], check=True
    )
    return username, password, [["userdel", "--force", username]]
