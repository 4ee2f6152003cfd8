"""ValidationScores: scores of a network on held-out windows, lead by lead, against persistence."""

from __future__ import annotations

import math

import numpy as np
import torch

from hmx.forecast.train.data import Batch, Reader
from hmx.networks.forecaster import Forecaster
from hmx.scores import Cell, Settings
from hmx.uncertainty.distribution import mean, settle

_WHOLE = 10_000  # sources that are stored as integers up to this


class ValidationScores:
    """Adds up the scores of a network and of persistence, window by window.

    Parameters
    ----------
    reader : Reader
        Where the windows come from.
    """

    def __init__(self, reader: Reader):
        self.reader = reader
        low, high = reader.spec.valid_range or (None, None)
        span = reader.scaler.std[reader.spec.target]
        span = high - low if low is not None and high is not None else span
        self.settings = Settings(threshold=reader.scaler.tolerance, data_range=span)
        self.ours = [Cell() for _ in range(reader.spec.h)]
        self.still = [Cell() for _ in range(reader.spec.h)]

    def see(self, network: Forecaster, batch: Batch) -> None:
        """Score one window, (b = 1)."""
        spec = self.reader.spec
        with torch.no_grad():
            ahead = network(batch.seen, h=spec.h)[0].float().cpu().numpy()
        origin = batch.seen.past[0, -1].cpu().numpy()
        knots = settle(
            ahead, origin, tolerance=self.reader.scaler.tolerance, valid_range=spec.valid_range
        )
        for lead in range(spec.h):
            weight = batch.weight[0, lead].cpu().numpy()
            truth = np.where(weight > 0, batch.truth[0, lead].cpu().numpy(), np.nan)
            if not weight.any():
                continue
            middle, levels = mean(knots[lead], spec.network.knots), spec.network.knots
            self.ours[lead] += Cell.of(
                truth,
                origin,
                middle,
                knots=knots[lead],
                levels=levels,
                weight=weight,
                settings=self.settings,
            )
            self.still[lead] += Cell.of(
                truth, origin, origin, weight=weight, settings=self.settings
            )

    def loss(self) -> float:
        """Mean over leads of the CRPS relative to persistence; below 1 beats it."""
        ratios = [
            ours.score.crps / still.score.crps
            for ours, still in zip(self.ours, self.still, strict=True)
            if still.score.count and still.score.crps > 0
        ]
        return sum(ratios) / len(ratios) if ratios else 1.0

    def figures(self) -> dict[str, float]:
        """Name every figure of every lead that has truth; see :mod:`hmx.training.metrics`."""
        found: dict[str, float] = {}
        for lead, (ours, still) in enumerate(zip(self.ours, self.still, strict=True), start=1):
            if ours.score.count:
                found |= {f"val_{k}_h{lead}": v for k, v in self._lead(ours, still).items()}
        return found

    def leads(self) -> dict[str, dict[str, float]]:
        """Sum up each lead that has truth, for the bundle."""
        return {
            str(lead): {"n": ours.score.count, **self._lead(ours, still)}
            for lead, (ours, still) in enumerate(zip(self.ours, self.still, strict=True), start=1)
            if ours.score.count
        }

    def _lead(self, ours: Cell, still: Cell) -> dict[str, float]:
        score, std = ours.score, self.reader.scaler.std[self.reader.spec.target]
        found = {
            "rmse": score.rmse,
            "mae": score.mae,
            "crps": score.crps,
            "bias": score.bias,
            "skill": _skill(score.rmse, still.score.rmse),
            "crps_skill": _skill(score.crps, still.score.crps),
            "valid": float(score.count),
            "ssim": ours.structure.ssim,
            "rmse_scaled": score.rmse / std,
            "mae_scaled": score.mae / std,
        }
        found |= {f"coverage{level:g}": c.share for level, c in ours.coverage.items()}
        if self._is_whole():
            low, high = self.reader.spec.valid_range or (0.0, 1.0)
            found |= {
                f"{name}_{_WHOLE}": found[name] * _WHOLE / (high - low) for name in ("rmse", "mae")
            }
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def _is_whole(self) -> bool:
        """Tell whether the source is stored as integers up to 10,000."""
        source = self.reader.cube.data[self.reader.spec.target]
        step, limits = source.attrs.get("hmx_scale"), self.reader.spec.valid_range
        high = (limits or (0.0, 0.0))[1]
        return high == _WHOLE or (step is not None and math.isclose(high / step, _WHOLE))


def _skill(ours: float, still: float) -> float:
    return 1 - ours / still if still > 0 else 0.0
