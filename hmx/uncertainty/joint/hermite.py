"""Hermite: a distribution as a series in a standard normal number.

A pixel's value is ``y = q(F(g))``, with its quantile function q (linear between ``LEVELS``, flat
beyond) and the normal distribution function F. In normalised Hermite polynomials its coefficients
are ``a_m = E[y He_m(g)] / sqrt(m!)``, and two pixels whose numbers g correlate by rho have the
covariance ``sum_m a_m a'_m rho^m`` (Mehler's formula; Lancaster 1957,
doi:10.1093/biomet/44.1-2.289).
All coefficients are a fixed linear map of the quantiles, and the variance is a quadratic one.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from hmx.uncertainty.joint.dependence import LEVELS

Array = NDArray[np.float64]

ORDERS = 12  # polynomials; what they leave of the variance counts as independent
_NODES = 32  # of Gauss and Legendre, between two levels: exact to rounding
_EDGE = 9.0  # standard deviations: probabilities beyond are below rounding


def expansion(quantiles: Array) -> tuple[Array, Array, Array]:
    """Expand distributions: quantiles (level, ...) to mean (...), a (m, ...) and rest (...).

    The rest is the variance that the coefficients leave; mean, ``a`` and rest are native units,
    native units and their square.
    """
    middle = quantiles[len(LEVELS) // 2]
    off = quantiles - middle  # so that no large mean takes digits from a small variance
    mean = np.tensordot(_masses(), off, 1)
    a = np.tensordot(_coefficients(), off, 1)
    return middle + mean, a, np.maximum(_second_moment(off) - mean**2 - np.square(a).sum(axis=0), 0)


def variance(quantiles: Array) -> Array:
    """Compute the exact variance of distributions, quantiles (level, ...) to (...)."""
    off = quantiles - quantiles[len(LEVELS) // 2]
    return np.asarray(_second_moment(off) - np.tensordot(_masses(), off, 1) ** 2)


def shifted_mean(quantiles: Array, by: float) -> float:
    """Compute the mean of a distribution (level,) whose normal number is shifted by so much."""
    return float(_hats() @ _density(by) @ quantiles)


def products(quantiles: Array) -> Array:
    """Sum the products of all pairs of quantiles, (level, level), over distributions."""
    off = (quantiles - quantiles[len(LEVELS) // 2]).reshape(len(LEVELS), -1)
    return np.asarray(off @ off.T)


def shifted_variance(summed: Array, by: float) -> float:
    """Sum the variances of distributions, from their :func:`products`, after a shift."""
    hats, density = _hats(), _density(by)
    first = hats @ density
    return float((((hats * density) @ hats.T) * summed).sum() - first @ summed @ first)


def _second_moment(off: Array) -> Array:
    """Integrate the square of quantile functions, (level, ...) to (...)."""
    gap, square = np.diff(LEVELS), np.square(off)
    own = np.zeros(len(LEVELS))
    own[0], own[-1] = LEVELS[0], 1 - LEVELS[-1]
    own[:-1] += gap / 3
    own[1:] += gap / 3
    return np.asarray(
        np.tensordot(own, square, 1) + np.einsum("k,k...->...", gap / 3, off[:-1] * off[1:])
    )


@lru_cache(maxsize=1)
def _masses() -> Array:
    """Return the weight of each quantile in the mean, (level,)."""
    edges = np.concatenate([[0.0], (np.array(LEVELS[1:]) + np.array(LEVELS[:-1])) / 2, [1.0]])
    return np.asarray(np.diff(edges))


@lru_cache(maxsize=1)
def _coefficients() -> Array:
    """Return the weights of each quantile in each coefficient, (m, level)."""
    g, _ = _quadrature()
    polynomials = [np.ones_like(g), g]
    for m in range(1, ORDERS):  # normalised: their squares have the mean 1
        following = g * polynomials[-1] - math.sqrt(m) * polynomials[-2]
        polynomials.append(following / math.sqrt(m + 1))
    return np.asarray(np.stack(polynomials[1:]) * _density(0.0) @ _hats().T)


@lru_cache(maxsize=1)
def _hats() -> Array:
    """Return how much each quantile counts at the nodes of the integral, (level, node)."""
    g, _ = _quadrature()
    return np.stack([np.interp(ndtr(g), LEVELS, row) for row in np.eye(len(LEVELS))])


def _density(by: float) -> Array:
    """Return the weights of an integral over normal numbers with the mean ``by``, (node,)."""
    g, weight = _quadrature()
    return np.asarray(weight * np.exp(-((g - by) ** 2) / 2) / math.sqrt(2 * math.pi))


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Array, Array]:
    """Return nodes and weights of an integral over normal numbers that bends at the levels."""
    at, weight = np.polynomial.legendre.leggauss(_NODES)
    edges = np.concatenate([[-_EDGE], ndtri(LEVELS), [_EDGE]])
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * at).ravel(), (half[:, None] * weight).ravel()
