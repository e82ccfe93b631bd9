"""THE STORY: an item is landed, its rows are validated, the accepted ones are merged.

    Item -> land -> Landing -> validate -> Validated -> load -> LoadReport

A cursor's item is a drain of several chunks: each goes that way by itself, until one is empty. Dagster's ops, its IO
manager and `ingest plan` call these functions. Each can be repeated at any time: only `load` changes the target, in
one transaction, and it asks the ledger first.

That transaction may begin early. A caller that wants this opens the load itself (`merge/early_load.py`), passes it to
`validate`, which feeds it, and to `load`, which commits it or rolls it back. Until then nobody else sees its rows.

    steps       land, validate, check_rejects, load: what is done with one item, or with one chunk
    query_step  the part of `land` that reads a query: where a chunk ends, and whether its source can be trusted
    receipt     the answer to a delivered file, beside it
    drain       a cursor's chunks, one after another
    forgetting  people erased and kept out
"""

from ingest_pipelines.merge import record_failure
from ingest_pipelines.pipeline.drain import drain, is_overtaken, next_chunk
from ingest_pipelines.pipeline.forgetting import forget, look_for, remember, spellings
from ingest_pipelines.pipeline.query_step import has_nothing_new
from ingest_pipelines.pipeline.receipt import is_answered, write_receipt
from ingest_pipelines.pipeline.steps import check_rejects, find_suppressed, land, load, validate

__all__ = [
    "check_rejects",
    "drain",
    "find_suppressed",
    "forget",
    "has_nothing_new",
    "is_answered",
    "is_overtaken",
    "land",
    "load",
    "look_for",
    "next_chunk",
    "record_failure",
    "remember",
    "spellings",
    "validate",
    "write_receipt",
]
