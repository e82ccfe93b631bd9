"""Transient is tried again and final is not: over every code of PostgreSQL's appendix, and later ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import errors
from psycopg.errors import lookup

from ingest_pipelines.errors import InternalError, TargetDenied
from ingest_pipelines.merge.driver_errors import kind_of, translate
from ingest_pipelines.merge.sqlstates import CLASSES, CODES, login_meaning_of, meaning_of

LISTED = [line.split() for line in Path("/usr/share/postgresql/15/errcodes.txt").read_text().splitlines()]
APPENDIX = sorted({words[0] for words in LISTED if words[1:2] == ["E"]})
"""Every error that Postgres 15 can send, from the list that its own code is generated from."""

TRANSIENT = {
    # connection exceptions
    "08000", "08001", "08003", "08004", "08006", "08007", "08P01",
    # a standby; a session that a time limit ended
    "25006", "25P03", "25P04",
    # the transaction lost against another one
    "40000", "40001", "40003", "40P01",
    # memory and connections run out, and come back
    "53000", "53200", "53300",
    # another session is in the way
    "55006", "55P03", "72000",
    # an operator, a restart, a time limit
    "57000", "57014", "57P01", "57P02", "57P03", "57P05",
    # a foreign table's server
    "HV00N",
}  # fmt: skip
"""The independent list: whatever is not in it needs a person."""

LOGIN = {"28000", "28P01", "3D000", "57P04", "0P000"}
"""Codes that are about who we are, whenever they come."""


def test_the_appendix_is_whole() -> None:
    assert len(APPENDIX) > 230
    assert TRANSIENT - {"25P04"} < set(APPENDIX)


@pytest.mark.parametrize("code", sorted({*APPENDIX, "25P04"}))
def test_each_code_is_tried_again_or_not(code: str) -> None:
    error = translate(lookup(code)("a value: 4f1c09ab"), "import loyalty, item x")
    assert error.retryable is (code in TRANSIENT)
    assert isinstance(error, TargetDenied) is (code in LOGIN)
    assert not isinstance(error, InternalError)
    assert code in error.message or code in {"40P01", "55P03"}
    assert "4f1c09ab" not in str(error)
    assert "bug" not in str(error)
    assert error.hint


@pytest.mark.parametrize("code", sorted({*APPENDIX, "25P04"}))
def test_each_answer_to_a_login_is_tried_again_or_denied(code: str) -> None:
    meaning = login_meaning_of(code)
    assert meaning.error.retryable is (code in TRANSIENT - {"08004"})  # the code of a server without TLS
    assert meaning.error.retryable or meaning.error is TargetDenied


def test_a_code_of_a_later_postgres_is_read_by_its_class() -> None:
    for known, meaning in CLASSES.items():
        assert meaning_of(f"{known}ZZ9") is meaning
    assert not meaning_of("ZZZZ9").error.retryable
    assert all(code[:2] in CLASSES for code in CODES)
    assert {code[:2] for code in APPENDIX} <= CLASSES.keys()


def test_a_code_that_postgres_does_not_have_is_not_repeated() -> None:
    assert kind_of("90210") == "an error code of a function"
    assert kind_of("23505") == "unique violation (23505)"


def test_what_psycopg_says_without_a_code_is_told_by_its_kind() -> None:
    gone = translate(errors.OperationalError("server said 4f1c09ab"), "x")
    ours = translate(errors.DataError("cannot dump 4f1c09ab"), "x")
    assert gone.retryable
    assert isinstance(ours, InternalError)
    assert "4f1c09ab" not in f"{gone}{ours}"
