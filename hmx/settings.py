"""Parsing: options from whatever a user gave, or words on why not.

One definition of an option serves the Python call, the catalog and the command
line, so a wrong value gets the same words everywhere; :func:`parse` writes them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    field_validator,
)

from hmx.errors import BadArgument, HmxError, did_you_mean
from hmx.files.paths import absolute

LONGEST = 4096  # characters of a text: longer than any path that a file system takes
MOST_ENTRIES = 100_000  # of a list: every day of 270 years
YEARS = (1, 9999)  # that ISO dates can write


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


def _sorted(fits: Callable[[float], bool], rule: str) -> AfterValidator:
    """Check that each number fits, and sort them."""

    def check(numbers: tuple[float, ...]) -> tuple[float, ...]:
        if not all(map(fits, numbers)):
            raise ValueError(rule)
        return tuple(sorted(set(numbers)))

    return AfterValidator(check)


def _not_zero(value: float) -> float:
    if value == 0:
        raise ValueError("all values would be 0. Leave it out, or give the factor")
    return value


Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Leads = Annotated[int, Field(ge=1, le=1000, strict=True)]  # also steps of a history
Side = Annotated[int, Field(ge=1, le=65_536, strict=True)]  # px of a tile, chunk, chip or block
Radius = Annotated[int, Field(ge=1, le=4096, strict=True)]  # px
Channels = Annotated[int, Field(ge=1, le=4096, strict=True)]
Depth = Annotated[int, Field(ge=1, le=64, strict=True)]
Epochs = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Folds = Annotated[int, Field(ge=2, le=1000, strict=True)]
Members = Annotated[int, Field(ge=1, le=1000, strict=True)]
Processes = Annotated[int, Field(ge=1, le=10_000, strict=True)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1, strict=True)]  # as NumPy takes it


# NaN passes here, for the rules of levels, knots and quantiles refuse it in their own words
Numbers = Annotated[
    tuple[Annotated[float, Field(allow_inf_nan=True)], ...],
    BeforeValidator(_as_list),
    Field(max_length=1000),
]


# central prediction intervals, percent, ascending
Levels = Annotated[
    Numbers,
    _sorted(lambda level: 0 < level < 100, "a level is a percentage between 0 and 100. Try 80."),
]


# changes of an area in percent of the whole, ascending
Growths = Annotated[
    Numbers,
    _sorted(
        lambda growth: -100 <= growth <= 100,
        "a growth is a percentage of the zone, from -100 to 100. Try 1.",
    ),
]


# quantiles of a distribution, ascending
Probabilities = Annotated[
    Numbers, _sorted(lambda quantile: 0 < quantile < 1, "a quantile lies between 0 and 1. Try 0.5.")
]


Finite = Annotated[float, Field(ge=-1e30, le=1e30)]
Thresholds = Annotated[tuple[Finite, ...], BeforeValidator(_as_list), Field(max_length=1000)]
Share = Annotated[float, Field(ge=0, lt=0.5)]
Rate = Annotated[float, Field(gt=0, le=1e3)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Factor = Annotated[float, Field(ge=-1e30, le=1e30), AfterValidator(_not_zero)]
Shift = Annotated[float, Field(ge=-1e30, le=1e30)]
Length = Annotated[float, Field(gt=0, le=50_000)]  # km: more is around the Earth


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] >= limits[1]:
        raise ValueError(f"the range ascends. Try [{limits[1]:g}, {limits[0]:g}]")
    return limits


ValidRange = Annotated[tuple[float, float], AfterValidator(_ascending)]
Nodata = Annotated[float, Field(allow_inf_nan=True)]  # NaN and infinities are what files have


def require_whole_chunks(tile: int | None, chunk: int | None) -> None:
    """Refuse a tile that is not a whole number of chunks: two tasks would write one chunk."""
    if tile and chunk and tile % chunk:
        whole = chunk * max(1, round(tile / chunk))
        raise ValueError(
            f"tile={tile} is not a whole number of chunks (chunk={chunk}), so two tasks would "
            f"share one. Try tile={whole}."
        )


class Verbatim(str):
    """A text of a flag: the shell has read it, and nothing in it is replaced."""


def _resolve(given: Any, plain: Callable[[Any], str], info: ValidationInfo) -> str:
    """Expand the environment and anchor a relative path to the catalog's folder."""
    path = plain(given)
    if not path.strip():
        raise ValueError("a path cannot be empty. Leave the key out, or write one")
    if not isinstance(given, Verbatim):
        path = _expanded(path)
    return absolute(path, (info.context or {}).get("base"))


