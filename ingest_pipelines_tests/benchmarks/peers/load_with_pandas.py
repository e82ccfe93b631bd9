"""What many scripts do: read_csv, to_sql into a staging table, one INSERT ... ON CONFLICT."""

# mypy: ignore-errors
# It runs in the environment of the tool, not in ours.

import sys

import pandas as pd
from sqlalchemy import create_engine, text

file, url, _ = sys.argv[1:]
frame = pd.read_csv(file, parse_dates=["birth_date", "last_purchase_at"], dtype={"customer_id": "string"})
engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
columns = ", ".join(frame.columns)
changes = ", ".join(f"{name} = excluded.{name}" for name in frame.columns if name != "customer_id")
with engine.begin() as connection:
    connection.execute(
        text(f"CREATE TEMP TABLE stage ON COMMIT DROP AS SELECT {columns} FROM crm.customers WITH NO DATA")
    )
    frame.to_sql("stage", connection, if_exists="append", index=False, chunksize=50_000)
    connection.execute(
        text(
            f"INSERT INTO crm.customers ({columns}) SELECT {columns} FROM stage "
            f"ON CONFLICT (customer_id) DO UPDATE SET {changes}"
        )
    )
