"""The strptime patterns that dates and moments may be written in. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from ingest_pipelines.config.time_patterns import expression, tokens

_DAYS = (
    *(
        form.replace("/", sign)
        for sign in "/.-"
        for form in ("%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d/%m/%y", "%m/%d/%y", "%y/%m/%d")
    ),
    "%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%B %d %Y", "%b %d %Y", "%d-%b-%Y", "%d-%b-%y", "%d. %B %Y",
    "%a, %d %b %Y", "%A, %d %B %Y", "%A, %B %d, %Y", "%a %b %d %Y", "%Y%m%d",
)  # fmt: skip
_CLOCKS = (
    "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M%p", "%I:%M:%S %p", "%H:%M:%S %z", "%H:%M:%S%z", "%H:%M %z",
    "%H:%M:%S.%f%z", "%H:%M:%S %Z", "%H:%M:%S.%f %Z", "%H:%M %Z", "%H.%M", "%H%M%S",
)  # fmt: skip
_LOOKED_AT = 5
"""Of so many first texts at least one is written as nearly all are."""
_BETWEEN = (" ", "T", ", ", " at ", "_")


def day_patterns(texts: Sequence[str]) -> list[str]:
    """Patterns of days without a time that all the texts fit, each naming another order of day, month and year."""
    return _fitting(texts, [form for form in _DAYS if _match(form, texts[0]) == ""])


def moment_patterns(texts: Sequence[str]) -> list[str]:
    """Patterns of days with a time that all the texts fit."""
    return _fitting(texts, list(_moments(texts[0])))


def alike_by_pattern(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts that fit a pattern, for each pattern that one of the first texts fits."""
    first = list(dict.fromkeys(texts))[:_LOOKED_AT]
    forms = dict.fromkeys(form for text in first for form in _DAYS if _match(form, text) == "")
    forms |= dict.fromkeys(form for text in first for form in _moments(text))
    for form in forms:
        yield [text for text in texts if _match(form, text) == ""]


def _moments(text: str) -> Iterator[str]:
    for day in _DAYS:
        rest = _match(day, text)
        if not rest:
            continue
        for between in _BETWEEN:
            if rest.startswith(between):
                clock = rest[len(between) :].lstrip()
                yield from (f"{day}{between}{form}" for form in _CLOCKS if _match(form, clock) == "")


def _fitting(texts: Sequence[str], forms: Sequence[str]) -> list[str]:
    by_order: dict[tuple[str, ...], str] = {}
    for form in forms:
        if all(_match(form, text) == "" for text in dict.fromkeys(texts)):
            order = tuple({"b": "m", "B": "m"}.get(token.directive, token.directive) for token in tokens(form))
            by_order.setdefault(tuple(filter(None, order)), form)
    return list(by_order.values())


def _match(form: str, text: str) -> str | None:
    """What the pattern leaves over of the text; None if it does not fit."""
    match = _compiled(form).match(text)
    return match["rest"] if match else None


@lru_cache(maxsize=512)
def _compiled(form: str) -> re.Pattern[str]:
    return re.compile(expression(form))
