"""Field types and rules: an import's rules compiled once, its rows judged in one pass."""

from ingest_pipelines.rules.compile import Rules, compile_rules
from ingest_pipelines.rules.judge import judge

__all__ = ["Rules", "compile_rules", "judge"]
