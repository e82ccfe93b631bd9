"""IO managers: what carries step outputs, and what merges the last one into the target table."""
