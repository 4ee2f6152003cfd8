"""Joint: fit how the errors of pixels vary together, from forecasts of the training's origins.

Each origin is forecast once more, by the networks that ship, with calibrated quantiles, as
inference makes them. Only the pace of past steps is that of the origin, which the networks keep
from their training. Blocks of a test are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from hmx.forecast.beyond import learnt_leads
from hmx.forecast.bundle import Bundle
from hmx.forecast.joint import describe_dependence, pixel_side, why_none
from hmx.forecast.train.data import Reader
from hmx.forecast.window import calibrated
from hmx.hardware import in_threads
from hmx.networks.forecaster import Forecaster, reach
from hmx.networks.inputs import NetworkInputs
from hmx.networks.stream.executor import run_window
from hmx.progress import Progress
from hmx.splits import TRAIN
from hmx.uncertainty.distribution import settle
from hmx.uncertainty.joint.dependence import LEVELS, Dependence, phi_of
from hmx.uncertainty.joint.fit import STRIP, DependenceFit
from hmx.uncertainty.mixing import mixture
from hmx.windows import TileGrid, Window, with_halo

_SIDE = 4 * STRIP  # px of a window: whole blocks, and little halo
_TOGETHER = 2  # windows that are forecast at the same time: each may need a gigabyte
_MOST = 1_000_000  # px of an origin: 150 blocks of 80 px
_MOST_IN_ALL = 6_000_000  # px over all origins: some 10 s each million, on one core


def with_dependence(
    bundle: Bundle, networks: Sequence[Forecaster], reader: Reader, *, seed: int, progress: Progress
) -> Bundle:
    """Return a bundle with the dependence of its errors, if that can be fitted.

    `networks` are those whose weights the bundle has; the blocks of the training of `reader` are
    those that may be looked at.
    """
    if why_none(bundle) is None:
        fit = gather(bundle, networks, reader, seed=seed, progress=progress)
        if leads := fit.fit():
            phi = phi_of(reader.cube.cadence.years)
            side = pixel_side(reader.cube.grid)
            # below 1, however short the steps: draws of two leads differ
            found = Dependence(leads, round(side, 3), min(round(phi, 6), 0.999999))
            bundle = replace(bundle, dependence=found)
    progress.note(f"model: zone totals: {describe_dependence(bundle)}")
    return bundle


def gather(
    bundle: Bundle,
    networks: Sequence[Forecaster],
    reader: Reader,
    *,
    seed: int,
    progress: Progress,
    side: int = _SIDE,
) -> DependenceFit:
    """Add up the errors of all origins, window by window."""
    fit, last = DependenceFit(), reader.cube.data.sizes["time"] - 1
    windows = windows_of(reader, seed=seed, side=side)
    total = len(windows) * len(reader.origins)
    for number, origin in enumerate(reader.origins):
        h = min(learnt_leads(bundle), last - origin)
        one = partial(forecast, bundle, networks, reader, origin=origin, h=h)
        for start in range(0, len(windows), _TOGETHER):
            some = windows[start : start + _TOGETHER]
            for index, (quantiles, truth, known) in enumerate(in_threads(one, some), start=start):
                for lead in range(h):
                    valid = known & np.isfinite(truth[lead])
                    fit.add(lead + 1, origin, quantiles[:, lead], truth[lead], valid)
                done = number * len(windows) + index + 1
                progress.step(done, total, "dependence: errors of past origins")
    return fit


def windows_of(reader: Reader, *, seed: int, side: int = _SIDE) -> list[Window]:
    """Choose the windows that all origins are forecast in; of a large cube, some by ``seed``."""
    tiles = TileGrid(reader.cube.grid.shape, (side, side), halo=0)
    cores = [core for tile in tiles if (reader.split.roles(core := tile.core) == TRAIN).any()]
    left = min(_MOST, _MOST_IN_ALL // max(1, len(reader.origins)))
    # the 4 makes this draw independent of those that use the same seed otherwise
    order = np.random.default_rng([seed, 4]).permutation(len(cores))
    kept: list[int] = []
    for index in order:
        rows, columns = cores[index].shape
        if kept and rows * columns > left:
            break
        left -= rows * columns
        kept.append(int(index))
    return [cores[index] for index in sorted(kept)]


def forecast(
    bundle: Bundle,
    networks: Sequence[Forecaster],
    reader: Reader,
    core: Window,
    *,
    origin: int,
    h: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forecast a window from a past origin as inference does.

    Returns calibrated quantiles at ``LEVELS``, (level, h, y, x), what came, (h, y, x), NaN where
    that is not known, and the pixels of training blocks that have an origin, (y, x).
    """
    spec, grid = bundle.spec, reader.cube.grid
    far = reach(spec.network, h, spec.h)
    window = with_halo(core, grid.shape, halo=far, wraps=grid.wraps)
    inputs, truth = reader.fields.cut(window, origin)
    at = core.within(window).slices
    number = torch.tensor([origin - reader.origins.start])
    with torch.inference_mode():
        seen = NetworkInputs(*(torch.from_numpy(part.copy())[None] for part in inputs.tensors()))
        members = [
            run_window(network, seen, h=h, crop=at, origin=number)[0].float().numpy()
            for network in networks
        ]
    start = inputs.past[(-1, *at)]
    knots = settle(
        mixture(members, spec.network.knots),
        start,
        tolerance=bundle.scaler.tolerance,
        valid_range=spec.valid_range,
    )
    distance = None if inputs.distance is None else inputs.distance[at]
    knots = bundle.calibration.adjust(knots, spec.network.knots, start, distance)
    known = (inputs.valid[(-1, *at)] > 0) & (reader.split.roles(core) == TRAIN)
    return calibrated(bundle, knots, distance, LEVELS), truth[(slice(h), *at)], known
