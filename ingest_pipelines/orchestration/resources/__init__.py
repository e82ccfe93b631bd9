"""Dagster resources: the connections of connections.yaml."""
