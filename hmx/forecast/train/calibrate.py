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

_MOST_WINDOWS = 256
_MOST_RANKS = 2_000_000  # of a lead: more do not change a calibration


def calibrate(
    networks: Sequence[Forecaster], reader: Reader, *, seed: int, most: int = _MOST_WINDOWS
) -> Calibration:
    """Rank the truths of the calibration blocks, by lead and distance to past change.

    Parameters
    ----------
    networks : sequence of Forecaster
        One, or the members of an ensemble, with their final weights, in float32.
    reader : Reader
        Its calibration blocks were seen neither by the weights nor by the
        choice of the best ones.
    seed : int
        Draws windows where there are very many, and ranks inside point masses.
    most : int
        Windows at most.

    Returns
    -------
    Calibration
        Of the leads, from 1 up, that have enough truth; empty without blocks.
    """
    h = reader.spec.h
    ranks: list[list[np.ndarray]] = [[] for _ in range(h)]
    near: list[list[np.ndarray]] = [[] for _ in range(h)]
    whose: list[list[np.ndarray]] = [[] for _ in range(h)]
    windows = HeldOutWindows(reader, CALIBRATION, most=most, seed=seed)
    far = _far_share(networks, reader, windows)
    damping = Calibration(nodes=_nodes(reader), far=far)
    draw = np.random.default_rng([seed, CALIBRATION])
    for index in range(len(windows)):
        batch = windows[index]
        knots = forecast_knots(networks, reader, batch, damping)
        for lead in range(h):
            kept = batch.weight[0, lead].numpy() > 0
            truth = batch.truth[0, lead].numpy()[kept]
            values = knots[lead][:, kept]
            stretch = reader.scaler.change[lead]
            levels, fall = reader.spec.network.knots, draw.random(len(truth))
            ranks[lead].append(rank(values, levels, truth, fall, stretch=stretch))
            near[lead].append(batch.distance[0].numpy()[kept])
            whose[lead].append(np.full(len(truth), index))
    known = reader.spec.context.distance
    joined = [_join((ranks[lead], near[lead], whose[lead]), draw) for lead in range(h)]
    return fit_ranks(
        [found for found, _, _ in joined],
        [distance if known else None for _, distance, _ in joined],
        blocks=[block for _, _, block in joined],
        nodes=damping.nodes,
        stretch=reader.scaler.change,
        far=far,
    )


def _nodes(reader: Reader) -> tuple[float, ...]:
    context = reader.spec.context
    return strata(float(max(context.radii)) if context.distance else None)


def _far_share(networks: Sequence[Forecaster], reader: Reader, windows: HeldOutWindows) -> float:
    """Decide by the last map known whether networks say more than persistence far away.

    One step ahead from the last origin alone: how often anything happens far from past
    change is what earlier maps say least about.
    """
    if not reader.spec.context.distance:
        return 1.0
    ours = theirs = 0.0
    levels, far = np.array(reader.spec.network.knots), _nodes(reader)[-1]
    for core, origin in windows.pairs:
        if origin == max(reader.origins):
            batch = windows.at(core, origin)
            kept = (batch.weight[0, 0].numpy() > 0) & (batch.distance[0].numpy() >= far)
            truth = batch.truth[0, 0].numpy()[kept]
            knots = forecast_knots(networks, reader, batch, Calibration())[0][:, kept]
            ours += float(crps(truth, knots, levels).sum())
            theirs += float(np.abs(truth - batch.seen.past[0, -1].numpy()[kept]).sum())
    return 0.0 if theirs < ours else 1.0


def forecast_knots(
    networks: Sequence[Forecaster],
    reader: Reader,
    batch: Batch,
    calibration: Calibration,
) -> np.ndarray:
    """Forecast a window's knots as inference does, (h, q, y, x), native units."""
    spec = reader.spec
    with torch.inference_mode():
        members = [n(batch.seen, h=spec.h)[0].float().numpy() for n in networks]
    origin = batch.seen.past[0, -1].numpy()
    settled = settle(
        mixture(members, spec.network.knots),
        origin,
        tolerance=reader.scaler.tolerance,
        valid_range=spec.valid_range,
    )
    return calibration.damp(settled, origin, batch.distance[0].numpy())


def _join(
    windows: tuple[list[np.ndarray], ...], draw: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Join the windows of a lead, and thin out what is more than enough."""
    found = [np.concatenate(parts) if parts else np.zeros(0) for parts in windows]
    if len(found[0]) > _MOST_RANKS:
        kept = draw.choice(len(found[0]), _MOST_RANKS, replace=False)
        found = [part[kept] for part in found]
    return tuple(found)
