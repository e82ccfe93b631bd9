"""Every match mode finds the right profile, or says which profiles it cannot choose between."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.imports import MatchMode
from ingest_pipelines.errors import RejectsAboveLimit
from ingest_pipelines.merge import Target, apply, record_failure
from ingest_pipelines.model import Counts, Run
from ingest_pipelines_tests.merge.deliveries import CUSTOMERS, NOW, SENSOR, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

PEOPLE = [
    ("a", "Ann@x.org", "+441", "Gold"),
    ("b", "bob@x.org", "+442", "Gold"),
    ("c", "both@x.org", "+443", "Gold"),
    ("d", "BOTH@x.org", "+443", "Gold"),
    ("e", None, None, "Gold"),
]
UUID = {**CUSTOMERS, "key_default": "uuid"}
SEQUENCE = {**CUSTOMERS, "key_default": "sequence"}


@pytest.fixture
def people(target: Target, tmp_path: Path) -> Target:
    """A target with five profiles whose contacts are subscribed as well."""
    bound = bound_import(
        "people",
        columns={"CID": "customer_id", "Mail": "email", "Phone": "phone", "Tier": "tier"},
        subscriptions=[
            {"resource": "newsletter", "channel": "email", "contact": "SMail", "status": "subscribed"},
            {"resource": "newsletter", "channel": "sms", "contact": "SPhone", "status": "subscribed"},
            {"resource": "offers", "channel": "push", "contact": "Token", "status": "subscribed"},
        ],
    )
    rows = [(*person, person[1], person[2], f"token-{person[0]}") for person in PEOPLE]
    apply(delivery(tmp_path, bound, rows), bound, target, SENSOR, NOW)
    return target


def tiers(query: Rows) -> dict[str, str]:
    """The tier of every profile, by key."""
    return dict(query("SELECT customer_id, tier FROM crm.customers"))


def number(query: Rows, *keys: str) -> str:
    """The numbers of the profiles, as a reason lists them."""
    found = query("SELECT profile_id FROM crm.customers WHERE customer_id = ANY(%s) ORDER BY 1", list(keys))
    return ", ".join(str(profile) for (profile,) in found)


def load(
    target: Target, folder: Path, rows: list[tuple[Any, ...]], number: int = 1, **spec: Any
) -> tuple[Counts, dict[str, int]]:
    database = spec.pop("database_of", CUSTOMERS)
    spec = {"columns": {"Tier": "tier"}, "mode": "update_only", "rejects": {"unlimited": True}, **spec}
    bound = bound_import("feed", database, **spec)
    run = Run(f"run-{number}", by="ann")
    report = apply(delivery(folder, bound, rows, of=item(number, name="feed")), bound, target, run, NOW)
    return report.counts, dict(report.codes)


@pytest.mark.parametrize(
    ("match", "columns", "found", "two", "nobody"),
    [
        ({"by": "profile_id", "column": "Id"}, {}, "1", None, "99"),
        ({"by": "field", "field": "phone"}, {"Phone": "phone"}, "+441", "+443", "+449"),
        ({"by": "field", "field": "email"}, {"Mail": "email"}, "ANN@X.org", "both@x.org", "no@x.org"),
        ({"by": "email"}, {"Mail": "email"}, "ANN@X.org", "both@x.org", "no@x.org"),
        ({"by": "email", "column": "Id"}, {}, "ANN@X.org", "both@x.org", "no@x.org"),
        ({"by": "email_profile"}, {"Mail": "email"}, "ANN@X.org", "both@x.org", "no@x.org"),
        ({"by": "email_profile", "column": "Id"}, {}, "ANN@X.org", "both@x.org", "no@x.org"),
        ({"by": "email_subscription", "column": "Id"}, {}, "ANN@X.org", "both@x.org", "no@x.org"),
        ({"by": "phone"}, {"Phone": "phone"}, "+441", "+443", "+449"),
        ({"by": "phone_profile", "column": "Id"}, {}, "+441", "+443", "+449"),
        ({"by": "phone_subscription", "column": "Id"}, {}, "+441", "+443", "+449"),
        ({"by": "push", "column": "Id"}, {}, "token-a", None, "token-x"),
        ({"by": "channel", "channel": "sms", "column": "Id"}, {}, "+441", "+443", "+449"),
        ({"by": "channel", "channel": "email", "column": "Id"}, {}, "ANN@X.org", "both@x.org", "no@x.org"),
    ],
)  # fmt: skip
def test_each_mode_finds_one_profile_refuses_two_and_counts_none(
    people: Target, query: Rows, tmp_path: Path,
    match: dict[str, str], columns: dict[str, str], found: str, two: str | None, nobody: str,
) -> None:  # fmt: skip
    found = number(query, "a") if match["by"] == "profile_id" else found
    values = [value for value in (found, two, nobody) if value is not None]
    first = bool(columns)
    rows = [((value, "New") if first else ("New", value)) for value in values]
    counts, codes = load(people, tmp_path, rows, match=match, columns={**columns, "Tier": "tier"})
    rejected = int(two is not None)
    assert counts == Counts(read=len(rows), updated=1, unmatched=1, rejected=rejected)
    assert codes == ({"ambiguous_match": 1} if rejected else {})
    assert tiers(query) == {"a": "New", "b": "Gold", "c": "Gold", "d": "Gold", "e": "Gold"}
    kept = query("SELECT code, reason, row ->> 'Tier' FROM ingest.rejects ORDER BY code")
    named = [("ambiguous_match", f"matches several profiles: {number(query, 'c', 'd')}", "New")] if rejected else []
    assert kept == [*named, ("unmatched", "there is no profile for this row", None)]


@pytest.mark.parametrize("where", ["profile", "subscription"])
def test_email_or_phone_finds_a_profile_by_either_and_refuses_two(
    people: Target, query: Rows, tmp_path: Path, where: str
) -> None:
    rows = [("ann@x.org", "+449", "A"), ("no@x.org", "+442", "B"), ("ann@x.org", "+442", "C"), (None, None, "D")]
    columns = {"Mail": "email", "Phone": "phone", "Tier": "tier"}
    counts, codes = load(people, tmp_path, rows[:2], match={"by": f"email_or_phone_{where}"}, columns=columns)
    assert counts == Counts(read=2, updated=2)
    assert tiers(query) == {"a": "A", "b": "B", "c": "Gold", "d": "Gold", "e": "Gold"}
    counts, codes = load(people, tmp_path, rows[2:], 2, match={"by": f"email_or_phone_{where}"}, columns=columns)
    assert counts == Counts(read=2, unmatched=1, rejected=1)
    assert codes == {"ambiguous_match": 1}
    assert query("SELECT reason FROM ingest.rejects WHERE code = 'ambiguous_match'") == [
        (f"matches several profiles: {number(query, 'a', 'b')}",)
    ]


def test_rows_that_share_a_profile_are_rejected_naming_it(people: Target, query: Rows, tmp_path: Path) -> None:
    rows = [("ann@x.org", "+449", "A"), ("no@x.org", "+441", "B"), ("bob@x.org", "+449", "C")]
    counts, codes = load(
        people, tmp_path, rows, match={"by": "email_or_phone_profile"},
        columns={"Mail": "email", "Phone": "phone", "Tier": "tier"},
    )  # fmt: skip
    assert counts == Counts(read=3, updated=1, rejected=2)
    assert codes == {"duplicate_match": 2}
    assert query("SELECT line, key, field, reason FROM ingest.rejects ORDER BY line") == [
        (2, "ann@x.org", "email", f"lines 2, 3 match profile {number(query, 'a')}"),
        (3, "no@x.org", "email", f"lines 2, 3 match profile {number(query, 'a')}"),
    ]


@pytest.mark.parametrize(("keep", "tier"), [("first", "A"), ("last", "B")])
def test_of_rows_that_share_a_profile_one_can_be_kept(
    people: Target, query: Rows, tmp_path: Path, keep: str, tier: str
) -> None:
    rows = [("ann@x.org", None, "A"), (None, "+441", "B")]
    columns = {"Mail": "email", "Phone": "phone", "Tier": "tier"}
    match = {"by": "email_or_phone_profile"}
    counts, _ = load(people, tmp_path, rows, match=match, columns=columns, duplicates=keep, empty="keep")
    assert counts == Counts(read=2, updated=1, skipped=1)
    assert tiers(query)["a"] == tier


@pytest.mark.parametrize(
    ("versions", "mapped", "first", "last"),
    [
        (("10", "9"), {}, "A", "A"),
        (("10", "9"), {"Rev": "note"}, "A", "A"),
        (("2.50", "2.5"), {}, "A", "B"),
        ((None, "-1"), {"Rev": "note"}, "B", "B"),
        ((None, None), {}, "A", "B"),
        (("10", "9a"), {}, "B", "B"),
    ],
)
@pytest.mark.parametrize("keep", ["first", "last"])
def test_of_rows_that_share_a_profile_the_newest_version_is_kept(
    people: Target, query: Rows, tmp_path: Path, keep: str, mapped: dict[str, str], versions: tuple[str | None, ...],
    first: str, last: str,
) -> None:  # fmt: skip
    one, two = ([version] * (1 + len(mapped)) for version in versions)  # as a field, and as the source has it
    rows: list[tuple[Any, ...]] = [("ann@x.org", None, "A", *one), (None, "+441", "B", *two)]
    columns = {"Mail": "email", "Phone": "phone", "Tier": "tier", **mapped}
    database = {**CUSTOMERS, "fields": {**CUSTOMERS["fields"], "note": {"type": "string"}}}
    counts, _ = load(
        people, tmp_path, rows, match={"by": "email_or_phone_profile"}, columns=columns, duplicates=keep,
        version="Rev", empty="keep", database_of=database,
    )  # fmt: skip
    assert counts == Counts(read=2, updated=1, skipped=1)
    assert tiers(query)["a"] == (first if keep == "first" else last)


@pytest.mark.parametrize(
    ("database", "pattern"), [(UUID, "[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"), (SEQUENCE, "[12]")]
)
def test_a_profile_added_by_its_address_gets_a_key_once(
    target: Target, query: Rows, tmp_path: Path, database: dict[str, Any], pattern: str
) -> None:
    spec: dict[str, Any] = {
        "match": {"by": "email_profile"}, "columns": {"Mail": "email", "Tier": "tier"}, "mode": "add_and_update",
        "database_of": database,
    }  # fmt: skip
    counts, _ = load(target, tmp_path, [("ann@x.org", "A"), ("bob@x.org", "B")], **spec)
    assert counts == Counts(read=2, inserted=2)
    counts, _ = load(target, tmp_path, [("ANN@x.org", "A2"), ("bob@x.org", "B")], 2, **spec)
    assert counts == Counts(read=2, updated=1, unchanged=1)
    found = query("SELECT email, tier, customer_id ~ %s FROM crm.customers ORDER BY tier", f"^{pattern}$")
    assert found == [("ANN@x.org", "A2", True), ("bob@x.org", "B", True)]


@pytest.mark.parametrize("kind", ["string", "int"])
@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
def test_a_number_that_is_a_key_already_is_given_to_nobody(
    target: Target, query: Rows, tmp_path: Path, kind: str, restarted: bool
) -> None:
    """Keys of the source's own, of earlier loads and of the same item; also where the sequence was reset."""
    database = {**SEQUENCE, "fields": {**CUSTOMERS["fields"], "customer_id": {"type": kind}}}
    key = str if kind == "string" else int
    spec: dict[str, Any] = {
        "match": {"by": "email_profile"}, "mode": "add_and_update", "database_of": database,
        "columns": {"CID": "customer_id", "Mail": "email", "Tier": "tier"},
    }  # fmt: skip
    own = [(key(number), f"own{number}@x.org", "own") for number in (2, 3, 5, 6, 7, 40)]
    added = [(None, f"new{number}@x.org", "new") for number in range(5)]
    assert load(target, tmp_path, [*own, *added[:2]], **spec)[0] == Counts(read=8, inserted=8)
    if restarted:
        query("ALTER SEQUENCE crm.customers_key_seq RESTART")
    rows = [(key(9), "own9@x.org", "own"), *added[2:]]
    assert load(target, tmp_path, rows, 2, **spec)[0] == Counts(read=4, inserted=4)
    found = query("SELECT customer_id, email, tier FROM crm.customers ORDER BY email")
    assert [(email, tier) for _, email, tier in found] == sorted(
        (email, tier) for _, email, tier in [*own, *added, rows[0]]
    )
    kept = {email: number for number, email, _ in found}
    assert all(kept[email] == number for number, email, _ in [*own, rows[0]])
    assert len(set(kept.values())) == 12


