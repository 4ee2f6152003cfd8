"""Bounds: the numbers, texts and lists that an option can be, decided once for all options.

A bound is no advice: it lies far beyond what anybody trains or maps, and far before what a
machine dies of. What is well or badly chosen inside of it is for the user to know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WrapValidator

from hmx.paths import absolute

LONGEST = 4096  # characters of a text: longer than any path that a file system takes
MOST_ENTRIES = 100_000  # of a list: every day of 270 years
YEARS = (1, 9999)  # that ISO dates can write


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


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
Finite = Annotated[float, Field(ge=-1e30, le=1e30)]
Thresholds = Annotated[tuple[Finite, ...], BeforeValidator(_as_list), Field(max_length=1000)]
Share = Annotated[float, Field(ge=0, lt=0.5)]
Rate = Annotated[float, Field(gt=0, le=1e3)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Factor = Annotated[float, Field(ge=-1e30, le=1e30), AfterValidator(_not_zero)]
Shift = Annotated[float, Field(ge=-1e30, le=1e30)]
Length = Annotated[float, Field(gt=0, le=50_000)]  # km: more is around the Earth
Nodata = Annotated[float, Field(allow_inf_nan=True)]  # NaN and infinities are what files have


class Verbatim(str):
    """A text of a flag: the shell has read it, and nothing in it is replaced."""


def _resolve(given: Any, plain: Callable[[Any], str], info: ValidationInfo) -> str:
    """Expand the environment and anchor a relative path to the catalog's folder."""
    path = plain(given)
    if not path.strip():
        raise ValueError("a path is no empty text. Leave the key out, or write one")
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


def require_plain(value: Any, annotation: Any) -> Any:
    """Refuse a truth value where a number stands, endless texts and lists, and no-text in texts.

    Parameters
    ----------
    value : object
        As the user gave it.
    annotation : type
        Of the option; pydantic takes ``true`` for 1 otherwise.
    """
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


def unique(steps: Any, what: str) -> Any:
    """Refuse a list in which a year, month or time stands twice.

    Parameters
    ----------
    steps : list
        As given.
    what : str
        How a message calls one of them.
    """
    seen: set[Any] = set()
    for step in steps:
        if step in seen:
            raise ValueError(f"{what} {step!r} stands twice, and each names one map. Take one out")
        seen.add(step)
    return steps
