"""Pydantic's errors as one line each: file:line: dotted.key: what is wrong, and what belongs there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ingest_pipelines.config.field_types import type_elsewhere
from ingest_pipelines.config.nearest import closest, nearest
from ingest_pipelines.config.yaml_lines import Document, Path
from ingest_pipelines.errors import printable

KEYS = "keys, such as "
"""What belongs where a mapping is expected; an example follows."""

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": KEYS,
    "model_type": KEYS,
    "model_attributes_type": KEYS,
    "list_type": "a list such as [a, b]",
    "tuple_type": "a list such as [a, b]",
    "date_type": "a date such as 2026-11-22",
    "date_parsing": "a date such as 2026-11-22",
    "date_from_datetime_parsing": "a date such as 2026-11-22",
    "date_from_datetime_inexact": "a date such as 2026-11-22",
    "datetime_type": "a time such as 2026-11-22T06:00",
    "datetime_parsing": "a time such as 2026-11-22T06:00",
    "datetime_from_date_parsing": "a time such as 2026-11-22T06:00",
}
"""Pydantic's name of an error -> what belongs there."""

FEW = 5
"""Up to so many options, a message lists them even if the nearest one is clear."""

_OFTEN_QUOTED = frozenset({"yes", "no", "on", "off", "y", "n", "true", "false"})


@dataclass(frozen=True)
class Mistake:
    """One mistake: where it stands in the file, and the sentence about it without file and line."""

    path: Path
    what: str


def mistakes_of(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Mistake]:
    """Every mistake once, in the order of the file; the branches of one union are one mistake."""
    grouped: dict[Path, list[ErrorDetails]] = {}
    for detail in _without_consequences(error.errors(include_url=False), model):
        grouped.setdefault(_in_file(detail["loc"], document.value, detail["type"]), []).append(detail)
    mistakes = [
        Mistake(where, f"{_dotted(where)}{what}")
        for path, details in grouped.items()
        if not (details[0]["type"] == "too_short" and any(path == longer[:-1] for longer in grouped))
        for where, what in _sentences(path, details, model)
    ]
    return sorted(mistakes, key=lambda mistake: document.line(mistake.path))


def _without_consequences(details: list[ErrorDetails], model: type[BaseModel]) -> Iterator[ErrorDetails]:
    """The errors but for "required" of a key that is there with a typing mistake: that is one mistake, not two."""
    meant = {
        (*detail["loc"][:-1], closest(str(detail["loc"][-1]), keys_at(model, detail["loc"][:-1])))
        for detail in details
        if detail["type"] == "extra_forbidden"
    }
    yield from (detail for detail in details if detail["type"] != "missing" or detail["loc"] not in meant)


def _dotted(path: Path) -> str:
    return ".".join(str(part) if str(part).strip() else repr(part) for part in path) + ": " if path else ""


def _in_file(location: tuple[str | int, ...], value: Any, kind: str) -> Path:
    """Pydantic's location without the parts that do not stand in the file: union tags, key markers, model names."""
    path: Path = ()
    for index, part in enumerate(location):
        here = value if isinstance(value, Mapping) else dict(enumerate(value)) if isinstance(value, list) else {}
        if part in here:
            value = here[part]
        elif not (kind == "missing" and index == len(location) - 1):
            continue
        path = (*path, part)
    return path


def _sentences(path: Path, details: list[ErrorDetails], model: type[BaseModel]) -> Iterator[tuple[Path, str]]:
    """A sentence for each thing that is wrong at `path`."""
    expected = list(dict.fromkeys(_expected(detail, model) for detail in details if detail["type"] in _EXPECTED))
    if expected:
        yield path, f"expected {' or '.join(expected)}{_found(details[0]['input'], expected)}"
        return
    for detail in details:
        yield _sentence(path, detail, model)


