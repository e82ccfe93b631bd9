"""`ingest new` in this process: what it proposes, what it asks, and that it writes only what `check` passes."""

from __future__ import annotations

import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pysequoia as openpgp
import pytest
import yaml

from ingest_pipelines_tests.cli.terminal import Terminal

EXPORTS = Path(__file__).parent / "exports"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """A project that `ingest init` made; its target does not answer."""
    home = tmp_path_factory.mktemp("wizard") / "project"
    terminal = Terminal(home.parent, {"INGEST_DATABASE_URL": "postgresql://nobody:secret@127.0.0.1:1/none"})
    assert terminal.ingest("init", home).code == 0
    (home / "imports" / "loyalty.yaml").unlink()
    return Terminal(home, terminal.environment)


def new(project: Terminal, content: str, *typed: str, name: str = "second") -> tuple[dict[str, Any] | None, str]:
    """The import that is written for such a file with every suggestion taken, and all that was said."""
    (project.folder / "uploads" / "Second_1.csv").write_text(content, encoding="utf-8", newline="")
    answer = project.ingest(
        "new", name, "--connection", "uploads", "--path", "Second_1.csv", "--yes", typed=typed, COLUMNS="400"
    )
    file = project.folder / "imports" / f"{name}.yaml"
    written = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None
    file.unlink(missing_ok=True)
    assert (answer.code == 0) == (written is not None)
    return written, answer.out + answer.err


def test_an_existing_field_is_proposed_before_a_new_one_and_never_for_the_key(project: Terminal) -> None:
    written, _ = new(project, "E-mail Address,Customer Id,Tier\nann@example.com,1,Gold\n")
    assert written is not None
    assert written["columns"] == {
        "E-mail Address": "email", "Customer Id": "customer_id", "Tier": {"field": "tier", "type": "string"},
    }  # fmt: skip


@pytest.mark.parametrize("header", ["email", "Email", "E-mail", "EMAIL ADDRESS", "Mail"])
def test_a_column_that_is_a_field_is_never_proposed_for_the_key(project: Terminal, header: str) -> None:
    """Without another column that may be one there is no proposal, and so a question."""
    written, said = new(project, f"{header},Tier\nann@example.com,Gold\n")
    assert written is None
    assert "the column with customer_id:" in said


def test_days_that_may_be_months_are_asked_about_and_the_yaml_says_the_answer(project: Terminal) -> None:
    content = "CID,Joined\n1,03/12/2020\n2,01/02/2021\n"
    for typed, form, shown in (("1", "%d/%m/%Y", "2020-12-03"), ("2", "%m/%d/%Y", "2020-03-12")):
        written, said = new(project, content, "x", "3", typed)
        assert said.count("type a number from 1 to 2") == 2  # a mistyped answer is asked again
        assert written is not None
        assert written["columns"]["Joined"] == {"field": "joined", "type": "date", "format": form}
        assert f"{shown} | " in said
    written, said = new(project, content + "3,31/12/2020\n")
    assert written is not None
    assert written["columns"]["Joined"]["format"] == "%d/%m/%Y"


def test_the_format_is_proposed_and_the_first_values_are_shown_as_they_will_be_read(project: Terminal) -> None:
    written, said = new(project, 'CID;Points;Member;Tel\n1;1.234,50;ja;"+44 20 7946 0018"\n2;3,5;nein;\n')
    assert written is not None
    assert written["source"]["format"] == {"delimiter": ";", "decimal": ",", "thousands": "."}
    assert written["source"]["file"] == "Second"
    assert written["columns"] == {
        "CID": "customer_id",
        "Points": {"field": "points", "type": "decimal(12,2)"},
        "Member": {"field": "member", "type": "bool", "map": {"ja": "yes", "nein": "no"}},
        "Tel": {"field": "tel", "type": "phone"},
    }
    for values in ("1 | 2", "1234.50 | 3.50", "true | false", "+442079460018 | -"):
        assert values in said


