"""Sensors: new files, and housekeeping."""
