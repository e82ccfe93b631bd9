"""Each row of a delivery is found once: in the table, among the rejects, or as one that the load says it left out.

Whatever the import is. Counted from the file and from Postgres; no code of the product is asked.

Every row carries a mark that no other row has, in a field that always changes. So after a load a mark is in the table
(inserted or updated), in the rejects (rejected or unmatched), or nowhere: skipped, which the test derives by itself.
"""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_pipelines_tests.cli.terminal import Answer
from ingest_pipelines_tests.guarantees.projects import Project, new_project

OUTCOMES = ("inserted", "updated", "unchanged", "unmatched", "skipped", "rejected")
HEADER = ["Id", "Mail", "Phone", "Mark", "Points", "Rev", "Profile", "Token"]

FIELDS: Mapping[str, Any] = {
    "id": {"type": "string", "max_length": 40},
    "email": {"type": "email"},
    "phone": {"type": "phone", "region": "GB"},
    "mark": {"type": "string"},
    "points": {"type": "int", "min": 0},
}
MAIL, PHONE, ID = {"Mail": "email"}, {"Phone": "phone"}, {"Id": "id"}
VALUES = {"Mark": "mark", "Points": "points"}
CONSENTS = [
    {"resource": "news", "channel": "email", "contact": "Mail", "status": "subscribed"},
    {"resource": "news", "channel": "sms", "contact": "Phone", "status": "subscribed"},
    {"resource": "news", "channel": "push", "contact": "Token", "status": "subscribed"},
]

MATCHES: dict[str, tuple[Any, dict[str, Any]]] = {
    "the key": (None, ID),
    "profile_id": ({"by": "profile_id", "column": "Profile"}, {}),
    "a field": ({"by": "field", "field": "phone"}, PHONE),
    "email": ({"by": "email"}, MAIL),
    "email_profile": ({"by": "email_profile"}, MAIL),
    "email_subscription": ({"by": "email_subscription", "column": "Mail"}, {}),
    "phone": ({"by": "phone"}, PHONE),
    "phone_profile": ({"by": "phone_profile", "column": "Phone"}, {}),
    "phone_subscription": ({"by": "phone_subscription", "column": "Phone"}, {}),
    "push": ({"by": "push", "column": "Token"}, {}),
    "channel": ({"by": "channel", "channel": "sms", "column": "Phone"}, {}),
    "email_or_phone_profile": ({"by": "email_or_phone_profile"}, {**MAIL, **PHONE}),
    "email_or_phone_subscription": ({"by": "email_or_phone_subscription"}, {**MAIL, **PHONE}),
}
"""How rows find their profiles, and the columns that this takes."""

MODES = ("add_and_update", "add_only", "update_only")


@dataclass(frozen=True)
class Feed:
    """What an import is, but for its name."""

    match: str = "the key"
    mode: str = "add_and_update"
    duplicates: str = "reject"
    empty: str = "clear"
    version: bool = False
    consents: bool = False

    def spec(self) -> dict[str, Any]:
        match, columns = MATCHES[self.match]
        return {
            "mode": self.mode, "duplicates": self.duplicates, "empty": self.empty, "columns": {**columns, **VALUES},
            **({"match": match} if match else {}), **({"version": "Rev"} if self.version else {}),
            **({"subscriptions": CONSENTS} if self.consents else {}),
        }  # fmt: skip


