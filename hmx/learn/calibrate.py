"""Calibrate: rank held-out truths in the distributions that networks forecast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hmx.calibration import (
    SHARES,
    Calibration,
    best_shares,
    fit_ranks,
    memberships,
    strata,
)
from hmx.distribution import mixture, rank, settle
from hmx.folds import CALIBRATION
from hmx.learn.data import Batch, HeldOut, Reader
from hmx.metrics import crps
from hmx.models.forecaster import Forecaster

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
    spec, change = reader.spec, reader.scaler.change
    cap = float(max(spec.context.radii)) if spec.context.distance else None
    nodes = strata(cap)
    windows = HeldOut(reader, CALIBRATION, most=most, seed=seed)
    batches = [windows[index] for index in range(len(windows))]
    settled = [forecast_knots(networks, reader, batch) for batch in batches]
    costs = np.zeros((spec.h, len(nodes), len(SHARES)))
    for batch, knots in zip(batches, settled, strict=True):
        costs += _costs(batch, knots, nodes, reader)
    kept = [best_shares(lead) for lead in costs]
    damping = Calibration(nodes=nodes, kept=tuple(kept))
    ranked = _Ranked(reader, seed)
    for batch, knots in zip(batches, settled, strict=True):
        origin, near = batch.seen.past[0, -1].numpy(), _near(batch, reader)
        ranked.see(batch, damping.damp(knots, origin, near))
    ranks, distances = ranked.joined()
    return fit_ranks(ranks, distances, nodes=nodes, stretch=change, kept=kept)


def _near(batch: Batch, reader: Reader) -> np.ndarray | None:
    """Return the distance to past change of a window, px, if it is known."""
    return batch.distance[0].numpy() if reader.spec.context.distance else None


def _costs(batch: Batch, knots: np.ndarray, nodes: Sequence[float], reader: Reader) -> np.ndarray:
    """Sum the CRPS of a window for each share of the residual, (lead, strata, shares)."""
    origin, levels = batch.seen.past[0, -1].numpy(), np.array(reader.spec.network.knots)
    weights = [
        np.broadcast_to(weight, origin.shape) for weight in memberships(_near(batch, reader), nodes)
    ]
    found = np.zeros((len(knots), len(nodes), len(SHARES)))
    for lead, values in enumerate(knots):
        kept = batch.weight[0, lead].numpy() > 0
        truth, start = batch.truth[0, lead].numpy()[kept], origin[kept]
        for at, share in enumerate(SHARES):
            damped = start + np.float32(share) * (values[:, kept] - start)
            cost = crps(truth, damped, levels)
            found[lead, :, at] = [float((weight[kept] * cost).sum()) for weight in weights]
    return found


class _Ranked:
    """Ranks of truths, and their distances to past change, lead by lead."""

    def __init__(self, reader: Reader, seed: int):
        self.reader, self.draw = reader, np.random.default_rng([seed, CALIBRATION])
        self.ranks: list[list[np.ndarray]] = [[] for _ in range(reader.spec.h)]
        self.near: list[list[np.ndarray]] = [[] for _ in range(reader.spec.h)]

    def see(self, batch: Batch, knots: np.ndarray) -> None:
        """Rank the truths of a window."""
        levels = self.reader.spec.network.knots
        for lead, values in enumerate(knots):
            kept = batch.weight[0, lead].numpy() > 0
            truth = batch.truth[0, lead].numpy()[kept]
            stretch, fall = self.reader.scaler.change[lead], self.draw.random(len(truth))
            self.ranks[lead].append(rank(values[:, kept], levels, truth, fall, stretch=stretch))
            self.near[lead].append(batch.distance[0].numpy()[kept])

    def joined(self) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
        """Return the ranks of each lead, and their distances where these are known."""
        known = self.reader.spec.context.distance
        joined = [
            _join(ranks, near, self.draw) for ranks, near in zip(self.ranks, self.near, strict=True)
        ]
        return [found for found, _ in joined], [near if known else None for _, near in joined]


def forecast_knots(networks: Sequence[Forecaster], reader: Reader, batch: Batch) -> np.ndarray:
    """Forecast a window's knots as inference does, (h, q, y, x), native units."""
    spec = reader.spec
    with torch.inference_mode():
        members = [n(batch.seen, h=spec.h)[0].float().numpy() for n in networks]
    return settle(
        mixture(members, spec.network.knots),
        batch.seen.past[0, -1].numpy(),
        tolerance=reader.scaler.tolerance,
        valid_range=spec.valid_range,
    )


def _join(
    ranks: list[np.ndarray], near: list[np.ndarray], draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Join the windows of a lead, and thin out what is more than enough."""
    found = np.concatenate(ranks) if ranks else np.zeros(0)
    distance = np.concatenate(near) if near else np.zeros(0)
    if len(found) > _MOST_RANKS:
        kept = draw.choice(len(found), _MOST_RANKS, replace=False)
        found, distance = found[kept], distance[kept]
    return found, distance
