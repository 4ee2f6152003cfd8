"""Calibrate: measure a network's errors on the blocks kept for that."""

from __future__ import annotations

import numpy as np
import torch

from hmx.calibration import Calibration, fit_leads
from hmx.folds import CALIBRATION
from hmx.learn.data import HeldOut, Reader
from hmx.models.forecaster import Forecaster

_MOST_WINDOWS = 256
_FEWEST_PIXELS = 200  # below this, tails of an error distribution are guesses


def calibrate(network: Forecaster, reader: Reader, *, seed: int) -> Calibration:
    """Collect errors by lead and forecast change, and sort them.

    Parameters
    ----------
    network : Forecaster
        With its final weights, in float32.
    reader : Reader
        Its calibration blocks were seen neither by the weights nor by the
        choice of the best ones.
    seed : int
        Draws windows where there are very many.

    Returns
    -------
    Calibration
        Of the leads, from 1 up, that have enough truth; empty without blocks.
    """
    errors: list[list[np.ndarray]] = [[] for _ in range(reader.spec.h)]
    changes: list[list[np.ndarray]] = [[] for _ in range(reader.spec.h)]
    network = network.eval()
    windows = HeldOut(reader, CALIBRATION, most=_MOST_WINDOWS, seed=seed)
    for index in range(len(windows)):
        batch = windows[index]
        with torch.inference_mode():
            ahead = network(*batch[:4], h=reader.spec.h)
        for lead in range(reader.spec.h):
            kept = batch.mask[:, lead].bool()
            forecast = ahead[:, lead][kept]
            errors[lead].append((batch.truth[:, lead][kept] - forecast).numpy())
            changes[lead].append((forecast - batch.past[:, -1][kept]).abs().numpy())
    known = [sum(part.size for part in error) >= _FEWEST_PIXELS for error in errors]
    leads = known.index(False) if False in known else len(known)
    if not leads:
        return Calibration()
    joined = ([np.concatenate(parts) for parts in every[:leads]] for every in (errors, changes))
    return Calibration(fit_leads(*joined))
