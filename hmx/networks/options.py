"""Options: the networks of both jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from hmx.networks.names import NETWORK_NAMES, renamed
from hmx.networks.registry import MAPPERS, NETWORKS
from hmx.settings import Channels, Depth, Leads, Numbers, Options, Radius

Precision = Literal["float32", "bfloat16", "auto", "float64"]

# names of the registry, so that a network of another package is an option like any other
Arch = Annotated[str, AfterValidator(NETWORKS.require)]

Strategy = Literal["direct", "recursive"]
Dilations = Annotated[tuple[Radius, ...], Field(max_length=64)]


# Probabilities at which a network gives its quantile function: dense enough that straight
# lines between them are close to a smooth curve. Maps of a few steps cannot show the tails
# beyond 1 and 99 %.
KNOTS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.975, 0.99)


POINT = (0.5,)  # the knots of a network of one number: its median is all that it gives
# past steps that a network reads where the user leaves that open: an earlier change adds little
# to the last two, and each step more takes a lead from a short series
_HISTORY, _SHORT_HISTORY = 3, 2


def _odd(what: str) -> AfterValidator:
    """Refuse an even number of pixels: ``what`` has none in its middle."""

    def check(side: int) -> int:
        if side % 2 == 0:
            raise ValueError(f"{what} is odd. Try {side + 1}.")
        return side

    return AfterValidator(check)


_Side = Annotated[int, Field(ge=1, le=255, strict=True)]


class ModelOptions(Options):
    """The network.

    Parameters
    ----------
    arch : str
        Network that reads the history: ``convlstm``, which reads the steps one by one;
        ``dilated``, a residual CNN that sees all of them at once; or a registered one
        (:mod:`hmx.networks.base`).
    strategy : {"direct", "recursive"}
        ``direct`` has an output for each trained lead, and goes on from its own mean
        after them; ``recursive`` goes one step at a time, fed with its own mean.
    heads : {"auto", "shared", "separate"}
        Of a direct network: one head, the layer that gives the result, which is scaled for each
        lead, or one head per lead, which alone can show how a front moves on. ``auto`` is
        ``separate`` where the other steps foresee a fifth of the squared change of each past
        step, else ``shared``: few maps teach a late lead, and a head of its own would learn
        their accidents.
    anchor : bool
        Tilt the distributions of a direct network to the means of a linear regression;
        a network of one number or of the state itself has no such anchor.
    history : int, optional
        Past steps the network reads, the origin included. Default: 3, or 2 where the
        series is too short to teach all leads of the training with 3.
    width : int
        Channels of the residual trunk.
    trunk : tuple of int
        Dilations of the trunk's 3 x 3 layers, px; ``[]`` leaves it out.
    hidden : int
        Channels of each ConvLSTM layer.
    layers : int
        ConvLSTM layers.
    kernel : int
        Odd size of the ConvLSTM's kernels, px.
    dilation : tuple of int, optional
        Spacing of the ConvLSTM's kernel taps, one per layer, px. Default: 1 for
        the first layer and 4 for the others.
    context : tuple of int, optional
        Half-widths, px, of squares around each pixel whose means of state and past
        change are extra inputs; ``[]`` for none. Default: those of 1, 3, 10 and 30 that
        are at most a quarter of the raster's shorter side.
    maxima : bool
        Add the maxima of these squares.
    terrain : tuple of str, optional
        Static covariates from which slope and aspect are derived. Default: ``elevation``,
        ``dem``, ``dtm`` or ``altitude``, if the cube has one.
    predict : {"change", "state"}
        What the network computes: the change since the origin, in usual changes, or the
        state itself, as a z-score, without regard to the origin. ``state`` is for
        comparisons with systems that do so.
    knots : tuple of float
        Probabilities at which the network gives its quantile function; ``[]`` for one
        number. Intervals of one number come from its errors on the calibration blocks,
        and are equally wide at all pixels that are equally far from past change.
    """

    arch: Arch = "convlstm"
    strategy: Strategy = "direct"
    heads: Literal["auto", "shared", "separate"] = "auto"
    anchor: bool = True
    history: Leads | None = None
    width: Channels = 32
    trunk: Dilations = (1, 2, 4, 8)
    hidden: Channels = 16
    layers: Depth = 1
    kernel: Annotated[_Side, _odd("a kernel has a centre, so its size")] = 3
    dilation: Dilations | None = None
    context: Annotated[tuple[Radius, ...], Field(max_length=32)] | None = None
    maxima: bool = False
    terrain: tuple[str, ...] | None = None
    predict: Literal["change", "state"] = "change"
    knots: Numbers = KNOTS

    @field_validator("knots")
    @classmethod
    def _ascend(cls, knots: tuple[float, ...]) -> tuple[float, ...]:
        if knots in ((), POINT):
            return POINT
        inside = all(0 < knot < 1 for knot in knots)
        if not inside or 0.5 not in knots or sorted(set(knots)) != list(knots) or len(knots) < 3:
            raise ValueError(
                "knots are at least three ascending probabilities between 0 and 1 with 0.5 among "
                "them. Try [0.05, 0.25, 0.5, 0.75, 0.95], or [] for one number."
            )
        return knots

    @property
    def point(self) -> bool:
        """True if the network gives one number in place of a distribution."""
        return self.knots == POINT

    @property
    def anchored(self) -> bool:
        """True if a linear regression gives the means of the distributions."""
        tilted = self.anchor and not self.point and self.predict == "change"
        return tilted and self.strategy == "direct"

    @property
    def past_steps(self) -> int:
        """Past steps that the network reads: ``history``, or 3 where that is open."""
        return _HISTORY if self.history is None else self.history

    @property
    def least_history(self) -> int:
        """The smallest number of past steps that :meth:`settled` may choose."""
        return _SHORT_HISTORY if self.history is None else self.history

    def settled(self, maps: int, h: int) -> ModelOptions:
        """Return the options with a number for ``history``, as a series of ``maps`` steps allows.

        A history of t steps teaches at most maps - t leads. An open history is 3, or 2 where
        that teaches more of the ``h`` leads; a given one stays.
        """
        if self.history is not None:
            return self
        more = min(h, maps - _SHORT_HISTORY) > min(h, maps - _HISTORY)
        return self.model_copy(update={"history": _SHORT_HISTORY if more else _HISTORY})

    def dilations(self) -> tuple[int, ...]:
        """Return one dilation per ConvLSTM layer, px."""
        return self.dilation or (1, *(4,) * (self.layers - 1))

    @model_validator(mode="after")
    def _one_each(self) -> ModelOptions:
        if self.dilation is not None and len(self.dilation) != self.layers:
            raise ValueError(
                f"dilation={list(self.dilation)} has {len(self.dilation)} numbers for "
                f"layers={self.layers}, and each layer has one. Try {[1] * self.layers}."
            )
        # the class is imported (with torch) only if its answer can matter
        if not self.trunk and NETWORKS.find(self.arch).needs_trunk:
            raise ValueError(
                f"arch={self.arch!r} is its trunk, so trunk cannot be empty. Try [1, 2]."
            )
        return self


# Settings that a network of the map job fixes: those of the soil carbon study that the job
# goes back to. They are data here because parsing a catalog must not load torch.
_FIXED: dict[str, dict[str, Any]] = {
    "refitted_covlstm": {
        "widths": (32, 64), "hidden": 128, "layers": 2, "pool": (1, 2), "skip": False,
    }
}  # fmt: skip
# options of earlier releases, with the values at which their models are read
DROPPED: dict[str, Any] = {"attention": (), "bidirectional": False}
_DEFAULTS: dict[str, dict[str, Any]] = {"refitted_covlstm": {"dropout": 0.25}}


class MapperOptions(Options):
    """The network.

    Parameters
    ----------
    arch : str
        ``cnn_lstm``: convolutions for each step, then an LSTM over the steps.
        ``refitted_covlstm``: the network of an earlier study, whose ``widths``,
        ``hidden``, ``layers`` and so on are fixed. Or a registered one.
    window : int
        Odd side of the window around a point, px; ``window_size`` means the same.
    history : int, optional
        Steps the network reads, the sample's step last; ``time_before`` means the same. Default:
        all of a climatology, 5 of a calendar.
    widths : tuple of int
        Channels of the convolutions. They are 3 x 3 while the window has room; the last
        one covers the rest of the window.
    hidden, layers : int
        Channels and layers of the LSTM.
    pool : tuple of int
        Numbers of the convolutions (1, 2 ...) after which features are pooled by 2; for
        wide windows.
    coarse : tuple of int
        Half-widths, px, of squares around each pixel whose means are extra inputs.
    skip : bool
        Add a linear function of the centre pixel's values and the window's means.
    dropout : float
        Share of features dropped in training.
    knots : tuple of float
        Probabilities of a quantile head; empty for one number.
    """

    arch: Annotated[str, AfterValidator(MAPPERS.require)] = "cnn_lstm"
    window: Annotated[_Side, _odd("a window has a centre, so its side")] = 5
    history: Leads | None = None
    widths: Annotated[tuple[Channels, ...], Field(max_length=64)] = (24, 48, 48)
    hidden: Channels = 48
    layers: Depth = 1
    pool: Annotated[tuple[Depth, ...], Field(max_length=64)] = ()
    coarse: Annotated[tuple[Radius, ...], Field(max_length=32)] = ()
    skip: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    knots: Numbers = ()

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, values: Any) -> Any:
        values = renamed(values, NETWORK_NAMES)
        if isinstance(values, Mapping):
            for dropped in DROPPED:
                if values.get(dropped):
                    raise ValueError(
                        f"{dropped}={values[dropped]!r} is an option of earlier releases: on "
                        "Macedonia it was no better (hmx guide maps). Leave it out, train again."
                    )
            values = {name: value for name, value in values.items() if name not in DROPPED}
        name = values.get("arch") if isinstance(values, Mapping) else None
        if isinstance(name, str) and name in _FIXED:
            return {**_FIXED[name], **_DEFAULTS[name], **values}
        return values

    @field_validator("widths")
    @classmethod
    def _at_least_one(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if not widths:
            raise ValueError("a network has at least one convolution. Try [24, 48, 48].")
        return widths

    @field_validator("knots")
    @classmethod
    def _ascend(cls, knots: tuple[float, ...]) -> tuple[float, ...]:
        inside = all(0 < knot < 1 for knot in knots)
        if knots and (not inside or 0.5 not in knots or sorted(set(knots)) != list(knots)):
            raise ValueError(
                "knots are ascending probabilities between 0 and 1 with 0.5 among them. Try "
                "[0.05, 0.25, 0.5, 0.75, 0.95], or [] for one number."
            )
        return knots

    @model_validator(mode="after")
    def _fits(self) -> MapperOptions:
        if self.arch not in _FIXED:
            self.kernels()
            return self
        for name, fixed in _FIXED[self.arch].items():
            if getattr(self, name) != fixed:
                raise ValueError(
                    f"{name} of arch={self.arch!r} is {fixed!r} and cannot be chosen. "
                    f"Leave {name} out, or take arch='cnn_lstm'."
                )
        if self.window < 4:
            raise ValueError(
                f"window={self.window} is pooled twice by arch={self.arch!r}, which "
                "leaves nothing of it. Try window=5."
            )
        return self

    def kernels(self) -> tuple[int, ...]:
        """Return the side of each convolution of ``cnn_lstm``, px of its own input.

        The last leaves one pixel of a window. Before a pool a convolution is one wider
        where that makes the side even, so that nothing of a window is dropped.
        """
        side, kernels = self.window, []
        for number in range(1, len(self.widths) + 1):
            last, pooled = number == len(self.widths), number in self.pool
            kernel = side if last else min(3, side)
            if pooled and (side - kernel) % 2 == 0:
                kernel += 1 if side > kernel else -1
            if not kernel or (last and pooled):
                raise ValueError(
                    f"pool={list(self.pool)} leaves nothing of window={self.window} after "
                    f"convolution {number}. Pool earlier, or widen the window."
                )
            kernels.append(kernel)
            side = (side - kernel + 1) // (2 if pooled else 1)
        if max(self.pool, default=0) > len(self.widths):
            raise ValueError(
                f"pool={list(self.pool)} names a convolution beyond the {len(self.widths)} of "
                f"widths={list(self.widths)}. Try pool=[1]."
            )
        return tuple(kernels)
