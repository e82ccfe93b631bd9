"""Metadata of loads for the Dagster UI: counts that it can plot, rejects as a table, the next command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace

from dagster import MetadataValue, TableColumn, TableColumnConstraints, TableRecord, TableSchema

from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge import column_type
from ingest_pipelines.model import Counts, LoadReport, RejectSample, part_and_line
from ingest_pipelines.orchestration.assets.lineage import column_lineage, rules_of
from ingest_pipelines.orchestration.assets.markdown import block, bullets, code, plain
from ingest_pipelines.orchestration.value_shape import printable_cursor, shape
from ingest_pipelines.rules.codes import CODES

SAMPLES = 20
"""Rejects that the page shows; `ingest.rejects` has all of them."""


def combined_report(reports: Sequence[LoadReport]) -> LoadReport:
    """One report of all loads of a run, such as the chunks of a drain."""
    if len(reports) == 1:
        return reports[0]
    last = reports[-1]
    codes, seconds = Counter[str](), Counter[str]()
    counts = Counter[str]()
    cleaned: dict[str, Counter[str]] = {}
    for report in reports:
        counts.update(asdict(report.counts))
        codes.update(report.codes)
        seconds.update(report.seconds)
        for name, words in report.cleaned.items():
            cleaned.setdefault(name, Counter()).update(words)
    return replace(
        last,
        counts=Counts(**counts),
        codes=dict(codes),
        absent=sum(report.absent for report in reports),
        seconds=dict(seconds),
        kept=sum(report.kept for report in reports),
        healed=sum(report.healed for report in reports),
        cleaned={name: dict(words) for name, words in cleaned.items()},
        suppressed=sum(report.suppressed for report in reports),
        ddl=tuple(statement for report in reports for statement in report.ddl),
        samples=tuple(sample for report in reports for sample in report.samples)[:SAMPLES],
        warnings=tuple(dict.fromkeys(warning for report in reports for warning in report.warnings)),
        cursor_to=next((report.cursor_to for report in reversed(reports) if report.cursor_to is not None), None),
    )


def report_metadata(report: LoadReport, bound: BoundImport) -> dict[str, MetadataValue]:
    """Metadata of a load."""
    shown: dict[str, MetadataValue] = {"status": MetadataValue.text(report.status)}
    shown |= findings_metadata(report, bound)
    if report.load_id is not None:
        shown["load"] = MetadataValue.int(report.load_id)
    if report.cursor_to is not None:
        shown["cursor_to"] = MetadataValue.text(printable_cursor(report.cursor_to))
    if report.counts.rejected:
        shown["next"] = MetadataValue.text(f"every rejected row with its reasons: ingest rejects export {bound.name}")
    return shown


def plan_metadata(report: LoadReport, bound: BoundImport) -> dict[str, MetadataValue]:
    """Metadata of a dry run, without any entry that reads as if it had been loaded."""
    shown = findings_metadata(report, bound)
    if report.status == "committed":
        shown["next"] = MetadataValue.md(f"{code(f'ingest run {bound.name} --item {report.item_key}')} applies it")
    return shown


def findings_metadata(report: LoadReport, bound: BoundImport) -> dict[str, MetadataValue]:
    """A load's reason, counts, timings, statements, warnings, and samples of its rejects."""
    shown: dict[str, MetadataValue] = {}
    if report.reason:
        shown["reason"] = MetadataValue.text(report.reason)
    shown |= {name: MetadataValue.int(rows) for name, rows in asdict(report.counts).items()}
    if bound.spec.snapshot:
        shown["absent"] = MetadataValue.int(report.absent)
    shown |= {
        name: MetadataValue.int(rows) for name, rows in (("kept", report.kept), ("healed", report.healed)) if rows
    }
    if report.suppressed:
        shown["suppressed"] = MetadataValue.int(report.suppressed)
    shown |= {f"seconds/{stage}": MetadataValue.float(round(seconds, 3)) for stage, seconds in report.seconds.items()}
    shown |= {
        f"cleaned/{name}/{word}": MetadataValue.int(cells)
        for name, words in report.cleaned.items()
        for word, cells in words.items()
    }
    if report.ddl:
        shown["ddl"] = MetadataValue.md(block(";\n".join(report.ddl), "sql"))
    if report.warnings:
        shown["warnings"] = MetadataValue.md(bullets(report.warnings))
    if report.samples:
        shown["rejects"] = _reject_table(report.samples, bound)
    return shown


def definition_metadata(bound: BoundImport) -> dict[str, MetadataValue]:
    """Metadata of the asset itself, which its page shows before the first load: the table and its columns."""
    return {
        "dagster/table_name": MetadataValue.text(".".join(bound.database.schema_and_table)),
        "dagster/column_schema": MetadataValue.table_schema(column_schema(bound)),
    }


def table_metadata(report: LoadReport, bound: BoundImport, uri: str) -> dict[str, MetadataValue]:
    """Metadata of a materialization: its rows in the table, its source's columns, the item's address."""
    return {
        "dagster/partition_row_count": MetadataValue.int(
            report.counts.inserted + report.counts.updated + report.counts.unchanged
        ),
        "dagster/column_lineage": MetadataValue.column_lineage(column_lineage(bound)),
        "uri": MetadataValue.text(uri),
    }


def column_schema(bound: BoundImport) -> TableSchema:
    """The table's columns that this import fills, each with its source column."""
    return TableSchema(
        [
            TableColumn(
                mapped.name,
                type=column_type(mapped.field),
                description=plain(" ".join(filter(None, (mapped.field.description, f"from {mapped.column}")))),
                constraints=TableColumnConstraints(
                    nullable=mapped.name != bound.database.key,
                    unique=mapped.name == bound.database.key,
                    other=rules_of(mapped.field),
                ),
            )
            for mapped in bound.fields
        ]
    )


def _reject_table(samples: Sequence[RejectSample], bound: BoundImport) -> MetadataValue:
    """Rejects as a table. Values and keys are shown as they are only where their fields say `pii: false`."""
    public = {mapped.name for mapped in bound.fields if mapped.field.pii is False}
    of_parts = any(part_and_line(sample.line)[0] is not None for sample in samples)
    key_is_public = bound.match is None and bound.database.key in public
    records = [
        TableRecord(
            {
                **_place(sample.line, of_parts=of_parts),
                "key": _shown(sample.key, is_public=key_is_public),
                "field": sample.field,
                "code": sample.code,
                "reason": _reason(sample),
                "value": _shown(sample.value, is_public=sample.field in public),
            }
        )
        for sample in samples[:SAMPLES]
    ]
    numbers = ("part", "line") if of_parts else ("line",)
    columns = (*numbers, "key", "field", "code", "reason", "value")
    schema = TableSchema([TableColumn(column, type="int" if column in numbers else "string") for column in columns])
    return MetadataValue.table(records, schema)


def _place(line: int, *, of_parts: bool) -> dict[str, int]:
    part, own = part_and_line(line)
    return {"part": part or 0, "line": own} if of_parts else {"line": own}


def _shown(value: str | None, *, is_public: bool) -> str:
    return "" if value is None else value if is_public else shape(value)


def _reason(sample: RejectSample) -> str:
    """Why the row was rejected. The merge's reasons may name a contact or profiles, so their meaning is shown."""
    family, meaning = CODES.get(sample.code, ("types", sample.reason))
    return meaning if family == "matching" else sample.reason
