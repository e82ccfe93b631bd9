"""The command of Dagster's daemon.

Waits for: a public module to run with `python -m`, as `dagster` and `dagster_webserver` are. The program
`dagster-daemon` is public, and is not always beside the Python that runs us.
If the module goes: `ingest up` says that dagster-daemon ended by itself.
"""

DAEMON = ("-m", "dagster._daemon", "run")
"""Arguments for Python; the workspace's follow."""
