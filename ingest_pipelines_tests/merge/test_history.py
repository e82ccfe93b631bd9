"""With `history: true` a load keeps the old values of fields that it changes: what was known on a day has an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest_pipelines.config.databases import Database
from ingest_pipelines.errors import TargetRefused
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.merge.history import list_history, profile_at, purge_history
from ingest_pipelines.model import Counts, LoadReport, Run
from ingest_pipelines_tests.merge.deliveries import CUSTOMERS, NOW, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

KEEPS = {
    **CUSTOMERS, "history": True,
    "fields": {**CUSTOMERS["fields"], "balance": {"type": "decimal(30,10)"}},
}  # fmt: skip
DATABASE = Database.model_validate(KEEPS)
COLUMNS = {"CID": "customer_id", "Tier": "tier", "Points": "points"}
BALANCES = {"CID": "customer_id", "Balance": "balance"}

Deliver = Callable[..., LoadReport]


@pytest.fixture
def deliver(target: Target, tmp_path: Path, begin: Any) -> Deliver:
    """Loads rows as the next item of an import; `early`: merged while they are validated."""
    numbers: dict[str, int] = {}

    def load(
        rows: Any, name: str = "loyalty", *, early: bool = False, database: Any = KEEPS, **spec: Any
    ) -> LoadReport:
        numbers[name] = number = numbers.get(name, 0) + 1
        bound = bound_import(name, database, **{"columns": COLUMNS, "shrink": {"min_percent": 0}, **spec})
        validated = delivery(tmp_path, bound, rows, of=item(number, name=name))
        run = Run(f"{name}-{number}", by="schedule")
        return apply(validated, bound, target, run, NOW, early=begin(validated, bound, run) if early else None)

    return load


@pytest.fixture
def known(target_url: str) -> Callable[..., Any]:
    """The profile as it was known at that time."""

    def known(key: str, at: datetime) -> dict[str, Any] | None:
        with psycopg.connect(target_url) as connection:
            return profile_at(connection, DATABASE, key, at)

    return known


def _moment(query: Rows) -> datetime:
    """The time by the server's clock: after all that was loaded."""
    [(moment,)] = query("SELECT clock_timestamp()")
    assert isinstance(moment, datetime)
    return moment


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("events", [False, True])
def test_what_was_known_at_any_time_has_an_answer(
    deliver: Deliver, query: Rows, known: Any, early: bool, events: bool
) -> None:
    before = _moment(query)
    deliver([("a", "Gold", 1), ("b", "Gold", 1)], early=early, events=events)
    first = _moment(query)
    report = deliver([("a", "Gold", 2), ("b", "Gold", 1), ("c", None, 3)], early=early, events=events)
    assert report.counts == Counts(read=3, inserted=1, updated=1, unchanged=1)
    second = _moment(query)
    deliver([("a", "Iron", 3), ("c", "Iron", 3)], early=early, events=events)
    deliver([("a", Decimal("0.1000000001"))], "balances", columns=BALANCES, early=early, events=events)
    third = _moment(query)

    def facts(key: str, at: datetime) -> Any:
        values = known(key, at)
        return values and (values["tier"], values["points"], values["balance"])

    exact = Decimal("0.1000000001")
    assert [facts("a", at) for at in (before, first, second, third)] == [
        None, ("Gold", 1, None), ("Gold", 2, None), ("Iron", 3, exact)
    ]  # fmt: skip
    assert [facts("b", at) for at in (before, first, second, third)] == [None, *[("Gold", 1, None)] * 3]
    assert [facts("c", at) for at in (before, first, second, third)] == [None, None, (None, 3, None), ("Iron", 3, None)]
    assert query("SELECT old FROM crm.customers_history ORDER BY valid_to, profile_id") == [
        ({"points": 1},), ({"tier": "Gold", "points": 2},), ({"tier": None},), ({"balance": None},)
    ], "only fields that changed"  # fmt: skip
    assert query(
        "SELECT count(*) FROM (SELECT *, lag(valid_to) OVER (PARTITION BY profile_id ORDER BY valid_to) AS before"
        " FROM crm.customers_history) h WHERE valid_from > valid_to OR valid_from <> before"
    ) == [(0,)], "each row begins where the one before it ends"
    assert query("SELECT count(*) FROM crm.customers WHERE _changed_at IS NULL") == [(0,)]


def test_a_table_that_exists_is_known_from_the_first_load_with_a_history_on(
    deliver: Deliver, query: Rows, known: Any
) -> None:
    deliver([("a", "Gold", 1)], database={**KEEPS, "history": False})
    assert query("SELECT to_regclass('crm.customers_history')") == [(None,)]
    before = _moment(query)
    report = deliver([("a", "Iron", 1), ("b", "Iron", 1)])
    assert [words.split(" ON ")[0].split(" (")[0] for words in report.ddl if "history" in words] == [
        'CREATE TABLE "crm"."customers_history"', 'CREATE INDEX "customers_history_profile"',
        'CREATE INDEX "customers_history_until"',
    ]  # fmt: skip
    assert known("a", before) is None, "nothing is known of the time before"
    deliver([("a", "Steel", 1)])
    with_old = query("SELECT old ->> 'tier' FROM crm.customers_history ORDER BY valid_to")
    assert with_old == [("Gold",), ("Iron",)]
    deliver([("a", "Tin", 1)], database={**KEEPS, "history": False})
    assert len(query("SELECT 1 FROM crm.customers_history")) == 2, "switched off, nothing is kept"


