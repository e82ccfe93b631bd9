"""Every mistake in a YAML file is one line: file, line, key, what is wrong, what belongs there."""

# ruff: noqa: E501  expected messages stand whole, as a person reads them

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from ingest_pipelines.config import field_types, read_project
from ingest_pipelines.config.connections import Connections
from ingest_pipelines.config.databases import Databases
from ingest_pipelines.config.imports import Import
from ingest_pipelines.config.mistakes import example
from ingest_pipelines.config.yaml_lines import read_yaml
from ingest_pipelines_tests.config.projects import CONNECTIONS, DATABASES, IMPORT, RIGHT, with_line, write_project


@pytest.fixture(autouse=True)
def _vendor_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_PW", "not in any message")
    monkeypatch.setenv("EMPTY_PW", "")
    monkeypatch.delenv("MISSING_PW", raising=False)


def mistakes(home: Path, **changed: str | bytes | None) -> list[str]:
    names = {"connections": "connections.yaml", "databases": "databases.yaml", "loyalty": "imports/loyalty.yaml",
             "notify": "notify.yaml"}  # fmt: skip
    files: dict[str, str | bytes | None] = {**RIGHT}
    files |= {names.get(name, f"imports/{name}.yaml"): text for name, text in changed.items()}
    return list(read_project(write_project(home, files)).mistakes)


def test_a_right_project_has_no_mistakes(tmp_path: Path) -> None:
    assert mistakes(tmp_path) == []


CONNECTION_CASES = [
    ("    host: sftp.vendor.example", "    hots: sftp.vendor.example", [
        "connections.yaml:7: connections.vendor.hots: unknown key; did you mean 'host'?",
    ]),
    ("    type: sftp", "    type: stfp", ["connections.yaml:6: connections.vendor.type: unknown type; did you mean 'sftp'?"]),
    ("    type: sftp", "    type: ftp", ["connections.yaml:6: connections.vendor.type: unknown type; did you mean 'sftp'?"]),
    ("    type: sftp", "    type: 5", [
        "connections.yaml:6: connections.vendor.type: unknown type; known are: azure, clickhouse, csv, gcs, hive, mssql, "
        "mysql, oracle, postgresql, s3, sftp, snowflake",
    ]),
    ("    type: csv", "    # no type", ["connections.yaml:2: connections.uploads.type: this key is required"]),
    ("    host_key: ssh-ed25519 AAAA", "    port: 99999", ["connections.yaml:10: connections.vendor.port: must be at most 65535"]),
    ("    host_key: ssh-ed25519 AAAA", "    timeout_seconds: 0", [
        "connections.yaml:10: connections.vendor.timeout_seconds: must be above 0",
    ]),
    ("    host_key: ssh-ed25519 AAAA", "    retries: many", [
        "connections.yaml:10: connections.vendor.retries: expected a whole number",
    ]),
    ("    host_key: ssh-ed25519 AAAA", "    root: /", [
        "connections.yaml:5: connections.vendor: give host_key ('ssh-ed25519 AAAA...') or known_hosts (a file): unknown "
        "hosts are refused. `ssh-keyscan -p 22 sftp.vendor.example` prints the server's keys",
    ]),
    ("    username: shop", "    username: 0042", []),
    ("    username: shop", "    username: 42", [
        "connections.yaml:8: connections.vendor.username: expected text; put it in quotes, else YAML reads a number, true or false",
    ]),
    ("    username: shop", "    username:", [
        "connections.yaml:8: connections.vendor.username: expected text; the key has no value",
    ]),
    ("    directory: uploads", "    directory: [a, b]", ["connections.yaml:4: connections.uploads.directory: expected text"]),
    ("  uploads:", "  my-uploads:", [
        "connections.yaml:2: connections.my-uploads: a name is a letter, then letters, digits and _, at most 63 characters",
    ]),
    ("connections:", "conections:", [
        "connections.yaml:1: conections: unknown key; did you mean 'connections'?",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), CONNECTION_CASES)
def test_a_mistake_in_connections_names_line_key_and_the_nearest(
    tmp_path: Path, old: str, new: str, expected: list[str]
) -> None:
    assert mistakes(tmp_path, connections=with_line(CONNECTIONS, old, new)) == expected


LITERAL = "a literal in a secret slot; write {env: NAME} or {file: /path} and keep the value out of YAML"
NO_VARIABLE = "env takes the name of an environment variable, such as VENDOR_PW; this one is not set"
SECRET_CASES = [
    ("    password: hunter2", f"password: {LITERAL}"),
    ("    password: 12345", f"password: {LITERAL}"),
    ("    password: true", f"password: {LITERAL}"),
    ("    password: [hunter2]", f"password: {LITERAL}"),
    ("    password: {env: MISSING_PW}", "password: the environment variable MISSING_PW is not set"),
    ("    password: {file: secrets/none}", "password: the secret file HOME/secrets/none does not exist or is not readable"),
    ("    password: {env: hunter2}", f"password: {NO_VARIABLE}"),
    ("    password: {env: 12345-hunter2 !}", f"password: {NO_VARIABLE}"),
    ("    password: {file: \"-----BEGIN\\nhunter2\"}", "password: the secret file that it names does not exist or is not readable"),
    ("    password: {file: /dev/null}", "password: the secret file /dev/null does not exist or is not readable"),
    ("    password: {file: empty}", "password: the secret file HOME/empty is empty"),
    ("    password: {env: EMPTY_PW}", "password: the environment variable that it names is empty"),
    ("    password: {}", "password: a secret is {env: NAME} or {file: /path}, exactly one of them"),
    ("    password: {env: VENDOR_PW, file: x}", "password: a secret is {env: NAME} or {file: /path}, exactly one of them"),
    ("    password: {enw: VENDOR_PW}", "password.enw: unknown key; did you mean 'env'?"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), SECRET_CASES)
def test_a_secret_is_a_reference_that_resolves_and_is_never_shown(tmp_path: Path, line: str, expected: str) -> None:
    text = CONNECTIONS.replace("    password: {env: VENDOR_PW}\n    host_key", f"{line}\n    host_key")
    (tmp_path / "empty").touch()
    found = mistakes(tmp_path, connections=text)
    assert found[0] == f"connections.yaml:9: connections.vendor.{expected.replace('HOME', str(tmp_path))}"
    assert not any("hunter2" in each or "12345" in each or "not in any message" in each for each in found)


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "mssql", "oracle", "hive", "clickhouse"])
@pytest.mark.parametrize(
    ("option", "key"),
    [("host", "host"), ("Port", "port"), ("password", "password"), ("PWD", "password"), ("user", "username"),
     ("dbname", "database"), ("Server", "host")],
)  # fmt: skip
def test_an_option_does_not_say_again_what_the_connection_says(
    tmp_path: Path, kind: str, option: str, key: str
) -> None:
    text = f"{CONNECTIONS}  shop: {{type: {kind}, host: h, database: d, username: u, options: {{{option}: hunter2}}}}\n"
    found = mistakes(tmp_path, connections=text)
    said = f"options: '{option}' is a key of the connection itself; write it there, as {key}"
    assert [each.partition("connections.shop.")[2] for each in found] == [said]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("name", sorted({*field_types._NAMES_ELSEWHERE, "VARCHAR(20)", "Integer", "numeric(12,2)"}))
