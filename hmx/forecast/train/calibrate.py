"""Calibrate: rank held-out truths in the distributions that networks forecast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from hmx.forecast.train.data import Batch, HeldOutWindows, Reader
from hmx.hardware import in_threads
from hmx.networks.forecaster import Forecaster
from hmx.networks.stream.executor import run_window
from hmx.scores import crps
from hmx.splits import CALIBRATION, TRAIN
from hmx.uncertainty.agreement import trust_of
from hmx.uncertainty.calibration import Calibration, fit_ranks, strata
from hmx.uncertainty.distribution import rank, settle, shares, shifted_knots
from hmx.uncertainty.mixing import mixture

_MAX_WINDOWS = 256
_MOST_SHIFT = 1.0  # standard deviations: a total that is farther off has another cause
_MAX_RANKS = 2_000_000  # of a lead: more do not change a calibration


def calibrate(
    networks: Sequence[Forecaster],
    reader: Reader,
    *,
    seed: int,
    roles: tuple[int, ...] = (CALIBRATION,),
    trust: float = 1.0,
    most: int = _MAX_WINDOWS,
) -> Calibration:
    """Rank the truths of blocks of some roles, by lead and distance to past change.

    Before that, distributions are shifted so that totals add up (:func:`fit_shift`). Neither the
    weights nor the choice of the best weights may have used these blocks. The result covers the
    leads from 1 up that have enough truth; it has no ranks without blocks.
    """
    spec, scaler = reader.spec, reader.scaler
    windows = HeldOutWindows(reader, *roles, most=most, seed=seed)
    # all windows of a block are one group: other steps show it once more, and no other surroundings
    numbers = {core: number for number, core in enumerate(dict(windows.pairs))}
    far = _far_share(networks, reader, windows)
    adjusted = Calibration(nodes=_nodes(reader), far=far)
    shift = fit_shift(networks, reader, adjusted, seed=seed, trust=trust, most=most)
    adjusted = replace(adjusted, shift=shift)
    # a truth inside a point mass gets a random rank within it, so that ranks are uniform
    draw = np.random.default_rng([seed, CALIBRATION])
    # of each lead, a list of (ranks, distances, number of the block, origin)
    parts: list[list[tuple[np.ndarray, ...]]] = [[] for _ in range(spec.h)]
    for index, batch, knots in _forecasts(networks, reader, windows, adjusted):
        for lead in range(spec.h):
            known = batch.weight[0, lead].numpy() > 0
            truth = batch.truth[0, lead].numpy()[known]
            fall, stretch = draw.random(len(truth)), scaler.change[lead]
            ranks = rank(knots[lead][:, known], spec.network.knots, truth, fall, stretch=stretch)
            distance = batch.distance[0].numpy()[known]
            core, origin = windows.pairs[index]
            at = (np.full(len(truth), number) for number in (numbers[core], origin))
            parts[lead].append((ranks, distance, *at))
    joined = []
    for lead in range(spec.h):
        columns = list(zip(*parts[lead], strict=True)) or [()] * 4
        arrays = [np.concatenate(column) if column else np.zeros(0) for column in columns]
        if len(arrays[0]) > _MAX_RANKS:
            kept = draw.choice(len(arrays[0]), _MAX_RANKS, replace=False)
            arrays = [array[kept] for array in arrays]
        joined.append(arrays)
    ranked = fit_ranks(
        [ranks for ranks, *_ in joined],
        [distance if spec.context.distance else None for _, distance, *_ in joined],
        # Ranks of one number have no probabilities to fall back to where blocks disagree
        blocks=None if spec.network.point else [block for _, _, block, _ in joined],
        origins=[origin for *_, origin in joined],
        nodes=adjusted.nodes,
        stretch=scaler.change,
        far=far,
    )
    return replace(ranked, shift=shift)


def fit_shift(
    networks: Sequence[Forecaster],
    reader: Reader,
    calibration: Calibration,
    *,
    seed: int,
    trust: float = 1.0,
    most: int = _MAX_WINDOWS,
) -> tuple[float, ...]:
    """Fit the shift of each lead with which expected and observed total change agree.

    Networks promise less of the total the farther they look: change that they cannot assign to a
    pixel is missing from the mean of each. What a lead adds to the shift of the lead before it is
    believed as far as the origins agree about it (:mod:`hmx.uncertainty.agreement`): half of it
    with one origin, little where one year's growth is the next year's loss. The totals are those
    of the training blocks. ``trust`` (0 to 1) is how far the networks' own means are believed:
    means that stay near an anchor have its totals, which are cautious on purpose. Empty if nothing
    is shifted.
    """
    windows = HeldOutWindows(reader, TRAIN, most=most, seed=seed)
    calibration = replace(calibration, shift=())
    knots, h = reader.spec.network.knots, reader.spec.h
    # a shift reads each new knot between two old ones, so the mean of a map is linear in sums of
    # knots: no pixel has to be looked at twice
    sums: list[dict[int, np.ndarray]] = [{} for _ in range(h)]
    # one number has no distribution to shift
    shifted = trust and not reader.spec.network.point
    found_ahead = _forecasts(networks, reader, windows, calibration) if shifted else ()
    for index, batch, ahead in found_ahead:
        origin = windows.pairs[index][1]
        start = batch.seen.past[0, -1].numpy()
        for lead in range(h):
            weight = batch.weight[0, lead].numpy()
            if weight.any():
                changes = [*(ahead[lead] - start), batch.truth[0, lead].numpy() - start]
                added = np.array([(change * weight).sum(dtype="float64") for change in changes])
                sums[lead][origin] = sums[lead].get(origin, 0.0) + added
    alone = [
        {origin: _agreeing(total[:-1], knots, total[-1]) for origin, total in by_origin.items()}
        for by_origin in sums
    ]
    shifts = [_agreed([*alone[0].values()])]
    for before, now in pairwise(alone):
        more = [now[origin] - before[origin] for origin in now if origin in before]
        shifts.append(shifts[-1] + _agreed(more))
    found = [trust * shift for shift in shifts]
    return tuple(found) if any(found) else ()


def _agreed(values: Sequence[float]) -> float:
    """Return the mean of the values of origins as far as they agree about it; 0 without any."""
    return float(np.mean(values)) * trust_of(values) if values else 0.0


def _forecasts(
    networks: Sequence[Forecaster],
    reader: Reader,
    windows: HeldOutWindows,
    calibration: Calibration,
) -> Iterator[tuple[int, Batch, np.ndarray]]:
    """Forecast windows, some at the same time: number, scored part and quantiles of each."""

    def one(batch: Batch) -> tuple[Batch, np.ndarray]:
        return forecast_knots(networks, reader, batch, calibration)

    for some in windows.together():
        found = in_threads(one, [batch for _, batch in some])
        for (index, _), (core, knots) in zip(some, found, strict=True):
            yield index, core, knots


def _agreeing(sums: np.ndarray, knots: Sequence[float], observed: float) -> float:
    """Return the shift at which the mean of knots with these sums is the observed one."""

    def expected(by: float) -> float:
        first, share = shifted_knots(knots, by)
        return float(shares(knots) @ (sums[first] + (sums[first + 1] - sums[first]) * share))

    low, high = -_MOST_SHIFT, _MOST_SHIFT
    for _ in range(40):  # halved so often, the interval is below any rounding
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle) < observed else (low, middle)
    return (low + high) / 2


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
            batch, found = forecast_knots(networks, reader, windows.at(core, origin), Calibration())
            used = (batch.weight[0, 0].numpy() > 0) & (batch.distance[0].numpy() >= far)
            truth = batch.truth[0, 0].numpy()[used]
            knots = found[0][:, used]
            ours += float(crps(truth, knots, levels).sum())
            persistence += float(np.abs(truth - batch.seen.past[0, -1].numpy()[used]).sum())
    return 0.0 if persistence < ours else 1.0


def forecast_knots(
    networks: Sequence[Forecaster], reader: Reader, batch: Batch, calibration: Calibration
) -> tuple[Batch, np.ndarray]:
    """Forecast the part of a window that is scored as inference does.

    Returns the part, and its quantiles, (h, q, y, x), native units.
    """
    spec, crop = reader.spec, batch.scored_area()
    core = batch.at(crop)
    with torch.inference_mode():
        members = [
            run_window(n, batch.seen, h=spec.h, crop=crop, origin=batch.origin)[0].float().numpy()
            for n in networks
        ]
    origin = core.seen.past[0, -1].numpy()
    settled = settle(
        mixture(members, spec.network.knots),
        origin,
        tolerance=reader.scaler.tolerance,
        valid_range=spec.valid_range,
    )
    knots = calibration.adjust(settled, spec.network.knots, origin, core.distance[0].numpy())
    return core, knots
