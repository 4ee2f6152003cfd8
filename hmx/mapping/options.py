"""Options of the map job: the fit of a mapper, the map, the score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hmx.errors import BadArgument, did_you_mean
from hmx.networks.names import NETWORK_NAMES, renamed
from hmx.networks.options import MapperOptions
from hmx.points.units import as_interval
from hmx.settings import (
    Count,
    Epochs,
    FilePath,
    Folds,
    Levels,
    Members,
    Options,
    Probabilities,
    Processes,
    Rate,
    Seed,
    Share,
    Side,
    Weight,
    parse,
    require_whole_chunks,
)
from hmx.splits.options import INNER, MethodName
from hmx.splits.registry import method_of

# names of the options in the study that the method comes from; catalogs written for it run
STUDY_NAMES = {
    "loss_type": "loss",
    "loss_alpha": "alpha",
    "target_transform": "transform",
    "num_runs": "runs",
    "target_val_ratio": "validation",
    "distance_threshold": "validation_km",
}
_USE = "use_validation"  # of the study: whether samples are held out for early stopping
_WHICH_FOLDS = (
    "folds is not an option of the fit. Folds of a scorecard are split={'folds': 10}, in a catalog "
    f"train.split.folds. {INNER}"
)
_USED = 0.1  # share that is held out if only that is given

# YAML reads 2015-06-30 as a date
_Moment = Annotated[
    int | str | None,
    BeforeValidator(lambda v: v.isoformat()[:10] if hasattr(v, "isoformat") else v),
]


def _as_depths(value: Any) -> Any:
    """Read intervals of depths; one stands for a list of one."""
    if not isinstance(value, list | tuple):
        return (as_interval(value),)
    alone = len(value) == 2 and not any(isinstance(end, str | list | tuple) for end in value)
    return tuple(as_interval(one) for one in ([value] if alone else value))


Depths = Annotated[tuple[tuple[float, float], ...], BeforeValidator(_as_depths)]

Central = Literal["model", "median", "mean"]
Loss = Literal["l1", "mse", "composite_l1", "composite_l2", "huber", "quantile"]
TargetTransform = Literal["none", "log", "log1p", "normalize"]
Krige = Literal["auto"] | bool
Regression = Literal["both", "gaussian_process", "forest", "none"]


class MapTrainOptions(Options):
    """The fit of a mapper.

    The option names of an earlier study work too, with hyphens as well: ``loss_type``,
    ``loss_alpha``, ``target_transform``, ``num_runs``, ``use_validation``, ``target_val_ratio``
    and ``distance_threshold``.

    Parameters
    ----------
    loss : str
        ``l1``, ``mse``, ``composite_l1``, ``composite_l2``, ``huber`` or ``quantile``;
        see :mod:`hmx.mapping.train.module`. Default: ``huber``, or ``quantile`` of a
        network with knots.
    alpha : float
        Share of the plain loss in a composite loss; the rest is chi-squared.
    sigma : float, optional
        Standard error of a measurement near 0 for chi-squared, target units. Default:
        half the standard deviation of the training values.
    sigma_relative : float
        Standard error of a large measurement, as a share of it.
    transform : {"none", "log", "log1p", "normalize"}
        Transform of the target before the network.
    bias_correction : {"none", "ratio"}
        Whether the central estimate is multiplied by the sum of the truths over the sum
        of the predictions on inner folds.
    balance : int
        Number of bins of the target (the lower half, the next quarter, the next eighth ...);
        batches draw from all bins equally. 0 draws each sample once an epoch.
    augment : bool
        Whether windows are turned and mirrored.
    epochs, batch : int
        Epochs, and samples per step.
    lr, weight_decay, clip : float
        Peak learning rate and decay of AdamW, and the largest gradient norm.
    validation : float
        Share of the groups reserved for early stopping and for the choice of the best weights.
        0 reserves none: all epochs run, and every sample is trained on.
    validation_km : float, optional
        Least distance between these groups and all samples that are trained on, km: samples
        nearer to each other than that are on one side.
    patience : int
        Epochs without a better validation loss before stopping.
    inner : int
        Parts of the samples that training holds out in turn: groups of the split, dealt anew.
        Intervals, bias correction, importance and the area of applicability come from their
        predictions. The folds of a scorecard are ``split.folds``.
    blend : float
        Weight of a regression of the pixel's own values in the mean of networks and regression,
        0 to 1; 0 for none.
    regression : {"both", "gaussian_process", "forest", "none"}
        This regression: the mean of a Gaussian process and a random forest, or one of the two;
        ``none`` is ``blend=0``. With the forest, intervals are wider where the target varies
        among similar pixels; without it they have one width in units of the transform.
    krige : {"auto", True, False}
        Whether the blend is corrected by the kriged errors of nearby samples, those of held-out
        predictions. ``auto`` does so only if that improves held-out predictions for sure.
    runs : int
        Networks to train, with seeds ``seed``, ``seed + 1`` ...
    ensemble : bool
        Whether to keep all networks, or only the best one on the validation groups.
    seed : int
        Decides initial weights, groups and batches.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    parallel : str
        How several processes train one network: a strategy of Lightning, e.g. ``ddp``.
    devices, num_nodes : int
        Processes per node and nodes.
    """

    loss: Loss | None = None
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    sigma: Annotated[float, Field(gt=0, le=1e30)] | None = None
    sigma_relative: Weight = 0.1
    transform: TargetTransform = "log1p"
    bias_correction: Literal["none", "ratio"] = "none"
    balance: Annotated[int, Field(ge=0, le=1000)] = 0
    augment: bool = True
    epochs: Epochs = 12
    batch: Count = 128
    lr: Rate = 2e-3
    weight_decay: Weight = 0.3
    clip: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    validation: Share = 0.0
    validation_km: Annotated[float, Field(gt=0, le=20_000)] | None = None
    patience: Count = 5
    inner: Folds = 5
    blend: Annotated[float, Field(ge=0, lt=1)] = 0.5
    regression: Regression = "both"
    krige: Krige = "auto"
    runs: Members = 5
    ensemble: bool = True
    seed: Seed = 0
    device: str = "auto"
    parallel: str = "auto"
    devices: Processes = 1
    num_nodes: Processes = 1

    @model_validator(mode="before")
    @classmethod
    def _study_names(cls, values: Any) -> Any:
        found = renamed(values, STUDY_NAMES)
        if isinstance(found, dict) and "folds" in found:
            raise ValueError(_WHICH_FOLDS)
        if isinstance(found, dict) and _USE in found:
            use = found.pop(_USE)
            if not isinstance(use, bool):
                raise ValueError(f"use_validation={use!r} is not true or false. Write true")
            found["validation"] = found.get("validation", _USED) if use else 0.0
        none = isinstance(found, dict) and found.get("regression") == "none"
        if none and found.setdefault("blend", 0) != 0:
            raise ValueError(
                f"regression='none' is blend=0, and blend={found['blend']!r}. Leave out one of "
                "both, or choose regression='both'"
            )
        return found

    @model_validator(mode="after")
    def _possible(self) -> MapTrainOptions:
        if self.balance == 1:
            raise ValueError("balance=1 is one bin, which balances nothing. Try 4, or 0 for none.")
        if self.runs > 1 and not self.ensemble and not self.validation:
            raise ValueError(
                f"the best of runs={self.runs} is chosen on validation groups, and validation=0 "
                "keeps none. Try validation=0.1, or ensemble=True to keep all."
            )
        if self.krige is True and not self.blend:
            raise ValueError(
                "krige=True corrects the blend of networks and regression, and blend=0 is none. "
                "Try blend=0.5, or leave out krige."
            )
        return self

    @property
    def blended(self) -> Regression:
        """The regression that has a weight in the blend."""
        return self.regression if self.blend else "none"


class PredictOptions(Options):
    """Predictions at points.

    Parameters
    ----------
    level : tuple of float
        Central prediction intervals, percent.
    quantiles : tuple of float
        Quantiles of the predictive distribution, between 0 and 1.
    estimate : {"model", "median", "mean"}
        As of a map.
    depths : tuple of str
        One depth of all predictions, cm, such as ``0-5``, of a model that has learnt depths.
        Default: that of each row.
    time : int or str, optional
        Date of all predictions: a year or an ISO date; ``year`` means the same. Default:
        that of each row, or the last step.
    """

    level: Levels = ()
    quantiles: Probabilities = ()
    estimate: Central = "model"
    depths: Annotated[Depths, Field(max_length=1)] = ()
    time: _Moment = None

    @model_validator(mode="before")
    @classmethod
    def _year(cls, values: Any) -> Any:
        return renamed(values, {"year": "time"})


class MapOptions(PredictOptions):
    """A map.

    Parameters
    ----------
    level : tuple of float
        Central prediction intervals, percent.
    quantiles : tuple of float
        Quantiles of the predictive distribution, between 0 and 1.
    depths : tuple of str
        Depths to map, cm, such as ``0-5``: of a model that has learnt from ``points.top`` and
        ``points.bottom``, one map each.
    mask : path or mapping of str to list of int, optional
        Land without soil, which gets no value: the path of polygons, or codes of classes by band
        of the cube, such as ``{"landcover": [80, 90]}``.
    estimate : {"model", "median", "mean"}
        The estimate of each pixel: what networks and regression give, brought back from the
        transform (on a logarithm it lies near the median); or median or mean of the calibrated
        distribution. Sums and averages over land need the mean.
    time : int or str, optional
        Date of the map: a year or an ISO date; ``year`` means the same. Default: the
        last step. The steps up to it are what the network sees.
    tile : int, optional
        Side of a tile, the piece that one task computes, px. Default: decided from
        the chunk.
    chunk : int, optional
        Side of an output chunk, px; a tile is a whole number of chunks, so that no
        two tasks share one. Default: 512, or a whole part of the tile.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    depths: Depths = ()
    mask: FilePath | dict[str, tuple[int, ...]] | None = None
    tile: Side | None = None
    chunk: Side | None = None
    device: str = "auto"

    @model_validator(mode="after")
    def _whole_chunks(self) -> MapOptions:
        require_whole_chunks(self.tile, self.chunk)
        return self


