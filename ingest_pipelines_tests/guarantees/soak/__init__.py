"""An hour of `ingest up` with thirty imports: nothing lost, nothing doubled, and nothing that grows. `make soak`."""
