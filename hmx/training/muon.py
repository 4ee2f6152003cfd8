"""Muon: an optimizer whose steps have the same size in all directions of a layer's weights.

The gradients of a convolution lie in few directions, in which an adaptive rate for each weight
moves nearly alone. Muon replaces the momentum of a layer with the nearest matrix
whose singular values are all one (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/),
so that rare directions are learnt as fast as common ones, and a fit needs about half the steps. The
size of a step is that of AdamW (Liu et al. 2025, arXiv:2502.16982, equation 4).
:class:`torch.optim.Muon` takes matrices only, and a convolution has four dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_MOMENTUM = 0.95
_SIZE = 0.2  # root mean square of an update of AdamW at a rate of one
_TURNS = 5  # of the iteration, which brings all singular values to between .7 and 1.2
_A, _B, _C = 3.4445, -4.7750, 2.0315  # its coefficients, of Jordan et al.


class Muon(torch.optim.AdamW):
    """Muon for some layers, and AdamW for the rest.

    Parameters
    ----------
    layers : iterable of Tensor
        Weights of layers, (outputs, inputs, ...), which Muon moves.
    others : iterable of dict
        Groups of other parameters, as AdamW takes them.
    lr : float
        Learning rate of both.
    faster : float, default 1
        Factor of the rate of the layers.
    weight_decay : float, default 0.01
        Of the layers, and of groups without one.
    """

    def __init__(
        self,
        layers: Iterable[Tensor],
        others: Iterable[dict[str, Any]],
        *,
        lr: float,
        faster: float = 1.0,
        weight_decay: float = 0.01,
    ):
        groups = [{"params": list(layers), "lr": lr * faster, "turned": True}]
        groups += [{**group, "turned": False} for group in others]
        super().__init__(
            [group for group in groups if group["params"]], lr=lr, weight_decay=weight_decay
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all parameters once, after a call of ``closure``; return its result."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for group in self.param_groups:
            for weight in group["params"] if group["turned"] else ():
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
                    weight.grad = None  # AdamW leaves out parameters without a gradient
        super().step()
        return result

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Move the weights of a layer."""
        state = self.state[weight]
        if not state:  # AdamW looks for a count of steps when it loads a saved state
            state.update(step=torch.zeros(()), momentum=torch.zeros_like(weight))
        momentum = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        matrix = gradient.lerp(momentum, _MOMENTUM).flatten(1)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        size = _SIZE * max(matrix.shape) ** 0.5
        weight.add_(orthogonal(matrix).view_as(weight), alpha=-group["lr"] * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """Bring all singular values of a matrix near one, by a Newton-Schulz iteration."""
    wide = matrix.shape[0] <= matrix.shape[1]
    found = matrix if wide else matrix.T
    found = found / (found.norm() + 1e-7)
    for _ in range(_TURNS):
        square = found @ found.T
        found = _A * found + (_B * square + _C * square @ square) @ found
    return found if wide else found.T
