"""SFTP servers other than OpenSSH's: slow to say much, unsure of their size, unfriendly."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest

from ingest_pipelines.config.connections.sftp import SftpConnection
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import SourceDenied, SourceUnavailable
from ingest_pipelines.landing import land_file
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import FileSource
from ingest_pipelines_tests.sources.contract import item_in

CONTENT = random.Random(2).randbytes(700_001)


class Stingy(asyncssh.SFTPServer):
    """Gives at most 1,000 bytes in one answer."""

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        return bytes(super().read(file_obj, offset, min(size, 1000)))  # type: ignore[arg-type]  # its own file object


class Failing(asyncssh.SFTPServer):
    """Fails in the middle of the file, every time."""

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        if offset >= 400_000:
            raise asyncssh.SFTPFailure("disk error")
        return bytes(super().read(file_obj, offset, size))  # type: ignore[arg-type]  # its own file object


class Forgetful(asyncssh.SFTPServer):
    """Says that the file is longer than it is."""

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        return asyncssh.SFTPAttrs(size=len(CONTENT) + 5000)

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        attributes = asyncssh.SFTPAttrs.from_local(super().lstat(path))  # type: ignore[arg-type]  # a stat result here
        attributes.size = len(CONTENT) + 5000
        return attributes


@contextmanager
def serving(
    folder: Path, server: type[asyncssh.SFTPServer] | None, ciphers: Sequence[str] = ()
) -> Iterator[FileSource]:
    """A server of its own in a thread, and a source of its files; without a class it offers no SFTP.

    Args:
        ciphers: the only ones that the server offers; its own choice if empty.
    """
    key, client = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    (folder / "files").mkdir()
    (folder / "files" / "a.csv").write_bytes(CONTENT)
    client.write_private_key(folder / "key")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        allowed = asyncssh.import_authorized_keys(client.export_public_key().decode())
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[key], authorized_client_keys=allowed, sftp_factory=server,
            encryption_algs=ciphers,
        )  # fmt: skip

    listener = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    connection = SftpConnection.model_validate(
        {
            "type": "sftp",
            "host": "127.0.0.1",
            "port": listener.get_port(),
            "username": "anyone",
            "private_key": {"file": str(folder / "key")},
            "host_key": key.export_public_key().decode().strip(),
            "root": str(folder / "files"),
            "retries": 0,
            "timeout_seconds": 10,
        }
    )
    try:
        yield open_files(connection)
    finally:
        asyncio.run_coroutine_threadsafe(_end(listener), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(listener: asyncssh.SSHAcceptor) -> None:
    listener.close()
    await listener.wait_closed()
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def test_short_answers_make_a_whole_file(tmp_path: Path) -> None:
    with serving(tmp_path, Stingy) as source, source:
        assert b"".join(source.read("a.csv", 12_345)) == CONTENT[12_345:]
        assert land_file(item_in(source, "a.csv"), source, tmp_path / "spool", Limits()).path.read_bytes() == CONTENT


@pytest.mark.parametrize("cipher", ["aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"])
def test_a_server_with_one_cipher_is_read_by_it(tmp_path: Path, cipher: str) -> None:
    with serving(tmp_path, asyncssh.SFTPServer, [cipher]) as source, source:
        assert b"".join(source.read("a.csv")) == CONTENT


@pytest.mark.parametrize("server", [Failing, Forgetful])
def test_a_file_that_cannot_be_read_to_its_end_is_never_a_shorter_file(
    tmp_path: Path, server: type[asyncssh.SFTPServer]
) -> None:
    with serving(tmp_path, server) as source, source, pytest.raises(SourceUnavailable):
        land_file(item_in(source, "a.csv"), source, tmp_path / "spool", Limits())
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_login_without_sftp_is_named(tmp_path: Path) -> None:
    with serving(tmp_path, None) as source:
        steps = list(source.probe())
        assert (steps[-1].name, steps[-1].ok) == ("folder", False)
        assert "allows the login, but not SFTP" in steps[-1].detail
        with pytest.raises(SourceDenied), source:
            pass
