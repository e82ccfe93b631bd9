"""Items of an import are loaded in their order, whenever and in whatever order Dagster starts their runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import permutations, product
from types import MappingProxyType

import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test

from ingest_pipelines import ledger
from ingest_pipelines.errors import UsageError
from ingest_pipelines.model import Item, ItemKey, ItemStatus, Run
from ingest_pipelines.orchestration.assets.partitions import asset_key, partitions_name
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.runs import run_locks, turns
from ingest_pipelines.orchestration.runs.run_context import find_run_context
from ingest_pipelines.orchestration.runs.run_requests import next_requests
from ingest_pipelines.orchestration.runs.tags import GAVE_WAY, TURN_TAG
from ingest_pipelines.orchestration.runs.turns import LONGEST_WAIT_SECONDS, QUEUE_SECONDS, START_SECONDS, has_turn
from ingest_pipelines.orchestration.sensors.file_items import FileItems, find_file_items
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop, write_windows
from ingest_pipelines_tests.waiting import until

AT_ONCE, NEVER = 0.0, None
MINUTE = timedelta(minutes=1)
_LOG = logging.getLogger(__name__)
_PLACE = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("a location"), "__repository__")


@pytest.fixture
def line(shop: Shop) -> Shop:
    """A shop with three files that no load has settled, at the time of the machine, which Dagster's runs have."""
    shop.now = datetime.now(UTC)
    source = {"connection": "uploads", "file": "points/Points", "settle": "1s", "pick": "all"}
    shop.write_import(source=source)
    for number in (1, 2, 3):
        shop.deliver(f"Points_{number}.csv", GOOD, timedelta(hours=4 - number))
    return shop


def _files(shop: Shop) -> FileItems:
    return find_file_items(shop.site(), shop.bound(), Listings())


def _run(instance: DagsterInstance, item: Item | str, status: str = "QUEUED", **tags: str) -> DagsterRun:
    """A run of an item as any Dagster launches it."""
    key = item if isinstance(item, str) else item.key
    run: DagsterRun = create_run_for_test(
        instance,
        status=DagsterRunStatus.NOT_STARTED,
        remote_job_origin=RemoteJobOrigin(_PLACE, "a job"),
        tags={"ingest/import": "points", "dagster/partition": key, **tags},
    )
    events = {
        "QUEUED": ["PIPELINE_ENQUEUED"],
        "STARTING": ["PIPELINE_STARTING"],
        "STARTED": ["PIPELINE_STARTING", "PIPELINE_START"],
        "FAILURE": ["PIPELINE_STARTING", "PIPELINE_START", "PIPELINE_FAILURE"],
        "CANCELED": ["PIPELINE_STARTING", "PIPELINE_START", "PIPELINE_CANCELED"],
    }
    for event in events.get(status, []):
        instance.report_dagster_event(DagsterEvent(DagsterEventType(event).value, run.job_name), run.run_id)
    return run


class Waiter:
    """A run that asks for its turn, by a clock that runs as fast as it looks."""

    def __init__(self, shop: Shop, instance: DagsterInstance, run: DagsterRun) -> None:
        site, bound = shop.site(), shop.bound()
        self.seconds = 0.0
        self._run, self._instance = run, instance
        key = run.tags["dagster/partition"]
        self._context = find_run_context(site, bound.asset_name, key, run, 1, instance, _LOG, in_line=True)

    def has_turn(self) -> bool:
        return has_turn(self._context, self._run, self._instance, _LOG, self._rest, lambda: self.seconds)

    def _rest(self, seconds: float) -> None:
        self.seconds += 30 * seconds


Setting = Callable[[Shop, DagsterInstance, Item], object]


def _with_run(status: str, *, count: int = 1, tags: Mapping[str, str] = MappingProxyType({})) -> Setting:
    def set_up(_: Shop, instance: DagsterInstance, item: Item) -> None:
        for _run_number in range(count):
            _run(instance, item, status, **tags)

    return set_up


def _with_status(status: ItemStatus, *, retryable: bool = False, run: str = "FAILURE") -> Setting:
    def set_up(shop: Shop, instance: DagsterInstance, item: Item) -> None:
        _run(instance, item, run)
        with shop.site().target.session() as connection:
            ledger.set_item_status(connection, item, status, retryable=retryable)

    return set_up


