"""Recursive forecaster: a ConvLSTM that carries its state and eats its own mean.

The network is shown the history step by step, then its own forecasts. At each
lead it adds an increment to the state before, so that the forecast is a
residual on the origin step; the layer that makes the increment starts at zero,
and an untrained network is persistence, exactly.

Tensors: ``b`` windows, ``t`` history steps, ``h`` leads, ``d`` dynamic and ``s``
static channels, all ``(..., y, x)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hmx.bundle import Bundle, Spec, check_weights
from hmx.models.convlstm import ConvLSTM, State
from hmx.options import ModelOptions
from hmx.scaling import Scaler


@dataclass(frozen=True)
class TargetScale:
    """What the network must know of the target's units.

    Parameters
    ----------
    mean, std : float
        Of values, native units.
    change : float
        Root mean square change over one step, native units.
    low, high : float, optional
        Valid range, native units.
    """

    mean: float
    std: float
    change: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, spec: Spec, scaler: Scaler) -> TargetScale:
        """Collect the target's statistics and bounds."""
        low, high = spec.valid_range or (None, None)
        target = spec.target
        return cls(scaler.mean[target], scaler.std[target], scaler.change[0], low, high)


def reach(options: ModelOptions, h: int) -> int:
    """How far an input pixel can influence an output pixel, px.

    A pixel's influence spreads by the widest layer at each step the state is
    carried, and through all layers once (the sum) at the first input and at
    each forecast that is fed back.

    Parameters
    ----------
    options : ModelOptions
        The network.
    h : int
        Largest lead.
    """
    radii = [step * (options.kernel // 2) for step in options.dilations()]
    return (options.history - 1) * max(radii) + sum(radii) + (h - 1) * sum(radii)


class Forecaster(nn.Module):
    """The network of the forecast job.

    Parameters
    ----------
    options : ModelOptions
        History, width, depth, kernel and dilation.
    scale : TargetScale
        Units of the target.
    dynamic, static : int
        Channels of covariates, their validity channels included.
    """

    def __init__(self, options: ModelOptions, scale: TargetScale, *, dynamic: int, static: int):
        super().__init__()
        self.scale = scale
        inputs = 3 + dynamic + static  # value, change, validity
        self.core = ConvLSTM(
            inputs,
            options.hidden,
            layers=options.layers,
            kernel=options.kernel,
            dilation=options.dilations(),
        )
        self.mix = nn.Conv2d(options.hidden + inputs, options.hidden, 1)
        self.increment = nn.Conv2d(options.hidden, 1, 1)
        for parameter in self.increment.parameters():
            nn.init.zeros_(parameter)

    @classmethod
    def of(cls, spec: Spec, scaler: Scaler) -> Forecaster:
        """Build an untrained network for a spec."""
        dynamic, static = spec.channels
        return cls(spec.network, TargetScale.of(spec, scaler), dynamic=dynamic, static=static)

    @classmethod
    def load(cls, bundle: Bundle) -> Forecaster:
        """Build a bundle's network with its weights.

        Raises
        ------
        BundleError
            If a weight is missing, unknown or of another shape.
        """
        network = cls.of(bundle.spec, bundle.scaler)
        want = {name: tuple(p.shape) for name, p in network.state_dict().items()}
        check_weights({name: w.shape for name, w in bundle.weights.items()}, want)
        network.load_state_dict({name: torch.from_numpy(w) for name, w in bundle.weights.items()})
        return network.eval()

    def forward(
        self, past: Tensor, valid: Tensor, dynamic: Tensor, static: Tensor, *, h: int
    ) -> Tensor:
        """Forecast the mean of the next steps.

        Parameters
        ----------
        past : Tensor
            Target, native units, 0 where missing, (b, t, y, x).
        valid : Tensor
            1 where ``past`` is data, 0 elsewhere, same shape.
        dynamic : Tensor
            Scaled dynamic covariates, (b, t, d, y, x); held at the origin's values.
        static : Tensor
            Scaled static covariates, (b, s, y, x).
        h : int
            Leads.

        Returns
        -------
        Tensor
            Native units, (b, h, y, x); meaningless where the origin is missing.
        """
        return self.rehearse(past, valid, dynamic, static, h=h, rehearsals=False)[0]

    def rehearse(
        self,
        past: Tensor,
        valid: Tensor,
        dynamic: Tensor,
        static: Tensor,
        *,
        h: int,
        rehearsals: bool = True,
    ) -> tuple[Tensor, list[Tensor]]:
        """Forecast as :meth:`forward`, and one step ahead from each past step.

        The rehearsals, a list of t - 1 tensors (b, y, x) whose truths are steps
        1 ... t - 1 of ``past``, let training learn from every pair of
        neighbouring maps and not only from those after the origin.
        """
        states: list[State] | None = None
        rehearsed: list[Tensor] = []
        for t in range(past.shape[1]):
            state, alive, before = past[:, t], valid[:, t], max(t - 1, 0)
            change = (state - past[:, before]) * alive * valid[:, before]
            frame = self._frame(state, change, alive, dynamic[:, t], static)
            features, states = self.core(frame, states)
            if rehearsals and t < past.shape[1] - 1:
                rehearsed.append(self._advance(state, features, frame))
        leads = [self._advance(state, features, frame)]
        for _ in range(h - 1):
            frame = self._frame(
                leads[-1], (leads[-1] - state) * alive, alive, dynamic[:, -1], static
            )
            state = leads[-1]
            features, states = self.core(frame, states)
            leads.append(self._advance(state, features, frame))
        return torch.stack(leads, dim=1), rehearsed

    def _frame(
        self, value: Tensor, change: Tensor, valid: Tensor, dynamic: Tensor, static: Tensor
    ) -> Tensor:
        """Assemble one step's input, (b, c, y, x)."""
        scaled = (value - self.scale.mean) / self.scale.std * valid
        target = torch.stack((scaled, change / self.scale.change, valid), dim=1)
        frame = torch.cat((target, dynamic, static), dim=1)
        return frame.contiguous(memory_format=torch.channels_last)

    def _advance(self, state: Tensor, features: Tensor, frame: Tensor) -> Tensor:
        """Add the increment, in full precision, and keep to the valid range."""
        with torch.autocast(state.device.type, enabled=False):
            mixed = functional.silu(self.mix(torch.cat((features, frame), dim=1)))
            ahead = state + self.increment(mixed)[:, 0] * self.scale.change
            if self.scale.low is None and self.scale.high is None:
                return ahead
            return ahead.clamp(self.scale.low, self.scale.high)


def channels_last(network: Forecaster) -> Forecaster:
    """Lay weights out so that convolutions run 2-3 times faster on a CPU; in place."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