class MapScoreOptions(Options):
    """The score of a mapper.

    Parameters
    ----------
    beside : tuple of str
        Further methods of splitting; the scorecard also lists their figures. The verdict
        comes from the split of the training.
    level : tuple of float
        Central intervals whose coverage is reported, percent.
    inner : int
        Inner folds of each training part, whose residuals give the intervals; 0 takes the
        residuals of the other outer folds, at no cost.
    """

    beside: Annotated[
        tuple[MethodName, ...], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)
    ] = ("random",)
    level: Levels = (50.0, 80.0, 90.0)
    inner: Annotated[int, Field(ge=0, le=1000)] = 0

    @model_validator(mode="before")
    @classmethod
    def _folds_elsewhere(cls, values: Any) -> Any:
        if isinstance(values, dict) and "folds" in values:
            raise ValueError(
                "a map's folds are an option of its split, which training uses too: "
                "train.split.folds"
            )
        return values

    @field_validator("beside")
    @classmethod
    def _possible(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        for method in methods:
            if not method_of(method).works_by_name:
                raise ValueError(
                    f"{method!r} needs more than its name. Make it the main split: train.split: "
                    f"{{method: {method}, ...}}."
                )
        return methods

    @field_validator("level")
    @classmethod
    def _some(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if not levels:  # the tables of a scorecard have a row for each level
            raise ValueError("a level is a percentage between 0 and 100. Try 80.")
        return levels


def split_mapping(options: Mapping[str, Any]) -> tuple[MapperOptions, MapTrainOptions]:
    """Separate options of the network from options of the fit, and validate both.

    Parameters
    ----------
    options : mapping
        By field name, or the name of the earlier study.

    Raises
    ------
    BadArgument
        If one is unknown or impossible, or loss and network do not fit.
    """
    options = {name.replace("-", "_"): value for name, value in options.items()}
    names = (MapperOptions.model_fields, NETWORK_NAMES, MapTrainOptions.model_fields, STUDY_NAMES)
    known = [*(name for part in names for name in part), _USE]
    for name in options:
        if name == "folds":
            raise BadArgument(f"{_WHICH_FOLDS}.")
        if name not in known:
            raise BadArgument(
                f"unknown option {name!r} (known: {', '.join(known)}).{did_you_mean(name, known)}"
            )
    of_network = {*MapperOptions.model_fields, *NETWORK_NAMES}
    network = {k: v for k, v in options.items() if k in of_network}
    fit = {k: v for k, v in options.items() if k not in of_network}
    chosen = parse(MapperOptions, network), parse(MapTrainOptions, fit)
    loss_of(*chosen)
    return chosen


def loss_of(network: MapperOptions, fit: MapTrainOptions) -> Loss:
    """Return the loss that a network is trained on.

    Raises
    ------
    BadArgument
        If a quantile head has a loss of one number, or a head of one number the quantile loss.
    """
    loss = fit.loss or ("quantile" if network.knots else "huber")
    if (loss == "quantile") != bool(network.knots):
        given = f"knots={list(network.knots)}" if network.knots else "knots=[]"
        raise BadArgument(
            f"loss={loss!r} does not fit {given}: a quantile head is trained on loss='quantile', "
            "and a head of one number on another. Try loss='quantile' with "
            "knots=[0.05, 0.25, 0.5, 0.75, 0.95], or leave both out."
        )
    return loss
