"""The server's side of TDS 7.4, the protocol of SQL Server, as far as drivers use it to read."""
