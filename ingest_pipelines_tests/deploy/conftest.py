"""The small project of the orchestration tests, for what is deployed."""

from ingest_pipelines_tests.orchestration.conftest import instance, shop

__all__ = ["instance", "shop"]
