"""Values: what stored numbers mean, decided here once for files and arrays.

A number is declared by the tags of a raster, by CF attributes, by the attributes and
encodings that rioxarray, odc-stac and others leave on an array, and by the catalog.
:class:`Rules` is what they come to:

- *missing* is whatever any of them calls missing, in the units of the file (packed);
- *scale and offset* are those of the file; the catalog's replace the tags of a raster
  and follow CF unpacking;
- *valid range* is the catalog's, in the units of the cube, or else the file's: CF's is
  in packed units unless its type is that of the unpacked numbers.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import xarray as xr

from hmx.errors import CubeError

if TYPE_CHECKING:
    from hmx.census import Census
    from hmx.sections import Source

# no quantity is larger; voids of float rasters are -3.4e38, netCDF's default fill is 9.97e36
HUGE = 9e36
_LARGEST = float(np.finfo("float32").max)
_ROUNDED_HUGE = 0.01  # -3.4e38 is how a GIS prints -3.4028235e38
_MISSING = ("_FillValue", "missing_value", "fill_value", "nodata", "nodatavals")
_PACKING = {"scale_factor": 1.0, "scales": 1.0, "add_offset": 0.0, "offsets": 0.0}
_RANGE = ("valid_range", "valid_min", "valid_max")
# attributes that speak of numbers as they are stored, wrong on what is computed from them
DECLARATIONS = frozenset({*_MISSING, *_PACKING, *_RANGE, "_Unsigned"})

_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)[a-zA-Z]{0,2}")
_NO_NUMBER = {"nan", "none", "null"}


@dataclass(frozen=True)
class Rules:
    """Which stored numbers are data, and what they are worth.

    Parameters
    ----------
    valid_range : tuple of float, optional
        Smallest and largest valid value, after ``scale`` and ``offset``.
    nodata : tuple of float
        Stored numbers that the file or array declares missing.
    typed : tuple of float
        Stored numbers that the catalog declares missing.
    scale, offset : float
        Value = stored number x scale + offset.
    unsigned : bool
        Whether signed integers stand for unsigned ones of their width.
    name : str
        Of the variable or file, for messages.
    """

    valid_range: tuple[float, float] | None = None
    nodata: tuple[float, ...] = ()
    typed: tuple[float, ...] = ()
    scale: float = 1.0
    offset: float = 0.0
    unsigned: bool = False
    name: str = field(default="", compare=False)

    @classmethod
    def of(cls, variable: xr.DataArray) -> Rules:
        """Read the rules of an array from its attributes and its encoding.

        Raises
        ------
        CubeError
            If it holds no real numbers, or an attribute cannot be read.
        """
        name, attrs, dtype = str(variable.name), variable.attrs, variable.dtype
        if dtype.kind not in "iufb":
            raise CubeError(
                f"{name!r} holds {dtype}, and a map holds real numbers. Convert it first, e.g. "
                f"ds[{name!r}] = ds[{name!r}].astype('float32') of the part that counts."
            )
        here, before = _packing(name, attrs), _packing(name, variable.encoding)
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
        nodata = _missing(name, attrs, variable.encoding, stored)
        if decoded:
            nodata = tuple(value * packing[0] + packing[1] for value in nodata)
        limits = _valid_range(name, attrs, packing, stored)
        scale, offset = (1.0, 0.0) if decoded else packing
        return cls(limits, nodata, (), scale, offset, unsigned and not decoded, name)

    def under(self, source: Source, *, replaces: bool) -> Rules:
        """Return the rules of a file where the catalog has its say.

        Parameters
        ----------
        source : Source
            Of the catalog.
        replaces : bool
            Whether its scale and offset stand instead of the file's, or follow them.
        """
        rules = self
        if source.scale is not None or source.offset is not None:
            scale, offset = _default(source.scale, 1.0), _default(source.offset, 0.0)
            if replaces:
                rules = replace(self, scale=scale, offset=offset)
            else:
                limits = self.valid_range and _unpacked(*self.valid_range, scale, offset)
                rules = replace(
                    self,
                    valid_range=limits,
                    scale=self.scale * scale,
                    offset=self.offset * scale + offset,
                )
        limits = rules.valid_range if source.valid_range is None else source.valid_range
        typed = () if source.nodata is None else (float(source.nodata),)
        return replace(rules, valid_range=limits, typed=typed)

    def clean(
        self,
        values: np.ndarray,
        dtype: str = "float32",
        *,
        masked: np.ndarray | None = None,
        census: Census | None = None,
    ) -> np.ndarray:
        """Return values as floats with NaN for everything that is not data.

        Parameters
        ----------
        values : ndarray
            As stored.
        dtype : str
            Of what is returned.
        masked : ndarray of bool, optional
            Pixels that a mask or an alpha band takes away.
        census : Census, optional
            Counts what each rule takes.

        Raises
        ------
        CubeError
            If a number that is left is beyond any quantity.
        """
        raw = np.asarray(values)
        if self.unsigned and raw.dtype.kind == "i":
            raw = raw.view(f"u{raw.dtype.itemsize}")
        with np.errstate(all="ignore"):  # whatever the caller's numpy does on overflow
            missing = np.zeros(raw.shape, bool)
            for rule, found in self._voids(raw, masked):
                if census is not None:
                    census.take(rule, int(np.count_nonzero(found & ~missing)))
                missing |= found
            packed = (self.scale, self.offset) != (1.0, 0.0)
            numbers = raw.astype("float64") * self.scale + self.offset if packed else raw
            clean = np.array(numbers, dtype=dtype)
            if census is not None:
                census.read(clean, missing)
            if self.valid_range is not None:
                low, high = self.valid_range
                outside = ~missing & ((clean < low) | (clean > high))
                missing |= outside
                if census is not None:
                    shown = f"valid_range [{low:g}, {high:g}]"
                    census.take(shown, int(np.count_nonzero(outside)))
            huge = ~missing & (np.abs(clean) > HUGE)
            if huge.any():
                self._refuse_huge(raw[huge])
        clean[missing] = np.nan
        return clean

    def missing(self, values: np.ndarray) -> np.ndarray:
        """Return which stored numbers are no data; nothing is refused."""
        with np.errstate(all="ignore"):
            found = [np.zeros(values.shape, bool), *(f for _, f in self._voids(values, None))]
            missing = np.logical_or.reduce(found)
            if self.valid_range is not None:
                numbers = values.astype("float64") * self.scale + self.offset
                low, high = self.valid_range
                missing |= (numbers < low) | (numbers > high)
        return missing

    def _voids(
        self, raw: np.ndarray, masked: np.ndarray | None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each rule that takes stored numbers away, and which it takes."""
        if masked is not None:
            yield "mask", masked
        for value in self.nodata:
            yield f"nodata {value:g} of the file", _equals(raw, value)
        for value in self.typed:
            yield f"nodata {value:g} of the catalog", _equals(raw, value)
        if raw.dtype.kind == "f":
            yield "NaN or infinite", ~np.isfinite(raw)

    def _refuse_huge(self, found: np.ndarray) -> NoReturn:
        worst = float(found.flat[int(np.argmax(np.abs(found)))])
        where = self.name or "a variable"
        raise CubeError(
            f"{where} holds {worst:g}, which is beyond any quantity and so a void that nothing "
            f"declares. Declare it: nodata: {worst:g} in the catalog, or of an array "
            f"ds['...'].attrs['nodata'] = {worst:g}."
        )


