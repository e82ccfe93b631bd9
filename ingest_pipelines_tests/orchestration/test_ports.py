"""Which port `ingest up` takes: never one that another has, or is about to have."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from ingest_pipelines.errors import UsageError
from ingest_pipelines.orchestration.serving.up import HOST, PORTS, _free_port


def test_two_that_start_at_once_never_take_the_same_port() -> None:
    with _free_port(PORTS) as first, _free_port(PORTS) as second:
        assert first != second


def test_a_port_is_free_again_when_its_taker_is_done() -> None:
    with _free_port(PORTS) as first:
        pass
    with _free_port((first,)) as again:
        assert again == first


def test_who_claims_a_port_leaves_nothing_in_the_shared_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with _free_port(PORTS):
        assert list(tmp_path.iterdir()) == []


def test_a_port_that_something_listens_on_is_refused_with_a_way_out() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is taken") as told, _free_port((port,)):
            pass
    assert "ingest up --port" in told.value.hint
