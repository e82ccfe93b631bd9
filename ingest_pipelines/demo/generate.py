"""Generates two deliveries of three feeds for a shop's customers, with known numbers of every kind of defect.

A delivery states what its load must report: the generator applies every valid row to a model of the target
table. The same seed gives the same bytes.
"""

from __future__ import annotations

import csv
import os
import random
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from io import StringIO
from pathlib import Path

from ingest_pipelines.demo import people
from ingest_pipelines.model import Counts

SEED = 20250303
CUSTOMERS = 20_000

FIRST, SECOND = 1_740_981_600, 1_741_068_000
"""Unix times of the deliveries, 2025-03-03 and 2025-03-04 at 06:00 UTC: their serials and their files' times."""

TODAY = date(2025, 3, 3)

Row = list[str]
Values = dict[str, tuple[str, ...]]
"""The values of each customer in the target, as the feed spells them."""


@dataclass(frozen=True)
class Feed:
    """A file that arrives again and again.

    Attributes:
        mapped: positions of the mapped columns; the first is the customer's id.
        adds: whether the import adds unknown customers.
        encoding, newline: how the sender's system writes files.
    """

    name: str
    file: str
    header: tuple[str, ...]
    mapped: tuple[int, ...]
    adds: bool
    encoding: str = "utf-8"
    newline: str = "\n"


CUSTOMER_FEED = Feed(
    "customers",
    "customers/Customers",
    (
        "CustomerID", "Email", "Phone", "FirstName", "LastName", "BirthDate", "Address", "City", "Country",
        "RegisteredOn", "HomeStore", "LifetimeValue",
    ),
    (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11),
    adds=True,
)  # fmt: skip
LOYALTY_FEED = Feed(
    "loyalty",
    "loyalty/Points",
    ("CID", "Till", "Tier", "Points", "MemberSince", "TierUntil"),
    (0, 2, 3, 4, 5),
    adds=False,
    encoding="utf-8-sig",
    newline="\r\n",
)
MARKETING_FEED = Feed(
    "marketing",
    "web/Preferences",
    ("customer", "email_consent", "sms_consent", "consent_time", "favourite_category", "language"),
    (0, 1, 2, 3, 4, 5),
    adds=False,
)
FEEDS = (CUSTOMER_FEED, LOYALTY_FEED, MARKETING_FEED)


@dataclass(frozen=True)
class DemoDelivery:
    """One file of one feed, and what its load must report.

    Attributes:
        serial: unix time in the file's name, and the file's modified time.
        codes: rejected rows per rule code; a row counts once per code it breaks.
    """

    feed: Feed
    serial: int
    rows: Sequence[Row]
    expected: Counts
    codes: Mapping[str, int]

    @property
    def path(self) -> str:
        """`customers/Customers_1740981600.csv`, below the deliveries' folder."""
        return f"{self.feed.file}_{self.serial}.csv"

    def write(self, folder: Path) -> Path:
        """Writes the file into `folder`, with the delivery's time."""
        text = StringIO(newline="")
        writer = csv.writer(text, lineterminator=self.feed.newline)
        writer.writerow(self.feed.header)
        writer.writerows(self.rows)
        path = folder / self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        draft.write_bytes(text.getvalue().encode(self.feed.encoding))
        os.utime(draft, (self.serial, self.serial))
        draft.replace(path)
        return path