def _dead(shop: Shop, instance: DagsterInstance, item: Item) -> None:
    """Its process was killed, and Dagster has not noticed."""
    run = _run(instance, item, "STARTED")
    run_locks.hold(shop.state, run.run_id)
    run_locks._held.pop(run_locks._path(shop.state, run.run_id)).close()


def _registered_long_ago(shop: Shop, _: DagsterInstance, __: Item) -> None:
    shop.now += timedelta(minutes=10)


def _died_long_ago(shop: Shop, instance: DagsterInstance, item: Item) -> None:
    _run(instance, item, "FAILURE")
    shop.now += timedelta(minutes=10)


FIRST_ITEMS: list[tuple[Setting, float | None]] = [
    (lambda *_: None, QUEUE_SECONDS),  # its run is about to be created, by this tick or the next one
    (_registered_long_ago, NEVER),  # nobody asks for it
    (_with_run("NOT_STARTED"), QUEUE_SECONDS),
    (_with_run("QUEUED"), QUEUE_SECONDS),
    (_with_run("STARTING"), START_SECONDS),  # a pod that the cluster has no place for
    (_with_run("STARTED"), LONGEST_WAIT_SECONDS),
    (_dead, QUEUE_SECONDS),
    (_with_run("FAILURE"), AT_ONCE),  # its process died; the sensor requests it again in a minute
    (_with_run("FAILURE", tags={"dagster/will_retry": "true"}), QUEUE_SECONDS),
    (_with_run("FAILURE", count=3), NEVER),
    (_died_long_ago, NEVER),
    (_with_run("CANCELED"), NEVER),  # a person ended it
    (_with_run("QUEUED", tags={"ingest/dry_run": "true"}), QUEUE_SECONDS),
    (_with_status("committed"), NEVER),
    (_with_status("skipped"), NEVER),
    (_with_status("refused"), NEVER),
    (_with_status("failed"), NEVER),
    (_with_status("failed", retryable=True), NEVER),  # a load that failed does not hold up others
    (_with_status("failed", retryable=True, run="STARTED"), LONGEST_WAIT_SECONDS),
]


@pytest.mark.parametrize(("setting", "patience"), FIRST_ITEMS)
def test_a_run_waits_while_the_first_item_makes_progress_and_gives_its_place_back_where_it_does_not(
    line: Shop, instance: DagsterInstance, setting: Setting, patience: float | None
) -> None:
    first, second, _ = _files(line).items
    setting(line, instance, first)
    run = _run(instance, second, "STARTED")
    waiter = Waiter(line, instance, run)
    assert waiter.has_turn() is (patience is NEVER)
    assert waiter.seconds == (patience or 0.0)
    again = instance.get_run_by_id(run.run_id)
    assert again is not None
    assert (again.tags.get(TURN_TAG) == GAVE_WAY) is (patience is not NEVER)


def test_a_run_that_gave_way_is_no_failure_and_its_item_is_requested_again(
    line: Shop, instance: DagsterInstance
) -> None:
    """However often: it never counts as one of the runs that died, after which pauses grow."""
    first, second, _ = _files(line).items
    _run(instance, first, "FAILURE")
    for _ in range(5):
        run = _run(instance, second, "STARTED")
        assert not Waiter(line, instance, run).has_turn()
        instance.report_dagster_event(DagsterEvent("PIPELINE_SUCCESS", run.job_name), run.run_id)
    files = _files(line)
    request = next_requests(line.bound(), files.waiting, files.states, instance, line.now)[second.key]
    assert request.standing == "run ended"
    assert request.pause == MINUTE
    assert request.run_key == f"{second.key}@{run.run_id[:8]}"
    assert request.is_due(datetime.now(UTC) + MINUTE)
    states = {found.item: found.state for found in open_items(line.site(), instance, line.now)}
    assert states[str(first.key)] == "failed"
    assert states.get(str(second.key), "due") == "due"


