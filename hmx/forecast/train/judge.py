"""Judge: scores of a network on held-out windows, lead by lead, against persistence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from hmx.forecast.train.data import Batch, Reader
from hmx.networks.forecaster import Forecaster
from hmx.networks.stream.executor import run_window
from hmx.scores import Cell, Settings
from hmx.uncertainty.distribution import mean, settle

_INTEGERS = 10_000  # published indices are often stored as integers from 0 to this number


Scored = list[tuple[int, Cell, Cell]]  # lead, score of the network and of persistence


class ValidationScores:
    """Adds up the scores of a network and of persistence, window by window.

    ``by`` names the figure of a score that is the loss.
    """

    def __init__(self, reader: Reader, *, by: str = "crps"):
        self.reader, self.by = reader, by
        low, high = reader.spec.valid_range or (None, None)
        span = reader.scaler.std[reader.spec.target]
        span = high - low if low is not None and high is not None else span
        self.settings = Settings(threshold=reader.scaler.tolerance, data_range=span)
        self.ours = [Cell() for _ in range(reader.spec.h)]
        self.persistence = [Cell() for _ in range(reader.spec.h)]

    def add(self, scored: Iterable[Scored]) -> None:
        """Add the scores of some windows, in their order."""
        for found in scored:
            for lead, ours, persistence in found:
                self.ours[lead] += ours
                self.persistence[lead] += persistence

    def score(self, network: Forecaster, batch: Batch) -> Scored:
        """Score a window, (b = 1), at each lead that has a truth: the network, and persistence."""
        spec, levels = self.reader.spec, self.reader.spec.network.knots
        crop = batch.scored_area()
        with torch.no_grad():
            found = run_window(network, batch.seen, h=spec.h, crop=crop, origin=batch.origin)
        ahead, batch = found[0].float().cpu().numpy(), batch.at(crop)
        origin = batch.seen.past[0, -1].cpu().numpy()
        knots = settle(
            ahead, origin, tolerance=self.reader.scaler.tolerance, valid_range=spec.valid_range
        )
        scored = []
        for lead in range(spec.h):
            weight = batch.weight[0, lead].cpu().numpy()
            if not weight.any():
                continue
            truth = np.where(weight > 0, batch.truth[0, lead].cpu().numpy(), np.nan)
            common: dict[str, Any] = {"weight": weight, "settings": self.settings}
            middle = mean(knots[lead], levels)
            ours = Cell.of(truth, origin, middle, knots=knots[lead], levels=levels, **common)
            scored.append((lead, ours, Cell.of(truth, origin, origin, **common)))
        return scored

    def loss(self) -> float:
        """Return the mean over leads of CRPS / CRPS of persistence; below 1 is better.

        Of networks that are trained on squared errors, RMSE is compared.
        """
        figures = [
            tuple(float(getattr(cell.score, self.by)) for cell in pair)
            for pair in zip(self.ours, self.persistence, strict=True)
            if pair[1].score.count
        ]
        ratios = [ours / persistence for ours, persistence in figures if persistence > 0]
        return sum(ratios) / len(ratios) if ratios else 1.0

    def figures(self) -> dict[str, float]:
        """Return every figure of every lead that has truth; see :mod:`hmx.training.metrics`."""
        return {
            f"val_{name}_h{lead}": value
            for lead, figures in self.leads().items()
            for name, value in figures.items()
            if name != "n"
        }

    def leads(self) -> dict[str, dict[str, float]]:
        """Return the figures by lead, for the bundle."""
        return {
            str(lead): {"n": ours.score.count, **self._lead(ours, persistence)}
            for lead, (ours, persistence) in enumerate(
                zip(self.ours, self.persistence, strict=True), start=1
            )
            if ours.score.count
        }

    def _lead(self, ours: Cell, persistence: Cell) -> dict[str, float]:
        score, std = ours.score, self.reader.scaler.std[self.reader.spec.target]
        figures = {
            "rmse": score.rmse,
            "mae": score.mae,
            "crps": score.crps,
            "bias": score.bias,
            "skill": _skill(score.rmse, persistence.score.rmse),
            "crps_skill": _skill(score.crps, persistence.score.crps),
            "valid": float(score.count),
            "ssim": ours.structure.ssim,
            "rmse_scaled": score.rmse / std,
            "mae_scaled": score.mae / std,
        }
        figures |= {f"coverage{level:g}": c.share for level, c in ours.coverage.items()}
        # In units of the stored integers, as studies of such indices report their errors.
        step = self.reader.cube.data[self.reader.spec.target].attrs.get("hmx_scale")
        low, high = self.reader.spec.valid_range or (0.0, 0.0)
        if high == _INTEGERS or (step is not None and math.isclose(high / step, _INTEGERS)):
            for name in ("rmse", "mae"):
                figures[f"{name}_{_INTEGERS}"] = figures[name] * _INTEGERS / (high - low)
        return {name: value for name, value in figures.items() if math.isfinite(value)}


def _skill(ours: float, persistence: float) -> float:
    return 1 - ours / persistence if persistence > 0 else 0.0
