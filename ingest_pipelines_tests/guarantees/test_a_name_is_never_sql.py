"""Whatever columns, files, tables, sequences, roles and databases are called: a name is data, or a quoted identifier.

The servers log every statement. A lexer of this test takes out what is quoted: no name of ours may be in what is left.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from ingest_pipelines_tests.guarantees.projects import Project, new_project
from ingest_pipelines_tests.servers.postgres import connection_to, fresh_database

MARK = "zqname"
"""Part of every hostile name, and of nothing else."""

NAMES = [
    f"{MARK}'; DROP TABLE crm.victim; --",
    f'{MARK}"; DROP TABLE crm.victim; --',
    f"{MARK}\\'; DROP TABLE crm.victim; --",
    f"{MARK}$$; DROP TABLE crm.victim; $$",
    f"{MARK}/*; DROP TABLE crm.victim; */",
    f"{MARK}%s %(a)s {{0}} {{lastItem}} :a ? $1",
    f"../{MARK}",
    f"-{MARK}",
    f"{MARK}\nDROP TABLE crm.victim;\t",
    f"{MARK} é李 \u202e",
    f"{MARK}{'x' * 50}",
]

OPTIONS = [name for name in NAMES if name.isprintable()]
"""Names that may be values of a field."""

_QUOTED = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | (\$[A-Za-z_]*\$).*?\1 | --[^\n]* | /\*.*?\*/""",
    re.VERBOSE | re.DOTALL,
)
_LOGGED = re.compile(r"(?:LOG:  (?:statement|execute [^:]*): |STATEMENT:  )(.*)", re.DOTALL)


@dataclass(frozen=True)
class StatementLog:
    """What a server was asked since the log was opened, by sessions of databases that log statements."""

    path: Path
    start: int

    def statements(self) -> list[str]:
        text = self.path.read_bytes()[self.start :].decode("utf-8", "replace")
        entries = re.split(r"\n(?=\d{4}-\d\d-\d\d )", text)
        return [found[1] for entry in entries if (found := _LOGGED.search(entry))]


@pytest.fixture(scope="module")
def log(postgres_url: str) -> StatementLog:
    with psycopg.connect(postgres_url) as admin:
        (folder,) = admin.execute("SHOW data_directory").fetchone() or ("",)
    path = Path(folder).parent / "server.log"
    return StatementLog(path, path.stat().st_size)


def log_statements(admin_url: str, database: str) -> None:
    """From now on the database's sessions log every statement, also those that fail."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for setting in (sql.SQL("log_statement = 'all'"), sql.SQL("log_min_error_statement = 'error'")):
            admin.execute(sql.SQL("ALTER DATABASE {} SET {}").format(sql.Identifier(database), setting))


@contextmanager
def hostile_database(admin_url: str) -> Iterator[str]:
    """The URL of a database and of a superuser with hostile names."""
    names = [f'{MARK}"; DROP {kind} "x{uuid4().hex[:6]}' for kind in ("DATABASE", "ROLE")]
    database, role = map(sql.Identifier, names)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD 'pw'").format(role))
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 OWNER {}").format(database, role))
    log_statements(admin_url, names[0])
    try:
        parts = urlsplit(admin_url)
        login = f"{quote(names[1], safe='')}:pw@{parts.hostname}:{parts.port}"
        yield parts._replace(netloc=login, path=f"/{quote(names[0], safe='')}").geturl()
    finally:
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
            admin.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.fixture(scope="module")
def shop(postgres_url: str) -> Iterator[str]:
    """A source with a table whose name, and whose columns' names, are hostile."""
    with fresh_database(postgres_url) as url:
        log_statements(postgres_url, urlsplit(url).path[1:])
        columns = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(name)) for name in NAMES)
        with psycopg.connect(url) as source:
            source.execute(sql.SQL("CREATE SCHEMA crm; CREATE TABLE crm.victim (id int)"))
            for table in ("sales", *NAMES):
                source.execute(sql.SQL("CREATE TABLE {} (n bigint, {})").format(sql.Identifier(table), columns))
            source.execute("INSERT INTO sales (n) SELECT generate_series(1, 20)")
        yield url