def test_a_type_that_another_system_calls_so_is_named_as_we_call_it(tmp_path: Path, name: str) -> None:
    new = f'      points: {{type: "{name}"}}'
    [mistake] = mistakes(tmp_path, databases=with_line(DATABASES, "      points: {type: int}", new))
    called = mistake.partition("did you mean '")[2].partition("'")[0]
    assert called.partition("(")[0] in field_types.FIELD_TYPES


@pytest.mark.parametrize("model", [Connections, Databases, Import])
def test_an_example_of_keys_is_made_of_keys_that_the_model_has(model: type[BaseModel]) -> None:
    value = read_yaml(example(model)).value
    with pytest.raises(ValidationError) as error:
        model.model_validate(value)
    assert "extra_forbidden" not in {detail["type"] for detail in error.value.errors()}


DATABASE_CASES = [
    ("      points: {type: int}", "      points: {type: integer}", "11: databases.customers.fields.points.type: 'integer' is not known; did you mean 'int'?"),
    ("      points: {type: int}", "      points: {type: varchar}", (
        "11: databases.customers.fields.points.type: 'varchar' is not known; did you mean 'string'?"
    )),
    ("      points: {type: int}", "      points: {type: VARCHAR(20)}", (
        "11: databases.customers.fields.points.type: 'VARCHAR(20)' is not known; did you mean 'string'?"
    )),
    ("      points: {type: int}", '      points: {type: "numeric(12, 2)"}', (
        "11: databases.customers.fields.points.type: 'numeric(12, 2)' is not known; did you mean 'decimal(12, 2)'?"
    )),
    ("      points: {type: int}", "      points: {type: xyz}", (
        "11: databases.customers.fields.points.type: expected one of string, int, decimal(p,s), float, bool, date, datetime, "
        "enum, object, objects, array, email, phone, phones, ip"
    )),
    ("      points: {type: int}", "      points: {type: int, xyz: 1}", (
        "11: databases.customers.fields.points.xyz: unknown key; known are: characters, description, format, max, "
        "max_length, min, one_of, options, pattern, pii, region, required, type, unique"
    )),
    ("      points: {type: int}", "      points: {type: phone, region: de}", (
        "11: databases.customers.fields.points.region: two capital letters of a country, such as DE"
    )),
    ("      points: {type: int}", "      points: {type: int, max_lenght: 5}", (
        "11: databases.customers.fields.points.max_lenght: unknown key; did you mean 'max_length'?"
    )),
    ("      points: {type: int}", "      points: {type: int, max_length: 5}", (
        "11: databases.customers.fields.points: 'max_length' does not apply to type int; it belongs to email, string"
    )),
    ("      points: {type: int}", "      points: {type: decimal}", (
        "11: databases.customers.fields.points: write decimal with its digits: decimal(12,2) holds 10 before and 2 after "
        "the point"
    )),
    ("      points: {type: int}", "      points: {type: decimal(12,2)}", (
        "11: databases.customers.fields.points: inside { } the comma of a decimal needs quotes: {type: \"decimal(12,2)\"}"
    )),
    ("      points: {type: int}", '      points: {type: "decimal(2,5)"}', (
        "11: databases.customers.fields.points: decimal(p,s) needs 1 <= p <= 38 and s <= p"
    )),
    ("      points: {type: int}", '      points: {type: "decimal(5,2)", precision: 4}', (
        "11: databases.customers.fields.points: digits belong to the type: decimal(12,2) holds 10 before and 2 after the point"
    )),
    ("      points: {type: int}", "      points: {type: int, min: low}", (
        "11: databases.customers.fields.points: min of type int is a number"
    )),
    ("      points: {type: int}", "      points: {type: int, min: 5, max: 3}", (
        "11: databases.customers.fields.points: min is above max: no value could pass"
    )),
    ("      points: {type: int}", "      points: {type: date, min: tomorrow}", (
        "11: databases.customers.fields.points: min of a date is a date such as 2026-11-22"
    )),
    ("      points: {type: int}", "      points: {type: date, format: DD/MM/YYYY}", (
        "11: databases.customers.fields.points: format is a strptime pattern: %d/%m/%Y reads 31/12/2026"
    )),
    ("      points: {type: int}", "      points: {type: string, pattern: '['}", (
        "11: databases.customers.fields.points.pattern: not a regular expression: unterminated character set at position 0"
    )),
    ("      points: {type: int}", r"      points: {type: string, pattern: '(?<=a)b'}", (
        "11: databases.customers.fields.points.pattern: uses back-references or look-around; write it without, or use one_of"
    )),
    ("      points: {type: int}", r"      points: {type: string, pattern: 'a\Z'}", (
        r"11: databases.customers.fields.points.pattern: '\Z' at position 1 is not known; for the character itself write \ before it"
    )),
    ("      points: {type: int}", '      points: {type: "decimal(4,2)", min: 1.234}', (
        "11: databases.customers.fields.points: min: '1.234' is no decimal(4,2)"
    )),
    ("      points: {type: int}", "      points: {type: int, max: 9223372036854775808}", (
        "11: databases.customers.fields.points: max: '9223372036854775808' is no int"
    )),
    ("      points: {type: int}", "      points: {type: int, one_of: ['1', two]}", (
        "11: databases.customers.fields.points: one_of: 'two' is no int"
    )),
    ("      points: {type: int}", "      points: {type: date, format: '%d/%m'}", (
        "11: databases.customers.fields.points: format: '%d/%m' does not name a day; write for example %d/%m/%Y or "
        "%Y-%m-%d %H:%M:%S"
    )),
    ("      tier: {type: enum, options: [Bronze, Silver]}", "      tier: {type: enum, options: [Bronze, Silver], one_of: [Gold]}", (
        "10: databases.customers.fields.tier: one_of: 'Gold' is no enum"
    )),
    ("      points: {type: int}", "      points: int", (
        "11: databases.customers.fields.points: expected keys, such as {type: string}"
    )),
    ("      points: {type: int}", "      points:", (
        "11: databases.customers.fields.points: expected keys, such as {type: string}; the key has no value"
    )),
    ("      points: {type: int}", "      points: {required: yes, type: int}", (
        "11: databases.customers.fields.points.required: expected true or false; YAML 1.2 knows only these two words"
    )),
    ("      tier: {type: enum, options: [Bronze, Silver]}", "      tier: {type: enum}", (
        "10: databases.customers.fields.tier: an enum needs options: [first, second, ...]"
    )),
    ("      tier: {type: enum, options: [Bronze, Silver]}", "      tier: {type: enum, options: [A, A]}", (
        "10: databases.customers.fields.tier: options repeat a value"
    )),
    ("      tier: {type: enum, options: [Bronze, Silver]}", "      tier: {type: enum, options: [1, two]}", (
        "10: databases.customers.fields.tier.options.0: expected text; put it in quotes, else YAML reads a number, true or false"
    )),
    ("    key: customer_id", "    key: custmer_id", "2: databases.customers: the key 'custmer_id' is not one of the fields; did you mean 'customer_id'?"),
    (
        "    key: customer_id", "    key: customer_id\n    key_default: uuid",
        "2: databases.customers: key_default: uuid makes keys of 36 characters; the key's max_length is 12",
    ),
    ("    table: crm.customers", "    table: a.b.c", (
        "3: databases.customers.table: a table is named NAME or SCHEMA.NAME, such as crm.customers: letters, digits and _, "
        "no digit first, at most 63 characters"
    )),
    ("      newsletter: {channels: [email]}", "      newsletter: {channels: []}", (
        "13: databases.customers.resources.newsletter.channels: needs at least one entry"
    )),
    ("      newsletter: {channels: [email]}", "      newsletter: {channels: [emial]}", (
        "13: databases.customers.resources.newsletter.channels.0: 'emial' is not known; did you mean 'email'?"
    )),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), DATABASE_CASES)
