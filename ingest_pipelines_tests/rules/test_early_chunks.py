"""A consumer of accepted chunks gets exactly the rows that the whole item accepts, while validation is running."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ingest_pipelines.model import LINE, Validated
from ingest_pipelines.rules import ChunkConsumer, Rules, compile_rules, sorted_chunks, validate_rows
from ingest_pipelines_tests.rules.feeds import accepted, bound_import, frame, landing, rejects

FIELDS = {"points": {"type": "int"}, "email": {"type": "email", "unique": True}}


def _frames(chance: random.Random, rows: int) -> list[pl.DataFrame]:
    frames, line = [], 2
    while rows > 0:
        many = min(rows, chance.randrange(1, 40))
        numbers = [chance.randrange(160) for _ in range(many)]
        frames.append(
            frame(
                {
                    "id": [chance.choice([f"C{number}", f"C{number}", f"c{number}"]) for number in numbers],
                    "points": [chance.choice(["1", "1", "1", "x"]) for _ in numbers],
                    "email": [chance.choice([f"{number}@Y.co", f"{number}@y.co", "", None]) for number in numbers],
                },
                first_line=line,
            )
        )
        rows -= many
        line += many
    return frames


def _compared(frames: list[pl.DataFrame], rules: Rules) -> list[pl.DataFrame]:
    return [each.select(rules.compared_columns) for each in frames]


def _judged(frames: list[pl.DataFrame], rules: Rules, folder: Path) -> tuple[Validated, list[pl.DataFrame]]:
    taken: list[tuple[Path, pl.DataFrame]] = []
    consumer = ChunkConsumer(_compared(frames, rules), lambda chunk: taken.append((chunk, pl.read_ipc(chunk))))
    validated = validate_rows(landing(), ("id", "points", "email"), frames, rules, folder, consumer)
    if taken:
        assert tuple(chunk for chunk, _ in taken) == validated.accepted
    return validated, [rows for _, rows in taken]


@pytest.mark.parametrize("duplicates", ["reject", "last", "first"])
@pytest.mark.parametrize("unique", [True, False])
def test_the_answer_is_the_same_and_what_was_taken_stays_accepted(
    tmp_path: Path, duplicates: str, unique: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_chunks, "CHUNK_ROWS", 16)
    monkeypatch.setattr(sorted_chunks, "ENOUGH_ROWS", 12)
    fields: dict[str, Any] = FIELDS if unique else {**FIELDS, "email": {"type": "email"}}
    rules = compile_rules(bound_import(fields, duplicates=duplicates, rejects={"unlimited": True}))
    chance = random.Random(f"{duplicates} {unique}")
    for size in (0, 1, 2, 120):
        frames = _frames(chance, size) or [frame({"id": [], "points": [], "email": []})]
        plain = validate_rows(landing(), ("id", "points", "email"), frames, rules, tmp_path)
        validated, taken = _judged(frames, rules, tmp_path)
        assert rejects(validated) == rejects(plain)
        assert accepted(validated).equals(accepted(plain))
        for name in ("read", "accepted_rows", "rejected_rows", "superseded_rows", "codes", "fields"):
            assert getattr(validated, name) == getattr(plain, name)
        if taken:
            assert pl.concat(taken).sort(LINE).equals(accepted(plain))


def test_rows_that_may_repeat_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_chunks, "ENOUGH_ROWS", 1)
    rules = compile_rules(bound_import({"points": {"type": "int"}}, duplicates="last"))
    frames = [frame({"id": ["a", "b", "a"], "points": ["1", "2", "3"]})]
    taken: list[list[str]] = []
    consumer = ChunkConsumer(_compared(frames, rules), lambda chunk: taken.append(pl.read_ipc(chunk)["id"].to_list()))
    validate_rows(landing(), ("id", "points"), frames, rules, tmp_path, consumer)
    assert taken == [["b"], ["a"]]


@pytest.mark.parametrize(
    ("ids", "points"), [(["a", "b", "c"], ["1", "x", "3"]), (["a", "b", "b"], ["1", "2", "3"])], ids=["bad", "repeated"]
)
def test_nothing_more_is_taken_of_an_item_with_too_many_rejects(
    tmp_path: Path, ids: list[str], points: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_chunks, "ENOUGH_ROWS", 1)
    rules = compile_rules(bound_import({"points": {"type": "int"}}))
    frames = [frame({"id": ids[:2], "points": points[:2]}), frame({"id": ids[2:], "points": points[2:]}, first_line=4)]
    taken: list[Path] = []
    validated = validate_rows(
        landing(), ("id", "points"), frames, rules, tmp_path, ChunkConsumer(_compared(frames, rules), taken.append)
    )
    assert len(taken) <= 1
    assert taken != list(validated.accepted)
