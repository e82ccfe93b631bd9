"""What all pages of the studio share: project and ledger, the live view, the jobs, what was seen of sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from starlette.requests import Request

from ingest_pipelines.actions.target import ledger_of
from ingest_pipelines.config import Project, Settings
from ingest_pipelines.config.current_project import read_current_project
from ingest_pipelines.studio.home_rows import HomeRows
from ingest_pipelines.studio.jobs import Jobs
from ingest_pipelines.studio.live import Lookout
from ingest_pipelines.studio.sources import Sources


class Studio:
    """The studio of one project."""

    def __init__(self, settings: Settings, is_ending: Callable[[], bool] = lambda: False) -> None:
        self.settings = settings
        self.is_ending = is_ending
        self.lookout = Lookout(settings)
        self.home_rows = HomeRows()
        self.jobs = Jobs()
        self.sources = Sources()

    @property
    def project(self) -> Project:
        """The project as its files are now."""
        return read_current_project(self.settings.home)

    @contextmanager
    def ledger(self, *, writes: bool = False) -> Iterator[psycopg.Connection]:
        """A transaction in the ledger; see `actions.target.ledger_of`."""
        with ledger_of(self.settings, writes=writes) as connection:
            yield connection

    def close(self) -> None:
        """Ends what the studio started."""
        self.sources.workshop.close()
        self.jobs.close()
        self.lookout.close()


def studio_of(request: Request) -> Studio:
    """The studio that answers the request."""
    studio: Studio = request.app.state.studio
    return studio
