"""Nothing that a file server says is passed on: no text, no code of its own, in no language, from no place."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from ingest_pipelines.config.connections.azure import AzureConnection
from ingest_pipelines.config.connections.gcs import GcsConnection
from ingest_pipelines.config.connections.s3 import S3Connection
from ingest_pipelines.errors import IngestError
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import FileSource
from ingest_pipelines_tests.sources.test_sftp_servers import serving

VALUE = "hunter2"
WORDS = f"Anmeldung von {VALUE}@example.com fehlgeschlagen 登录失败 Ошибка входа"
STATUSES = (301, 400, 401, 403, 404, 409, 412, 416, 429, 500, 503)


def _xml(status: int) -> bytes:
    said = "".join(
        f"<{tag}>{WORDS}</{tag}>" for tag in ("Code", "Message", "Resource", "RequestId", "HostId", "Region")
    )
    return f'<?xml version="1.0" encoding="UTF-8"?><Error>{said}</Error>'.encode()


def _json(status: int) -> bytes:
    inner = {"code": status, "message": WORDS, "errors": [{"reason": WORDS, "message": WORDS, "domain": WORDS}]}
    return json.dumps({"error": inner, "error_description": WORDS}).encode()


def _neither(status: int) -> bytes:
    return WORDS.encode()


@contextmanager
def _saying(status: int, body: Callable[[int], bytes]) -> Iterator[str]:
    """The URL of a server that answers everything so."""

    class Answer(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            said = body(status)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status, VALUE)
            self.send_header("Content-Length", str(len(said)))
            self.send_header("x-amz-bucket-region", VALUE)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _all_that_it_tells(source: FileSource) -> Iterator[str]:
    """Of every operation that fails: the error, what it was raised from, and the steps of the connection test."""
    operations: tuple[Callable[[FileSource], object], ...] = (
        lambda files: files.listing(),
        lambda files: files.stat("a.csv"),
        lambda files: b"".join(files.read("a.csv", 0, "1")),
        lambda files: files.move("a.csv", "archive"),
    )
    for operation in operations:
        try:
            with source:
                operation(source)
        except IngestError as error:
            yield f"{error} {error!r} {error.hint} {error.__cause__!r}"
    for step in source.probe():
        yield f"{step.detail} {step.hint}"


def _s3(url: str, folder: Path) -> FileSource:
    (folder / "key").write_text("key")
    keys: dict[str, Any] = {"file": str(folder / "key")}
    return open_files(
        S3Connection.model_validate(
            {
                "type": "s3", "bucket": "drops", "region": "us-east-1", "endpoint_url": url, "path_style": True,
                "access_key_id": keys, "secret_access_key": keys, "retries": 0, "timeout_seconds": 5,
            }
        )
    )  # fmt: skip


def _gcs(url: str, folder: Path) -> FileSource:
    return open_files(
        GcsConnection.model_validate(
            {"type": "gcs", "bucket": "drops", "project": "p", "endpoint_url": url, "retries": 0, "timeout_seconds": 5}
        )
    )


def _azure(url: str, folder: Path) -> FileSource:
    (folder / "azure key").write_text("a2V5")
    settings = {
        "type": "azure", "account": "a", "container": "drops", "account_key": {"file": str(folder / "azure key")},
        "endpoint_url": f"{url}/a", "retries": 0, "timeout_seconds": 5,
    }  # fmt: skip
    return open_files(AzureConnection.model_validate(settings))


@pytest.mark.parametrize(
    ("make", "body"),
    [(_s3, _xml), (_s3, _neither), (_gcs, _json), (_gcs, _neither), (_azure, _xml), (_azure, _neither)],
)
def test_an_object_store_s_words_are_not_passed_on(
    make: Callable[[str, Path], FileSource],
    body: Callable[[int], bytes],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for status in STATUSES:
        with _saying(status, body) as url:
            told = [*_all_that_it_tells(make(url, tmp_path))]
        assert told, status
        for text in (*told, caplog.text):
            assert VALUE not in text, (status, text)
            assert "Anmeldung" not in text, (status, text)


@pytest.mark.parametrize(("status", "step"), [(401, "login"), (403, "permission"), (404, "listing"), (503, "listing")])
def test_a_code_of_a_server_s_own_means_what_its_status_means(status: int, step: str, tmp_path: Path) -> None:
    with _saying(status, _xml) as url:
        last = [*_s3(url, tmp_path).probe()][-1]
    assert (last.name, last.ok) == (step, False)


def _speaking(code: int) -> type[asyncssh.SFTPServer]:
    """An SFTP server that refuses everything so."""

    def refuse(*arguments: object) -> None:
        raise asyncssh.SFTPError(code, WORDS, "de")

    operations = ("realpath", "stat", "lstat", "open", "listdir", "scandir", "rename", "posix_rename", "mkdir")
    return type("Speaking", (asyncssh.SFTPServer,), dict.fromkeys(operations, refuse))


CODES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 99)
"""Of SFTP, of its later versions, and one that is none."""


def test_an_sftp_server_s_words_are_not_passed_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for code in CODES:
        (tmp_path / str(code)).mkdir()
        with serving(tmp_path / str(code), _speaking(code)) as source:
            told = [*_all_that_it_tells(source)]
        assert told, code
        for text in (*told, caplog.text):
            assert VALUE not in text, (code, text)
            assert "Anmeldung" not in text, (code, text)