def _default(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else float(value)


def _equals(raw: np.ndarray, value: float) -> np.ndarray:
    """Find a number among stored ones, within the rounding of their type and of a print."""
    if raw.dtype.kind != "f":
        # -32768 of an unsigned file, or 0.5 of whole numbers: no pixel has it
        whole = np.isfinite(value) and float(value).is_integer()
        return np.asarray(raw == int(value)) if whole else np.zeros(raw.shape, bool)
    if not np.isfinite(value):
        return np.asarray(raw == value)
    if abs(value) > HUGE:
        return np.abs(raw / raw.dtype.type(value) - 1) <= _ROUNDED_HUGE
    rounding = max(np.finfo(raw.dtype).eps, np.finfo("float32").eps) * abs(value)
    return np.asarray(np.abs(raw - value) <= rounding)


def cleaned(variable: xr.DataArray) -> xr.DataArray:
    """Return an array unpacked, float32, NaN where it holds no data; lazy.

    Parameters
    ----------
    variable : DataArray
        With whatever declarations.
    """
    rules = Rules.of(variable)
    if rules == Rules() and variable.dtype.kind == "f":
        return variable.astype("float32")
    clean = xr.apply_ufunc(rules.clean, variable, dask="parallelized", output_dtypes=["float32"])
    return clean.assign_attrs({k: v for k, v in variable.attrs.items() if k not in DECLARATIONS})


def has_default_fill(variable: xr.DataArray, place: Mapping[Any, Any]) -> bool:
    """Return True if 0 is missing because Zarr format 2 fills with it by default.

    Parameters
    ----------
    variable : DataArray
        As xarray opened it.
    place : mapping
        Its attributes if it is as stored, its encoding if it is decoded.
    """
    stored = variable.encoding
    format_2 = "compressors" in stored and "serializer" not in stored
    return format_2 and bool(np.all(np.equal(place.get("_FillValue", 1), 0)))


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


def numbers_of(name: str, attribute: str, value: Any) -> np.ndarray:
    """Read an attribute that is a number, a list, an array or a text of them.

    Parameters
    ----------
    name, attribute : str
        Of the variable and of the attribute, for messages.
    value : number, str, bytes, or sequence of them
        ``"0, 1"``, ``"[0 1]"``, ``b"-9999"``, ``[-9999, -8888]``.

    Returns
    -------
    ndarray
        Of one dimension; whole numbers are integers.

    Raises
    ------
    CubeError
        If it holds anything else.
    """
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
            f"{attribute} = {value!r} of {name!r} is no number. Write it as one: "
            f"ds[{name!r}].attrs[{attribute!r}] = 0.0, or delete it."
        )
    texts = [found[1] for found in read if found]
    whole = all(re.fullmatch(r"[-+]?\d{1,18}", text) for text in texts)
    return np.array([int(text) if whole else float(text) for text in texts])


