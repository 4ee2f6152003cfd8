"""Keywords: the keyword options of ``ds.soc``, typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from hmx.mapping.options import Central, Krige, Loss, Regression, TargetTransform
from hmx.mapping.select.options import Learner


class Places(TypedDict, total=False):
    """Keyword options of a table of places; see :class:`hmx.points.options.PointsOptions`."""

    x: str
    y: str
    crs: Any
    date: str
    top: str
    bottom: str
    where: str | Sequence[str]
    layer: str
    separator: str
    decimal: Literal[".", ","]
    encoding: str
    missing: float | str | Sequence[float | str]
    id: str


class MapFitting(Places, total=False):
    """Keyword options of a mapper's ``train``: points, network, fit, split."""

    site: str
    units: str
    units_column: str
    table_units: str
    valid_range: tuple[float, float]
    min_valid: float
    arch: str
    history: int
    widths: Sequence[int]
    hidden: int
    layers: int
    pool: Sequence[int]
    coarse: Sequence[int]
    skip: bool
    dropout: float
    knots: Sequence[float]
    loss: Loss
    alpha: float
    sigma: float
    sigma_relative: float
    transform: TargetTransform
    bias_correction: Literal["none", "ratio"]
    balance: int
    augment: bool
    epochs: int
    batch: int
    lr: float
    weight_decay: float
    clip: float
    validation: float
    validation_km: float
    patience: int
    inner: int
    blend: float
    regression: Regression
    krige: Krige
    runs: int
    ensemble: bool
    device: str
    parallel: str
    devices: int
    num_nodes: int
    loss_type: Loss
    loss_alpha: float
    target_transform: TargetTransform
    num_runs: int
    use_validation: bool
    target_val_ratio: float
    distance_threshold: float
    window_size: int
    time_before: int
    split: str | Mapping[str, Any]
    track: Mapping[str, Any]
    init_from: str | Path
    categories: str | Sequence[str]


class MapSelecting(MapFitting, total=False):
    """Keyword options of a selection; see :class:`hmx.mapping.select.options.SelectOptions`."""

    learner: Learner
    start: Literal[1, 2]
    most: int
    rule: Literal["one_se", "best"]
    nested: bool


class MapTiling(TypedDict, total=False):
    """Further keyword options of a lazy map; see :class:`MapOptions`."""

    year: int | str
    depths: str | Sequence[str] | Sequence[tuple[float, float]]
    mask: str | Path | Mapping[str, Sequence[int]]
    estimate: Central
    tile: int
    chunk: int
    device: str


class MapChoices(MapTiling, total=False):
    """Keyword options of a planned or stored map; see :class:`MapOptions`."""

    level: Sequence[float] | float
    quantiles: Sequence[float] | float
    time: int | str
