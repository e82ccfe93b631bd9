"""The examples, as they stand."""
