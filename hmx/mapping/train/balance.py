"""Balance: batches in which large values are not rare.

Most samples have a small value, and a network that sees few large ones learns that there
are none. Bins are bounded by the quantiles 1/2, 3/4, 7/8 ... of the training values, and
each is drawn from equally. (Bins of equal counts, drawn from equally, would change
nothing.) What is learnt is then no longer the mean of what is common.
"""

from __future__ import annotations

import numpy as np


def chances(values: np.ndarray, bins: int) -> np.ndarray:
    """Tell how likely each sample is to be drawn.

    Parameters
    ----------
    values : ndarray, (n,)
        Target of the training samples.
    bins : int
        Number of bins; 0 for equal chances.

    Returns
    -------
    ndarray, (n,)
        Adds up to 1.
    """
    if not bins:
        return np.full(len(values), 1 / len(values))
    edges = np.quantile(values, 1 - 0.5 ** np.arange(1, bins))
    bin_of = np.searchsorted(edges, values, side="right")  # ties may leave a bin empty
    counts = np.bincount(bin_of, minlength=bins)
    weights = 1 / counts[bin_of]
    return np.asarray(weights / weights.sum())


def draw_epoch(values: np.ndarray, bins: int, *, batch: int, key: tuple[int, ...]) -> np.ndarray:
    """Deal the samples of one epoch to batches.

    Parameters
    ----------
    values : ndarray, (n,)
        Target of the training samples.
    bins : int
        As :func:`chances`; with 0 no sample comes twice.
    batch : int
        Samples of a batch, at most n.
    key : tuple of int
        Seeds the draw: seed and epoch.

    Returns
    -------
    ndarray of int, (n // batch, batch)
        Positions of samples.
    """
    rng, count = np.random.default_rng(key), len(values) // batch
    if bins:
        drawn = rng.choice(len(values), count * batch, p=chances(values, bins))
    else:
        drawn = rng.permutation(len(values))[: count * batch]
    return drawn.reshape(count, batch)
