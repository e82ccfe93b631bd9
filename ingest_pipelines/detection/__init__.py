"""How a file or a column can be read, found in a sample of it by the code that imports read with.

Nothing is guessed in silence: where two readings of the sample differ, a `Choose` decides, which asks a person.
"""

from ingest_pipelines.detection.columns import Suggestion, rules_of_type, suggestions
from ingest_pipelines.detection.fields import match_fields
from ingest_pipelines.detection.layout import detect_file
from ingest_pipelines.detection.parts import PartsProposal, detect_parts
from ingest_pipelines.detection.reading import Choose, Option, Reading

__all__ = [
    "Choose",
    "Option",
    "PartsProposal",
    "Reading",
    "Suggestion",
    "detect_file",
    "detect_parts",
    "match_fields",
    "rules_of_type",
    "suggestions",
]  # fmt: skip
