"""Headers of an HTTP answer that break off are no headers."""

from __future__ import annotations

import http.client
import io

import pytest

from ingest_pipelines.sources.http_headers import refuse_broken_headers

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: "abcdef"\r\n\r\n'


class _Socket:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._content)


def _read(content: bytes) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(_Socket(content), method="HEAD")  # type: ignore[arg-type]  # all that it needs
    response.begin()
    return response


def test_an_answer_is_whole_or_an_error_wherever_it_is_cut() -> None:
    refuse_broken_headers()
    assert _read(ANSWER).getheader("Content-Length") == "12345"
    for cut in range(len(ANSWER)):
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            _read(ANSWER[:cut])