def test_a_mistake_in_databases_names_line_key_and_what_belongs_there(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    home = write_project(tmp_path, {**RIGHT, "databases.yaml": with_line(DATABASES, old, new)})
    project = read_project(home)
    assert project.mistakes == (f"databases.yaml:{expected}",)
    because = f"imports/loyalty.yaml:1: database: 'customers' cannot be used: databases.yaml:{expected}"
    assert project.broken["loyalty"].mistakes == (because,)


IMPORT_CASES = [
    ("database: customers", "database: custmers", ["1: database: there is no 'custmers'; did you mean 'customers'?"]),
    ("  connection: vendor", "  connection: vendr", ["3: source.connection: there is no 'vendr'; did you mean 'vendor'?"]),
    ("  connection: vendor", "  connection: nobody", [
        "3: source.connection: there is no 'nobody'; known are: shop_db, uploads, vendor",
    ]),
    ("  connection: vendor", "  connection: shop_db", [
        "4: source.file: a postgresql connection takes a query or a table, not a file",
    ]),
    ("  file: loyalty/Customers", "  file: a/b/c/Customers", [
        "2: source: a file is at most two folders deep: Folder/Subfolder/Name, without '..'",
    ]),
    ("  file: loyalty/Customers", "  file: ../Customers", [
        "2: source: a file is at most two folders deep: Folder/Subfolder/Name, without '..'",
    ]),
    ("  file: loyalty/Customers", "  query: SELECT 1", [
        "2: source: a sftp connection delivers files, not queries or tables; give file: Folder/Name",
    ]),
    ("  CID: customer_id", "  CID: tier", [
        "5: columns: one column must be mapped to the match key 'customer_id'",
        "7: columns.Tier: 'tier' is already filled from CID",
    ]),
    ("  Tier: tier", "  Tier: teir", [
        "7: columns.Tier: 'teir' is not a field of the database; did you mean 'tier'? A new field needs a type: "
        "{field: teir, type: string}",
    ]),
    ("  Tier: tier", "  Tier: loyalty_class", [
        "7: columns.Tier: 'loyalty_class' is not a field of the database; give its type: {field: loyalty_class, type: string}",
    ]),
    ("  Tier: tier", "  Tier: {field: points, min: 1.5}", ["7: columns.Tier: min of type int is a number"]),
    ("  Tier: tier", "  Tier: {field: points, one_of: [many]}", ["7: columns.Tier: one_of: 'many' is no int"]),
    ("  Tier: tier", "  Tier: {field: segment, type: string}", [
        "7: columns.Tier: 'segment' is reserved in databases.yaml; choose another field name",
    ]),
    ("  Tier: tier", "  Tier: {field: points, type: string}", [
        "7: columns.Tier: 'points' is int in databases.yaml and string here; a field's type can't change",
    ]),
    ("  Tier: tier", "  Tier: {feild: tier}", [
        "7: columns.Tier.feild: unknown key; did you mean 'field'?",
    ]),
    ("  Tier: tier", "  Tier: [tier]", ["7: columns.Tier: expected text"]),
    ("  Tier: tier", "  Tier: 007", [
        "7: columns.Tier: a name is a letter, then letters, digits and _, at most 63 characters",
    ]),
    ("  Tier: tier", "  Tier: tier\n  A: points\n  B: email\n  C: {field: c, type: int}", [
        "5: columns: 5 fields besides the key, and max_fields_per_import is 3; split the import by subject, or raise the "
        "limit in databases.yaml",
    ]),
    ("rejects: {max_rows: 10}", "rejects: {max_rows: ten}", ["9: rejects.max_rows: expected a whole number"]),
    ("rejects: {max_rows: 10}", "rejects: {max_percent: 101}", ["9: rejects.max_percent: must be at most 100"]),
    ("rejects: {max_rows: 10}", "rejects: {unlimited: true, max_rows: 1}", [
        "9: rejects: unlimited: true contradicts max_rows and max_percent",
    ]),
    ("rejects: {max_rows: 10}", "mode: addonly", [
        "9: mode: expected one of add_and_update, add_only, update_only, delete, deactivate; did you mean 'add_only'?",
    ]),
    ("rejects: {max_rows: 10}", "mod: add_only", ["9: mod: unknown key; did you mean 'mode'?"]),
    ("rejects: {max_rows: 10}", "match: {by: fild}", ["9: match.by: 'fild' is not known; did you mean 'field'?"]),
    ("rejects: {max_rows: 10}", "match: email_profile", [
        "9: match: no column is mapped to a field of type email; map one, or name it in match.column",
    ]),
    ("rejects: {max_rows: 10}", "match: {by: profile_id}", [
        "9: match: profile_id finds existing profiles only; it needs mode: update_only",
        "9: match: profile_id needs the source column: {by: profile_id, column: ProfileId}",
    ]),
    ("rejects: {max_rows: 10}", "match: {by: push}\nmode: update_only", [
        "9: match: by push needs the source column with the contact: {by: push, column: ...}",
    ]),
    ("rejects: {max_rows: 10}", "schedule: {every: 7m}", [
        "9: schedule: every must divide an hour or a day evenly: 5m, 15m, 1h, 6h, 12h, 24h ...",
    ]),
    ("rejects: {max_rows: 10}", "schedule: {every: 6 hours}", [
        "9: schedule.every: a duration is a whole number and a unit: 90s, 10m, 6h, 1d or 2w",
    ]),
    ("rejects: {max_rows: 10}", "schedule: {every: 6h, start: 6 o'clock}", [
        "9: schedule.start: expected a time such as 2026-11-22T06:00",
    ]),
    ("rejects: {max_rows: 10}", "schedule: {every: 6h, timezone: Europe/Lndon}", [
        "9: schedule.timezone: 'Europe/Lndon' is not an IANA time zone such as Europe/London or UTC",
    ]),
    ("rejects: {max_rows: 10}", "schedule: daily", ["9: schedule: expected keys, such as {every: 6h}"]),
    ("rejects: {max_rows: 10}", "rejects: 5", ["9: rejects: expected keys, such as {max_rows: 5}"]),
    ("rejects: {max_rows: 10}", "shrink: 10", ["9: shrink: expected keys, such as {min_percent: 50}"]),
    ("rejects: {max_rows: 10}", "owners: ann@example.com", ["9: owners: expected a list such as [a, b]"]),
    ("rejects: {max_rows: 10}", "owners: [team:crm, ann@example.com, Ann]", [
        "9: owners.2: an owner is team:NAME, or a mail address whose ending has 2 to 7 letters",
    ]),
    ("rejects: {max_rows: 10}", "owners: ['team: ']", [
        "9: owners.0: an owner is team:NAME, or a mail address whose ending has 2 to 7 letters",
    ]),
    ("rejects: {max_rows: 10}", "schedule: {cron: '0 6 30,31 feb *'}", ["9: schedule.cron: none of these months has such a day"]),
    ("rejects: {max_rows: 10}", "schedule: {cron: '0 6 31 2,4-4 mon'}", []),
    ("rejects: {max_rows: 10}", "labels: [a, '']", ["9: labels.1: must not be empty"]),
    ("rejects: {max_rows: 10}", "groups: ['a,b']", ["9: groups.0: a group's name has no comma, and no blank at its ends"]),
    ("rejects: {max_rows: 10}", f"groups: [{'g' * 201}]", ["9: groups.0: has more than 200 characters"]),
    ("rejects: {max_rows: 10}", "receipt: {fodler: out}", ["9: receipt.fodler: unknown key; did you mean 'folder'?"]),
    ("rejects: {max_rows: 10}", "notify: [{on: [fail], to: mailto://ops@example.com}]", [
        "9: notify.0.on.0: 'fail' is not known; did you mean 'failed'?",
        f"9: notify.0.to: {LITERAL}",
    ]),
    ("rejects: {max_rows: 10}", "subscriptions: [{resource: newsleter, channel: email, contact: E, status: subscribed}]", [
        "9: subscriptions.0.resource: there is no 'newsleter'; did you mean 'newsletter'?",
    ]),
    ("rejects: {max_rows: 10}", "subscriptions: [{resource: newsletter, channel: sms, contact: E, status: subscribed}]", [
        "9: subscriptions.0.channel: 'newsletter' has no channel sms; it has email",
    ]),
    ("rejects: {max_rows: 10}", "geo: {ip: IP, country: land}", ["9: geo.country: 'land' is not a field of the database"]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), IMPORT_CASES)
def test_a_mistake_in_an_import_names_line_key_and_what_belongs_there(
    tmp_path: Path, old: str, new: str, expected: list[str]
) -> None:
    found = mistakes(tmp_path, loyalty=with_line(IMPORT, old, new))
    assert found == [f"imports/loyalty.yaml:{line}" for line in expected]


NOTIFY_CASES: list[tuple[str, list[str]]] = [
    ("imports: [loyalty]", []),
    ("imports: [loy*, '?oyalty', nothing_yet_*]\n    databases: [customers]\n    connections: [vendor]", []),
    ("imports: [loyalti, nowhere]", [
        "4: groups.ops.imports.0: there is no 'loyalti'; did you mean 'loyalty'?",
        "4: groups.ops.imports.1: there is no 'nowhere'; known are: loyalty",
    ]),
    ("databases: [customer]", ["4: groups.ops.databases.0: there is no 'customer'; did you mean 'customers'?"]),
    ("connections: [vender]", ["4: groups.ops.connections.0: there is no 'vender'; did you mean 'vendor'?"]),
    ("imports: [a b]", ["4: groups.ops.imports.0: write the name of an import, or a pattern such as crm_*"]),
    ("on: [fail]", ["4: groups.ops.on.0: 'fail' is not known; did you mean 'failed'?"]),
    ("on: []", ["4: groups.ops.on: needs at least one entry"]),
    ("severity: info", ["4: groups.ops.severity: expected one of failure, warning"]),
    ("conections: [vendor]", ["4: groups.ops.conections: unknown key; did you mean 'connections'?"]),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), NOTIFY_CASES)
