"""What can be chosen about a model, its training and a forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

from pydantic import Field, field_validator, model_validator

from hmx.bounds import (
    Channels,
    Depth,
    Epochs,
    Folds,
    Leads,
    Members,
    Processes,
    Radius,
    Rate,
    Seed,
    Side,
    Thresholds,
    Weight,
)  # fmt: skip
from hmx.errors import BadArgument, did_you_mean
from hmx.parsing import Count, Numbers, Options, Share, parse

__all__ = [
    "Arch", "Count", "Fitting", "ForecastOptions", "Forecasting", "ModelOptions", "Numbers",
    "Options", "Precision", "Strategy", "TrainOptions", "parse", "split_fitting",
]  # fmt: skip

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


class TrainOptions(Options):
    """The fit.

    Parameters
    ----------
    h : int
        Leads trained for.
    until : int or str, optional
        Last step that may be learnt from; default: all. Everything after it stays
        unseen, and can be used for scores.
    epochs, steps : int
        Epochs at most, and optimizer steps in each.
    batch : int
        Chips per step.
    chip : int
        Side of a chip, px; the rim that the border could reach is not scored.
    lr, weight_decay, clip : float
        Peak learning rate and decay of AdamW, and the largest gradient norm.
    squared : float
        Weight of the squared error of the mean beside the CRPS, both in ordinary
        changes.
    ema : float
        Decay per step of the running average of the weights that is judged and
        kept; 0 for none.
    jitter : float
        Spread of what is added to each static covariate of a chip, standard
        deviations: the network learns what lies around a pixel, and not its place.
    focus : float
        Share of the chips that are drawn around past change; the loss is weighted
        so that it stays that of chips drawn anywhere.
    patience : int
        Epochs without a better validation score before stopping.
    validation, calibration, test : float
        Share of the spatial blocks kept for early stopping, for intervals and for
        scores.
    fold, folds : int, optional
        Keep fold number ``fold`` of ``folds`` for scores, in place of ``test``.
    block : int, optional
        Side of a spatial block, px. Default: decided from the cube.
    buffer : int, optional
        Distance from held-out blocks within which nothing is learnt, px. Default:
        the reach of the network and its context, from test blocks.
    final : bool
        Whether to fit once more on all blocks but those kept for scores, for as many
        epochs as were best.
    runs : int
        Models to train, with seeds ``seed``, ``seed + 1`` ...
    ensemble : bool
        Whether to keep all of them, whose forecast is the mixture of theirs, or
        the one that did best on the validation blocks.
    seed : int
        Decides initial weights, blocks and chips.
    precision : {"float32", "bfloat16"}
        Of the convolutions in training.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    parallel : str
        How several processes train one model: a strategy of Lightning, e.g. ``ddp``.
    devices, num_nodes : int
        Processes per node and nodes, for distributed training.
    """

    h: Leads = 4
    until: int | str | None = None
    epochs: Epochs = 20
    steps: Count = 25
    batch: Side = 4
    chip: Annotated[int, Field(ge=8, le=8192)] = 96
    lr: Rate = 2e-3
    weight_decay: Weight = 1e-2
    clip: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    squared: Weight = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.98
    jitter: Annotated[float, Field(ge=0, le=1e3)] = 2.0
    focus: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Count = 5
    validation: Share = 0.1
    calibration: Share = 0.1
    test: Share = 0.0
    fold: Annotated[int, Field(ge=0, lt=1000)] | None = None
    folds: Folds | None = None
    block: Annotated[int, Field(ge=8, le=65_536)] | None = None
    buffer: Annotated[int, Field(ge=0, le=65_536)] | None = None
    final: bool = True
    runs: Members = 1
    ensemble: bool = False
    seed: Seed = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = "auto"
    parallel: str = "auto"
    devices: Processes = 1
    num_nodes: Processes = 1


class ForecastOptions(Options):
    """A forecast.

    Parameters
    ----------
    h : int
        Leads to forecast.
    level : tuple of float
        Central prediction intervals, percent.
    quantiles : tuple of float
        Quantiles of the predictive distribution, between 0 and 1.
    exceed : tuple of float
        Thresholds, native units: the probability of more than each is forecast.
    tile : int, optional
        Side of a tile, the piece that one task computes, px. Default: decided from
        the device and the chunk.
    chunk : int, optional
        Side of an output chunk, px; a tile is a whole number of chunks, so that no
        two tasks share one. Default: 512, or a whole part of the tile.
    precision : str
        ``float32``, ``bfloat16``, ``auto`` or, for proofs, ``float64``.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    h: Leads = 4
    level: Numbers = ()
    quantiles: Numbers = ()
    exceed: Thresholds = ()
    tile: Side | None = None
    chunk: Side | None = None
    precision: Precision = "float32"
    device: str = "auto"

    @field_validator("level")
    @classmethod
    def _percent(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < level < 100 for level in levels):
            raise ValueError("a level is a percentage between 0 and 100. Try 80.")
        return tuple(sorted(set(levels)))

    @field_validator("quantiles")
    @classmethod
    def _share(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < quantile < 1 for quantile in quantiles):
            raise ValueError("a quantile lies between 0 and 1. Try 0.5.")
        return tuple(sorted(set(quantiles)))

    @field_validator("exceed")
    @classmethod
    def _ordered(cls, thresholds: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(thresholds)))

    @model_validator(mode="after")
    def _whole_chunks(self) -> ForecastOptions:
        if self.tile and self.chunk and self.tile % self.chunk:
            whole = self.chunk * max(1, round(self.tile / self.chunk))
            raise ValueError(
                f"tile={self.tile} is no whole number of chunks (chunk={self.chunk}), so two tasks "
                f"would share one. Try tile={whole}."
            )
        return self


