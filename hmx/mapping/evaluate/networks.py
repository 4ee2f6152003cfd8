"""Networks as forecasters: fitted anew in each round, as training would."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.mapping.evaluate.rounds import Estimates, FitPredict, Rows
from hmx.mapping.inputs import RawWindows
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.spec import MapSpec
from hmx.mapping.train.learning import learn


def networks(
    raw: RawWindows,
    values: NDArray[np.float64],
    spec: MapSpec,
    fit: MapTrainOptions,
    groups: NDArray[Any],
) -> FitPredict:
    """Build the forecaster that trains networks on the rows of a round.

    Parameters
    ----------
    raw : RawWindows
        Around all samples.
    values : ndarray, (n,)
        What was measured, native units.
    spec : MapSpec
        The network and what it is fed.
    fit : MapTrainOptions
        The fit; its runs are the members, and the seed of the round is added to its own.
    groups : ndarray of int, (n,)
        Site or block of each sample, for the validation of a fit.

    Returns
    -------
    callable
        Gives each member's predictions in units of the transform, and how far members
        lie apart, where there are several.
    """

    def fit_predict(train: Rows, test: Rows, seed: int) -> Estimates:
        own = fit.model_copy(update={"seed": fit.seed + seed})
        learnt = learn(raw, values, train, spec=spec, fit=own, groups=groups)
        said = learnt.predict(raw.at(test))  # (members, n, q), of unit variance
        scaled = np.stack([learnt.centre(one[None]) for one in said])
        members = scaled * learnt.target.std + learnt.target.mean
        return Estimates(members, members.std(axis=0, ddof=1) if len(members) > 1 else None)

    return fit_predict