def test_a_mistake_in_a_group_names_line_key_and_what_belongs_there(
    tmp_path: Path, line: str, expected: list[str]
) -> None:
    text = f"groups:\n  ops:\n    to: [{{env: VENDOR_PW}}]\n    {line}\n"
    assert mistakes(tmp_path, notify=text) == [f"notify.yaml:{mistake}" for mistake in expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("groups:\n  ops: {to: [mailto://me]}\n", f"2: groups.ops.to.0: {LITERAL}"),
        ("groups:\n  ops: {to: [{env: NOT_SET}]}\n", "2: groups.ops.to.0: the environment variable NOT_SET is not set"),
        ("groups:\n  ops: {}\n", "2: groups.ops.to: this key is required"),
        ("group: {}\n", "1: group: unknown key; did you mean 'groups'?"),
        ("", "1: the file is empty"),
        ("groups: {a: b\n", "1: not YAML: the { that opens here never closes, or an entry in it lacks its comma"),
    ],
)  # fmt: skip
def test_a_mistake_of_the_file_of_groups_stops_no_import_and_no_other_group(
    tmp_path: Path, text: str, expected: str
) -> None:
    more = "  crm: {to: [{env: VENDOR_PW}]}\n" if text.startswith("groups:\n") else ""
    project = read_project(write_project(tmp_path, {**RIGHT, "notify.yaml": text + more}))
    assert f"notify.yaml:{expected}" in project.mistakes
    assert set(project.imports) == {"loyalty"}
    assert set(project.groups) == ({"crm"} if more else set())


