from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines_tests.rules.feeds import accepted, bound_import, codes, frame, rejects, validate

EMAIL, PHONE = {"type": "email"}, {"type": "phone", "region": "GB"}


def _codes(tmp_path: Path, columns: dict[str, list[Any]], fields: dict[str, Any], **spec: Any) -> dict[int, list[str]]:
    return codes(validate(bound_import(fields, **spec), tmp_path, frame(columns)))


def test_matched_by_a_field_that_field_is_the_key(tmp_path: Path) -> None:
    rows = {"id": ["", "b", "c", "d"], "account": ["", "1", "01", "2"]}
    found = _codes(tmp_path, rows, {"account": {"type": "int"}}, match={"by": "field", "field": "account"})
    assert found == {2: ["missing_key"], 3: ["duplicate_key"], 4: ["duplicate_key"]}


@pytest.mark.parametrize("by", ["email", "email_profile", "email_subscription"])
def test_matched_by_email_case_makes_no_difference(tmp_path: Path, by: str) -> None:
    rows = {"id": ["a", "b", "c", "d"], "email": ["x@y.co", "X@Y.CO", "", "not an address"]}
    assert _codes(tmp_path, rows, {"email": EMAIL}, mode="update_only", match=by) == {
        2: ["duplicate_key"], 3: ["duplicate_key"], 4: ["missing_key"], 5: ["bad_email"],
    }  # fmt: skip


@pytest.mark.parametrize("by", ["phone", "phone_profile", "phone_subscription"])
def test_matched_by_phone_spelling_makes_no_difference(tmp_path: Path, by: str) -> None:
    rows = {"id": ["a", "b", "c"], "phone": ["020 7946 0018", "+442079460018", ""]}
    assert _codes(tmp_path, rows, {"phone": PHONE}, mode="update_only", match=by) == {
        2: ["duplicate_key"], 3: ["duplicate_key"], 4: ["missing_key"],
    }  # fmt: skip


@pytest.mark.parametrize("by", ["email_or_phone_profile", "email_or_phone_subscription"])
def test_matched_by_email_or_phone_one_of_them_is_enough(tmp_path: Path, by: str) -> None:
    rows = {
        "id": ["a", "b", "c", "d", "e"],
        "email": ["x@y.co", "", "", "X@y.co", ""],
        "phone": ["", "+442079460018", "", "+442079460019", "020 7946 0018"],
    }
    assert _codes(tmp_path, rows, {"email": EMAIL, "phone": PHONE}, mode="update_only", match=by) == {
        2: ["duplicate_key"], 3: ["duplicate_key"], 4: ["missing_key"], 5: ["duplicate_key"], 6: ["duplicate_key"],
    }  # fmt: skip


def test_a_profile_id_is_a_whole_number_in_a_column_of_its_own(tmp_path: Path) -> None:
    bound = bound_import(
        {"points": {"type": "int"}},
        columns={"points": "points"},
        mode="update_only",
        match={"by": "profile_id", "column": "Profile"},
    )
    rows = frame({"Profile": ["7", "007", "", "x", "9"], "points": ["1", "2", "3", "4", "5"]})
    validated = validate(bound, tmp_path, rows)
    assert codes(validated) == {2: ["duplicate_key"], 3: ["duplicate_key"], 4: ["missing_key"], 5: ["bad_int"]}
    assert accepted(validated).rows() == [(6, 5, "9")]
    assert accepted(validated).columns == ["_line", "points", "column:Profile"]
    assert [record["field"] for record in rejects(validated)] == ["column:Profile"] * 4


def test_an_address_in_a_column_of_its_own_is_checked_too(tmp_path: Path) -> None:
    bound = bound_import({"points": {"type": "int"}}, mode="update_only", match={"by": "email", "column": "Mail"})
    rows = frame({"id": ["a", "b"], "points": ["1", "2"], "Mail": ["x@y.co", "not an address"]})
    validated = validate(bound, tmp_path, rows)
    assert codes(validated) == {3: ["bad_email"]}
    assert accepted(validated)["column:Mail"].to_list() == ["x@y.co"]


def test_a_device_token_is_a_text(tmp_path: Path) -> None:
    bound = bound_import({"points": {"type": "int"}}, mode="update_only", match={"by": "push", "column": "Token"})
    rows = frame({"id": ["a", "b", "c"], "points": ["1", "2", "3"], "Token": ["T1", "t1", " "]})
    assert codes(validate(bound, tmp_path, rows)) == {4: ["missing_key"]}


def test_a_channels_contact_is_read_as_the_channel_reads_it(tmp_path: Path) -> None:
    bound = bound_import(
        {"points": {"type": "int"}}, mode="update_only", match={"by": "channel", "channel": "sms", "column": "Mobile"}
    )
    rows = frame(
        {"id": ["a", "b", "c"], "points": ["1", "2", "3"], "Mobile": ["+44 7700 900123", "+447700900124", "07700"]}
    )
    validated = validate(bound, tmp_path, rows)
    assert codes(validated) == {4: ["bad_phone"]}
    assert accepted(validated)["column:Mobile"].to_list() == ["+447700900123", "+447700900124"]


def test_contacts_and_statuses_of_subscriptions_are_checked(tmp_path: Path) -> None:
    bound = bound_import(
        {"phone": PHONE},
        database={"resources": {"news": {"channels": ["email", "sms"]}}},
        subscriptions=[
            {"resource": "news", "channel": "email", "contact": "Mail", "status_column": "Status"},
            {"resource": "news", "channel": "sms", "contact": "phone", "status": "subscribed"},
        ],
    )
    rows = frame({
        "id": ["a", "b", "c", "d"], "phone": ["020 7946 0018", "", "", ""],
        "Mail": ["x@y.co", "nobody", "", "z@y.co"], "Status": ["subscribed", "unsubscribed", "", "maybe"],
    })  # fmt: skip
    validated = validate(bound, tmp_path, rows)
    assert codes(validated) == {3: ["bad_email"], 5: ["not_one_of"]}
    assert accepted(validated).select("phone", "column:phone", "column:Mail", "column:Status").rows() == [
        ("+442079460018", "+442079460018", "x@y.co", "subscribed"),
        (None, None, None, None),
    ]


def test_a_column_that_fills_no_field_still_holds_no_nul(tmp_path: Path) -> None:
    bound = bound_import({"points": {"type": "int"}}, version="Changed")
    rows = frame({"id": ["a", "b"], "points": ["1", "2"], "Changed": ["2026-01-01", "a\x00b"]})
    assert codes(validate(bound, tmp_path, rows)) == {3: ["unsupported_character"]}
