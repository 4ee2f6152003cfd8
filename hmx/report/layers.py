"""Layers: the arrays of a report, and how they are made to fit its budget.

A report keeps true pixels: where there are too many, it has every n-th row and column, so that a
click still reads numbers of the store. It first gives up percentiles, from 29 to 15 to 9, then
pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hmx.report.encode import MISSING, Array, Codes, Scale, pack, pack_bytes

NUMBERS = 100_000_000  # that a report is made of, at most: 400 MB in memory
KEPT = 0.9  # of the budget that maps may take; pictures and scripts need the rest
_SAMPLE = 64  # rows of the parts that a size is estimated from
# what fans of 50, 80, 90 and 95 % and the tails need; 15 of 29, and 9 of them
_FEWER = (
    (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999),
    (0.005, 0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975, 0.995),
)


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
        for kept in _FEWER:
            if len(kept) < len(self.levels) and {*kept} <= {*self.levels}:
                at = [self.levels.index(level) for level in kept]
                return replace(self, quantiles=self.quantiles[:, at], levels=kept)
        return None

    def coarser(self) -> Self:
        """Return every second row and column."""
        return self.every(2)

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

    def scale(self) -> Scale:
        """Return the quantum of all values."""
        ends = [a for a in (self.history, self.mean, self.quantiles) if np.isfinite(a).any()]
        lows, highs = [float(np.nanmin(a)) for a in ends], [float(np.nanmax(a)) for a in ends]
        return Scale.of(min(lows, default=0.0), max(highs, default=1.0))


@dataclass(frozen=True)
class Packed:
    """Layers as text, by the name of their block in the page."""

    layers: Layers
    scale: Scale
    blocks: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the text."""
        return sum(map(len, self.blocks.values()))


def stride_for(shape: tuple[int, int], planes: int) -> int:
    """Return the smallest stride at which so many planes fit in memory."""
    stride = 1
    while -(-shape[0] // stride) * -(-shape[1] // stride) * planes > NUMBERS:
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


def fit(layers: Layers, budget: int) -> Packed:
    """Compress layers into so many bytes: fewer percentiles first, then fewer pixels."""
    scale, room = layers.scale(), KEPT * budget
    while True:
        if _estimate(layers, scale) <= 1.1 * room:
            packed = pack_layers(layers, scale)
            if packed.size <= room or max(layers.shape) <= 2:
                return packed
        layers = layers.thinner() or layers.coarser()


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
