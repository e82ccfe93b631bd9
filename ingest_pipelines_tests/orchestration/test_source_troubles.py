"""Who waits for a source: a model over hosts says it from a history of looks, and the product from the last ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.ledger import SourceCheck, SourceTrouble
from ingest_pipelines.orchestration.monitoring.source_troubles import (
    described_trouble,
    down_sources,
    waiting_imports,
)

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
SHOP = {"orders": "shop", "members": "shop", "returns": "shop", "points": "tills"}
ALL = {"orders", "members", "returns"}


def look(name: str, minute: int, trouble: SourceTrouble | None = None, step: str = "login", **more: str) -> SourceCheck:
    at = NOON + timedelta(minutes=minute)
    connection = more.get("connection", SHOP[name])
    if trouble is None:
        return SourceCheck(name, connection, at, succeeded_at=at)
    return SourceCheck(name, connection, at, None, at, trouble, step, f"{name}: no")


@pytest.mark.parametrize(
    ("what", "looks", "waiting"),
    [
        ("nobody has looked", [], set()),
        ("all answer", [look("orders", 0), look("points", 0)], set()),
        ("one hangs, the others were not looked for", [look("orders", 0, "hung")], ALL),
        ("refused login", [look("orders", 0, "denied")], ALL),
        ("unreachable", [look("orders", 0, "unreachable", "connect")], ALL),
        ("broke off while reading", [look("orders", 0, "unreachable", "read")], ALL),
        ("another one answered before", [look("orders", 5, "hung"), look("members", 4)], ALL),
        ("another one answers since", [look("orders", 5, "hung", "read"), look("members", 6)], {"orders"}),
        ("its folder is missing", [look("orders", 5, "denied", "list")], {"orders"}),
        ("two of three, one whole", [look("orders", 5, "denied", "folder"), look("members", 6, "hung")], ALL),
        ("a look at the connection of before", [look("orders", 5, "hung", connection="old")], set()),
        ("another connection", [look("points", 5, "hung"), look("orders", 5)], {"points"}),
    ],
)  # fmt: skip
def test_a_connection_that_does_not_answer_is_waited_for_by_all_its_imports(
    what: str, looks: list[SourceCheck], waiting: set[str]
) -> None:
    found = waiting_imports({check.import_name: check for check in looks}, SHOP)
    assert set(found) == waiting, what
    assert all(check.import_name == name and check.trouble for name, check in found.items())
    told = [name for down in down_sources(found) for name in down.imports]
    assert sorted(told) == sorted(waiting), "each is told of once"


def test_the_oldest_trouble_comes_first_and_names_the_imports_that_wait_for_it() -> None:
    checks = {check.import_name: check for check in (look("orders", 5, "hung"), look("points", 2, "denied"))}
    first, second = down_sources(waiting_imports(checks, SHOP))
    assert (first.connection, first.imports, first.trouble, first.step) == ("tills", ("points",), "denied", "login")
    assert (second.connection, second.imports) == ("shop", ("members", "orders", "returns"))
    assert second.since == NOON + timedelta(minutes=5)
    assert (
        described_trouble("shop", "hung", "login", checks["orders"].since)
        == "connection shop hangs at login, since 2026-11-29 12:05 UTC"
    )


@dataclass
class Server:
    """A server that is up or hangs as a whole, and may have dropped one import's table."""

    up: bool = True
    dropped: str = ""


EVENTS = st.one_of(
    st.tuples(st.just("look"), st.sampled_from(sorted(SHOP))),
    st.tuples(st.just("hang"), st.just("")),
    st.tuples(st.just("mend"), st.just("")),
    st.tuples(st.just("drop"), st.sampled_from(["orders", "members"])),
)


@given(st.lists(EVENTS, max_size=25))
def test_whatever_the_history_nobody_waits_for_a_server_that_answered_last(events: list[tuple[str, str]]) -> None:
    server = Server()
    checks: dict[str, SourceCheck] = {}
    last_seen: str | None = None
    for minute, (what, name) in enumerate(events):
        if what == "hang":
            server.up = False
        elif what == "mend":
            server.up, server.dropped = True, ""
        elif what == "drop":
            server.dropped = name
        elif SHOP[name] == "shop":
            if not server.up:
                trouble: SourceTrouble | None = "hung"
            else:
                trouble = "denied" if server.dropped == name else None
            since = checks[name].failing_since if name in checks and trouble else None
            seen = look(name, minute, trouble, "login" if trouble == "hung" else "list")
            checks[name] = SourceCheck(**{**vars(seen), "failing_since": since or seen.failing_since})
            last_seen = trouble
    waiting = waiting_imports(checks, SHOP)
    if last_seen == "hung":
        assert set(waiting) == ALL
    own = {name for name, check in checks.items() if check.trouble is not None}
    assert own <= set(waiting)
    if last_seen is None:
        assert set(waiting) == own, "a server that has just answered is nobody else's trouble"
