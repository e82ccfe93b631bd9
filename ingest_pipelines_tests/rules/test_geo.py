from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from ingest_pipelines_tests.rules.feeds import accepted, bound_import, codes, frame, validate

NESTED = {
    "country": {"iso_code": "GB", "names": {"en": "United Kingdom"}},
    "subdivisions": [{"iso_code": "ENG", "names": {"en": "England"}}],
    "city": {"names": {"en": "London", "de": "London"}},
}
FLAT = {"country_code": "FR", "region": "Île-de-France", "city": "Paris"}
PLACES = {name: {"type": "string", "max_length": 20} for name in ("country", "region", "city")}
GEO = {"ip": "IP", "country": "country", "region": "region", "city": "city"}


def _database(path: Path, networks: dict[str, dict[str, Any]]) -> Path:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-City")
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return _database(
        tmp_path / "places.mmdb",
        {
            "203.0.113.0/24": NESTED,
            "198.51.100.0/24": FLAT,
            "2001:db8::/32": {"country": "US"},
            "192.0.2.0/24": {"country_code": "AN", "city": "A city with a very long name", "region": "😀"},
        },
    )


def _rows(addresses: list[str | None], **columns: list[str]) -> dict[str, list[Any]]:
    return {"id": [f"C{number}" for number in range(len(addresses))], "IP": addresses, **columns}


def test_places_come_from_nested_and_flat_records(tmp_path: Path, database: Path) -> None:
    bound = bound_import(PLACES, columns={"id": "id"}, geo=GEO, database={"geo_database": str(database)})
    addresses = ["203.0.113.7", "198.51.100.1", "2001:db8::1", "10.0.0.1", "not an address", "", None, " 203.0.113.9 "]
    validated = validate(bound, tmp_path / "spill", frame(_rows(addresses)))
    assert accepted(validated).select("country", "region", "city").rows() == [
        ("GB", "England", "London"), ("FR", "Île-de-France", "Paris"), ("US", None, None), (None, None, None),
        (None, None, None), (None, None, None), (None, None, None), ("GB", "England", "London"),
    ]  # fmt: skip
    assert validated.geo_misses == 2
    assert accepted(validated).columns == ["_line", "id", "country", "region", "city", "column:IP"]


def test_what_the_row_says_itself_wins(tmp_path: Path, database: Path) -> None:
    bound = bound_import(
        PLACES,
        columns={"id": "id", "Land": "country", "City": "city"},
        geo=GEO,
        database={"geo_database": str(database)},
    )
    rows = frame(_rows(["203.0.113.7"] * 2, Land=["DE", ""], City=["", "Leeds"]))
    validated = validate(bound, tmp_path / "spill", rows)
    assert accepted(validated).select("country", "region", "city").rows() == [
        ("DE", "England", "London"), ("GB", "England", "Leeds"),
    ]  # fmt: skip


def test_a_place_that_breaks_the_fields_rules_is_left_out_and_the_row_is_not_to_blame(
    tmp_path: Path, database: Path
) -> None:
    bound = bound_import(PLACES, columns={"id": "id"}, geo=GEO, database={"geo_database": str(database)})
    validated = validate(bound, tmp_path / "spill", frame(_rows(["192.0.2.1"])))
    assert accepted(validated).select("country", "region", "city").rows() == [("AN", None, None)]


def test_a_required_field_may_come_from_the_address(tmp_path: Path, database: Path) -> None:
    fields = {**PLACES, "country": {"type": "string", "required": True}}
    bound = bound_import(
        fields, columns={"id": "id", "Land": "country"}, geo=GEO, database={"geo_database": str(database)}
    )
    rows = frame(_rows(["203.0.113.7", "10.0.0.1"], Land=["", ""]))
    assert codes(validate(bound, tmp_path / "spill", rows)) == {3: ["required"]}


@pytest.mark.parametrize("path", [None, "/nowhere/at/all.mmdb"])
def test_without_the_database_places_stay_empty_and_are_counted(tmp_path: Path, path: str | None) -> None:
    bound = bound_import(PLACES, columns={"id": "id"}, geo=GEO, database={"geo_database": path})
    validated = validate(bound, tmp_path / "spill", frame(_rows(["203.0.113.7", "", "198.51.100.1"])))
    assert accepted(validated)["country"].to_list() == [None, None, None]
    assert validated.geo_misses == 2
