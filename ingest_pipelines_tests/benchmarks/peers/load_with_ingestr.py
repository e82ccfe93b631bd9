"""ingestr with its merge strategy; the types are given, so that it neither guesses nor reads the file twice."""

# mypy: ignore-errors
# It runs in the environment of the tool, not in ours.

import os
import sys
from pathlib import Path

file, url, folder = sys.argv[1:]
os.environ |= {"HOME": folder, "DISABLE_TELEMETRY": "true", "TELEMETRY_OPTOUT": "true"}
program = str(Path(sys.executable).parent / "ingestr")
columns = (
    "customer_id:varchar(64),full_name:varchar(100),email:varchar(120),address:varchar(200),age:bigint,points:bigint,"
    "balance:decimal(12,2),lifetime_value:decimal(14,4),birth_date:date,last_purchase_at:timestamp,is_active:boolean"
)
os.execv(
    program,
    [program, "ingest", "--yes", "--progress=log", f"--source-uri=csv://{file}", "--source-table=customers",
     f"--dest-uri={url}?sslmode=disable", "--dest-table=crm.customers", "--incremental-strategy=merge",
     "--primary-key=customer_id", f"--columns={columns}", "--no-inference", "--no-load-timestamp"],
)  # fmt: skip
