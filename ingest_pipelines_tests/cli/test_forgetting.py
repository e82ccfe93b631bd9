"""`ingest forget`: a person is nowhere afterwards, and no delivery brings the person back, in whatever spelling."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from ingest_pipelines_tests.cli.terminal import Answer, Terminal
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.storages import fresh_storage

KEY, MAIL, PHONE = "C-10017", "anna.quill@example.com", "+442079460017"
TRACES = (KEY, MAIL, PHONE[1:], "Quill")
"""What of her may be found."""

DATABASES = """
databases:
  customers:
    table: crm.customers
    key: customer_id
    key_default: uuid
    history: true
    fields:
      customer_id: {type: string, max_length: 64}
      email: {type: email}
      phone: {type: phone, region: GB}
      name: {type: string}
      points: {type: int}
    resources:
      newsletter: {channels: [email]}
"""
IMPORTS: Mapping[str, str] = {
    "customers": """
database: customers
source: {connection: uploads, file: Customers}
columns: {CID: customer_id, Email: email, Phone: phone, Name: name, Points: points}
rejects: {unlimited: true}
subscriptions: [{resource: newsletter, channel: email, contact: Email, status: subscribed}]
shrink: {min_percent: 0}
""",
    "strict": """
database: customers
source: {connection: uploads, file: Strict}
columns: {CID: customer_id, Points: points}
shrink: {min_percent: 0}
""",
    "letters": """
database: customers
source: {connection: uploads, file: Letters}
match: email
columns: {Mail: email, Name: name}
rejects: {unlimited: true}
shrink: {min_percent: 0}
""",
    "late": """
database: customers
source: {connection: uploads, file: Late}
mode: update_only
unmatched: {keep: 30d}
columns: {CID: customer_id, Email: email}
""",
    "orders": """
database: customers
source:
  connection: shop
  query: SELECT id, points FROM orders WHERE id > {lastItem} ORDER BY id LIMIT 2
  cursor: {column: id, start: ''}
columns: {id: customer_id, points: points}
""",
}
HEADER = "CID,Email,Phone,Name,Points"


@dataclass(frozen=True)
class Shop:
    """A project with four feeds, a terminal in it, and its databases."""

    terminal: Terminal
    target: str
    storage: str

    def load(self, name: str, *lines: str, code: int = 0) -> Answer:
        """The next file of the import, loaded."""
        path = self.terminal.folder / "uploads" / f"{name}.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        answer = self.terminal.ingest("run", name, "--file", path, "--json")
        assert answer.code == code, answer.err
        assert not any(trace in answer.out + answer.err for trace in TRACES) or code == 4, answer.out + answer.err
        path.unlink()  # the sender's file is the sender's
        return answer

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.target) as connection:
            return connection.execute(query).fetchall()

    def keys(self) -> list[str]:
        return [str(key) for (key,) in self.rows("SELECT customer_id FROM crm.customers ORDER BY 1")]

    def traces(self) -> list[str]:
        """Where something of her is, by a search that shares no code with the product."""
        found = []
        for url in (self.target, self.storage):
            with psycopg.connect(url) as connection:
                tables = connection.execute(
                    "SELECT schemaname, tablename FROM pg_tables"
                    " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND tablename <> 'orders'"
                ).fetchall()
                for schema, table in tables:
                    query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
                    texts = [str(text).lower() for (text,) in connection.execute(query)]
                    if any(trace.lower() in text for trace in TRACES for text in texts):
                        found.append(f"{schema}.{table}")
        state = self.terminal.folder / ".ingest"
        for path in sorted(path for path in state.rglob("*") if path.is_file()):
            content = path.read_bytes().lower()
            if any(trace.lower().encode() in content for trace in TRACES):
                found.append(str(path.relative_to(state)).partition("/")[0])
        return sorted(set(found))


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Three customers in a project of their own, and Anna in every place that can keep something of her."""
    with fresh_target(postgres_url) as target, fresh_storage(postgres_url) as storage:
        home = tmp_path_factory.mktemp("shop")
        (home / "imports").mkdir()
        (home / "uploads").mkdir()
        parts = urlsplit(target)
        connections = {
            "uploads": {"type": "csv", "directory": str(home / "uploads")},
            "shop": {
                "type": "postgresql", "host": parts.hostname, "port": parts.port, "database": parts.path[1:],
                "username": parts.username, "password": {"env": "SHOP_PW"},
            },
        }  # fmt: skip
        (home / "connections.yaml").write_text(json.dumps({"connections": connections}))
        (home / "databases.yaml").write_text(DATABASES)
        for name, text in IMPORTS.items():
            (home / "imports" / f"{name}.yaml").write_text(text)
        environment = {
            "INGEST_HOME": str(home), "INGEST_DATABASE_URL": target, "INGEST_DAGSTER_URL": storage,
            "SHOP_PW": parts.password or "",
        }  # fmt: skip
        yield Shop(Terminal(home, environment), target, storage)


