"""Other tools at the same work, each in a virtual environment of its own under the state folder.

A peer's script runs in that environment, so it imports nothing of ours: `python SCRIPT FILE URL FOLDER` loads one file
into `crm.customers` of the database, matching by `customer_id`, the fastest way that the tool documents. FOLDER is the
tool's working directory, kept between the load that makes its table and the load that is measured.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Peer:
    """A tool and how to run it.

    Attributes:
        requirements: pinned, so that a result says what was measured.
        takes: the file format it is given.
        own_table: it insists on making the table itself; then it loads the starting rows too, unmeasured.
        slow: loads once instead of every round, and nothing above one million rows.
        far_behind: it takes part in two rounds only; it needs about twice our time, which no noise hides.
        fills: it can load into an empty table. dbmerge joins with it row by row and was not done after ten minutes.
    """

    name: str
    environment: str
    requirements: tuple[str, ...]
    script: str
    takes: Literal["csv", "parquet"] = "csv"
    own_table: bool = False
    slow: bool = False
    far_behind: bool = False
    fills: bool = True


_DLT = ("dlt[postgres]==1.31.0", "pyarrow==26.0.1")
_INGESTR = ("ingestr==1.1.15",)  # the last one whose wheel holds the program; later ones fetch it when they first run
_SLING = ("sling-linux-amd64==1.4.11",)
_DBMERGE = ("dbmerge==2.0.1", "polars==2.1.0", "psycopg2-binary==2.9.13")
_PANDAS = ("pandas==3.1.1", "sqlalchemy==2.1.9", "psycopg[binary]==3.3.9")

PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("dlt, parquet", "dlt", _DLT, "load_with_dlt.py", takes="parquet", own_table=True, far_behind=True),
        Peer("dlt, csv", "dlt", _DLT, "load_with_dlt.py", own_table=True, far_behind=True),
        Peer("ingestr", "ingestr", _INGESTR, "load_with_ingestr.py", own_table=True),
        Peer("sling", "sling", _SLING, "load_with_sling.py", far_behind=True),
        Peer("dbmerge", "dbmerge", _DBMERGE, "load_with_dbmerge.py", slow=True, fills=False),
        Peer("pandas", "pandas", _PANDAS, "load_with_pandas.py", slow=True),
    )
}


def install(peer: Peer, folder: Path, uv: Path) -> Path:
    """The interpreter of the peer's environment, made on first use.

    Raises:
        subprocess.CalledProcessError: it does not install here.
    """
    environment = folder / peer.environment
    python = environment / "bin" / "python"
    done = environment / "requirements.txt"
    wanted = "\n".join(peer.requirements)
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", "3.11", environment], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *peer.requirements], check=True)
        done.write_text(wanted)
    return python


def command(peer: Peer, python: Path, file: Path, url: str, folder: Path) -> list[str]:
    """The command that loads one file."""
    return [str(python), str(Path(__file__).parent / peer.script), str(file), url, str(folder)]