def test_new_customers_with_one_address_are_not_added_twice(target: Target, query: Rows, tmp_path: Path) -> None:
    rows = [
        ("ann@x.org", "+441", "A"),
        ("ANN@x.org", "+442", "B"),
        ("bob@x.org", "+442", "C"),
        ("eve@x.org", None, "D"),
    ]
    counts, codes = load(
        target, tmp_path, rows, match={"by": "email_or_phone_profile"}, mode="add_and_update", database_of=UUID,
        columns={"Mail": "email", "Phone": "phone", "Tier": "tier"},
    )  # fmt: skip
    assert counts == Counts(read=4, inserted=2, rejected=2)
    assert codes == {"duplicate_match": 2}
    assert query("SELECT email FROM crm.customers ORDER BY 1") == [("bob@x.org",), ("eve@x.org",)]
    assert query("SELECT reason FROM ingest.rejects WHERE line = 2") == [
        ("lines 2, 3 match no profile and have the same email",)
    ]


def test_a_new_customer_cannot_take_the_key_of_another(people: Target, query: Rows, tmp_path: Path) -> None:
    rows = [("a", "new@x.org", "Taken"), ("f", "f@x.org", "New"), (None, "g@x.org", "Keyless")]
    counts, codes = load(
        people, tmp_path, rows, match={"by": "email_profile"}, mode="add_and_update",
        columns={"CID": "customer_id", "Mail": "email", "Tier": "tier"},
    )  # fmt: skip
    assert counts == Counts(read=3, inserted=1, rejected=2)
    assert codes == {"ambiguous_match": 1, "missing_key": 1}
    assert query("SELECT reason FROM ingest.rejects ORDER BY line") == [
        (f"matches no profile, and profile {number(query, 'a')} has its key",), ("a new profile needs its key",)
    ]  # fmt: skip
    assert query("SELECT tier FROM crm.customers WHERE customer_id = 'f'") == [("New",)]


