"""Several files, one item: applied whole or not at all, whatever arrives, changes or is missing in between."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pysequoia as openpgp
import pytest
from dagster import DagsterInstance, SensorResult

from ingest_pipelines.model import PART_LINES
from ingest_pipelines.orchestration.sensors.file_sensor import file_sensor
from ingest_pipelines.orchestration.sensors.listings import SHARED_FOR, Listings
from ingest_pipelines_tests.orchestration.conftest import Shop, why_nothing
from ingest_pipelines_tests.orchestration.ticks import sensor_tick

HEADER = "CID,Tier,Points\n"
PATTERN = r"Points_(?P<serial>\d+)_part(?P<part>\d+)\.csv(\.gz)?"


def parted(shop: Shop, proof: Mapping[str, Any], **source: Any) -> None:
    shop.write_import(
        source={
            "connection": "uploads", "file": "points/Points", "settle": "1s", "pick": "all",
            "parts": {"pattern": PATTERN, **proof}, **source,
        },
        columns={"CID": "customer_id", "Tier": "tier", "Points": {"field": "points", "type": "int"}},
        rejects={"unlimited": True},
    )  # fmt: skip


def part(*rows: str) -> str:
    return HEADER + "".join(f"{row}\n" for row in rows)


def tick(shop: Shop, instance: DagsterInstance) -> SensorResult:
    shop.now += SHARED_FOR
    result = sensor_tick(file_sensor(shop.site(), shop.bound(), Listings()), instance)
    assert isinstance(result, SensorResult)
    return result


def customers(shop: Shop) -> list[str]:
    return [key for (key,) in shop.rows("SELECT customer_id FROM crm.customers ORDER BY 1")]


def _manifest(**texts: str) -> str:
    return "".join(f"{name},{len(text.splitlines()) - 1}\n" for name, text in texts.items())


PARTS = {"Points_1_part1.csv": part("a,Gold,1"), "Points_1_part2.csv": part("b,Gold,2", "c,Gold,3")}
PROOFS: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "count": ({"count": 2}, {}, "waits for part 2 of 2"),
    "done": ({"done": "Points_{serial}.done"}, {"Points_1.done": ""}, "waits for Points_1.done; 1 part is there"),
    "rows": ({"manifest": "Points_{serial}.txt"}, {"Points_1.txt": _manifest(**PARTS)}, "waits for Points_1.txt"),
    "hashes": (
        {"manifest": "Points_{serial}.txt"},
        {"Points_1.txt": "".join(f"{hashlib.sha256(t.encode()).hexdigest()}  {n}\n" for n, t in PARTS.items())},
        "waits for Points_1.txt",
    ),
}  # fmt: skip


@pytest.mark.parametrize("proof", PROOFS)
def test_an_item_waits_for_its_last_part_and_is_loaded_as_one(
    proof: str, shop: Shop, instance: DagsterInstance
) -> None:
    keys, beside, waits = PROOFS[proof]
    parted(shop, keys, archive="loaded")
    (first, text), (second, other) = PARTS.items()
    shop.deliver(first, text)
    assert waits in why_nothing(tick(shop, instance))
    [(settling,)] = shop.rows("SELECT settling FROM ingest.source_checks")
    assert waits in settling[f"points/{first}"]
    for name, content in beside.items():
        if proof != "done":
            shop.deliver(name, content)
    if proof in {"rows", "hashes"}:
        assert f"waits for {second}: 1 of 2 files of Points_1.txt are there" in why_nothing(tick(shop, instance))
    shop.deliver(second, other)
    for name, content in beside.items():
        if proof == "done":
            shop.deliver(name, content)
    result = tick(shop, instance)
    assert result.run_requests
    shop.now += SHARED_FOR
    item = shop.arrive(instance)
    assert shop.run(instance, item).success
    assert customers(shop) == ["a", "b", "c"]
    assert shop.rows("SELECT status, read FROM ingest.loads") == [("committed", 3)]
    left = {path.name for path in (shop.files / "points").iterdir()}
    assert left & {first, second, *beside} == set()
    assert {path.name for path in (shop.files / "loaded").iterdir()} == {first, second, *beside}
    assert "fits source.parts.pattern yet" in why_nothing(tick(shop, instance))


BROKEN: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "a part whose columns are others": (
        {"count": 2}, {"Points_1_part2.csv": "CID,Tier,Points,More\nb,Gold,2,x\n"}, "it has besides 'More'",
    ),
    "a part without a required column": ({"count": 2}, {"Points_1_part2.csv": "CID,Tier\nb,Gold\n"}, "part2.csv"),
    "a part that is cut": ({"count": 2}, {"Points_1_part2.csv": part('b,"Gold,2')}, "never closes"),
    "a part with fewer rows than its manifest says": (
        {"manifest": "M{serial}"},
        {"Points_1_part2.csv": part("b,Gold,2"), "M1": "Points_1_part1.csv,1\nPoints_1_part2.csv,2\n"},
        "part2.csv: the manifest says 2 rows, and the file has 1",
    ),
    "a part with another hash": (
        {"manifest": "M{serial}"},
        {"Points_1_part2.csv": part("b,Gold,2"), "M1": f"Points_1_part1.csv,1\n{'0' * 64}  Points_1_part2.csv\n"},
        "part2.csv: its SHA-256 is not the one of its manifest",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_nothing_of_an_item_is_applied_if_one_part_cannot_be(what: str, shop: Shop, instance: DagsterInstance) -> None:
    proof, files, message = BROKEN[what]
    parted(shop, proof)
    shop.deliver("Points_1_part1.csv", part("a,Gold,1"))
    for name, text in files.items():
        shop.deliver(name, text)
    assert not shop.run(instance, shop.arrive(instance)).success
    [(error,)] = shop.rows("SELECT error FROM ingest.loads")
    assert message in error
    assert shop.rows("SELECT to_regclass('crm.customers')") == [(None,)]


def test_a_reject_says_which_part_it_is_in_and_columns_may_be_in_another_order(
    shop: Shop, instance: DagsterInstance
) -> None:
    parted(shop, {"count": 2})
    shop.deliver("Points_1_part1.csv", part("a,Gold,1", "b,Gold,x", "c,Gold,3"))
    shop.deliver("Points_1_part2.csv.gz", "")
    text = "Points,CID,Tier\n4,d,Gold\n5,a,Gold\ny,e,Gold\n"
    packed = shop.files / "points" / "Points_1_part2.csv.gz"
    packed.write_bytes(gzip.compress(text.encode(), mtime=0))
    os.utime(packed, (0, 0))
    shop.run(instance, shop.arrive(instance))
    part_1, part_2 = PART_LINES, 2 * PART_LINES
    assert shop.rows("SELECT line, code FROM ingest.rejects ORDER BY line, code") == [
        (part_1 + 2, "duplicate_key"), (part_1 + 3, "bad_int"),
        (part_2 + 3, "duplicate_key"), (part_2 + 4, "bad_int"),
    ]  # fmt: skip
    assert customers(shop) == ["c", "d"]


@pytest.mark.parametrize("signed", [True, False])
def test_encrypted_parts_are_one_item_from_the_tick_to_the_table_or_not_at_all(
    signed: bool, shop: Shop, instance: DagsterInstance, tmp_path: Path
) -> None:
    own, sender = (openpgp.Tsk.generate(f"{name} <{name}@example.com>") for name in ("shop", "vendor"))
    (tmp_path / "shop.key").write_text(str(own), encoding="utf-8")
    (tmp_path / "vendor.asc").write_bytes(bytes(sender.extract_certificate()))
    parted(
        shop, {},
        parts={"pattern": PATTERN + r"\.pgp", "count": 2},
        decrypt={
            "private_key": {"file": str(tmp_path / "shop.key")}, "signed_by": {"file": str(tmp_path / "vendor.asc")}
        },
    )  # fmt: skip
    for number, (name, text) in enumerate(PARTS.items(), 1):
        signer = sender if signed or number == 1 else own
        path = shop.deliver(f"{name}.pgp", "")
        before = path.stat().st_mtime
        path.write_bytes(openpgp.encrypt(text.encode(), [own.extract_certificate()], signer.signer()))
        os.utime(path, (before, before))
        if number == 1:
            assert "waits for part 2 of 2" in why_nothing(tick(shop, instance))
    assert tick(shop, instance).run_requests
    assert shop.run(instance, shop.arrive(instance)).success == signed
    [(status, error)] = shop.rows("SELECT status, error FROM ingest.loads")
    if signed:
        assert (status, customers(shop)) == ("committed", ["a", "b", "c"])
    else:
        assert "part2.csv.pgp: the file is not signed by a key of source.decrypt.signed_by" in error
        assert shop.rows("SELECT to_regclass('crm.customers')") == [(None,)]
    assert not any(b"Gold" in file.read_bytes() for file in shop.site().settings.spool.rglob("*") if file.is_file())


def test_a_part_that_changes_between_listing_and_load_is_not_mixed_with_the_others(
    shop: Shop, instance: DagsterInstance
) -> None:
    parted(shop, {"count": 2})
    for name, text in PARTS.items():
        shop.deliver(name, text)
    item = shop.arrive(instance)
    shop.deliver("Points_1_part2.csv", part("z,Gold,9"))
    shop.now += timedelta(hours=1)
    assert shop.run(instance, item).success  # a person runs the item: its parts as they are now are another item
    assert customers(shop) == ["a", "z"]
    assert [status for (status,) in shop.rows("SELECT status FROM ingest.items ORDER BY key")].count("committed") == 1
    other = shop.arrive(instance)
    (shop.files / "points" / "Points_1_part1.csv").unlink()
    shop.deliver("Points_1_part2.csv", part("y,Gold,9"))
    assert other.key != item.key
    assert "waits for part 1 of 2" in why_nothing(tick(shop, instance))
    assert customers(shop) == ["a", "z"]


def test_deliveries_are_items_of_their_own_in_their_order(shop: Shop, instance: DagsterInstance) -> None:
    parted(shop, {"count": 2})
    for serial in (2, 1):
        for number in (1, 2):
            shop.deliver(f"Points_{serial}_part{number}.csv", part(f"c{number},Tier{serial},{serial}"))
    result = tick(shop, instance)
    assert result.run_requests is not None
    assert [int(str(request.partition_key).split("Points_")[1][0]) for request in result.run_requests] == [1, 2]
    assert all("and_1_more" in str(request.partition_key) for request in result.run_requests)
