"""Where the files that are deployed stand."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

STATE = "/var/lib/ingest"
"""The state folder of every deployment."""


def dagster_home(folder: Path, profile: str = "machine/dagster.yaml") -> Path:
    """A DAGSTER_HOME with a deployed dagster.yaml, whose files stay below `folder`."""
    home = folder / "dagster"
    home.mkdir(parents=True)
    text = (DEPLOY / profile).read_text(encoding="utf-8")
    (home / "dagster.yaml").write_text(text.replace(STATE, str(folder / "state")), encoding="utf-8")
    return home
