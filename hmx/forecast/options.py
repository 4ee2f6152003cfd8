"""Options of the forecast job: training, forecasts and backtests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hmx.errors import BadArgument, did_you_mean
from hmx.networks.options import Arch, ModelOptions, Precision, Strategy
from hmx.settings import (
    Count,
    Epochs,
    Folds,
    Leads,
    Levels,
    Members,
    Numbers,
    Options,
    Probabilities,
    Processes,
    Rate,
    Seed,
    Share,
    Side,
    Thresholds,
    Weight,
    as_labels,
    parse,
    require_whole_chunks,
)  # fmt: skip


class TrainOptions(Options):
    """The fit.

    Parameters
    ----------
    h : int
        Leads trained for, as far as the series can teach them: one of n steps teaches
        n - history leads.
    until : int or str, optional
        Last step of the training data; default: all. Later steps are not read, and can
        be used for scores.
    epochs : int
        Largest number of epochs. Validation blocks end most fits earlier (``patience``), and a
        small raster has fewer.
    steps : int, optional
        Optimizer steps in each epoch. Default: 13, or as few as 3 on a small raster, which is
        learnt by heart otherwise: about 60 visits to each training pixel over all epochs.
    batch : int
        Chips per step.
    chip : int, optional
        Side of a chip, px; the rim that the border could reach is not scored. Default: 116,
        or the smallest side that scores the middle third at the last lead (of wide reaches
        64 px), and at most the raster. A recursive network of four leads and 70 px is
        trained on chips of 204 px: 66 % of their pixels are scored at the first lead, 10 %
        at the last.
    lr, weight_decay, clip : float
        Peak learning rate and decay, and the largest gradient norm. The head is moved by AdamW
        at this rate, the layers before it by :class:`hmx.training.muon.Muon` at three times
        this rate.
    loss : {"crps", "mse", "mse+ssim"}
        ``crps`` trains distributions. ``mse`` trains one number (``knots=[]``) on the
        squared error of its z-score, and ``mse+ssim`` adds the structural dissimilarity
        1 - SSIM of 7 x 7 px (Wang et al. 2004, doi:10.1109/TIP.2003.819861).
    squared : float
        Weight of the squared error of the mean, added to the CRPS; both in units of the
        usual change of the step. The CRPS alone hardly depends on the tails, of which the mean is
        made where most pixels do not change.
    ssim : float
        Weight of 1 - SSIM in ``mse+ssim``.
    ema : float
        Decay per step of the running average of the weights, which is scored and
        saved; 0 for none.
    jitter : float
        Standard deviation of a random offset of each static covariate of a chip, in
        standard deviations of the covariate: the network learns the surroundings of a
        pixel, and not its location.
    focus : float
        Share of the chips that are drawn around past change; weights of the loss
        correct for it.
    patience : int
        Epochs without a validation score that is better by 1 % of that of persistence, before
        stopping.
    validation, calibration, test : float
        Share of the spatial blocks reserved for early stopping, for intervals and for
        scores.
    fold, folds : int, optional
        Reserve fold number ``fold`` of ``folds`` for scores, in place of ``test``.
    block : int, optional
        Side of a spatial block, px. Default: twice the reach of network and context.
    buffer : int, optional
        Width of the unused rim around held-out blocks, px. Default: the reach of the
        network and its context, at most a third of a block.
    final : bool
        Fit once more on all blocks except those reserved for scores: from the weights of the
        first fit and for half of their epochs, ten at least, or anew on a small raster.
    runs : int
        Models to train, with seeds ``seed``, ``seed + 1`` ...
    ensemble : bool
        Keep all of them, and forecast the mixture of their distributions. Default: keep
        the one with the best validation score.
    seed : int
        Decides initial weights, blocks and chips.
    precision : {"float32", "bfloat16", "auto"}
        Of the convolutions in training; ``auto`` is bfloat16 where the hardware multiplies it.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    parallel : str
        How several processes train one model: a strategy of Lightning, e.g. ``ddp``.
    devices, num_nodes : int
        Processes per node and nodes, for distributed training.
    """

    h: Leads = 4
    until: int | str | None = None
    epochs: Epochs = 40
    steps: Count | None = None
    batch: Side = 2
    chip: Annotated[int, Field(ge=8, le=8192)] | None = None
    lr: Rate = 2e-3
    weight_decay: Weight = 1e-2
    clip: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    loss: Literal["crps", "mse", "mse+ssim"] = "crps"
    squared: Weight = 0.03
    ssim: Weight = 0.2
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.95
    jitter: Annotated[float, Field(ge=0, le=1e3)] = 2.0
    focus: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Count = 6
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
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    device: str = "auto"
    parallel: str = "auto"
    devices: Processes = 1
    num_nodes: Processes = 1


class ForecastOptions(Options):
    """A forecast.

    Parameters
    ----------
    h : int
        Leads to forecast; beyond those that the model has learnt, it goes on from its own
        mean.
    level : tuple of float
        Central prediction intervals, percent.
    quantiles : tuple of float
        Quantiles of the predictive distribution, between 0 and 1.
    exceed : tuple of float
        Thresholds, native units; the forecast has the probability of exceeding each.
    tile : int, optional
        Side of a tile, the part that one task computes, px. Default: by the device and
        the chunk.
    chunk : int, optional
        Side of an output chunk, px; a tile is a whole number of chunks, so that no
        two tasks share one. Default: 512, or a whole part of the tile.
    precision : str
        ``float32``, ``bfloat16``, ``auto`` or, for proofs, ``float64``.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    h: Leads = 4
    level: Levels = ()
    quantiles: Probabilities = ()
    exceed: Thresholds = ()
    tile: Side | None = None
    chunk: Side | None = None
    precision: Precision = "float32"
    device: str = "auto"

    @field_validator("exceed")
    @classmethod
    def _ordered(cls, thresholds: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(thresholds)))

    @model_validator(mode="after")
    def _whole_chunks(self) -> ForecastOptions:
        require_whole_chunks(self.tile, self.chunk)
        return self