def _expected(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """What belongs there; where that is a mapping, with an example of one."""
    what = _EXPECTED[detail["type"]]
    return f"{what}{example(*_annotations_at(model, detail['loc']))}" if what == KEYS else what


def _found(value: Any, expected: list[str]) -> str:
    """Why YAML read the value as another type than people expect."""
    if value is None:
        return "; the key has no value"
    if expected == ["text"] and isinstance(value, (bool, int, float)):
        return "; put it in quotes, else YAML reads a number, true or false"
    if expected == ["true or false"] and isinstance(value, str) and value.lower() in _OFTEN_QUOTED:
        return "; YAML 1.2 knows only these two words"
    return ""


def _sentence(path: Path, detail: ErrorDetails, model: type[BaseModel]) -> tuple[Path, str]:
    kind, context = detail["type"], detail.get("ctx", {})
    match kind:
        case "extra_forbidden":
            known = keys_at(model, detail["loc"][:-1])
            return path, f"unknown key; {nearest(str(detail['loc'][-1]), known, shown=None)}"
        case "missing":
            return path, "this key is required"
        case "union_tag_invalid":
            known = {tag.strip("' ") for tag in str(context["expected_tags"]).split(",")}
            return (*path, "type"), f"unknown type; {nearest(str(context['tag']), known)}"
        case "union_tag_not_found":
            return (*path, "type"), "this key is required"
        case "literal_error":
            return path, _one_of(detail["input"], str(context["expected"]))
        case "greater_than_equal":
            return path, f"must be at least {context['ge']:g}"
        case "greater_than":
            return path, f"must be above {context['gt']:g}"
        case "less_than_equal":
            return path, f"must be at most {context['le']:g}"
        case "too_short":
            return path, "needs at least one entry"
        case "string_too_short":
            return path, "must not be empty"
        case "string_too_long":
            return path, f"has more than {context['max_length']} characters"
    return path, detail["msg"].removeprefix("Value error, ")


def _one_of(value: Any, expected: str) -> str:
    options = [option.strip("' ") for option in expected.replace(" or ", ", ").split(",")]
    options = ["decimal(p,s)" if option == "decimal" else option for option in options]
    close = _meant(value, options) if isinstance(value, str) else None
    if close is not None and len(options) > FEW:
        return f"'{printable(value, 40)}' is not known; did you mean '{close}'?"
    return f"expected one of {', '.join(options)}{f'; did you mean {close!r}?' if close else ''}"


def _meant(value: str, options: list[str]) -> str | None:
    """The option that the value means: what another system calls it, else the most similar one."""
    ours = type_elsewhere(value)
    is_option = ours is not None and ours.partition("(")[0] in {option.partition("(")[0] for option in options}
    return ours if is_option else closest(value, options)


def example(*annotations: Any) -> str:
    """A value of the first mapping among these types, else of the first type, as YAML spells it.

    A mapping has its first required key, or its first one. A text that nobody can guess is `...`.
    """
    given = [annotation for annotation in annotations if annotation is not type(None)]
    mappings = [annotation for annotation in given if _is_model(annotation) or get_origin(annotation) is dict]
    annotation: Any = next(iter([*mappings, *given]), str)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if _is_model(annotation):
        shown = [(key, info) for key, info in annotation.model_fields.items() if not _hidden(info)]
        key, info = next((pair for pair in shown if pair[1].is_required()), shown[0])
        default = info.default
        usual = str(default) if type(default) is int else f"{default:g}" if isinstance(default, float) else ""
        return f"{{{info.alias or key}: {usual or example(*_flat(info.annotation))}}}"
    if origin is Literal:
        return str(arguments[0])
    if origin is dict:
        return f"{{NAME: {example(*_flat(arguments[1]))}}}"
    if origin in {tuple, list}:
        return f"[{example(*_flat(arguments[0]))}]"
    return _EXAMPLES.get(annotation, "...")


_EXAMPLES: Mapping[Any, str] = {
    bool: "true", int: "5", float: "5", timedelta: "6h", date: "2026-11-22", datetime: "2026-11-22T06:00",
}  # fmt: skip


def keys_at(model: type[BaseModel], location: Iterable[str | int]) -> set[str]:
    """The keys that a mapping at pydantic's `location` may have, so that the nearest can be named."""
    models = [annotation for annotation in _annotations_at(model, location) if _is_model(annotation)]
    return {info.alias or key for found in models for key, info in found.model_fields.items() if not _hidden(info)}


def _annotations_at(model: type[BaseModel], location: Iterable[str | int]) -> list[Any]:
    """The types that a value at pydantic's `location` may have."""
    reached: list[Any] = [model]
    for part in location:
        reached = [following for annotation in reached for following in _step(annotation, part)] or reached
    return reached


def _hidden(info: Any) -> bool:
    return any(type(part).__name__ == "SkipJsonSchema" for part in info.metadata)


def _step(annotation: Any, part: str | int) -> list[Any]:
    if _is_model(annotation):
        for key, info in annotation.model_fields.items():
            if part == (info.alias or key):
                return _flat(info.annotation)
        return [annotation] if part == _tag(annotation) else []
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return _flat(arguments[1])
    if get_origin(annotation) in {tuple, list}:
        return _flat(arguments[0])
    return []


def _flat(annotation: Any) -> list[Any]:
    """The annotation's alternatives: unions unfolded, `Annotated` taken off."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _flat(arguments[0])
    if origin in {dict, tuple, list, Literal} or not arguments:
        return [annotation]
    return [found for argument in arguments for found in _flat(argument)]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tag(model: type[BaseModel]) -> str | None:
    """The value of the model's `type` that chooses it among others."""
    info = model.model_fields.get("type")
    arguments = get_args(info.annotation) if info else ()
    return str(arguments[0]) if len(arguments) == 1 else None


def first_mistake(model: type[BaseModel], value: Mapping[str, Any]) -> str | None:
    """What is wrong first with a value that a person typed, in words; None: nothing."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        return about_a_value(error)
    return None


def about_a_value(error: ValidationError) -> str:
    """What is wrong first with a value that a person typed, in words; where it was typed is known."""
    detail = error.errors(include_url=False)[0]
    what = _EXPECTED.get(detail["type"])
    return f"expected {what}" if what is not None else _sentence((), detail, BaseModel)[1]
