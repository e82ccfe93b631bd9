"""A problem that exists now, whoever has noticed it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ingest_pipelines.config.notify import AlertKind


@dataclass(frozen=True)
class Condition:
    """A problem that exists now. One import, kind and cause is one alert, until the problem has gone.

    Attributes:
        import_name: "" where it is not about one import: then `cause` says what it is about.
        words: what happened; never a row's value, a secret or a server's own words. "": as it was noted before.
        next_step: the command to type.
        run_id: the run whose page shows details.
        reason: the same in few words, for a subject.
        cause: what is wrong, where that is not an import: `connection vendor`, `databases.yaml`, `daemon`.
        group: alerts of one group go into one message; default: those of one cause, else of one kind and reason.
        imports: imports that the cause concerns: their recipients are told. Empty: every recipient of the project.
        items: keys of the items that are broken.
        broken: how many they are.
        since: when it began; default: now.
    """

    import_name: str
    kind: AlertKind
    words: str
    item: str = ""
    next_step: str = ""
    run_id: str = ""
    reason: str = ""
    cause: str = ""
    group: str = ""
    imports: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    broken: int = 0
    since: datetime | None = None

    @property
    def place(self) -> tuple[str, str, str]:
        """What identifies its alert."""
        return (self.import_name, self.kind, "" if self.import_name else self.cause)
