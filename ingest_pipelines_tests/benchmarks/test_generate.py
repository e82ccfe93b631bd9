"""The benchmark's files are what they claim, or its sums prove nothing."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ingest_pipelines_tests.benchmarks.generate import KEY, File, Truth, truth, write_csv, write_parquet


def _added_up(frame: pl.DataFrame) -> Truth:
    points = frame["points"].cast(pl.Int64).sum()
    cents = frame["balance"].str.replace(".", "", literal=True).cast(pl.Int64).sum()
    return Truth(len(frame), int(points), int(cents), frame["email"].count())


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_csv(File(3_000, changed_percent=10), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_file_adds_up_to_its_truth(tmp_path: Path) -> None:
    file = File(3_000, changed_percent=50)
    write_csv(file, tmp_path / "file.csv")
    rows = pl.read_csv(tmp_path / "file.csv", infer_schema=False)
    assert _added_up(rows) == truth(file)
    assert rows[KEY].n_unique() == 3_000
    even = rows.filter(pl.col(KEY).str.slice(1).cast(pl.Int64) % 2 == 0)
    assert _added_up(even) == truth(file, only="even")


def test_changed_percent_changes_that_share_of_the_rows(tmp_path: Path) -> None:
    for percent in (0, 10):
        write_csv(File(20_000, changed_percent=percent), tmp_path / f"{percent}.csv")
    before, after = (pl.read_csv(tmp_path / f"{percent}.csv", infer_schema=False) for percent in (0, 10))
    kept = before.join(after, on=before.columns, how="semi", nulls_equal=True)
    assert 0.09 < 1 - len(kept) / len(before) < 0.11


def test_bad_rows_are_left_out_of_the_truth_and_only_they(tmp_path: Path) -> None:
    clean, dirty = File(20_000), File(20_000, bad_percent=2)
    for name, file in (("clean", clean), ("dirty", dirty)):
        write_csv(file, tmp_path / name)
    rows = [pl.read_csv(tmp_path / name, infer_schema=False) for name in ("clean", "dirty")]
    kept = rows[0].join(rows[1], on=rows[0].columns, how="semi", nulls_equal=True)
    assert _added_up(kept) == truth(dirty)
    assert 0.015 < 1 - len(kept) / len(rows[0]) < 0.025


def test_parquet_holds_the_rows_of_the_csv(tmp_path: Path) -> None:
    write_csv(File(1_000), tmp_path / "file.csv")
    write_parquet(tmp_path / "file.csv", tmp_path / "file.parquet")
    typed, text = pl.read_parquet(tmp_path / "file.parquet"), pl.read_csv(tmp_path / "file.csv", infer_schema=False)
    assert typed[KEY].to_list() == text[KEY].to_list()
    assert typed["balance"].cast(pl.String).to_list() == text["balance"].to_list()