def _text(part: Any) -> str:
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part).strip()


def _packing(name: str, attrs: Mapping[Any, Any]) -> tuple[float, float]:
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


def _missing(
    name: str, attrs: Mapping[Any, Any], encoding: Mapping[Any, Any], stored: np.dtype[Any]
) -> tuple[float, ...]:
    """List the stored numbers that an array declares missing, by any of its attributes."""
    found: list[float] = []
    for key in _MISSING:
        # fill_value in an encoding is Zarr's word for chunks that are not stored
        places = (attrs,) if key == "fill_value" else (attrs, encoding)
        for place in places:
            numbers = numbers_of(name, key, place.get(key)).astype("float64")
            found += [float(number) for number in numbers if not np.isnan(number)]
    if stored.kind == "u":  # a void of a type that should have been unsigned
        turns = 2.0 ** (8 * stored.itemsize)
        found = [value + turns if -turns / 2 <= value < 0 else value for value in found]
    return tuple(dict.fromkeys(found))


def _valid_range(
    name: str, attrs: Mapping[Any, Any], packing: tuple[float, float], stored: np.dtype[Any]
) -> tuple[float, float] | None:
    """Read CF's valid range, valid minimum or maximum, in unpacked units."""
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
        return None
    dtype = np.result_type(*(end for end in (low, high) if len(end)))
    # not infinite, which JSON cannot write
    ends = (float(low[0]) if len(low) else -_LARGEST, float(high[0]) if len(high) else _LARGEST)
    if packing == (1.0, 0.0) or _is_unpacked(dtype, stored):
        return ends
    if stored.kind == "u":  # as netCDF writes what its signed types stand for
        ends = (ends[0], ends[1] + 2.0 ** (8 * stored.itemsize) if ends[1] < 0 else ends[1])
    if stored.kind in "iu" and ends[1] - ends[0] < 2:
        raise CubeError(
            f"valid_range [{ends[0]:g}, {ends[1]:g}] of {name!r} are whole numbers, so in packed "
            f"units, where they leave two values (scale_factor {packing[0]:g}). If they are meant "
            f"after unpacking, write floats: ds[{name!r}].attrs['valid_range'] = [0.0, 1.0]."
        )
    step = 0.5 if stored.kind in "iu" else 0.0  # unpacked in float32, a limit may miss itself
    return _unpacked(ends[0] - step, ends[1] + step, *packing)


def _unpacked(low: float, high: float, scale: float, offset: float) -> tuple[float, float]:
    """Scale a range, whose open ends stay open."""
    ends = sorted(
        float(np.clip(end * scale + offset, -_LARGEST, _LARGEST))
        if abs(end) < HUGE
        else np.sign(end) * np.sign(scale) * _LARGEST
        for end in (low, high)
    )
    return float(ends[0]), float(ends[1])


def _is_unpacked(limit: np.dtype[Any], stored: np.dtype[Any]) -> bool:
    """Return True if a limit has the type of unpacked numbers, by the rule of netCDF."""
    if limit.kind != "f":
        return False
    return stored.kind != "f" or limit.itemsize > stored.itemsize
