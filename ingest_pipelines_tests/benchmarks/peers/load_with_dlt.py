"""dlt with Arrow batches and the upsert strategy, its fastest way into Postgres."""

# mypy: ignore-errors
# It runs in the environment of the tool, not in ours.

import os
import sys

file, url, folder = sys.argv[1:]
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"

import dlt  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.csv as pc  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

TYPES = {
    "customer_id": pa.string(), "full_name": pa.string(), "email": pa.string(), "address": pa.string(),
    "age": pa.int64(), "points": pa.int64(), "balance": pa.decimal128(12, 2), "lifetime_value": pa.decimal128(14, 4),
    "birth_date": pa.date32(), "last_purchase_at": pa.timestamp("us"), "is_active": pa.bool_(),
}  # fmt: skip


@dlt.resource(
    name="customers", primary_key="customer_id", write_disposition={"disposition": "merge", "strategy": "upsert"}
)
def customers():
    if file.endswith(".parquet"):
        yield from pq.ParquetFile(file).iter_batches(batch_size=250_000)
    else:
        convert = pc.ConvertOptions(column_types=TYPES, strings_can_be_null=True)
        for batch in pc.open_csv(file, pc.ReadOptions(block_size=16 << 20), convert_options=convert):
            moment = batch["last_purchase_at"].cast(pa.timestamp("us", tz="UTC"))
            yield batch.set_column(batch.schema.get_field_index("last_purchase_at"), "last_purchase_at", moment)


pipeline = dlt.pipeline(
    "customers", pipelines_dir=folder, destination=dlt.destinations.postgres(url), dataset_name="crm"
)
pipeline.run(customers(), loader_file_format="csv").raise_on_failed_jobs()
