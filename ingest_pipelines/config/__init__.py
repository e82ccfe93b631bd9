"""YAML -> typed models, or one error per mistake with file, line and key."""

from ingest_pipelines.config.bound import BoundImport, MappedField
from ingest_pipelines.config.current_project import read_current_project
from ingest_pipelines.config.project import Project, read_project
from ingest_pipelines.config.settings import Settings, demo_home, read_settings

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