def test_the_file_of_an_archive_with_several_is_asked_for(project: Terminal) -> None:
    with zipfile.ZipFile(project.folder / "uploads" / "audience_3.zip", "w") as archive:
        archive.writestr("cleaned_0a1b.csv", "CID;Email\n1;a@example.com\n")
        archive.writestr("subscribed_0a1b.csv", "CID,Email\n2,b@example.com\n3,c@example.com\n")
    words = ("new", "second", "--connection", "uploads", "--path", "audience_3.zip", "--yes")
    answer = project.ingest(*words, typed=["2"], COLUMNS="400")
    assert answer.code == 0, answer.err
    file = project.folder / "imports" / "second.yaml"
    source = yaml.safe_load(file.read_text())["source"]
    file.unlink()
    assert source == {
        "connection": "uploads", "file": "audience", "pattern": r"audience(?:_(?P<serial>[0-9]+))?\.zip",
        "member": "subscribed_*.csv",
    }  # fmt: skip
    assert "2 | 3" in answer.out


def drafted(project: Terminal, path: str, *typed: str) -> tuple[dict[str, Any], str]:
    """The import that is written for a file of `uploads` with every suggestion taken, and all that was said."""
    words = ("new", "second", "--connection", "uploads", "--path", path, "--yes")
    answer = project.ingest(*words, typed=typed, COLUMNS="400")
    assert answer.code == 0, answer.err
    file = project.folder / "imports" / "second.yaml"
    text = file.read_text(encoding="utf-8")
    file.unlink()
    return yaml.safe_load(text), answer.out + answer.err


def test_files_that_are_called_like_parts_are_proposed_as_one_item_with_their_proof(project: Terminal) -> None:
    for name in ("Sales_7_part1.csv", "Sales_7_part2.csv", "Sales_6_part1.csv"):
        (project.folder / "uploads" / name).write_text("CID,Tier\n1,Gold\n", encoding="utf-8")
    pattern = r"Sales_(?P<serial>[0-9]+)_part(?P<part>[0-9]+)\.csv"
    written, said = drafted(project, "Sales_7_part1.csv")
    assert written["source"] == {"connection": "uploads", "file": "Sales", "parts": {"pattern": pattern, "count": 2}}
    assert "nothing there says how many parts" not in said  # with --yes the number that is there is taken
    (project.folder / "uploads" / "Sales_7.manifest").write_text("Sales_7_part1.csv;1\nSales_7_part2.csv;1\n")
    written, _ = drafted(project, "Sales_7_part1.csv")
    assert written["source"]["parts"] == {"pattern": pattern, "manifest": "Sales_{serial}.manifest"}


def test_the_keys_of_an_encrypted_file_are_asked_for_and_its_columns_are_shown(project: Terminal) -> None:
    secret = openpgp.Tsk.generate("Shop <shop@example.com>")
    key = project.folder / "shop.key"
    key.write_text(str(secret), encoding="utf-8")
    message = openpgp.encrypt(b"CID;Points\n1;1,5\n2;2,25\n", [secret.extract_certificate()])
    (project.folder / "uploads" / "Till_7.csv.pgp").write_bytes(message)
    written, said = drafted(project, "Till_7.csv.pgp", str(project.folder / "no such file"), str(key))
    assert "does not exist or is not readable" in said
    assert written["source"] == {
        "connection": "uploads", "file": "Till", "decrypt": {"private_key": {"file": str(key)}},
        "format": {"delimiter": ";", "decimal": ","},
    }  # fmt: skip
    assert "1.50 | 2.25" in said


def test_another_spelling_of_a_column_in_an_earlier_file_is_read_too(project: Terminal) -> None:
    for name, header in (("Members_1.csv", "CID,E-mail Address,Tier"), ("Members_2.csv", "CID,Email,Tier")):
        (project.folder / "uploads" / name).write_text(f"{header}\n1,ann@example.com,Gold\n", encoding="utf-8")
    written, said = drafted(project, "Members_2.csv")
    assert written["columns"]["Email"] == {"field": "email", "also": ["E-mail Address"]}
    assert "Email is called E-mail Address in Members_1.csv: both are read" in said
    assert written["columns"]["Tier"] == {"field": "tier", "type": "string"}


def test_amounts_with_a_currency_are_proposed_as_numbers(project: Terminal) -> None:
    written, said = new(project, "CID;Spent\n1;€ 1.234,50\n2;€ 3,5\n")
    assert written is not None
    assert written["source"]["format"] == {"delimiter": ";", "currency": "€", "decimal": ",", "thousands": "."}
    assert written["columns"]["Spent"] == {"field": "spent", "type": "decimal(12,2)"}
    assert "1234.50 | 3.50" in said


def test_rows_that_would_be_rejected_are_told_before_it_is_written(project: Terminal) -> None:
    content = "CID,Email,Tier\n1,ann@example.com,Gold\n2,bob(at)example.com,Gold\nNULL,c@example.com,x\n"
    _, said = new(project, content, "2")
    assert "Email has cells that are no email" in said
    assert "2 of 3 rows of the sample would be rejected" in said
    assert "1: email: not one email address" in said


