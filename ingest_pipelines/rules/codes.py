"""Every reject code with its family and its meaning. Reports, checks and docs read them here."""

from __future__ import annotations

from typing import Literal

Family = Literal["keys", "types", "dates", "text", "field rules", "matching", "table"]

CODES: dict[str, tuple[Family, str]] = {
    "missing_key": ("keys", "the key is empty, a placeholder such as NULL, or its column's name"),
    "duplicate_key": ("keys", "the match key occurs more than once in the item"),
    "bad_int": ("types", "not a whole number"),
    "bad_decimal": ("types", "not a decimal number, or more digits than the field holds"),
    "bad_float": ("types", "not a finite number"),
    "bad_bool": ("types", "not a yes or no"),
    "bad_date": ("types", "not a calendar date"),
    "bad_datetime": ("types", "not a point in time"),
    "bad_enum": ("types", "neither an option nor the index of one"),
    "bad_json": ("types", "not JSON of the field's shape"),
    "bad_email": ("types", "not one email address"),
    "bad_phone": ("types", "not a phone number"),
    "bad_ip": ("types", "not an IP address"),
    "date_too_early": ("dates", "a date before 1753-01-01"),
    "default_date": ("dates", "a date that systems write for an unknown one"),
    "too_long": ("text", "more characters than the field holds"),
    "unsupported_character": (
        "text",
        "an emoji, a control character, one beyond the Basic Multilingual Plane, or an invisible one in a key",
    ),
    "required": ("field rules", "empty, and the field is required"),
    "below_min": ("field rules", "less than the field's `min`"),
    "above_max": ("field rules", "more than the field's `max`"),
    "pattern": ("field rules", "does not match the field's `pattern`"),
    "not_one_of": ("field rules", "not in the field's `one_of`"),
    "not_unique": ("field rules", "occurs more than once in the item, and the field is `unique`"),
    "ambiguous_match": ("matching", "matches several profiles"),
    "duplicate_match": ("matching", "another row of the item matches the same profile"),
    "refused_by_table": ("table", "a constraint or a trigger of the table refuses it"),
}
"""Code -> (family, meaning). The merge checks the families `matching` and `table`, the rules all others."""

FAMILIES: dict[Family, tuple[str, ...]] = {
    family: tuple(code for code, (of, _) in CODES.items() if of == family)
    for family in dict.fromkeys(family for family, _ in CODES.values())
}
"""Family -> its codes, in the order of CODES."""
