"""Field types and rules: an import's rules are compiled once, and all its rows are validated in one pass."""

from ingest_pipelines.rules.compile import Rules, compile_rules
from ingest_pipelines.rules.identities import identity_texts
from ingest_pipelines.rules.validate import ChunkConsumer, validate_rows

__all__ = ["ChunkConsumer", "Rules", "compile_rules", "identity_texts", "validate_rows"]
