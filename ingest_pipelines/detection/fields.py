"""Which existing field a source column means: by its name, as people and vendors write it. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

_SYNONYMS = {
    "mail": "email", "emailaddress": "email", "emailaddr": "email", "mobile": "phone", "cell": "phone",
    "cellphone": "phone", "tel": "phone", "telephone": "phone", "msisdn": "phone", "phonenumber": "phone",
    "fname": "first name", "firstname": "first name", "forename": "first name", "given": "first",
    "lname": "last name", "lastname": "last name", "surname": "last name", "family": "last",
    "zipcode": "zip", "postcode": "zip", "postal": "zip", "postalcode": "zip", "plz": "zip",
    "dob": "birth date", "birthdate": "birth date", "birthday": "birth date", "birthdt": "birth date",
    "cid": "id", "customerid": "id", "userid": "id", "no": "number", "nr": "number", "num": "number",
    "on": "date", "at": "date",
}  # fmt: skip
_SAYS_WHOSE = frozenset({"customer", "contact", "subscriber", "user", "profile", "person", "primary", "default", "the"})
"""Words of a name that only say that a customer is meant."""

_SAYS_AGAIN = {"email": {"address"}, "phone": {"number"}, "zip": {"code"}, "birth": {"of"}}
"""Word -> words beside it that add nothing."""

_USUAL = frozenset(
    "id name email phone first last city country street address zip key code date time title company status tag tags "
    "note notes gender age birth language points tier segment source type currency state region account number "
    "created updated joined accepts consent opt list group total orders amount".split()
)
"""Words of which columns' names are usually made."""


def match_fields(columns: Sequence[str], fields: Collection[str]) -> dict[str, str]:
    """Column -> the existing field that it means; each field for one column at most, exact names first."""
    found: dict[str, str] = {}
    for spelled in (_folded, words_of):
        by_spelling = {spelled(field): field for field in sorted(fields, reverse=True)}
        for column in columns:
            field = by_spelling.get(spelled(column))
            if field is not None and column not in found and field not in found.values():
                found[column] = field
    return {column: found[column] for column in columns if column in found}


def words_of(name: str) -> frozenset[str]:
    """The words of a name without their order, synonyms as one: `E-mail Address` and `email` are the same."""
    words = [synonym for word in _words(name) for synonym in _SYNONYMS.get(word, word).split()]
    again = {said for word in words for said in _SAYS_AGAIN.get(word, ())}
    kept = frozenset(words) - again
    return kept - _SAYS_WHOSE or kept


def means_a_column(name: str) -> bool:
    """Whether a text is made of words that columns are usually called."""
    words = words_of(name)
    return (
        bool(words) and len(words) <= 5 and not words.isdisjoint(_USUAL) and not re.search(r"[@\d]{3}|[0-9]{4}", name)
    )


def _words(name: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", plain)
    words = re.findall(r"[a-z]+|[0-9]+", re.sub(r"\be[-_ ]mail", "email", spaced.lower()))
    return words or [name]


def _folded(name: str) -> str:
    """Its letters and digits in small letters."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", name).casefold() if letter.isalnum())
    return plain or name
