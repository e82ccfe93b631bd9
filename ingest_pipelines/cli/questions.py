"""Questions to a person at a terminal: a wrong answer is asked again, earlier ones are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.asking import ask_for_text, ask_yes_or_no
from ingest_pipelines.detection import Option
from ingest_pipelines.errors import printable

CHOICES = 20
"""How many options are offered by number; the others are typed."""

_UNANSWERED = "this needs an answer; Ctrl-C leaves, and nothing is written"

Wrong = Callable[[str], str | None]
"""Says what is wrong with an answer; None: nothing."""


class Questions:
    """Asks questions; with `--yes` it takes the suggestion if there is one.

    After a wrong answer it asks the same question again; earlier answers are kept.
    """

    def __init__(self, yes: bool) -> None:
        self.yes = yes

    def text(self, question: str, suggestion: str | None = None, *, wrong: Wrong = lambda _: None) -> str:
        """A valid answer; Enter takes the suggestion."""
        if self.yes and suggestion is not None and wrong(suggestion) is None:
            return suggestion
        while True:
            answer = ask_for_text(question, default=suggestion or "", show_default=bool(suggestion)).strip()
            mistake = wrong(answer) if answer or suggestion is not None else _UNANSWERED
            if mistake is None:
                return answer
            screen.note(f"  {screen.painted('no', 'bad')}: {screen.wrapped(mistake, 6)}")

    def one_of(
        self, question: str, options: Sequence[str], suggestion: str | None = None, *, other: Wrong | None = None
    ) -> str:
        """One of the options, by number or by name.

        Args:
            suggestion: what Enter takes; None: the first option; empty: nothing.
            other: checks an answer that is not one of the options; without it, such an answer is refused.
        """
        from ingest_pipelines.config.nearest import nearest

        if len(options) == 1 and self.yes:
            return options[0]
        for number, option in enumerate(options[:CHOICES], 1):
            screen.note(f"  {number:>3}  {printable(option)}")

        def meant(answer: str) -> str:
            by_number = answer.isdecimal() and answer not in options and 1 <= int(answer) <= len(options)
            return options[int(answer) - 1] if by_number else answer

        def wrong(answer: str) -> str | None:
            if meant(answer) in options:
                return None
            return other(answer) if other else f"'{printable(answer)}' is not one of them; {nearest(answer, options)}"

        default = suggestion if suggestion is not None else next(iter(options), "")
        return meant(self.text(question, default or None, wrong=wrong))

    def choose(self, question: str, options: Sequence[Option]) -> int:
        """The position of the reading that is right. None of them is suggested: no value tells which it is."""
        for number, option in enumerate(options, 1):
            shown = f": {printable(option.preview, 200)}" if option.preview else ""
            screen.note(f"  {number:>3}  {screen.wrapped(printable(option.label, 200) + shown, 7)}")

        def wrong(answer: str) -> str | None:
            right = answer.isdecimal() and 1 <= int(answer) <= len(options)
            return None if right else f"type a number from 1 to {len(options)}"

        return int(self.text(f"{question}?", wrong=wrong)) - 1

    def agreed(self, question: str) -> bool:
        """Whether the person agrees."""
        return self.yes or ask_yes_or_no(f"\n{question}", default=True)
