"""The machine: histories of one kind of source, or of all; after each step, place and oracle must say the same."""

from __future__ import annotations

from ingest_pipelines_tests.guarantees.whole_way.cursors import Cursors
from ingest_pipelines_tests.guarantees.whole_way.people import People


class CursorHistories(Cursors):
    """Whatever happens to a source and its cursor."""


class FileHistories(People):
    """Whatever happens to files and their rejects."""


class WholeWay(Cursors, People):
    """Whatever happens between sources and one table."""
