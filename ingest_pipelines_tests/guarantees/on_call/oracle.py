"""What must be in the tables and on the list of open items, and where the product says otherwise.

Shares no code with the product: it knows what the vendors delivered, what broke and for how long, and what people did.
Every row says which delivery wrote it:

    FEED:NUMBER:K   rows of one delivery alone, so that half a delivery shows
    FEED:sK         rows that every delivery of the feed overwrites: they hold the number of the last one
    FEED:NUMBER:bad a row that must be rejected
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

OWN_ROWS = 5
SHARED_ROWS = 8

BROKEN = frozenset({"failed", "refused", "dropped", "terminated"})

KNOWN_SECONDS = 60.0
"""How long the product may overlook a delivery while nothing stands in its way: poll, settle time and a tick."""

TOLD_SECONDS = 300.0
"""How long trouble may last before a person must know of it."""

MOVING_SECONDS = 600.0
"""How long a delivery may wait or run while nothing stands in its way. Fourteen imports share two cores."""

LASTING_SECONDS = 120.0
"""A disagreement that lasts longer counts."""

_NOT_IN_ORDER = frozenset({"yaml", "removed", "renamed", "platform"})
"""Troubles after which the product may still believe that an import cannot run."""

FeedKind = Literal["all", "last", "window", "cursor", "upload", "draft"]
Quality = Literal["good", "refused", "rejected"]


@dataclass
class Feed:
    """An import as its vendor and its owner know it.

    Attributes:
        kind: `all` and `last`: files, by `pick`.
        connection: whose proxy stands in front of the source.
        forced: a person applied an older delivery: the shared rows may hold an older number.
        names: of the import, the present one last.
    """

    name: str
    kind: FeedKind
    connection: str
    table: str
    known_seconds: float = KNOWN_SECONDS
    forced: bool = False
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = self.names or [self.name]

    @property
    def import_name(self) -> str:
        return self.names[-1]

    @property
    def by_itself(self) -> bool:
        """Whether deliveries are loaded without a person."""
        return self.kind not in {"upload", "draft"}


@dataclass
class Delivery:
    """Rows that a vendor has made available.

    Attributes:
        number: grows by one per delivery of a feed.
        label: what its item's key contains; "": it has no item of its own.
        stamp: what the key starts with, where the label alone is not unique.
        since: from when on it must be known, in seconds of the epoch.
        quality: `refused`: unreadable as a whole; `rejected`: more bad rows than the import allows.
        needless: it need not be in the table any more (replaced, superseded, skipped by a person).
        ended_by_person: when a person terminated its run; 0: nobody did, or it was asked for again.
        listed_at: when it was last on the list; 0: never.
        broken_since: since when the list has it as broken; 0: it has not.
    """

    feed: str
    number: int
    label: str
    since: float
    quality: Quality = "good"
    stamp: str = ""
    needless: bool = False
    ended_by_person: float = 0.0
    listed_at: float = 0.0
    broken_since: float = 0.0

    def is_item(self, key: str) -> bool:
        """Whether the item with that key (or that path, of a file that still changes) is this delivery."""
        stamped = not self.stamp or self.stamp in key or re.match(r"\d{4}-\d\d-\d\dT", key) is None
        return bool(self.label) and self.label in key and stamped


@dataclass
class Trouble:
    """Something that stood in the way of feeds.

    Attributes:
        kind: `platform`, `target`, `source`, `yaml`, `paused`, `person`.
        feeds: none: all feeds.
        recovery_seconds: how long after its end it may still be felt.
    """

    kind: str
    what: str
    start: float
    feeds: frozenset[str] = frozenset()
    end: float | None = None
    recovery_seconds: float = 30.0

    def hits(self, feed: str) -> bool:
        return not self.feeds or feed in self.feeds

    def span(self, now: float) -> tuple[float, float]:
        return self.start, now if self.end is None else min(now, self.end + self.recovery_seconds)


@dataclass(frozen=True)
class Listed:
    """An entry of the product's list of open items."""

    import_name: str
    item: str
    state: str
    reason: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class Letter:
    """A mail that arrived."""

    at: float
    to: str
    subject: str
    text: str


