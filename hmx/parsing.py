"""Parsing: options from whatever a user gave, or words on why not.

One definition of an option serves the Python call, the catalog and the command
line, so a wrong value gets the same words everywhere; :func:`parse` speaks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from hmx.bounds import Count, Numbers, Share, require_plain
from hmx.errors import BadArgument, HmxError, did_you_mean


class Options(BaseModel):
    """Frozen, strict about names, and of finite numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        return require_plain(value, _annotation(cls, str(info.field_name)))


@cache
def _annotation(kind: type[BaseModel], name: str) -> Any:
    return kind.model_fields[name].annotation


__all__ = ["HARDWARE", "Count", "Numbers", "Options", "Share", "own_fields", "parse"]

HARDWARE = frozenset({"device", "parallel", "devices", "num_nodes"})  # they decide no model

Chosen = TypeVar("Chosen", bound=BaseModel)


def parse(
    kind: type[Chosen],
    values: Mapping[str, Any],
    *,
    file: str | None = None,
    error: type[HmxError] = BadArgument,
    context: Mapping[str, Any] | None = None,
) -> Chosen:
    """Validate options, or say what was given, the rule and what to type.

    Parameters
    ----------
    kind : type
        A pydantic model.
    values : mapping
        What the user gave.
    file : str, optional
        Name of the catalog the values stand in.
    error : type
        Which error to raise.
    context : mapping, optional
        For the model's validators.
    """
    try:
        return kind.model_validate(values, context=dict(context or {}))
    except ValidationError as problems:
        lines = list(dict.fromkeys(_say(kind, problem, file) for problem in problems.errors()))
        more = [f"... and {len(lines) - _LINES:,} more"] if len(lines) > _LINES else []
        raise error("\n".join([*lines[:_LINES], *more])) from None


_LINES = 20  # wrong values that a message lists
_SHOWN, _DIGITS = 200, 40  # characters of a value, and digits of a number, that a message shows

_RULES = {
    "missing": "this key is required",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "string_type": "must be a text",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "too_few": "must have more entries",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
}


def _say(kind: type[BaseModel], problem: Any, file: str | None) -> str:
    """Turn one of pydantic's problems into a sentence of ours."""
    # neither places in lists nor "[...]", which names a branch of a union or a key
    at = [p for p in problem["loc"] if not isinstance(p, int) and not p.startswith("[")]
    where = f" in {file}" if file else ""
    if problem["type"] == "extra_forbidden":
        known = list(_at(kind, at[:-1]))
        path, near = ".".join(map(str, at)), did_you_mean(str(at[-1]), known)
        what = "key" if file else "option"
        return f"unknown {what} {path!r}{where} (known: {', '.join(known)}).{near}"
    what, given = problem["type"], problem["input"]
    if what == "missing" and isinstance(problem["loc"][-1], int):
        what = "too_few"
    rule = _RULES.get(what, problem["msg"].removeprefix("Value error, "))
    rule = rule.format(**problem.get("ctx", {})) if what in _RULES else rule
    section = what == "missing" or (what == "value_error" and isinstance(given, Mapping))
    shown = "" if section else _given(given, tight=not file)
    head = f"{'.'.join(map(str, at))}{shown}{where}".strip()
    end = "" if rule.endswith(("?", ".")) else "."
    return f"{head}: {rule}{end}" if head else f"{rule}{end}"


def _given(value: Any, *, tight: bool) -> str:
    shown = list(value) if isinstance(value, tuple) else value
    shown = shown[0] if isinstance(shown, list) and len(shown) == 1 else shown
    text = _short(shown)
    return f"={text}" if tight else f" = {text}"


def _short(value: Any) -> str:
    """Write a value as Python does, cut in the middle if it is long."""
    if isinstance(value, int) and abs(value) >= 10**_DIGITS:  # str() takes minutes, and refuses
        return f"a whole number of about {int(value.bit_length() * 0.30103):,} digits"
    text = repr(value[:_SHOWN] if isinstance(value, str | list) else value)
    long = isinstance(value, str | list) and len(value) > _SHOWN
    return text if len(text) <= _SHOWN and not long else f"{text[:_SHOWN]} ... (shortened)"


def _at(kind: type[BaseModel], path: list[Any]) -> list[str]:
    """Field names of the model found by following ``path`` from ``kind``."""
    for name in path:
        inner = kind.model_fields.get(str(name))
        models = _models_in(inner.annotation) if inner else [kind]
        kind = models[0] if models else kind
    return list(kind.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]


def own_fields(section: BaseModel, kind: type[BaseModel]) -> dict[str, Any]:
    """Take from a section of a catalog what the options it extends know."""
    return {name: getattr(section, name) for name in kind.model_fields}
