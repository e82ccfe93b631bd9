"""Schedules: when an import runs by itself, and what a query import reads at a tick."""