class Fitting(TypedDict, total=False):
    """Keyword options of ``train`` beside its named ones; see the classes above."""

    arch: Arch
    strategy: Strategy
    heads: Literal["shared", "separate"]
    anchor: bool
    width: int
    trunk: Sequence[int]
    hidden: int
    layers: int
    kernel: int
    dilation: Sequence[int]
    context: Sequence[int]
    maxima: bool
    terrain: Sequence[str]
    knots: Sequence[float]
    until: int | str
    epochs: int
    steps: int
    batch: int
    chip: int
    lr: float
    weight_decay: float
    clip: float
    squared: float
    ema: float
    jitter: float
    focus: float
    patience: int
    validation: float
    calibration: float
    test: float
    fold: int
    folds: int
    block: int
    buffer: int
    final: bool
    runs: int
    ensemble: bool
    precision: Literal["float32", "bfloat16"]
    device: str
    parallel: str
    devices: int
    num_nodes: int


class Forecasting(TypedDict, total=False):
    """Keyword options of a planned or stored forecast; see :class:`ForecastOptions`."""

    level: Numbers | float
    quantiles: Numbers | float
    exceed: Numbers | float
    tile: int
    chunk: int
    precision: Precision
    device: str


def split_fitting(options: Mapping[str, Any]) -> tuple[ModelOptions, TrainOptions]:
    """Tell options of the network from options of the fit, and validate both.

    Parameters
    ----------
    options : mapping
        By field name.

    Raises
    ------
    BadArgument
        If one is unknown or impossible.
    """
    known = [*ModelOptions.model_fields, *TrainOptions.model_fields]
    for name in options:
        if name not in known:
            raise BadArgument(
                f"unknown option {name!r} (known: {', '.join(known)}).{did_you_mean(name, known)}"
            )
    network = {k: v for k, v in options.items() if k in ModelOptions.model_fields}
    fit = {k: v for k, v in options.items() if k in TrainOptions.model_fields}
    return parse(ModelOptions, network), parse(TrainOptions, fit)
