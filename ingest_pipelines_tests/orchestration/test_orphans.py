"""What `ingest up` started ends with it, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ingest_pipelines.errors import UsageError
from ingest_pipelines.orchestration.serving import orphans
from ingest_pipelines.orchestration.serving.orphans import alone

PARENT = """
import subprocess, sys
from pathlib import Path
from ingest_pipelines.orchestration.serving.orphans import Reaper, alone
state = Path(sys.argv[1])
with alone(state, print) as claim:
    reaper = Reaper(state, embedded_server=False)
    words = {"start_new_session": True, "pass_fds": [claim.inherited], "stdout": subprocess.DEVNULL}
    child = subprocess.Popen(["sleep", "600"], **words)
    reaper.watch(child.pid)
    claim.serves(child.pid)
    claim.at("http://127.0.0.1:3000")
    print(child.pid, reaper._process.pid, flush=True)
    sys.stdin.read()
    reaper.close()
    child.kill()
"""


@pytest.fixture
def parent(tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _family(parent: subprocess.Popen[str]) -> tuple[psutil.Process, psutil.Process]:
    """Its child and its reaper."""
    assert parent.stdout is not None
    child, reaper = map(int, parent.stdout.readline().split())
    return psutil.Process(child), psutil.Process(reaper)


def test_children_of_a_killed_parent_end(parent: subprocess.Popen[str], tmp_path: Path) -> None:
    family = _family(parent)
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    said: list[str] = []
    with alone(tmp_path, said.append):
        assert said == []


def test_a_second_one_is_told_where_the_first_one_serves(parent: subprocess.Popen[str], tmp_path: Path) -> None:
    family = _family(parent)
    with pytest.raises(UsageError, match=r"http://127\.0\.0\.1:3000") as told, alone(tmp_path, print):
        pass
    assert "INGEST_STATE" in told.value.hint
    parent.communicate("")
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []


def test_the_next_one_waits_for_what_is_left_and_says_so(parent: subprocess.Popen[str], tmp_path: Path) -> None:
    child, reaper = _family(parent)
    reaper.send_signal(signal.SIGSTOP)
    parent.kill()
    parent.communicate()
    said: list[str] = []

    def tell(words: str) -> None:
        said.append(words)
        reaper.send_signal(signal.SIGCONT)

    with alone(tmp_path, tell):
        assert said[0].startswith("waiting for the processes of a killed ingest up to end")
    _, alive = psutil.wait_procs([child, reaper], timeout=20)
    assert alive == []


def test_what_does_not_end_is_named(
    parent: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, reaper = _family(parent)
    reaper.kill()
    parent.kill()
    parent.communicate()
    monkeypatch.setattr(orphans, "WAIT_SECONDS", 0.0)
    with pytest.raises(UsageError, match=f"still running .process {child.pid}") as told, alone(tmp_path, print):
        pass
    assert told.value.hint == f"end it: kill -{child.pid}"
    child.kill()
    psutil.wait_procs([child, reaper], timeout=20)