def test_a_format_is_proposed_although_a_few_cells_of_the_sample_are_bad(project: Terminal) -> None:
    rows = [f"{n},{10 + n % 19}/{1 + n % 12:02}/2001" for n in range(1, 40)]
    content = "CID,Joined\n" + "\n".join([*rows[:10], "90,soon", *rows[10:], "91,later"]) + "\n"
    written, said = new(project, content)
    assert written is not None
    assert written["columns"]["Joined"] == {"field": "joined", "type": "date", "format": "%d/%m/%Y"}
    assert "2 of 41 cells of Joined are no date: such rows would be rejected" in said
    assert "2 of 41 rows of the sample would be rejected" in said
    assert "joined: not a calendar date" in said
    assert "(lines 12, 42)" in said
    assert "soon" not in said.split("as the import reads them")[1]


def test_times_without_a_zone_are_asked_about_with_utc_as_a_suggestion(project: Terminal) -> None:
    content = "CID,Seen\n1,2026-07-01 10:22:33\n2,2026-01-05 10:22:33\n"
    written, said = new(project, content)
    assert written is not None
    assert "timezone" not in written
    answers = ("Second_1.csv", "", "", "", "", "Europe/Berlim", "Europe/Berlin", "", "", "", "")
    (project.folder / "uploads" / "Second_1.csv").write_text(content)
    answer = project.ingest("new", "second", "--connection", "uploads", typed=answers, COLUMNS="400")
    said, file = answer.out + answer.err, project.folder / "imports" / "second.yaml"
    assert answer.code == 0, said
    assert yaml.safe_load(file.read_text())["timezone"] == "Europe/Berlin"
    file.unlink()
    assert "no such time zone; did you mean 'Europe/Berlin'?" in said
    assert "2026-07-01 08:22:33+00:00 | 2026-01-05 09:22:33+00:00" in said
    written, _ = new(project, "CID,Seen\n1,2026-07-01 10:22:33Z\n2,2026-01-05 10:22:33+01:00\n")
    assert written is not None


def test_a_list_of_customers_needs_their_keys_only_and_what_marks_them(project: Terminal) -> None:
    databases = project.folder / "databases.yaml"
    before = databases.read_text()
    content = "CID,Tier,Since\n1,Gold,2020\n2,Silver,2021\n"
    (project.folder / "uploads" / "Second_1.csv").write_text(content)
    words = ("new", "second", "--connection", "uploads", "--path", "Second_1.csv")
    file = project.folder / "imports" / "second.yaml"
    try:
        answer = project.ingest(*words, typed=("CID", "deactivate", "email"), COLUMNS="400")
        assert "'email' is not one of them" in answer.out + answer.err or "none that can be set" in answer.err
        databases.write_text(before.replace("    fields:\n", "    fields:\n      active: {type: bool}\n", 1))
        for mode, marks, answers in (
            ("delete", None, ()),
            ("deactivate", {"active": "false"}, ("1", "maybe", "false")),
        ):
            answer = project.ingest(*words, typed=("CID", mode, *answers, "", "", ""), COLUMNS="400")
            assert answer.code == 0, answer.out + answer.err
            written = yaml.safe_load(file.read_text())
            assert (written["mode"], written.get("set")) == (mode, marks)
            assert written["columns"] == {"CID": "customer_id"}, "what else the file has is left alone"
            assert written["deletes"] == {"max_percent": 5}
            assert mode == "delete" or "'maybe' is no bool" in answer.out + answer.err
            file.unlink()
    finally:
        databases.write_text(before)
        file.unlink(missing_ok=True)


def test_phone_numbers_without_a_country_are_asked_about(project: Terminal) -> None:
    written, said = new(project, "CID,Mobile\n1,020 7946 0018\n", "gb", "US", "GB")
    assert written is not None
    assert "two capital letters of a country" in said
    assert "not every number of the sample is one of US" in said
    assert written["columns"]["Mobile"] == {"field": "mobile", "type": "phone", "region": "GB"}


