"""What a load does not import: Arrow imports all of pandas for some conversions, half a second of every run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
from ingest_pipelines.merge.copy import repeated
from ingest_pipelines.model import Workspace
from ingest_pipelines.pipeline import land, validate
from ingest_pipelines.sources import open_upload
from ingest_pipelines.sources.files import item_of
from ingest_pipelines_tests.merge.deliveries import NOW, bound_import

folder, file = Path(sys.argv[1]), Path(sys.argv[1]) / "Points.csv"
source = {"connection": "files", "limits": {"max_cell_bytes": 100}}
bound = bound_import(rejects={"unlimited": True}, source=source)
with open_upload(file) as upload:
    item = item_of("loyalty", upload.stat(str(file)), upload.uri(str(file)), kind="upload")
validated = validate(land(item, bound, Workspace(folder, folder), NOW), bound, Workspace(folder, folder))
print(validated.read, validated.rejected_rows, repeated(7, 3).to_pylist(), "pandas" in sys.modules)
"""


def test_cells_with_line_breaks_and_rejects_need_no_pandas(tmp_path: Path) -> None:
    rows = "".join(f'c{number},"two\nlines",{number}\n' for number in range(50))
    (tmp_path / "Points.csv").write_text(f"CID,Tier,Points\n{rows}x,,many\n")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said == "51 1 [7, 7, 7] False\n"
