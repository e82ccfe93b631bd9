"""Loads killed and cut thousands of times: the target is as before the load or as after it. `make torture`."""
