"""What steps hand over through a bucket is what they made, on whatever machine the next step runs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, ExecuteInProcessResult
from dagster._core.test_utils import create_run_for_test

from ingest_pipelines.config import Settings
from ingest_pipelines.model import Item, ItemKey, Landing, Validated
from ingest_pipelines.orchestration.erasure import forget_files
from ingest_pipelines.orchestration.io_managers import remote_spill
from ingest_pipelines.orchestration.io_managers.remote_spill import RemoteSpill
from ingest_pipelines.orchestration.runs.run_files import purge_runs
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG
from ingest_pipelines.pipeline.forgetting import Scope
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop, go_on
from ingest_pipelines_tests.servers.s3 import Bucket

ITEM = Item("points", ItemKey("k"), "file", "sftp://vendor/Points.csv")


@pytest.fixture
def uri(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_bucket.server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_bucket.server.secret_access_key)
    return f"s3://{s3_bucket.name}/spill?scheme=http&endpoint_override=127.0.0.1:{s3_bucket.server.port}"


class Machine:
    """A machine with a state folder of its own."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.settings = Settings(folder, folder, None, None, remote_spill=uri)
        self.spill = RemoteSpill(uri, self.settings)

    def judged(self, run: str) -> Validated:
        """Files as a run leaves them."""
        landing = Landing(ITEM, self._write(self.settings.spool / run / "abc.csv", b"CID\n1\n"), "csv", "abc", 6)
        accepted = self._write(self.settings.spill / run / "accepted-00000.arrow", b"accepted")
        rejects = self._write(self.settings.spill / run / "rejects.arrow", b"rejected")
        return Validated(landing, (accepted,), rejects, 2, 1, 1)

    def _write(self, path: Path, content: bytes) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


def test_another_machine_gets_the_same_files_below_its_own_state(tmp_path: Path, uri: str) -> None:
    first, second = Machine(tmp_path / "first", uri), Machine(tmp_path / "second", uri)
    made = first.judged("run-1")
    first.spill.keep("run-1", "validate", made)
    taken = second.spill.take("run-1", "validate")
    assert taken.accepted == (second.settings.spill / "run-1" / "accepted-00000.arrow",)
    assert [path.read_bytes() for path in (*taken.accepted, taken.rejects)] == [b"accepted", b"rejected"]
    assert replace(taken, landing=made.landing, accepted=made.accepted, rejects=made.rejects) == made
    assert not taken.landing.path.exists()  # nobody after `validate` reads it


def test_what_a_failed_attempt_left_on_a_machine_is_not_taken_for_the_real_file(tmp_path: Path, uri: str) -> None:
    first, second = Machine(tmp_path / "first", uri), Machine(tmp_path / "second", uri)
    left = second.judged("run-1").accepted[0]
    left.write_bytes(b"half-way")
    os.utime(left, ns=(1, 1))
    first.spill.keep("run-1", "validate", first.judged("run-1"))
    assert second.spill.take("run-1", "validate").accepted[0].read_bytes() == b"accepted"


def test_a_machine_that_has_the_files_does_not_copy_them_again(tmp_path: Path, uri: str, s3_bucket: Bucket) -> None:
    machine = Machine(tmp_path, uri)
    machine.spill.keep("run-1", "validate", machine.judged("run-1"))
    client = s3_bucket.server.client()
    client.delete_object(Bucket=s3_bucket.name, Key="spill/spill/run-1/accepted-00000.arrow")
    assert machine.spill.take("run-1", "validate").accepted[0].read_bytes() == b"accepted"


def test_rows_of_a_decided_load_leave_the_bucket_once_or_twice_told(
    tmp_path: Path, uri: str, s3_bucket: Bucket
) -> None:
    machine = Machine(tmp_path, uri)
    made = machine.judged("run-1")
    machine.spill.keep("run-1", "land", made.landing)
    machine.spill.keep("run-1", "validate", made)
    machine.spill.forget_rows(made)
    machine.spill.forget_rows(made)
    found = s3_bucket.server.client().list_objects_v2(Bucket=s3_bucket.name)["Contents"]
    assert {Path(each["Key"]).name for each in found if each["Size"]} == {"land.handle", "validate.handle"}


def test_the_rows_of_a_plan_leave_the_bucket_too(
    shop: Shop, instance: DagsterInstance, uri: str, s3_bucket: Bucket
) -> None:
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(instance)
    assert shop.run(instance, item, defs=shop.definitions(remote_spill=uri), **{"ingest/dry_run": "true"}).success
    found = s3_bucket.server.client().list_objects_v2(Bucket=s3_bucket.name)["Contents"]
    assert {Path(each["Key"]).suffix for each in found if each["Size"]} == {".handle"}
    assert shop.rows("SELECT count(*) FROM ingest.loads") == [(0,)]


