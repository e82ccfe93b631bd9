"""Which files are one item, and what proves that they are all there: no listing makes half a delivery a whole one."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.config.file_parts import Parts
from ingest_pipelines.model import SourceFile, part_and_line, spelled_line
from ingest_pipelines.sources.base import Listing
from ingest_pipelines.sources.parts import FileSet, NoManifest, file_sets, parse_manifest, pick_file_sets

NOW = datetime(2026, 11, 22, 9, 15, tzinfo=UTC)
OLD = NOW - timedelta(hours=1)
SETTLE = timedelta(seconds=30)

NUMBERED = r"C_(?P<serial>\d+)_part(?P<part>\d+)\.csv(\.gz)?"


def parts(**keys: Any) -> Parts:
    return Parts.model_validate({"pattern": NUMBERED, **keys})


def found(declared: Parts, *names: str, at: datetime = OLD) -> list[FileSet]:
    return file_sets(listing(*names, at=at), "in", declared)


def listing(*names: str, at: datetime = OLD) -> Listing:
    return Listing(tuple(SourceFile(f"in/{name}", 10, at) for name in names))


WAITS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "the first part": ({"count": 3}, ["C_1_part2.csv", "C_1_part3.csv"], "waits for part 1 of 3"),
    "a part in the middle": ({"count": 3}, ["C_1_part1.csv", "C_1_part3.csv"], "waits for part 2 of 3"),
    "the last part": ({"count": 3}, ["C_1_part01.csv", "C_1_part02.csv"], "waits for part 3 of 3"),
    "a part counted from 0": ({"count": 3}, ["C_1_part0.csv", "C_1_part2.csv"], "waits for part 1 of 3"),
    "one part too many": ({"count": 1}, ["C_1_part1.csv", "C_1_part2.csv"], "has part 2, and there are 1 parts"),
    "a part twice": ({"count": 2}, ["C_1_part1.csv", "C_1_part1.csv.gz", "C_1_part2.csv"], "part 1 is there twice"),
    "a part of two spellings": ({"count": 2}, ["C_1_part1.csv", "C_1_part01.csv"], "is there twice"),
    "its marker": ({"done": "C_{serial}.done"}, ["C_1_part1.csv", "C_2.done"], "waits for C_1.done; 1 part is there"),
    "its manifest": ({"manifest": "C_{serial}.txt"}, ["C_1_part1.csv", "C_1_part2.csv"], "waits for C_1.txt; 2 parts"),
    "a part although its marker is there": (
        {"count": 2, "done": "C_{serial}.done"}, ["C_1_part1.csv", "C_1.done"], "waits for part 2 of 2",
    ),
    "a part that another one's name counts": (
        {"pattern": r"C_(?P<part>\d+)of(?P<of>\d+)\.csv"}, ["C_1of3.csv", "C_2of3.csv"], "waits for part 3 of 3",
    ),
    "names that count differently": (
        {"pattern": r"C_(?P<part>\d+)of(?P<of>\d+)\.csv"}, ["C_1of2.csv", "C_2of3.csv"], "do not agree",
    ),
    "a part that is no number": (
        {"pattern": r"C_(?P<part>[a-z]+)\.csv", "count": 3}, ["C_aa.csv", "C_ab.csv"], "more parts: 2 of 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WAITS)
def test_a_delivery_that_is_not_whole_waits_and_says_for_what(what: str) -> None:
    keys, names, why = WAITS[what]
    declared = parts(**keys)
    [delivery] = found(declared, *names)
    assert why in delivery.waits
    whole, picked = pick_file_sets([delivery], {}, (), "all", NOW, SETTLE)
    assert (whole, list(picked.waits.values())) == ([], [delivery.waits])


@given(
    count=st.integers(1, 12), there=st.sets(st.integers(1, 12)), start=st.sampled_from([0, 1]), seed=st.randoms(),
    proof=st.sampled_from(["count", "of", "done", "manifest"]), other=st.booleans(), beside=st.booleans(),
)  # fmt: skip
def test_a_delivery_is_whole_exactly_when_its_proof_says_so(
    count: int, there: set[int], start: int, seed: random.Random, proof: str, other: bool, beside: bool
) -> None:
    """Whatever subset of the parts is listed, in whatever order, with or without those of another delivery."""
    numbers = [number - 1 + start for number in range(1, count + 1) if number in there]
    of = f"of{count}" if proof == "of" else ""
    names = [f"C_7_part{number}{of}.csv" for number in numbers]
    every = [f"C_7_part{number}{of}.csv" for number in range(start, start + count)]
    listed = [*names, *(["C_7.proof"] if beside else []), *([f"C_8_part1{of}.csv"] if other else []), "C_7.csv"]
    seed.shuffle(listed)
    pattern = r"C_(?P<serial>\d+)_part(?P<part>\d+)" + (r"of(?P<of>\d+)" if proof == "of" else "") + r"\.csv"
    keys = {"count": count} if proof == "count" else {} if proof == "of" else {proof: "C_{serial}.proof"}
    declared = Parts.model_validate({"pattern": pattern, **keys})
    own = [each for each in found(declared, *listed) if each.serial == 7]
    manifest = "\n".join(f"{name},5" for name in every)
    whole, _ = pick_file_sets(own, {"in/C_7.proof": manifest}, (), "all", NOW, SETTLE)
    complete = bool(names) and (beside if proof == "done" else names == every and (beside or proof != "manifest"))
    if complete and proof in {"count", "of"} and start == 0 and 0 not in numbers:
        complete = False
    assert bool(whole) is complete
    for delivery in whole:
        assert [part.path for part in delivery.parts] == [f"in/{name}" for name in names]  # in the order of numbers
        assert len(set(delivery.numbers)) == len(names)


def test_any_change_of_a_part_or_of_the_manifest_makes_another_item() -> None:
    declared = parts(manifest="C_{serial}.txt", done="C_{serial}.done")
    files = list(listing("C_1_part1.csv", "C_1_part2.csv", "C_1.txt", "C_1.done").files)

    def item() -> tuple[str, str, str]:
        [delivery] = file_sets(Listing(tuple(files)), "in", declared)
        own = delivery.item("points", f"sftp://host/{delivery.parts[0].path}")
        return own.key, own.fingerprint, own.version

    first, seen = item(), {item()}
    for index in range(3):
        for change in ({"size": 11}, {"modified_at": OLD + timedelta(seconds=1)}, {"version": "etag"}):
            kept, files[index] = files[index], replace(files[index], **change)
            seen.add(item())
            files[index] = kept
    assert len(seen) == 10
    files[3] = replace(files[3], modified_at=NOW)  # a marker says only that the rest is there
    assert item() == first


def test_no_part_is_taken_while_one_may_still_be_growing() -> None:
    declared = parts(done="C_{serial}.done")
    for young in ("C_1_part1.csv", "C_1_part2.csv", "C_1.done"):
        files = [
            replace(file, modified_at=NOW) if file.path == f"in/{young}" else file
            for file in listing("C_1_part1.csv", "C_1_part2.csv", "C_1.done").files
        ]
        whole, picked = pick_file_sets(file_sets(Listing(tuple(files)), "in", declared), {}, (), "all", NOW, SETTLE)
        assert (whole, len(picked.unsettled), picked.waits) == ([], 1, {})


def test_under_last_an_older_delivery_is_not_taken_while_the_newest_waits() -> None:
    declared = parts(count=2)
    files = [*listing("C_1_part1.csv", "C_1_part2.csv").files, *listing("C_2_part1.csv", at=NOW).files]
    both = file_sets(Listing(tuple(files)), "in", declared)
    assert pick_file_sets(both, {}, (), "last", NOW, SETTLE)[0] == []
    [whole] = pick_file_sets(both, {}, (), "all", NOW, SETTLE)[0]
    assert whole.serial == 1


HASH = hashlib.sha256(b"x").hexdigest()
MANIFESTS: dict[str, tuple[str, dict[str, tuple[int | None, str | None]]]] = {
    "sha256sum": (f"{HASH}  a.csv\n{HASH} *my file.csv\n", {"a.csv": (None, HASH), "my file.csv": (None, HASH)}),
    "rows": ("a.csv,10\nb.csv,0\n", {"a.csv": (10, None), "b.csv": (0, None)}),
    "rows with a header and semicolons": ("file;rows\r\na.csv;10\r\n", {"a.csv": (10, None)}),
    "rows and hashes": (f'"a.csv"\t10\t{HASH.upper()}\n', {"a.csv": (10, HASH)}),
    "blanks and remarks": ("# of today\n\n./a.csv   10\n", {"a.csv": (10, None)}),
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_manifest_is_read_in_the_usual_spellings(kind: str) -> None:
    text, expected = MANIFESTS[kind]
    read = parse_manifest(text)
    assert {name: (promise.rows, promise.sha256) for name, promise in read.items()} == expected


@pytest.mark.parametrize(
    "text",
    ["", "a.csv\n", "a.csv,10\nb.csv\n", "a.csv,10\na.csv,10\n", "file,rows\n", f"a.csv,10,{HASH[1:]}\n",
     f"a.csv;{HASH}0\n", f"{HASH[1:]}  a.csv\n"],
)  # fmt: skip
def test_what_is_no_manifest_proves_nothing(text: str) -> None:
    with pytest.raises(NoManifest):
        parse_manifest(text)
    declared = parts(manifest="C_{serial}.txt")
    whole, picked = pick_file_sets(
        found(declared, "C_1_part1.csv", "C_1.txt"), {"in/C_1.txt": text}, (), "all", NOW, SETTLE
    )
    assert (whole, "is no manifest" in picked.waits["in/C_1_part1.csv"]) == ([], True)


def test_a_part_that_no_manifest_lists_is_not_left_out() -> None:
    declared = parts(manifest="C_{serial}.txt")
    files = found(declared, "C_1_part1.csv", "C_1_part2.csv", "C_1.txt")
    _, picked = pick_file_sets(files, {"in/C_1.txt": "C_1_part1.csv,1\n"}, (), "all", NOW, SETTLE)
    assert picked.waits == {"in/C_1_part1.csv": "C_1.txt does not list C_1_part2.csv"}


MISTAKES = {
    r"{pattern: 'C_(?P<serial>\d+).csv', count: 2}": "pattern: name what tells the parts apart",
    r"{pattern: 'C_(?P<part>\d+', count: 2}": "pattern: ",
    r"{pattern: 'C_(?P<part>\d+)(?P<x>.)', count: 2}": "the group 'x' is not known",
    r"{pattern: 'C_(?P<part>\d+)(?P<year>\d+)', count: 2}": "year, month and day",
    r"{pattern: 'C_(?P<part>\d+)'}": "what proves that all parts are there?",
    r"{pattern: 'C_(?P<part>\d+)', count: 0}": "count",
    r"{pattern: 'C_(?P<part>\d+)', count: many}": "count",
    r"{pattern: 'C_(?P<part>\d+)of(?P<of>\d+)', count: 2}": "count: the group 'of'",
    r"{pattern: 'C_(?P<serial>\d+)_(?P<part>\d+)', done: ALL.done}": "done: it needs {serial}",
    r"{pattern: 'C_(?P<part>\d+)', done: 'C_{serial}.done'}": "done: {serial} is not known",
    r"{pattern: 'C_(?P<part>\d+)', done: ''}": "done",
    r"{pattern: 'C_(?P<part>\d+)', manifest: sub/M.txt}": "manifest: a name without folders",
    r"{pattern: 'C_(?P<serial>\d+)_(?P<part>\d+)', manifest: 'M_{date}'}": "manifest: {date} is not known",
    r"{count: 2}": "pattern",
    r"{pattern: 'C_(?P<part>\d+)', count: 2, marker: x}": "marker",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_names_its_key(line: str) -> None:
    import yaml
    from pydantic import ValidationError

    with pytest.raises(ValidationError) as refused:
        Parts.model_validate(yaml.safe_load(line))
    assert any(
        MISTAKES[line] in f"{'.'.join(map(str, error['loc']))} {error['msg']}" for error in refused.value.errors()
    ), refused.value


def test_a_line_of_a_part_is_told_with_its_part() -> None:
    assert (spelled_line(17), spelled_line(3 * 10**12 + 17)) == ("line 17", "part 3 line 17")
    assert (part_and_line(17), part_and_line(3 * 10**12 + 17)) == ((None, 17), (3, 17))
