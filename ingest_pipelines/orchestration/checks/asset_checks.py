"""Asset checks: one per family of rules, and the anomaly checks freshness, volume and reject rate.

One op evaluates all checks of an import: a run has one step more, not one per check. (No
`from __future__ import annotations` here: Dagster reads the annotations of checks.)
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import psycopg
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    In,
    Nothing,
    OpDefinition,
    Out,
    op,
)

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.errors import IngestError
from ingest_pipelines.ledger import Load
from ingest_pipelines.model import Validated
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.checks.anomaly_checks import (
    Finding,
    expected_within,
    last_delivery,
    lateness,
    new_columns,
    reject_rate,
    volume,
)
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.rules.codes import CODES, FAMILIES, Family

FRESHNESS, VOLUME, REJECT_RATE, COLUMNS = "freshness", "volume", "reject_rate", "columns"

CHECKS = "__checks"
"""Ends the name of the op that evaluates an import's checks; it begins with that of the import's graph."""

_INS = {"item": In(Nothing)}
"""The checks wait for the import's asset."""

_PROMISES: Mapping[Family, str] = {
    "keys": "Every row has its match key, and no key occurs twice.",
    "types": "Every value is valid for its field's type.",
    "dates": "No date is before 1753, and none is a date that systems write for an unknown one.",
    "text": "No value is too long or has characters that the database does not accept.",
    "field rules": "The fields' own rules: required, min, max, pattern, one_of, unique.",
    "matching": "Every row matches exactly one profile, and no two rows match the same one.",
    "table": "No constraint and no trigger of the table refuses a row.",
}
_CHECKED_BY_MERGE = {"matching", "table"}
_OWN_RULES = ("required", "min", "max", "pattern", "one_of", "unique")


def check_name(family: Family) -> str:
    """The family's name as Dagster takes it."""
    return family.replace(" ", "_")


def families_of(bound: BoundImport) -> tuple[Family, ...]:
    """The families in which the import has rules."""
    fields = [mapped.field for mapped in bound.fields]
    has: dict[Family, bool] = {
        "dates": any(FIELD_TYPES[field.type].is_date for field in fields),
        "field rules": any(getattr(field, rule) not in (None, False) for field in fields for rule in _OWN_RULES),
        "matching": bound.match is not None,
    }
    return tuple(family for family in FAMILIES if has.get(family, True))


def specs_of(bound: BoundImport) -> list[AssetCheckSpec]:
    """The import's checks."""
    promises = {check_name(family): _PROMISES[family] for family in families_of(bound)}
    if bound.spec.source.cursor is None:
        promises[VOLUME] = "The delivery has about as many rows as usual."
        promises[REJECT_RATE] = "The share of rejected rows is no larger than usual."
    promises[COLUMNS] = "The source has no column that is new, so nothing in it is left out unnoticed."
    if expected_within(bound) is not None:
        promises[FRESHNESS] = "The next delivery is not overdue."
    key = asset_key(bound)
    return [AssetCheckSpec(name, asset=key, description=description) for name, description in promises.items()]


def checks_of(site: Site, imports: Iterable[BoundImport]) -> Iterator[AssetChecksDefinition]:
    """The checks of each import, evaluated by an op of its own from the ledger.

    The ops differ in their name and their checks; what Dagster finds out about their function, it finds out once.
    """
    evaluate = _checks_op(site)
    for bound in imports:
        specs = {spec.name: spec for spec in specs_of(bound)}
        outs = {name: Out(None, is_required=False) for name in specs}
        yield AssetChecksDefinition.create(
            node_def=evaluate.with_replaced_properties(f"{bound.asset_name}{CHECKS}", ins=_INS, outs=outs),
            keys_by_input_name=dict.fromkeys(_INS, asset_key(bound)),
            check_specs_by_output_name=specs,
            can_subset=True,
        )


def _checks_op(site: Site) -> OpDefinition:
    """The op of the checks of the import that its name begins with."""

    @op(ins=_INS, out={})
    def checks(context: AssetCheckExecutionContext) -> Iterable[AssetCheckResult]:
        """The item's result in every family of rules, and whether the delivery was as usual."""
        op_context = context.op_execution_context
        bound = site.bound(op_context.op_def.name.removesuffix(CHECKS))
        names = {check.name for check in context.selected_asset_check_keys}
        with site.target.session() as connection:
            yield from _evaluated(connection, site, bound, names, op_context.run_id)

    return checks