FILE_CASES: list[tuple[str, str | bytes | None, str]] = [
    ("connections", None, "connections.yaml:1: the file is missing"),
    ("databases", None, "databases.yaml:1: the file is missing"),
    ("connections", "", "connections.yaml:1: the file is empty"),
    ("databases", "# nothing\n", "databases.yaml:1: the file is empty"),
    ("loyalty", "- a\n- b\n", "imports/loyalty.yaml:1: expected keys, such as {database: ...}"),
    ("loyalty", b"database: customers\n# caf\xe9\n", "imports/loyalty.yaml:2: not UTF-8 text; save the file as UTF-8"),
    ("loyalty", "database: customers\ncolumns: {a: b\n", "imports/loyalty.yaml:2: not YAML: the { that opens here never closes, or an entry in it lacks its comma"),
    ("loyalty", "a: 1\n\tb: 2\n", "imports/loyalty.yaml:2: not YAML: there is a tab; YAML indents with blanks"),
    ("loyalty", "a: 1\n---\nb: 2\n", "imports/loyalty.yaml:2: not YAML: a second document begins here (---); a file holds one"),
    ("loyalty", "a: 'x\nb: c\n", "imports/loyalty.yaml:1: not YAML: the quote that opens here never closes"),
    ("loyalty", "a: [1\nb: c\n", "imports/loyalty.yaml:1: not YAML: the [ that opens here never closes, or an entry in it lacks its comma"),
    ("loyalty", "a: @x\n", "imports/loyalty.yaml:1: not YAML: no value begins with this character: put the text in quotes"),
    ("loyalty", "a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n", "imports/loyalty.yaml:2: not YAML: a merge left its mark here: <<<<<<<"),
    ("loyalty", "a: b: c\n", (
        "imports/loyalty.yaml:1: not YAML: no key can stand here: keys of one mapping begin in the same column, and a text with a colon "
        "and a blank needs quotes"
    )),
    ("loyalty", "a: *b\n", "imports/loyalty.yaml:1: not YAML: no anchor (&name) before this alias (*name) has its name"),
    ("loyalty", "a: &a [*a]\n", "imports/loyalty.yaml:1: an alias (*name) unfolds without end"),
    ("loyalty", "a: !!python/object:os.system {}\n", (
        "imports/loyalty.yaml:1: a: the tag tag:yaml.org,2002:python/object:os.system is not read here"
    )),
    ("loyalty", "a: !!int x\n", "imports/loyalty.yaml:1: not YAML: a tag such as !!int stands before a value it cannot hold"),
    ("loyalty", "? [a]\n: b\n", "imports/loyalty.yaml:1: a key must be text"),
    ("loyalty", IMPORT.replace("  Tier: tier\n", "  Tier: tier\n  Tier: points\n"), (
        "imports/loyalty.yaml:8: columns.Tier: the key stands here twice, first in line 7"
    )),
    ("loyalty", "a: " + "[" * 2_000 + "]" * 2_000, "imports/loyalty.yaml:1: not YAML: exceeded maximum nesting depth"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), FILE_CASES)
