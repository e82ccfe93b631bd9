"""The packaged demo: a shop's customer database, three feeds, and deliveries with known defects."""
