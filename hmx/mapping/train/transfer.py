"""Transfer: start from the trunk of a mapper of another region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from hmx.errors import BadArgument
from hmx.mapping.spec import MapSpec
from hmx.networks.cnn_lstm import Mapper

_NEW = ("head.", "skip.")  # what says how features become the quantity there
_OF_BANDS = ("convs.0.weight",)  # a column of it is a band


@dataclass(frozen=True)
class Transferred:
    """What a network took over.

    Parameters
    ----------
    names : tuple of str
        Weights that it starts from.
    left : tuple of str
        Weights of its trunk that it starts anew: the other's are missing or of another shape.
    """

    names: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        left = f"; {', '.join(self.left)} start anew" if self.left else ""
        return f"{len(self.names)} weights taken over{left}"


def trunk_of(
    weights: Mapping[str, np.ndarray], other: MapSpec, spec: MapSpec
) -> dict[str, np.ndarray]:
    """Leave out of a network's weights what its bands, if they are others, make useless.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Of one trained network, by parameter name.
    other, spec : MapSpec
        Its own, and that of the network that is to start from it.
    """
    same = (other.dynamic, other.static) == (spec.dynamic, spec.static)
    same = same and other.network.coarse == spec.network.coarse
    return {name: w for name, w in weights.items() if same or name not in _OF_BANDS}


def copy_trunk(network: Mapper, weights: Mapping[str, np.ndarray]) -> Transferred:
    """Copy the trunk of a trained network into another, by name and shape.

    The head and the skip stay as they are: they say how features become the quantity,
    which is for the new region to learn.

    Parameters
    ----------
    network : Mapper
        Changed in place.
    weights : mapping of str to ndarray
        Of one trained network, by parameter name; see :func:`trunk_of`.

    Raises
    ------
    BadArgument
        If nothing fits.
    """
    own = network.state_dict()
    trunk = [name for name in own if not name.startswith(_NEW)]
    fits = [n for n in trunk if n in weights and weights[n].shape == tuple(own[n].shape)]
    if not fits:
        raise BadArgument(
            "init_from has no weight of this network's trunk by name and shape. Train with the "
            "network options of the model that you start from: hmx info MODEL shows them."
        )
    network.load_state_dict({**own, **{n: torch.from_numpy(weights[n].copy()) for n in fits}})
    return Transferred(tuple(fits), tuple(name for name in trunk if name not in fits))
