"""dbmerge from a typed Polars frame, all steps in one transaction."""

# mypy: ignore-errors
# It runs in the environment of the tool, not in ours.

import sys

import polars as pl
from dbmerge import dbmerge
from sqlalchemy import create_engine

file, url, _ = sys.argv[1:]
frame = pl.read_csv(file, infer_schema=False).with_columns(
    pl.col("age", "points").cast(pl.Int64),
    pl.col("balance").str.to_decimal(scale=2),
    pl.col("lifetime_value").str.to_decimal(scale=4),
    pl.col("birth_date").str.to_date("%Y-%m-%d"),
    pl.col("last_purchase_at").str.to_datetime("%Y-%m-%d %H:%M:%S", time_zone="UTC"),
    pl.col("is_active") == "true",
)
engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
with dbmerge(engine=engine, data=frame, schema="crm", table_name="customers", key=["customer_id"]) as merge:
    merge.exec(commit_all_steps=False)
