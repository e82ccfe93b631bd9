"""The thin shell around the story: Dagster's assets, sensors, schedules, runs, and the processes that serve them.

Importing this package imports no Dagster; its modules do.
"""