@dataclass
class World:
    """A table that a first import has filled, and the loads of others into it."""

    project: Project
    number: int = 0

    def profiles(self) -> dict[int, str]:
        """The mark of each profile."""
        return dict(self.project.rows("SELECT profile_id, mark FROM crm.shop"))

    def kept(self, load: int) -> list[tuple[int, str]]:
        """The lines that the ledger keeps of the load, each as rejected or as unmatched."""
        return self.project.rows(
            "SELECT DISTINCT line, CASE code WHEN 'unmatched' THEN code ELSE 'rejected' END"
            f" FROM ingest.rejects WHERE load = {load}"
        )

    def deliver(self, rows: list[list[str]], to: str, *words: str) -> Answer:
        """What a person gets to read who loads the rows."""
        return self.project.deliver(written(rows), "--force", *words, name=f"delivery-{self.number}.csv", to=to)

    def load(self, feed: Feed, rows: list[list[str]]) -> None:
        """Loads the rows by an import of its own, and looks for each of them."""
        self.number += 1
        name = f"feed_{self.number}"
        rows = [[cell.replace("new-", f"new-{self.number}-") for cell in row] for row in rows]
        rows = [[*row[:3], f"mark-{self.number}-{place}", *row[4:]] for place, row in enumerate(rows)]
        self.project.write_import(name, database="shop", **feed.spec())
        before = self.profiles()
        answer = self.deliver(rows, name)
        (self.project.folder / "imports" / f"{name}.yaml").unlink()
        if answer.code == 2 and not answer.out.strip("[]\n "):
            return  # no such import can be
        assert answer.code == 0, answer.err
        (load,) = answer.json
        self.check(load, rows, before, self.profiles())

    def check(self, load: dict[str, Any], rows: list[list[str]], before: dict[int, str], after: dict[int, str]) -> None:
        """Each row once, and the counts those of the file and the table."""
        marks = [row[3] for row in rows]
        in_table = Counter(mark for mark in after.values() if mark in set(marks))
        kept = self.kept(load["load"])
        lines = Counter(line for line, _ in kept)
        kinds = Counter(kind for _, kind in kept)
        assert load["read"] == len(rows)
        assert load["read"] == sum(load[outcome] for outcome in OUTCOMES)
        assert set(before) <= set(after), "a load never deletes a profile"
        assert load["inserted"] == len(set(after) - set(before))
        assert load["updated"] == sum(after[number] != mark for number, mark in before.items())
        assert load["unchanged"] == 0, "every mark is new"
        assert load["rejected"] == kinds["rejected"]
        assert load["unmatched"] == kinds["unmatched"]
        assert set(in_table.values()) <= {1}, "a row is in one profile"
        assert set(lines.values()) <= {1}, "a row is rejected or unmatched, not both"
        left_out = {marks[line - 2] for line in lines}
        assert not left_out & set(in_table), "a rejected row is not in the table"
        assert load["skipped"] == len(set(marks) - set(in_table) - left_out)


