"""Laws of encoding: a page reads back each number, rounded to a quantum, within its budget."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmx.report.layers import (
    FINE_NUMBERS,
    MISSING,
    NUMBERS,
    Layers,
    Sampling,
    Scale,
    fit,
    pack,
    pack_layers,
    stride_for,
)
from hmx.uncertainty.joint.dependence import LEVELS


def unpack(text: str, shape: tuple[int, int], before: np.ndarray | None = None) -> np.ndarray:
    """Undo :func:`pack`, as data.js does."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    low, high = raw.reshape(2, -1).astype(np.uint16)
    steps = (low | high << 8).astype("<u2").view("<i2").reshape(-1, *shape)
    planes, last = [], np.zeros(shape, np.int16) if before is None else before
    for step in steps:
        last = last + step  # wraps around
        planes.append(last)
    return np.stack(planes)


@given(st.integers(-30, 30), st.floats(0.01, 1e5), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_values_read_back_to_half_a_quantum_of_a_thousandth_of_the_range(
    offset: int, span: float, seed: int
) -> None:
    values = span * (offset + np.random.default_rng(seed).random((3, 4, 5)))
    values[0, 0, 0] = np.nan
    scale = Scale.of(float(np.nanmin(values)), float(np.nanmax(values)))
    codes = scale.encode(values)
    read = scale.decode(unpack(pack(codes), (4, 5)))
    assert np.isnan(read[0, 0, 0])
    assert np.nanmax(np.abs(read - values)) <= 0.5001 * scale.quantum
    assert scale.quantum <= np.ptp(values[~np.isnan(values)]) / 999


def test_a_block_continues_the_plane_before_it() -> None:
    rng = np.random.default_rng(1)
    before, planes = (rng.integers(-32768, 32767, (n, 6, 7)).astype(np.int16) for n in (1, 3))
    assert np.array_equal(unpack(pack(planes, before), (6, 7), before[0]), planes)


def world(side: int = 64, seed: int = 0) -> Layers:
    """Return layers of noise, which compress badly."""
    rng = np.random.default_rng(seed)
    quantiles = np.sort(rng.random((2, len(LEVELS), side, side), np.float32), axis=1)
    history = rng.random((3, side, side), np.float32)
    return Layers(history, quantiles.mean(axis=1), quantiles, LEVELS)


def test_a_small_budget_takes_percentiles_first_and_then_pixels() -> None:
    layers = world()
    whole = pack_layers(layers).size
    for share, levels, stride in ((1.2, 29, 1), (0.7, 15, 1), (0.5, 9, 1), (0.25, 9, 2)):
        packed = fit(layers, int(share * whole))
        assert packed.size <= share * whole
        assert (packed.fine is not None) == (stride > 1)
        assert (len(packed.layers.levels), packed.layers.stride) == (levels, stride)
        assert {0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975} <= {*packed.layers.levels}


def test_decimated_layers_have_true_pixels() -> None:
    layers = world()
    packed = fit(layers, 100_000)
    n = packed.layers.stride
    assert n > 1
    kept = [layers.levels.index(level) for level in packed.layers.levels]
    assert np.array_equal(packed.layers.quantiles, layers.quantiles[:, kept, ::n, ::n])
    assert np.array_equal(packed.layers.history, layers.history[:, ::n, ::n])
    assert packed.fine is not None
    m = packed.fine.stride
    assert 3 * m <= 2 * n
    states = np.concatenate([layers.history, layers.mean])[list(packed.fine.times)]
    assert np.array_equal(packed.fine.states, states[:, ::m, ::m])


@given(st.integers(1, 60_000), st.integers(1, 60_000), st.integers(1, 8), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_what_is_kept_in_memory_is_bounded_whatever_the_raster(
    rows: int, columns: int, leads: int, past: int
) -> None:
    kept = Sampling.of((rows, columns), leads, past, LEVELS)

    def numbers(stride: int, planes: int) -> int:
        return -(-rows // stride) * -(-columns // stride) * planes

    assert numbers(kept.stride, leads * (len(kept.levels) + 1) + past) <= NUMBERS
    assert (kept.stride == 1) == (kept.fine == 0)
    if kept.fine:
        planes = 1 + bool(past) if kept.ends else leads + past
        assert numbers(kept.fine, planes) <= FINE_NUMBERS
        assert len(kept.levels) == 9


@pytest.mark.parametrize(("shape", "stride"), [((500, 600), 1), ((20_000, 20_000), 23)])
def test_sampled_pixels_fit_in_memory(shape: tuple[int, int], stride: int) -> None:
    assert stride_for(shape, 127) == stride


def test_missing_values_have_a_code_of_their_own() -> None:
    scale = Scale.of(-1.0, 1.0)
    assert scale.encode(np.array([np.nan])) == MISSING
    assert scale.encode(np.array([-1e9])) == -32767