def test_nothing_is_written_that_check_refuses(project: Terminal) -> None:
    """Here two imports of one database would give a field two types."""
    first = project.folder / "imports" / "first.yaml"
    first.write_text(
        "database: customers\nsource: {connection: uploads, file: First}\n"
        "columns: {CID: customer_id, Points: {field: points, type: int}}\n"
    )
    try:
        written, said = new(project, "CID,Points\n1,lots\n")
        assert written is not None
        assert written["columns"]["Points"] == {"field": "points", "type": "int"}  # its type is the field's
        assert "Points has cells that are no int" in said
        (project.folder / "databases.yaml").rename(project.folder / "databases.kept")
        (project.folder / "databases.yaml").write_text(
            "databases:\n  customers: {table: crm.c, key: customer_id, max_fields: 2, "
            "fields: {customer_id: {type: string}}}\n"
        )
        written, said = new(project, "CID,Points,Tier\n1,5,Gold\n")
        assert written is None
        assert "max_fields is 2" in said
        assert "nothing was written" in said
    finally:
        first.unlink()
        (project.folder / "databases.kept").replace(project.folder / "databases.yaml")


def test_browse_shows_what_an_import_would_read_and_what_is_not_certain(project: Terminal) -> None:
    (project.folder / "uploads" / "Other.csv").write_text("CID;Joined;Sum\n1;03.12.2020;1,5\n")
    answer = project.ingest("browse", "uploads", "Other.csv", "--columns", COLUMNS="200")
    assert 'format: {delimiter: ";", decimal: ","}' in answer.out
    assert 'date, format: "%d.%m.%Y" or date, format: "%m.%d.%Y"' in answer.out
    listed = project.ingest("browse", "uploads", "Other.csv", "--columns", "--json").json
    assert listed["format"] == {"delimiter": ";", "decimal": ","}
    assert listed["columns"][0] == {"column": "CID", "first": "1", "suggested": "int", "rules": {}}
    assert listed["columns"][1]["or"] == [{"suggested": "date", "rules": {"format": "%m.%d.%Y"}}]
    (project.folder / "uploads" / "Other.csv").write_bytes("CID,Näme\n1,x\n".encode("cp1252"))
    answer = project.ingest("browse", "uploads", "Other.csv", "--columns", COLUMNS="200")
    assert "not certain" in answer.out
    assert "cp850" in answer.out


def test_an_own_select_and_what_most_imports_do_not_need_are_asked_for(starter: Terminal) -> None:
    login = psycopg.conninfo.conninfo_to_dict(starter.environment["INGEST_DATABASE_URL"])
    settings = {
        "type": "postgresql", "host": login.get("host", "127.0.0.1"), "port": int(login.get("port") or 5432),
        "database": login["dbname"], "username": login["user"], "password": {"env": "SHOP_PW"},
    }  # fmt: skip
    file = starter.folder / "connections.yaml"
    known = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({"connections": {**known["connections"], "db": settings}}))
    home = Terminal(starter.folder, {**starter.environment, "SHOP_PW": str(login.get("password", "none"))})
    rows = "SELECT 'C-' || n AS cid, n AS visits FROM generate_series(1, 3) n"
    query = f"SELECT cid, visits FROM ({rows}) v WHERE visits > {{lastItem}} ORDER BY visits"
    words = ("new", "visits", "--connection", "db", "--query", query, "--more")
    typed = (
        "cursor", "visits", "1",  # each load reads, its column, its start
        "cid", "add_and_update", "visits", "int", "", "0",  # key, mode, field, type, every, rejects
        "1", "99",  # limits of the new field
        "key", "last", "keep", "crm",  # match, duplicates, empty, groups
        "weekdays", "06:30", "mon", "Europe/Berlin", "2026-12-01T06:00", "",  # schedule
        "visits of shops", "y",
    )  # fmt: skip
    answer = home.ingest(*words, typed=typed, COLUMNS="400")
    assert answer.code == 0, answer.out + answer.err
    written = yaml.safe_load((starter.folder / "imports" / "visits.yaml").read_text())
    assert written["source"] == {"connection": "db", "query": query, "cursor": {"column": "visits", "start": 1}}
    assert written["columns"]["visits"] == {"field": "visits", "type": "int", "min": 1, "max": 99}
    assert (written["duplicates"], written["empty"], written["groups"]) == ("last", "keep", ["crm"])
    assert written["schedule"] == {
        "at": ["06:30"], "weekdays": ["mon"], "start": "2026-12-01T06:00", "timezone": "Europe/Berlin",
    }  # fmt: skip
    assert "C-2" in answer.out + answer.err
    assert "C-1" not in answer.out + answer.err  # before the cursor's start


