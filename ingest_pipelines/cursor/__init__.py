"""A query's cursor: a drain reads the rows in the order of one column, in chunks, and loses none.

The words, as other tools for incremental loads have them:

    initial      `cursor.start` in the YAML: the value before the first row
    committed    the value in `ingest.cursors`: every row up to it has been loaded
    lag          how far before the committed value a drain starts, for rows that become visible late
    upper bound  with a lag: how far a drain may move the committed value, its source's largest value at the beginning

A drain starts at the initial value, or at the committed one less the lag. It reads chunks of at most LIMIT rows, each
after the last value of the one before, until a chunk is empty. The ledger keeps both ends of a chunk: the columns
`cursor_from` (exclusive) and `cursor_to` of `ingest.loads`. A chunk ends only where no row can be missing before its
last value; "Why a cursor loses no row" in docs/loading.md has the argument. Each chunk moves the committed value in
its own load's transaction, never back.

Read on in this order: `values`, `bounds` (where a chunk starts, what it commits), `column` (a result's column as
values), `chunk` (where a chunk ends). What is SQL stays where SQL is written and asks this package: the query's text
(`sources/cursor_query.py`), the ledger's table (`ledger/cursors.py`), the check under the table's lock (`merge/`).
"""
