"""The demo's deliveries: the same bytes every time, every kind of defect, and counts that add up."""

from __future__ import annotations

import csv
import hashlib
from io import StringIO
from pathlib import Path

import pytest

from ingest_pipelines.config import demo_home, read_project
from ingest_pipelines.demo.generate import FEEDS, FIRST, SECOND, DemoDelivery, deliveries

SMALL = 2_000


@pytest.fixture(scope="module")
def made() -> list[DemoDelivery]:
    return list(deliveries())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_seed_gives_the_same_bytes_and_times(tmp_path: Path) -> None:
    first = [each.write(tmp_path / "a") for each in deliveries(customers=SMALL)]
    second = [each.write(tmp_path / "b") for each in deliveries(customers=SMALL)]
    assert [digest(path) for path in first] == [digest(path) for path in second]
    assert [path.stat().st_mtime for path in first] == [FIRST] * 3 + [SECOND] * 3


def test_another_seed_gives_other_rows(tmp_path: Path) -> None:
    one, other = (next(iter(deliveries(seed, SMALL))) for seed in (1, 2))
    assert one.rows != other.rows


def test_every_feed_has_some_twenty_thousand_rows(made: list[DemoDelivery]) -> None:
    assert len(made) == 6
    assert all(17_000 <= len(each.rows) <= 21_000 for each in made)


def test_every_kind_of_defect_is_planted(made: list[DemoDelivery]) -> None:
    assert set().union(*(each.codes for each in made)) == {
        "missing_key", "duplicate_key", "too_long", "date_too_early", "default_date", "unsupported_character",
        "bad_date", "bad_datetime", "bad_int", "bad_decimal", "bad_bool", "bad_email", "bad_phone", "bad_enum",
        "below_min", "required", "pattern", "not_one_of",
    }  # fmt: skip


def test_the_expected_counts_add_up(made: list[DemoDelivery]) -> None:
    for each in made:
        assert each.expected.balanced
        assert each.expected.read == len(each.rows)
        assert each.expected.rejected <= sum(each.codes.values())
    assert all(each.expected.inserted > 0 for each in made if each.feed.name == "customers")
    assert all(each.expected.unmatched > 0 for each in made if each.feed.name == "loyalty")
    assert all(each.expected.unchanged > 10_000 for each in made if each.serial == SECOND)


def test_defects_stay_within_the_imports_reject_limits(made: list[DemoDelivery]) -> None:
    imports = read_project(demo_home()).imports
    for each in made:
        assert imports[each.feed.name].spec.rejects.allows(each.expected.rejected, each.expected.read)


def test_headers_are_what_the_imports_map(made: list[DemoDelivery], tmp_path: Path) -> None:
    imports = read_project(demo_home()).imports
    for each in made[:3]:
        text = each.write(tmp_path).read_bytes().decode(each.feed.encoding)
        header = next(csv.reader(StringIO(text, newline="")))
        assert set(imports[each.feed.name].required_columns) <= set(header)
        assert imports[each.feed.name].spec.source.file == each.feed.file


def test_the_files_have_what_real_files_have(made: list[DemoDelivery], tmp_path: Path) -> None:
    content = {each.feed.name: each.write(tmp_path).read_bytes() for each in made[:3]}
    assert content["loyalty"].startswith(b"\xef\xbb\xbf")
    assert b"\r\n" in content["loyalty"]
    assert b"\r\n" not in content["customers"]
    assert b'\nFlat 2",' in content["customers"]
    assert "Łódź".encode() in content["customers"]
    assert b'"""new in"""' in content["marketing"]


def test_deliveries_are_made_fast(made: list[DemoDelivery]) -> None:
    from time import thread_time

    start = thread_time()
    list(deliveries())
    assert thread_time() - start < 5.0, "one second on a machine of its own, three on a busy one of half its speed"
    assert {each.feed for each in made} == set(FEEDS)
