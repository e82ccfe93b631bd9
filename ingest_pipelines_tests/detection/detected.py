"""A detection whose questions are recorded, and answered as a test says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from ingest_pipelines.detection import Option, Reading, detect_file
from ingest_pipelines.sources.browse import FileHead


@dataclass
class Questions:
    """Answers each question by the first option that the test wants, else by the first of all.

    Attributes:
        asked: each question with its options.
    """

    wants: Callable[[Option], bool] = lambda option: False
    asked: list[tuple[str, list[Option]]] = field(default_factory=list)

    def choose(self, question: str, options: Sequence[Option]) -> int:
        """The position of the answer."""
        self.asked.append((question, list(options)))
        assert len({(option.label, option.preview) for option in options}) == len(options) > 1
        return next((place for place, option in enumerate(options) if self.wants(option)), 0)


def detected(
    content: bytes, *, name: str = "Customers.csv", whole: bool = True, fields: Collection[str] = (),
    wants: Callable[[Option], bool] = lambda option: False,
) -> tuple[Reading, list[tuple[str, list[Option]]]]:  # fmt: skip
    """The reading of a file's beginning, and what was asked for it."""
    questions = Questions(wants)
    reading = detect_file(FileHead(name, content, whole), questions.choose, fields)
    return reading, questions.asked
