"""The product as its operators see it: `ingest up` and its processes, the command line, the UI's API."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from ingest_pipelines_tests.processes import words_of

_PROGRAM = Path(sys.executable).with_name("ingest")

ROLES: Mapping[str, str] = {
    "daemon": "dagster._daemon",
    "webserver": "orchestration.webserver",
    "code server": "api grpc",
    "run": r"^ingest-run |multiprocessing\.spawn|execute_run",
    "run server": r"^(?!ingest-run ).*cli\.run_server",
    "watcher": "ingest_watch|monitoring.watcher|ingest watch",
}
"""What the name and the command line of each kind of process contain; a run that the run server forked has its own
name and the server's command line."""


class Platform:
    """`ingest up` of one project, started again whenever it ends, and the command `ingest`.

    Attributes:
        starts: how often `ingest up` was started.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = {**os.environ, **environment}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.starts = 0
        self.url = ""
        self._up: subprocess.Popen[str] | None = None
        self._log = folder / "up.out"
        self._stopped = threading.Event()

    def start(self) -> None:
        """`ingest up` is starting."""
        self.starts += 1
        self.url = ""
        with self._log.open("w") as out, (self.folder / "up.err").open("a") as err:
            self._up = subprocess.Popen(
                [_PROGRAM, "up"], env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=out, stderr=err, text=True, start_new_session=True,
            )  # fmt: skip

    def is_up(self) -> bool:
        """Whether `ingest up` runs and has said that it is ready."""
        if self._up is None or self._up.poll() is not None:
            return False
        if not self.url:
            found = re.search(r"ready: (http://\S+)", self._log.read_text())
            self.url = found[1] if found else ""
        return bool(self.url)

    def has_ended(self) -> bool:
        """Whether `ingest up` has ended by itself, or was killed."""
        return self._up is not None and self._up.poll() is not None

    def wait_until_up(self, seconds: float = 180.0) -> None:
        """Returns once `ingest up` is ready."""
        deadline = time.monotonic() + seconds
        while not self.is_up():
            assert not self.has_ended(), (self.folder / "up.err").read_text()[-2000:]
            assert time.monotonic() < deadline, "ingest up is not ready"
            time.sleep(0.1)

    def stop(self) -> None:
        """Nothing of the platform runs."""
        for process in self.processes():  # a frozen one does not end
            _signal(process, signal.SIGCONT)
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGINT)
            try:
                self._up.wait(60)
            except subprocess.TimeoutExpired:
                self._up.kill()
        for process in self.processes():
            _signal(process, signal.SIGKILL)

    def processes(self, role: str = "") -> list[psutil.Process]:
        """Processes that serve this project, or only those of a role; zombies not."""
        pattern = re.compile(ROLES.get(role, ""))
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                words = words_of(process)
                if not pattern.search(words):
                    continue
                if process.environ().get("INGEST_HOME") == self.environment["INGEST_HOME"]:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill(self, role: str) -> list[int]:
        """Kills every process of the role with SIGKILL; their ids."""
        killed = self.processes(role)
        for process in killed:
            _signal(process, signal.SIGKILL)
        return [process.pid for process in killed]

    def freeze(self, role: str, seconds: float, until: threading.Event) -> list[int]:
        """Every process of the role stands still for that long."""
        frozen = self.processes(role)
        for process in frozen:
            _signal(process, signal.SIGSTOP)
        until.wait(seconds)
        for process in frozen:
            _signal(process, signal.SIGCONT)
        return [process.pid for process in frozen]

    def second_daemon(self, seconds: float, until: threading.Event) -> bool:
        """Another daemon like the first one works beside it for that long; whether it could be started."""
        first = next(iter(self.processes("daemon")), None)
        if first is None:
            return False
        try:
            words, environment, folder = first.cmdline(), first.environ(), first.cwd()
        except psutil.Error:
            return False
        with (self.folder / "second-daemon.log").open("a") as log:
            second = subprocess.Popen(
                words, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        until.wait(seconds)
        second.terminate()
        try:
            second.wait(30)
        except subprocess.TimeoutExpired:
            second.kill()
            second.wait()
        return True

    def second_up(self, seconds: float) -> bool:
        """Another `ingest up` of the project, on ports of its own, until it is ready or has ended; whether it was."""
        log = self.folder / "second-up.out"
        with log.open("w") as out, (self.folder / "up.err").open("a") as err:
            second = subprocess.Popen(
                [_PROGRAM, "up"], env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out,
                stderr=err, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + seconds
        while second.poll() is None and "ready: " not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        ready = "ready: " in log.read_text()
        if second.poll() is None:
            second.send_signal(signal.SIGINT)
        try:
            second.wait(60)
        except subprocess.TimeoutExpired:
            second.kill()
            second.wait()
        return ready

    def health(self) -> tuple[bool | None, str]:
        """Whether `/healthz` is content, and its words; None: no answer. A product without it counts as content."""
        found = re.search(r"health: (http://\S+/healthz)", self._log.read_text())
        if found is None:
            return True, ""
        try:
            with urllib.request.urlopen(found[1], timeout=10) as response:
                return True, response.read().decode()
        except urllib.error.HTTPError as error:
            return (False if error.code == 503 else None), error.read().decode(errors="replace")
        except OSError as error:
            return None, str(error)

    def command(self, *words: str, seconds: float = 240.0) -> subprocess.CompletedProcess[str]:
        """`ingest ...` as a person types it; exit code -9 if it does not end in time."""
        try:
            return subprocess.run(
                [_PROGRAM, *words], env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=seconds, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, -9, "", f"no answer within {seconds:.0f} s")

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The UI's answer to a GraphQL query.

        Raises:
            OSError: the webserver does not answer.
        """
        request = urllib.request.Request(
            f"{self.url or 'http://127.0.0.1:9'}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answer: dict[str, Any] = json.load(response)
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        if "errors" in answer:
            raise OSError(str(answer["errors"])[:500])
        data: dict[str, Any] = answer["data"]
        return data

    def runs(self, statuses: Sequence[str]) -> list[dict[str, Any]]:
        """Runs in these statuses as `{runId, status, import, key}`."""
        query = """query($s: [RunStatus!]) { runsOrError(filter: {statuses: $s}) {
            ... on Runs { results { runId status tags { key value } } } } }"""
        found = self.ask(query, s=list(statuses))["runsOrError"]["results"]
        runs = []
        for run in found:
            tags = {tag["key"]: tag["value"] for tag in run["tags"]}
            runs.append(
                {**run, "import": tags.get("ingest/import", ""), "key": tags.get("dagster/partition", ""), "tags": tags}
            )
        return runs

    def terminate(self, run_id: str, *, force: bool) -> bool:
        """The UI's Terminate, or its Force termination; whether it says that it did."""
        query = """mutation($id: String!, $policy: TerminateRunPolicy) {
            terminateRun(runId: $id, terminatePolicy: $policy) { __typename } }"""
        policy = "MARK_AS_CANCELED_IMMEDIATELY" if force else "SAFE_TERMINATE"
        answer = self.ask(query, id=run_id, policy=policy)["terminateRun"]
        return bool(answer["__typename"] == "TerminateRunSuccess")

    def backfill(self, database: str, name: str, keys: Sequence[str]) -> str:
        """A backfill of those partitions, as the UI launches it; its id."""
        query = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
            __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
        parameters = {"assetSelection": [{"path": [database, name]}], "partitionNames": list(keys)}
        answer = self.ask(query, p=parameters)["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def partitions(self, database: str, name: str) -> tuple[set[str], set[str]] | None:
        """Keys of materialized and of failed partitions, as the asset's page shows them; None: no such asset."""
        query = """query($k: AssetKeyInput!) { assetNodeOrError(assetKey: $k) { ... on AssetNode {
            partitionKeys
            assetPartitionStatuses {
                ... on DefaultPartitionStatuses { materializedPartitions failedPartitions }
                ... on TimePartitionStatuses { ranges { status startKey endKey } } } } } }"""
        node = self.ask(query, k={"path": [database, name]})["assetNodeOrError"]
        if not node:
            return None
        keys, statuses = node["partitionKeys"], node["assetPartitionStatuses"]
        if "ranges" not in statuses:
            return set(statuses["materializedPartitions"]), set(statuses["failedPartitions"])
        found: dict[str, set[str]] = {"MATERIALIZED": set(), "FAILED": set(), "MATERIALIZING": set()}
        for part in statuses["ranges"]:
            found[part["status"]] |= set(keys[keys.index(part["startKey"]) : keys.index(part["endKey"]) + 1])
        return found["MATERIALIZED"], found["FAILED"]


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        pass
