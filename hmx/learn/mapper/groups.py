"""Groups: samples that stay together when training samples are dealt once more."""

from __future__ import annotations

import numpy as np

from hmx.errors import NotEnoughData


def deal_groups(groups: np.ndarray, k: int, *, seed: int) -> np.ndarray:
    """Deal groups to folds of about as many samples each.

    Parameters
    ----------
    groups : ndarray of int, (n,)
        Site or block of each sample.
    k : int
        Folds.
    seed : int
        Decides which groups of one size come together.

    Returns
    -------
    ndarray of int, (n,)
        Fold of each sample, 0 ... k - 1.

    Raises
    ------
    NotEnoughData
        If there are fewer groups than folds.
    """
    _, which, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < k:
        raise NotEnoughData(
            f"{len(sizes)} groups of training samples cannot be dealt to {k} inner folds, which "
            f"take a group each. Add points, or train with inner={max(2, len(sizes))}."
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]  # large ones first
    fold, filled = np.empty(len(sizes), int), np.zeros(k, int)
    for group in order:
        fold[group] = np.argmin(filled)
        filled[fold[group]] += sizes[group]
    return fold[which]


def hold_out(groups: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Choose groups for validation.

    Parameters
    ----------
    groups : ndarray of int, (n,)
        Site or block of each sample.
    share : float
        Of the samples, about; 0 for none.
    seed : int
        Decides which groups.

    Returns
    -------
    ndarray of bool, (n,)
        True for validation.

    Raises
    ------
    NotEnoughData
        If too few groups are left to learn from.
    """
    if not share:
        return np.zeros(len(groups), bool)
    k = min(round(1 / share), len(np.unique(groups)))
    return deal_groups(groups, max(2, k), seed=seed) == 0
