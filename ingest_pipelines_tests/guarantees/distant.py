"""A target behind a network that breaks, and a load of three hundred rows."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from ingest_pipelines.merge import Target
from ingest_pipelines.model import Run
from ingest_pipelines_tests.guarantees.world import CONSENT, World
from ingest_pipelines_tests.merge.deliveries import bound_import
from ingest_pipelines_tests.servers.cut_proxy import CutProxy

Proxies = Callable[[str, int], CutProxy]

RUN = Run(id="run-1", by="sensor")
BOUND = bound_import(subscriptions=[CONSENT])
ROWS = [(f"c{number:03}", "Gold", number, f"{number}@example.com") for number in range(300)]
COMMITTED = World().after("loyalty-1", ROWS, [])


def through(proxy: CutProxy, target: Target) -> Target:
    """The target as seen through the proxy."""
    return Target(url_through(proxy, target.url), target.lock_timeout_seconds)


def url_through(proxy: CutProxy, url: str) -> str:
    """The URL of a server that is behind the proxy."""
    parts = urlsplit(url)
    there = parts.netloc.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{proxy.port}")
    return parts._replace(netloc=there).geturl()


def proxied(cut_proxy: Proxies, target: Target) -> CutProxy:
    """A proxy in front of the target's server."""
    parts = urlsplit(target.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return cut_proxy(parts.hostname, parts.port)
