"""What a person did by hand, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest_pipelines.actions.wording import plural
from ingest_pipelines.model import item_name

if TYPE_CHECKING:
    from ingest_pipelines.ledger import AuditEntry


def action_words(entry: AuditEntry) -> str:
    """`loyalty: forced Customers_1767225600.csv (load 12)`."""
    subject = f"{entry.import_name}: " if entry.import_name else ""
    item = f" {item_name(entry.item)}" if entry.item else ""
    detail = _detail(entry)
    return f"{subject}{entry.what}{item}" + (f" ({detail})" if detail else "")


def _detail(entry: AuditEntry) -> str:
    facts = dict(entry.detail)
    match entry.what:
        case "cursor set":
            return f"from {_or_start(facts.get('from'))} to {facts.get('to')}"
        case "forced":
            return f"load {facts.get('load')}"
        case "replayed":
            return f"{facts.get('rows')} rows of load {facts.get('rejects_of')}, as load {facts.get('load')}"
        case "unlocked":
            return "; ".join(_texts(facts.get("changes")))
        case "purged":
            return "; ".join(
                f"{counts['database']}: {plural(int(str(counts['rejects'])), 'reject')}, "
                f"{plural(int(str(counts['events'])), 'event')}"
                for counts in _mappings(facts.get("databases"))
            )
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _or_start(value: object) -> str:
    return "its start" if value is None else str(value)


def _texts(value: object) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list) else []


def _mappings(value: object) -> list[dict[str, object]]:
    return [mapping for mapping in value if isinstance(mapping, dict)] if isinstance(value, list) else []