def verdict(key: AssetKey, family: Family, codes: Mapping[str, int], *, failed: bool) -> AssetCheckResult:
    """Passed if no row broke a rule of the family; else a warning if the load was committed, an error if it failed."""
    rows_of = {code: codes.get(code, 0) for code in FAMILIES[family]}
    broken = {code: rows for code, rows in rows_of.items() if rows}
    return AssetCheckResult(
        asset_key=key,
        check_name=check_name(family),
        passed=not broken,
        severity=AssetCheckSeverity.ERROR if failed else AssetCheckSeverity.WARN,
        description="; ".join(f"{_rows(rows)}: {CODES[code][1]}" for code, rows in broken.items()) or None,
        metadata=dict(rows_of),  # zeros too: the check's page plots them
    )


def delivery_verdict(key: AssetKey, name: str, finding: Finding) -> AssetCheckResult:
    """A finding as a check's result: never more than a warning, because the rows are in the table."""
    return AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=finding.passed,
        severity=AssetCheckSeverity.WARN,
        description=finding.words or None,
        metadata=dict(finding.numbers),
    )


def _evaluated(
    connection: psycopg.Connection, site: Site, bound: BoundImport, names: set[str], run_id: str
) -> Iterator[AssetCheckResult]:
    """The checks of one import, for this run's item; for the last item if this run loaded none."""
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
    connection: psycopg.Connection, bound: BoundImport, loads: Sequence[Load], site: Site
) -> dict[str, Finding]:
    """The anomaly checks of the delivery."""
    results = {COLUMNS: new_columns([column for load in loads for column in load.new_columns])}
    due = expected_within(bound)
    if due is not None:
        check = ledger.list_source_checks(connection).get(bound.name) if bound.spec.source.cursor is not None else None
        last = last_delivery(bound, ledger.last_settled(connection, bound.name), check)
        results[FRESHNESS] = lateness(last, due, site.clock())
    items = {load.item for load in loads}
    past = ledger.deliveries(connection, bound.name) if bound.spec.source.cursor is None else []
    this = [delivery for delivery in past if delivery.item in items]
    before = [delivery for delivery in past if delivery.item not in items]
    if this:
        results[VOLUME] = volume(this[0].read, before, bound.spec.volume)
        results[REJECT_RATE] = reject_rate(this[0].read, this[0].rejected, before)
    elif bound.spec.source.cursor is None:
        not_compared = Finding(True, "not compared: the item was not loaded as a whole delivery")
        results |= {VOLUME: not_compared, REJECT_RATE: not_compared}
    return results


def results_without_a_step(site: Site, bound: BoundImport, validated: Validated | None) -> Iterator[AssetCheckResult]:
    """The checks of an item whose run fails before their step, as far as they can tell; the others pass, and say why.

    Args:
        validated: None where the item failed before its rows were validated.
    """
    key = asset_key(bound)
    known: dict[str, AssetCheckResult] = {}
    if validated is not None:
        families = [family for family in families_of(bound) if family not in _CHECKED_BY_MERGE]
        of_rows = [verdict(key, family, validated.codes, failed=True) for family in families]
        known = {str(result.check_name): result for result in of_rows}
    with suppress(IngestError, psycopg.Error):  # the item's own error is the one to tell
        for name, finding in _findings_of_failed(site, bound, validated).items():
            known[name] = delivery_verdict(key, name, finding)
    for spec in specs_of(bound):
        not_checked = AssetCheckResult(
            asset_key=key, check_name=spec.name, passed=True,
            description="not checked: the item failed before that; its partition says why",
        )  # fmt: skip
        yield known.get(spec.name, not_checked)


def _findings_of_failed(site: Site, bound: BoundImport, validated: Validated | None) -> dict[str, Finding]:
    """The anomaly checks of an item that is not loaded: of its rows, as far as they were validated."""
    with site.target.session() as connection:
        results = findings(connection, bound, [], site)
        del results[COLUMNS]  # only a load knows them
        if validated is not None and bound.spec.source.cursor is None:
            item = validated.landing.item.key
            before = [delivery for delivery in ledger.deliveries(connection, bound.name) if delivery.item != item]
            results[VOLUME] = volume(validated.read, before, bound.spec.volume)
            results[REJECT_RATE] = reject_rate(validated.read, validated.rejected_rows, before)
    return results


def _loads(connection: psycopg.Connection, bound: BoundImport, run_id: str) -> list[Load]:
    own = [load for load in ledger.loads_of_run(connection, run_id) if load.import_name == bound.name]
    return own or ledger.recent_loads(connection, bound.name, last=1)


def _rows(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"