@dataclass(frozen=True)
class Observed:
    """What tables and product say at one moment.

    Attributes:
        own_rows: per feed and delivery, how many of its own rows are in the table with the right value.
        shared: per feed, the numbers that its shared rows hold.
        strange: keys in the tables that no delivery accounts for.
        status: per import the product's status; None: `ingest status` did not answer.
        listed: the product's list of open items.
        troubled: imports whose source the product calls out of reach.
        healthy: what `/healthz` says; None: no answer. Not judged where the product has none.
        complaint: of `ingest status`, or of `/healthz`.
    """

    at: float
    own_rows: Mapping[str, Mapping[int, int]]
    shared: Mapping[str, Collection[int]]
    strange: Sequence[str] = ()
    status: Mapping[str, str] | None = None
    listed: Sequence[Listed] = ()
    troubled: Collection[str] = ()
    healthy: bool | None = True
    complaint: str = ""


@dataclass(frozen=True)
class Finding:
    """A disagreement.

    Attributes:
        key: the same for the same disagreement at another moment.
        at_once: it counts however short it is: the table is wrong.
    """

    key: tuple[str, str, int]
    words: str
    at_once: bool = False


@dataclass
class Oracle:
    """Everything that happened in the world, and the verdict on what the product says about it."""

    feeds: Mapping[str, Feed]
    deliveries: dict[str, list[Delivery]] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    def deliver(self, delivery: Delivery) -> None:
        """Notes a delivery. Of a feed that loads its last file only, the ones before need not be loaded any more."""
        made = self.deliveries.setdefault(delivery.feed, [])
        if self.feeds[delivery.feed].kind == "last":
            for older in made:
                older.needless = True
        made.append(delivery)

    def next_number(self, feed: str) -> int:
        return len(self.deliveries.get(feed, [])) + 1

    def missing(self, observed: Observed) -> list[Delivery]:
        """Deliveries that should be in their table and are not."""
        return [
            delivery
            for feed in self.feeds.values()
            if feed.kind != "draft"
            for delivery in self.deliveries.get(feed.name, [])
            if not delivery.needless and delivery.number not in observed.own_rows.get(feed.name, {})
        ]

    def undisturbed(self, feed: str, since: float, now: float, kinds: Collection[str] = ()) -> float:
        """Seconds between the two moments in which no trouble (of those kinds) stood in the feed's way."""
        spans = sorted(
            trouble.span(now)
            for trouble in self.troubles
            if trouble.hits(feed) and (not kinds or trouble.kind in kinds)
        )
        free, at = 0.0, since
        for start, end in spans:
            free += max(0.0, start - at)
            at = max(at, end)
        return free + max(0.0, now - at)

    def now_troubled(self, feed: str, now: float, *kinds: str) -> Trouble | None:
        """A trouble of those kinds that has not ended."""
        return next(
            (
                trouble
                for trouble in self.troubles
                if trouble.kind in kinds and trouble.hits(feed) and trouble.start <= now and trouble.end is None
            ),
            None,
        )

    def touched(self, feed: str, since: float) -> bool:
        """Whether anything stood in the feed's way since then."""
        return any(
            trouble.hits(feed) and (trouble.end is None or trouble.end + trouble.recovery_seconds >= since)
            for trouble in self.troubles
        )

    def judge(self, observed: Observed) -> Iterator[Finding]:
        """Where the table, or what the product says, is not as it must be."""
        for feed in self.feeds.values():
            yield from self._judge_rows(feed, observed)
        yield from (
            Finding(("strange row", key, 0), f"{key} is in the table", at_once=True) for key in observed.strange
        )
        if observed.status is None:
            down = any(t.kind == "target" and t.span(observed.at)[1] >= observed.at for t in self.troubles)
            if not down:
                yield Finding(("silent", "status", 0), f"ingest status does not answer: {observed.complaint}")
            return
        matched: set[int] = set()
        for feed in self.feeds.values():
            yield from self._judge_list(feed, observed, matched)
        for place, entry in enumerate(observed.listed):
            if place not in matched:
                key = ("unknown", f"{entry.import_name} {entry.item}", 0)
                yield Finding(
                    key, f"{entry.import_name} {entry.item} is {entry.state} on the list; nobody delivered it"
                )
        yield from self._judge_letters(observed)
        yield from self._judge_health(observed)

    def _judge_rows(self, feed: Feed, observed: Observed) -> Iterator[Finding]:
        own = observed.own_rows.get(feed.name, {})
        made = {delivery.number: delivery for delivery in self.deliveries.get(feed.name, [])}
        for number, rows in own.items():
            if number not in made or made[number].quality != "good" or feed.kind == "draft":
                yield Finding(("bad rows", feed.name, number), f"{feed.name} {number} must not be there", at_once=True)
            elif rows != OWN_ROWS:
                words = f"{feed.name} {number}: {rows} of {OWN_ROWS} rows are in the table"
                yield Finding(("half", feed.name, number), words, at_once=True)
        shared = set(observed.shared.get(feed.name, ()))
        overwritten = feed.kind in {"all", "last"} and not feed.forced
        if overwritten and own and shared != {max(own)}:
            words = f"{feed.name}: the shared rows hold {sorted(shared)}, the last delivery in the table is {max(own)}"
            yield Finding(("last write", feed.name, 0), words, at_once=True)

    def _judge_list(self, feed: Feed, observed: Observed, matched: set[int]) -> Iterator[Finding]:
        assert observed.status is not None
        own, now = observed.own_rows.get(feed.name, {}), observed.at
        entries = {p: entry for p, entry in enumerate(observed.listed) if entry.import_name in feed.names}
        made = self.deliveries.get(feed.name, [])
        if feed.kind in {"cursor", "upload"}:
            matched.update(entries)
        if feed.kind == "upload":
            for delivery in made:
                if not delivery.needless and delivery.number not in own:
                    words = f"{feed.name} {delivery.label} is not in the table; its command said that it is"
                    yield Finding(("lost", feed.name, delivery.number), words, at_once=True)
            return
        if feed.kind == "cursor":
            yield from self._judge_cursor(feed, observed, list(entries.values()))
            return
        for delivery in made:
            places = [place for place, entry in entries.items() if delivery.is_item(entry.item)]
            matched.update(places)
            states = [entries[place].state for place in places]
            in_table = delivery.number in own
            key = (feed.name, delivery.number)
            if len(places) > 1:
                yield Finding(("twice", *key), f"{feed.name} {delivery.label} is on the list twice: {states}")
            if feed.kind == "draft":
                if places:
                    yield Finding(("draft", *key), f"a draft's {delivery.label} is on the list as {states}")
                continue
            if in_table and places:
                yield Finding(("stale entry", *key), f"{feed.name} {delivery.label} is in the table and {states}")
            if states:
                delivery.listed_at = now
            if not set(states) & BROKEN:
                delivery.broken_since = 0.0
            elif not delivery.broken_since:
                delivery.broken_since = now
            if in_table or delivery.needless or not feed.by_itself:
                continue
            if not states:
                yield from self._judge_absent(feed, delivery, observed)
            else:
                yield from self._judge_state(feed, delivery, states[0], observed)

    def _judge_absent(self, feed: Feed, delivery: Delivery, observed: Observed) -> Iterator[Finding]:
        """A delivery that is neither in the table nor on the list."""
        assert observed.status is not None
        now = observed.at
        key, words = ("lost", feed.name, delivery.number), f"{feed.name} {delivery.label} is nowhere"
        if delivery.listed_at:  # the product knows of it: nothing excuses that it forgets
            yield Finding(key, f"{words}; it was on the list before")
            return
        status = observed.status.get(feed.import_name)
        for kind, expected in (("paused", {"paused", "failed", "running"}), ("yaml", {"invalid"})):
            trouble = self.now_troubled(feed.name, now, kind)
            if trouble is not None and now - trouble.start > 60:
                if status not in expected:
                    wrong = f"{feed.name} is {status}, since {now - trouble.start:.0f} s it should be {kind}"
                    yield Finding(("status", feed.name, 0), wrong)
                return
        source = self.now_troubled(feed.name, now, "source")
        if source is not None:
            felt = self.undisturbed(feed.name, source.start, now, {"platform", "target"})
            if felt > 180 and feed.import_name not in observed.troubled:
                yield Finding(("source", feed.connection, 0), f"{source.what} for {felt:.0f} s, and status is silent")
            return
        exposed = self.undisturbed(feed.name, delivery.since, now)
        if exposed > feed.known_seconds:
            yield Finding(key, f"{words}; nothing stood in its way for {exposed:.0f} s")

    def _judge_state(self, feed: Feed, delivery: Delivery, state: str, observed: Observed) -> Iterator[Finding]:
        """A delivery that is on the list, and should be."""
        now = observed.at
        exposed = self.undisturbed(feed.name, delivery.since, now)
        key = ("state", feed.name, delivery.number)
        words = f"{feed.name} {delivery.label} is {state}"
        if delivery.quality != "good":
            if state not in BROKEN and exposed > MOVING_SECONDS:
                yield Finding(key, f"{words}; it cannot be loaded, and nothing stood in its way for {exposed:.0f} s")
            return
        if delivery.ended_by_person and state != "terminated":
            yield Finding(key, f"{words}; a person terminated its run {now - delivery.ended_by_person:.0f} s ago")
            return
        if state in BROKEN and not self.touched(feed.name, delivery.since):
            yield Finding(key, f"{words}; nothing is wrong with it, and nothing stood in its way")
        if state == "paused" and self.undisturbed(feed.name, now - 90, now, {"paused", "platform"}) > 85:
            yield Finding(key, f"{words}; the import is not")
        if state == "held" and self.undisturbed(feed.name, now - 90, now, _NOT_IN_ORDER) > 85:
            yield Finding(key, f"{words}; its YAML is in order")
        if state in {"due", "settling", "queued", "running"} and exposed > MOVING_SECONDS:
            yield Finding(key, f"{words}; nothing stood in its way for {exposed:.0f} s")

    def _judge_cursor(self, feed: Feed, observed: Observed, entries: Sequence[Listed]) -> Iterator[Finding]:
        """Rows of a cursor have no items of their own: an open drain stands for all that it has not read."""
        assert observed.status is not None
        own, now = observed.own_rows.get(feed.name, {}), observed.at
        waiting = [d for d in self.deliveries.get(feed.name, []) if d.number not in own]
        for delivery in waiting:
            exposed = self.undisturbed(feed.name, delivery.since, now)
            key = ("lost", feed.name, delivery.number)
            if exposed > feed.known_seconds and not entries:
                yield Finding(
                    key, f"{feed.name} {delivery.number} is nowhere; nothing stood in its way {exposed:.0f} s"
                )
            elif exposed > feed.known_seconds + MOVING_SECONDS:
                states = [entry.state for entry in entries]
                yield Finding(key, f"{feed.name} {delivery.number}: {states}, and nothing stood in its way")
        if len(entries) > 1:
            words = f"{feed.name} has {len(entries)} open drains: {[entry.state for entry in entries]}"
            yield Finding(("twice", feed.name, 0), words)

    def _judge_health(self, observed: Observed) -> Iterator[Finding]:
        """`/healthz` answers while its own process is left alone, and is content where nothing is wrong."""
        now = observed.at
        calm = min(self.undisturbed(feed, now - 180, now) for feed in self.feeds)
        if observed.healthy is None and self.undisturbed(next(iter(self.feeds)), now - 90, now, {"platform"}) > 85:
            yield Finding(("health", "silent", 0), "/healthz does not answer")
        if observed.healthy is False and calm > 175 and not any(entry.state in BROKEN for entry in observed.listed):
            yield Finding(("health", "unwell", 0), f"/healthz complains, and all is well: {observed.complaint}")

    def _judge_letters(self, observed: Observed) -> Iterator[Finding]:
        now = observed.at
        for feed in self.feeds.values():
            broken = [d for d in self.deliveries.get(feed.name, []) if d.broken_since]
            for delivery in broken:
                felt = self.undisturbed(feed.name, delivery.broken_since, now, {"platform", "target"})
                if felt > TOLD_SECONDS and not self._told_of(feed.names, delivery.broken_since):
                    words = f"{feed.name} {delivery.label} is broken for {felt:.0f} s, and nobody was told"
                    yield Finding(("untold", feed.name, delivery.number), words)
        for trouble in self.troubles:
            if trouble.kind not in {"source", "yaml"} or trouble.end is not None or not trouble.feeds:
                continue
            names = [name for feed in trouble.feeds for name in self.feeds[feed].names]
            names += [self.feeds[feed].connection for feed in trouble.feeds if trouble.kind == "source"]
            felt = self.undisturbed(min(trouble.feeds), trouble.start, now, {"platform", "target"})
            if felt > TOLD_SECONDS and not self._told_of(names, trouble.start):
                yield Finding(("untold", trouble.what, 0), f"{trouble.what} for {felt:.0f} s, and nobody was told")

    def _told_of(self, names: Iterable[str], since: float) -> bool:
        """Whether people know that something about one of the names is wrong.

        They do if they were told since then, or before and of no recovery since: one trouble stays one message.
        """
        words = re.compile(rf"\b({'|'.join(re.escape(name) for name in names)})\b")
        about = [letter for letter in self.letters if words.search(f"{letter.subject}\n{letter.text}")]
        last = next((letter for letter in reversed(about) if letter.at < since - 60), None)
        bad_news = [letter for letter in about if letter.at >= since - 60 and "recovered" not in letter.subject]
        return bool(bad_news) or (last is not None and "recovered" not in last.subject)

    def told_twice(self) -> list[str]:
        """Subjects of letters that say the same as one before, with no recovery in between."""
        told: dict[tuple[str, str, str], float] = {}
        twice = []
        for letter in self.letters:
            if "recovered" in letter.subject:
                about = set(re.findall(r"\w+", letter.subject))
                told = {key: at for key, at in told.items() if not about & set(re.findall(r"\w+", key[1])) - _SMALL}
                continue
            key = (letter.to, letter.subject, letter.text)
            if key in told:
                twice.append(letter.subject)
            told[key] = letter.at
        return twice


_SMALL = {"recovered", "failed", "is", "of", "the", "and", "rows", "items", "item"}


@dataclass
class Record:
    """How long each disagreement has lasted."""

    since: dict[tuple[str, str, int], float] = field(default_factory=dict)
    counted: dict[tuple[str, str, int], str] = field(default_factory=dict)

    def note(self, findings: Iterable[Finding], at: float) -> list[str]:
        """Notes the disagreements of a moment; words about those that have lasted too long just now."""
        present = {finding.key: finding for finding in findings}
        self.since = {key: self.since.get(key, at) for key in present}
        lasting = []
        for key, finding in present.items():
            if key not in self.counted and (finding.at_once or at - self.since[key] > LASTING_SECONDS):
                self.counted[key] = finding.words
                lasting.append(finding.words)
        return lasting
