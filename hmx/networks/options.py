"""Options: the networks of both jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hmx.settings import Channels, Depth, Leads, Numbers, Options, Radius

Precision = Literal["float32", "bfloat16", "auto", "float64"]


Arch = Literal["dilated", "convlstm"]


Strategy = Literal["direct", "recursive"]


Dilations = Annotated[tuple[Radius, ...], Field(max_length=64)]


# Probabilities at which a network gives its quantile function: dense enough that what is
# linear between them is close to smooth. Beyond them, maps of a few steps teach nothing.
KNOTS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.975, 0.99)


class ModelOptions(Options):
    """The network.

    Parameters
    ----------
    arch : {"dilated", "convlstm"}
        What reads the history: a residual CNN that sees all steps at once, or a
        ConvLSTM that is shown them one by one.
    strategy : {"direct", "recursive"}
        One head for each trained lead; or one step at a time, fed with its own
        mean, for any number of leads.
    heads : {"shared", "separate"}
        Of a direct network: one for all leads, which gives each a size of its own,
        or one for each.
    anchor : bool
        Whether a linear regression says where the means of a direct network lie.
    history : int
        Past steps the model sees, the origin included.
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
    context : tuple of int
        Half-widths, px, of the squares whose means of state and past change the
        network is shown beside each pixel; ``[]`` for none.
    maxima : bool
        Whether it is shown their maxima as well.
    terrain : tuple of str, optional
        Static covariates that get slope and aspect. Default: ``elevation``, ``dem``,
        ``dtm`` or ``altitude``, where there is one.
    knots : tuple of float
        Probabilities at which the network gives its quantile function.
    """

    arch: Arch = "dilated"
    strategy: Strategy = "direct"
    heads: Literal["shared", "separate"] = "shared"
    anchor: bool = True
    history: Leads = 3
    width: Channels = 32
    trunk: Dilations = (1, 2, 4, 8)
    hidden: Channels = 16
    layers: Depth = 1
    kernel: Annotated[int, Field(ge=1, le=255, strict=True)] = 3
    dilation: Dilations | None = None
    context: Annotated[tuple[Radius, ...], Field(max_length=32)] = (1, 3, 10, 30)
    maxima: bool = False
    terrain: tuple[str, ...] | None = None
    knots: Numbers = KNOTS

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError(f"a kernel has a centre, so its size is odd. Try {kernel + 1}.")
        return kernel

    @field_validator("knots")
    @classmethod
    def _ascend(cls, knots: tuple[float, ...]) -> tuple[float, ...]:
        inside = all(0 < knot < 1 for knot in knots)
        if not inside or 0.5 not in knots or sorted(set(knots)) != list(knots) or len(knots) < 3:
            raise ValueError(
                "knots are at least three ascending probabilities between 0 and 1 with 0.5 among "
                "them. Try [0.05, 0.25, 0.5, 0.75, 0.95]."
            )
        return knots

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
        if self.arch == "dilated" and not self.trunk:
            raise ValueError("arch='dilated' is its trunk, so trunk cannot be empty. Try [1, 2].")
        return self


# What makes a network the one of the soil carbon study that this job goes back to.
_REFITTED: dict[str, Any] = {
    "widths": (32, 64),
    "hidden": 128,
    "layers": 2,
    "bidirectional": False,
    "attention": (),
    "pool": (1, 2),
    "skip": False,
}


class MapperOptions(Options):
    """The network.

    Parameters
    ----------
    arch : {"cnn_lstm", "refitted_covlstm"}
        Convolutions for each step, then an LSTM over the steps. The second is the
        network of an earlier study as it was; its ``widths``, ``hidden``, ``layers``
        and so on are fixed.
    window : int
        Odd side of the window around a point, px.
    history : int, optional
        Steps the network sees, the last of them that of the sample. Default: all of
        a climatology, 5 of a calendar.
    widths : tuple of int
        Channels of the convolutions: 3 x 3 as long as the window has room for it, the
        last as wide as what the others leave of the window.
    hidden, layers : int
        Channels and layers of the LSTM.
    bidirectional : bool
        Whether the LSTM reads the steps both ways.
    attention : tuple of {"temporal", "spatial"}
        What is weighed by attention: the LSTM's states, and the pixels of a window.
    pool : tuple of int
        After which convolutions (1, 2 ...) features are pooled by 2; for wide windows.
    coarse : tuple of int
        Half-widths, px, of squares whose means the network is shown beside each pixel.
    skip : bool
        Whether a linear function of the centre pixel's values and the window's means is
        added.
    dropout : float
        Share of features dropped in training.
    knots : tuple of float
        Probabilities of a quantile head; empty for one number.
    """

    arch: Literal["cnn_lstm", "refitted_covlstm"] = "cnn_lstm"
    window: Annotated[int, Field(ge=1, le=255, strict=True)] = 5
    history: Leads | None = None
    widths: Annotated[tuple[Channels, ...], Field(max_length=64)] = (24, 48, 48)
    hidden: Channels = 48
    layers: Depth = 1
    bidirectional: bool = False
    attention: tuple[Literal["temporal", "spatial"], ...] = ()
    pool: Annotated[tuple[Depth, ...], Field(max_length=64)] = ()
    coarse: Annotated[tuple[Radius, ...], Field(max_length=32)] = ()
    skip: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    knots: Numbers = ()

    @model_validator(mode="before")
    @classmethod
    def _as_it_was(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("arch") == "refitted_covlstm":
            return {**_REFITTED, "dropout": 0.25, **values}
        return values

    @field_validator("window")
    @classmethod
    def _odd(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError(f"a window has a centre, so its side is odd. Try {window + 1}.")
        return window

    @field_validator("widths")
    @classmethod
    def _some(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
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
        if self.arch == "refitted_covlstm":
            for name, fixed in _REFITTED.items():
                if getattr(self, name) != fixed:
                    raise ValueError(
                        f"{name} of arch='refitted_covlstm' is {fixed!r} and cannot be chosen. "
                        f"Leave {name} out, or take arch='cnn_lstm'."
                    )
            if self.window < 4:
                raise ValueError(
                    f"window={self.window} is pooled twice by arch='refitted_covlstm', which "
                    "leaves nothing of it. Try window=5."
                )
        else:
            self.kernels()
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
