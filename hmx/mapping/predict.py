"""Predict: the map's values at points of a table, row by row, without the map.

A row gets what the map has at its pixel and date: estimate, intervals, and whether the location is
like the samples. Every row of the table is in the result; a row without a prediction has its
reason. The table is written as CSV.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd

from hmx.bundles.folder import as_model, ensure_saved
from hmx.cube.bands import Bands, as_bands
from hmx.cube.cube import CHUNK, Cubelike
from hmx.errors import BadArgument, NotTrained, OutputExists
from hmx.files.durable import Folder
from hmx.files.lock import building
from hmx.files.paths import absolute
from hmx.independent import independent
from hmx.mapping.bundle import MapBundle
from hmx.mapping.inputs import RawWindows, centre, gather, scaled
from hmx.mapping.keywords import Places
from hmx.mapping.options import Central, PredictOptions
from hmx.mapping.order import require_depths, require_fits
from hmx.mapping.result import ESTIMATES
from hmx.mapping.spec import MapSpec
from hmx.mapping.window import MapEngine, native
from hmx.points.files import open_table
from hmx.points.joining import join, words_of
from hmx.points.options import PointsOptions
from hmx.points.samples import Samples
from hmx.points.table import Points, places_of
from hmx.progress import Progress
from hmx.settings import parse
from hmx.splits.distances import lonlat_of

_ROWS = 8192  # samples whose windows are in memory at a time
NOTE = "note"  # last column: why a row has no prediction, or what its pixel lacks
# columns that may be called as those of the training
_NAMED = ("x", "y", "date", "id", "top", "bottom")
_PAIRS = {"x": "y", "y": "x", "top": "bottom", "bottom": "top"}  # named both, or neither


@independent
def predict(
    obj: Cubelike,
    points: Any,
    *,
    model: MapBundle | str | Path | None = None,
    level: Sequence[float] | float = (),
    quantiles: Sequence[float] | float = (),
    estimate: Central = "model",
    depths: str | Sequence[str] = (),
    time: int | str | None = None,
    device: str = "auto",
    progress: Progress = Progress(),
    **options: Unpack[Places],
) -> pd.DataFrame:
    """Predict the mapped quantity at points.

    Parameters
    ----------
    obj : Dataset or DataArray
        A cube with the model's bands, as for ``ds.soc.map``.
    points : DataFrame, GeoDataFrame, str or Path
        Places: a table, or the path of a CSV, GeoPackage or other vector file.
    model : MapBundle or path, optional
        From ``train`` or :func:`hmx.load`. Default: the one that ``ds.soc`` trained.
    level : float or sequence of float
        Central prediction intervals, percent: adds ``soc_lo_90``, ``soc_hi_90`` ...
    quantiles : float or sequence of float
        Quantiles of the predictive distribution, between 0 and 1: adds ``soc_q0.1`` ...
    estimate : {"model", "median", "mean"}
        What the model estimates, or median or mean of the calibrated distribution.
    depths : str, optional
        One depth of all predictions, cm, such as ``"0-5"``, of a model that has learnt depths.
        Default: that of each row (``top=``, ``bottom=``).
    time : int or str, optional
        Date of all predictions, of a calendar. Default: each row's own (``date=``), or the last
        step.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    progress : Progress
        Where progress goes. Default: standard error from ``ds.soc``, else nowhere.
    **options
        Of the table: ``x``, ``y``, ``crs``, ``date``, ``top``, ``bottom``, ``where``, ``layer``,
        ``separator``, ``decimal``, ``encoding``, ``missing``, ``id``.

    Returns
    -------
    DataFrame
        A row for each row of the table, in its order and under its index. The columns of its
        ids, coordinates and dates, then ``soc`` in the units of the training, the ends of
        intervals, quantiles, ``dissimilarity``, ``applicable`` (whether the place is like the
        samples), ``estimate``, which names that of all rows, and ``note``: why a row has no
        prediction, or what its pixel lacks.

    Raises
    ------
    NotTrained
        Without ``model`` on an object that did not train.
    BadArgument, BundleError, CubeError, MissingCRS, MissingVariable, SourceError
        If table, options, model and cube do not fit.

    Examples
    --------
    >>> ds.soc.predict("new.csv", model="models/soc", level=90)  # doctest: +SKIP
    """
    if model is None:
        raise NotTrained(
            "this object has not trained a mapper. Pass one: predict(points, model='models/soc'), "
            "or call train() on this very object first."
        )
    asked = parse(
        PredictOptions,
        {
            "level": level,
            "quantiles": quantiles,
            "estimate": estimate,
            "depths": depths,
            "time": time,
        },
    )
    where = parse(PointsOptions, dict(options))
    bundle = ensure_saved(as_model(MapBundle, model))
    spec = bundle.spec
    bands = as_bands(obj, dynamic=spec.dynamic, static=spec.static)
    require_fits(spec, bands)
    if asked.depths or (spec.depth and where.top is None):
        require_depths(spec, asked.depths)
    if asked.level or asked.quantiles or asked.estimate != "model":
        bundle.calibration.require()
    bundle.calibration.require_supported(asked.quantiles)
    places = places_of(open_table(points, where), where)
    if asked.time is not None and where.date is not None:
        raise BadArgument(
            f"time={asked.time!r} is one date for all rows, and date={where.date!r} names a column "
            "of dates. Leave out one of both."
        )
    result = _Prediction(bundle, bands, places, asked, device).table(progress)
    if isinstance(points, pd.DataFrame):
        result.index = points.index
    return result


@dataclass(frozen=True)
class _Prediction:
    """A checked prediction."""

    bundle: MapBundle
    bands: Bands
    points: Points
    asked: PredictOptions
    device: str

    def table(self, progress: Progress) -> pd.DataFrame:
        """Compute all rows."""
        spec, bands = self.bundle.spec, self.bands
        # raises where the date has no history in the cube
        until = bands.span(self.asked.time, spec.steps).stop
        cut = bands if until == len(bands.labels) else bands.until(until)
        samples, report = join(
            self.points,
            cut,
            window=spec.network.window,
            history=spec.steps,
            min_valid=spec.min_valid,
        )
        if spec.depth and self.asked.depths:
            one = np.tile(self.asked.depths[0], (len(samples), 1))
            samples = replace(samples, depth=one)
        engine = MapEngine.of(self.bundle, device=self.device)
        result = self._frame()
        result[NOTE] = ""
        for reason, rows in report.left.items():
            result.loc[result.index[rows], NOTE] = words_of(reason)
        parts = list(_parts(samples))
        for number, rows in enumerate(parts):
            part = samples.at(rows)
            raw = gather(cut, part, spec)
            for name, values in self._predicted(engine, raw, part).items():
                result.loc[result.index[part.source], name] = values
            progress.step(number + 1, len(parts), f"predicting: {len(samples):,} points")
        progress.note(_summary(self.points, len(samples), report.left))
        return result[[*(name for name in result if name != NOTE), NOTE]]

    def _frame(self) -> pd.DataFrame:
        """Return ids, coordinates and dates of all rows of the table, and empty columns."""
        points, table = self.points, self.points.table
        assert table is not None
        kept = [points.names.column, *(points.columns or ())]
        result = table.columns[[name for name in dict.fromkeys(kept) if name is not None]].copy()
        if table.xy is not None and points.columns is None:
            result["x"], result["y"] = table.xy.T
        if points.date is not None:
            dates = np.full(points.rows, np.datetime64("NaT", "us"))
            dates[points.row] = points.date
            result["date"] = dates
        spec, asked = self.bundle.spec, self.asked
        ends = [f"{spec.target}_{end}_{level:g}" for level in asked.level for end in ("lo", "hi")]
        levels = [f"{spec.target}_q{p:g}" for p in asked.quantiles]
        area = ["dissimilarity"] if self.bundle.applicability else []
        for name in (spec.target, *ends, *levels, *area):
            result[name] = np.float32(np.nan)
        if area:
            result["applicable"] = pd.array([pd.NA] * len(result), dtype="boolean")
        result["estimate"] = ESTIMATES[asked.estimate]
        return result

    def _predicted(self, engine: MapEngine, raw: RawWindows, at: Samples) -> dict[str, Any]:
        """Compute the columns of some samples, from the windows around them."""
        bundle, asked, target = self.bundle, self.asked, self.bundle.spec.target
        windows = scaled(raw, bundle.spec, bundle.scaler)
        estimate = engine.estimate_windows(windows)
        if engine.kriging is not None:  # at the centre of the pixel, as on the map
            pixels = lonlat_of(self.bands.grid, at.row, at.column)
            estimate = estimate.corrected(engine.kriging(pixels))
        found = native(bundle, estimate, asked)
        columns: dict[str, Any] = {target: found.pop("mean")}
        for p, values in zip(asked.quantiles, found.pop("quantile", ()), strict=True):
            columns[f"{target}_q{p:g}"] = values
        columns |= {f"{target}_{name}": values for name, values in found.items()}
        missing, unknown = _lacking(raw, bundle.spec)
        if engine.applicability is not None:
            index = engine.applicability(centre(windows))
            columns["dissimilarity"] = index
            columns["applicable"] = (index <= engine.applicability.threshold) & ~unknown
        notes = np.where(missing, "some bands are missing at its pixel", "")
        columns[NOTE] = np.where(unknown, "a class that no sample of the training has", notes)
        return columns


def _lacking(raw: RawWindows, spec: MapSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return whether the centre of windows lacks a band, and has a class not seen, bool (n,)."""
    middle = spec.network.window // 2
    series, planes = raw.dynamic[..., middle, middle], raw.static[..., middle, middle]
    counts = [len(spec.planes(names)) for names in (spec.dynamic, spec.static)]
    series, planes = series[..., : counts[0]], planes[:, : counts[1]]
    missing = np.isnan(series).any(axis=(1, 2)) | np.isnan(planes).any(axis=1)
    unknown = np.zeros(len(raw), bool)
    for values, names in ((series, spec.planes(spec.dynamic)), (planes, spec.planes(spec.static))):
        for name in dict.fromkeys(name for name in names if name in spec.categories):
            own = values[..., [at for at, other in enumerate(names) if other == name]]
            none = (own == 0).all(axis=-1)
            unknown |= none.any(axis=1) if none.ndim == 2 else none
    return missing, unknown


