"""Every import as a Dagster asset: its ops, partitions, lineage and the metadata on its pages."""
