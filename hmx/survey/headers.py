"""Headers: what a file of rasters holds, from its header and a sample of its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rasterio.enums import ColorInterp
from rasterio.windows import Window as RasterWindow

from hmx.cube.grid import Grid, find_axes
from hmx.errors import HmxError
from hmx.ingest.manifest import label
from hmx.ingest.options import Source
from hmx.ingest.readers.arrays import open_arrays, open_stored
from hmx.ingest.readers.rasters import open_rasters, opened, reading
from hmx.ingest.sources import Part, open_part, reader_of
from hmx.points.suspects import coded
from hmx.settings import parse
from hmx.windows import Span, Window

_WHOLE = 2**21  # pixels of a raster that is read whole; of a larger one, windows are
_WINDOWS, _SIDE = 4, 256  # along each side of a raster, and px of each
_CLASSES = 64  # whole numbers in a map of classes, at most


@dataclass(frozen=True)
class Values:
    """What a sample of pixels shows, in the units of the cube."""

    low: float
    high: float
    middle: float  # 99 % quantile of the sizes
    known: float  # share of pixels with data
    whole: bool  # whether all are whole numbers
    classes: int | None  # distinct numbers, if few and whole
    codes: dict[float, float] = field(default_factory=dict)  # stored number -> share of pixels

    def with_(self, other: Values) -> Values:
        """Return the values of both samples."""
        few = None if self.classes is None or other.classes is None else self.classes
        return Values(
            min(self.low, other.low),
            max(self.high, other.high),
            max(self.middle, other.middle),
            (self.known + other.known) / 2,
            self.whole and other.whole,
            None if few is None else max(few, other.classes or 0),
            self.codes | other.codes,
        )


@dataclass(frozen=True)
class SourceBand:
    """One variable or band of one file."""

    file: str
    variable: str | None  # number of the band, or name in a NetCDF or Zarr file
    title: str  # description of the band, or the variable's name
    grid: Grid | None
    trouble: str = ""  # why it cannot be read
    nodata: float | None = None
    packed: tuple[float, float] = (1.0, 0.0)  # scale and offset tags
    palette: bool = False
    units: str | None = None
    long_name: str | None = None
    steps: tuple[str, ...] = ()  # labels of a time axis that the file itself has
    bands: int = 1  # of its file, without alpha


def headers_of(file: str) -> list[SourceBand]:
    """Read the header of each band or variable of a file."""
    look = {open_rasters: _bands, open_arrays: _arrays}
    return look.get(reader_of(file).open, _whole)(file)


def _bands(file: str) -> list[SourceBand]:
    try:
        with reading(file), opened(file) as data:
            kinds = data.colorinterp
            bands = [i for i in range(1, data.count + 1) if kinds[i - 1] != ColorInterp.alpha]
            facts = [
                {
                    "title": data.descriptions[i - 1] or "",
                    "nodata": data.nodatavals[i - 1],
                    "packed": (float(data.scales[i - 1]), float(data.offsets[i - 1])),
                    "palette": kinds[i - 1] == ColorInterp.palette,
                    "units": data.units[i - 1] or None,
                }
                for i in bands
            ]
    except HmxError as error:
        return [SourceBand(file, None, "", None, str(error))]
    found = []
    for band, known in zip(bands, facts, strict=True):
        grid, trouble, _ = _opened(file, str(band))
        chosen = str(band) if len(bands) > 1 else None
        header: dict[str, Any] = {"grid": grid, "trouble": trouble, "bands": len(bands), **known}
        found.append(SourceBand(file, chosen, **header))
    return found


def _opened(file: str, variable: str | None) -> tuple[Grid | None, str, Part | None]:
    """Open one variable as ingest does; return its grid, or why it cannot be read."""
    try:
        source = parse(Source, {"path": file, "variable": variable})
        part = open_part(source, [file], file)
    except HmxError as error:
        return None, str(error), None
    return part.grid, "", part


def _arrays(file: str) -> list[SourceBand]:
    try:
        with reading(file):
            data = open_stored(file, file)
    except HmxError as error:
        return [SourceBand(file, None, "", None, str(error))]
    found = []
    with data:
        if "hmx_status" in data.attrs or "hmx_provenance" in data.attrs:
            return [SourceBand(file, None, "", None, "hmx made it, and a product is not an input")]
        for name, variable in data.data_vars.items():
            if variable.ndim < 2 or variable.dtype.kind not in "iufb":
                continue
            try:
                find_axes(variable, ("y", "x"))
            except HmxError:
                continue
            grid, trouble, part = _opened(file, str(name))
            steps = _steps(part)
            units, title = (variable.attrs.get(key) for key in ("units", "long_name"))
            found.append(
                SourceBand(file, str(name), str(name), grid, trouble, units=units, long_name=title,
                       steps=steps)
            )  # fmt: skip
    return found or [SourceBand(file, None, "", None, "no variable of it is a map")]


def _whole(file: str) -> list[SourceBand]:
    """Read the header of a file of any other format by its reader: one variable."""
    grid, trouble, part = _opened(file, None)
    return [SourceBand(file, None, "", grid, trouble, steps=_steps(part))]


def _steps(part: Part | None) -> tuple[str, ...]:
    """Label the time axis that a file itself has."""
    time = None if part is None else part.time
    return () if time is None else tuple(label(value) for value in time.values)


def sampled(header: SourceBand) -> Values | None:
    """Sample the pixels of a band or variable; ``None`` without any data."""
    if header.grid is None:
        return None
    try:
        raw, (scale, offset) = _raw(header)
    except HmxError:
        return None
    known = np.ma.compressed(raw)
    known = known[np.isfinite(known)]
    codes = _codes(known) if known.size else []
    kept = known[~np.isin(known, codes)] if codes else known
    if not kept.size:
        return None
    plain = (scale, offset) == (1.0, 0.0)
    whole = bool(np.all(kept == np.rint(kept)))
    distinct = int(np.unique(kept).size) if whole else _CLASSES + 1
    low, high = sorted(float(end) * scale + offset for end in (kept.min(), kept.max()))
    return Values(
        low,
        high,
        float(np.quantile(np.abs(kept * scale + offset), 0.99)),
        kept.size / raw.size,
        whole and plain,
        distinct if plain and distinct <= _CLASSES else None,
        {code: float(np.mean(known == code)) * known.size / raw.size for code in codes},
    )


def _codes(known: np.ndarray) -> list[float]:
    """Find numbers that stand for missing and that nothing declares."""
    distinct = np.unique(known)
    codes = set(coded(distinct.astype("float64")))
    others = distinct[~np.isin(distinct, list(codes))]
    if known.dtype.kind in "iu" and len(others) > 2:
        # such as 255 of a byte: the end of a type, further from all others than these spread
        low, high = np.iinfo(known.dtype).min, np.iinfo(known.dtype).max
        ends = ((high, others[-1], others[-2], others[0]), (low, others[0], others[1], others[-1]))
        for end, last, near, far in ends:
            spread, gap = abs(float(near) - float(far)), abs(float(last) - float(near))
            if last == end and gap > max(spread, 1.0):
                codes.add(float(end))
    return sorted(codes)


def _raw(header: SourceBand) -> tuple[np.ma.MaskedArray[Any, Any], tuple[float, float]]:
    """Read stored numbers of a sample, masked where declared missing, and their scale."""
    assert header.grid is not None
    blocks: list[np.ndarray] = []
    if reader_of(header.file).open is not open_rasters:
        _, _, part = _opened(header.file, header.variable)
        assert part is not None  # it has a grid
        part = part.at([part.steps - 1]) if part.time is not None else part
        with reading(header.file):
            for y, x in _spread(header.grid.shape):
                blocks.append(part.read(Window(Span(*y), Span(*x))).ravel())
        return np.ma.masked_invalid(np.concatenate(blocks)), (1.0, 0.0)
    with reading(header.file), opened(header.file) as data:
        band = int(header.variable or _first_band(data))
        for (top, bottom), (left, right) in _spread(data.shape):
            at = RasterWindow(left, top, right - left, bottom - top)
            blocks.append(data.read(band, window=at, masked=True).ravel())
    return np.ma.concatenate(blocks), header.packed  # type: ignore[no-untyped-call]


def _first_band(data: Any) -> int:
    kinds = data.colorinterp
    return next(i for i in range(1, data.count + 1) if kinds[i - 1] != ColorInterp.alpha)


def _spread(shape: tuple[int, int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Spread windows over a raster: all of a small one."""
    ny, nx = shape
    if ny * nx <= _WHOLE:
        return [((0, ny), (0, nx))]
    starts = [
        [int(at) for at in np.linspace(0, max(0, size - _SIDE), _WINDOWS)] for size in (ny, nx)
    ]
    ends = [[(at, min(size, at + _SIDE)) for at in row] for row, size in
            zip(starts, (ny, nx), strict=True)]  # fmt: skip
    return [(y, x) for y in ends[0] for x in ends[1]]
