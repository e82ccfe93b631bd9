"""A feed as a vendor really sends it, through the commands that a person types: names, cleaning, rejects, reports."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from pathlib import Path
from typing import LiteralString

from ingest_pipelines_tests.cli.terminal import Answer, Terminal

IMPORT = """\
database: customers
source: {connection: uploads, member: "*.csv"}
rejects: {max_rows: 5}
timezone: UTC
columns:
  CID: {field: customer_id, also: [cid, Customer ID], clean: [upper]}
  Tier: {field: vendor_tier, type: enum, options: [Gold, Silver], clean: [trim, lower], map: {gold: Gold, vip: Gold}}
  Points: {field: vendor_points, type: int, clean: [digits], default: 0}
  Mail: {field: mail_hash, type: string, clean: [lower], hash: {sha256, salt: {env: MAIL_SALT}}}
  system: {field: vendor_system, type: string, constant: tills}
  _file: {field: vendor_file, type: string}
  _delivered_at: {field: vendor_delivered_at, type: datetime}
"""


def test_a_vendors_file_is_named_cleaned_reported_and_replayed(starter: Terminal) -> None:
    home = Terminal(starter.folder, {**starter.environment, "MAIL_SALT": "pepper"})
    (home.folder / "imports" / "vendor.yaml").write_text(IMPORT, encoding="utf-8")
    archive = home.folder / "uploads" / "Vendor.csv.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("README.txt", "these are our customers")
        file.writestr("out/customers.csv", "cid,Tier,Points,Mail\na1, GOLD ,1.200,Ann@X.co\nb2,Bronze,,b@x.co\n")

    answer = run(home, archive)
    [load] = answer.json
    assert (load["read"], load["inserted"], load["rejected"]) == (2, 1, 1)
    assert load["cleaned"] == {
        "customer_id": {"upper": 2}, "vendor_tier": {"trim": 1, "lower": 2, "map": 1},
        "vendor_points": {"digits": 1, "default": 1}, "mail_hash": {"lower": 1, "hash": 2},
    }  # fmt: skip
    assert "cleaned cells: customer_id: upper 2; " in " ".join(home.ingest("report", "vendor").out.split())
    told = f"cells cleaned by load {load['load']}: customer_id: upper 2; vendor_tier: trim 1, lower 2, map 1; "
    assert told in " ".join(home.ingest("status", "vendor").out.split())
    [status] = home.ingest("status", "vendor", "--json").json
    assert status["cleaned"] == load["cleaned"]

    export = home.folder / "rejects.csv"
    assert home.ingest("rejects", "export", "vendor", "-o", export).code == 0
    rows = list(csv.reader(io.StringIO(export.read_text(encoding="utf-8"))))
    assert rows[0][:6] == ["cid", "Tier", "Points", "Mail", "_file", "_delivered_at"]
    assert rows[1][:5] == ["b2", "Bronze", "", "b@x.co", "Vendor.csv.zip"]
    export.write_text(export.read_text(encoding="utf-8").replace("Bronze", "vip"), encoding="utf-8")
    replayed = home.ingest("rejects", "replay", "vendor", export, "--json")
    assert replayed.code == 0, replayed.err
    assert (replayed.json[0]["inserted"], replayed.json[0]["resolved"]) == (1, 1)

    again = home.folder / "uploads" / "Vendor_2.csv"
    again.write_text("Note,Customer ID,Mail,Points,Tier\nhello,a1,ann@x.co,1200,gold\n", encoding="utf-8")
    [second] = run(home, again).json
    assert (second["updated"] + second["unchanged"], second["new_columns"]) == (1, ["Note"])
    assert "'Note'" in second["warnings"][0]
    both = home.folder / "uploads" / "Vendor_3.csv"
    both.write_text("cid,CID,Mail,Points,Tier\n", encoding="utf-8")
    refused = home.ingest("run", "vendor", "--file", both)
    assert "'cid' and 'CID' are names of one column, CID" in " ".join((refused.out + refused.err).split())

    checked = home.ingest("check", "vendor", "--rules")
    assert "'gold', map: {gold: Gold} -> 'Gold'" in checked.out, checked.err
    shown = rows_of(home, "SELECT customer_id, vendor_tier, vendor_points, vendor_system, vendor_file FROM {}")
    assert shown == [("A1", "Gold", 1200, "tills", "Vendor_2.csv"), ("B2", "Gold", 0, "tills", "Vendor.csv.zip")]
    digest = hashlib.sha256(b"pepperann@x.co").hexdigest()
    assert rows_of(home, "SELECT customer_id, mail_hash FROM {}")[0] == ("A1", digest)


def run(home: Terminal, file: Path) -> Answer:
    answer = home.ingest("run", "vendor", "--file", file, "--json")
    assert answer.code == 0, answer.err + answer.out
    return answer


def rows_of(home: Terminal, query: LiteralString) -> list[tuple[object, ...]]:
    import psycopg
    from psycopg import sql

    from ingest_pipelines.config import read_project

    table = read_project(home.folder).databases["customers"].schema_and_table
    statement = sql.SQL(query + " ORDER BY 1").format(sql.Identifier(*table))
    with psycopg.connect(home.environment["INGEST_DATABASE_URL"]) as connection:
        return connection.execute(statement).fetchall()