def test_a_match_never_changes_the_key(people: Target, query: Rows, tmp_path: Path) -> None:
    counts, _ = load(
        people, tmp_path, [("z", "ann@x.org", "New")], match={"by": "email_profile"},
        columns={"CID": "customer_id", "Mail": "email", "Tier": "tier"},
    )  # fmt: skip
    assert counts == Counts(read=1, updated=1)
    assert query("SELECT customer_id, tier FROM crm.customers WHERE email = 'ann@x.org'") == [("a", "New")]


def test_a_key_that_is_an_address_is_compared_without_regard_to_case(
    target: Target, query: Rows, tmp_path: Path
) -> None:
    database = {**CUSTOMERS, "table": "crm.readers", "key": "email"}
    spec: dict[str, Any] = {
        "columns": {"Mail": "email", "Tier": "tier"},
        "mode": "add_and_update",
        "database_of": database,
    }
    load(target, tmp_path, [("Ann@x.org", "A")], **spec)
    counts, _ = load(target, tmp_path, [("ann@X.ORG", "B"), ("bob@x.org", "B")], 2, **spec)
    assert counts == Counts(read=2, inserted=1, updated=1)
    assert query("SELECT email, tier FROM crm.readers ORDER BY 1") == [("Ann@x.org", "B"), ("bob@x.org", "B")]


