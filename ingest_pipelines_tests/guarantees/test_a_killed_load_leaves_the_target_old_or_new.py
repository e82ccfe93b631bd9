"""A loader killed at any point, over random batches: the target is as before the load, or as after it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.merge.faults import EARLY_FAULT_POINTS, FAULT_POINTS, NEW_TABLE_FAULT_POINTS, SEARCH_FAULT_POINTS
from ingest_pipelines.model import ItemKey, Run
from ingest_pipelines_tests.guarantees.killable import KillableLoader, Load
from ingest_pipelines_tests.guarantees.world import CONSENT, CONTACT, Row, World, read_world
from ingest_pipelines_tests.merge.deliveries import (
    COLUMNS,
    CUSTOMERS,
    NOW,
    SENSOR,
    Rejected,
    bound_import,
    delivery,
    item,
)
from ingest_pipelines_tests.merge.targets import Rows

ROUNDS = 2
"""Kills at each fault point, in each slow part, on each version of Postgres. The fast part has one."""

PARTS = [1, *(pytest.param(part, marks=pytest.mark.slow) for part in range(2, 11))]
"""Each is a history of its own. All ten are some 900 kills, and take some minutes: so that each can run by itself."""

AFTER_COMMIT = {"committed"}

NOT_EARLY = {"copying", "altered", "matched"}
"""Fault points that a load does not pass if an early load has merged its rows."""


WITH_HISTORY = {**CUSTOMERS, "history": True}


def random_batch(chance: random.Random) -> tuple[list[Row], list[Rejected]]:
    """Some customers of a small town, so that batches overlap, and some rejects."""
    customers = chance.sample(range(40), chance.randrange(1, 25))
    rows: list[Row] = [
        (
            f"c{number}",
            chance.choice([None, "Gold", "Silver"]),
            chance.choice([None, 1, 2, 3]),
            chance.choice([None, f"{number}@example.com"]),
        )
        for number in customers
    ]
    return rows, [Rejected(line) for line in range(100, 100 + chance.randrange(4))]


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_load_leaves_the_target_old_or_new(
    target: Target, loader: KillableLoader, tmp_path: Path, part: int
) -> None:
    bound = bound_import(
        columns=COLUMNS, subscriptions=[CONSENT], rejects={"unlimited": True}, shrink={"min_percent": 0}
    )
    assert bound.extra_columns == (CONTACT,)
    _kill_again_and_again(target, loader, tmp_path, bound, FAULT_POINTS * (1 if part == 1 else ROUNDS))


@pytest.mark.parametrize("part", PARTS)
def test_so_does_a_load_that_began_while_its_rows_were_validated(
    target: Target, loader: KillableLoader, tmp_path: Path, part: int
) -> None:
    """This one keeps old values, too."""
    bound = bound_import(database=WITH_HISTORY, columns=COLUMNS, rejects={"unlimited": True}, shrink={"min_percent": 0})
    points = tuple(point for point in (*EARLY_FAULT_POINTS, *FAULT_POINTS) if point not in NOT_EARLY)
    _kill_again_and_again(target, loader, tmp_path, bound, points, early=True)


def test_so_does_the_load_that_makes_the_table(target: Target, loader: KillableLoader, tmp_path: Path) -> None:
    bound = bound_import(columns=COLUMNS)
    rows: list[Row] = [(f"c{number}", "Gold", number, None) for number in range(20)]
    validated = delivery(tmp_path, bound, [row[:3] for row in rows], chunks=2)
    load = Load(validated, bound, target, SENSOR, NOW, early=True)
    for point in (*EARLY_FAULT_POINTS, *NEW_TABLE_FAULT_POINTS, "merged", "closed"):
        assert not loader.run(replace(load, dies_at=point)), f"not killed at {point}"
        assert read_world(target.url) == World(), point
    assert loader.run(load)
    assert read_world(target.url) == World().after(validated.landing.item.key, rows, [])


def test_so_does_a_load_that_keeps_old_values(target: Target, loader: KillableLoader, tmp_path: Path) -> None:
    bound = bound_import(database=WITH_HISTORY, columns=COLUMNS, rejects={"unlimited": True}, shrink={"min_percent": 0})
    _kill_again_and_again(target, loader, tmp_path, bound, ("merged", "events written", "closed", "committed"))


def test_so_does_a_load_that_searches_for_rows_that_the_table_refuses(
    target: Target, loader: KillableLoader, query: Rows, tmp_path: Path
) -> None:
    bound = bound_import(columns=COLUMNS, rejects={"unlimited": True}, shrink={"min_percent": 0})
    apply(delivery(tmp_path, bound, [("c0", "Gold", 1)]), bound, target, SENSOR, NOW)
    query("ALTER TABLE crm.customers ADD CONSTRAINT polite CHECK (tier <> 'rude')")
    world = read_world(target.url)
    for number, point in enumerate((*SEARCH_FAULT_POINTS, "merged", "rejected", "counted", "closed", "committed"), 2):
        rows: list[Row] = [(f"c{customer}", f"tier {number}", customer, None) for customer in range(number + 9)]
        refused = [number, number + 3]
        values = [(f"bad{line}", "rude", 1) if line in refused else row[:3] for line, row in enumerate(rows, 2)]
        of = item(number)
        load = Load(delivery(tmp_path, bound, values, of=of), bound, target, Run(f"run-{number}", by="sensor"), NOW)
        accepted = [row for line, row in enumerate(rows, 2) if line not in refused]
        expected = world.after(of.key, accepted, [Rejected(line) for line in refused])

        assert not loader.run(replace(load, dies_at=point)), f"not killed at {point}"
        assert read_world(target.url) == (expected if point in AFTER_COMMIT else world), point
        assert loader.run(load)
        assert read_world(target.url) == expected, f"run again after the kill at {point}"
        world = expected


@pytest.mark.parametrize("kind", ["a list", "a full file"])
def test_so_does_a_load_that_deletes_profiles(
    target: Target, loader: KillableLoader, tmp_path: Path, kind: str
) -> None:
    town = [(f"c{number:02}", "Gold", number, f"c{number:02}@example.com") for number in range(40)]
    bound = bound_import(columns=COLUMNS, subscriptions=[CONSENT])
    apply(delivery(tmp_path, bound, town), bound, target, SENSOR, NOW)
    every = {"max_percent": 100}
    if kind == "a list":
        bound = bound_import("leavers", columns={"CID": "customer_id"}, mode="delete", deletes=every)
    else:
        bound = bound_import(columns=COLUMNS, snapshot=True, deletes=every, shrink={"min_percent": 0})
    world = read_world(target.url)
    points = ("merged", "consented", "rejected", "events written", "counted", "closed", "committed")
    for number, point in enumerate(points, 2):
        gone = set(sorted(world.profiles)[:3])
        left = [row[:3] for row in town if row[0] in world.profiles and row[0] not in gone]
        rows = [(customer,) for customer in sorted(gone)] if kind == "a list" else left
        of = item(number, name=bound.name)
        load = Load(delivery(tmp_path, bound, rows, of=of), bound, target, Run(f"run-{number}", by="sensor"), NOW)
        counts = (3, 0, 0, 0, 0, 0, 0) if kind == "a list" else (len(left), 0, 0, len(left), 0, 0, 0)
        expected = replace(
            world,
            profiles={customer: old for customer, old in world.profiles.items() if customer not in gone},
            consents=frozenset(consent for consent in world.consents if consent[0] not in gone),
            loads=(*world.loads, (str(of.key), "committed", *counts)),
            events=world.events | {(str(of.key), customer, ()) for customer in gone},
        )

        assert not loader.run(replace(load, dies_at=point)), f"not killed at {point}"
        assert read_world(target.url) == (expected if point in AFTER_COMMIT else world), point
        assert loader.run(load)
        assert read_world(target.url) == expected, f"run again after the kill at {point}"
        world = expected


def _kill_again_and_again(
    target: Target, loader: KillableLoader, tmp_path: Path, bound: BoundImport, points: Sequence[str], *,
    early: bool = False,
) -> None:  # fmt: skip
    seed = random.SystemRandom().randrange(10**9)
    chance = random.Random(seed)
    world, cursor = World(), None
    kills = list(points)
    chance.shuffle(kills)
    for number, point in enumerate(kills):
        rows, rejected = random_batch(chance)
        if not bound.extra_columns:
            rows = [(*row[:3], None) for row in rows]
        key = ItemKey(f"chunk-{number:04}")
        of = replace(item(number, kind="cursor"), key=key, cursor_from=cursor)
        values = [row[: 3 + len(bound.extra_columns)] for row in rows]
        validated = delivery(
            tmp_path, bound, values, of=of, rejected=rejected, cursor_to=str(number), cursor_committed=str(number),
            chunks=1 + number % 3,
        )  # fmt: skip
        run = Run(id=f"run-{number}", by="schedule")
        load = Load(validated, bound, target, run, NOW, dies_at=point, early=early)
        history = bound.database.history
        expected = world.after(key, rows, rejected, cursor=str(number), history=history)

        assert not loader.run(load), f"seed {seed}, round {number} was not killed at {point}"
        assert read_world(target.url) == (expected if point in AFTER_COMMIT else world), (
            f"seed {seed}, round {number} at {point}"
        )

        assert loader.run(replace(load, dies_at=""))
        assert read_world(target.url) == expected, f"seed {seed}, round {number}: run again after the kill at {point}"
        world, cursor = expected, str(number)


HEALING = ("altered", "matched", "merged", "healed", "rejected", "events written", "closed", "committed")
"""Points around the steps in which rows are kept, and applied."""


def test_so_does_a_load_that_keeps_rows_or_applies_rows_that_waited(
    target: Target, loader: KillableLoader, tmp_path: Path
) -> None:
    """Each round a feed brings a row too early, and a later load adds its customer; both are killed on their way."""
    database = WITH_HISTORY
    waits = {"columns": COLUMNS, "mode": "update_only", "unmatched": {"keep": "30d"}, "shrink": {"min_percent": 0}}
    points = bound_import("points", database, **waits)
    shop = bound_import("shop", database, columns={"CID": "customer_id"}, shrink={"min_percent": 0})
    waiting: dict[str, int] = {}
    healed: dict[str, int] = {}
    for number, point in enumerate(HEALING):
        for bound, rows in ((points, [(f"c{number}", "Gold", number), (f"x{number}", "Gold", number)]),
                            (shop, [(f"c{number}",)])):  # fmt: skip
            run, before = Run(f"{bound.name}-{number}", by="schedule"), (dict(waiting), dict(healed))
            if bound is points:
                waiting |= {f"c{number}": number, f"x{number}": number}
            else:
                healed[f"c{number}"] = waiting.pop(f"c{number}")
            validated = delivery(tmp_path, bound, rows, of=item(number, name=bound.name))
            load = Load(validated, bound, target, run, NOW, dies_at=point)
            assert not loader.run(load), f"{bound.name} was not killed at {point}"
            after_kill = (waiting, healed) if point in AFTER_COMMIT else before
            assert _waiting_and_healed(target) == after_kill, f"{bound.name}, killed at {point}"
            assert loader.run(replace(load, dies_at=""))
            assert _waiting_and_healed(target) == (waiting, healed), f"{bound.name}, run again after {point}"


def _waiting_and_healed(target: Target) -> tuple[dict[str, int], dict[str, int]]:
    """Points of customers who wait, and of profiles; each profile has one event per change, and its old values."""
    read_world(target.url)  # waits until the killed session is gone, and leaves nothing
    with psycopg.connect(target.url) as connection:
        waiting = connection.execute(
            "SELECT found_by ->> 0, (fields ->> 'points')::int FROM ingest.unmatched"
        ).fetchall()
        if connection.execute("SELECT to_regclass('crm.customers')").fetchone() == (None,):
            return dict(waiting), {}
        profiles = connection.execute("SELECT customer_id, points FROM crm.customers").fetchall()
        updates = connection.execute("SELECT key FROM ingest.events WHERE kind = 'profile.updated'").fetchall()
        past = connection.execute(
            "SELECT customer_id FROM crm.customers_history JOIN crm.customers USING (profile_id)"
        ).fetchall()
        sums = connection.execute("SELECT sum(kept), sum(healed) FROM ingest.loads").fetchone()
    keys = sorted(customer for customer, _ in profiles)
    assert sorted(key for (key,) in updates) == sorted(key for (key,) in past) == keys
    assert sums == (len(waiting) + len(profiles), len(profiles))
    return dict(waiting), dict(profiles)
