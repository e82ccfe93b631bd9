"""Everything of Dagster that is not its public API: private imports, and methods replaced on its objects."""
