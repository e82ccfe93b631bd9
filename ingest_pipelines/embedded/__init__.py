"""The embedded Postgres 18: with it `ingest demo` and `ingest up` need no other server."""

from ingest_pipelines.embedded.postgres import Server, running, start, stop

__all__ = ["Server", "running", "start", "stop"]