def test_a_failed_run_goes_on_from_its_failed_step_on_another_machine(
    shop: Shop, kept_instance: DagsterInstance, tmp_path: Path, uri: str
) -> None:
    shop.deliver("Points_1.csv", ONE_BAD)
    item = shop.arrive(kept_instance)
    failed = shop.run(kept_instance, item, defs=shop.definitions(remote_spill=uri))
    assert not failed.success
    shop.write_import(rejects={"max_rows": 1})
    (shop.files / "points" / "Points_1.csv").unlink()  # the bytes that were landed are the item
    elsewhere = replace(shop, state=tmp_path / "elsewhere", stages=[])
    go_on(elsewhere.definitions(remote_spill=uri), failed.run_id, kept_instance)
    assert elsewhere.stages == ["validate", "merge"]
    assert shop.rows("SELECT customer_id FROM crm.customers") == [("C1",)]


def test_a_bucket_that_does_not_answer_is_tried_again_and_the_load_stays_committed(
    shop: Shop, instance: DagsterInstance, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_spill, "PAUSE_SECONDS", 0.01)
    keep, tries = RemoteSpill.keep, []

    def down_at_first(spill: RemoteSpill, run_id: str, name: str, handle: object) -> None:
        tries.append(name)
        if name == "report" and tries.count("report") == 1:
            raise OSError("the bucket is down")
        keep(spill, run_id, name, handle)

    monkeypatch.setattr(RemoteSpill, "keep", down_at_first)
    shop.deliver("Points_1.csv", GOOD)
    result = shop.run(instance, shop.arrive(instance), defs=shop.definitions(remote_spill=uri))
    assert result.success
    assert shop.rows("SELECT status, inserted FROM ingest.loads") == [("committed", 2)]
    assert _count(result, DagsterEventType.STEP_UP_FOR_RETRY) == 1


def test_files_that_the_bucket_lost_ask_for_a_full_run(
    shop: Shop, instance: DagsterInstance, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RemoteSpill, "keep", lambda *_: None)
    shop.deliver("Points_1.csv", GOOD)
    result = shop.run(instance, shop.arrive(instance), defs=shop.definitions(remote_spill=uri))
    [failed] = result.filter_events(lambda event: event.event_type == DagsterEventType.STEP_FAILURE)
    assert "re-execute all steps" in str(failed.step_failure_data)
    assert _count(result, DagsterEventType.STEP_UP_FOR_RETRY) == 0


def test_forget_deletes_the_rows_of_failed_runs_from_the_bucket_and_those_of_a_run_in_progress_when_it_has_ended(
    shop: Shop, instance: DagsterInstance, tmp_path: Path, uri: str, s3_bucket: Bucket
) -> None:
    """Also where the rows were validated on another machine; those of another database's imports stay."""
    bucket = RemoteSpill(uri, Settings(shop.home, shop.state, None, None, remote_spill=uri))
    shop.deliver("Points_1.csv", ONE_BAD)
    item = shop.arrive(instance)
    runs = [shop.run(instance, item, defs=shop.definitions(remote_spill=uri)).run_id for _ in range(2)]
    others = create_run_for_test(instance, tags={IMPORT_TAG: "others"}, status=DagsterRunStatus.FAILURE).run_id
    in_progress = create_run_for_test(instance, tags={IMPORT_TAG: "points"}, status=DagsterRunStatus.STARTED)
    running = in_progress.run_id
    for run_id in (others, running):
        machine = Machine(tmp_path / "elsewhere", uri)
        machine.spill.keep(run_id, "validate", machine.judged(run_id))
    assert set(bucket.runs()) == {*runs, others, running}

    bound, site = shop.bound(), shop.site(remote_spill=uri)
    scope = Scope(bound.database_name, bound.database, [bound], others=["others"])
    assert forget_files(site, instance, scope, plan=True)[1] == 1
    assert set(bucket.runs()) == {*runs, others, running}
    assert forget_files(site, instance, scope)[1] == 1
    assert set(bucket.runs()) == {others, running}
    purge_runs(site.settings, shop.now, instance)
    assert set(bucket.runs()) == {others, running}, "it is in progress"
    instance.report_run_canceled(in_progress)
    purge_runs(site.settings, shop.now, instance)
    assert set(bucket.runs()) == {others}
    found = s3_bucket.server.client().list_objects_v2(Bucket=s3_bucket.name)["Contents"]
    assert {each["Key"].split("/")[2] for each in found if each["Size"]} == {others}


def _count(result: ExecuteInProcessResult, kind: DagsterEventType) -> int:
    return len(result.filter_events(lambda event: event.event_type == kind))
