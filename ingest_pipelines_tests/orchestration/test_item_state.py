"""Every combination of facts about an item has one state, or the item is not open; a table states which."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.model import ItemKind, ItemStatus
from ingest_pipelines.orchestration.monitoring.item_state import (
    ImportFacts,
    ItemFacts,
    LoadFacts,
    RunFacts,
    Serving,
    SourceFacts,
    open_item,
)
from ingest_pipelines.orchestration.monitoring.open_item import BROKEN, STATES, OpenState

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
EARLIER, LATER = NOON - timedelta(hours=1), NOON + timedelta(hours=1)
FAILED = LoadFacts("failed", NOON, "line 7: the row has 3 cells", "run-of-load")
REFUSED = LoadFacts("refused", NOON, "the file has no header", "run-of-load")


def run(state: str, created_at: datetime = LATER, **more: object) -> RunFacts:
    return RunFacts("run-1234567", state, created_at, created_at, **more)  # type: ignore[arg-type]


def facts(serving: Serving = "active", **more: object) -> ItemFacts:
    owner = ImportFacts("loyalty", serving, bool(more.pop("by_itself", True)), "imports/loyalty.yaml:3: mod")
    given: dict[str, object] = {"kind": "file", "status": "new", "since": EARLIER, **more}
    return ItemFacts(owner, "K", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "state"),
    [
        # nothing was tried yet
        (facts(), "due"),
        (facts(status=None, expected="its window has ended"), "due"),
        (facts(status=None, settling=True), "settling"),
        (facts("paused"), "paused"),
        (facts("paused", settling=True), "paused"),
        (facts("draft"), None),
        (facts("draft", settling=True), None),
        (facts("broken"), "held"),
        (facts("removed"), "held"),
        (facts(by_itself=False), None),
        (facts("paused", by_itself=False), None),
        (facts("removed", by_itself=False), None),
        (facts(kind="upload"), None),
        # a run is in progress
        (facts(run=run("running")), "running"),
        (facts("removed", run=run("running")), "running"),
        (facts("broken", run=run("running"), status="failed", load=FAILED), "running"),
        (facts("draft", run=run("queued")), "queued"),
        (facts("paused", run=run("queued")), "queued"),
        (facts(run=run("queued"), status="failed", load=FAILED), "queued"),
        (facts("broken", run=run("queued")), "held"),
        (facts("removed", run=run("queued")), "held"),
        # the last attempt left a load
        (facts(status="failed", load=FAILED), "failed"),
        (facts(status="refused", load=REFUSED), "refused"),
        (facts("paused", status="failed", load=FAILED), "failed"),
        (facts("draft", status="failed", load=FAILED), "failed"),
        (facts("broken", status="failed", load=FAILED), "failed"),
        (facts("removed", status="failed", load=FAILED), "held"),
        (facts(status="failed", load=FAILED, by_itself=False, kind="upload"), "failed"),
        (facts(status="failed", load=FAILED, run=run("failed", EARLIER)), "failed"),
        (facts(status="refused", load=REFUSED, run=RunFacts("run-of-load", "failed", EARLIER, LATER)), "refused"),
        (facts(status="refused", load=None), "refused"),
        # the last attempt left none
        (facts(run=run("failed")), "failed"),
        (facts(run=run("failed", began=False)), "dropped"),
        (facts(run=run("canceled")), "terminated"),
        (facts(run=run("canceled", began=False)), "terminated"),
        (facts(run=run("succeeded")), "failed"),
        (facts(status=None, run=run("failed"), kind="window"), "failed"),
        (facts(status="refused", load=REFUSED, run=run("canceled")), "terminated"),
        (facts(status="failed", load=FAILED, run=run("failed", began=False)), "dropped"),
        (facts("draft", run=run("failed"), by_itself=False), "failed"),
        # it needs no attempt
        (facts(status="committed", run=run("running")), None),
        (facts(status="skipped", run=run("failed")), None),
        (facts(status="failed", load=FAILED, replaced=True), None),
        (facts(status="failed", load=FAILED, kind="replay"), None),
    ],
)
def test_the_state_that_facts_lead_to(known: ItemFacts, state: OpenState | None) -> None:
    found = open_item(known)
    assert (found.state if found else None) == state


moments = st.sampled_from([EARLIER, NOON, LATER])
runs = st.builds(
    RunFacts,
    run_id=st.sampled_from(["run-of-load", "run-1234567"]),
    state=st.sampled_from(["queued", "running", "succeeded", "failed", "canceled"]),
    created_at=moments,
    since=moments,
    began=st.booleans(),
    reason=st.sampled_from(["", "it ran longer than 6 hours"]),
    waits_for=st.sampled_from(["", "waits for run 1a2b3c4d"]),
    is_retried=st.booleans(),
)
owners = st.builds(
    ImportFacts, name=st.just("loyalty"), serving=st.sampled_from(get_args(Serving)), by_itself=st.booleans()
)
any_facts = st.builds(
    ItemFacts,
    owner=owners,
    item=st.just("K"),
    kind=st.sampled_from(get_args(ItemKind)),
    status=st.none() | st.sampled_from(get_args(ItemStatus)),
    since=moments,
    load=st.none() | st.sampled_from([FAILED, REFUSED]),
    run=st.none() | runs,
    replaced=st.booleans(),
    settling=st.booleans(),
    expected=st.sampled_from(["", "its window has ended"]),
    asked_again=st.booleans(),
)


@given(any_facts)
def test_every_combination_has_one_state_with_a_reason_or_is_not_open(known: ItemFacts) -> None:
    found = open_item(known)
    settled = known.status in {"committed", "skipped"} or known.replaced or known.kind == "replay"
    if settled:
        assert found is None
        return
    attempted = known.load is not None or known.run is not None or known.status in {"failed", "refused"}
    if found is None:
        assert not attempted
        assert known.owner.serving == "draft" or not known.owner.by_itself or known.kind == "upload"
        return
    assert found.state in STATES
    assert found.reason
    assert (found.import_name, found.item) == ("loyalty", "K")
    needs_a_person = found.state in BROKEN | {"held", "paused"}
    assert bool(found.next_step) == needs_a_person
    assert found.waits_for == "" or found.state in {"queued", "running"}
    in_progress = known.run is not None and known.run.state in {"queued", "running"}
    assert (found.state in {"queued", "running"}) <= in_progress
    assert (found.state in BROKEN) <= attempted


HANGS = SourceFacts("connection shop hangs at login, since 2026-11-22 11:00 UTC", EARLIER, "shop: no answer")


@pytest.mark.parametrize(
    ("load", "source", "by_source"),
    [
        (LoadFacts("failed", NOON, "shop: no answer\nnext", "run", retryable=True), HANGS, True),
        (LoadFacts("failed", NOON, "import loyalty: shop: no answer", "run"), HANGS, True),
        (LoadFacts("failed", NOON, "the server broke off", "run", retryable=True), HANGS, True),
        (LoadFacts("failed", NOON, "2 of 3 rows rejected", "run"), HANGS, False),
        (LoadFacts("refused", NOON, "shop: no answer", "run", retryable=True), HANGS, False),
        (LoadFacts("failed", NOON, "shop: no answer", "run", retryable=True), None, False),
        (LoadFacts("failed", EARLIER - timedelta(minutes=1), "shop: no answer", "run", retryable=True), HANGS, False),
    ],
)
def test_a_load_that_failed_because_its_source_is_down_is_known_as_that(
    load: LoadFacts, source: SourceFacts | None, by_source: bool
) -> None:
    found = open_item(facts(status="failed", load=load, source=source))
    assert found is not None
    assert found.by_source is by_source


def test_a_run_in_progress_says_its_step_and_that_its_source_does_not_answer() -> None:
    at_step = run("running", step="step land since 12:01:30 UTC")
    found = open_item(facts(run=at_step, source=HANGS))
    assert found is not None
    assert found.reason == f"its run is in progress; step land since 12:01:30 UTC; {HANGS.words}"
    waiting = open_item(facts(run=run("running", waits_for="waits for pool p"), source=HANGS))
    assert waiting is not None
    assert waiting.reason == "waits for pool p"
