"""Field types and rules: an import's rules compiled once, its rows judged in one pass."""

from ingest_pipelines.rules.compile import Rules, compile_rules
from ingest_pipelines.rules.judge import Ahead, judge

__all__ = ["Ahead", "Rules", "compile_rules", "judge"]
