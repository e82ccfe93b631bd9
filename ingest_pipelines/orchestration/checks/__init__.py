"""Asset checks: one per family of rules, and three that compare a delivery with the usual."""
