"""`source.pattern`: names of files in any shape, in the order that the pattern's groups say."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest_pipelines.config.imports import SourceOfImport
from ingest_pipelines.model import SourceFile
from ingest_pipelines.sources.base import Listing
from ingest_pipelines.sources.files import item_of, pick_files, serial_of, serials_of

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)

# A pattern, and how Python writes a moment in its shape.
SHAPES = [
    (r"points-(?P<day>\d\d)-(?P<month>\d\d)-(?P<year>\d{4})\.csv", "points-%d-%m-%Y.csv", timedelta(days=1)),
    (r"(?P<month>\d\d)(?P<day>\d\d)(?P<year>\d\d)\.points\.csv", "%m%d%y.points.csv", timedelta(days=1)),
    (r"P(?P<year>\d+)_(?P<month>\d+)_(?P<day>\d+)(?:T(?P<hour>\d+)h(?P<minute>\d+)?)?\.csv\.gz", "P%Y_%m_%dT%Hh.csv.gz",
     timedelta(hours=1)),
    (r"(?i)POINTS \((?P<serial>[^)]+)\)\.csv", "Points (%Y-%m-%d %H:%M).csv", timedelta(minutes=1)),
    (r"x(?P<serial>\d+)y\.csv", "x%Y%m%d%H%M%Sy.csv", timedelta(seconds=1)),
]  # fmt: skip


@settings(max_examples=60)
@given(st.sampled_from(SHAPES), st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)), max_size=8))
def test_files_are_in_the_order_of_what_the_groups_say(
    shape: tuple[str, str, timedelta], moments: list[datetime]
) -> None:
    pattern, spelling, unit = shape
    begun = {moment - (moment - datetime.min) % unit for moment in moments}  # what the shape can tell apart
    names = {moment: f"drop/{moment.strftime(spelling)}" for moment in begun}
    files = [SourceFile(path, 1, NOW) for path in sorted({*names.values(), "drop/Points_1.csv", "else/points.csv"})]
    picked = pick_files(Listing(tuple(files)), "drop/Points", "all", NOW, timedelta(0), pattern=pattern)
    assert [file.path for file in picked.files] == [names[moment] for moment in sorted(begun)]
    for moment, path in names.items():
        serial = int(moment.replace(tzinfo=UTC).timestamp())
        item = item_of("x", SourceFile(path, 1, NOW), path, source="drop/Points", pattern=pattern)
        assert item.serial == serial_of(path, "drop/Points", pattern) == serial


@pytest.mark.parametrize(
    ("path", "serial"),
    [
        ("drop/points-29-11-2026.csv", int(datetime(2026, 11, 29, tzinfo=UTC).timestamp())),
        ("drop/points.csv", None),
        ("drop/points-31-02-2026.csv", False),
        ("drop/points-29-11-2026.csv.bak", False),
        ("drop/xpoints-29-11-2026.csv", False),
        ("drop/points-29-11-2026.csv\n", False),
        ("points-29-11-2026.csv", False),
        ("drop/deep/points-29-11-2026.csv", False),
        ("drop/Points.csv", False),
        ("drop/Points_7.csv", False),
    ],
)
def test_only_names_that_the_pattern_fits_as_a_whole_are_the_imports(path: str, serial: object) -> None:
    pattern = r"points(?:-(?P<day>\d\d)-(?P<month>\d\d)-(?P<year>\d{4}))?\.csv"
    assert serial_of(path, "/drop/Points", pattern) is serial or serial_of(path, "/drop/Points", pattern) == serial


def test_alternatives_do_not_reach_beyond_the_whole_name() -> None:
    pattern = r"a(?P<serial>\d+)|b"
    names = ["a1", "a1x", "b", "xb", "bx", "a1|b"]
    assert serials_of([f"d/{name}" for name in names], "d/N", pattern) == [1, False, None, False, False, False]


def test_a_name_in_another_unicode_form_fits_too() -> None:
    assert serial_of("d/Mu\u0308ller-3.csv", "d/M", "M\u00fcller-(?P<serial>.)\\.csv") == 3


@given(st.lists(st.from_regex(r"[a-z_]{0,9}[0-9]{0,5}\.csv", fullmatch=True), max_size=20))
def test_many_names_are_matched_as_one_by_one(names: list[str]) -> None:
    pattern = r"[a-z]+_(?P<serial>[0-9]+)\.csv"
    paths = [f"d/{name}" for name in names]
    found = [re.fullmatch(pattern, name) for name in names]
    expected = [int(match["serial"]) if match else False for match in found]
    assert serials_of(paths, "d/N", pattern) == expected
    assert [serial_of(path, "d/N", pattern) for path in paths] == expected


@pytest.mark.parametrize(
    "bomb", [r"(?P<serial>(?:\d+)+)x\.csv", r"(?P<serial>(?:1|1\d?)*)\.csv", r"(?:.*.*.*)*(?P<serial>1)"]
)
def test_a_pattern_that_stops_other_engines_takes_no_longer(bomb: str) -> None:
    assert source(pattern=bomb).pattern == bomb
    names = ["d/" + "1" * length + "!" for length in range(50, 250)]
    began = process_time()
    assert serials_of(names, "d/N", bomb) == [False] * 200
    assert process_time() - began < 5


def source(**keys: Any) -> SourceOfImport:
    return SourceOfImport.model_validate({"connection": "c", "file": "d/N", **keys})


DAY = "(?P<year>.)(?P<month>.)(?P<day>.)"


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"Points.*\.csv", "name what orders the files"),
        (r"(?P<version>\d+)\.csv", "the group 'version' is not known"),
        (r"(?P<year>\d+)-(?P<month>\d+)\.csv", "name what orders the files"),
        (DAY + r"(?P<serial>\d+)", "'serial' is the whole serial"),
        (DAY + "(?P<minute>.)", "hours come before minutes"),
        (DAY + "(?P<hour>.)(?P<second>.)", "hours come before minutes"),
        (r"(?P<serial>\d+)(?!\.bak)", "look-around"),
        (r"(?P<serial>\d+", "not a regular expression"),
        (r"(?P<serial>\d{9999})", "describes more than"),
        (r"(?P<serial>\k)", "is not known"),
        (r"(?P<serial>\w{4000}\w{900})", "is too large"),
    ],
)
def test_a_pattern_that_cannot_name_files_is_refused(pattern: str, says: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(says)):
        source(pattern=pattern)


def test_a_pattern_needs_a_file() -> None:
    with pytest.raises(ValidationError, match="goes with file"):
        SourceOfImport.model_validate({"connection": "c", "pattern": r"(?P<serial>\d+)"})


def test_every_choice_of_groups_is_taken_or_refused_before_a_file_comes() -> None:
    parts = ("year", "month", "day", "hour", "minute", "second")
    for chosen in itertools.chain.from_iterable(itertools.combinations(parts, size) for size in range(7)):
        pattern = "-".join(f"(?P<{part}>\\d+)" for part in chosen)
        whole = {"year", "month", "day"} <= set(chosen) and chosen == parts[: len(chosen)]
        if whole:
            assert serial_of("d/" + "-".join("1" for _ in chosen), "d/N", source(pattern=pattern).pattern)
        else:
            with pytest.raises(ValidationError):
                source(pattern=pattern or "x")