def test_a_file_that_cannot_be_read_is_one_mistake_with_its_line(
    tmp_path: Path, name: str, content: str | bytes | None, expected: str
) -> None:
    assert mistakes(tmp_path, **{name: content})[0] == expected


def test_a_bomb_of_aliases_is_refused_at_once(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    found = mistakes(tmp_path, loyalty="\n".join(rows))
    assert len(found) == 1
    assert found[0].endswith("the file has more than 100,000 values, its aliases (*name) unfolded")


def test_all_mistakes_of_all_files_come_at_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        connections=CONNECTIONS.replace("directory: uploads", "directry: uploads"),
        databases=DATABASES.replace("{type: int}", "{type: integer}"),
        loyalty=IMPORT.replace("rejects: {max_rows: 10}", "mod: add_only\nevents: 3"),
        second=IMPORT.replace("vendor", "vendr"),
    )
    assert found == [
        "connections.yaml:4: connections.uploads.directry: unknown key; did you mean 'directory'?",
        "databases.yaml:11: databases.customers.fields.points.type: 'integer' is not known; did you mean 'int'?",
        "imports/loyalty.yaml:9: mod: unknown key; did you mean 'mode'?",
        "imports/loyalty.yaml:10: events: expected true or false",
        "imports/second.yaml:3: source.connection: there is no 'vendr'; did you mean 'vendor'?",
    ]