@pytest.mark.parametrize("automation", [False, True])
def test_a_run_whose_item_nobody_requests_again_says_what_to_do(
    line: Shop, instance: DagsterInstance, automation: bool
) -> None:
    if automation:
        source = {"connection": "uploads", "file": "points/Points", "settle": "1s", "pick": "all"}
        line.write_import(source=source, status="draft")
    first, second, _ = _files(line).items
    _run(instance, first, "QUEUED")
    run = _run(instance, second, "STARTED")
    site, bound = line.site(automation=automation), line.bound()
    context = find_run_context(site, bound.asset_name, second.key, run, 1, instance, _LOG, in_line=True)
    seconds = iter(range(0, 10_000, 20))
    with pytest.raises(UsageError, match=f"item {first.key} comes before it") as error:
        has_turn(context, run, instance, _LOG, lambda _: None, lambda: float(next(seconds)))
    assert error.value.hint is not None
    assert f"ingest run points --item {second.key}" in error.value.hint


def test_windows_of_a_backfill_keep_their_order_although_the_ledger_has_none_of_them(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.now = datetime.now(UTC)
    write_windows(shop)
    days = [f"{shop.now - timedelta(days=ago):%Y-%m-%d}" for ago in (9, 8, 7)]
    runs = [_run(instance, day, "STARTED", **{"dagster/backfill": "b"}) for day in days]
    other = _run(instance, days[2], "STARTED", **{"dagster/backfill": "other"})
    turns = [Waiter(shop, instance, run).has_turn() for run in (runs[0], runs[1], other)]
    assert turns == [True, False, True]
    with shop.site().target.session() as connection:
        found = [str(waiting.item.key) for waiting in ledger.unsettled_windows(connection, "points")]
    assert found == [days[1]], "housekeeping requests it again"


def test_of_two_items_of_an_import_one_comes_first(shop: Shop) -> None:
    """Whatever their kinds, times and serials: no two runs wait for each other."""
    now = datetime(2026, 11, 22, 9, tzinfo=UTC)
    times, serials = (None, now - MINUTE, now, now + MINUTE), (None, 1, 20_261_122_000_000)
    items = [
        Item("points", ItemKey(f"{number:03}-{name}"), "file" if at else "query", "u", modified_at=at, serial=serial)
        for number, (at, serial, name) in enumerate(product(times, serials, "ba"))
    ]
    with shop.site().target.session() as connection:
        ledger.register_items(connection, items, now)
        before = {item.key: {each.item.key for each in ledger.waiting_before(connection, item)} for item in items}
    assert sorted(map(len, before.values())) == list(range(len(items)))
    for one, other in permutations(before, 2):
        assert (one in before[other]) != (other in before[one])


def test_runs_that_start_in_the_wrong_order_load_in_the_right_one(
    line: Shop, kept_instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest first, the others once it waits; each in a thread, as processes would run."""
    monkeypatch.setattr(turns, "QUEUE_SECONDS", 3_600.0)  # this test begins every run itself
    items = _files(line).items
    kept_instance.add_dynamic_partitions(partitions_name(line.bound()), [str(item.key) for item in items])
    definitions = line.definitions()
    with ThreadPoolExecutor(3) as threads:
        runs = []
        for started, item in enumerate(reversed(items), start=1):
            runs.append(threads.submit(line.run, kept_instance, item, defs=definitions))
            if started < len(items):
                until(lambda: kept_instance.get_runs_count() == started)  # noqa: B023  # evaluated here
        assert all(run.result().success for run in runs)
    loads = line.rows("SELECT item, status FROM ingest.loads ORDER BY id")
    assert [item for item, _ in loads] == [str(item.key) for item in items]
    assert {status for _, status in loads} == {"committed"}
    assert len(kept_instance.fetch_materializations(asset_key(line.bound()), limit=9).records) == len(items)


def test_a_run_with_nothing_before_it_asks_the_ledger_once_more_and_dagster_never(
    line: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _files(line).items[0]
    run = _run(instance, first, "STARTED")
    context = find_run_context(line.site(), line.bound().asset_name, first.key, run, 1, instance, _LOG, in_line=True)
    for questions in ("get_runs", "get_run_records", "get_run_by_id"):
        monkeypatch.setattr(instance, questions, lambda *_: pytest.fail("Dagster was asked"))
    monkeypatch.setattr(type(context.site.target), "connect", lambda _: pytest.fail("the ledger was asked again"))
    assert has_turn(context, run, instance, _LOG)
    assert context.run == Run(run.run_id, 1, by="dagster", forced=False, dry_run=False)