ANNA = f"{KEY},{MAIL},{PHONE},Anna Quill,5"
BOB, CLEO = "C-20001,bob@example.com,,Bob,1", "C-30001,cleo@example.com,,Cleo,2"


@pytest.fixture(scope="module")
def planted(shop: Shop) -> Shop:
    """She is in every place: profile and past, consent, events, rejects, a row that waits, a cursor, files of runs."""
    shop.load("customers", HEADER, ANNA.replace("Quill", "Quill-Lee"), BOB, CLEO)
    shop.load("customers", HEADER, ANNA, BOB, CLEO)
    shop.load("late", "CID,Email", f"C-70001,{MAIL}", "C-70002,hal@example.com")
    with psycopg.connect(shop.target) as connection:
        connection.execute("ALTER TABLE crm.customers ADD CHECK (points <> 13)")
    shop.load("customers", HEADER, f"{KEY},{MAIL},{PHONE},Anna Quill,13", BOB, CLEO)
    shop.load("customers", HEADER, f"{KEY},{MAIL},{PHONE},Anna Quill,many", "C-20001,bob@example.com,,Bob,few")
    shop.load("customers", f"{HEADER},Friend", f"C-20001,bob@example.com,,Bob,few,{KEY}", "C-20001,,,Bob,few,C-1")
    shop.load("strict", "CID,Points", f" {KEY} ,none", "C-20001,4", code=4)  # its landed file is kept
    shop.load("letters", "Mail,Name", f"{MAIL.upper()},Quill\x07", "cleo@example.com,Cleo")
    with psycopg.connect(shop.target) as connection:
        connection.execute('CREATE TABLE orders (id text COLLATE "C", points int)')
        connection.execute("INSERT INTO orders VALUES ('C-05001', 1), (%s, 7)", (KEY,))
    assert shop.terminal.ingest("run", "orders").code == 0
    assert shop.terminal.ingest("cursor", "set", "orders", KEY, "--yes").code == 0
    replays = shop.terminal.folder / ".ingest" / "replays"
    replays.mkdir(parents=True, exist_ok=True)
    (replays / "load_2_killed.csv").write_text(f"{HEADER}\n{ANNA}\n")
    return shop


