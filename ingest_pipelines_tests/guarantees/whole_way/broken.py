"""Faults that are put into the product on purpose, to see that the machine finds them.

Each is one that the product once had, or a small step away from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def a_tie_is_lost_at_the_limit() -> None:
    """A chunk lands its rows up to the LIMIT, whether or not the next row has the same value."""
    from ingest_pipelines.cursor import chunk

    setattr(chunk.ChunkEnd, "cut", property(lambda self: False))  # noqa: B010


def a_reject_is_booked_on_the_wrong_load() -> None:
    """A corrected row resolves the reject of the same line in another load of the import, if there is one."""
    from ingest_pipelines import ledger
    from ingest_pipelines.actions import replay

    prepare = replay.prepare

    def guess(connection: Any, *rest: Any) -> Any:
        corrected = prepare(connection, *rest)
        others = []
        for correction in corrected.corrections:
            newest = connection.execute(
                "SELECT max(other.id) FROM ingest.loads own JOIN ingest.loads other USING (import)"
                " JOIN ingest.rejects r ON r.load = other.id AND r.line = %s AND r.resolved_at IS NULL"
                " WHERE own.id = %s",
                (correction.reject_line, correction.reject_load),
            ).fetchone()[0]
            others.append(ledger.Correction(correction.line, newest or correction.reject_load, correction.reject_line))
        return replay.Corrected(corrected.path, others)

    setattr(replay, "prepare", guess)  # noqa: B010


def a_forgotten_person_is_taken_again() -> None:
    """Rows are compared with the list of people by their keys in capital letters."""
    from ingest_pipelines.suppression import Suppressed

    among = Suppressed.among
    setattr(Suppressed, "among", lambda self, kind, texts: among(self, kind, texts.str.to_uppercase()))  # noqa: B010


def a_value_stands_in_a_message() -> None:
    """An item with too many rejects is refused with their values."""
    from ingest_pipelines import pipeline
    from ingest_pipelines.errors import RejectsAboveLimit
    from ingest_pipelines.pipeline import steps

    check = steps.check_rejects

    def quoting(validated: Any, bound: Any) -> None:
        try:
            check(validated, bound)
        except RejectsAboveLimit as error:
            error.message += f", such as {[sample.value for sample in validated.samples]}"
            error.args = (error.message,)
            raise

    for module in (steps, pipeline):
        setattr(module, "check_rejects", quoting)  # noqa: B010


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault
    for fault in (
        a_tie_is_lost_at_the_limit,
        a_reject_is_booked_on_the_wrong_load,
        a_forgotten_person_is_taken_again,
        a_value_stands_in_a_message,
    )
}


def put_in(name: str) -> None:
    """The product has that fault from now on, in this process; "": none."""
    if name:
        FAULTS[name]()
