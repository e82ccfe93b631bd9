"""Makes an HTTP answer whose headers break off an error.

Python's `http.client`, on which the clients of S3, Google, ClickHouse and Snowflake rest, takes the end of a connection
for the end of the headers. Half a size, an etag cut short, or no word of how long the body is, would pass for facts.
"""

from __future__ import annotations

import http.client
from functools import cache
from typing import Any


class _Lines:
    """A stream of which the last line is kept."""

    last = b""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readline(self, *limit: int) -> bytes:
        """The stream's next line; b"" at its end."""
        self.last = self._stream.readline(*limit)
        return self.last


@cache
def refuse_broken_headers() -> None:
    """From now on, in this process, headers that do not end with an empty line raise IncompleteRead."""
    parse: Any = http.client.parse_headers

    def parse_whole(stream: Any, *arguments: Any, **more: Any) -> Any:
        lines = _Lines(stream)
        headers = parse(lines, *arguments, **more)
        if not lines.last:
            raise http.client.IncompleteRead(b"")
        return headers

    vars(http.client)["parse_headers"] = parse_whole
