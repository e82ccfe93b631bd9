"""Messages in plain English: words that make a reader stop are in no string that a user may see."""

from __future__ import annotations

import re

from ingest_pipelines_tests.architecture.source import modules

WORDS = re.compile(
    r"\b(anew|whoever|somebody|anybody|nobody|told|mend|mends|mended|thereof|stands? (?:more than once|twice)|"
    r"holds? still|of our own)\b",
    re.IGNORECASE,
)
"""Write instead: again; the sender, a person, another session; reported; fix; occurs; is stable; embedded."""

ALLOWED = (
    ("nobody", re.compile(r"^nobody$")),  # the account
    ("told", re.compile(r"\btold apart\b|^told$|\b(WITH|SELECT|FROM|INSERT INTO)\b")),  # distinguished; a name in SQL
)
"""A word, and the texts in which it may stay."""


def test_messages_are_in_plain_english() -> None:
    odd_words = [
        f"{module.name}:{line}: '{match[0]}' in {text[:80]!r}"
        for module in modules()
        for line, text in module.strings()
        for match in WORDS.finditer(text)
        if not any(match[0].lower() == word and texts.search(text) for word, texts in ALLOWED)
    ]
    assert odd_words == []
