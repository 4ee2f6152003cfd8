"""Local: networks are built here, and refused if a forecast would depend on its tiles.

:mod:`hmx.networks.base` explains the rule. A walk over the modules names each kind that
breaks it; a trial run finds functions, which no walk can see.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hmx.errors import BadArgument
from hmx.hardware import plain_torch
from hmx.networks.base import Body, body_class
from hmx.networks.options import ModelOptions
from hmx.networks.registry import NETWORKS
from hmx.networks.stream.graph import SCALARS

_PROBE = 600  # px: a wider window takes seconds, and gigabytes of memory
_ROUNDING = 1e-9  # float64 sums in another order differ by 1e-12


def build_body(options: ModelOptions, frame: int, constant: int) -> Body:
    """Build an untrained network, and refuse one whose forecasts would show its tiles."""
    kind = body_class(options.arch)
    body = kind(options, frame, constant)
    require_local_modules(options.arch, body)
    # Built-in networks are tested with every commit; a trial run would only cost time.
    # A network on the meta device has shapes and no numbers.
    parameter = next(body.parameters(), None)
    if options.arch in NETWORKS.registered and not (parameter is not None and parameter.is_meta):
        require_local_results(kind, options)
    return body


_OVER_PIXELS = "it computes statistics over pixels"
_COARSE = "its cells start at the corner of the tile"
# By the file of torch that defines a class or its base: one line covers the 1d, 2d, 3d, lazy
# and quantised forms.
_REFUSED = {
    "torch.nn.modules.pooling": _COARSE,
    "torch.nn.modules.upsampling": _COARSE,
    "torch.nn.modules.pixelshuffle": _COARSE,
    "torch.nn.modules.batchnorm": _OVER_PIXELS,
    "torch.nn.modules.instancenorm": _OVER_PIXELS,
    "torch.nn.modules.transformer": "it attends to the whole tile",
}


def require_local_modules(name: str, body: nn.Module) -> None:
    """Refuse a network that contains a module whose result depends on the tile."""
    for path, module in body.named_modules():
        reason = _reason(module)
        if reason:
            raise BadArgument(
                f"network {name!r} contains {type(module).__name__} ({path}): {reason}, so a "
                "forecast would depend on its tiles. Use convolutions of stride 1, dilated "
                "where they must see far."
            )


def _reason(module: nn.Module) -> str | None:
    for kind in type(module).__mro__:
        if kind.__module__ in _REFUSED:
            return _REFUSED[kind.__module__]
    if isinstance(module, nn.GroupNorm):
        return _OVER_PIXELS
    # over one dim, layer norms can be over channels, which is local
    shape = getattr(module, "normalized_shape", (1,))
    if len(shape) > 1:
        return _OVER_PIXELS
    if isinstance(module, nn.MultiheadAttention):
        return "it attends to the whole tile"
    if any(step != 1 for step in _pair(getattr(module, "stride", 1))):
        return f"its stride is {module.stride}, and its cells start at the corner of the tile"
    if getattr(module, "padding_mode", "zeros") == "circular":
        return "circular padding shows a pixel the opposite border of its tile"
    return None


def _pair(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


_LOCAL: set[tuple[type[Body], ModelOptions]] = set()  # networks that passed their trial run


def require_local_results(kind: type[Body], options: ModelOptions) -> None:
    """Run a network once on a window a little wider than its reach, and refuse far sight.

    The gradient at the middle pixel must end at the reach, and a shift of the input by one
    pixel must shift the result. Weights are random and positive, so that no ReLU hides an
    influence, and drawn apart from torch's own seed, so that a fit stays what it was.
    """
    far = kind.reach(options, 1)
    side = 2 * far + 7
    if (kind, options) in _LOCAL or side > _PROBE:
        return
    frame, constant = SCALARS + 1, 2
    with (
        plain_torch(),
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
    ):
        torch.manual_seed(0)
        body = kind(options, frame, constant).double().eval()
        for parameter in body.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.data = 2 * (torch.rand_like(parameter) + 0.5) / fan
        frames = torch.rand(options.past_steps, 1, frame, side, side, dtype=torch.float64)
        fixed = torch.rand(1, constant, side, side, dtype=torch.float64)
        found, again = (
            _run(body, frames.roll(by, (-2, -1)), fixed.roll(by, (-2, -1)))
            for by in ((0, 0), (1, 1))
        )
        middle = side // 2
        inputs = [frames.requires_grad_(), fixed.requires_grad_()]
        seen = torch.autograd.grad(
            _run(body, frames, fixed)[..., middle, middle].sum(), inputs, allow_unused=True
        )
    if found.shape[-2:] != (side, side):
        raise BadArgument(
            f"network {options.arch!r} makes {tuple(found.shape[-2:])} px of {(side, side)}. Pad "
            "its convolutions with zeros, so that features lie on the pixels of the input."
        )
    for gradient in seen:
        touched = None if gradient is None else gradient.abs().flatten(0, -3).sum(dim=0).nonzero()
        # the largest distance from the middle pixel at which a gradient is not zero, px
        rim = int((touched - middle).abs().max()) if touched is not None and len(touched) else 0
        if rim > far:
            raise BadArgument(
                f"network {options.arch!r} sees {rim} px or more, and {kind.__name__}.reach() "
                f"returns {far}: a forecast would depend on its tiles. Remove pooling, "
                "norms, means and attention over pixels, or return the true reach."
            )
    there = found[..., middle - 1 : middle + 1, middle - 1 : middle + 1]
    shifted = again[..., middle : middle + 2, middle : middle + 2]
    if (there - shifted).abs().max() > _ROUNDING * (1 + there.abs().max()):
        raise BadArgument(
            f"network {options.arch!r} gives a pixel another result where its tile starts "
            "one pixel earlier, so a forecast would depend on its tiles. Remove pooling, "
            "striding, upsampling and coordinates (also of torch.nn.functional)."
        )
    _LOCAL.add((kind, options))


def _run(body: Body, frames: Tensor, constant: Tensor) -> Tensor:
    """Compute features after the whole history, (t, 1, frame, y, x) to (1, outputs, y, x)."""
    state = None
    for frame in frames:
        state = body.push(frame, constant, state)
    return body.features(state, constant)
