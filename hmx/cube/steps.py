"""Steps: those that training may use, those reserved for scores, and those that are observed.

A label names the last step whose target is used in training: by weights, scaler, context,
calibration and correlation lengths.

A time axis may continue after the last map of the target, for covariates that are known
ahead: population or GDP of a scenario. Two attributes name the end, each a label of the axis
(a year, or an ISO date): ``observed_until`` on the target, and ``known_until`` on a covariate
that ends before the axis does.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from hmx.cube.dates import time_label
from hmx.errors import BadArgument, CubeError, NotEnoughData
from hmx.windows import Span

Label = int | str | datetime.date | np.datetime64 | Any  # Any: a cftime date

# A year, or a date and time of any precision.
_ISO = re.compile(
    r"(?P<year>\d{4})(-\d{2}(-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d{1,9})?)?)?)?)?)?$", re.ASCII
)
_NEAR = 3  # steps named in an error

OBSERVED_UNTIL = "observed_until"
KNOWN_UNTIL = "known_until"


@dataclass(frozen=True)
class LearnUntil:
    """The last step whose target training may use; later ones are held out.

    Examples
    --------
    >>> import xarray as xr
    >>> years = xr.DataArray([1990, 1995, 2000, 2005], dims="time")
    >>> LearnUntil(2000).seen(years), LearnUntil(2000).held_out(years)
    (Span(start=0, stop=3), Span(start=3, stop=4))
    """

    # A label of the time axis, as :func:`until_index` takes it; ``None`` holds nothing out
    until: Label | None = None

    def seen(self, time: xr.DataArray | np.ndarray, *, history: int = 1) -> Span:
        """Return the steps that may be learned from."""
        if self.until is None:
            return Span(0, len(time))
        return Span(0, until_index(time, self.until, history=history) + 1)

    def held_out(self, time: xr.DataArray | np.ndarray) -> Span:
        """Return the steps whose targets are held out from training."""
        return Span(self.seen(time, history=0).stop, len(time))


def until_index(time: xr.DataArray | np.ndarray, until: Label, *, history: int = 1) -> int:
    """Find the last step that a label allows to be learned from."""
    values = np.asarray(time)
    labels, found, earlier = _match(values, until)
    if not found.size:
        raise BadArgument(_absent(until, labels, earlier))
    last = int(found[-1])
    if last < history:
        raise NotEnoughData(
            f"until={_shown(until)} leaves {last + 1} of {len(values)} steps to learn from, and "
            f"history={history} needs {history + 1}: a history and one target. "
            + (f"Pass until={labels[history]!r} or later" if history < len(labels) else "Add maps")
            + ", or a shorter history."
        )
    return last


def _match(values: np.ndarray, until: Label) -> tuple[list[str], np.ndarray, list[str]]:
    """Return all labels of an axis, the matching steps, and the labels before ``until``."""
    if values.dtype.kind in "iu":
        number = _number(until)
        labels = [str(value) for value in values]
        return labels, np.flatnonzero(values == number), [n for n in labels if int(n) < number]
    text, whole = _text(until), [_text(value, whole=True) for value in values]
    labels = [n.removesuffix(".000000000").removesuffix("T00:00:00") for n in whole]
    found = np.flatnonzero([label.startswith(text) for label in whole])
    return labels, found, [name for name, label in zip(labels, whole, strict=True) if label < text]


def _number(until: Label) -> int:
    """Read a label as a number of an integer axis."""
    if isinstance(until, str) and re.fullmatch(r"\s*\d+\s*", until, re.ASCII):
        return int(until)
    text = _text(until)
    return int(text if isinstance(until, int | np.integer) else text[:4])


def _text(label: Any, *, whole: bool = False) -> str:
    """Write a label in ISO form, as precise as given; ``whole``: to the nanosecond."""
    if isinstance(label, bool) or label is None:
        raise BadArgument(f"until={label!r} is not a time. Pass a year or a date: until='2005'.")
    if isinstance(label, int | np.integer):
        return f"{int(label):04d}"
    if isinstance(label, np.datetime64):
        return str(np.datetime_as_string(label, unit="ns") if whole else label)
    if isinstance(label, str):
        text = label.strip()
        if not _ISO.match(text):
            raise BadArgument(
                f"until={label!r} is not a time: write a year or an ISO date. Pass until='2005' "
                "or until='2005-01-31'."
            )
        return text.replace(" ", "T")
    if not hasattr(label, "isoformat"):
        raise BadArgument(
            f"until={label!r} is a {type(label).__name__}, and a time is a year, an ISO text or a "
            "date. Pass until='2005'."
        )
    if not hasattr(label, "hour"):
        return str(label.isoformat())
    if getattr(label, "tzinfo", None) is not None:
        raise BadArgument(
            f"until={label.isoformat()!r} has a time zone, and cubes have none. "
            "Pass until=date.replace(tzinfo=None)."
        )
    text = str(label.isoformat(timespec="microseconds"))
    return f"{text}000" if whole else text


def _shown(until: Label) -> str:
    return repr(until) if isinstance(until, int | str) else repr(_text(until))


def _absent(until: Label, labels: list[str], earlier: list[str]) -> str:
    """Build the message for a label that is not on the axis."""
    listed = ", ".join(labels if len(labels) <= 2 * _NEAR else [*labels[:_NEAR], "...", labels[-1]])
    known = f"until={_shown(until)} is not on the time axis ({listed})"
    if not earlier:
        return f"{known}, but before it. Pass a step of the axis, e.g. until={labels[-1]!r}."
    return f"{known}. Pass a step of it: until={earlier[-1]!r} is the last before."


def steps_until(variable: xr.DataArray, mark: str, time: xr.DataArray) -> int:
    """Count the steps up to the one that an attribute of a variable names."""
    until = variable.attrs.get(mark)
    if until is None or _is_after(until, time.values[-1]):
        return int(time.size)
    try:
        return until_index(time, until, history=0) + 1
    except BadArgument:
        first, last = (time_label(value) for value in time.values[[0, -1]])
        raise CubeError(
            f"{variable.name!r} has {mark}={until!r}, which is not a step of the time axis "
            f"({first} to {last}). Write the last step that holds it: ds[{str(variable.name)!r}]"
            f".attrs[{mark!r}] = {last!r}."
        ) from None


def require_observed(data: xr.Dataset, target: str) -> None:
    """Raise :class:`CubeError` if the target has lost its attribute ``observed_until``."""
    marked = [
        str(name) for name, variable in data.data_vars.items() if KNOWN_UNTIL in variable.attrs
    ]
    if marked:
        last = time_label(data["time"].values[-1])
        raise CubeError(
            f"{marked[0]!r} has {KNOWN_UNTIL}, and {target!r} has no {OBSERVED_UNTIL}: "
            "some operation has dropped its attributes. Write the step "
            f"of its last map: ds[{target!r}].attrs[{OBSERVED_UNTIL!r}] = {last!r}."
        )


def _is_after(label: Any, last: Any) -> bool:
    """Return True if a label lies after a value of the axis."""
    text, end = str(label).strip().replace(" ", "T"), str(last).replace(" ", "T")
    if isinstance(last, np.integer):
        return bool(text[:4].isdigit() and int(text if text.isdigit() else text[:4]) > last)
    # ISO texts sort like their dates; both are compared to the precision of the label
    return text[:4].isdigit() and text > end[: len(text)]
