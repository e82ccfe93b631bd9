"""`ingest forget`, killed at any point: the person is everywhere as before, or nowhere. Loads in between, too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines import pipeline
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import ForgottenMeanwhile, RejectsAboveLimit, TargetBusy
from ingest_pipelines.merge import Target, apply, record_failure
from ingest_pipelines.merge.early_load import Destination, EarlyLoad
from ingest_pipelines.merge.target import lock_table
from ingest_pipelines.model import Run, Validated, Workspace
from ingest_pipelines.pipeline.forgetting import FORGET_POINTS, Scope
from ingest_pipelines.sources import upload_item
from ingest_pipelines_tests.guarantees.killable import Forget, KillableLoader
from ingest_pipelines_tests.guarantees.world import CONSENT, CONTACT, Row, World, read_world
from ingest_pipelines_tests.merge.deliveries import NOW, Rejected, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

ROWS: list[Row] = [(f"c{number}", "Gold", number, f"{number}@example.com") for number in range(6)]


def feed() -> BoundImport:
    bound = bound_import(subscriptions=[CONSENT], rejects={"unlimited": True}, shrink={"min_percent": 0})
    assert bound.extra_columns == (CONTACT,)
    return bound


def scope_of(bound: BoundImport) -> Scope:
    return Scope(bound.database_name, bound.database, [bound])


def without(world: World, customer: str, line: int) -> World:
    """The world after the customer was forgotten; `line`: of the customer's reject."""
    return replace(
        world,
        profiles={name: values for name, values in world.profiles.items() if name != customer},
        consents=frozenset(consent for consent in world.consents if consent[0] != customer),
        events=frozenset(event for event in world.events if event[1] != customer),
        rejects=frozenset(reject for reject in world.rejects if reject[1] != line),
    )


def test_a_killed_forget_leaves_the_target_old_or_new(
    target: Target, loader: KillableLoader, query: Rows, tmp_path: Path
) -> None:
    bound = feed()
    rejected = [Rejected(100 + number, f"c{number}") for number in range(6)]
    apply(delivery(tmp_path, bound, ROWS, rejected=rejected), bound, target, Run("load"), NOW)
    world = read_world(target.url)
    assert len(world.events) == len(world.profiles) == len(world.rejects) == 6
    for number, point in enumerate(FORGET_POINTS):
        work = Forget((f"c{number}",), bound, target, NOW, dies_at=point)
        assert not loader.run(work), point
        old, new = world, without(world, f"c{number}", 100 + number)
        assert read_world(target.url) == (new if point == "committed" else old), point
        [(known,)] = query("SELECT count(*) FROM ingest.suppressed WHERE kind = 'key'")
        assert known == number + (point == "committed")
        assert loader.run(replace(work, dies_at=""))  # again is safe
        world = read_world(target.url)
        assert world == new, point
    [(entries,)] = query("SELECT count(*) FROM ingest.audit WHERE what = 'forgot'")
    assert entries == len(FORGET_POINTS) + 1  # the last one was repeated after its commit


def landed(bound: BoundImport, folder: Path, *lines: str) -> tuple[Validated, Workspace]:
    """A file, landed and validated by now."""
    file = folder / "Points_1.csv"
    file.write_text("\n".join(["CID,Tier,Points", *lines]) + "\n")
    workspace = Workspace(folder / "spool", folder / "spill")
    landing = pipeline.land(upload_item(bound.name, file, None), bound, workspace)
    return pipeline.validate(landing, bound, workspace), workspace


@pytest.mark.parametrize("early", [False, True])
def test_a_file_that_landed_before_forget_and_is_merged_after_it_leaves_the_person_out(
    target: Target, query: Rows, tmp_path: Path, early: bool
) -> None:
    bound = bound_import(rejects={"unlimited": True})
    validated, workspace = landed(bound, tmp_path, "c1,Gold,1", "c2,Gold,2", "c1,Gold,many", "c3,Gold,many")
    pipeline.forget(["c1"], scope_of(bound), target, "ann", NOW)
    load: EarlyLoad | None = None
    if early:
        load = EarlyLoad(validated.landing, bound, Destination(target, Run("run"), NOW))
        for path in validated.accepted:
            load.add(path)
    report = pipeline.load(validated, bound, target, Run("run"), NOW, load, workspace=workspace)
    assert (report.counts.read, report.counts.inserted, report.counts.skipped, report.suppressed) == (4, 1, 2, 2)
    assert query("SELECT customer_id FROM crm.customers") == [("c2",)]
    assert query("SELECT count(*) FROM ingest.rejects WHERE row::text LIKE '%%c1%%' OR key = 'c1'") == [(0,)]
    with pytest.raises(ForgottenMeanwhile):
        apply(validated, bound, target, Run("another"), NOW)


def test_a_failed_load_keeps_no_cell_of_somebody_forgotten_after_its_rows_were_validated(
    target: Target, query: Rows, tmp_path: Path
) -> None:
    bound = bound_import()
    validated, _ = landed(bound, tmp_path, "c1,Gold,many", "c2,Gold,2")
    pipeline.forget(["c1"], scope_of(bound), target, "ann", NOW)
    error = RejectsAboveLimit("1 row was rejected")
    report = record_failure(error, validated, validated.landing.item, bound, target, Run("run"), NOW)
    assert report.status == "failed"
    assert report.samples == ()
    assert query("SELECT key, row::text FROM ingest.rejects") == [(None, None)]


def test_forget_takes_turns_with_loads_of_the_table(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = feed()
    apply(delivery(tmp_path, bound, ROWS, of=item()), bound, target, Run("load"), NOW)
    hasty = replace(target, lock_timeout_seconds=0.2)
    with target.begin() as load:
        lock_table(load, *bound.database.schema_and_table)
        with pytest.raises(TargetBusy):
            pipeline.forget(["c1"], scope_of(bound), hasty, "ann", NOW)
    forgotten = pipeline.forget(["c1"], scope_of(bound), hasty, "ann", NOW)
    assert dict(forgotten.rows) == {"profile": 1, "consent": 1, "event": 1}
    assert query("SELECT count(*) FROM crm.customers") == [(5,)]


def test_a_value_of_several_profiles_forgets_nobody(target: Target, query: Rows, tmp_path: Path) -> None:
    columns: dict[str, Any] = {"CID": "customer_id", "Email": "email"}
    bound = bound_import(columns=columns)
    apply(delivery(tmp_path, bound, [("c1", "a@x.co"), ("c2", "a@x.co")]), bound, target, Run("load"), NOW)
    by_address = bound_import("letters", columns=columns, match="email")
    with pytest.raises(Exception, match="2 profiles"):
        pipeline.forget(["a@x.co"], replace(scope_of(bound), by=by_address), target, "ann", NOW)
    pipeline.forget(["c1"], scope_of(bound), target, "ann", NOW)
    kinds = query("SELECT kind FROM ingest.suppressed ORDER BY 1")
    assert kinds == [("key",), ("profile_id",)], "an address that another profile has, too, is not kept out"
