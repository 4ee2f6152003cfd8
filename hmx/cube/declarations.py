"""Declarations: the attributes that define what an array's numbers mean.

Numbers come as numbers, lists, arrays, texts or bytes, and under the names that CF,
rioxarray, odc-stac and GDAL have for them. What they mean together is decided in
:mod:`hmx.cube.values`.

The CF conventions list codes and names in ``flag_values`` and ``flag_meanings``; a catalog that
gives no names leaves only the mark that the numbers are codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import xarray as xr

from hmx.errors import CubeError

# no quantity is larger; voids of float rasters are -3.4e38, netCDF's default fill is 9.97e36
HUGE = 9e36
_OPEN = 1e30  # end of a range that is not given; not infinite, which JSON cannot write
_MISSING = ("_FillValue", "missing_value", "fill_value", "nodata", "nodatavals")
_PACKING = {"scale_factor": 1.0, "scales": 1.0, "add_offset": 0.0, "offsets": 0.0}
_RANGE = ("valid_range", "valid_min", "valid_max")
# attributes of stored numbers, which are wrong for numbers computed from them
DECLARATIONS = frozenset({*_MISSING, *_PACKING, *_RANGE, "_Unsigned"})
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)[a-zA-Z]{0,2}")
_NO_NUMBER = {"nan", "none", "null"}
_MARK = "hmx_categories"
_DECLARED = ("flag_values", "flag_meanings", _MARK)


class Declared(Protocol):
    """The declarations of a source in a catalog."""

    @property
    def scale(self) -> float | None:
        """Value of one stored unit."""

    @property
    def offset(self) -> float | None:
        """Value of a stored 0."""

    @property
    def nodata(self) -> float | None:
        """Stored number that means missing."""

    @property
    def valid_range(self) -> tuple[float, float] | None:
        """Smallest and largest valid value."""


def has_default_fill(variable: xr.DataArray, metadata: Mapping[Any, Any]) -> bool:
    """Return True if 0 is missing because Zarr format 2 fills with it by default."""
    stored = variable.encoding
    format_2 = "compressors" in stored and "serializer" not in stored
    return format_2 and bool(np.all(np.equal(metadata.get("_FillValue", 1), 0)))


def numbers_of(name: str, attribute: str, value: Any) -> np.ndarray:
    """Read an attribute that is a number, a list, an array or a text of them."""
    if value is None:
        return np.array([])
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        parts = [part for part in re.split(r"[\s,;\[\](){}]+", value) if part]
    else:
        array = np.atleast_1d(np.asarray(value)).ravel()
        if array.dtype.kind in "iufb":
            return array
        parts = [_text(part) for part in array.tolist()]
    read = [_NUMBER.fullmatch(part) for part in parts if part.lower() not in _NO_NUMBER]
    if not all(read):
        raise CubeError(
            f"{attribute} = {value!r} of {name!r} is not a number. Write it as one: "
            f"ds[{name!r}].attrs[{attribute!r}] = 0.0, or delete it."
        )
    texts = [found[1] for found in read if found]
    whole = all(re.fullmatch(r"[-+]?\d{1,18}", text) for text in texts)
    return np.array([int(text) if whole else float(text) for text in texts])


def _text(part: Any) -> str:
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part).strip()


def packing_of(name: str, attrs: Mapping[Any, Any]) -> tuple[float, float]:
    """Read scale and offset, in any of the spellings that are around."""
    found: dict[str, float] = {}
    for key, neutral in _PACKING.items():
        values = np.unique(numbers_of(name, key, attrs.get(key)).astype("float64"))
        if len(values) > 1:
            raise CubeError(
                f"{key} = {attrs[key]} of {name!r} differs by band, and an array has one. Unpack "
                "the bands before they are joined (open with mask_and_scale=True)."
            )
        found[key] = float(values[0]) if len(values) else neutral
    scale = found["scale_factor"] if found["scale_factor"] != 1 else found["scales"]
    offset = found["add_offset"] if found["add_offset"] != 0 else found["offsets"]
    if not np.isfinite([scale, offset]).all() or scale == 0:
        raise CubeError(
            f"{name!r} has scale {scale:g} and offset {offset:g}, which make no value of a stored "
            "number. Correct the attributes or tags scale_factor and add_offset."
        )
    return scale, offset


def missing_of(
    name: str, attrs: Mapping[Any, Any], encoding: Mapping[Any, Any], stored: np.dtype[Any]
) -> tuple[float, ...]:
    """List the stored numbers that an array declares missing, by any of its attributes."""
    found: list[float] = []
    for key in _MISSING:
        # fill_value in an encoding is Zarr's word for chunks that are not stored
        both = (attrs,) if key == "fill_value" else (attrs, encoding)
        for metadata in both:
            numbers = numbers_of(name, key, metadata.get(key)).astype("float64")
            found += [float(number) for number in numbers if not np.isnan(number)]
    if stored.kind == "u":  # a void of a type that should have been unsigned
        turns = 2.0 ** (8 * stored.itemsize)
        found = [value + turns if -turns / 2 <= value < 0 else value for value in found]
    return tuple(dict.fromkeys(found))


def valid_range_of(
    name: str, attrs: Mapping[Any, Any], packing: tuple[float, float], stored: np.dtype[Any]
) -> tuple[tuple[float, float] | None, float]:
    """Read CF's valid range, valid minimum or maximum, in unpacked units; and its slack."""
    both = np.sort(numbers_of(name, "valid_range", attrs.get("valid_range")))
    low, high = (numbers_of(name, key, attrs.get(key)) for key in ("valid_min", "valid_max"))
    if len(both) not in (0, 2) or len(low) > 1 or len(high) > 1:
        raise CubeError(
            f"valid_range of {name!r} is a pair of numbers, valid_min and valid_max are one each "
            f"(found {both.tolist()}, {low.tolist()}, {high.tolist()}). Write "
            f"ds[{name!r}].attrs['valid_range'] = [0.0, 1.0], or delete it."
        )
    low, high = (both[:1], both[1:]) if len(both) else (low, high)
    if not len(low) and not len(high):
        return None, 0.0
    dtype = np.result_type(*(end for end in (low, high) if len(end)))
    ends = (float(low[0]) if len(low) else -_OPEN, float(high[0]) if len(high) else _OPEN)
    # the rule of netCDF: a limit of another, wider or floating type is in unpacked numbers
    wider = dtype.kind == "f" and (stored.kind != "f" or dtype.itemsize > stored.itemsize)
    if packing == (1.0, 0.0) or wider:
        return ends, 0.0
    if stored.kind == "u":  # as netCDF writes what its signed types stand for
        ends = (ends[0], ends[1] + 2.0 ** (8 * stored.itemsize) if ends[1] < 0 else ends[1])
    if stored.kind in "iu" and ends[1] - ends[0] < 2:
        raise CubeError(
            f"valid_range [{ends[0]:g}, {ends[1]:g}] of {name!r} are whole numbers, so in packed "
            f"units, where they leave two values (scale_factor {packing[0]:g}). If they are meant "
            f"after unpacking, write floats: ds[{name!r}].attrs['valid_range'] = [0.0, 1.0]."
        )
    # unpacked in float32, a limit may miss itself
    return unpacked(*ends, *packing), abs(packing[0]) / 2 if stored.kind in "iu" else 0.0


def unpacked(low: float, high: float, scale: float, offset: float) -> tuple[float, float]:
    """Scale a range, whose open ends stay open."""
    ends = sorted(
        float(np.clip(end * scale + offset, -_OPEN, _OPEN))
        if abs(end) < _OPEN
        else np.sign(end) * np.sign(scale) * _OPEN
        for end in (low, high)
    )
    return float(ends[0]), float(ends[1])


def flag_attributes(categories: bool | Mapping[int, str] | None) -> dict[str, Any]:
    """Return the attributes of a variable whose catalog declares its classes."""
    if not categories:
        return {}
    if categories is True:
        return {_MARK: "true"}
    # names of CF flags are single words
    names = (re.sub(r"\W+", "_", str(name)).strip("_") or "class" for name in categories.values())
    return {
        "flag_values": [int(code) for code in categories],
        "flag_meanings": " ".join(names),
        _MARK: "true",
    }


def has_classes(attrs: Mapping[Any, Any]) -> bool:
    """Return True if the attributes of a variable declare its numbers to be codes of classes."""
    return any(name in attrs for name in _DECLARED)
