"""The state of one load: what the steps of `apply` hand to each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from time import perf_counter
from typing import Literal

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import CountsDisagree, LoadError, RejectsAboveLimit
from ingest_pipelines.merge.key_filter import KeyFilter
from ingest_pipelines.merge.mapping import new_columns_warning
from ingest_pipelines.merge.preconditions import fingerprint, verdict
from ingest_pipelines.merge.shape import TableShape
from ingest_pipelines.merge.stage import Stage
from ingest_pipelines.merge.stage_rejects import SAMPLES, Matched
from ingest_pipelines.merge.waiting_rows import WaitingRows, waiting_warnings
from ingest_pipelines.model import Counts, LoadReport, LoadStatus, Run, Validated


def suppressed_words(rows: int) -> str:
    """The warning about rows that were left out because their people were forgotten."""
    what = "1 row is of a person" if rows == 1 else f"{rows:,} rows are of people"
    return f"{what} whom `ingest forget` keeps out, and {'was' if rows == 1 else 'were'} skipped"


@dataclass
class LoadState:
    """One load under way.

    Attributes:
        problem: why a dry run's item would not be merged. Any other load stops there.
        matched: rows that the look-up of profiles took out of the stage.
        early: how far an early load had brought the accepted rows before `apply` was called.
        key_filter: the target's keys, in an early load: rows whose keys are certainly new are copied, not merged.
        copied: rows that were copied into the table.
        shape: the target table before the first row is written.
        made_table: this load created it.
        late_key: the name of its key's constraint, while it is dropped; or "".
        changed_at: when the load changes profiles, by the target's clock, while it has the table's lock; only of a
            database with a history.
        alone: the second try of a load: other writers are locked out of the table, because one was in the way.
        first_refusal: the SQLSTATE with which the table refused rows of the first try; "" in that try. The second try
            searches for these rows.
        first_try_seconds: how long that try took.
        order_advice: of a dry run: that the table lies in another order than its key's, and what that costs; or "".
        deleted: profiles that the rows of a list of keys deleted.
        absent: profiles that a full file has no longer, and that were deleted or marked; kept_absent: that were left as
            they are, because rows of the file were rejected.
        profiles_before: how many the table had, where profiles may be deleted or marked.
        stale: rows taken out of the stage because they are older than their profile.
        consented: profiles of which only subscriptions changed.
        kept: unmatched rows that wait for their profiles from now on.
        kept_new: those of them that bring something new.
        kept_all_it_may: there were more unmatched rows than may wait.
        waiting: rows of any import that wait for profiles of the target.
        healed: how many of them were applied.
        outdated: how many were older than their profiles, and dropped.
        unhealed: how many the target refused, because of heal_problem.
    """

    validated: Validated
    bound: BoundImport
    run: Run
    now: datetime
    load: int = 0
    problem: LoadError | None = None
    ddl: tuple[str, ...] = ()
    matched: Matched = field(default_factory=Matched)
    early: Literal["", "staged", "merged"] = ""
    key_filter: KeyFilter | None = None
    copied: int = 0
    shape: TableShape = field(default_factory=TableShape)
    made_table: bool = False
    late_key: str = ""
    changed_at: datetime | None = None
    alone: bool = False
    first_refusal: str = ""
    first_try_seconds: float = 0.0
    order_advice: str = ""
    new_columns: tuple[str, ...] = ()
    stale: int = 0
    inserted: int = 0
    updated: int = 0
    unmatched: int = 0
    consented: int = 0
    deleted: int = 0
    absent: int = 0
    kept_absent: int = 0
    profiles_before: int = 0
    kept: int = 0
    kept_new: int = 0
    kept_all_it_may: bool = False
    waiting: tuple[WaitingRows, ...] = ()
    healed: int = 0
    outdated: int = 0
    unhealed: int = 0
    heal_problem: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=perf_counter)

    @cached_property
    def stage(self) -> Stage:
        """The temporary table that takes the accepted rows."""
        return Stage(self.bound)

    @property
    def where(self) -> str:
        """The start of every message."""
        return f"import {self.bound.name}, item {self.validated.landing.item.key}"

    @property
    def keeps_written(self) -> bool:
        """Whether the merge keeps which profiles it wrote: for events, subscriptions, and in a second try.

        The second try of a load counts these profiles, because Postgres's own counts may be off (`track_counts`) or
        include what triggers wrote.
        """
        again = self.alone or bool(self.first_refusal)
        return self.bound.spec.events or bool(self.bound.spec.subscriptions) or again

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Adds to the step's seconds."""
        start = perf_counter()
        yield
        self.seconds[step] = round(self.seconds.get(step, 0.0) + perf_counter() - start, 3)

    @property
    def changes_nothing(self) -> bool:
        """Whether the load left profiles, consent records, the table's columns and the rows that wait as they were."""
        profiles = self.inserted + self.updated + self.consented + self.deleted + self.absent
        return not (profiles or self.ddl or self.kept_new or self.healed or self.outdated)

    def refuse(self, problem: LoadError | None) -> None:
        """Stops the load if there is a problem. A dry run goes on, to show all of its problems and counts."""
        if problem is not None and not self.run.dry_run:
            raise problem
        self.problem = self.problem or problem

    def above_limit(self) -> RejectsAboveLimit | None:
        """The error where more rows are rejected than the import allows; else None."""
        if self.allows_more_rejects(0):
            return None
        limit, read = self.bound.spec.rejects, self.validated.read
        rejected = self.validated.rejected_rows + self.matched.rejected
        return RejectsAboveLimit(
            f"{self.where}: {rejected:,} of {read:,} rows were rejected, and the import allows {limit}",
            hint=f"nothing was merged; see them with: ingest rejects list {self.bound.name}",
        )

    def allows_more_rejects(self, rows: int) -> bool:
        """Whether so many more rows may be rejected than are now."""
        rejected = self.validated.rejected_rows + self.matched.rejected + rows
        return self.bound.spec.rejects.allows(rejected, self.validated.read)

    @property
    def staged(self) -> int:
        """Rows that reach the MERGE."""
        return self.validated.accepted_rows - self.matched.rejected - self.matched.superseded - self.stale

    def counts(self) -> Counts:
        """The outcome of every row.

        Raises:
            CountsDisagree: they do not add up.
        """
        left = self.staged - self.inserted - self.updated - self.unmatched - self.consented - self.deleted
        adds_only = self.bound.spec.mode == "add_only"
        counts = Counts(
            read=self.validated.read, inserted=self.inserted, updated=self.updated + self.consented,
            unchanged=0 if adds_only else left, unmatched=self.unmatched,
            skipped=self.validated.superseded_rows + self.validated.suppressed_rows + self.matched.superseded
            + self.stale + (left if adds_only else 0),
            rejected=self.validated.rejected_rows + self.matched.rejected, deleted=self.deleted,
        )  # fmt: skip
        if left < 0 or not counts.balanced:
            raise CountsDisagree(f"{self.where}: {counts} do not add up", hint="nothing was committed; this is a bug")
        return counts

    @property
    def codes(self) -> dict[str, int]:
        """Rejected rows per code: by the rules, and by the look-up of profiles."""
        codes = dict(self.validated.codes)
        for code, rows in self.matched.codes.items():
            codes[code] = codes.get(code, 0) + rows
        return codes

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of a load that went well."""
        warnings = [new_columns_warning(self.new_columns, self.bound)] if self.new_columns else []
        if self.validated.geo_misses:
            warnings.append(
                f"{self.validated.geo_misses} addresses are not in the geo database; their places are left alone"
            )
        if self.kept_absent:
            warnings.append(
                f"{self.kept_absent:,} profiles that the file has no longer were left as they are, because rows of it "
                "were rejected: any of these may be theirs"
            )
        if self.stale:
            warnings.append(
                f"{self.stale} rows are older than their profiles, by {self.bound.spec.version}, and were skipped"
            )
        if self.validated.suppressed_rows:
            warnings.append(suppressed_words(self.validated.suppressed_rows))
        warnings += waiting_warnings(self)
        warnings += [
            f"'{name}' was loaded as {self.bound.database.fields[name].type_name}, as it was created; databases.yaml "
            f"says {wanted}, and a field's type can't change; run: ingest check"
            for name, wanted in self.bound.retyped.items()
            if self.bound.database.fields[name].type_name != wanted
        ]
        if self.order_advice:
            warnings.append(self.order_advice)
        return tuple(warnings)

    def new_load(self, status: LoadStatus) -> ledger.NewLoad:
        """The load's ledger row as it is inserted."""
        landing = self.validated.landing
        return ledger.NewLoad(
            item=landing.item, run=self.run, started_at=self.now, status=status, content_sha256=landing.content_sha256,
            fingerprint=fingerprint(self.bound), cursor_to=landing.cursor_to,
        )  # fmt: skip

    def outcome(self, counts: Counts) -> ledger.LoadOutcome:
        """The load's ledger row as it commits."""
        finished_at = self.now + timedelta(seconds=perf_counter() - self.began)
        return ledger.LoadOutcome(
            "committed", counts, finished_at, codes=self.codes, ddl=self.ddl, warnings=self.warnings,
            seconds=self.seconds, cleaned=self.validated.cleaned, new_columns=self.new_columns,
            suppressed=self.validated.suppressed_rows, absent=self.absent,
            kept=self.kept, healed=self.healed,
        )  # fmt: skip

    def report(self, counts: Counts) -> LoadReport:
        """What the load did, or would do."""
        report = LoadReport(
            self.bound.name, self.validated.landing.item.key, self.load, "committed", counts, ddl=self.ddl,
            codes=self.codes, samples=(*self.validated.samples, *self.matched.samples)[:SAMPLES],
            warnings=self.warnings, seconds=self.seconds, cursor_to=self.validated.landing.cursor_to,
            cleaned=self.validated.cleaned, suppressed=self.validated.suppressed_rows, absent=self.absent,
            kept=self.kept, healed=self.healed,
        )  # fmt: skip
        if not self.run.dry_run:
            return report
        plan = replace(report, load_id=None, dry_run=True)
        return plan if self.problem is None else replace(plan, status=verdict(self.problem), reason=str(self.problem))
