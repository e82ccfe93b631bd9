"""Which files an import takes, in which order, under which keys."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.config.connections import TYPES
from ingest_pipelines.config.file_pattern import file_pattern_mistake
from ingest_pipelines.errors import ItemGone, UsageError
from ingest_pipelines.model import SourceFile
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import Listing
from ingest_pipelines.sources.files import (
    Picked,
    fingerprint_of,
    item_of,
    listing_of,
    pick_files,
    safe_name,
    segments,
    serial_of,
    visible,
)
from ingest_pipelines.sources.near_misses import near_misses

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def listed(*ages: tuple[str, float]) -> Listing:
    """Files by path and age in seconds."""
    return Listing(tuple(SourceFile(path, 10, NOW - timedelta(seconds=age)) for path, age in ages))


def picked(
    listing: Listing, pick: Literal["last", "all"] = "last", settle: int = 30, file: str = "drop/Customers"
) -> Picked:
    return pick_files(listing, file, pick, NOW, timedelta(seconds=settle))


def paths(files: tuple[SourceFile, ...]) -> list[str]:
    return [file.path for file in files]


SERIALS: list[tuple[str, int | Literal[False] | None]] = [
    ("drop/Customers.csv", None),
    ("drop/Customers.CSV", None),
    ("drop/Customers.csv.gz", None),
    ("drop/Customers_1767225600.csv", 1767225600),
    ("drop/Customers_0007.csv.zip", 7),
    *(
        (f"drop/Customers_{written}.csv", int(datetime(2026, 11, 29, tzinfo=UTC).timestamp()))
        for written in ("2026-11-29", "20261129", "2026_11_29", "2026.11.29", "20261129T000000Z", "20261129000000")
    ),
    *(
        (f"drop/Customers_{written}.csv.gz", int(datetime(2026, 11, 29, 6, 5, 4, tzinfo=UTC).timestamp()))
        for written in (
            "20261129T060504Z",
            "2026-11-29T06:05:04Z",
            "2026-11-29T06-05-04",
            "2026-11-29_06-05-04",
            "20261129_060504",
            "20261129-060504",
            "20261129060504",
            "2026-11-29 06.05.04",
            "2026-11-29T060504.123Z",
            "20261129T060504+0000",
            "2026_11_29_06_05_04",
            "20261129060504123",
        )
    ),
    ("drop/Customers_2026-11-29T06.csv", int(datetime(2026, 11, 29, 6, tzinfo=UTC).timestamp())),
    ("drop/Customers_20261129T0605.csv", int(datetime(2026, 11, 29, 6, 5, tzinfo=UTC).timestamp())),
    ("drop/Customers_2026-13-29.csv", False),
    ("drop/Customers_2026-02-30.csv", False),
    ("drop/Customers_2026-11-29T25-00-00.csv", False),
    ("drop/Customers_2026-11-29_VIP.csv", False),
    ("drop/Customers_VIP.csv", False),
    ("drop/Customers_VIP_2026-11-29.csv", False),
    ("drop/Customers-2026-11-29.csv", False),
    ("drop/Customers_29-11-2026.csv", False),
    ("drop/Customers_20261399.csv", 20261399),
    ("drop/Customers_.csv", False),
    ("drop/Customers_12a.csv", False),
    ("drop/Customers_-1.csv", False),
    ("drop/Customers_1_2.csv", False),
    ("drop/Customers_١.csv", False),
    ("drop/Customers_1234567890123456789.csv", False),
    ("drop/customers.csv", False),
    ("drop/CustomersNew.csv", False),
    ("drop/Customers.txt", False),
    ("drop/Customers.csv.bak", False),
    ("drop/Customers.csv\n", False),
    ("drop/.csv", False),
    ("Customers.csv", False),
    ("other/Customers.csv", False),
    ("drop/deep/Customers.csv", False),
]


@pytest.mark.parametrize(("path", "serial"), SERIALS)
def test_a_name_belongs_to_the_import_or_does_not(path: str, serial: int | Literal[False] | None) -> None:
    found = serial_of(path, "drop/Customers")
    assert found == serial
    assert type(found) is type(serial)
    assert serial_of(path, "/drop/Customers.csv") == serial


def test_serials_of_every_shape_are_in_the_order_of_their_moments() -> None:
    moments = [datetime(2025, 12, 31, 23, tzinfo=UTC) + timedelta(hours=7 * number) for number in range(40)]
    shapes = ["%Y%m%dT%H%M%SZ", "%Y-%m-%dT%H-%M-%S", "%Y%m%d%H%M%S", "%Y-%m-%d_%H.%M.%S", "%s", "%Y%m%d_%H%M"]
    names = [
        f"drop/Customers_{int(moment.timestamp()) if shape == '%s' else moment.strftime(shape)}.csv"
        for moment, shape in zip(moments, shapes * 7, strict=False)
    ]
    same_time = Listing(tuple(SourceFile(path, 10, NOW) for path in sorted(names)))
    assert paths(picked(same_time, "all", settle=0).files) == names
    for path, moment in zip(names, moments, strict=True):
        item = item_of("x", SourceFile(path, 1, NOW), path)
        assert item.serial == int(moment.timestamp())


SERIALS_ARE = "; after the name and _ comes a number or a date such as 2026-11-29, else write source.pattern"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (["drop/Loyalty_final.csv", "drop/loyalty.csv"],
         f"; 2 are called almost that: drop/Loyalty_final.csv, drop/loyalty.csv{SERIALS_ARE}"),
        (["drop/Loyalty.xlsx"], "; one is called almost that: drop/Loyalty.xlsx"),
        (["drop/Loyalty_2026-13-01.csv"], f"; one is called almost that: drop/Loyalty_2026-13-01.csv{SERIALS_ARE}"),
        (["drop/Loyalty_29-11-2026.csv"], f"; one is called almost that: drop/Loyalty_29-11-2026.csv{SERIALS_ARE}"),
        (["other/Loyalty_x.csv"], "; one is called almost that: other/Loyalty_x.csv"),
        (["drop/Loyality.csv"], "; one is called almost that: drop/Loyality.csv"),
        (["drop/Loyalty-29-11-2026.csv"], "; one is called almost that: drop/Loyalty-29-11-2026.csv"),
        (["drop/Customers.csv"], ""),
        ([f"drop/Loyalty_{letter}.csv" for letter in "abcdefg"],
         f"; 7 are called almost that: {', '.join(f'drop/Loyalty_{letter}.csv' for letter in 'abcde')} and 2 more"
         f"{SERIALS_ARE}"),
    ],
)  # fmt: skip
def test_what_is_almost_the_name_is_named(found: list[str], words: str) -> None:
    assert near_misses(listed(*((path, 1.0) for path in found)), "drop/Loyalty") == words


@pytest.mark.parametrize(
    "name",
    ["Loyalty-2026-11-29.csv", "Loyalty-2026-11-29T10.csv", "loyalty_20261129.CSV", "Loyalty.20261129.csv.gz",
     "LOYALTY 7.csv", "Loyalty20261129T060000Z.csv"],
)  # fmt: skip
def test_with_the_pattern_that_is_named_files_of_another_spelling_are_read(name: str) -> None:
    words = near_misses(listed((f"drop/{name}", 1.0)), "drop/Loyalty")
    pattern = words.partition("write source.pattern: '")[2].removesuffix("'")
    assert file_pattern_mistake(pattern) == ""
    assert isinstance(serial_of(f"drop/{name}", "drop/Loyalty", pattern), int)
    assert serial_of("drop/Loyalty_VIP.csv", "drop/Loyalty", pattern) is False


def test_a_pattern_that_fits_no_file_says_so() -> None:
    listing = listed(("drop/Loyalty_final.csv", 1.0), ("drop/Customers.csv", 1.0), ("other/Loyalty.csv", 1.0))
    words = near_misses(listing, "drop/Loyalty", r"Loyalty-(?P<serial>\d+)\.csv")
    assert words == (
        "; source.pattern fits none of the folder's 2 files"
        "; 2 are called almost that: drop/Loyalty_final.csv, other/Loyalty.csv"
    )
    assert near_misses(Listing(()), "drop/Loyalty", r"Loyalty-(?P<serial>\d+)\.csv") == ""


def test_a_link_is_named_as_one() -> None:
    listing = Listing((), links=("drop/Loyalty.csv", "drop/other.csv"))
    assert near_misses(listing, "drop/Loyalty") == "; symbolic links are not followed: drop/Loyalty.csv"


def test_a_name_typed_in_another_unicode_form_is_the_same_name() -> None:
    assert serial_of("Mu\u0308ller_3.csv", "M\u00fcller") == 3


def test_a_tick_takes_the_last_modified_file_whatever_its_serial() -> None:
    found = picked(listed(("drop/Customers_9.csv", 500), ("drop/Customers_1.csv", 100), ("drop/Customers.csv", 900)))
    assert paths(found.files) == ["drop/Customers_1.csv"]
    assert found.matching == 3


def test_all_takes_every_file_in_the_order_of_time_then_serial() -> None:
    found = picked(
        listed(
            ("drop/Customers_10.csv", 100),
            ("drop/Customers_9.csv", 100),
            ("drop/Customers.csv", 100),
            ("drop/Customers_1.csv", 90),
            ("drop/Customers_99.csv", 101),
            ("drop/Other.csv", 10_000),
        ),
        "all",
    )
    assert paths(found.files) == [
        "drop/Customers_99.csv",
        "drop/Customers.csv",
        "drop/Customers_9.csv",
        "drop/Customers_10.csv",
        "drop/Customers_1.csv",
    ]


def test_a_file_that_may_still_be_growing_is_waited_for_and_no_older_one_taken() -> None:
    listing = listed(("drop/Customers_1.csv", 500), ("drop/Customers_2.csv", 29))
    found = picked(listing)
    assert (paths(found.files), paths(found.unsettled)) == ([], ["drop/Customers_2.csv"])
    found = picked(listing, "all")
    assert (paths(found.files), paths(found.unsettled)) == (["drop/Customers_1.csv"], ["drop/Customers_2.csv"])
    assert paths(picked(listing, settle=29).files) == ["drop/Customers_2.csv"]
    assert paths(picked(listing, settle=0).files) == ["drop/Customers_2.csv"]


def test_a_file_from_a_server_whose_clock_is_ahead_settles_by_our_clock() -> None:
    listing = listed(("drop/Customers.csv", -7200))
    assert picked(listing).files == ()
    key = fingerprint_of(listing.files[0])
    settle = timedelta(seconds=30)
    waiting = pick_files(listing, "drop/Customers", "last", NOW, settle, {key: NOW - timedelta(seconds=29)})
    assert waiting.files == ()
    settled = pick_files(listing, "drop/Customers", "last", NOW, settle, {key: NOW - settle})
    assert settled.files == listing.files
    assert picked(listing, settle=0).files == listing.files


@given(
    st.lists(st.tuples(st.sampled_from([path for path, _ in SERIALS]), st.integers(-100, 1000)), max_size=12),
    st.sampled_from(["last", "all"]),
)
def test_picking_never_invents_loses_or_doubles_a_file(
    files: list[tuple[str, int]], pick: Literal["last", "all"]
) -> None:
    listing = listed(*dict(files).items())
    found = picked(listing, pick)
    mine = [file for file in listing.files if serial_of(file.path, "drop/Customers") is not False]
    assert found.matching == len(mine)
    assert len({*found.files, *found.unsettled}) == len(found.files) + len(found.unsettled)
    assert {*found.files, *found.unsettled} <= set(mine)
    if pick == "all":
        assert {*found.files, *found.unsettled} == set(mine)
    elif mine:
        (only,) = (*found.files, *found.unsettled)
        assert only.modified_at == max(file.modified_at for file in mine)


def test_an_item_carries_what_finds_and_orders_it() -> None:
    file = SourceFile("drop/Customers_1767225600.csv", 1234, datetime(2026, 11, 22, 9, 15, tzinfo=UTC), "etag")
    item = item_of("loyalty", file, "sftp://h:22/drop/Customers_1767225600.csv", source="drop/Customers")
    assert re.fullmatch(r"2026-11-22T09-15-00Z_Customers_1767225600\.csv_[0-9a-f]{8}", item.key)
    assert (item.kind, item.path, item.size, item.serial, item.version) == ("file", file.path, 1234, 1767225600, "etag")
    assert item.modified_at == file.modified_at
    assert item.fingerprint.startswith(item.key[-8:])


@pytest.mark.parametrize(
    "other",
    [
        SourceFile("drop/a.csv", 11, NOW),
        SourceFile("drop/a.csv", 10, NOW + timedelta(microseconds=1)),
        SourceFile("drop/a.csv", 10, NOW, "v2"),
        SourceFile("drop/b.csv", 10, NOW),
    ],
)
def test_another_size_time_version_or_name_is_another_item(other: SourceFile) -> None:
    first = SourceFile("drop/a.csv", 10, NOW)
    assert fingerprint_of(first) != fingerprint_of(other)
    assert item_of("x", first, f"f:{first.path}").key != item_of("x", other, f"f:{other.path}").key


def test_the_same_moment_in_another_zone_is_the_same_item() -> None:
    there = NOW.astimezone().replace(tzinfo=NOW.astimezone().tzinfo)
    assert fingerprint_of(SourceFile("a.csv", 1, NOW)) == fingerprint_of(SourceFile("a.csv", 1, there))


@given(st.text(max_size=300))
def test_every_name_becomes_a_key_that_dagster_takes(name: str) -> None:
    item = item_of("x", SourceFile(name or "a", 1, NOW), "uri")
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,200}", item.key)
    assert not safe_name(name).startswith(".")


@pytest.mark.parametrize("path", ["a.csv", "a/b.csv", "a/b/c.csv", "..a/b..csv", "a b/c\n.csv"])
def test_a_path_below_the_root_is_its_segments(path: str) -> None:
    assert "/".join(segments(path)) == path


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "../a", "a\0b"])
def test_a_path_that_may_leave_the_root_is_no_file(path: str) -> None:
    with pytest.raises(ItemGone):
        segments(path)


@pytest.mark.parametrize("name", ["a.csv", "a.part.csv", "~a.csv", "a", "tmp", "Größe.csv", "a.csv "])
def test_ordinary_names_are_visible(name: str) -> None:
    assert visible(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a.csv", "a.part", "a.TMP", "a.filepart", "a~", "a/b", "a\0", "\udce9"]
)
def test_hidden_partial_and_impossible_names_are_invisible(name: str) -> None:
    assert not visible(name)


def test_a_flat_store_is_seen_as_folders() -> None:
    flat = [SourceFile(path, 1, NOW) for path in ("b", "a/b/c/d", "a/b/c", ".x/y", "a/.x", "a//b", "/a", "a/../b")]
    found = listing_of(flat)
    assert paths(found.files) == ["a/b/c", "b"]
    assert found.too_deep == 1


def test_every_registered_source_is_there() -> None:
    from importlib import import_module

    for name_in_yaml, connection in TYPES.items():
        assert get_args(connection.model_fields["type"].annotation) == (name_in_yaml,)
        module, name = connection.source.split(":")
        assert isinstance(getattr(import_module(module), name), type)


def test_a_connection_of_queries_has_no_files() -> None:
    from ingest_pipelines.config.connections.mysql import MysqlConnection

    with pytest.raises(UsageError, match="a mysql connection has no files"):
        open_files(MysqlConnection(type="mysql", host="h", database="d", username="u"))


@given(
    written=st.floats(0, 10), later=st.floats(0, 3), looked=st.floats(0, 15),
    settle=st.sampled_from([0.001, 0.5, 1, 30]), resolution=st.sampled_from([1, 2]),
)  # fmt: skip
def test_no_rewrite_looks_like_the_version_that_was_read(
    written: float, later: float, looked: float, settle: float, resolution: int
) -> None:
    """A source that knows times in steps of a second or two; the second version has the size of the first one."""
    moments = [NOW + timedelta(seconds=seconds) for seconds in (written, written + later)]
    shown = [moment.replace(second=moment.second // resolution * resolution, microsecond=0) for moment in moments]
    first, second = (SourceFile("drop/Customers_1.csv", 100, moment) for moment in shown)
    now = moments[0] + timedelta(seconds=looked)
    picked = pick_files(Listing((first,)), "drop/Customers", "last", now, timedelta(seconds=settle))
    if picked.files and now < moments[1]:
        assert fingerprint_of(first) != fingerprint_of(second)