def _parts(samples: Samples) -> Iterator[np.ndarray]:
    """Yield rows of samples that lie near each other, as many as fit in memory."""
    order = np.lexsort((samples.column // CHUNK, samples.row // CHUNK))
    for start in range(0, len(order), _ROWS):
        yield order[start : start + _ROWS]


def _summary(points: Points, predicted: int, left: dict[str, np.ndarray]) -> str:
    lost = [
        f"{len(rows):,} {words_of(reason)} ({points.names.listed(rows)})"
        for reason, rows in left.items()
    ]
    without = f"; without a prediction: {'; '.join(lost)}" if lost else ""
    return f"points: {points.rows:,} rows of {points.name}: {predicted:,} predicted{without}"


def columns_of(
    source: str, given: Mapping[str, Any], known: PointsOptions, *, depths: bool = False
) -> dict[str, Any]:
    """Return the options of a table of places: what is given, else those of the training.

    A column of the training counts if the table has it, and its CRS if the table has none; with
    `depths`, one is given for all rows, and those of rows do not count.
    """
    named = {name: value for name, value in given.items() if value is not None}
    options = dict(named)
    table = open_table(source, PointsOptions(layer=options.get("layer")))
    for name in _NAMED[: len(_NAMED) - 2 * depths]:
        usual = getattr(known, name)
        other = _PAIRS.get(name, name)
        pair = {usual, getattr(known, other)} <= {*table.columns.columns}
        if name not in named and other not in named and usual is not None and pair:
            options[name] = usual
    if "crs" not in options and table.crs is None and known.crs is not None:
        options["crs"] = known.crs
    if known.missing:
        options["missing"] = known.missing
    return options


def require_free(path: str, *, key: str = "predict.output", what: str = "predictions") -> None:
    """Raise unless a table of predictions, or of `what`, may be written at a path."""
    usual = f"{what.split()[0]}.csv"
    if not path.lower().endswith(".csv"):
        raise BadArgument(
            f"{key} is {path!r}, and {what} are written as CSV. Pass --output {usual}."
        )
    where = absolute(path)
    if os.path.isdir(where):
        raise OutputExists(f"{path} is a folder. Choose another name: --output {usual}.")
    found = Folder(os.path.dirname(where)).read(os.path.basename(where))
    head = (found or b"").split(b"\n", 1)[0].decode("utf-8", "replace").strip().split(",")
    if found and head[-1] != NOTE:
        raise OutputExists(
            f"{path} exists and holds something that hmx did not write, so it is left alone. "
            f"Choose another name: --output {usual}."
        )


def write_predictions(
    table: pd.DataFrame, path: str, *, key: str = "predict.output", what: str = "predictions"
) -> str:
    """Write a table of predictions as CSV, whole or not at all; return its path."""
    where = absolute(path)
    with building(where):
        require_free(where, key=key, what=what)
        text = table.to_csv(index=False, float_format="%.7g", date_format="%Y-%m-%d")
        Folder(os.path.dirname(where)).write(os.path.basename(where), text.encode())
    return where