def test_a_version_of_its_own_keeps_the_times_whole(deliver: Deliver, query: Rows, known: Any) -> None:
    deliver([("a", "Gold", 1, "1")], version="Rev")
    first = _moment(query)
    deliver([("a", "Gold", 1, "2")], version="Rev")
    deliver([("a", "Iron", 1, "3")], version="Rev")
    assert known("a", first)["tier"] == "Gold"
    assert query("SELECT old FROM crm.customers_history ORDER BY valid_to") == [({},), ({"tier": "Gold"},)]


def test_a_row_that_waited_leaves_old_values_too(deliver: Deliver, query: Rows, known: Any) -> None:
    deliver([("x", "Gold", 1)])
    deliver([("a", "Gold", 1)], "late", mode="update_only", unmatched={"keep": "30d"})
    deliver([("a", "a@example.com")], "shop", columns={"CID": "customer_id", "Email": "email"})
    after = _moment(query)
    assert query("SELECT old FROM crm.customers_history") == [({"tier": None, "points": None},)]
    deliver([("a", "Iron", 1)])
    assert known("a", after)["tier"] == "Gold"


def test_a_killed_load_leaves_no_old_values(deliver: Deliver, target: Target, query: Rows, tmp_path: Path) -> None:
    deliver([("a", "Gold", 1)])
    bound = bound_import("second", KEEPS, columns=COLUMNS)

    class Killed(Exception):
        """The load ends here."""

    def die(point: str) -> None:
        if point == "closed":
            raise Killed

    with pytest.raises(Killed):
        apply(delivery(tmp_path, bound, [("a", "Iron", 2)]), bound, target, Run("2"), NOW, fault=die)
    assert query("SELECT count(*) FROM crm.customers_history") == [(0,)]
    assert query("SELECT tier FROM crm.customers") == [("Gold",)]


def test_a_role_that_may_not_keep_old_values_is_told_the_grants(
    deliver: Deliver, target: Target, query: Rows, tmp_path: Path
) -> None:
    deliver([("a", "Gold", 1), ("b", "Gold", 1)])
    user = f"loader_{target.url.rpartition('_')[2][:12]}"
    query(f"CREATE ROLE {user}; GRANT ALL ON SCHEMA crm, ingest TO {user};"
          f" GRANT ALL ON ALL TABLES IN SCHEMA ingest TO {user}; GRANT ALL ON ALL SEQUENCES IN SCHEMA ingest TO {user};"
          f" GRANT SELECT, INSERT, UPDATE, DELETE ON crm.customers TO {user}")  # fmt: skip
    as_role = replace(target, url=f"{target.url}{'&' if '?' in target.url else '?'}options=-crole%3D{user}")
    change = bound_import("loyalty", KEEPS, columns=COLUMNS, shrink={"min_percent": 0})
    leavers = {"mode": "delete", "columns": {"CID": "customer_id"}, "deletes": {"max_percent": 100}}
    for bound, rows, grant in (
        (change, [("a", "Iron", 1)], "SELECT, INSERT"), (bound_import("leavers", KEEPS, **leavers), [("a",)], "DELETE"),
    ):  # fmt: skip
        validated = delivery(tmp_path, bound, rows, of=item(9, name=bound.name))
        statement = f'GRANT {grant} ON "crm"."customers_history" TO "{user}"'
        with pytest.raises(TargetRefused, match=statement):
            apply(validated, bound, as_role, Run(f"no-{bound.name}", by="sensor"), NOW)
        query(statement)
        assert apply(validated, bound, as_role, Run(f"yes-{bound.name}", by="sensor"), NOW).counts.balanced
    assert query("SELECT count(*) FROM crm.customers_history") == [(0,)]
    query(f"DROP OWNED BY {user}; DROP ROLE {user}")


def test_old_values_end_with_their_retention(deliver: Deliver, query: Rows, target: Target, known: Any) -> None:
    for number in range(4):
        deliver([("a", f"T{number}", number)])
    middle = query("SELECT valid_to FROM crm.customers_history ORDER BY 1")[1][0] + timedelta(microseconds=1)
    with target.session() as connection:
        assert purge_history(connection, DATABASE, middle) == 2
        assert [past.old["tier"] for past in list_history(connection, DATABASE, "a", 10)] == ["T2"]
    assert known("a", middle)["tier"] == "T2", "what came later is still known"


def test_more_fields_than_a_function_has_arguments_are_kept(deliver: Deliver, query: Rows) -> None:
    fields = {f"f{number}": {"type": "int"} for number in range(120)}
    database = {**KEEPS, "fields": {**KEEPS["fields"], **fields}, "max_fields_per_import": 200}
    columns = {"CID": "customer_id", **{name: name for name in fields}}
    deliver([("a", *range(120))], columns=columns, database=database)
    deliver([("a", *range(1, 121))], columns=columns, database=database)
    assert query("SELECT old FROM crm.customers_history") == [({name: int(name[1:]) for name in fields},)]


def test_a_search_for_refused_rows_keeps_old_values_once(deliver: Deliver, query: Rows) -> None:
    columns = {"CID": "customer_id", "Email": "email"}
    deliver([("a", "a@example.com"), ("b", "b@example.com"), ("c", "c@example.com")], columns=columns)
    query("CREATE UNIQUE INDEX ON crm.customers (email)")
    query("ALTER TABLE crm.customers ADD CHECK (email <> 'bad@example.com')")
    report = deliver(
        [("a", "b@example.com"), ("b", "a@example.com"), ("c", "bad@example.com")], columns=columns,
        rejects={"unlimited": True},
    )  # fmt: skip
    assert (report.counts.updated, report.counts.rejected) == (2, 1)
    assert query("SELECT old ->> 'email' FROM crm.customers_history ORDER BY profile_id") == [
        ("a@example.com",), ("b@example.com",)
    ], "not what was freed on the way"  # fmt: skip