def written(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([HEADER, *rows])
    return text.getvalue().encode()


@pytest.fixture(scope="module")
def world(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Six profiles with consents: two share an address, two a number, one has neither."""
    with new_project(postgres_url, tmp_path_factory.mktemp("counts")) as project:
        resources = {"news": {"channels": ["email", "sms", "push"]}}
        shop = {"table": "crm.shop", "key": "id", "key_default": "uuid", "fields": FIELDS, "resources": resources}
        project.write("databases", {"databases": {"shop": shop}})
        (project.folder / "imports" / "people.yaml").unlink()
        columns = {**ID, **MAIL, **PHONE, **VALUES}
        project.write_import("first", database="shop", columns=columns, subscriptions=CONSENTS)
        world = World(project)
        numbers = [f"+4479460000{number:02}" for number in (1, 2, 3, 3, 4)]
        mails = ["a@x.example", "B@x.example", "both@x.example", "d@x.example", "both@x.example"]
        people = [
            [key, mail, number, f"first-{key}", "1", "", "", f"token-{key}"]
            for key, mail, number in zip("abcde", mails, numbers, strict=True)
        ]
        (load,) = world.deliver([*people, ["f", "", "", "first-f", "1", "", "", ""]], "first").json
        assert (load["read"], load["inserted"]) == (6, 6)
        yield world


ROW = st.tuples(
    st.sampled_from(["a", "b", "c", "new-1", "new-2", "new-3", ""]),
    st.sampled_from(["A@x.example", "b@x.example", "both@x.example", "new-1@x.example", "no address", ""]),
    st.sampled_from(["07946000001", "+44 7946 000003", "+447946000009", "no number", ""]),
    st.just(""),
    st.sampled_from(["1", "2", "-1", "x", ""]),
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from(["1", "2", "3", "999999", "x", ""]),
    st.sampled_from(["token-a", "token-b", "token-x", ""]),
).map(list)
"""Known and unknown customers, repeated and missing ones, broken cells, older versions; the mark is added."""

ROWS = st.lists(ROW, min_size=1, max_size=25)
FEEDS = st.builds(
    Feed, st.sampled_from(sorted(MATCHES)), st.sampled_from(MODES), st.sampled_from(["reject", "last", "first"]),
    st.sampled_from(["clear", "keep"]), st.booleans(), st.booleans(),
)  # fmt: skip


def mixed(seed: int) -> list[list[str]]:
    """Forty rows, of every kind."""
    chance = random.Random(seed)
    return [
        [
            chance.choice(["a", "b", "c", "new-1", *[f"new-{place}"] * 3, ""]),
            chance.choice(["A@x.example", "b@x.example", "both@x.example", f"new-{place}@x.example", "no address", ""]),
            chance.choice(["07946000001", "+44 7946 000003", f"+4479460010{place:02}", "no number", ""]),
            "", chance.choice(["1", "2", "2", "2", "-1", "x"]), chance.choice("123"),
            chance.choice(["1", "2", "3", "999999", ""]), chance.choice(["token-a", "token-b", f"token-{place}", ""]),
        ]
        for place in range(40)
    ]  # fmt: skip


SAMPLE = [
    Feed("profile_id", "update_only", duplicates="last"),
    Feed("email_or_phone_profile", "update_only", duplicates="last"),
    Feed("phone_subscription", "update_only", duplicates="reject"),
    Feed("the key", "add_and_update", "reject", consents=True),
    Feed("the key", "add_only", "first"),
    Feed("the key", "update_only", "last", version=True),
    Feed("email_profile", "add_and_update", "first", "keep"),
]


@pytest.mark.parametrize("number", range(len(SAMPLE)), ids=[f"{feed.match}, {feed.mode}" for feed in SAMPLE])
def test_each_row_of_a_delivery_is_found_once(world: World, number: int) -> None:
    before = world.number
    world.load(SAMPLE[number], mixed(number))
    assert world.project.rows(f"SELECT count(*) FROM ingest.loads WHERE import = 'feed_{before + 1}'") == [(1,)]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FEEDS, ROWS)
def test_each_row_of_any_delivery_by_any_import_is_found_once(world: World, feed: Feed, rows: list[list[str]]) -> None:
    world.load(feed, rows)


def test_the_same_delivery_again_changes_nothing_and_says_so_of_each_row(world: World) -> None:
    world.project.write_import("again", database="shop", columns={**ID, **VALUES}, duplicates="last")
    rows = [[*row[:3], f"again-{place}", *row[4:]] for place, row in enumerate(mixed(99))]
    world.number += 1
    (first,) = world.deliver(rows, "again").json
    before = world.profiles()
    (second,) = world.deliver(rows, "again").json
    assert world.profiles() == before
    assert second["unchanged"] == first["inserted"] + first["updated"]
    assert {name: second[name] for name in ("read", "skipped", "rejected")} == {
        name: first[name] for name in ("read", "skipped", "rejected")
    }
    assert second["inserted"] == second["updated"] == second["unmatched"] == 0


def test_a_replay_accounts_for_each_row_of_its_file(world: World) -> None:
    world.project.write_import("mended", database="shop", columns={**ID, **VALUES})
    rows = [
        [f"r{place}", "", "", f"r-{place}", points, "", "", ""] for place, points in enumerate(["1", "x", "y", "z"])
    ]
    world.number += 1
    (load,) = world.deliver(rows, "mended").json
    assert (load["inserted"], load["rejected"]) == (1, 3)
    terminal = world.project.terminal
    assert terminal.ingest("rejects", "export", "mended", "--output", "mended.csv").code == 0
    file = terminal.folder / "mended.csv"
    header, *exported = list(csv.reader(file.open(newline="")))
    exported[0][HEADER.index("Points")] = "7"
    exported[1][HEADER.index("Points")] = "8"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([header, *exported])
    (replay,) = terminal.ingest("rejects", "replay", "mended", file, "--json").json
    assert replay["read"] == len(exported) == sum(replay[outcome] for outcome in OUTCOMES)
    assert (replay["inserted"], replay["rejected"]) == (2, 1)
    open_lines = world.project.rows(
        f"SELECT line FROM ingest.rejects WHERE load = {load['load']} AND resolved_at IS NULL"
    )
    assert open_lines == [(5,)]
    assert set(world.profiles().values()) >= {"r-0", "r-1", "r-2"}
    assert "r-3" not in world.profiles().values()