@pytest.fixture(scope="module")
def project(
    postgres_url: str, shop: str, log: StatementLog, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A project whose target has hostile names wherever a load may meet them."""
    parts = urlsplit(shop)
    with (
        hostile_database(postgres_url) as target,
        new_project(postgres_url, tmp_path_factory.mktemp("names"), SHOP_PW=str(parts.password)) as made,
    ):
        environment = {**made.terminal.environment, "INGEST_DATABASE_URL": target}
        project = Project(type(made.terminal)(made.folder, environment), target)
        source = connection_to(shop)
        uploads = {"type": "csv", "directory": "uploads"}
        project.write("connections", {"connections": {"uploads": uploads, "shop": source}})
        people: dict[str, Any] = {
            "table": "Crm.Select", "key": "user", "resources": {"news": {"channels": ["email"]}},
            "fields": {
                "user": {"type": "string"}, "order": {"type": "string"}, "Table": {"type": "enum", "options": OPTIONS},
                "from": {"type": "string", "one_of": OPTIONS}, "email": {"type": "email"},
            },
        }  # fmt: skip
        project.write("databases", {"databases": {"people": people}})
        (project.folder / "imports" / "people.yaml").unlink()
        make_table(target)
        yield project


def make_table(target: str) -> None:
    """The target's table: each name of what belongs to it is hostile, but for those of our fields."""
    identifiers = [sql.Identifier(name) for name in NAMES]
    schema, function, sequence, column, trigger, index, check, child = identifiers[:8]
    with psycopg.connect(target) as owner:
        for statement in (
            sql.SQL("CREATE SCHEMA crm; CREATE TABLE crm.victim (id int); CREATE SCHEMA {}").format(schema),
            sql.SQL('CREATE SCHEMA "Crm"; CREATE SEQUENCE {}.{}').format(schema, sequence),
            sql.SQL(
                'CREATE TABLE "Crm"."Select" ("user" text PRIMARY KEY, profile_id bigint NOT NULL DEFAULT nextval({}),'
                " {} text NOT NULL DEFAULT '', CONSTRAINT {} CHECK (\"user\" <> '')) PARTITION BY HASH (\"user\")"
            ).format(sql.Literal(f"{schema.as_string()}.{sequence.as_string()}"), column, check),
            sql.SQL(
                'CREATE TABLE {}.{} PARTITION OF "Crm"."Select" FOR VALUES WITH (MODULUS 1, REMAINDER 0)'
            ).format(schema, child),
            sql.SQL('CREATE INDEX {} ON "Crm"."Select" ("profile_id")').format(index),
            sql.SQL(
                "CREATE FUNCTION {}.{}() RETURNS trigger LANGUAGE plpgsql AS $t$ BEGIN IF NEW.\"user\" = 'fails' THEN"
                " RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $t$"
            ).format(schema, function),
            sql.SQL(
                'CREATE TRIGGER {} BEFORE INSERT ON "Crm"."Select" FOR EACH ROW EXECUTE FUNCTION {}.{}()'
            ).format(trigger, schema, function),
        ):  # fmt: skip
            owner.execute(statement)


def written(header: list[str], *rows: list[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode()


def test_no_name_reaches_a_server_as_sql(project: Project, shop: str, log: StatementLog) -> None:
    terminal = project.terminal
    key, order, table, origin, mail, contact, version, *rest = NAMES
    project.write_import(
        "files", database="people", version=version,
        columns={key: "user", order: "order", table: "Table", origin: "from", mail: "email"},
        subscriptions=[{"resource": "news", "channel": "email", "contact": contact, "status": "subscribed"}],
    )  # fmt: skip
    header = [key, order, table, origin, mail, contact, version, *rest]
    rows = [
        [name, name, *[OPTIONS[number % len(OPTIONS)]] * 2, *[f"a{number}@x.example"] * 2, str(number), *rest]
        for number, name in enumerate(NAMES)
    ]
    bad = [["bad", "", "no option", "not one", "nobody", "", "", *rest], ["", *[""] * (len(header) - 1)]]
    file = f"{MARK}'; DROP TABLE crm.victim; --\n\".csv"
    first = project.deliver(written(header, *rows, *bad), name=file, to="files")
    assert first.code == 0, first.err
    assert first.json[0]["inserted"] > len(NAMES) - 3
    assert first.json[0]["rejected"] >= len(bad)
    failed = project.deliver(written(header, ["fails", *rows[0][1:]]), "--force", name=f"-{MARK}.csv", to="files")
    assert failed.code == 1
    assert (project.folder / f"-{MARK}.csv").exists()
    assert terminal.ingest("rejects", "export", "files", "--output", f"{MARK}'.csv").code == 0
    assert terminal.ingest("rejects", "replay", "files", f"{MARK}'.csv").code in {0, 4}
    assert terminal.ingest("check", "--connect").code == 0
    for name in NAMES[:1]:
        for words in (
            ["run", "files", "--item", name], ["report", name], ["rejects", "list", "files", "--code", name],
            ["skip", "files", "--item", name, "--reason", name], ["unlock", name], ["cursor", "set", name, name],
            ["browse", "shop", name], ["browse", "uploads", name], ["plan", "files", name], ["run", name],
        ):  # fmt: skip
            answer = terminal.ingest(words[0], "--", *words[1:]) if words[1] == name else terminal.ingest(*words)
            assert answer.code in {0, 1, 2, 3}, (words, answer)
    mapping = dict(zip(NAMES[:4], ("order", "email", "from", "Table"), strict=True))
    for name, source in {
        "tables": {"connection": "shop", "table": "sales"},
        "cursors": {
            "connection": "shop", "query": "SELECT * FROM sales WHERE n > {lastItem} ORDER BY n LIMIT 9",
            "cursor": {"column": "n", "start": 0},
        },
    }.items():  # fmt: skip
        project.write_import(name, database="people", source=source, columns={"n": "user", **mapping})
        answer = terminal.ingest("run", name, "--json")
        assert answer.code == 0, answer.err
    assert project.rows('SELECT count(*) FROM "Crm"."Select" WHERE "user" ~ \'^[0-9]+$\'') == [(20,)]

    statements = log.statements()
    assert len(statements) > 200
    assert sum(MARK in statement for statement in statements) > 10, "the log shows the names, each quoted"
    for statement in statements:
        left = _QUOTED.sub(" ", statement)
        assert MARK not in left, statement
        assert "victim" not in left or left.startswith("CREATE SCHEMA crm"), statement
    for url in (project.url, shop):
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT to_regclass('crm.victim') IS NOT NULL").fetchone() == (True,)