def test_a_mistake_in_one_entry_breaks_only_what_uses_it(tmp_path: Path) -> None:
    files = {
        **RIGHT,
        "connections.yaml": CONNECTIONS.replace("{env: VENDOR_PW}\n    host_key", "{env: MISSING_PW}\n    host_key"),
        "imports/uploads.yaml": IMPORT.replace("vendor", "uploads").replace("loyalty/Customers", "Customers"),
    }
    project = read_project(write_project(tmp_path, files))
    assert set(project.imports) == {"uploads"}
    assert set(project.broken) == {"loyalty"}
    assert set(project.connections) == {"uploads", "shop_db"}


def test_two_imports_that_disagree_on_a_fields_type_are_told(tmp_path: Path) -> None:
    assert mistakes(tmp_path, second=IMPORT.replace('"decimal(12,2)"', "int")) == [
        "imports/second.yaml:8: columns.Spent: 'spent' is decimal(12,2) in imports/loyalty.yaml and int here; "
        "a field's type can't change"
    ]


def test_two_databases_cannot_share_a_table(tmp_path: Path) -> None:
    second = DATABASES.split("\n", 1)[1].replace("customers:", "copies:").replace("crm.customers", "crm.customers")
    assert mistakes(tmp_path, databases=DATABASES + second) == [
        "databases.yaml:15: databases.copies.table: is the table of 'customers' already"
    ]


@pytest.mark.parametrize("schema", ["ingest", "information_schema", "pg_catalog", "pg_temp_3", "pg_mine"])
def test_no_table_lies_in_a_schema_of_the_ledger_or_of_postgres(tmp_path: Path, schema: str) -> None:
    [mistake, *others] = mistakes(tmp_path, databases=DATABASES.replace("crm.customers", f"{schema}.loads"))
    assert mistake.startswith(f"databases.yaml:3: databases.customers.table: the schema '{schema}' is ")
    assert all("mend databases.yaml first" in other for other in others)


@pytest.mark.parametrize("name", ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "profile_id", "Profile_ID"])
def test_no_field_has_the_name_of_a_column_that_is_there_already(tmp_path: Path, name: str) -> None:
    text = DATABASES.replace("      points: {type: int}", f"      points: {{type: int}}\n      {name}: {{type: int}}")
    assert any(f"'{name}' is a" in mistake for mistake in mistakes(tmp_path, databases=text))
    assert any(
        f"columns.X: '{name}' is a" in mistake
        for mistake in mistakes(tmp_path, loyalty=IMPORT.replace("  Tier: tier", f"  X: {{field: {name}, type: int}}"))
    )


