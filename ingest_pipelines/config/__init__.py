"""YAML -> typed models, or one error per mistake with file, line and key.

Its modules are imported when a name is asked for: a command that is handed to a run server needs the settings only.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest_pipelines.config.bound import BoundImport, MappedField
    from ingest_pipelines.config.current_project import read_current_project
    from ingest_pipelines.config.project import Project, read_project
    from ingest_pipelines.config.settings import Settings, demo_home, read_settings

_MODULES = {
    "BoundImport": "bound",
    "MappedField": "bound",
    "Project": "project",
    "Settings": "settings",
    "demo_home": "settings",
    "read_current_project": "current_project",
    "read_project": "project",
    "read_settings": "settings",
}

__all__ = [
    "BoundImport",
    "MappedField",
    "Project",
    "Settings",
    "demo_home",
    "read_current_project",
    "read_project",
    "read_settings",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
