"""Tests of Ingest Pipelines. They mirror the package; `guarantees/` holds the promises of the README."""
