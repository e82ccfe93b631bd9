"""Runs: how they are launched, tagged, locked, executed, and cleared up when they die."""
