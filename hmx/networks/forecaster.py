"""Forecaster: from a history to the predictive distribution of the next steps.

A *body* of the registry (:mod:`hmx.networks.base`) reads the history, and a head of one
1 x 1 layer turns its features into quantile functions of the residual from the origin
(:mod:`hmx.networks.quantile`). The head starts at zero: an untrained network is a
sharp persistence. For comparisons, a network can predict the state itself in place of the
residual, and one number in place of a quantile function.

There are two strategies. *Direct* has a head for each trained lead, or one
head that is scaled for each lead, because late leads have few truths and resemble
early ones. *Recursive* advances one step at a time, with its own mean as the next input, and
adds the parts of each step to the sum of the steps before. Beyond its leads, a direct network runs
again from its own means (:func:`go_on`).

Most change of such maps is noise and its reversal. Its mean is linear in the
inputs, and a flexible network overfits it. A direct network is therefore *anchored*:
a linear regression, fitted in closed form before training, gives the mean,
and the network's distributions are tilted to it (:func:`hmx.networks.quantile.tilt`),
in training as in inference.

Tensors: ``b`` windows, ``t`` history steps, ``h`` leads, ``q`` knots, ``d`` dynamic,
``s`` static and ``a`` known-ahead channels, all ``(..., y, x)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import log
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hmx.bundles.folder import check_weights
from hmx.features.scaling import Scaler
from hmx.hardware import plain_torch
from hmx.networks.base import ForecastModel, ForecastSpec, body_class
from hmx.networks.inputs import NetworkInputs, Slices, go_on
from hmx.networks.local import build_body
from hmx.networks.options import ModelOptions
from hmx.networks.quantile import MOST_TILT, TargetScale, added, mean, offsets, parts, tilt, unfold
from hmx.networks.stream.graph import SCALARS
from hmx.uncertainty.agreement import ENOUGH

_UNBOUNDED = 1e4  # a tilt large enough to move any mean to the anchor's
_LEAST_TRUST = 0.1  # in a network's own means: less has the same effect
_MOST_FREE = 16.0  # brings means all but to the anchor's; more would amplify rounding to 1e-6
CHANGE = 1  # number of the change among the channels of a frame, see :meth:`Forecaster._frame`
_GROWTH = 0.7  # before training, a spread grows by this power of the lead
State = Any  # the state of a body, which only its class knows


class Channels(NamedTuple):
    """Numbers of input channels, those of validity included."""

    dynamic: int = 0  # per step
    static: int = 0
    ahead: int = 0  # per lead

    @classmethod
    def of(cls, spec: ForecastSpec) -> Channels:
        """Count the channels of a spec."""
        return cls(*spec.channels)


def reach(options: ModelOptions, h: int, learnt: int | None = None) -> int:
    """Return how far an input pixel can influence a forecast of ``h`` leads, px.

    ``learnt`` is the number of leads that a direct network has learnt, all ``h`` by default: a
    longer forecast runs it again. Context channels look further
    (:attr:`hmx.features.context.Context.halo`): add the two.
    """
    body = body_class(options.arch)
    if options.strategy == "recursive":
        return _reach(body.reach, options, h)
    return _reach(body.reach, options, 1) * -(-h // (learnt or h))


@lru_cache(maxsize=64)  # training asks for each chip, and a graph is laid out for each answer
def _reach(reach_of: Callable[[ModelOptions, int], int], options: ModelOptions, looks: int) -> int:
    return reach_of(options, looks)


def described(options: ModelOptions, h: int) -> dict[str, object]:
    """Return reach and words about a network, which a model keeps: `hmx info` loads no torch."""
    return {"reach": reach(options, h), "lines": body_class(options.arch).describe(options)}


class Forecaster(nn.Module):
    """The network of the forecast job: a body, a head and an anchor."""

    anchor_weight: Tensor
    anchor_bias: Tensor
    anchor_size: Tensor
    most_tilt: Tensor
    paces: Tensor

    def __init__(
        self, options: ModelOptions, scale: TargetScale, *, leads: int, channels: Channels
    ):
        super().__init__()
        self.options, self.scale, self.knots = options, scale, options.knots
        self.middle = options.knots.index(0.5)
        self.leads = leads if options.strategy == "direct" else 1
        frame, constant = SCALARS + channels.dynamic, channels.static
        if options.strategy == "direct":
            constant += leads * channels.ahead
        self.frame_channels, self.constant_channels = frame, constant
        self.body: Any = build_body(options, frame, constant)
        direct = options.strategy == "direct"
        self.state = options.predict == "state"
        self.anchored = options.anchored
        if self.anchored:
            linear = options.past_steps * frame + constant
            self.register_buffer("anchor_weight", torch.zeros(linear, 1))
            self.register_buffer("anchor_bias", torch.zeros(1))
            self.register_buffer("anchor_size", torch.zeros(leads))
            self.register_buffer("most_tilt", torch.tensor([MOST_TILT]))
            # coefficients at each origin of the training, (origin, 1 + linear), bias first
            self.register_buffer("paces", torch.zeros(0, 1 + linear), persistent=False)
        self.shared = direct and options.heads != "separate"
        heads = 1 if self.shared else self.leads
        self.head = nn.Conv2d(self.body.outputs, heads * len(self.knots), 1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)
        if self.shared:
            self.location_size = nn.Parameter(torch.zeros(self.leads))
            # plain numbers: sums on the device "meta" would import torch's compiler, a second
            growth = [_GROWTH * log(lead) for lead in range(1, self.leads + 1)]
            self.gap_size = nn.Parameter(torch.tensor(growth))

    @classmethod
    def of(cls, spec: ForecastSpec, scaler: Scaler) -> Forecaster:
        """Build an untrained network for a spec."""
        scale = TargetScale.of(spec, scaler)
        return cls(spec.network, scale, leads=spec.h, channels=Channels.of(spec))

    @classmethod
    def load(cls, bundle: ForecastModel, member: int = 0) -> Forecaster:
        """Build one of a bundle's networks with its weights."""
        weights = bundle.member(member)
        with torch.device("meta"):  # shapes only: a damaged spec can demand any amount of memory
            plan = cls.of(bundle.spec, bundle.scaler).state_dict()
        want = {name: tuple(p.shape) for name, p in plan.items()}
        check_weights({name: w.shape for name, w in weights.items()}, want)
        with plain_torch():
            network = cls.of(bundle.spec, bundle.scaler)
        network.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
        return network.eval()

    def forward(
        self,
        seen: NetworkInputs,
        *,
        h: int,
        crop: Slices | None = None,
        origin: Tensor | None = None,
    ) -> Tensor:
        """Forecast the distributions of the next steps.

        ``origin`` (b,) has the number of each window's origin in training, whose last step the
        anchor then follows in size; by default it follows the last step of the training data.
        """
        if self.options.strategy == "direct" and h > self.leads:
            return go_on(self, seen, h=h, crop=crop)
        wanted = crop or (slice(None), slice(None))
        constant = self.constant(seen)
        features, state = self._look_back(seen, constant)[-1]
        if self.options.strategy == "direct":
            core = NetworkInputs(*(tensor[(..., *wanted)] for tensor in seen))
            return self.direct(features[(..., *wanted)], core, h=h, origin=origin)
        first = self._head(features)[:, 0]
        return self._roll(seen, state, constant, first, h=h)[(..., *wanted)]

    def one_step_forecasts(
        self,
        seen: NetworkInputs,
        *,
        h: int,
        crop: Slices | None = None,
        origin: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Forecast as :meth:`forward`, and one step ahead from each past step.

        The second result is a list of t - 1 tensors (b, q, y, x), not cropped, whose truths
        are steps 1 ... t - 1 of ``past``: with them, training learns from every pair of
        neighbouring maps and not only from those after the origin. It is empty for a direct
        network.
        """
        if self.options.strategy == "direct":
            return self(seen, h=h, crop=crop, origin=origin), []
        constant = self.constant(seen)
        steps = self._look_back(seen, constant, every=True)
        totals = [self._head(features)[:, 0] for features, _ in steps]
        inside = [self._unfold(total, seen.past[:, t]) for t, total in enumerate(totals[:-1])]
        leads = self._roll(seen, steps[-1][1], constant, totals[-1], h=h)
        return leads[(..., *(crop or (slice(None), slice(None))))], inside

    def _look_back(
        self, seen: NetworkInputs, constant: Tensor, *, every: bool = False
    ) -> list[tuple[Tensor, State]]:
        """Push the history; return features and state after the last step, or every step."""
        state: State = None
        found = []
        for t in range(seen.past.shape[1]):
            state = self._push(self.past_frame(seen, t), constant, state)
            if every or t == seen.past.shape[1] - 1:
                found.append((self.body.features(state, constant), state))
        return found

    def _push(self, frame: Tensor, constant: Tensor, state: State) -> State:
        return self.body.push(frame.contiguous(memory_format=torch.channels_last), constant, state)

    def _values(self, found: Tensor, start: Tensor, h: int) -> Tensor:
        """Turn the output of the heads into the knots of each lead, (b, h, q, y, x)."""
        if not self.shared:
            total = found[:, :h].cumsum(1)
            if self.state:
                total[:, :, self.middle] = found[:, :h, self.middle]
            return self._unfold(total, start)
        gaps, centre = (
            size[:h, None, None, None].exp() for size in (self.gap_size, self.location_size)
        )
        location = found[:, :, self.middle, None] * centre
        if self.state:
            location = (
                (self.scale.mean + self.scale.std * location) - start[:, :, None]
            ) / self.scale.change
        # gaps are added up before they are scaled for each lead: once and not h times
        residual = torch.addcmul(location, offsets(found, self.middle), gaps)
        return self.scale.bound(torch.add(start[:, :, None], residual, alpha=self.scale.change))

    def direct(
        self, features: Tensor, seen: NetworkInputs, *, h: int, origin: Tensor | None = None
    ) -> Tensor:
        """Turn features into the distributions of all leads, tilted to the anchor's means."""
        start = seen.past[:, -1:]
        values = self._values(self._head(features), start, h)
        if not self.anchored:
            return values
        whole = (slice(None), slice(None))
        change = self.anchor(seen, self.constant(seen), whole, origin).unsqueeze(1)
        change = change * self.scale.change
        target = start + change * self.anchor_size[:h, None, None]
        tilted = tilt(values, start, self.scale.bound(target), self.knots, self.most_tilt)
        return self.scale.bound(tilted)

    def recursive(
        self, total: Tensor, features: Tensor, seen: NetworkInputs
    ) -> tuple[Tensor, Tensor]:
        """Add a lead to the sum of the parts so far, (b, q, y, x); return sum and knots."""
        total = added(total, self._head(features)[:, 0], self.middle, state=self.state)
        return total, self._unfold(total, seen.past[:, -1])

    def hold_means(self) -> None:
        """Keep all means at the anchor's, however far the network's own are from them."""
        self.most_tilt.fill_(_UNBOUNDED)

    def free_means(self, trust: float) -> None:
        """Let means leave the anchor's as far as they are trusted, 0 to 1."""
        power = max(1.0, (ENOUGH / max(trust, _LEAST_TRUST)) ** 2)
        self.most_tilt.fill_(min(MOST_TILT**power, _MOST_FREE))

    def set_paces(self, coefficients: Sequence[np.ndarray]) -> None:
        """Give the anchor coefficients of its own for each origin of the training."""
        self.paces = torch.from_numpy(np.stack(coefficients)).to(self.anchor_bias)

    def anchor(
        self, seen: NetworkInputs, constant: Tensor, wanted: Slices, origin: Tensor | None = None
    ) -> Tensor:
        """Forecast the change of one step linearly, in usual changes, (b, y, x)."""
        linear = self.linear(seen, constant)[(..., *wanted)]
        with torch.autocast(linear.device.type, enabled=False):
            if origin is None or not len(self.paces):
                found = torch.einsum("bcyx,co->boyx", linear, self.anchor_weight)[:, 0]
                return found + self.anchor_bias
            own = self.paces[origin.long()]  # (b, 1 + linear)
            found = torch.einsum("bcyx,bc->byx", linear, own[:, 1:])
            return found + own[:, 0, None, None]

    def linear(self, seen: NetworkInputs, constant: Tensor | None = None) -> Tensor:
        """Stack the inputs of the anchor, (b, c, y, x): all steps and the constant channels."""
        constant = self.constant(seen) if constant is None else constant
        frames = [self.past_frame(seen, t) for t in range(seen.past.shape[1])]
        return torch.cat((*frames, constant), dim=1)

    def _unfold(self, total: Tensor, origin: Tensor) -> Tensor:
        return unfold(total, origin, self.scale, self.middle, state=self.state)

    def _roll(
        self, seen: NetworkInputs, state: State, constant: Tensor, total: Tensor, *, h: int
    ) -> Tensor:
        """Advance from the first lead, one step at a time, with the mean as the next input."""
        origin = seen.past[:, -1]
        leads, before = [self._unfold(total, origin)], origin
        for lead in range(1, h):
            value = mean(leads[-1], self.knots)
            frame = self.next_frame(seen, value, before, lead)
            state, before = self._push(frame, constant, state), value
            total, knots = self.recursive(total, self.body.features(state, constant), seen)
            leads.append(knots)
        return torch.stack(leads, dim=1)

    def constant(self, seen: NetworkInputs) -> Tensor:
        """Stack the channels without time, (b, c, y, x)."""
        if self.options.strategy == "direct" and seen.ahead.shape[2]:
            return torch.cat((seen.static, seen.ahead[:, : self.leads].flatten(1, 2)), dim=1)
        return seen.static

    def next_frame(self, seen: NetworkInputs, value: Tensor, before: Tensor, lead: int) -> Tensor:
        """Assemble the input after a lead, from its means and those of the step before."""
        alive = seen.valid[:, -1]
        return self._frame(value, (value - before) * alive, alive, self._others(seen, lead))

    def past_frame(self, seen: NetworkInputs, t: int) -> Tensor:
        """Assemble the input of a step of the history, (b, c, y, x)."""
        state, alive, before = seen.past[:, t], seen.valid[:, t], max(t - 1, 0)
        change = (state - seen.past[:, before]) * alive * seen.valid[:, before]
        return self._frame(state, change, alive, self._others(seen, t - seen.past.shape[1] + 1))

    def _others(self, seen: NetworkInputs, step: int) -> Tensor:
        """Return the dynamic covariates of a step, (b, d, y, x); the origin is step 0.

        After the origin they keep their last value. Those known ahead, which come first, have
        the value of the next step, which is the one forecast from here; after the last known
        lead they keep their last value too.
        """
        dynamic = seen.dynamic[:, min(step, 0) - 1]
        leads, known = seen.ahead.shape[1:3]
        if not known:
            return dynamic
        following = (
            seen.dynamic[:, step, :known] if step < 0 else seen.ahead[:, min(step, leads - 1)]
        )
        return torch.cat((following, dynamic[:, known:]), dim=1)

    def _frame(self, value: Tensor, change: Tensor, valid: Tensor, dynamic: Tensor) -> Tensor:
        """Assemble one step's input, (b, c, y, x)."""
        scaled = (value - self.scale.mean) / self.scale.std * valid
        target = torch.stack((scaled, change / self.scale.change, valid), dim=1)
        return torch.cat((target, dynamic), dim=1)

    def _head(self, features: Tensor) -> Tensor:
        """Turn features into parts of quantile functions, in full precision."""
        with torch.autocast(features.device.type, enabled=False):
            raw = pointwise(self.head, features)
        raw = raw.unflatten(1, (-1, len(self.knots)))
        return parts(raw, self.middle)


def pointwise(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Run a 1 x 1 convolution on (b, c, y, x); on a CPU as a product, twice as fast."""
    if x.device.type != "cpu" or len(x) > 1:  # on a GPU, exact_float32 governs convolutions only
        result: Tensor = layer(x)
        return result
    pixels = x[0].permute(1, 2, 0).reshape(-1, x.shape[1])
    weight, bias = layer.parameters()
    found = torch.addmm(bias[:, None], weight[:, :, 0, 0], pixels.T)
    return found.reshape(1, -1, *x.shape[-2:])


def channels_last(network: Forecaster) -> Forecaster:
    """Change the memory layout of weights in place: convolutions run 2-3 times faster on a CPU."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
