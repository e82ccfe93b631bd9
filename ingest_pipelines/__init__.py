"""Customer data into Postgres on time, whole and correct."""

__version__ = "0.1.0"
