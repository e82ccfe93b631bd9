"""Customer files of any size, from a seed: a key and ten fields, column-wise, a million rows in about two seconds.

A row is a pure function of (customer number, version): version 0 is what the table holds, version 1 is the same
customer changed. So a file and the table it meets need only agree on numbers, and what the table must hold afterwards
is known without loading anything: `Truth`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]

KEY = "customer_id"
COLUMNS = (
    KEY, "full_name", "email", "address", "age", "points", "balance", "lifetime_value", "birth_date",
    "last_purchase_at", "is_active",
)  # fmt: skip
CHUNK = 500_000

_FIRST = (
    "Ada Björn Chloé Dmitri Elena Farah Grace Hugo Ines Jürgen Kai Lucía Mei Noah Olga Priya Quinn Rosa Søren".split()
)
_LAST = (
    "Anders Brown Costa Dubois Eriksen Fischer García Hughes Ivanov Jensen Kowalski López Müller Nguyen Okafor".split()
)
_HOSTS = ["example.com", "mail.example.org", "post.example.net"]
_STREETS = "High Street,Mill Lane,Rue du Bac,Hauptstraße,Via Roma,Calle Mayor,Kongens gate,Station Road".split(",")
_CITIES = "Leeds,Paris,Berlin,Roma,Madrid,Oslo,Lisboa,Wien,Praha,Kraków".split(",")


@dataclass(frozen=True)
class File:
    """What stands in a generated file.

    Attributes:
        rows: customer numbers first .. first + rows - 1, in an order that has nothing to do with the key's.
        step: 2 writes every second number only.
        changed_percent: how many rows carry version 1; the rest repeat what the table holds.
        bad_percent: how many rows break one rule each (of six kinds).
    """

    rows: int
    first: int = 0
    step: int = 1
    changed_percent: int = 0
    bad_percent: int = 0
    seed: int = 1


@dataclass(frozen=True)
class Truth:
    """What a table must add up to; enough to notice a lost, doubled, stale or misread row."""

    rows: int = 0
    points: int = 0
    balance_cents: int = 0
    emails: int = 0

    def __add__(self, other: Truth) -> Truth:
        return Truth(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Truth) -> Truth:
        return Truth(*(mine - theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


def write_csv(file: File, path: Path) -> None:
    """The file: a header, LF line ends, quotes where a cell needs them, empty cells where a value is unknown."""
    part = path.with_suffix(".part")
    with part.open("wb") as out:
        for index, frame in enumerate(_frames(file)):
            frame.write_csv(out, include_header=index == 0)
    part.rename(path)


def write_parquet(csv: Path, path: Path) -> None:
    """The rows of a written file, typed, for tools that are at their best with Parquet."""
    part = path.with_suffix(".part")
    pl.scan_csv(csv, infer_schema=False).with_columns(
        pl.col("age", "points").cast(pl.Int64),
        pl.col("balance").str.to_decimal(scale=2).cast(pl.Decimal(12, 2)),
        pl.col("lifetime_value").str.to_decimal(scale=4).cast(pl.Decimal(14, 4)),
        pl.col("birth_date").str.to_date("%Y-%m-%d"),
        pl.col("last_purchase_at").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us").dt.replace_time_zone("UTC"),
        pl.col("is_active") == "true",
    ).sink_parquet(part)
    part.rename(path)


def truth(file: File, *, only: str = "good") -> Truth:
    """What the rows of the file add up to.

    Args:
        only: `good` leaves out the rows that break a rule; `even` and `odd` take those customer numbers of them.
    """
    total = Truth()
    for numbers, versions, bad in _plan(file):
        keep = ~bad
        if only != "good":
            keep &= (numbers % np.uint64(2) == 0) == (only == "even")
        ids, version = numbers[keep], versions[keep]
        total += Truth(
            len(ids), int(_points(ids, version).sum()), int(_balance(ids, version).sum()), int((~_no_email(ids)).sum())
        )
    return total


def _plan(file: File) -> Iterator[tuple[Numbers, Numbers, NDArray[np.bool_]]]:
    """Customer numbers, their versions and whether the row is broken, chunk by chunk in file order."""
    order = np.random.default_rng(file.seed).permutation(-(-file.rows // file.step)) * file.step + file.first
    for start in range(0, len(order), CHUNK):
        numbers = order[start : start + CHUNK].astype(np.uint64)
        changed = _mix(numbers, 101) % np.uint64(100) < file.changed_percent
        bad = _mix(numbers, 102) % np.uint64(100) < file.bad_percent
        yield numbers, changed.astype(np.uint64), bad


def _frames(file: File) -> Iterator[pl.DataFrame]:
    for numbers, versions, bad in _plan(file):
        yield _break(_rows(numbers, versions), numbers, bad)


def _mix(numbers: Numbers, salt: int) -> Numbers:
    """Well-scattered 64 bits per number (the finaliser of SplitMix64)."""
    with np.errstate(over="ignore"):
        z = numbers + np.uint64(salt) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def _points(numbers: Numbers, versions: Numbers) -> Numbers:
    return (_mix(numbers, 1) + versions * np.uint64(7)) % np.uint64(1_000_000)


def _balance(numbers: Numbers, versions: Numbers) -> Numbers:
    return (_mix(numbers, 2) + versions * np.uint64(1_001)) % np.uint64(10_000_000)


def _no_email(numbers: Numbers) -> NDArray[np.bool_]:
    missing: NDArray[np.bool_] = _mix(numbers, 3) % np.uint64(50) == 0
    return missing


def _pick(values: list[str], choice: Numbers) -> pl.Series:
    return pl.Series(values).gather(choice % np.uint64(len(values)))


def _fixed_point(units: Numbers, digits: int) -> pl.Expr:
    """`12345` with two digits is `123.45`: text, so that no float ever rounds it."""
    scale = np.uint64(10**digits)
    whole, rest = pl.lit(pl.Series(units // scale)), pl.lit(pl.Series(units % scale))
    return whole.cast(pl.String) + "." + rest.cast(pl.String).str.zfill(digits)


def _rows(numbers: Numbers, versions: Numbers) -> pl.DataFrame:
    """The rows as a vendor would write them: all text."""
    mixed = {salt: _mix(numbers, salt) for salt in range(10, 18)}
    moved = _mix(numbers + versions * np.uint64(1 << 40), 20)
    first, last = _pick(_FIRST, mixed[10]), _pick(_LAST, mixed[11])
    text = pl.Series(numbers).cast(pl.String)
    birthday = pl.Series(mixed[12] % np.uint64(23_000)).cast(pl.Int32) + (date(1940, 1, 1) - date(1970, 1, 1)).days
    bought = pl.Series(np.uint64(1_577_836_800) + moved % np.uint64(180_000_000)).cast(pl.Int64) * 1_000_000
    frame = pl.DataFrame({"text": text, "first": first, "last": last})
    return frame.select(
        (pl.lit("C") + pl.col("text").str.zfill(9)).alias(KEY),
        (pl.col("first") + " " + pl.col("last")).alias("full_name"),
        pl.when(pl.lit(pl.Series(~_no_email(numbers))))
        .then("customer." + pl.col("text") + "@" + pl.lit(_pick(_HOSTS, mixed[11])))
        .alias("email"),
        (
            pl.lit(pl.Series(moved % np.uint64(300) + np.uint64(1))).cast(pl.String)
            + " "
            + pl.lit(_pick(_STREETS, mixed[13]))
            + ", "
            + pl.lit(_pick(_CITIES, mixed[14]))
        ).alias("address"),
        pl.lit(pl.Series(mixed[15] % np.uint64(80) + np.uint64(18))).cast(pl.String).alias("age"),
        pl.lit(pl.Series(_points(numbers, versions))).cast(pl.String).alias("points"),
        _fixed_point(_balance(numbers, versions), 2).alias("balance"),
        pl.when(pl.lit(pl.Series(mixed[16] % np.uint64(20) != 0)))
        .then(_fixed_point(moved % np.uint64(1_000_000_000), 4))
        .alias("lifetime_value"),
        # 1989-01-01 is a date that the rules take for a placeholder
        pl.lit(birthday).cast(pl.Date).replace(date(1989, 1, 1), date(1989, 1, 2)).cast(pl.String).alias("birth_date"),
        pl.lit(bought).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d %H:%M:%S").alias("last_purchase_at"),
        pl.when(pl.lit(pl.Series(mixed[17] % np.uint64(4) != 0)))
        .then(pl.lit("true"))
        .otherwise(pl.lit("false"))
        .alias("is_active"),
    )


def _break(frame: pl.DataFrame, numbers: Numbers, bad: NDArray[np.bool_]) -> pl.DataFrame:
    """The rows with one rule broken where `bad` says so."""
    if not bad.any():
        return frame
    kind = pl.Series("kind", np.where(bad, _mix(numbers, 103) % np.uint64(6), np.uint64(9)).astype(np.int8))
    broken = {
        "points": pl.lit("12a"),
        "birth_date": pl.lit("2026-02-30"),
        "balance": pl.lit("1.234"),
        KEY: pl.lit(None, pl.String),
        "full_name": pl.col("full_name") + "x" * 120,
        "is_active": pl.lit("maybe"),
    }
    return (
        frame.with_columns(kind)
        .with_columns(
            pl.when(pl.col("kind") == number).then(value).otherwise(pl.col(name)).alias(name)
            for number, (name, value) in enumerate(broken.items())
        )
        .drop("kind")
    )
