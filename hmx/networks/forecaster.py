"""Forecaster: from a history to the predictive distribution of the next steps.

A *body* reads the history (:class:`~hmx.networks.dilated.Stacked` sees all steps at
once, :class:`~hmx.networks.convlstm.Recurrent` one by one), a head of one 1 x 1 layer
turns its features into quantile functions of the residual from the origin
(:mod:`hmx.networks.quantile`). The head starts at zero: an untrained network is a
sharp persistence. Two strategies: *direct* has a head for each trained lead (or one
for all, with a size of its own for each: far leads have few truths, and look much like
near ones); *recursive* goes one step at a time, is shown its own mean, and adds what it
says of each step to what it said before.

Most change of such maps is noise and its reversal, whose mean is linear in what is
seen and which a flexible network overfits. A direct network is therefore *anchored*:
a linear regression, fitted in closed form before training, says where the mean lies,
and the network's distributions are tilted to it (:func:`hmx.networks.quantile.tilt`),
in training as in inference.

Tensors: ``b`` windows, ``t`` history steps, ``h`` leads, ``q`` knots, ``d`` dynamic,
``s`` static and ``a`` known-ahead channels, all ``(..., y, x)``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hmx.bundles.folder import check_weights
from hmx.features.scaling import Scaler
from hmx.hardware import plain_torch
from hmx.networks.base import ForecastModel, ForecastSpec, body_class
from hmx.networks.local import build_body
from hmx.networks.options import ModelOptions
from hmx.networks.quantile import MOST_TILT, TargetScale, mean, parts, tilt, unfold
from hmx.networks.stream.regions import SCALARS

_HELD = 1e4  # a tilt that brings any mean back
_GROWTH = 0.7  # a spread grows by this power of the lead until the data say otherwise
Slices = tuple[slice, slice]
State = Any  # whatever a body remembers


class NetworkInputs(NamedTuple):
    """What a network is shown.

    Parameters
    ----------
    past : Tensor
        Target, native units, 0 where missing, (b, t, y, x).
    valid : Tensor
        1 where ``past`` is data, 0 elsewhere, same shape.
    dynamic : Tensor
        Scaled dynamic covariates, (b, t, d, y, x).
    static : Tensor
        Scaled static covariates and context, (b, s, y, x).
    ahead : Tensor
        Scaled covariates that are known at the leads, (b, h, a, y, x).
    """

    past: Tensor
    valid: Tensor
    dynamic: Tensor
    static: Tensor
    ahead: Tensor


class Channels(NamedTuple):
    """How many channels a network is shown, those of validity included.

    Parameters
    ----------
    dynamic, static, ahead : int
        Per step, once, and per lead.
    """

    dynamic: int = 0
    static: int = 0
    ahead: int = 0

    @classmethod
    def of(cls, spec: ForecastSpec) -> Channels:
        """Count the channels of a spec."""
        return cls(*spec.channels)


def reach(options: ModelOptions, h: int) -> int:
    """How far an input pixel can influence an output pixel through the network, px.

    What derived channels look at comes on top (:attr:`hmx.features.context.Context.halo`).
    A trunk spreads by the sum of its layers; a ConvLSTM by its widest layer at each
    step its state is carried, and by all layers once at the first input. A forecast
    that is fed back spreads by all of it again.

    Parameters
    ----------
    options : ModelOptions
        The network.
    h : int
        Largest lead.
    """
    looks = h if options.strategy == "recursive" else 1
    return body_class(options.arch).reach(options, looks)


class Forecaster(nn.Module):
    """The network of the forecast job.

    Parameters
    ----------
    options : ModelOptions
        What it is.
    scale : TargetScale
        Units of the target.
    leads : int
        Leads it is trained for.
    channels : Channels
        Of covariates.
    """

    anchor_weight: Tensor
    anchor_bias: Tensor
    anchor_size: Tensor
    most_tilt: Tensor

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
        self.body: Any = build_body(options, frame, constant)
        direct = options.strategy == "direct"
        self.anchored = direct and options.anchor
        if self.anchored:
            linear = options.history * frame + constant
            self.register_buffer("anchor_weight", torch.zeros(linear, 1))
            self.register_buffer("anchor_bias", torch.zeros(1))
            self.register_buffer("anchor_size", torch.zeros(leads))
            self.register_buffer("most_tilt", torch.tensor([MOST_TILT]))
        self.shared = direct and options.heads == "shared"
        heads = 1 if self.shared else self.leads
        self.head = nn.Conv2d(self.body.outputs, heads * len(self.knots), 1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)
        if self.shared:
            ahead = torch.arange(1, self.leads + 1).log()
            self.location_size = nn.Parameter(torch.zeros(self.leads))
            self.gap_size = nn.Parameter(_GROWTH * ahead)

    @classmethod
    def of(cls, spec: ForecastSpec, scaler: Scaler) -> Forecaster:
        """Build an untrained network for a spec."""
        scale = TargetScale.of(spec, scaler)
        return cls(spec.network, scale, leads=spec.h, channels=Channels.of(spec))

    @classmethod
    def load(cls, bundle: ForecastModel, member: int = 0) -> Forecaster:
        """Build one of a bundle's networks with its weights.

        Raises
        ------
        BundleError
            If a weight is missing, unknown or of another shape.
        """
        weights = bundle.member(member)
        with torch.device("meta"):  # of shapes alone: a spec may ask for any amount of memory
            plan = cls.of(bundle.spec, bundle.scaler).state_dict()
        want = {name: tuple(p.shape) for name, p in plan.items()}
        check_weights({name: w.shape for name, w in weights.items()}, want)
        with plain_torch():
            network = cls.of(bundle.spec, bundle.scaler)
        network.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
        return network.eval()

    def forward(self, seen: NetworkInputs, *, h: int, crop: Slices | None = None) -> Tensor:
        """Forecast the distributions of the next steps.

        Parameters
        ----------
        seen : NetworkInputs
            History and covariates.
        h : int
            Leads; of a direct network, no more than it was built for.
        crop : pair of slice, optional
            Rows and columns that are wanted; default: all.

        Returns
        -------
        Tensor
            Values of the knots, native units, (b, h, q, y, x); meaningless where
            the origin is missing.
        """
        wanted = crop or (slice(None), slice(None))
        constant = self._constant(seen)
        features, state = self._look_back(seen, constant)[-1]
        if self.options.strategy == "direct":
            total = self._totals(self._head(features[(..., *wanted)]), h)
            return self._direct(total, seen, constant, wanted)
        first = self._head(features)[:, 0]
        return self._roll(seen, state, constant, first, h=h)[(..., *wanted)]

    def one_step_forecasts(
        self, seen: NetworkInputs, *, h: int, crop: Slices | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Forecast as :meth:`forward`, and one step ahead from each past step.

        The rehearsals of a recursive network, a list of t - 1 tensors (b, q, y, x)
        whose truths are steps 1 ... t - 1 of ``past``, let training learn from every
        pair of neighbouring maps and not only from those after the origin; they are
        not cropped. A direct network has none.
        """
        if self.options.strategy == "direct":
            return self(seen, h=h, crop=crop), []
        constant = self._constant(seen)
        steps = self._look_back(seen, constant, every=True)
        totals = [self._head(features)[:, 0] for features, _ in steps]
        rehearsed = [self._unfold(total, seen.past[:, t]) for t, total in enumerate(totals[:-1])]
        leads = self._roll(seen, steps[-1][1], constant, totals[-1], h=h)
        return leads[(..., *(crop or (slice(None), slice(None))))], rehearsed

    def _look_back(
        self, seen: NetworkInputs, constant: Tensor, *, every: bool = False
    ) -> list[tuple[Tensor, State]]:
        """Show the history; return features and state after the last step, or every one."""
        state: State = None
        found = []
        for t in range(seen.past.shape[1]):
            state = self.body.push(self._past_frame(seen, t), constant, state)
            if every or t == seen.past.shape[1] - 1:
                found.append((self.body.features(state, constant), state))
        return found

    def _totals(self, found: Tensor, h: int) -> Tensor:
        """Turn the heads' parts into those of each lead, (b, h, q, y, x)."""
        if not self.shared:
            return found[:, :h].cumsum(1)
        gaps = self.gap_size[:h, None].exp().expand(-1, len(self.knots))
        centre = self.location_size[:h, None].exp()
        size = torch.cat((gaps[:, : self.middle], centre, gaps[:, self.middle + 1 :]), dim=1)
        return found * size[:, :, None, None]

    def _direct(
        self, total: Tensor, seen: NetworkInputs, constant: Tensor, wanted: Slices
    ) -> Tensor:
        """Unfold all leads at once, and tilt them to the anchor's means."""
        origin = seen.past[(slice(None), -1, None, *wanted)]
        values = self._unfold(total, origin)
        if not self.anchored:
            return values
        change = self.anchor(seen, constant, wanted).unsqueeze(1) * self.scale.change
        target = origin + change * self.anchor_size[: total.shape[1], None, None]
        tilted = tilt(values, origin, self.scale.bound(target), self.knots, self.most_tilt)
        return self.scale.bound(tilted)

    def hold_means(self) -> None:
        """Let an anchor that is not fitted hold all means at the last map."""
        self.most_tilt.fill_(_HELD)

    def anchor(self, seen: NetworkInputs, constant: Tensor, wanted: Slices) -> Tensor:
        """Forecast one step's change linearly, in ordinary changes, (b, y, x)."""
        linear = self.linear(seen, constant)[(..., *wanted)]
        with torch.autocast(linear.device.type, enabled=False):
            found = torch.einsum("bcyx,co->boyx", linear, self.anchor_weight)[:, 0]
        return found + self.anchor_bias

    def linear(self, seen: NetworkInputs, constant: Tensor | None = None) -> Tensor:
        """Collect what an anchor is linear in, (b, c, y, x): all steps and what is constant."""
        constant = self._constant(seen) if constant is None else constant
        frames = [self._past_frame(seen, t) for t in range(seen.past.shape[1])]
        return torch.cat((*frames, constant), dim=1)

    def _unfold(self, total: Tensor, origin: Tensor) -> Tensor:
        return unfold(total, origin, self.scale, self.middle)

    def _roll(
        self, seen: NetworkInputs, state: State, constant: Tensor, total: Tensor, *, h: int
    ) -> Tensor:
        """Go on from the first lead, one step at a time, fed with the mean."""
        origin, alive = seen.past[:, -1], seen.valid[:, -1]
        leads, before = [self._unfold(total, origin)], origin
        for lead in range(1, h):
            value = mean(leads[-1], self.knots)
            frame = self._frame(value, (value - before) * alive, alive, self._others(seen, lead))
            state, before = self.body.push(frame, constant, state), value
            total = total + self._head(self.body.features(state, constant))[:, 0]
            leads.append(self._unfold(total, origin))
        return torch.stack(leads, dim=1)

    def _constant(self, seen: NetworkInputs) -> Tensor:
        """Collect the channels that enter once, (b, c, y, x)."""
        if self.options.strategy == "direct" and seen.ahead.shape[2]:
            return torch.cat((seen.static, seen.ahead[:, : self.leads].flatten(1, 2)), dim=1)
        return seen.static

    def _past_frame(self, seen: NetworkInputs, t: int) -> Tensor:
        state, alive, before = seen.past[:, t], seen.valid[:, t], max(t - 1, 0)
        change = (state - seen.past[:, before]) * alive * seen.valid[:, before]
        return self._frame(state, change, alive, self._others(seen, t - seen.past.shape[1] + 1))

    def _others(self, seen: NetworkInputs, step: int) -> Tensor:
        """Take the dynamic covariates of a step, (b, d, y, x); the origin is step 0.

        Beyond the origin they are held, but for those that are known ahead, which come
        first: they are shown as they will be at the next step, the one that is forecast
        from here; beyond the last lead that is known, these are held too.
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
        frame = torch.cat((target, dynamic), dim=1)
        return frame.contiguous(memory_format=torch.channels_last)

    def _head(self, features: Tensor) -> Tensor:
        """Turn features into parts of quantile functions, in full precision."""
        with torch.autocast(features.device.type, enabled=False):
            raw = self.head(features)
        raw = raw.unflatten(1, (-1, len(self.knots)))
        return parts(raw, self.middle)


def channels_last(network: Forecaster) -> Forecaster:
    """Lay weights out so that convolutions run 2-3 times faster on a CPU; in place."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
