"""The server's side of Oracle Net and TTC 12.1, as far as python-oracledb's thin mode uses it to read."""
