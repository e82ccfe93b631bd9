"""The soak's own judges are right: of what is flat, and of what is lost or doubled."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ingest_pipelines_tests.guarantees.soak.deliveries import ROWS, Deliveries, Seen, keys
from ingest_pipelines_tests.guarantees.soak.flatness import judge, slope
from ingest_pipelines_tests.guarantees.soak.plot import Panel, draw

TIMES = [10.0 * n for n in range(360)]


def noise(seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(0, 3) for _ in TIMES]


def test_a_constant_with_noise_and_a_warm_up_is_flat() -> None:
    values = [150 - 100 * max(0.0, 1 - t / 1200) + n for t, n in zip(TIMES, noise(), strict=True)]
    verdict = judge("memory", TIMES, values, warm_up=1200, allowance=10)
    assert verdict is not None
    assert verdict.flat
    assert 147 < verdict.level < 153
    whole = judge("memory", TIMES, values, warm_up=0, allowance=10)
    assert whole is not None
    assert not whole.flat


@pytest.mark.parametrize("an_hour", [20, 60])
def test_a_leak_is_not_flat(an_hour: float) -> None:
    values = [150 + an_hour * t / 3600 + n for t, n in zip(TIMES, noise(), strict=True)]
    verdict = judge("memory", TIMES, values, warm_up=1200, allowance=10)
    assert verdict is not None
    assert not verdict.flat
    assert verdict.growth == pytest.approx(an_hour, abs=3)


def test_a_fifth_of_the_samples_may_be_anything() -> None:
    values: list[float | None] = [150 + n for n in noise()]
    for at in range(0, len(values), 5):
        values[at] = None if at % 2 else 5_000.0
    verdict = judge("memory", TIMES, values, warm_up=1200, allowance=10)
    assert verdict is not None
    assert verdict.flat


def test_too_few_samples_are_no_verdict_and_a_fall_is_flat() -> None:
    assert judge("memory", TIMES[:5], noise()[:5], warm_up=0, allowance=10) is None
    fall = judge("memory", TIMES, [1000 - t / 10 for t in TIMES], warm_up=0, allowance=10)
    assert fall is not None
    assert fall.flat
    assert slope([1, 1, 1], [1, 2, 3]) == 0


def made(*numbers: int) -> tuple[Deliveries, dict[str, int | None], dict[str, int]]:
    """Deliveries of one feed, all loaded: the book, the rows, and the sum of them."""
    book, rows = Deliveries(), dict[str, int | None]()
    for number in numbers:
        assert book.next_number("tills") == number
        book.add("tills", number, float(number))
        rows |= dict.fromkeys(keys("tills", number), number)
    return book, rows, {"tills": len(rows)}


def test_what_is_there_once_is_right() -> None:
    book, rows, sums = made(1, 2)
    assert list(book.faults(Seen(rows, read=sums, inserted=sums, created=sums))) == []
    assert book.missing(rows) == []
    assert list(book.faults(Seen({}))) == []
    assert book.missing({}) == [("tills", 1), ("tills", 2)]


def test_what_is_half_strange_wrong_doubled_or_unbooked_is_told() -> None:
    book, rows, sums = made(1, 2)
    less, more = {"tills": 2 * ROWS - 1}, {"tills": 2 * ROWS + 1}

    def told(seen: Seen) -> str:
        return "; ".join(book.faults(seen))

    half = {key: value for key, value in rows.items() if key != "tills:2:3"}
    assert "half: tills 2 has 4 of 5 rows" in told(Seen(half, read=less, inserted=less, created=less))
    strange = {**rows, "tills:3:0": 3}
    assert "strange: tills:3:0" in told(Seen(strange, read=more, inserted=more, created=more))
    wrong = {**rows, "tills:1:0": 2}
    assert told(Seen(wrong, read=sums, inserted=sums, created=sums)) == "wrong: tills:1:0 holds 2"
    right = Seen(rows, read=sums, inserted=sums, created=sums)
    for total, word in ((more, "doubled"), (less, "unbooked")):
        assert word in told(replace(right, read=total))
        assert word in told(replace(right, inserted=total))
        assert word in told(replace(right, created=total))
    twice = Seen(rows, read=sums, inserted=sums, created=sums, committed_twice=frozenset({"tills a"}))
    assert told(twice) == "doubled: tills a was committed twice"


def test_a_plot_has_a_line_per_series_and_a_mark_per_kill() -> None:
    text = draw("A soak", [Panel("memory, MB", {"daemon": [(0, 1), (60, 2), (120, None)]}, warm_up=60)], [30, 90])
    assert text.startswith("<svg")
    assert text.count("<polyline") == 1
    assert text.count('class="kill"') == 2
