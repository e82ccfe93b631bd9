"""`ingest up` as a person runs it: real webserver, real daemon, in a process of its own, asked through GraphQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar

import psutil

from ingest_pipelines_tests.processes import words_of
from ingest_pipelines_tests.waiting import pauses

T = TypeVar("T")

_REPOSITORY = {"repositoryLocationName": "ingest_pipelines", "repositoryName": "__repository__"}

PATIENCE = 240.0
"""Seconds for anything that a daemon does; on a busy machine it takes a while."""


@dataclass
class Served:
    """A running `ingest up`.

    Attributes:
        watcher: the address of its watcher.
        log: what it says on stderr.
        exit_code: which it must end with; a test that ends it otherwise than by Ctrl-C says so.
    """

    process: subprocess.Popen[str]
    url: str
    log: Path
    exit_code: int = 0
    watcher: str = ""

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The answer to a GraphQL query."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = json.dumps({"query": query, "variables": variables})
        connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.load(connection.getresponse())
        connection.close()
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def runs(self, key: str) -> list[dict[str, Any]]:
        """The runs of a partition, newest first, as `{runId, status, startTime, endTime, tags}`."""
        query = """query($tags: [ExecutionTag!]) { runsOrError(filter: {tags: $tags}) {
            ... on Runs { results { runId status startTime endTime tags { key value } } } } }"""
        found = self.ask(query, tags=[{"key": "dagster/partition", "value": key}])["runsOrError"]["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]

    def launch(
        self,
        job: str = "__ASSET_JOB",
        *,
        assets: Sequence[Sequence[str]] = (),
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """A run of a job, launched as the UI does it; its id."""
        query = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {
            __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
        selection = {"assetSelection": [{"path": list(path)} for path in assets]} if assets else {}
        parameters = {
            "selector": {**_REPOSITORY, "jobName": job, **selection},
            "mode": "default",
            "runConfigData": dict(config or {}),
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
        }
        answer = self.ask(query, p=parameters)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def materialize(self, asset: tuple[str, str], key: str) -> str:
        """A run of one partition; its id."""
        return self.launch(assets=[asset], tags={"dagster/partition": key})

    def go_on_from_failure(self, run_id: str) -> str:
        """A re-execution of the failed run from its failed step; its id."""
        query = """mutation($p: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $p) {
            __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
        answer = self.ask(query, p={"parentRunId": run_id, "strategy": "FROM_FAILURE"})["launchRunReexecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def backfill(self, asset: tuple[str, str], keys: list[str]) -> str:
        """A backfill of those partitions, as the UI launches it; its id."""
        query = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
            __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
        parameters = {"assetSelection": [{"path": list(asset)}], "partitionNames": keys}
        answer = self.ask(query, p=parameters)["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def terminate(self, run_id: str) -> None:
        """The run is asked to end, as the UI's button does it."""
        query = """mutation($id: String!) { terminateRun(runId: $id) {
            __typename ... on TerminateRunFailure { message } ... on PythonError { message } } }"""
        answer = self.ask(query, id=run_id)["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def switches(self, name: str) -> dict[str, str]:
        """Whether the UI shows the sensor and the schedule of an import's asset as RUNNING or as STOPPED."""
        query = """query($sensor: SensorSelector!, $schedule: ScheduleSelector!) {
            sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState { status } } }
            scheduleOrError(scheduleSelector: $schedule) { ... on Schedule { scheduleState { status } } } }"""
        sensor = {**_REPOSITORY, "sensorName": f"{name}__files"}
        found = self.ask(query, sensor=sensor, schedule={**_REPOSITORY, "scheduleName": f"{name}__schedule"})
        return {
            "sensor": found["sensorOrError"]["sensorState"]["status"],
            "schedule": found["scheduleOrError"]["scheduleState"]["status"],
        }

    def switch_sensor(self, name: str, *, on: bool) -> None:
        """The sensor of an import's asset is switched on or off, as the UI's switch does it."""
        sensor = {**_REPOSITORY, "sensorName": f"{name}__files"}
        start = (
            "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { ... on Sensor { sensorState { id } } } }"
        )
        state = self.ask(start, s=sensor)["startSensor"]["sensorState"]["id"]
        if not on:
            stop = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"
            assert self.ask(stop, id=state)["stopSensor"]["__typename"] == "StopSensorMutationResult"

    def health(self) -> dict[str, str]:
        """What the watcher says of each part that is not well, by its name."""
        connection = HTTPConnection("127.0.0.1", int(self.watcher.rsplit(":", 1)[1]), timeout=60)
        try:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            found = json.load(answer)
        except OSError:
            return {"watcher": "it does not answer"}
        finally:
            connection.close()
        assert (answer.status == 200) is found["ok"]
        return {finding["name"]: finding["words"] for finding in found["findings"] if not finding["ok"]}

    def children(self) -> list[psutil.Process]:
        """The processes that `ingest up` started."""
        return list(psutil.Process(self.process.pid).children())

    def child(self, words: str) -> psutil.Process:
        """The process below `ingest up` whose command line has those words."""
        return next(child for child in self.children() if words in words_of(child))

    def ended(self, backfill_id: str) -> bool:
        """Whether a backfill is over."""
        query = (
            "query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
        )
        return str(self.ask(query, id=backfill_id)["partitionBackfillOrError"]["status"]).startswith("COMPLETED")

    def run(self, run_id: str) -> dict[str, Any]:
        """A run as `{status, steps}`."""
        query = """query($id: ID!) { runOrError(runId: $id) {
            ... on Run { status stepStats { stepKey status } } } }"""
        found = self.ask(query, id=run_id)["runOrError"]
        return {
            "status": found["status"],
            "steps": {step["stepKey"].rpartition(".")[2]: step["status"] for step in found["stepStats"]},
        }

    def wait_for_run(self, run_id: str) -> dict[str, Any]:
        """The run once it is over."""
        return wait_for(lambda: found if (found := self.run(run_id))["status"] in _OVER else None)


_OVER = {"SUCCESS", "FAILURE", "CANCELED"}


@contextmanager
def serve(environment: Mapping[str, str], folder: Path) -> Iterator[Served]:
    """`ingest up` for the length of the block; proves that nothing of it is left after Ctrl-C, or whatever ended it."""
    path = folder / "up.log"
    with path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", "from ingest_pipelines.cli import main; main()", "up"],
            env={**os.environ, **environment}, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True,
            start_new_session=True, umask=0,
        )  # fmt: skip
    family: list[psutil.Process] = []
    served: Served | None = None
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, (line, path.read_text())
        served = Served(process, next(word for word in line.split() if word.startswith("http://")), path)
        health = process.stdout.readline()
        served.watcher = next(word for word in health.split() if word.startswith("http://")).partition("/healthz")[0]
        family = psutil.Process(process.pid).children(recursive=True)
        yield served
    finally:
        if process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert code == served.exit_code
    assert alive == []


def wait_for(found: Callable[[], T | None], what: str = "", told: Callable[[], str] = str) -> T:
    """What `found` returns, once it returns something.

    Args:
        what: what it is, for the message of a test that fails.
        told: says more, once it has failed.
    """
    deadline = time.monotonic() + PATIENCE
    for _ in pauses(longest=0.5):
        answer = found()
        if answer:
            return answer
        if time.monotonic() > deadline:
            break
    raise AssertionError(f"nothing within {PATIENCE:.0f} s: {what} {told()}".rstrip())
