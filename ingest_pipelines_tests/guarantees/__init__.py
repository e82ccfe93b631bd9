"""One file per promise of the README, each driving a real Postgres. Oracle: old or new, never other."""
