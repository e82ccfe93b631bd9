"""What a load costs, beside the floor that psql sets and beside other tools. `make bench` runs it."""
