"""Start: weights of another model that a fit begins with, in place of random ones.

In both jobs the scaler is fitted to the new data, as if there were no start. A network works
on z-scores and on usual changes, so what it has learnt carries over to data of another level
and spread only if these are measured anew (Li et al. 2016, arXiv:1603.04779, re-estimate the
statistics of a new domain for the same reason).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import nn

from hmx.errors import BadArgument


def copy_weights(
    network: nn.Module, weights: Mapping[str, np.ndarray], names: Iterable[str]
) -> None:
    """Copy named weights of another network into a network, in place."""
    taken = {name: torch.from_numpy(weights[name].copy()) for name in names}
    network.load_state_dict({**network.state_dict(), **taken})


def require_units(
    path: object, target: str, *, had: str | None, has: str | None, data: str
) -> None:
    """Refuse a start whose target is in other units than the ``data``, if both are known."""
    if None not in (had, has) and had != has:
        raise BadArgument(
            f"init_from={str(path)!r} was trained on {target!r} in {had!r}, "
            f"and the {data} are in {has!r}. Convert the {data}, or correct units=."
        )
