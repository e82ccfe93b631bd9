"""SFTP: the contract against OpenSSH's server, logins, host keys."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ingest_pipelines.config.connections.sftp import SftpConnection
from ingest_pipelines.errors import ItemGone, SourceDenied
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import FileSource
from ingest_pipelines.sources.sftp import Sftp
from ingest_pipelines_tests.servers.cut_proxy import CutProxy
from ingest_pipelines_tests.servers.sftp import SftpServer
from ingest_pipelines_tests.sources.contract import NetworkContract, SecretFiles, SourceContract
from ingest_pipelines_tests.waiting import until

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"


class SftpPlace(SecretFiles):
    """A folder of the SFTP server, which tests also see as a local one."""

    unkept: frozenset[str] = frozenset()

    def __init__(self, server: SftpServer, folder: Path, secrets_folder: Path) -> None:
        super().__init__(secrets_folder)
        self.server, self.folder = server, folder
        lines = server.private_key.strip().splitlines()[1:-1]
        self.secrets = (*lines, server.passphrase, *([server.password] if server.password else []))

    def connection(self, **changes: object) -> SftpConnection:
        """A connection of this folder; by key unless told otherwise."""
        settings: dict[str, object] = {
            "type": "sftp", "host": self.server.host, "port": self.server.port, "username": self.server.username,
            "private_key": self.secret(self.server.private_key), "host_key": self.server.host_key,
            "root": str(self.folder), **changes,
        }  # fmt: skip
        return SftpConnection.model_validate({key: value for key, value in settings.items() if value is not None})

    def source(self) -> FileSource:
        return open_files(self.connection())

    def through(self, proxy: CutProxy, *, timeout_seconds: float = 30, retries: int = 3) -> FileSource:
        return open_files(self.connection(port=proxy.port, timeout_seconds=timeout_seconds, retries=retries))

    def port(self) -> int:
        return self.server.port

    def put(self, path: str, content: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        while file != self.folder:  # as the account would have made it
            shutil.chown(file, self.server.username)
            file = file.parent

    def put_many(self, paths: Iterable[str], content: bytes) -> None:
        for path in paths:
            self.put(path, content)

    def get(self, path: str) -> bytes | None:
        return (self.folder / path).read_bytes() if (self.folder / path).exists() else None

    def denied(self) -> dict[str, FileSource]:
        other = self.secret(_new_key(self.secrets_folder / "other"))
        return {
            "resolve": open_files(self.connection(host="no-such-host.invalid", retries=0)),
            "connect": open_files(self.connection(port=1, retries=0)),
            "host key": open_files(self.connection(host_key=OTHER_KEY)),
            "login": open_files(self.connection(private_key=other)),
            "folder": open_files(self.connection(root=f"{self.folder}/missing")),
        }


def _new_key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.read_text()


@pytest.fixture
def place(sftp_server: SftpServer, sftp_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> SftpPlace:
    return SftpPlace(sftp_server, sftp_folder, tmp_path_factory.mktemp("secrets"))


class TestSftp(SourceContract, NetworkContract):
    """The contract."""


def _lists(place: SftpPlace, **changes: object) -> bool:
    place.put("a.csv", b"1")
    with open_files(place.connection(**changes)) as source:
        return [file.path for file in source.listing().files] == ["a.csv"]


def test_a_password_logs_in(place: SftpPlace) -> None:
    if place.server.password is None:  # without root the server has no account with a password
        with pytest.raises(SourceDenied):
            _lists(place, private_key=None, password=place.secret("wrong"))
        return
    assert _lists(place, private_key=None, password=place.secret(place.server.password))
    with pytest.raises(SourceDenied, match="refuses the login") as refused:
        _lists(place, private_key=None, password=place.secret("wr0ng-passw0rd"))
    assert "wr0ng-passw0rd" not in str(refused.value)


def test_an_encrypted_key_logs_in_with_its_passphrase(place: SftpPlace) -> None:
    key = place.secret(place.server.protected_key)
    assert _lists(place, private_key=key, passphrase=place.secret(place.server.passphrase))
    with pytest.raises(SourceDenied, match="passphrase is wrong"):
        _lists(place, private_key=key, passphrase=place.secret("wrong"))
    with pytest.raises(SourceDenied, match="the private key is encrypted") as refused:
        _lists(place, private_key=key)
    assert "add `passphrase`" in refused.value.hint


def test_a_private_key_that_is_no_key_is_named_without_showing_it(place: SftpPlace) -> None:
    with pytest.raises(SourceDenied, match="private key can't be read") as refused:
        _lists(place, private_key=place.secret("not a key at all"))
    assert "not a key at all" not in str(refused.value)


def test_a_known_hosts_file_works_like_a_host_key(place: SftpPlace, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"[{place.server.host}]:{place.server.port} {place.server.host_key}\n")
    assert _lists(place, host_key=None, known_hosts=str(known))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    assert _lists(place, host_key=None, known_hosts=str(known))
    known.write_text(f"[{place.server.host}]:{place.server.port} {OTHER_KEY}\n")
    with pytest.raises(SourceDenied, match="is not the known one"):
        _lists(place, host_key=None, known_hosts=str(known))
    known.write_text("elsewhere.example " + place.server.host_key)
    with pytest.raises(SourceDenied, match="knows no key of"):
        _lists(place, host_key=None, known_hosts=str(known))
    with pytest.raises(SourceDenied, match="can't be read"):
        _lists(place, host_key=None, known_hosts=str(tmp_path / "missing"))


@pytest.mark.parametrize("form", ["{key} comment@host", "127.0.0.1 {key}", " {key} "])
def test_a_host_key_may_be_pasted_as_ssh_keyscan_prints_it(place: SftpPlace, form: str) -> None:
    assert _lists(place, host_key=form.format(key=place.server.host_key))


@pytest.mark.parametrize("text", ["", "nonsense", "ssh-ed25519 AAAA", "ssh-ed25519 ????"])
def test_a_host_key_that_is_no_key_is_a_clear_refusal(place: SftpPlace, text: str) -> None:
    with pytest.raises(SourceDenied, match="is not a public key"):
        _lists(place, host_key=text)


def test_a_server_without_a_key_of_the_known_kind_is_refused(place: SftpPlace) -> None:
    rsa = place.secrets_folder / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", rsa], check=True)
    with pytest.raises(SourceDenied, match="no host key of the known kind"):
        _lists(place, host_key=rsa.with_suffix(".pub").read_text())


def test_a_name_that_is_not_utf8_does_not_hide_the_others(place: SftpPlace) -> None:
    os.close(os.open(os.fsencode(place.folder) + b"/caf\xe9.csv", os.O_CREAT | os.O_WRONLY))
    assert _lists(place)


def test_links_are_not_followed(place: SftpPlace) -> None:
    (place.folder / "link.csv").symlink_to("/etc/passwd")
    (place.folder / "etc").symlink_to("/etc")
    (place.folder / "loop").symlink_to(place.folder)
    assert _lists(place)
    (place.folder / "real").mkdir()
    (place.folder / "real" / "a.csv").write_bytes(b"1")
    (place.folder / "linked").symlink_to(place.folder / "real")
    with place.source() as source:
        assert source.listing().links == ("etc", "link.csv", "linked", "loop")
        assert [file.path for file in source.listing("real").files] == ["real/a.csv"]
        with pytest.raises(SourceDenied, match="linked is a symbolic link, and links are not followed"):
            source.listing("linked")
        for path in ("link.csv", "linked/a.csv"):
            with pytest.raises(ItemGone):
                source.stat(path)


def test_a_file_without_permission_says_who_must_give_it(place: SftpPlace) -> None:
    if os.geteuid() == 0:
        place.put("a.csv", b"1")
        (place.folder / "a.csv").chmod(0)
        with place.source() as source, pytest.raises(SourceDenied, match=r"no permission for sftp://.*a\.csv"):
            list(source.read("a.csv"))
    (place.folder / "closed").mkdir()
    (place.folder / "closed").chmod(0)
    with place.source() as source, pytest.raises(SourceDenied, match=r"no permission for sftp://.*closed"):
        source.listing("closed")
    (place.folder / "closed").chmod(0o700)


def test_a_folder_that_takes_no_file_says_who_must_be_let_write(place: SftpPlace, tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_text("{}")
    (place.folder / "readable").mkdir()
    (place.folder / "readable").chmod(0o555)
    with place.source() as source, pytest.raises(SourceDenied, match=f"let {place.server.username} write it"):
        source.write("readable/outbox/receipt.json", tmp_path / "receipt.json")


def test_a_relative_root_starts_at_the_home_folder(place: SftpPlace) -> None:
    with open_files(place.connection(root=".")) as source:
        assert source.uri("a.csv") == f"sftp://127.0.0.1:{place.server.port}/a.csv"


def test_a_port_that_speaks_something_else_is_named(place: SftpPlace, postgres_url: str) -> None:
    port = urlsplit(postgres_url).port
    steps = list(open_files(place.connection(port=port, timeout_seconds=2, retries=0)).probe())
    assert (steps[-1].name, steps[-1].ok) == ("host key", False)
    assert "SFTP port" in steps[-1].hint


def test_the_connection_is_described_by_what_a_person_needs(place: SftpPlace) -> None:
    steps = {step.name: step.detail for step in place.source().probe()}
    assert list(steps) == ["resolve", "connect", "host key", "login", "folder", "listing"]
    assert steps["host key"].startswith("ssh-ed25519 SHA256:")
    assert steps["login"] == place.server.username
    assert dataclasses.asdict(place.server)["private_key"] not in str(steps)


def test_an_idle_connection_is_kept_alive(place: SftpPlace, cut_proxy: Callable[[str, int], CutProxy]) -> None:
    proxy = cut_proxy("127.0.0.1", place.port())
    with Sftp(place.connection(port=proxy.port), keep_alive_seconds=0.1) as source:
        place.put("a.csv", b"1")
        source.listing()
        _more_is_sent(proxy)  # this may still be the listing's last request
        _more_is_sent(proxy)
        assert [file.path for file in source.listing().files] == ["a.csv"]
    assert proxy.connections == 1


def _more_is_sent(proxy: CutProxy) -> None:
    before = proxy.sent
    until(lambda: proxy.sent != before, seconds=5)


def test_openssh_and_we_agree_on_the_fastest_cipher(place: SftpPlace) -> None:
    with Sftp(place.connection()) as source:
        agreed = vars(source._transport)
    assert (agreed["remote_cipher"], agreed["local_cipher"]) == ("aes128-gcm@openssh.com",) * 2
