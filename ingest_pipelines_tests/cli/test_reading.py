"""Commands that read the demo: status, report, rejects list and export, check; at 80 columns and as JSON."""

from __future__ import annotations

import csv
from io import StringIO
from itertools import pairwise

from ingest_pipelines.actions.reject_file import OWN
from ingest_pipelines_tests.cli.terminal import Answer, Terminal

Demo = tuple[Terminal, Answer]
COUNTS = ("read", "inserted", "updated", "unchanged", "unmatched", "skipped", "rejected")


def fits(text: str) -> bool:
    return all(len(line) <= 80 for line in text.splitlines() if "/.ingest/demo" not in line)


def test_status_shows_every_import_its_last_load_and_what_to_type(demo: Demo) -> None:
    answer = demo[0].ingest("status")
    assert answer.code == 0
    assert fits(answer.out)
    assert "completed with rejects    ingest rejects list NAME" in answer.out
    for name in ("customers", "loyalty", "marketing"):
        assert f"  {name} " in answer.out


def test_status_as_json_names_every_count(demo: Demo) -> None:
    lines = demo[0].ingest("status", "--json").json
    assert [line["import"] for line in lines] == ["customers", "loyalty", "marketing"]
    for line in lines:
        assert line["status"] == "completed_with_rejects"
        assert line["read"] == sum(line[name] for name in COUNTS[1:])


def test_status_works_before_the_first_load_and_with_broken_imports(starter: Terminal) -> None:
    broken = starter.folder / "imports" / "broken.yaml"
    broken.write_text("database: customers\n")
    try:
        lines = {line["import"]: line for line in starter.ingest("status", "--json").json}
        assert lines["loyalty"]["status"] == "scheduled"
        assert lines["broken"]["status"] == "invalid"
        assert "imports/broken.yaml:1: source: this key is required" in lines["broken"]["error"]
        answer = starter.ingest("status")
        assert "ingest check broken" in answer.out
        assert "ingest run loyalty" in answer.out
    finally:
        broken.unlink()


def test_report_is_newest_first_and_adds_up(demo: Demo) -> None:
    loads = demo[0].ingest("report", "loyalty", "--json").json
    assert [load["load"] for load in loads] == sorted((load["load"] for load in loads), reverse=True)
    for load in loads:
        assert {"import", "item", "status", *COUNTS} <= set(load)
        assert load["read"] == sum(load[name] for name in COUNTS[1:])
    assert len(demo[0].ingest("report", "loyalty", "--last", 1, "--json").json) == 1
    answer = demo[0].ingest("report", "loyalty")
    shown = answer.out.replace("\n", " ").split()
    assert [after for word, after in pairwise(shown) if word == "--item"] == [load["item"] for load in loads]
    assert fits(answer.out)
    assert "committed · Points_1741068000.csv" in answer.out


def test_report_of_an_import_without_loads_says_how_to_run_it(starter: Terminal) -> None:
    answer = starter.ingest("report", "loyalty")
    assert answer.code == 0
    assert answer.out == "loyalty: no load yet\n  ingest run loyalty\n"


def test_rejects_list_has_one_entry_per_broken_rule(demo: Demo) -> None:
    first = demo[0].ingest("report", "customers", "--json").json[-1]
    found = demo[0].ingest("rejects", "list", "customers", "--load", first["load"], "--json").json
    assert {"line", "key", "field", "code", "reason"} <= set(found[0])
    lines: dict[str, set[int]] = {}
    for entry in found:
        lines.setdefault(entry["code"], set()).add(entry["line"])
    assert {code: len(rows) for code, rows in lines.items()} == first["codes"]
    assert len({entry["line"] for entry in found}) == first["rejected"]
    twice = [entry["line"] for entry in found if entry["code"] in {"bad_email", "default_date"}]
    assert len(twice) - len(set(twice)) == 5


