"""Calibrate: rank held-out truths in the distributions that networks forecast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hmx.forecast.train.data import Batch, HeldOutWindows, Reader
from hmx.networks.forecaster import Forecaster
from hmx.scores import crps
from hmx.splits import CALIBRATION
from hmx.uncertainty.calibration import Calibration, fit_ranks, strata
from hmx.uncertainty.distribution import mixture, rank, settle

_MAX_WINDOWS = 256
_MAX_RANKS = 2_000_000  # of a lead: more do not change a calibration


def calibrate(
    networks: Sequence[Forecaster], reader: Reader, *, seed: int, most: int = _MAX_WINDOWS
) -> Calibration:
    """Rank the truths of the calibration blocks, by lead and distance to past change.

    Neither the weights nor the choice of the best weights may have used these blocks. The
    result covers the leads from 1 up that have enough truth; it is empty without blocks.
    """
    spec, scaler = reader.spec, reader.scaler
    windows = HeldOutWindows(reader, CALIBRATION, most=most, seed=seed)
    far = _far_share(networks, reader, windows)
    damping = Calibration(nodes=_nodes(reader), far=far)
    # a truth inside a point mass gets a random rank within it, so that ranks are uniform
    draw = np.random.default_rng([seed, CALIBRATION])
    # of each lead, a list of (ranks, distances, number of the window)
    parts: list[list[tuple[np.ndarray, ...]]] = [[] for _ in range(spec.h)]
    for index in range(len(windows)):
        batch = windows[index]
        knots = forecast_knots(networks, reader, batch, damping)
        for lead in range(spec.h):
            known = batch.weight[0, lead].numpy() > 0
            truth = batch.truth[0, lead].numpy()[known]
            fall, stretch = draw.random(len(truth)), scaler.change[lead]
            ranks = rank(knots[lead][:, known], spec.network.knots, truth, fall, stretch=stretch)
            distance = batch.distance[0].numpy()[known]
            parts[lead].append((ranks, distance, np.full(len(truth), index)))
    joined = []
    for lead in range(spec.h):
        columns = list(zip(*parts[lead], strict=True)) or [()] * 3
        arrays = [np.concatenate(column) if column else np.zeros(0) for column in columns]
        if len(arrays[0]) > _MAX_RANKS:
            kept = draw.choice(len(arrays[0]), _MAX_RANKS, replace=False)
            arrays = [array[kept] for array in arrays]
        joined.append(arrays)
    return fit_ranks(
        [ranks for ranks, _, _ in joined],
        [distance if spec.context.distance else None for _, distance, _ in joined],
        # Ranks of one number have no probabilities to fall back to where blocks disagree
        blocks=None if spec.network.point else [block for _, _, block in joined],
        nodes=damping.nodes,
        stretch=scaler.change,
        far=far,
    )


def _nodes(reader: Reader) -> tuple[float, ...]:
    """Return the distances to past change between which a calibration interpolates, px."""
    context = reader.spec.context
    return strata(float(max(context.radii)) if context.distance else None)


def _far_share(networks: Sequence[Forecaster], reader: Reader, windows: HeldOutWindows) -> float:
    """Return 1 to keep the spread far from past change, or 0 if persistence is better there.

    Only forecasts one step ahead from the last origin count: how often anything happens far
    from past change differs most between steps, and the last step is the best guide.
    """
    if not reader.spec.context.distance:
        return 1.0
    ours = persistence = 0.0
    levels, far = np.array(reader.spec.network.knots), _nodes(reader)[-1]
    for core, origin in windows.pairs:
        if origin == max(reader.origins):
            batch = windows.at(core, origin)
            used = (batch.weight[0, 0].numpy() > 0) & (batch.distance[0].numpy() >= far)
            truth = batch.truth[0, 0].numpy()[used]
            knots = forecast_knots(networks, reader, batch, Calibration())[0][:, used]
            ours += float(crps(truth, knots, levels).sum())
            persistence += float(np.abs(truth - batch.seen.past[0, -1].numpy()[used]).sum())
    return 0.0 if persistence < ours else 1.0


def forecast_knots(
    networks: Sequence[Forecaster], reader: Reader, batch: Batch, calibration: Calibration
) -> np.ndarray:
    """Forecast the quantiles of a window as inference does, (h, q, y, x), native units."""
    spec = reader.spec
    with torch.inference_mode():
        members = [
            n(batch.seen, h=spec.h, origin=batch.origin)[0].float().numpy() for n in networks
        ]
    origin = batch.seen.past[0, -1].numpy()
    settled = settle(
        mixture(members, spec.network.knots),
        origin,
        tolerance=reader.scaler.tolerance,
        valid_range=spec.valid_range,
    )
    return calibration.damp(settled, origin, batch.distance[0].numpy())
