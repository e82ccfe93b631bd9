"""A team on call: fourteen imports, broken vendors, killed processes, and whether `ingest status` tells the truth."""
