"""Customer data into Postgres on time, whole and correct.

    ingest_definitions(folder, ...)    a project as Dagster definitions, for a team's own code location
    IngestProject                      the same as a component of Dagster, for a `defs.yaml`

Importing the package imports neither Dagster nor anything else that is heavy: the names above are loaded when they are
first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
"""As `typing` has it, which takes ten milliseconds to import."""

if TYPE_CHECKING:
    from ingest_pipelines.component import IngestProject
    from ingest_pipelines.orchestration.code_location import ingest_definitions

__version__ = "0.1.0"

__all__ = ["IngestProject", "ingest_definitions"]

_HOMES = {
    "IngestProject": "ingest_pipelines.component",
    "ingest_definitions": "ingest_pipelines.orchestration.code_location",
}
"""Public names, and the modules that define them."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """The public name, from its module."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        """The module's own names and the public ones."""
        return sorted({*globals(), *_HOMES})