LONG = "c" * 63
BESIDE = {
    "its consent records": "c_subscriptions",
    "the index of its consent records": "c_subscriptions_pkey",
    "an index of its consent records": "c_subscriptions_contact",
    "the sequence of its keys": "c_key_seq",
    "the numbers of its profiles": "c_profile_id_seq",
    "the index of its key": "c_pkey",
    "an index on 'email'": "c_email_folded",
}


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
@pytest.mark.parametrize("what", BESIDE)
def test_no_table_has_a_name_that_another_database_needs(tmp_path: Path, what: str, order: tuple[str, str]) -> None:
    tables = {"first": "crm.c", "second": f"crm.{BESIDE[what]}"}
    database = DATABASES.split("\n", 1)[1].replace("max_fields_per", "key_default: uuid\n    max_fields_per")
    database = database.replace("max_length: 12", "max_length: 36")
    database = database.replace("uuid", "sequence") if "sequence" in what else database
    text = "databases:\n" + "".join(
        database.replace("customers:", f"{name}:").replace("crm.customers", tables[name]) for name in order
    )
    matching = IMPORT.replace("customers", "first").replace("  Tier: tier", "  Mail: email\nmatch: email_profile")
    found = mistakes(tmp_path, databases=text, loyalty=matching.replace("  Spent", "#"))
    collisions = [mistake for mistake in found if mistake.startswith("databases.yaml:")]
    assert len(collisions) == 1
    assert f"databases.{order[1]}.table: " in collisions[0]
    assert order[0] in collisions[0]
    assert what in collisions[0]
    apart = text.replace("crm.c\n", "other.c\n")
    assert not any("databases.yaml" in each for each in mistakes(tmp_path, databases=apart))


def test_names_that_nothing_makes_are_free(tmp_path: Path) -> None:
    second = (
        DATABASES.split("\n", 1)[1].replace("customers:", "more:").replace("crm.customers", "crm.customers_key_seq")
    )
    assert mistakes(tmp_path, databases=DATABASES + second) == []


def test_a_database_holds_at_most_its_number_of_fields(tmp_path: Path) -> None:
    text = DATABASES.replace("    reserved: [segment]", "    reserved: [segment]\n    max_fields: 4")
    assert mistakes(tmp_path, databases=text) == [
        "imports/loyalty.yaml:5: columns: with this import 'customers' has 5 fields, and max_fields is 4"
    ]


@pytest.mark.parametrize("name", ["9lives", "my-feed", "caf\u00e9", "a" * 64])
def test_an_imports_file_name_is_a_name(tmp_path: Path, name: str) -> None:
    assert mistakes(tmp_path, **{name: IMPORT}) == [
        f"imports/{name}.yaml:1: the file's name is the import's name: a letter, then letters, digits and _, "
        "at most 63 characters"
    ]


def test_hidden_files_beside_the_imports_are_not_read(tmp_path: Path) -> None:
    """Editors leave `.#loyalty.yaml`, macOS `._loyalty.yaml`."""
    assert mistakes(tmp_path, **{".#loyalty": None, "._loyalty": b"\0\5\x16\7", ".draft": "x: ["}) == []


def test_two_files_cannot_have_the_same_name(tmp_path: Path) -> None:
    write_project(tmp_path, {"imports/loyalty.yml": IMPORT})
    assert mistakes(tmp_path) == [
        "imports/loyalty.yml:1: imports/loyalty.yaml has this name already; names differ by more than their case"
    ]


def test_a_mistake_below_a_column_is_one_mistake(tmp_path: Path) -> None:
    """What the damaged entry would otherwise lack is no second mistake."""
    wrong = with_line(IMPORT, "  Tier: tier", "  Tier: {field: level, type: strng}")
    assert mistakes(tmp_path, loyalty=wrong) == [
        "imports/loyalty.yaml:7: columns.Tier.type: 'strng' is not known; did you mean 'string'?"
    ]


@pytest.mark.parametrize("text", ["\tconnections: {}\n", "connections:\n\tuploads: 1\n", f"{CONNECTIONS}\tx: 1\n"])
def test_a_tab_is_one_mistake_however_many_imports_it_stops(tmp_path: Path, text: str) -> None:
    imports = {f"imports/copy_{number}.yaml": IMPORT for number in range(20)}
    project = read_project(write_project(tmp_path, {**RIGHT, **imports, "connections.yaml": text}))
    [mistake] = project.mistakes
    assert mistake.endswith("not YAML: there is a tab; YAML indents with blanks")
    assert len(project.broken) == 21
    assert all(mistake in error.mistakes[0] for error in project.broken.values())