def test_a_person_is_found_everywhere_and_after_forget_nowhere(planted: Shop) -> None:
    before = planted.traces()
    for place in (
        "crm.customers", "crm.customers_history", "crm.customers_subscriptions", "ingest.event_batches",
        "ingest.unmatched", "ingest.rejects", "ingest.cursors",
        "ingest.loads", "ingest.audit", "replays", "spool",
    ):  # fmt: skip
        assert place in before, before
    shown = planted.terminal.ingest("forget", "customers", KEY, "--proof", "--json")
    assert shown.code == 1, shown.out
    found = [place["where"] for place in shown.json[0] if place["found"]]
    for place in (
        "crm.customers", "crm.customers_history", "ingest.unmatched", "ingest.event_batches", "ingest.rejects",
        "ingest.cursors", "ingest.audit",
    ):  # fmt: skip
        assert any(place in where for where in found), found

    plan = planted.terminal.ingest("forget", "customers", KEY, "--plan", "--json").json
    assert planted.traces() == before
    answer = planted.terminal.ingest("forget", "customers", f"  {KEY} ", "--yes", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["rows"] == plan["rows"]
    assert answer.json["rows"]["profile"] == 1
    assert answer.json["rows"]["rejected row"] == 5  # of another person's rows the one that names her
    assert [answer.json["rows"][what] for what in ("consent", "old value", "waiting row")] == [1, 2, 1]

    assert planted.traces() == []
    proof = planted.terminal.ingest("forget", "customers", KEY, "--proof")
    assert proof.code == 0, proof.out + proof.err
    assert "nowhere" in proof.out
    assert planted.keys() == ["C-05001", "C-20001", "C-30001"]
    assert planted.rows("SELECT count(DISTINCT (load, line)) FROM ingest.rejects WHERE code <> 'unmatched'") == [(2,)]
    audit = planted.terminal.ingest("audit", "--json").json
    assert audit[0]["what"] == "forgot"
    assert KEY not in json.dumps(audit)


@pytest.fixture(scope="module")
def forgotten(planted: Shop) -> Shop:
    """She is forgotten."""
    assert planted.terminal.ingest("forget", "customers", KEY, "--yes").code == 0
    return planted


def test_no_delivery_brings_a_forgotten_person_back(forgotten: Shop) -> None:
    load = forgotten.load("customers", HEADER, f"\t{KEY}\u00a0,new@example.com,,Anna Quill,5", "C-40001,,,Dan,4").json[
        0
    ]
    assert (load["read"], load["inserted"], load["skipped"], load["suppressed"]) == (2, 1, 1, 1)
    assert "`ingest forget` keeps out" in load["warnings"][0]
    load = forgotten.load("strict", "CID,Points", f"{KEY},none", "C-40001,5").json[0]  # a bad row of hers is no reject
    assert (load["status"], load["updated"], load["rejected"], load["suppressed"]) == ("committed", 1, 0, 1)
    load = forgotten.load("letters", "Mail,Name", f"{MAIL.upper()},Quill", "eve@example.com,Eve").json[0]
    assert (load["inserted"], load["skipped"], load["suppressed"]) == (1, 1, 1)
    orders = forgotten.terminal.ingest(
        "run", "orders", "--json"
    ).json  # the cursor stands before her: her row comes again
    assert sum(load["suppressed"] for load in orders) == 1, orders
    assert forgotten.rows("SELECT count(*) FROM ingest.loads WHERE status = 'committed' AND read <> inserted + updated"
                          " + unchanged + unmatched + skipped + rejected") == [(0,)]  # fmt: skip
    assert not any("crm" in place or "rejects" in place for place in forgotten.traces())


def test_a_plan_leaves_out_a_forgotten_person(forgotten: Shop, tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    file.write_text(f"{HEADER}\n{ANNA}\n{BOB}\n")
    plan = forgotten.terminal.ingest("plan", "customers", "--file", file, "--json").json
    assert (plan["read"], plan["suppressed"], plan["inserted"]) == (2, 1, 0)


def test_remember_lets_a_person_in_again(shop: Shop, tmp_path: Path) -> None:
    line = "C-77001,rita@example.com,,Rita,1"
    shop.load("customers", HEADER, line)
    keys = tmp_path / "keys.txt"
    keys.write_text("C-77001\n\nC-77002\n")
    assert shop.terminal.ingest("forget", "customers", "--file", keys, "--yes", "--json").json["people"] == 2
    assert shop.load("customers", HEADER, line).json[0]["suppressed"] == 1
    assert shop.terminal.ingest("remember", "customers", "C-77001", "--json").json["remembered"] == 1
    load = shop.load("letters", "Mail,Name", "rita@example.com,Rita").json[0]  # by her address, too
    assert (load["inserted"], load["suppressed"]) == (1, 0)
    assert shop.load("customers", HEADER, "C-77002,,,Sam,1").json[0]["suppressed"] == 1
    assert "keeps none" in shop.terminal.ingest("remember", "customers", "C-77001").out


def test_an_import_that_matches_by_address_forgets_by_address(shop: Shop) -> None:
    shop.load("customers", HEADER, "C-88001,gil@example.com,,Gil,1", "C-88002,ida@example.com,,Ida,1")
    answer = shop.terminal.ingest("forget", "letters", "Gil@Example.com", "--yes", "--json")
    assert answer.json["rows"]["profile"] == 1, answer.err
    left = shop.keys()
    assert "C-88001" not in left
    assert shop.load("customers", HEADER, "C-88001,,,Gil,1").json[0]["suppressed"] == 1


def test_what_cannot_be_a_key_changes_nothing_and_is_not_repeated(shop: Shop) -> None:
    for words in (("letters", "no-address-at-all"), ("customers",), ("customers", "x", "--plan", "--proof")):
        answer = shop.terminal.ingest("forget", *words, "--yes")
        assert answer.code == 2
        assert "no-address-at-all" not in answer.err
    assert shop.terminal.ingest("forget", "nobody", "x", "--yes").code == 2


def test_readers_of_events_miss_none_after_a_person_was_forgotten(shop: Shop) -> None:
    start = shop.rows("SELECT max(id) FROM ingest.events")[0][0]
    shop.load("customers", HEADER, *(f"C-9{n}001,n{n}@example.com,,N{n},1" for n in range(4)))
    events = [row[0] for row in shop.rows(f"SELECT id FROM ingest.events WHERE id > {start} ORDER BY id")]
    assert len(events) == 4
    key = shop.rows(f"SELECT key FROM ingest.events WHERE id = {events[1]}")[0][0]
    assert shop.terminal.ingest("forget", "customers", str(key), "--yes").code == 0
    left = [row[0] for row in shop.rows(f"SELECT id FROM ingest.events WHERE id > {start} ORDER BY id")]
    assert left == [events[0], *events[2:]]
    listed = shop.terminal.ingest("events", "--after", str(start), "--json").out.splitlines()
    assert [json.loads(event)["id"] for event in listed] == left


def test_nobody_but_the_owner_reads_who_is_kept_out(shop: Shop) -> None:
    granted = shop.rows(
        "SELECT c.relname, a.grantee FROM pg_class c, aclexplode(c.relacl) a"
        " WHERE c.relname IN ('suppressed', 'suppression_secret') AND a.grantee <> c.relowner"
    )
    assert granted == []
    texts = "".join(str(row) for row in shop.rows("SELECT s::text FROM ingest.suppressed s"))
    assert not any(trace in texts for trace in TRACES)
