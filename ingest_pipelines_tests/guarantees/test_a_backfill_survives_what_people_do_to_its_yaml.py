"""While a backfill runs, its import's YAML is broken, fixed, renamed, removed and brought back, under a real daemon.

At each stage the list of open items has every window that is not in the table, somebody is told, and in the end all
that can be loaded is loaded.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest_pipelines_tests.guarantees.on_call.oracle import OWN_ROWS, Listed
from ingest_pipelines_tests.guarantees.on_call.people import People
from ingest_pipelines_tests.guarantees.on_call.vendors import all_feeds
from ingest_pipelines_tests.guarantees.on_call.world import World, world_of
from ingest_pipelines_tests.servers.fleet import Fleet

NAME = "visits"
WINDOWS, BAD = 24, 17


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_backfill_survives_what_people_do_to_its_yaml(folder: Path, fleet: Fleet) -> None:
    with world_of(folder, fleet, WINDOWS, {NAME: all_feeds()[NAME]}) as world:
        feed = world.oracle.feeds[NAME]
        world.vendors.add_windows(NAME, WINDOWS, bad=[BAD])
        world.platform.start()
        world.platform.wait_until_up()
        People(world, seed=1).backfill(NAME, WINDOWS, bad=BAD)
        every = set(range(1, WINDOWS + 1))
        good = every - {BAD + 1}
        labels = {delivery.label: delivery.number for delivery in world.oracle.deliveries[NAME]}

        def missing_are_listed(states: set[str]) -> dict[int, Listed] | None:
            """The windows on the list, once they are those that are not in the table, each in one of the states."""
            observed = world.observe()
            listed = {labels[entry.item]: entry for entry in observed.listed if entry.item in labels}
            missing = every - set(observed.own_rows.get(NAME, {}))
            right = set(listed) == missing and {entry.state for entry in listed.values()} <= states
            return listed if right and listed else None

        world.wait_for(lambda: len(world.loaded(NAME)) >= 3)
        world.write_import(feed, "database: [customers\n")
        held = world.wait_for(lambda: missing_are_listed({"held", "failed", "dropped"}))
        assert {entry.import_name for entry in held.values()} == {NAME}
        world.wait_for(lambda: _told(world, "config", f"imports/{NAME}.yaml"))
        stopped_at = len(world.loaded(NAME))
        assert stopped_at < WINDOWS - 1, "the backfill was over before the YAML broke"

        world.write_import(feed)
        world.wait_for(lambda: len(world.loaded(NAME)) >= stopped_at + 3)

        world.remove_import(feed)
        feed.names.append("sightings")
        world.specification(NAME)["renamed_from"] = NAME
        world.write_import(feed)
        renamed_at = len(world.loaded(NAME))
        assert renamed_at < WINDOWS - 1, "the backfill was over before the import was renamed"
        world.wait_for(lambda: len(world.loaded(NAME)) >= min(renamed_at + 3, WINDOWS - 2))

        world.remove_import(feed)
        world.wait_for(lambda: missing_are_listed({"held"}))
        world.write_import(feed)

        world.wait_for(lambda: set(world.loaded(NAME)) == good)
        left = world.wait_for(lambda: missing_are_listed({"failed"}))
        assert set(left) == {BAD + 1}
        assert left[BAD + 1].import_name == "sightings"
        keys = {number: label for label, number in labels.items()}

        def partitions_are(green: set[int], red: set[int]) -> bool:
            shown = world.platform.partitions("accounts", feed.import_name) or (set(), set())
            return (shown[0] & set(labels), shown[1]) == ({keys[n] for n in green}, {keys[n] for n in red})

        world.wait_for(lambda: partitions_are(good, {BAD + 1}))
        world.vendors.fix_windows(NAME)
        assert world.platform.command("run", feed.import_name, "--failed").returncode == 0
        observed = world.observe()
        assert observed.own_rows[NAME] == dict.fromkeys(every, OWN_ROWS)
        assert [entry for entry in observed.listed if entry.item in labels] == []
        world.wait_for(lambda: partitions_are(every, set()))


def _told(world: World, *words: str) -> bool:
    """Whether a mail has all of the words."""
    world.letters()
    return any(all(word in f"{letter.subject}\n{letter.text}" for word in words) for letter in world.oracle.letters)