VENDORS: dict[str, tuple[str, list[str], dict[str, Any], list[tuple[Any, ...]]]] = {
    "hubspot": (
        "hubspot-crm-exports-all-contacts-2026-01-05.csv", [], {},
        [("51", "maren.oeztuerk@example.com", "+4930901820", datetime(2026, 1, 5, 10, 22, tzinfo=UTC)),
         ("52", "inigo@example.org", None, datetime(2026, 1, 5, 23, 59, tzinfo=UTC)),
         ("53", "chiara.damico@example.net", "+39060608", datetime(2025, 12, 31, tzinfo=UTC))],
    ),
    "salesforce": (
        "report1767607320.csv", ["1", "1"], {"encoding": "cp1252", "thousands": ",", "footer": 5},
        [("003AA000001Xy1A", "zoe.lindqvist@example.com", "+4640341000", date(1985, 3, 14), Decimal("1250000.50")),
         ("003AA000001Xy1B", "helder@example.org", "+351266777000", date(1990, 12, 31), Decimal(98000)),
         ("003AA000001Xy1C", "ann.ohara@example.net", None, None, None)],
    ),
    "mailchimp": (
        "subscribed_members_export_0a1b2c3d4e.csv", ["2", "LEID", "GB", "1"], {},
        [("101234567", "theo.vance@example.com", "+442079460018", Decimal("53.7965"), '"VIP","Newsletter"'),
         ("101234568", "noor@example.org", "+442079460991", Decimal("52.3740"), None)],
    ),
    "klaviyo": (
        "klaviyo_list_members_2026-01-05-1022.csv", [], {},
        [("01HZX3V6Q0", "sol.amara@example.com", "+15555550123", datetime(2026, 1, 5, 10, 22, 33, tzinfo=UTC)),
         ("01HZX3V6Q1", "petra.k@example.org", None, datetime(2025, 7, 1, tzinfo=UTC))],
    ),
    "shopify": (
        "customers_export.csv", [], {},
        [("'7012345678901", "lena.brandt@example.com", True, Decimal("1284.30"), 12),
         ("'7012345678902", "omar@example.net", False, Decimal(0), 0)],
    ),
}  # fmt: skip
FIELDS = {
    "hubspot": "phone_number, create_date", "salesforce": "phone, birthdate, annual_revenue",
    "mailchimp": "phone_number, latitude, tags", "klaviyo": "phone_number, last_active",
    "shopify": "accepts_email_marketing, total_spent, total_orders",
}  # fmt: skip


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_export_of_a_vendor_is_loaded_by_what_the_wizard_wrote(vendor: str, starter: Terminal) -> None:
    name, typed, declared, rows = VENDORS[vendor]
    home = starter.folder
    databases = yaml.safe_load((home / "databases.yaml").read_text())
    fields = {"customer_id": {"type": "string"}, "email": {"type": "email"}}
    databases["databases"][vendor] = {
        "table": f"crm.{vendor}", "key": "customer_id", "max_fields_per_import": 40, "fields": fields,
    }  # fmt: skip
    (home / "databases.yaml").write_text(yaml.safe_dump(databases))
    if vendor == "mailchimp":  # it delivers an archive
        with zipfile.ZipFile(home / "uploads" / "audience_export_7.zip", "w") as archive:
            archive.writestr("cleaned_members_export_0a1b2c3d4e.csv", "Email Address\nnobody@example.com\n")
            archive.write(EXPORTS / name, name)
        name = "audience_export_7.zip"
    else:
        (home / "uploads" / name).write_bytes((EXPORTS / name).read_bytes())
    words = ("--connection", "uploads", "--path", name, "--database", vendor, "--yes")
    asked = starter.ingest("new", vendor, *words, typed=typed)
    assert asked.code == 0, asked.out + asked.err
    written = yaml.safe_load((home / "imports" / f"{vendor}.yaml").read_text(encoding="utf-8"))
    assert written["source"].get("format", {}) == declared
    answer = starter.ingest("run", vendor, "--json")
    assert answer.code == 0, answer.err
    assert (answer.json[0]["read"], answer.json[0]["rejected"]) == (len(rows), 0)
    with psycopg.connect(starter.environment["INGEST_DATABASE_URL"]) as connection:
        query = f"SELECT customer_id, email, {FIELDS[vendor]} FROM crm.{vendor} ORDER BY 1"
        assert connection.execute(query.encode()).fetchall() == rows
