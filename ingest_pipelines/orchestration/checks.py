"""Asset checks: one per family of rules, saying how the last item did on it."""

from __future__ import annotations

from collections.abc import Mapping

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, AssetKey

from ingest_pipelines.config import BoundImport
from ingest_pipelines.rules.codes import CODES, FAMILIES, Family

_PROMISES: Mapping[Family, str] = {
    "keys": "Every row has its match key, and no key comes twice.",
    "types": "Every value is what its field's type accepts.",
    "dates": "No date before 1753, and none of the dates that systems write when they know none.",
    "text": "No value is too long or holds characters that the database does not take.",
    "field rules": "The fields' own rules: required, min, max, pattern, one_of, unique.",
    "matching": "Every row matches one profile, and no two rows the same one.",
}
_OWN_RULES = ("required", "min", "max", "pattern", "one_of", "unique")


def check_name(family: Family) -> str:
    """The family's name as Dagster takes it."""
    return family.replace(" ", "_")


def families_of(bound: BoundImport) -> tuple[Family, ...]:
    """The families that the import has rules in."""
    fields = [mapped.field for mapped in bound.fields]
    has: dict[Family, bool] = {
        "dates": any(field.type in {"date", "datetime"} for field in fields),
        "field rules": any(getattr(field, rule) not in (None, False) for field in fields for rule in _OWN_RULES),
        "matching": bound.match is not None,
    }
    return tuple(family for family in FAMILIES if has.get(family, True))


def specs_of(bound: BoundImport, key: AssetKey) -> list[AssetCheckSpec]:
    """One check per family."""
    return [
        AssetCheckSpec(check_name(family), asset=key, description=_PROMISES[family]) for family in families_of(bound)
    ]


def verdict(family: Family, codes: Mapping[str, int], *, failed: bool) -> AssetCheckResult:
    """Passed if no row broke a rule of the family; else a warning where the load went on, an error where it failed."""
    broken = {code: rows for code in FAMILIES[family] if (rows := codes.get(code, 0))}
    return AssetCheckResult(
        check_name=check_name(family),
        passed=not broken,
        severity=AssetCheckSeverity.ERROR if failed else AssetCheckSeverity.WARN,
        description="; ".join(f"{rows} rows: {CODES[code][1]}" for code, rows in broken.items()) or None,
        metadata=dict(broken),
    )