def test_rejects_of_the_look_up_are_kept_when_they_are_too_many(people: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import(
        "feed", columns={"Mail": "email", "Tier": "tier"}, match={"by": "email_profile"}, mode="update_only"
    )
    validated = delivery(tmp_path, bound, [("both@x.org", "A"), ("ann@x.org", "B")], of=item(1, name="feed"))
    with pytest.raises(RejectsAboveLimit, match="1 of 2 rows were rejected") as refusal:
        apply(validated, bound, people, SENSOR, NOW)
    report = record_failure(refusal.value, validated, validated.landing.item, bound, people, SENSOR, NOW)
    assert (report.counts, report.codes) == (Counts(read=2, rejected=1), {"ambiguous_match": 1})
    assert [sample.reason for sample in report.samples] == [f"matches several profiles: {number(query, 'c', 'd')}"]
    kept = query("SELECT load, line, key, row FROM ingest.rejects")
    assert kept == [(report.load_id, 2, "both@x.org", {"Mail": "both@x.org", "Tier": "A"})]
    assert tiers(query)["a"] == "Gold"


def test_a_match_makes_the_index_it_needs_once(people: Target, query: Rows, tmp_path: Path) -> None:
    spec: dict[str, Any] = {"match": {"by": "email"}, "columns": {"Mail": "email", "Tier": "tier"}}
    load(people, tmp_path, [("ann@x.org", "A")], **spec)
    load(people, tmp_path, [("ann@x.org", "B")], 2, **spec)
    made = query("SELECT ddl FROM ingest.loads WHERE import = 'feed' ORDER BY id")
    assert [len(ddl) for (ddl,) in made] == [3, 0]
    assert made[0][0][0] == 'CREATE INDEX "customers_email_folded" ON "crm"."customers" (lower("email"))'


KINDS = (None, "own", "sub", "new")
"""What a row says of a contact: nothing, the profile's own, that of a consent, one that nobody has."""

PAIRS = [(email, phone) for email in KINDS for phone in KINDS]


def address(number: int, kind: str | None) -> str | None:
    return None if kind is None else f"{kind}{number}@x.org"


def telephone(number: int, kind: str | None) -> str | None:
    return None if kind is None else f"+44{KINDS.index(kind)}{number:03}"


def people_with_two_consents() -> BoundImport:
    """An import of people who have consented by mail and by text message."""
    return bound_import(
        "people",
        columns={"CID": "customer_id", "Mail": "email", "Phone": "phone", "Tier": "tier"},
        subscriptions=[
            {"resource": "newsletter", "channel": "email", "contact": "SMail", "status": "subscribed"},
            {"resource": "newsletter", "channel": "sms", "contact": "SPhone", "status": "subscribed"},
        ],
    )


def contact_after(kind: str | None, *, matched_by: set[str], is_matched_by: bool) -> str | None:
    """The contact of a matched profile after the load, as the promise has it.

    Args:
        matched_by: the kinds by which the mode finds a profile; none if it does not look at this contact.
        is_matched_by: whether the mode looks at this contact.
    """
    if not is_matched_by:
        return kind  # a field as any other: the last write wins, an empty value clears
    return "own" if kind is None or (kind == "sub" and "sub" in matched_by) else kind


@pytest.mark.parametrize(
    ("contact", "place"),
    [
        (contact, place)
        for contact in ("email", "phone", "email_or_phone")
        for place in ("", "_profile", "_subscription")
        if contact + place in get_args(MatchMode)
    ],
)
def test_a_contact_that_a_row_was_matched_by_or_does_not_carry_stays(
    target: Target, query: Rows, tmp_path: Path, contact: str, place: str
) -> None:
    people = people_with_two_consents()
    rows = [
        (f"C{n}", address(n, "own"), telephone(n, "own"), "Gold", address(n, "sub"), telephone(n, "sub"))
        for n, _ in enumerate(PAIRS)
    ]
    apply(delivery(tmp_path, people, rows), people, target, SENSOR, NOW)
    found_by = {"": {"own", "sub"}, "_profile": {"own"}, "_subscription": {"sub"}}[place]
    by_email, by_phone = "email" in contact, "phone" in contact
    expected = []
    for number, (email, phone) in enumerate(PAIRS):
        matched = (by_email and email in found_by) or (by_phone and phone in found_by)
        mail = contact_after(email, matched_by=found_by, is_matched_by=by_email) if matched else "own"
        call = contact_after(phone, matched_by=found_by, is_matched_by=by_phone) if matched else "own"
        expected.append((f"C{number}", address(number, mail), telephone(number, call)))
    columns = {"Mail": "email", "Phone": "phone", "Tier": "tier"}
    feed = [(address(n, email), telephone(n, phone), "New") for n, (email, phone) in enumerate(PAIRS)]
    load(target, tmp_path, feed, match={"by": contact + place}, columns=columns)
    assert sorted(query("SELECT customer_id, email, phone FROM crm.customers")) == sorted(expected)


@pytest.mark.parametrize(("only", "value"), [("email", "own1@x.org"), ("phone", "+441001")])
@pytest.mark.parametrize("place", ["profile", "subscription"])
def test_one_of_both_contacts_is_enough(
    target: Target, query: Rows, tmp_path: Path, only: str, value: str, place: str
) -> None:
    people = people_with_two_consents()
    rows = [("C1", "own1@x.org", "+441001", "Gold", "own1@x.org", "+441001")]
    apply(delivery(tmp_path, people, rows), people, target, SENSOR, NOW)
    counts, _ = load(
        target, tmp_path, [(value, "New")], match={"by": f"email_or_phone_{place}"}, columns={"X": only, "Tier": "tier"}
    )
    assert counts == Counts(read=1, updated=1)
    assert query("SELECT email, phone, tier FROM crm.customers") == [("own1@x.org", "+441001", "New")]