def test_rejects_of_one_code(demo: Demo) -> None:
    found = demo[0].ingest("rejects", "list", "customers", "--code", "bad_email", "--json").json
    assert {entry["code"] for entry in found} == {"bad_email"}
    assert demo[0].ingest("rejects", "list", "customers", "--code", "bad_ip").out == (
        "customers: no rejects with code bad_ip\n"
    )


def test_a_line_of_a_reject_is_the_files_own_line(demo: Demo) -> None:
    terminal, _ = demo
    found = terminal.ingest("rejects", "list", "customers", "--code", "bad_decimal", "--json").json
    item = terminal.ingest("report", "customers", "--json").json[0]["item"]
    file = next((terminal.folder / ".ingest/demo/deliveries/customers").glob(f"*{item.split('_')[2]}"))
    lines = file.read_text(encoding="utf-8").split("\n")
    for entry in found:
        assert lines[entry["line"] - 1].startswith(entry["key"])


def test_rejects_list_at_80_columns(demo: Demo) -> None:
    answer = demo[0].ingest("rejects", "list", "customers")
    assert answer.code == 0
    assert fits(answer.out)
    assert "the others were merged" in answer.out


def test_unmatched_customers_are_listed_when_asked_for_and_are_no_rejects(demo: Demo) -> None:
    last = demo[0].ingest("report", "loyalty", "--json").json[0]
    listed = demo[0].ingest("rejects", "list", "loyalty", "--code", "unmatched", "--json").json
    assert len(listed) == last["unmatched"] == 401
    assert not [e for e in demo[0].ingest("rejects", "list", "loyalty", "--json").json if e["code"] == "unmatched"]


def test_an_export_has_the_files_columns_first_in_their_order(demo: Demo) -> None:
    terminal, _ = demo
    answer = terminal.ingest("rejects", "export", "customers")
    rows = list(csv.reader(StringIO(answer.out, newline="")))
    assert rows[0] == [
        "CustomerID", "Email", "Phone", "FirstName", "LastName", "BirthDate", "Address", "City", "Country",
        "RegisteredOn", "HomeStore", "LifetimeValue", *OWN,
    ]  # fmt: skip
    last = terminal.ingest("report", "customers", "--json").json[0]
    assert len(rows) - 1 == last["rejected"]
    assert all(len(row) == len(rows[0]) for row in rows)


def test_an_export_to_a_file_names_the_next_command(demo: Demo) -> None:
    terminal, _ = demo
    file = terminal.folder / "rejects.csv"
    answer = terminal.ingest("rejects", "export", "marketing", "-o", file)
    assert answer.out == ""
    assert f"ingest rejects replay marketing {file}" in answer.err
    assert file.read_bytes().count(b"\r\n") == 14 + 1


def test_naming_a_load_of_another_import_is_refused(demo: Demo) -> None:
    other = demo[0].ingest("report", "loyalty", "--json").json[0]["load"]
    for command in (["rejects", "list"], ["rejects", "export"]):
        answer = demo[0].ingest(*command, "customers", "--load", other)
        assert answer.code == 2
        assert answer.err.startswith(f"error: import customers has no load {other}\n")


def test_check_rules_prints_every_rule_of_the_imports_schema(demo: Demo) -> None:
    answer = demo[0].ingest("check", "customers", "--rules")
    assert answer.code == 0
    assert all(len(line) <= 80 for line in answer.out.splitlines()[1:])
    for code in ("missing_key", "duplicate_key", "bad_email", "too_long", "date_too_early", "default_date"):
        assert f"  {code}  " in answer.out


def test_check_connect_tests_each_connection_once_step_by_step(demo: Demo) -> None:
    answer = demo[0].ingest("check", "--connect")
    assert answer.code == 0
    assert answer.out.count("head_office (csv)") == 1
    tested = demo[0].ingest("check", "--connect", "--json").json["connections"]
    assert [step["step"] for step in tested[0]["steps"]] == ["folder", "listing"]
