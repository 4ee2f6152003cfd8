"""Layers: the arrays of a report, and how they are made to fit its budget.

A report keeps true pixels: where there are too many, it has every n-th row and column, so that a
click still reads numbers of the store. A raster that fits is whole. Else there are two levels: an
overview with all layers, and a finer level that has the states of a few times alone, in tiles
that a page unpacks as they are looked at. The overview first gives up percentiles, from 29 to 15
to 9, then pixels.

The quantum is a power of ten, so a page that writes a number with that many decimals writes the
number of the store, rounded. Each plane is stored as its difference from the plane before it: the
next percentile of a pixel is mostly the same, and so is the next map. Low and high bytes stand
apart, which deflate compresses better. The scripts of the page undo this in ``data.js``.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

MISSING = -32768  # code of pixels without data
_CODES = 32767  # on either side of zero
_EFFORT = 6  # of zlib: 9 takes three times as long for 2 % less

Codes = NDArray[np.int16]
Array = NDArray[np.floating[Any]]

NUMBERS = 100_000_000  # that an overview is made of, at most: 400 MB in memory
FINE_NUMBERS = 50_000_000  # of the finer level
TILE = 256  # px of a tile of the finer level: unpacked within one frame of a screen
KEPT = 0.9  # of the budget that maps may take; pictures and scripts need the rest
OVERVIEW = 0.6  # of what maps may take, if there is a finer level
_SAMPLE = 64  # rows of the parts that a size is estimated from
_TRIED = 1_000_000  # px of the finer level that its size is estimated from
# what fans of 50, 80, 90 and 95 % and the tails need; 15 of 29, and 9 of them
FEWER = (
    (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999),
    (0.005, 0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975, 0.995),
)


@dataclass(frozen=True)
class Scale:
    """How values become whole numbers: value = (base + code) * 10^-digits."""

    digits: int
    base: int

    @classmethod
    def of(cls, low: float, high: float) -> Scale:
        """Choose a quantum between a thousandth and a ten-thousandth of the range."""
        if not high > low:  # one value, or none
            low, high = (low, low + 1) if math.isfinite(low) else (0.0, 1.0)
        digits = 4 - math.ceil(math.log10(high - low) - 1e-9)
        size = 10.0**digits
        far = max(abs(low), abs(high)) * size > _CODES
        return cls(digits, round((low + high) / 2 * size) if far else 0)

    @property
    def quantum(self) -> float:
        """What one code stands for, native units."""
        return float(10.0**-self.digits)

    def encode(self, values: Array) -> Codes:
        """Round values to codes; NaN becomes ``MISSING``."""
        # float32 would round twice, and a tie the other way
        scaled = np.rint(values * np.float64(10.0**self.digits)) - self.base
        codes: Codes = np.clip(np.nan_to_num(scaled, nan=0.0), -_CODES, _CODES).astype(np.int16)
        codes[np.isnan(values)] = MISSING
        return codes

    def decode(self, codes: Codes) -> NDArray[np.float64]:
        """Return the values that a page reads from codes."""
        values = (codes.astype(np.float64) + self.base) / 10.0**self.digits
        return np.where(codes == MISSING, np.nan, values)


def pack(planes: Codes, before: Codes | None = None) -> str:
    """Compress planes (n, y, x) into base64, each less the plane before it."""
    first = planes[:1] if before is None else planes[:1] - before
    # differences wrap around in 16 bits, and sums in the page wrap back
    steps = np.concatenate([first, planes[1:] - planes[:-1]])
    halves = np.ascontiguousarray(steps, "<i2").view(np.uint8).reshape(-1, 2).T
    return _text(np.ascontiguousarray(halves).tobytes())


def pack_bytes(plane: NDArray[np.uint8]) -> str:
    """Compress a plane of flags into base64."""
    return _text(np.ascontiguousarray(plane).tobytes())


def _text(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, _EFFORT)).decode("ascii")


@dataclass(frozen=True)
class Flags:
    """A layer of flags: what a pixel lacks, or whether it is like the training."""

    name: str
    title: str
    plane: NDArray[np.uint8]  # (y, x)
    # text of each flag, its mask or value, and whether it is a mask
    entries: tuple[tuple[str, int, bool], ...]


@dataclass(frozen=True)
class Layers:
    """Maps of a report on sampled pixels, north-up, native units, NaN without data."""

    history: Array  # (time, y, x), without steps for a map of samples
    mean: Array  # (lead, y, x)
    quantiles: Array  # (lead, q, y, x), without q where there is no calibration
    levels: tuple[float, ...]  # probabilities of the quantiles
    flags: tuple[Flags, ...] = ()
    stride: int = 1  # every n-th row and column of the result

    def __post_init__(self) -> None:
        assert self.quantiles.shape[1] == len(self.levels)

    def thinner(self) -> Self | None:
        """Return fewer percentiles; ``None`` if there are none to give up."""
        for kept in FEWER:
            if len(kept) < len(self.levels) and {*kept} <= {*self.levels}:
                at = [self.levels.index(level) for level in kept]
                return replace(self, quantiles=self.quantiles[:, at], levels=kept)
        return None

    def every(self, step: int) -> Self:
        """Return every n-th row and column."""

        def cut(values: Any) -> Any:
            return values[..., ::step, ::step]

        flags = tuple(replace(flag, plane=cut(flag.plane)) for flag in self.flags)
        arrays = {n: cut(getattr(self, n)) for n in ("history", "mean", "quantiles")}
        return replace(self, **arrays, flags=flags, stride=self.stride * step)

    def rows(self, where: slice) -> Self:
        """Return some rows."""
        flags = tuple(replace(flag, plane=flag.plane[where]) for flag in self.flags)
        arrays = {n: getattr(self, n)[..., where, :] for n in ("history", "mean", "quantiles")}
        return replace(self, **arrays, flags=flags)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.mean.shape[-2], self.mean.shape[-1]

    def states(self) -> Fine:
        """Return the states of all times, as the finer level has them."""
        count = len(self.history) + len(self.mean)
        return Fine(np.concatenate([self.history, self.mean]), tuple(range(count)), self.stride)

    def scale(self, fine: Fine | None = None) -> Scale:
        """Return the quantum of all values."""
        arrays = (self.history, self.mean, self.quantiles, *([fine.states] if fine else []))
        ends = [a for a in arrays if np.isfinite(a).any()]
        lows, highs = [float(np.nanmin(a)) for a in ends], [float(np.nanmax(a)) for a in ends]
        return Scale.of(min(lows, default=0.0), max(highs, default=1.0))


@dataclass(frozen=True)
class Fine:
    """States of some times on more pixels than the overview has."""

    states: Array  # (time, y, x), north-up, native units, NaN without data
    times: tuple[int, ...]  # their numbers among the times of the page
    stride: int  # every n-th row and column of the result

    def every(self, step: int) -> Self:
        """Return every n-th row and column."""
        return replace(self, states=self.states[:, ::step, ::step], stride=self.stride * step)

    def only(self, times: Sequence[int]) -> Self:
        """Return some of the times."""
        at = [self.times.index(time) for time in times]
        return replace(self, states=self.states[at], times=tuple(times))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.states.shape[-2], self.states.shape[-1]


@dataclass(frozen=True)
class Sampling:
    """Which pixels, percentiles and times of a result are kept in memory."""

    levels: tuple[float, ...]
    stride: int
    fine: int = 0  # stride of the finer level; 0 where the overview has every pixel
    ends: bool = True  # the finer level has the last map and the last lead alone

    @classmethod
    def of(
        cls, shape: tuple[int, int], leads: int, past: int, levels: tuple[float, ...]
    ) -> Sampling:
        """Choose the most that fits in memory, whatever the size of the raster."""
        fewer = [kept for kept in FEWER if {*kept} <= {*levels}]
        for kept in (levels, *fewer):
            if stride_for(shape, leads * (len(kept) + 1) + past) == 1:
                return cls(kept, 1)
        kept = fewer[-1] if fewer else levels
        stride = stride_for(shape, leads * (len(kept) + 1) + past)
        if stride_for(shape, leads + past, FINE_NUMBERS) == 1:
            return cls(kept, stride, 1, ends=False)
        return cls(kept, stride, stride_for(shape, 1 + bool(past), FINE_NUMBERS))


@dataclass(frozen=True)
class Packed:
    """Layers as text, by the name of their block in the page."""

    layers: Layers
    scale: Scale
    blocks: Mapping[str, str] = field(default_factory=dict)
    fine: Fine | None = None

    @property
    def size(self) -> int:
        """Bytes of the text."""
        return sum(map(len, self.blocks.values()))


def stride_for(shape: tuple[int, int], planes: int, numbers: int | None = None) -> int:
    """Return the smallest stride at which so many planes fit in memory."""
    most, stride = NUMBERS if numbers is None else numbers, 1
    while -(-shape[0] // stride) * -(-shape[1] // stride) * planes > most:
        stride += 1
    return stride


def pack_layers(layers: Layers, scale: Scale | None = None) -> Packed:
    """Compress all layers; the last lead comes first, because a page begins with it."""
    scale = scale or layers.scale()
    blocks: dict[str, str] = {}
    last: Codes | None = None
    if len(layers.history):
        history = scale.encode(layers.history)
        blocks["history"], last = pack(history), history[-1:]
    for lead in reversed(range(len(layers.mean))):
        planes = [*layers.quantiles[lead], layers.mean[lead]]
        blocks[f"lead-{lead}"] = pack(scale.encode(np.stack(planes)), last)
    for flag in layers.flags:
        blocks[f"flags-{flag.name}"] = pack_bytes(flag.plane)
    return Packed(layers, scale, blocks)


def pack_fine(fine: Fine, scale: Scale) -> dict[str, str]:
    """Compress the tiles that have data, each by itself."""
    blocks = {}
    for row in range(0, fine.shape[0], TILE):
        for column in range(0, fine.shape[1], TILE):
            part = fine.states[:, row : row + TILE, column : column + TILE]
            if np.isfinite(part).any():
                blocks[f"fine-{row // TILE}-{column // TILE}"] = pack(scale.encode(part))
    return blocks


def fit(layers: Layers, budget: int, fine: Fine | None = None) -> Packed:
    """Compress layers into so many bytes: fewer percentiles, then two levels of fewer pixels.

    The finer level is made of ``fine``, or of an overview that has every pixel in memory.
    """
    scale, room = layers.scale(fine), KEPT * budget
    thin: Layers | None = layers
    while thin is not None and layers.stride == 1:
        if _estimate(thin, scale) <= 1.1 * room:
            packed = pack_layers(thin, scale)
            if packed.size <= room or max(thin.shape) <= 2:
                return packed
        layers, thin = thin, thin.thinner()
    overview = _coarsened(layers, scale, OVERVIEW * room)
    source = layers.states() if fine is None else fine
    return _with_fine(overview, source, room - overview.size)


def _coarsened(layers: Layers, scale: Scale, room: float) -> Packed:
    """Compress every n-th row and column, with the smallest n that fits."""
    # fewer pixels compress worse, so no smaller step than the first can fit
    step = max(1 + (layers.stride == 1), math.isqrt(int(_estimate(layers, scale) / room)))
    while True:
        part = layers.every(step)
        if _estimate(part, scale) <= 1.1 * room:
            packed = pack_layers(part, scale)
            if packed.size <= room or max(part.shape) <= 2:
                return packed
        step += 1


def _with_fine(overview: Packed, fine: Fine, room: float) -> Packed:
    """Add the finest states that fit: of all times, or of the last map and the last lead."""
    past, last = len(overview.layers.history), max(fine.times)
    ends = fine.only([time for time in fine.times if time in (past - 1, last)])
    sample = ends.every(max(1, math.isqrt(math.prod(ends.shape) // _TRIED)))
    size = sum(map(len, pack_fine(sample, overview.scale).values())) * sample.stride**2
    # half of the estimate, as more pixels compress better
    step = max(1, math.isqrt(int(size / (2 * fine.stride**2 * max(room, 1)))))
    # a level that is hardly finer than the overview is worth nothing
    while 3 * fine.stride * step <= 2 * overview.layers.stride:
        for some in (fine, ends) if len(fine.times) > len(ends.times) else (ends,):
            part = some.every(step)
            blocks = pack_fine(part, overview.scale)
            if sum(map(len, blocks.values())) <= room:
                return replace(overview, blocks={**overview.blocks, **blocks}, fine=part)
        step += 1
    return overview


def _estimate(layers: Layers, scale: Scale) -> float:
    """Estimate the size from every eighth part of the rows, if there are many."""
    rows = layers.shape[0]
    if rows < 16 * _SAMPLE:
        return 0.0  # cheap enough to try
    parts = [slice(at, at + _SAMPLE) for at in range(0, rows, 8 * _SAMPLE)]
    taken = sum(min(rows, part.stop) - part.start for part in parts)
    return sum(pack_layers(layers.rows(part), scale).size for part in parts) * rows / taken


def share_unchanged(layers: Layers, scale: Scale, areas: Sequence[float] | Array) -> float | None:
    """Return the share of the area whose median of the last lead is the last map, to a quantum."""
    if not len(layers.history) or 0.5 not in layers.levels:
        return None
    median = scale.encode(layers.quantiles[-1, layers.levels.index(0.5)])
    origin = scale.encode(layers.history[-1])
    known = (median != MISSING) & (origin != MISSING)
    weight = np.asarray(areas)[:, None] * known
    total = float(weight.sum())
    return float((weight * (median == origin)).sum()) / total if total else None
