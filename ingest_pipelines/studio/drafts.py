"""Answers of imports that people are setting up: in the state folder, so that they survive a reload and a restart."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ingest_pipelines.errors import UsageError
from ingest_pipelines.owner_only import private_folder, private_state, write_private

LONGEST_ANSWER = 100_000
MOST_ANSWERS = 20_000

WITH_SEVERAL = frozenset({"weekdays"})
"""Questions to which a person gives a list."""


@dataclass(frozen=True)
class SetUpDraft:
    """An import that is being set up.

    Attributes:
        by: who began it.
        work: the plan that was started last, by its name; "": none.
        planned: the digest of the YAML that it planned.
        saves: how often a page has kept answers.
        tab: the page that did last.
    """

    id: str
    answers: Mapping[str, Any]
    by: str = ""
    work: str = ""
    planned: str = ""
    saves: int = 0
    tab: str = ""

    def saved_by(self, tab: str, seen: str) -> SetUpDraft:
        """The draft, kept once more by that page. An empty name is that of no page.

        Args:
            seen: `saves` as the page was loaded.

        Raises:
            UsageError: another page has kept answers since.
        """
        if tab and tab != self.tab and seen != str(self.saves):
            raise UsageError(
                "this draft was changed or deleted on another page; nothing was kept",
                hint="reload the page to see it as it is now",
            )
        return replace(self, saves=self.saves + 1, tab=tab)

    @property
    def title(self) -> str:
        """The import's name so far."""
        return str(self.answers.get("name", "")).strip() or "without a name"


class Drafts:
    """The drafts of one installation."""

    def __init__(self, state: Path) -> None:
        self._folder = private_folder(private_folder(private_state(state) / "studio") / "new")

    @staticmethod
    def new_id() -> str:
        """An id that nobody guesses."""
        return secrets.token_hex(12)

    def read(self, draft_id: str) -> SetUpDraft:
        """The draft; without answers if there are none yet."""
        try:
            content = json.loads(self._path(draft_id).read_bytes())
            return SetUpDraft(draft_id, **content)
        except (FileNotFoundError, ValueError, TypeError):
            return SetUpDraft(draft_id, {})

    def write(self, draft: SetUpDraft) -> None:
        """Keeps the draft."""
        content = asdict(draft)
        del content["id"]
        write_private(self._path(draft.id), json.dumps(content).encode())

    def drop(self, draft_id: str) -> None:
        """Forgets the draft."""
        self._path(draft_id).unlink(missing_ok=True)

    def all(self) -> list[SetUpDraft]:
        """Every draft, the one that was changed last first."""
        files = sorted(self._folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        return [self.read(file.stem) for file in files]

    def _path(self, draft_id: str) -> Path:
        """Its file; an id from a browser is one of ours, or refused."""
        if re.fullmatch("[0-9a-f]{24}", draft_id) is None:
            raise UsageError("there is no such draft", hint="begin a new one")
        return self._folder / f"{draft_id}.json"


def answers_in(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a form sent, as texts and lists of texts.

    Raises:
        UsageError: it is something else, or too much.
    """
    if len(fields) > MOST_ANSWERS:
        raise UsageError("the page sent too many answers")
    answers: dict[str, Any] = {}
    for name, value in fields.items():
        texts = value if isinstance(value, list) else [value]
        if len(texts) > MOST_ANSWERS or not all(map(_is_answer, texts)):
            raise UsageError("the page sent an answer that is no text", hint="reload it and try again")
        if isinstance(value, list) and name not in WITH_SEVERAL:
            raise UsageError("the page sent several answers to one question", hint="reload it and try again")
        answers[name] = [_plain(text) for text in texts] if isinstance(value, list) else _plain(value)
    return answers


def _plain(text: str) -> str:
    """The text without what no file can hold: halves of a character."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def _is_answer(text: object) -> bool:
    return isinstance(text, str) and len(text) <= LONGEST_ANSWER
