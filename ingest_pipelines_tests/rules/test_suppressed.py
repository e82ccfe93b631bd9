"""People who are kept out are left out by any spelling that would match their profile, and nothing of them is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.config.databases import Field
from ingest_pipelines.model import LINE
from ingest_pipelines.rules import identity_texts
from ingest_pipelines.suppression import NOBODY, Suppressed, SuppressionSecret
from ingest_pipelines.suppression.marks import marks
from ingest_pipelines_tests.rules.feeds import accepted, bound_import, frame, rejects, validate

SECRET = SuppressionSecret(b"of this installation")
TABLE = "crm.customers"


def kept_out(kind: str, *texts: str) -> Suppressed:
    return Suppressed.of(TABLE, SECRET, SECRET.entries(TABLE, kind, texts))


@pytest.mark.parametrize(
    ("key", "forgotten", "spellings", "others"),
    [
        ({"type": "string"}, "Zoë 1", ["Zoë 1", " Zoë 1\t", "\u200bZoe\u0308 1"], ["zoë 1", "Zoë  1", "Zoë 11"]),
        ({"type": "int"}, "0042", ["42", "+42", "0042", " 42 "], ["-42", "420"]),
        ({"type": "email"}, "ANN@x.co", ["ann@x.co", "Ann@X.CO ", "ANN@x.co"], ["ann@x.com"]),
        ({"type": "phone", "region": "GB"}, "020 7946 0018", ["+44 20 7946 0018", "02079460018"], ["02079460019"]),
    ],
    ids=["string", "int", "email", "phone"],
)
def test_a_key_is_kept_out_in_every_spelling_of_its_type(
    tmp_path: Path, key: dict[str, Any], forgotten: str, spellings: list[str], others: list[str]
) -> None:
    [text] = identity_texts(Field.model_validate(key), [forgotten])
    bound = bound_import({"points": {"type": "int"}}, key=key, duplicates="last", rejects={"unlimited": True})
    rows = frame({"id": [*spellings, *others], "points": ["1"] * (len(spellings) + len(others))})
    validated = validate(bound, tmp_path, rows, suppressed=kept_out("key", text))
    assert validated.suppressed_rows == len(spellings)
    assert validated.read == len(spellings) + len(others)
    assert accepted(validated)[LINE].to_list() == [len(spellings) + 2 + place for place in range(len(others))]


EMAIL, PHONE = {"type": "email"}, {"type": "phone", "region": "GB"}
SMS = {"by": "channel", "channel": "sms", "column": "Contact"}


@pytest.mark.parametrize(
    ("match", "kind", "text", "columns"),
    [
        ("email", "email", "ann@x.co", {"email": "Ann@x.co"}),
        ("email_profile", "email", "ann@x.co", {"email": "ann@x.co"}),
        ("email_subscription", "email", "ann@x.co", {"email": "ann@x.co"}),
        ("phone", "phone", "+442079460018", {"phone": "020 7946 0018"}),
        ("phone_profile", "phone", "+442079460018", {"phone": "+442079460018"}),
        ("phone_subscription", "phone", "+442079460018", {"phone": "020 7946 0018"}),
        ("email_or_phone_profile", "email", "ann@x.co", {"email": "ann@x.co"}),
        ("email_or_phone_profile", "phone", "+442079460018", {"email": "", "phone": "020 7946 0018"}),
        ("email_or_phone_subscription", "phone", "+442079460018", {"phone": "020 7946 0018"}),
        ({"by": "field", "field": "account"}, "field:account", "7", {"account": "007"}),
        ({"by": "profile_id", "column": "Contact"}, "profile_id", "7", {"Contact": "007"}),
        ({"by": "push", "column": "Contact"}, "push", "token", {"Contact": " token "}),
        (SMS, "phone", "+442079460018", {"Contact": "+44 20 7946 0018"}),
        ({"by": "channel", "channel": "telegram", "column": "Contact"}, "channel:telegram", "ann", {"Contact": "ann"}),
        ("email", "key", "k1", {"id": "k1", "email": "other@x.co"}),
    ],
)  # fmt: skip
def test_a_row_is_left_out_by_what_the_import_matches_by(
    tmp_path: Path, match: Any, kind: str, text: str, columns: dict[str, str]
) -> None:
    fields = {"email": EMAIL, "phone": PHONE, "account": {"type": "int"}}
    bound = bound_import(fields, mode="update_only", match=match, rejects={"unlimited": True})
    others = {
        "id": "k2", "email": "bob@x.co", "phone": "020 7946 0999", "account": "8",
        "Contact": "8" if kind == "profile_id" else "020 7946 0999",
    }  # fmt: skip
    given = {"id": "k3", "email": "cat@x.co", "phone": "020 7946 0777", "account": "9", "Contact": "9", **columns}
    rows = frame({name: [given[name], others[name]] for name in others})
    validated = validate(bound, tmp_path, rows, suppressed=kept_out(kind, text))
    assert (validated.read, validated.suppressed_rows) == (2, 1)
    assert 2 not in accepted(validated)[LINE].to_list()
    assert validated.rejects is None or all(reject["line"] != 2 for reject in rejects(validated))


@pytest.mark.parametrize("duplicates", ["reject", "last"])
def test_nothing_of_a_person_who_is_kept_out_is_on_disk_and_others_lose_nothing(
    tmp_path: Path, duplicates: str
) -> None:
    bound = bound_import({"points": {"type": "int"}}, duplicates=duplicates, rejects={"unlimited": True})
    rows = frame({"id": ["ann-1", "ann-1", "bob", "cat", "bob"], "points": ["x", "2", "y", "3", "4"]})
    validated = validate(bound, tmp_path, rows, suppressed=kept_out("key", "ann-1"))
    assert validated.suppressed_rows == 2
    assert not any(sample.line < 4 for sample in validated.samples)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"ann-1" in path.read_bytes()]
    alone = validate(bound, tmp_path, rows.filter(pl.col(LINE) > 3))
    assert (alone.accepted_rows, alone.rejected_rows, alone.codes, alone.superseded_rows) == (
        validated.accepted_rows, validated.rejected_rows, validated.codes, validated.superseded_rows,
    )  # fmt: skip


@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=60), st.data())
def test_the_marks_of_a_column_are_those_of_its_values_and_none_is_missed(
    texts: list[str | None], data: st.DataObject
) -> None:
    column = pl.Series(texts, dtype=pl.String)
    alone = [marks(SECRET.value, pl.Series([text], dtype=pl.String))[0] for text in texts]
    np.testing.assert_array_equal(marks(SECRET.value, column), np.array(alone, np.uint32))
    chosen = data.draw(
        st.lists(st.sampled_from([text for text in texts if text is not None] or ["nobody"]), max_size=9)
    )
    found = kept_out("key", *chosen).among("key", column)
    assert found.to_list() == [text is not None and text in chosen for text in texts]
    assert not kept_out("email", *chosen).among("key", column).any()


def test_another_secret_another_table_and_an_empty_list_know_nobody() -> None:
    column = pl.Series(["ann", None])
    other = Suppressed.of(TABLE, SuppressionSecret(b"another"), SECRET.entries(TABLE, "key", ["ann"]))
    assert not other.among("key", column).any()
    assert not Suppressed.of("crm.others", SECRET, SECRET.entries(TABLE, "key", ["ann"])).among("key", column).any()
    assert not NOBODY
    assert not NOBODY.among("key", column).any()