def _expanded(path: str) -> str:
    missing = [n for n in re.findall(r"\$\{(\w+)\}", path) if n not in os.environ]
    if missing:
        raise ValueError(f"${{{missing[0]}}} is not set in the environment. Export {missing[0]}")
    path = re.sub(r"\$\{(\w+)\}", lambda m: os.environ[m[1]], path)
    if os.path.expanduser(path).startswith("~"):
        raise ValueError("no home folder is known for ~. Set HOME, or write the whole path")
    return path


FilePath = Annotated[str, WrapValidator(_resolve)]


def _ascending_box(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    west, south, east, north = box
    if not (west < east and south < north):
        raise ValueError(
            f"{list(box)} is empty: a region is [west, south, east, north], ascending. Try "
            f"[{min(west, east):g}, {min(south, north):g}, {max(west, east):g}, "
            f"{max(south, north):g}]"
        )
    return box


# west, south, east, north
Box = Annotated[tuple[Finite, Finite, Finite, Finite], AfterValidator(_ascending_box)]


# tags, so that an error names the one form that was meant
Area = Annotated[
    Annotated[Box, Tag("[box]")] | Annotated[FilePath, Tag("[path]")],
    Discriminator(lambda given: "[path]" if isinstance(given, str) else "[box]"),
]


def require_plain(value: Any, annotation: Any) -> Any:
    """Refuse a truth value where a number stands, endless texts and lists, and no-text in texts."""
    entries = list(value) if isinstance(value, list | tuple) else [value]
    if len(entries) > MOST_ENTRIES:
        raise ValueError(f"a list has at most {MOST_ENTRIES:,} entries")
    kinds = _kinds(annotation)
    for entry in entries:
        if isinstance(entry, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError("must be a number" if float in kinds else "must be a whole number")
        if isinstance(entry, str):
            _require_text(entry)
    return value


def _kinds(annotation: Any) -> set[Any]:
    inner = get_args(annotation)
    return {annotation} if not inner else {kind for part in inner for kind in _kinds(part)}


def _require_text(text: str) -> None:
    if len(text) > LONGEST:
        raise ValueError(f"a text has at most {LONGEST:,} characters")
    if any((mark < " " and mark != "\t") or "\ud800" <= mark <= "\udfff" for mark in text):
        raise ValueError("a text has one line of characters that can be written")


ListT = TypeVar("ListT", bound=Iterable[Any])


def unique(steps: ListT, what: str) -> ListT:
    """Refuse a list in which a year, month or time stands twice."""
    seen: set[Any] = set()
    for step in steps:
        if step in seen:
            raise ValueError(f"{what} {step!r} stands twice, and each names one map. Take one out")
        seen.add(step)
    return steps


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


__all__ = ["HARDWARE", "Count", "Numbers", "Options", "Share", "as_options", "own_fields", "parse"]

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
    """Validate options; an error names what was given, the rule and what to type."""
    try:
        return kind.model_validate(values, context=dict(context or {}))
    except ValidationError as problems:
        lines = list(dict.fromkeys(_say(kind, problem, file) for problem in problems.errors()))
        more = [f"... and {len(lines) - _LINES:,} more"] if len(lines) > _LINES else []
        raise error("\n".join([*lines[:_LINES], *more])) from None


def as_options(
    kind: type[Chosen],
    options: BaseModel | Mapping[str, Any],
    *,
    error: type[HmxError] = BadArgument,
) -> Chosen:
    """Return options of a kind, validated if they are a mapping or of another kind."""
    if isinstance(options, kind):
        return options
    values = options.model_dump() if isinstance(options, BaseModel) else options
    return parse(kind, values, error=error)


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
    given_text = "" if section else _given(given, tight=not file)
    head = f"{'.'.join(map(str, at))}{given_text}{where}".strip()
    end = "" if rule.endswith(("?", ".")) else "."
    return f"{head}: {rule}{end}" if head else f"{rule}{end}"


def _given(value: Any, *, tight: bool) -> str:
    value = list(value) if isinstance(value, tuple) else value
    text = _short(value[0] if isinstance(value, list) and len(value) == 1 else value)
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
    """Take from a section of a catalog the fields of the options that it extends."""
    return {name: getattr(section, name) for name in kind.model_fields}


def as_labels(value: Any) -> Any:
    """Take one label for a list of one; a date of YAML is its ISO text."""
    labels = value if isinstance(value, list | tuple) else [value]
    plain = isinstance(value, list | tuple | int | str) or hasattr(value, "isoformat")
    whole = [n.isoformat() if hasattr(n, "isoformat") else n for n in labels]
    return whole if plain else value
