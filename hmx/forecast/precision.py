"""Precision: bfloat16 only where the hardware has it and an audit allows it.

The rule: on a real tile, the root mean square difference from float32 is at
most 1 % of the root mean square change that is forecast.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from hmx.cube.cube import Cube
from hmx.cube.read import read
from hmx.forecast.bundle import Bundle
from hmx.forecast.inputs import assemble
from hmx.forecast.window import Engine, TileGeometry
from hmx.hardware import native_bfloat16
from hmx.networks.options import Precision
from hmx.uncertainty.distribution import mean
from hmx.windows import Span, TileGrid

LARGEST_ERROR = 0.01  # of the forecast change: far below the error of any forecast


def resolve(
    precision: Precision, device: str, bundle: Bundle, cube: Cube, tiles: TileGrid, h: int
) -> Precision:
    """Turn ``auto`` into a precision, once per run.

    Only ``auto`` on hardware with bfloat16 reads pixels: those of the central tile.
    """
    if precision != "auto":
        return precision
    if not native_bfloat16(device):
        return "float32"
    error = audit(device, bundle, cube, tiles, h)
    choice: Literal["bfloat16", "float32"] = "bfloat16" if error <= LARGEST_ERROR else "float32"
    return choice


def audit(device: str, bundle: Bundle, cube: Cube, tiles: TileGrid, h: int) -> float:
    """Return the RMS error of bfloat16 on the central tile, relative to the RMS forecast change.

    It is infinite if the tile has no data, or no change is forecast.
    """
    knots = bundle.spec.network.knots
    history, steps = bundle.spec.network.past_steps, cube.data.sizes["time"]
    tile = tiles[tiles.counts[0] // 2, tiles.counts[1] // 2]
    times, known = Span(steps - history, steps), bundle.spec.future
    arrays = read(cube, tile.read, times, cube.rules, known=known, h=h)
    geometry = TileGeometry.of(tile.core, tile.read, cube.grid, bundle.spec, h=h)
    inputs = assemble(
        arrays, bundle.spec, bundle.scaler, inner=geometry.inner, pixel_size=geometry.pixel_size
    )
    origin = arrays[bundle.spec.target][(-1, *geometry.crop.slices)]
    full, half = (
        mean(Engine.of(bundle, precision=p, device=device).knots(inputs, h, geometry.core), knots)
        for p in ("float32", "bfloat16")
    )
    seen = np.broadcast_to(np.isfinite(origin), full.shape)
    change = float(np.square((full - origin)[seen]).sum())
    error = float(np.square((full - half)[seen]).sum())
    return float(np.sqrt(error / change)) if change > 0 else float("inf")
