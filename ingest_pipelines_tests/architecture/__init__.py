"""Promises about the source itself, where import-linter cannot see them."""
