"""Alerts: which conditions are wrong, who has been told, and how a message is sent."""
