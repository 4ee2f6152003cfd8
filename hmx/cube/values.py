"""Values: the meaning of stored numbers, decided here once for files and arrays.

A number is declared by the tags of a raster, by CF attributes, by the attributes and
encodings that rioxarray, odc-stac and others leave on an array, and by the catalog.
:class:`Rules` combines them:

- a number is *missing* if any of them declares it, in the units of the file (packed);
- *scale and offset* are those of the file; the catalog's replace the tags of a raster
  and follow CF unpacking;
- *valid range* is the catalog's, in the units of the cube, or else the file's: CF's is
  in packed units unless its type is that of the unpacked numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hmx.cube.declarations import (
    DECLARATIONS,
    HUGE,
    has_default_fill,
    missing_of,
    packing_of,
    unpacked,
    valid_range_of,
)
from hmx.errors import CubeError

if TYPE_CHECKING:
    from hmx.cube.census import Census
    from hmx.cube.declarations import Declared

_ROUNDED_HUGE = 0.01  # a GIS prints -3.4028235e38 as -3.4e38, and users copy that text


@dataclass(frozen=True)
class Rules:
    """Which stored numbers are data, and how they become values."""

    # smallest and largest valid value, after ``scale`` and ``offset``
    valid_range: tuple[float, float] | None = None
    nodata: tuple[float, ...] = ()  # stored numbers that the file or array declares missing
    typed: tuple[float, ...] = ()  # stored numbers that the catalog declares missing
    scale: float = 1.0  # value = stored number x scale + offset
    offset: float = 0.0
    # how far beyond the range a value is still valid: half a step of packed integers, because a
    # limit that is unpacked in float32 may miss itself
    slack: float = 0.0
    unsigned: bool = False  # whether signed integers stand for unsigned ones of their width
    name: str = field(default="", compare=False)  # of the variable or file, for messages

    @classmethod
    def of(cls, variable: xr.DataArray) -> Rules:
        """Read the rules of an array from its attributes and its encoding."""
        name, attrs, dtype = str(variable.name), variable.attrs, variable.dtype
        if dtype.kind not in "iufb":
            raise CubeError(
                f"{name!r} holds {dtype}, and a map holds real numbers. Convert it first, e.g. "
                f"ds[{name!r}] = ds[{name!r}].astype('float32') of the part that counts."
            )
        here, before = packing_of(name, attrs), packing_of(name, variable.encoding)
        if here != (1.0, 0.0) and dtype.kind == "f":
            raise CubeError(
                f"{name!r} holds {dtype} and has scale_factor or add_offset {here} among its "
                "attributes: whether they have been applied cannot be known. If so, "
                f"del ds[{name!r}].attrs['scale_factor'] (and 'add_offset'); if not, "
                "ds = xr.decode_cf(ds)."
            )
        decoded = here == (1.0, 0.0) and before != (1.0, 0.0)
        packing = before if decoded else here
        stored = np.dtype(variable.encoding.get("dtype") or dtype) if decoded else dtype
        unsigned = stored.kind == "i" and str(attrs.get("_Unsigned")).lower() == "true"
        stored = np.dtype(f"u{stored.itemsize}") if unsigned else stored
        nodata = missing_of(name, attrs, variable.encoding, stored)
        if decoded:
            nodata = tuple(value * packing[0] + packing[1] for value in nodata)
        limits, slack = valid_range_of(name, attrs, packing, stored)
        scale, offset = (1.0, 0.0) if decoded else packing
        return cls(limits, nodata, (), scale, offset, slack, unsigned and not decoded, name)

    def under(self, source: Declared, *, replaces: bool) -> Rules:
        """Return the rules of a file after the catalog's declarations apply."""
        rules = self
        if source.scale is not None or source.offset is not None:
            scale, offset = _default(source.scale, 1.0), _default(source.offset, 0.0)
            if replaces:
                rules = replace(self, scale=scale, offset=offset)
            else:
                limits = self.valid_range and unpacked(*self.valid_range, scale, offset)
                rules = replace(
                    self,
                    valid_range=limits,
                    scale=self.scale * scale,
                    offset=self.offset * scale + offset,
                    slack=self.slack * abs(scale),
                )
        if source.valid_range is not None:
            rules = replace(rules, valid_range=source.valid_range, slack=0.0)
        typed = () if source.nodata is None else (float(source.nodata),)
        return replace(rules, typed=typed)

    def clean(
        self,
        values: np.ndarray,
        dtype: str = "float32",
        *,
        masked: np.ndarray | None = None,
        census: Census | None = None,
    ) -> np.ndarray:
        """Return values as floats with NaN for everything that is not data."""
        raw = np.asarray(values)
        if self.unsigned and raw.dtype.kind == "i":
            # the same bits, read as unsigned numbers
            raw = raw.view(f"u{raw.dtype.itemsize}")
        with np.errstate(all="ignore"):  # whatever the caller's numpy does on overflow
            missing = np.zeros(raw.shape, bool)
            # a pixel counts for the first rule that makes it missing
            for rule, found in self._voids(raw, masked):
                if census is not None:
                    census.take(rule, int(np.count_nonzero(found & ~missing)))
                missing |= found
            packed = (self.scale, self.offset) != (1.0, 0.0)
            # in float64 and rounded once: float32 would round the product and the sum
            numbers = raw.astype("float64") * self.scale + self.offset if packed else raw
            clean = np.array(numbers, dtype=dtype)
            if census is not None:
                census.read(clean, missing)
            if self.valid_range is not None:
                low, high = self.valid_range
                outside = (clean < low - self.slack) | (clean > high + self.slack)
                outside &= ~missing
                missing |= outside
                if census is not None:
                    rule = f"valid_range [{low:g}, {high:g}]"
                    census.take(rule, int(np.count_nonzero(outside)))
            huge = ~missing & (np.abs(clean) > HUGE)
            if huge.any():
                found = raw[huge]
                worst = float(found.flat[int(np.argmax(np.abs(found)))])
                raise CubeError(
                    f"{self.name or 'a variable'} holds {worst:g}, which is beyond any quantity "
                    "and so a void that nothing declares. Declare it: "
                    f"nodata: {worst:g} in the catalog, or of an array "
                    f"ds['...'].attrs['nodata'] = {worst:g}."
                )
        clean[missing] = np.nan
        return clean

    def missing(self, values: np.ndarray) -> np.ndarray:
        """Return the mask of stored numbers that are not data; nothing is refused."""
        with np.errstate(all="ignore"):
            found = [np.zeros(values.shape, bool), *(f for _, f in self._voids(values, None))]
            missing: np.ndarray = np.logical_or.reduce(found)
            if self.valid_range is not None:
                numbers = values.astype("float64") * self.scale + self.offset
                low, high = self.valid_range
                missing |= (numbers < low - self.slack) | (numbers > high + self.slack)
        return missing

    def _voids(
        self, raw: np.ndarray, masked: np.ndarray | None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each rule with the mask of the numbers that it makes missing."""
        if masked is not None:
            yield "mask", masked
        for value in self.nodata:
            yield f"nodata {value:g} of the file", _equals(raw, value)
        for value in self.typed:
            yield f"nodata {value:g} of the catalog", _equals(raw, value)
        if raw.dtype.kind == "f":
            yield "NaN or infinite", ~np.isfinite(raw)


def _default(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else float(value)


def _equals(raw: np.ndarray, value: float) -> np.ndarray:
    """Find a number among stored ones, within the rounding of their type and of printed digits."""
    if raw.dtype.kind != "f":
        # -32768 of an unsigned file, or 0.5 of whole numbers: no pixel has it
        whole = np.isfinite(value) and float(value).is_integer()
        return np.asarray(raw == int(value)) if whole else np.zeros(raw.shape, bool)
    if not np.isfinite(value):
        return np.asarray(raw == value)
    if abs(value) > HUGE:
        return np.asarray(np.abs(raw / raw.dtype.type(value) - 1) <= _ROUNDED_HUGE)
    rounding = max(np.finfo(raw.dtype).eps, np.finfo("float32").eps) * abs(value)
    return np.asarray(np.abs(raw - value) <= rounding)


def cleaned(variable: xr.DataArray) -> xr.DataArray:
    """Return an array unpacked, float32, with NaN for missing; lazy."""
    rules = Rules.of(variable)
    if rules == Rules() and variable.dtype.kind == "f":
        return variable.astype("float32")
    clean: xr.DataArray = xr.apply_ufunc(
        rules.clean, variable, dask="parallelized", output_dtypes=["float32"]
    )
    return clean.assign_attrs({k: v for k, v in variable.attrs.items() if k not in DECLARATIONS})


def warn_of_default_fill(data: xr.Dataset) -> None:
    """Warn of variables whose zeros xarray has taken for missing."""
    for name, variable in data.data_vars.items():
        if has_default_fill(variable, variable.encoding):
            warnings.warn(
                f"{name!r} comes from a store of Zarr format 2 whose fill_value is 0, so xarray "
                "made its zeros missing. If they are values, open it with "
                "use_zarr_fill_value_as_mask=False.",
                stacklevel=4,
            )
