"""Messages in plain English: words that make a reader stop are in no string that a user may see."""

from __future__ import annotations

import re

from ingest_pipelines_tests.architecture.source import modules

WORDS = re.compile(
    r"\b(anew|whoever|whomever|somebody|anybody|nobody|told|mend|mends|mended|thereof|hitherto|ere|"
    r"stands? (more than once|twice)|holds? still|no \w+ of ours|to be found)\b",
    re.IGNORECASE,
)
"""Say it with the field's word and a subject: again, the sender, a person, another session, reported, fix, occurs."""

ALLOWED = {
    ("embedded/account.py", "nobody"),  # the name of an account
}


def test_messages_are_in_plain_english() -> None:
    odd_words = [
        f"{module.name}:{line}: '{match[0]}' in {text[:80]!r}"
        for module in modules()
        for line, text in module.strings()
        for match in WORDS.finditer(text)
        if (module.name, match[0].lower()) not in ALLOWED
    ]
    assert odd_words == []
