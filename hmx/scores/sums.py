"""Sums: what all additive states share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmx.errors import BadArgument

Array = NDArray[np.float64]


class Sums:
    """A frozen dataclass of numbers that adds up field by field.

    Called without arguments, the class is the empty state; ``+`` joins two.
    Neither order nor pieces matter, but for the rounding of float64.
    """

    __slots__ = ()

    @classmethod
    def zero(cls) -> Self:
        """Return the empty state, the start of a sum."""
        return cls()

    def __add__(self, other: Self) -> Self:
        """Join two states into the state of the union of their pixels."""
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        return type(self)(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values, all digits kept."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """Make the state again from the values of :meth:`as_dict`."""
        return cls(**facts)


def spread_weights(weight: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """Spread weights over all pixels without copying them.

    Parameters
    ----------
    weight : array_like, broadcastable to `shape`, >= 0, optional
        NaN counts nothing, like 0.
    shape : tuple of int
        Of the pixels.

    Returns
    -------
    array (shape), float64
        1 everywhere without weights.

    Raises
    ------
    BadArgument
        If a weight is negative or infinite.
    """
    weights: NDArray[Any] = np.asarray(1.0 if weight is None else weight, dtype=np.float64)
    if (weights < 0).any() or np.isinf(weights).any():
        raise BadArgument(
            f"weight reaches from {np.nanmin(weights)} to {np.nanmax(weights)}: weights are finite "
            "and not negative. Pass cell areas, or 0 to leave a pixel out."
        )
    return np.broadcast_to(weights, shape)


def pick(keep: NDArray[np.bool_], *arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Take the pixels kept of each array; nothing is copied if all are.

    Parameters
    ----------
    keep : array, any shape, bool
        Which pixels.
    *arrays : array, shape of `keep`
        Values.
    """
    return arrays if keep.all() else tuple(values[keep] for values in arrays)