class Refitting(TypedDict, total=False):
    """Keyword options of a fit whose folds are decided elsewhere; see the classes above."""

    arch: Arch
    strategy: Strategy
    heads: Literal["auto", "shared", "separate"]
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
    predict: Literal["change", "state"]
    knots: Sequence[float]
    until: int | str
    epochs: int
    steps: int
    batch: int
    chip: int
    lr: float
    weight_decay: float
    clip: float
    loss: Literal["crps", "mse", "mse+ssim"]
    squared: float
    ssim: float
    ema: float
    jitter: float
    focus: float
    patience: int
    validation: float
    calibration: float
    test: float
    block: int
    buffer: int
    final: bool
    runs: int
    ensemble: bool
    precision: Literal["float32", "bfloat16", "auto"]
    device: str
    parallel: str
    devices: int
    num_nodes: int


class Fitting(Refitting, total=False):
    """Further keyword options of ``train``."""

    fold: int
    folds: int
    init_from: str | Path


class Backtesting(Refitting, total=False):
    """Further keyword options of ``backtest``."""

    target: str
    static: Sequence[str]
    dynamic: Sequence[str]
    history: int
    seed: int
    zone_draws: int


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
    """Separate options of the network from options of the fit, and validate both.

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


class BacktestOptions(Options):
    """What a backtest scores.

    Parameters
    ----------
    h : int
        Leads to score, as far as there is truth.
    origins : tuple of int or str, optional
        Steps to forecast from, as labels of the time axis. Default: the last that
        leaves a target and, with enough history, the one that leaves most leads.
    folds : int, optional
        Folds of spatial cross-validation: each origin is refitted so often, and
        scored on the blocks that were left out.
    level : tuple of float
        Central intervals whose coverage is scored, percent.
    baselines : tuple of str, optional
        Forecasters to compare the model with. Default: all, or persistence and trends alone
        on a grid of 4 Mpx and more.
    tile : int
        Side of the pieces that tasks score, px; it changes no score.
    precision : str
        Of the forecasts: ``float32``, or ``float64`` for proofs.
    zone_draws : int
        Joint draws from which intervals of zones are made and scored; 0 leaves zones out. Of a
        map of more than 4 Mpx tiles at regular distances are drawn.
    """

    h: Leads = 3
    origins: Annotated[tuple[int | str, ...], BeforeValidator(as_labels)] | None = None
    folds: Folds | None = None
    level: Numbers = (50.0, 80.0, 95.0)
    baselines: Annotated[tuple[str, ...], BeforeValidator(as_labels)] | None = None
    tile: Side = 256
    precision: Literal["float32", "float64"] = "float32"
    zone_draws: Annotated[int, Field(ge=0, le=10_000)] = 100

    @field_validator("baselines")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        from hmx.forecast.backtest.baselines.registry import require_known  # loads scipy

        for name in names or ():
            require_known(name)
        return names

    @field_validator("level")
    @classmethod
    def _percent(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if not levels or any(not 0 < level < 100 for level in levels):
            raise ValueError("a level is a percentage between 0 and 100. Try 80.")
        return tuple(sorted(set(levels)))