def deliveries(seed: int = SEED, customers: int = CUSTOMERS) -> Iterator[DemoDelivery]:
    """The first delivery of every feed, then the second, in order of arrival."""
    chance = random.Random(seed)
    master = _customers(chance, customers)
    loyalty = _loyalty(chance, master)
    marketing = _marketing(chance, master)
    target = _Target()
    yield target.receive(CUSTOMER_FEED, FIRST, master, _CUSTOMER_DEFECTS, chance)
    yield target.receive(LOYALTY_FEED, FIRST, loyalty, _LOYALTY_DEFECTS, chance)
    yield target.receive(MARKETING_FEED, FIRST, marketing, _MARKETING_DEFECTS, chance)
    share = customers / CUSTOMERS
    _change(chance, master, round(1_500 * share), _move_house)
    _change(chance, loyalty, round(4_000 * share), _earn_points)
    _change(chance, marketing, round(900 * share), _withdraw_consent)
    newcomers = _customers(chance, round(400 * share), first=customers + 1)
    master += newcomers
    loyalty += _loyalty(chance, newcomers)[: len(newcomers) // 2]
    yield target.receive(CUSTOMER_FEED, SECOND, master, _fewer(_CUSTOMER_DEFECTS), chance)
    yield target.receive(LOYALTY_FEED, SECOND, loyalty, _fewer(_LOYALTY_DEFECTS), chance)
    yield target.receive(MARKETING_FEED, SECOND, marketing, _fewer(_MARKETING_DEFECTS), chance)


# Rows


def _customers(chance: random.Random, count: int, first: int = 1) -> list[Row]:
    given = chance.choices(people.FIRST_NAMES, k=count)
    family = chance.choices(people.LAST_NAMES, k=count)
    towns = chance.choices(people.TOWNS, k=count)
    hosts = chance.choices(people.MAIL_HOSTS, k=count)
    streets = chance.choices(people.STREETS, k=count)
    spent = [f"{abs(chance.gauss(0, 400)):.2f}" for _ in range(count)]
    born = _dates(chance, count, date(1940, 1, 2), date(2006, 12, 31))
    joined = _dates(chance, count, date(2009, 3, 1), TODAY)
    numbers = range(first, first + count)
    return [
        [
            f"C{number:07d}", f"{_plain(name)}.{_plain(surname)}{number}@{host}",
            people.PHONES[country].format(number % 1000) if number % 5 else "", name, surname, birth,
            f"{number % 190 + 1} {street}" + ("\nFlat 2" if number % 17 == 0 else ""), town, country, since,
            f"{number * 7 % 60 + 1:04d}", value if number % 11 else "",
        ]
        for number, name, surname, birth, street, (town, country), since, host, value in zip(
            numbers, given, family, born, streets, towns, joined, hosts, spent, strict=True
        )
    ]  # fmt: skip


def _loyalty(chance: random.Random, master: list[Row]) -> list[Row]:
    """Nine of ten customers are members; the tills also report some members that no other feed has."""
    members = [row for row in master if int(row[0][1:]) % 10]
    tiers = chance.choices(range(3), weights=(70, 22, 8), k=len(members))
    points = [str(int(chance.expovariate(1 / 900))) for _ in members]
    until = _dates(chance, len(members), date(2025, 6, 30), date(2026, 12, 31))
    member_rows = [
        # the old tills write a tier by its number
        [
            row[0],
            f"T{index % 240:03d}",
            str(tier + 1) if index % 240 > 200 else people.TIERS[tier],
            balance,
            row[9],
            end,
        ]
        for index, (row, tier, balance, end) in enumerate(zip(members, tiers, points, until, strict=True))
    ]
    strangers = [[f"C9{index:06d}", "T900", "Bronze", "0", "2025-03-01", ""] for index in range(len(master) // 50)]
    return member_rows + strangers


def _marketing(chance: random.Random, master: list[Row]) -> list[Row]:
    answered = [row for row in master if int(row[0][1:]) % 7]
    mail = chance.choices(("yes", "no"), weights=(6, 4), k=len(answered))
    text = chance.choices(("true", "false", ""), weights=(3, 6, 1), k=len(answered))
    days = _dates(chance, len(answered), date(2018, 5, 25), TODAY)
    hours = chance.choices(range(8, 22), k=len(answered))  # by day, when no clock changes
    when = [f"{day}T{hour:02d}:30:00{'' if hour % 2 else '+00:00'}" for day, hour in zip(days, hours, strict=True)]
    likes = chance.choices((*people.CATEGORIES, ""), k=len(answered))
    speaks = chance.choices(people.LANGUAGES, k=len(answered))
    return [
        [row[0], by_mail, by_text, time, like, language]
        for row, by_mail, by_text, time, like, language in zip(answered, mail, text, when, likes, speaks, strict=True)
    ]


def _dates(chance: random.Random, count: int, first: date, last: date) -> list[str]:
    """Days as ISO text; never one of the default dates."""
    days = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    return chance.choices([day for day in days if day != "1989-01-01"], k=count)


def _plain(name: str) -> str:
    """The name as a mail address spells it."""
    letters = unicodedata.normalize("NFKD", name.replace("ł", "l").replace("Ł", "L").replace("ß", "ss"))
    return "".join(letter for letter in letters if letter.isascii() and letter.isalnum()).lower() or "x"


# What changes between the deliveries


def _change(chance: random.Random, rows: list[Row], count: int, change: Callable[[Row, random.Random], Row]) -> None:
    for index in chance.sample(range(len(rows)), min(count, len(rows))):
        rows[index] = change(rows[index], chance)


def _move_house(row: Row, chance: random.Random) -> Row:
    town, country = chance.choice([town for town in people.TOWNS if town[0] != row[7]])
    return [*row[:6], f"{chance.randrange(1, 190)} {chance.choice(people.STREETS)}", town, country, *row[9:]]


def _earn_points(row: Row, chance: random.Random) -> Row:
    return [*row[:3], str(int(row[3]) + chance.randrange(10, 500)), *row[4:]]


def _withdraw_consent(row: Row, chance: random.Random) -> Row:
    """The preference is cleared, the consent reversed."""
    return [row[0], "no" if row[1] == "yes" else "yes", row[2], f"{TODAY}T18:00:00Z", "", row[5]]


# Defects


@dataclass(frozen=True)
class Defect:
    """A defect that is planted in a number of rows.

    Attributes:
        codes: every rule that such a row breaks.
        column: position of the cell to spoil.
        values: bad cells, used in turn.
        also: a second cell to spoil, for rows that break several rules.
    """

    rows: int
    codes: tuple[str, ...]
    column: int
    values: tuple[str, ...]
    also: tuple[int, str] | None = None


_DUPLICATE = "duplicate_key"

_CUSTOMER_DEFECTS = (
    Defect(15, ("missing_key",), 0, ("",)),
    Defect(50, (_DUPLICATE,), 0, ()),
    Defect(20, ("too_long",), 4, ("Wolfeschlegelsteinhausenbergerdorff-" * 2, "x" * 61)),
    Defect(12, ("date_too_early",), 5, ("1752-12-31", "0001-01-01", "1066-10-14")),
    Defect(20, ("default_date",), 5, ("1900-01-01",)),
    Defect(10, ("default_date",), 9, ("1989-01-01",)),
    Defect(12, ("unsupported_character",), 3, ("Anna 🌸", "Tom 😎", "🎉")),
    Defect(6, ("unsupported_character",), 7, ("Leeds\x07", "Le\x1beds")),
    Defect(16, ("bad_date",), 5, ("31/12/1980", "2001-02-29", "unknown", "19800230")),
    Defect(10, ("bad_decimal",), 11, ("12,50", "£40.00", "12.345", "n/a")),
    Defect(4, ("below_min",), 11, ("-0.01", "-120.00")),
    Defect(22, ("bad_email",), 1, ("none", "anna@", "@example.com", "anna@@example.com", "anna at example.com")),
    Defect(14, ("bad_phone",), 2, ("unknown", "12345", "+44 20", "call the shop")),
    Defect(8, ("required",), 4, ("",)),
    Defect(9, ("pattern",), 10, ("7", "12A4", "web")),
    Defect(7, ("not_one_of",), 8, ("UK", "Ireland")),
    Defect(5, ("bad_email", "default_date"), 1, ("unknown",), also=(9, "1900-01-01")),
)

_LOYALTY_DEFECTS = (
    Defect(6, ("missing_key",), 0, ("",)),
    Defect(20, (_DUPLICATE,), 0, ()),
    Defect(25, ("bad_int",), 3, ("1.0", "1,200", "1e5", "many", "12 pts")),
    Defect(8, ("bad_date",), 5, ("31.12.2025", "2025-13-01", "never")),
    Defect(40, ("default_date",), 5, ("1900-01-01",)),
    Defect(4, ("date_too_early",), 4, ("1752-12-31",)),
    Defect(9, ("bad_enum",), 2, ("Platinum", "4", "Bronze (new)")),
    Defect(5, ("below_min",), 3, ("-1", "-500")),
    Defect(5, ("bad_enum", "unsupported_character"), 2, ("Gold 🥇",)),
)

_MARKETING_DEFECTS = (
    Defect(4, ("missing_key",), 0, ("",)),
    Defect(12, (_DUPLICATE,), 0, ()),
    Defect(30, ("bad_bool",), 1, ("maybe", "2", "on", "ja")),
    # In London the clock skips the first of these half hours, and shows the second one twice.
    Defect(12, ("bad_datetime",), 3, ("2024-03-31T01:30:00", "2024-10-27T01:30:00", "03/04/2024 10:00", "noon")),
    Defect(7, ("too_long",), 5, ("English (United Kingdom)",)),
    Defect(14, ("unsupported_character",), 4, ("shoes 👟", "outdoor ⛰🏕")),
)


def _fewer(defects: tuple[Defect, ...]) -> tuple[Defect, ...]:
    """The senders have fixed most defects; duplicates stay in pairs."""
    return tuple(
        Defect(
            max(2, defect.rows // 10 * 2) if defect.codes == (_DUPLICATE,) else max(1, defect.rows // 5),
            defect.codes, defect.column, defect.values, defect.also,
        )
        for defect in defects
    )  # fmt: skip


def _spoil(rows: list[Row], defects: tuple[Defect, ...], chance: random.Random) -> tuple[list[Row], set[int]]:
    """The rows with the defects in them, and the positions of the rows that break a rule."""
    spoiled = list(rows)
    places = iter(chance.sample(range(len(rows)), sum(defect.rows for defect in defects)))
    bad: set[int] = set()
    for defect in defects:
        chosen = [next(places) for _ in range(defect.rows)]
        bad.update(chosen)
        if defect.codes == (_DUPLICATE,):
            for one, other in zip(chosen[::2], chosen[1::2], strict=True):
                spoiled[other] = [rows[one][0], *rows[other][1:]]
            continue
        for turn, place in enumerate(chosen):
            row = list(rows[place])
            row[defect.column] = defect.values[turn % len(defect.values)]
            if defect.also is not None:
                row[defect.also[0]] = defect.also[1]
            spoiled[place] = row
    return spoiled, bad


# The model of the target


@dataclass
class _Target:
    """What the target table must hold after the deliveries so far."""

    tables: dict[str, Values] = field(default_factory=dict)
    registered: set[str] = field(default_factory=set)

    def receive(
        self, feed: Feed, serial: int, rows: list[Row], defects: tuple[Defect, ...], chance: random.Random
    ) -> DemoDelivery:
        """A delivery of `rows` with `defects`; its valid rows are applied to the model."""
        spoiled, bad = _spoil(rows, defects, chance)
        profiles = self.tables.setdefault(feed.name, {})
        outcomes = {"inserted": 0, "updated": 0, "unchanged": 0, "unmatched": 0}
        for place, row in enumerate(spoiled):
            if place not in bad:
                outcomes[self._apply(feed, profiles, tuple(row[column] for column in feed.mapped))] += 1
        codes: dict[str, int] = {}
        for defect in defects:
            for code in defect.codes:
                codes[code] = codes.get(code, 0) + defect.rows
        expected = Counts(read=len(spoiled), rejected=len(bad), **outcomes)
        return DemoDelivery(feed, serial, spoiled, expected, codes)

    def _apply(self, feed: Feed, profiles: Values, values: tuple[str, ...]) -> str:
        customer = values[0]
        if customer not in self.registered:
            if not feed.adds:
                return "unmatched"
            self.registered.add(customer)
            profiles[customer] = values
            return "inserted"
        empty = (customer, *[""] * (len(values) - 1))
        before = profiles.get(customer, empty)
        profiles[customer] = values
        return "unchanged" if before == values else "updated"
