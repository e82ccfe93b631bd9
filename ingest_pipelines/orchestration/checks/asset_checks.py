"""Asset checks: one per family of rules, and whether the delivery was in time, as large and as clean as usual.

One op judges all checks of an import: a run has one step more, not one per check. (No
`from __future__ import annotations` here: Dagster reads the annotations of checks.)
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import psycopg
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    multi_asset_check,
)

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.ledger import Load
from ingest_pipelines.model import Validated
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.checks.anomaly_checks import Finding, due_within, lateness, reject_rate, volume
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.rules.codes import CODES, FAMILIES, Family

FRESHNESS, VOLUME, REJECT_RATE = "freshness", "volume", "reject_rate"

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
        "dates": any(FIELD_TYPES[field.type].is_date for field in fields),
        "field rules": any(getattr(field, rule) not in (None, False) for field in fields for rule in _OWN_RULES),
        "matching": bound.match is not None,
    }
    return tuple(family for family in FAMILIES if has.get(family, True))


def specs_of(bound: BoundImport) -> list[AssetCheckSpec]:
    """The import's checks."""
    said = {check_name(family): _PROMISES[family] for family in families_of(bound)}
    if bound.spec.source.cursor is None:
        said[VOLUME] = "About as many rows as its items usually have."
        said[REJECT_RATE] = "No larger share of rows was rejected than usual."
    if due_within(bound) is not None:
        said[FRESHNESS] = "The next delivery came when it was due."
    key = asset_key(bound)
    return [AssetCheckSpec(name, asset=key, description=description) for name, description in said.items()]


def checks_of(site: Site, bound: BoundImport) -> AssetChecksDefinition:
    """The import's checks, judged by one op from what the ledger has."""

    @multi_asset_check(name=f"{bound.asset_name}__checks", specs=specs_of(bound), can_subset=True)
    def checks(context: AssetCheckExecutionContext) -> Iterable[AssetCheckResult]:
        """How the item did on every family of rules, and whether the delivery was what is usual."""
        names = {check.name for check in context.selected_asset_check_keys}
        with site.target.session() as connection:
            yield from _judged(connection, site, bound, names, context.op_execution_context.run_id)

    return checks


def verdict(key: AssetKey, family: Family, codes: Mapping[str, int], *, failed: bool) -> AssetCheckResult:
    """Passed if no row broke a rule of the family; else a warning where the load went on, an error where it failed."""
    rows_of = {code: codes.get(code, 0) for code in FAMILIES[family]}
    broken = {code: rows for code, rows in rows_of.items() if rows}
    return AssetCheckResult(
        asset_key=key,
        check_name=check_name(family),
        passed=not broken,
        severity=AssetCheckSeverity.ERROR if failed else AssetCheckSeverity.WARN,
        description="; ".join(f"{_said(rows)}: {CODES[code][1]}" for code, rows in broken.items()) or None,
        metadata=dict(rows_of),  # zeros as well: its page plots them
    )


def delivery_verdict(key: AssetKey, name: str, finding: Finding) -> AssetCheckResult:
    """A finding as a check's result: never more than a warning, for the rows are in place."""
    return AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=finding.passed,
        severity=AssetCheckSeverity.WARN,
        description=finding.words or None,
        metadata=dict(finding.numbers),
    )


def _judged(
    connection: psycopg.Connection, site: Site, bound: BoundImport, names: set[str], run_id: str
) -> Iterator[AssetCheckResult]:
    """The checks of one import, for this run's item; for its last one where nothing was loaded in this run."""
    key = asset_key(bound)
    loads = _loads(connection, bound, run_id)
    codes = Counter[str]()
    for load in loads:
        codes.update(load.codes)
    failed = any(load.status in {"failed", "refused"} for load in loads)
    for family in families_of(bound):
        if check_name(family) in names:
            yield verdict(key, family, codes, failed=failed)
    for name, finding in findings(connection, bound, loads, site).items():
        if name in names:
            yield delivery_verdict(key, name, finding)


def findings(
    connection: psycopg.Connection, bound: BoundImport, loads: Iterable[Load], site: Site
) -> dict[str, Finding]:
    """Whether the delivery was in time, as large and as clean as usual."""
    found: dict[str, Finding] = {}
    due = due_within(bound)
    if due is not None:
        found[FRESHNESS] = lateness(ledger.last_settled(connection, bound.name), due, site.clock())
    items = {load.item for load in loads}
    past = ledger.deliveries(connection, bound.name)
    this = [delivery for delivery in past if delivery.item in items]
    before = [delivery for delivery in past if delivery.item not in items]
    if this:
        found[VOLUME] = volume(this[0].read, before, bound.spec.volume)
        found[REJECT_RATE] = reject_rate(this[0].read, this[0].rejected, before)
    elif bound.spec.source.cursor is None:
        unjudged = Finding(True, "the item was not loaded as a whole delivery, and is not compared")
        found |= {VOLUME: unjudged, REJECT_RATE: unjudged}
    return found


def findings_of_refused(
    connection: psycopg.Connection, bound: BoundImport, validated: Validated, site: Site
) -> dict[str, Finding]:
    """The same for an item that has more rejects than the import allows, and has no load yet."""
    found = findings(connection, bound, [], site)
    if bound.spec.source.cursor is None:
        item = validated.landing.item.key
        before = [delivery for delivery in ledger.deliveries(connection, bound.name) if delivery.item != item]
        found[VOLUME] = volume(validated.read, before, bound.spec.volume)
        found[REJECT_RATE] = reject_rate(validated.read, validated.rejected_rows, before)
    return found


def _loads(connection: psycopg.Connection, bound: BoundImport, run_id: str) -> list[Load]:
    own = [load for load in ledger.loads_of_run(connection, run_id) if load.import_name == bound.name]
    return own or ledger.recent_loads(connection, bound.name, last=1)


def _said(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"
