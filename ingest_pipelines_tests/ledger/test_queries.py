"""The ledger answers what is there to load, what was loaded and what was rejected."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ingest_pipelines import ledger
from ingest_pipelines.ledger import Correction
from ingest_pipelines.model import Counts, Item, ItemKey, ItemKind, ItemStatus, LoadStatus, Run
from ingest_pipelines_tests.memory import resident

NOW = datetime(2026, 11, 22, 9, 15, tzinfo=UTC)


def file(number: int, *, of: str = "loyalty", kind: ItemKind = "file") -> Item:
    return Item(
        of, ItemKey(f"{of}-{number}"), kind, uri="sftp://x", path="a.csv", size=7, serial=number, version="v",
        fingerprint="f", modified_at=NOW + timedelta(hours=number),
    )  # fmt: skip


def load(
    connection: psycopg.Connection, item: Item, run: str, status: LoadStatus = "committed", counts: Counts | None = None
) -> int:
    ledger.register_items(connection, [item], NOW)
    number = ledger.open_load(connection, ledger.NewLoad(item, Run(run), NOW, content_sha256=run))
    assert number is not None
    ledger.close_load(
        connection, number, ledger.LoadOutcome(status, counts or Counts(), NOW + timedelta(minutes=number))
    )
    ledger.set_item_status(connection, item, "new" if status == "running" else status)
    return number


def reject(line: int, code: str = "bad_int") -> ledger.NewReject:
    return ledger.NewReject(line, f"c{line}", "points", code, "not a whole number", {"B": "1", "A": None})


def test_an_item_comes_back_as_it_was_registered_and_is_registered_once(connection: psycopg.Connection) -> None:
    item = replace(file(1), cursor_from="5", window_start=NOW, window_end=NOW + timedelta(days=1))
    ledger.register_items(connection, [item, file(2)], NOW)
    ledger.register_items(connection, [replace(item, uri="elsewhere")], NOW + timedelta(days=1))
    assert ledger.find_item(connection, "loyalty", item.key) == item
    assert ledger.find_item(connection, "other", item.key) is None
    assert [each.key for each in ledger.list_items(connection, "loyalty")] == ["loyalty-2", "loyalty-1"]
    assert [each.key for each in ledger.list_items(connection, "loyalty", last=1)] == ["loyalty-2"]
    assert ledger.list_items(connection, "loyalty", status="failed") == []
    state = ledger.find_item_state(connection, "loyalty", item.key)
    assert state == ledger.ItemState(item.key, "new", NOW)


@pytest.mark.parametrize(
    ("kind", "after"), [("file", "committed"), ("upload", "committed"), ("window", "committed"), ("cursor", "failed")]
)
def test_a_committed_item_stays_so_unless_it_is_a_drain(
    connection: psycopg.Connection, kind: ItemKind, after: ItemStatus
) -> None:
    item = file(1, kind=kind)
    ledger.register_items(connection, [item], NOW)
    for status in ("failed", "committed", "failed"):
        ledger.set_item_status(connection, item, status)
    state = ledger.find_item_state(connection, "loyalty", item.key)
    assert state is not None
    assert state.status == after


def test_items_that_wait_are_those_without_a_load_and_those_whose_failure_may_go_away(
    connection: psycopg.Connection,
) -> None:
    outcomes: list[tuple[ItemStatus, bool]] = [
        ("committed", False), ("skipped", False), ("refused", False), ("failed", False), ("failed", True),
    ]  # fmt: skip
    items = [file(number) for number in range(len(outcomes))]
    ledger.register_items(connection, [*items, file(9, of="other")], NOW)
    for item, (status, retryable) in zip(items, outcomes, strict=True):
        ledger.set_item_status(connection, item, status, retryable=retryable)
    waiting = ledger.waiting_items(connection)
    assert [(each.item.key, each.state.status, each.state.retryable) for each in waiting] == [
        ("loyalty-4", "failed", True), ("other-9", "new", False),
    ]  # fmt: skip
    assert waiting[0].item == replace(items[4], cursor_committed=None)
    ledger.set_item_status(connection, items[4], "failed")
    assert [each.item.key for each in ledger.waiting_items(connection)] == ["other-9"]


def test_a_run_key_has_one_load_and_a_failed_try_gives_way(connection: psycopg.Connection) -> None:
    first = load(connection, file(1), "run", "failed")
    ledger.add_rejects(connection, first, [reject(2)])
    second = load(connection, file(1), "run")
    assert second > first
    assert ledger.get_load(connection, first) is None
    assert ledger.reject_codes(connection, first) == {}
    assert ledger.open_load(connection, ledger.NewLoad(file(1), Run("run"), NOW)) is None
    chunk = replace(file(1), cursor_from="10")
    assert ledger.open_load(connection, ledger.NewLoad(chunk, Run("run"), NOW)) is not None
    found = ledger.find_load(connection, file(1), "run")
    assert found is not None
    assert (found.id, found.status) == (second, "committed")
    assert [each.cursor_from for each in ledger.loads_of_run(connection, "run")] == [None, "10"]


def test_last_and_newest_differ_after_a_forced_older_item(connection: psycopg.Connection) -> None:
    assert ledger.last_committed(connection, "loyalty") is None
    load(connection, file(2), "new", counts=Counts(read=5))
    load(connection, file(1), "old, forced")
    load(connection, file(3), "failed", "failed")
    load(connection, file(9, kind="replay"), "corrections")
    last, newest = ledger.last_committed(connection, "loyalty"), ledger.newest_committed(connection, "loyalty")
    assert last is not None
    assert newest is not None
    assert (last.item, newest.item, newest.read) == ("loyalty-1", "loyalty-2", 5)
    assert [each.run_id for each in ledger.recent_loads(connection, "loyalty", 2)] == ["corrections", "failed"]


def test_the_summary_has_the_last_load_of_every_import(connection: psycopg.Connection) -> None:
    good = load(connection, file(1), "good", counts=Counts(read=3, inserted=3))
    load(connection, file(2), "bad", "failed")
    load(connection, file(1, of="other"), "fine")
    ledger.register_items(connection, [file(1, of="never loaded")], NOW)
    found = ledger.summaries(connection)
    assert set(found) == {"loyalty", "other"}
    assert (found["loyalty"].status, found["loyalty"].committed_at) == ("failed", NOW + timedelta(minutes=good))
    assert ledger.summaries(connection, ["loyalty", "no such import"]) == {"loyalty": found["loyalty"]}
    assert ledger.summaries(connection, []) == {}


def test_the_imports_of_new_loads_and_new_actions_are_named(connection: psycopg.Connection) -> None:
    load(connection, file(1), "old")
    ledger.record_audit(connection, "ann@desk", "paused", NOW, import_name="daily")
    before = ledger.newest_entries(connection)
    assert ledger.imports_since(connection, *before) == set()
    load(connection, file(1, of="other"), "new")
    ledger.record_audit(connection, "ann@desk", "resumed", NOW, import_name="loyalty")
    ledger.record_audit(connection, "ann@desk", "looked at a sample", NOW)
    assert ledger.imports_since(connection, *before) == {"other", "loyalty"}
    assert ledger.imports_since(connection, None, None) == {"other", "loyalty", "daily"}


def test_rejects_are_listed_exported_by_row_and_resolved(connection: psycopg.Connection) -> None:
    bad = Counts(read=4, rejected=3, unmatched=1)
    first, second = load(connection, file(1), "1", counts=bad), load(connection, file(2), "2", counts=bad)
    ledger.add_rejects(connection, first, [reject(3)])
    ledger.add_rejects(connection, second, [reject(5), reject(2), reject(5, "min"), reject(7, "unmatched")])
    load(connection, file(3), "3")
    listed = ledger.list_rejects(connection, "loyalty")
    assert [(each.load, each.line, each.code) for each in listed] == [
        (second, 2, "bad_int"), (second, 5, "bad_int"), (second, 5, "min")
    ]  # fmt: skip
    assert [each.line for each in ledger.list_rejects(connection, "loyalty", code="min")] == [5]
    assert [each.line for each in ledger.list_rejects(connection, "loyalty", code="unmatched")] == [7]
    assert [each.line for each in ledger.list_rejects(connection, "loyalty", load=first)] == [3]
    assert ledger.list_rejects(connection, "other", load=first) == []
    assert len(ledger.list_rejects(connection, "loyalty", limit=1)) == 1
    rows = list(ledger.rejected_rows(connection, "loyalty", second))
    assert [(row.line, list(row.codes)) for row in rows] == [(2, ["bad_int"]), (5, ["bad_int", "min"])]
    assert list((rows[0].row or {}).items()) == [("B", "1"), ("A", None)], "the source's columns keep their order"
    assert ledger.rejected_columns(connection, second) == ["B", "A"]
    assert ledger.reject_codes(connection, second) == {"bad_int": 2, "min": 1, "unmatched": 1}


@pytest.mark.parametrize("reader", ["export", "forget"])
def test_rejected_rows_of_a_megabyte_are_read_some_at_a_time(connection: psycopg.Connection, reader: str) -> None:
    """A gigabyte of them would take more than the process may have."""
    rows, mega = 240, 1 << 20
    number = load(connection, file(1), "1", counts=Counts(read=rows, rejected=rows))
    connection.execute(
        "INSERT INTO ingest.rejects (load, line, key, field, code, reason, row)"
        " SELECT %s, n, 'c' || n, 'points', 'bad_int', 'no number', json_build_object('A', repeat('x', %s))"
        " FROM generate_series(1, %s) n",
        (number, mega, rows),
    )
    before, most, found = resident(), 0, 0
    if reader == "export":
        for row in ledger.rejected_rows(connection, "loyalty", number):
            most, found = max(most, resident() - before), found + (len((row.row or {})["A"] or "") == mega)
    else:
        for some in ledger.reject_cells(connection, ["loyalty"]):
            most, found = max(most, resident() - before), found + len(some)
    assert found == rows
    assert most < rows * mega / 2


def test_a_replays_load_resolves_what_it_took_and_no_other_row(connection: psycopg.Connection) -> None:
    first, second = load(connection, file(1), "1"), load(connection, file(2), "2")
    ledger.add_rejects(connection, first, [reject(3), reject(3, "min"), reject(5), reject(6)])
    ledger.add_rejects(connection, second, [reject(3), reject(5)])
    replayed = file(9, kind="replay")
    corrections = [Correction(2, first, 3), Correction(3, first, 5), Correction(4, second, 5)]
    for _ in range(2):
        ledger.add_corrections(connection, replayed, corrections)
    assert ledger.count_settled(connection, replayed) == 0
    third = load(connection, replayed, "3")
    ledger.add_rejects(connection, third, [reject(3), reject(4, "unmatched")])
    for _ in range(2):
        ledger.resolve_corrected(connection, replayed, third, NOW)
        ledger.close_rejected_again(connection, replayed, third, NOW)
    states = [{line: s.open for line, s in ledger.row_states(connection, of).items()} for of in (first, second, third)]
    assert states == [{3: False, 5: True, 6: True}, {3: True, 5: False}, {3: False}]
    assert [ledger.count_open(connection, of) for of in (first, second, third)] == [2, 1, 0]
    assert ledger.corrected_rows(connection, replayed, third) == {first: 1, second: 1}
    assert ledger.count_settled(connection, replayed) == 2
    assert ledger.purge_rejects(connection, NOW + timedelta(days=1)) == 8
    assert ledger.corrected_rows(connection, replayed, third) == {}


def test_an_export_has_every_column_that_any_of_its_rows_was_kept_with(connection: psycopg.Connection) -> None:
    number = load(connection, file(1), "1")
    matched = replace(reject(2, "duplicate_match"), row={"A": "1"})  # the look-up of profiles knows mapped columns only
    ledger.add_rejects(connection, number, [matched, reject(3), replace(reject(4), row={"A": "2", "odd\r": None})])
    assert ledger.rejected_columns(connection, number) in (["B", "A", "odd\r"], ["A", "odd\r", "B"])
    ledger.add_rejects(connection, number, [replace(reject(5), row={"B": "", "C": "", "A": "", "D": ""})])
    assert ledger.rejected_columns(connection, number) == ["B", "C", "A", "D", "odd\r"]


def test_a_replay_is_no_delivery(connection: psycopg.Connection) -> None:
    delivered = load(connection, file(1), "1", counts=Counts(read=3, inserted=2, rejected=1))
    settled = ledger.last_settled(connection, "loyalty")
    load(connection, file(9, kind="replay"), "2", counts=Counts(read=1, inserted=1))
    load(connection, file(8, kind="replay"), "3", "failed")
    summary = ledger.summaries(connection)["loyalty"]
    assert (summary.load, summary.status, summary.read, summary.rejected) == (delivered, "committed", 3, 1)
    assert summary.committed_at == settled == ledger.last_settled(connection, "loyalty")


def test_a_purge_takes_old_rejects_and_leaves_the_loads(connection: psycopg.Connection) -> None:
    number = load(connection, file(1), "1")
    ledger.add_rejects(connection, number, [reject(2)])
    assert ledger.purge_rejects(connection, NOW) == 0
    assert ledger.purge_rejects(connection, NOW + timedelta(days=1), ["other"]) == 0
    assert ledger.purge_rejects(connection, NOW + timedelta(days=1), ["loyalty"]) == 1
    assert ledger.get_load(connection, number) is not None


def test_a_mapping_is_locked_once_until_it_is_unlocked(connection: psycopg.Connection) -> None:
    ledger.set_import_status(connection, "loyalty", "customers", "paused", NOW)
    for number, kind in enumerate(("int", "text")):
        ledger.lock_mapping(connection, "loyalty", "customers", f"f{number}", {"P": ("points", kind)}, NOW)
    state = ledger.find_import(connection, "loyalty")
    assert state is not None
    assert (state.status, state.fingerprint) == ("paused", "f0")
    assert {column: tuple(pair) for column, pair in (state.mapping or {}).items()} == {"P": ("points", "int")}
    assert ledger.unlock_mapping(connection, "loyalty")
    assert not ledger.unlock_mapping(connection, "loyalty")
    assert ledger.list_imports(connection)["loyalty"].mapping is None


def test_fields_keep_the_type_they_were_created_with(connection: psycopg.Connection) -> None:
    ledger.register_fields(connection, "customers", [("age", "int")], "one", NOW)
    ledger.register_fields(connection, "customers", [("age", "text"), ("tier", "string")], "two", NOW)
    found = ledger.registered_fields(connection, "customers")
    assert {name: (each.type, each.created_by) for name, each in found.items()} == {
        "age": ("int", "one"), "tier": ("string", "two")
    }  # fmt: skip


def test_a_cursor_and_a_deed_are_remembered(connection: psycopg.Connection) -> None:
    assert ledger.find_cursor(connection, "loyalty") is None
    ledger.set_cursor(connection, "loyalty", "10", NOW, load=3)
    ledger.set_cursor(connection, "loyalty", "7", NOW)
    assert ledger.find_cursor(connection, "loyalty") == ledger.CursorState("loyalty", "7", None, NOW)
    ledger.record_audit(connection, "ann@desk", "cursor set", NOW, import_name="loyalty", detail={"to": "7"})
    ledger.record_audit(connection, "bob@desk", "pause", NOW, import_name="other")
    [deed] = ledger.list_audit(connection, import_name="loyalty")
    assert (deed.who, deed.what, deed.detail) == ("ann@desk", "cursor set", {"to": "7"})
    assert [each.who for each in ledger.list_audit(connection)] == ["bob@desk", "ann@desk"]


def test_the_lag_of_a_quiet_cursor_is_since_the_last_look_unless_an_item_is_open(
    connection: psycopg.Connection,
) -> None:
    loaded, looked = NOW - timedelta(days=1), NOW
    items = {name: file(1, of=name, kind="cursor") for name in ("quiet", "failing", "lagging", "behind")}
    items["folder"] = file(1, of="folder")
    for name, item in items.items():
        load(connection, item, name)
        if name != "folder":
            ledger.set_cursor(connection, name, "5", NOW)
        if name != "lagging":  # it has not been looked at since
            ledger.record_success(connection, name, "vendor", looked)
    connection.execute("UPDATE ingest.loads SET finished_at = %s", (loaded,))
    load(connection, file(2, of="failing", kind="cursor"), "again", "failed")
    ledger.register_items(connection, [file(2, of="behind", kind="cursor")], NOW)
    now = connection.execute("SELECT now()").fetchone()
    assert now is not None
    since = {
        one.import_name: now[0] - timedelta(seconds=one.lag_seconds or 0) for one in ledger.list_metrics(connection)
    }
    assert since == {"quiet": looked, "failing": loaded, "lagging": loaded, "behind": loaded, "folder": loaded}
