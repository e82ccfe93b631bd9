"""`ingest up`: the processes that serve the UI and run the daemon."""
