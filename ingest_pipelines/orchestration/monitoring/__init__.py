"""On call: which items are not in the table and why, and whether everything that loads them is alive."""
