"""Series of rasters that forecasts are scored on, and what may be known of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rioxarray
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from hmx.cube.grid import Grid
from hmx.features.linear import RADII, NormalEquations, count_features, features
from hmx.forecast.backtest.baselines.ridge import Ridge
from hmx.forecast.backtest.baselines.trends import damped_trend, linear_trend, persistence
from hmx.scores import Prediction, Scene
from tests.bench.gbm import fit_boosted

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("HMX_REAL_DATA") or ROOT.parent / "shared" / "data")
STILL = "persistence"
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """A series of rasters, and the last year that may be learned from.

    Parameters
    ----------
    folder : Path
        Holds the rasters and ``elevation.tif``.
    years : tuple of int
        All steps.
    origin : int
        Last year that may be learned from; what follows is forecast.
    stem : str
        Of the files' names, before ``_1990.tif``.
    bounds : (float, float)
        Of the target.
    history : int
        Steps that forecasters look at.
    """

    folder: Path
    years: tuple[int, ...]
    origin: int
    stem: str = "HM"
    bounds: tuple[float, float] = (0.0, 1.0)
    history: int = 3

    @property
    def step(self) -> int:
        """Years between two maps."""
        return self.years[1] - self.years[0]

    @property
    def leads(self) -> tuple[int, ...]:
        """Steps ahead that have a truth."""
        return tuple(range(1, sum(year > self.origin for year in self.years) + 1))

    def name(self, lead: int) -> str:
        """Name a lead."""
        return f"+{self.step * lead} y"


CASES = {
    "amapa": Case(REAL / "amapa", tuple(range(1985, 2016, 5)), 2005),
    "amapa-annual": Case(REAL / "amapa", tuple(range(1985, 2016)), 2011),
    "amapa-2010": Case(REAL / "amapa", tuple(range(1985, 2016, 5)), 2010),
    "europe": Case(REAL / "europe", (1993, 1998, 2003, 2008), 2003, history=2),
    "europe-annual": Case(REAL / "europe", tuple(range(1992, 2009)), 2004),
    "europe-annual-2003": Case(REAL / "europe", tuple(range(1992, 2009)), 2003),
    "europe-4": Case(REAL / "europe", tuple(range(1992, 2009, 4)), 2004, history=2),
    "europe-3": Case(REAL / "europe", tuple(range(1993, 2009, 3)), 2002, history=2),
    "north_carolina": Case(
        REAL / "north_carolina", tuple(range(2010, 2016)), 2013, "HFP", (0.0, 50.0), history=2
    ),
    "north_carolina-2014": Case(
        REAL / "north_carolina", tuple(range(2010, 2016)), 2014, "HFP", (0.0, 50.0), history=2
    ),
    "demo": Case(ROOT / "data" / "demo", tuple(range(1990, 2021, 5)), 2010),
}


def load(case: Case) -> xr.Dataset:
    """Read the rasters of a case into a cube in memory; the target is ``hm``."""
    if not (case.folder / "elevation.tif").exists():
        raise SystemExit(
            f"no rasters in {case.folder}. Set HMX_REAL_DATA to the folder that holds amapa/, "
            "or run: python data/make_demo.py"
        )
    layers = [raster(case.folder / f"{case.stem}_{year}.tif") for year in case.years]
    when = np.array([f"{year}-01-01" for year in case.years], dtype="datetime64[ns]")
    hm = xr.concat(layers, xr.DataArray(when, dims="time", name="time")).rename("hm")
    ds = xr.Dataset({"hm": hm, "elevation": raster(case.folder / "elevation.tif")})
    ds["hm"].attrs = {"valid_range": list(case.bounds)}
    placed: xr.Dataset = ds.rio.write_crs(layers[0].rio.crs)
    return placed


def raster(path: Path) -> xr.DataArray:
    """Read one band as float32 (y, x), NaN where the file has no data."""
    opened = rioxarray.open_rasterio(path, masked=True)
    assert isinstance(opened, xr.DataArray)  # a GeoTIFF without subdatasets
    layer = opened.squeeze("band", drop=True).astype("float32").load()
    layer.attrs.clear()
    layer.encoding.clear()
    return layer


def past_of(ds: xr.Dataset, case: Case) -> xr.Dataset:
    """Cut a cube at the origin."""
    return ds.sel(time=slice(None, str(case.origin)))


def scene_of(ds: xr.Dataset, case: Case, *, far: float, only: Mask | None = None) -> Scene:
    """Lay out the truth, each pixel weighted by its area.

    Parameters
    ----------
    ds : Dataset
        All steps.
    case : Case
        Says which are forecast.
    far : float
        Pixels farther than this from any change of the history's steps are the
        stratum ``far``, px.
    only : array (y, x), bool, optional
        Pixels to score.
    """
    past = past_of(ds, case)["hm"].values
    truth = ds["hm"].values[-len(case.leads) :]
    with np.errstate(invalid="ignore"):
        changed = (np.abs(np.diff(past[-case.history :], axis=0)) > 0).any(axis=0)
    away = distance_transform_edt(~changed) > far
    area = np.broadcast_to(Grid.from_xarray(ds).cell_areas()[:, None], truth.shape[1:])
    kept = truth if only is None else np.where(only, truth, np.nan)
    strata = {"near": ~away, "far": away}
    return Scene(kept, past[-1], case.leads, weight=area / area.mean(), strata=strata)


def baselines(
    past: xr.Dataset,
    case: Case,
    *,
    learnable: Mask | None = None,
    boosted: int = 100_000,
    trees: int = 100,
    seed: int = 0,
) -> dict[str, Prediction]:
    """Forecast with every baseline, from the past alone.

    Parameters
    ----------
    past : Dataset
        Up to the origin.
    case : Case
        Leads, history and bounds.
    learnable : array (y, x), bool, optional
        Pixels that a baseline may fit itself to; all may serve as history.
    boosted : int
        Pixels that gradient boosting learns from, per lead; 0 leaves it out.
    trees : int
        Of each of its forests.
    seed : int
        Draws those pixels.
    """
    history, static = past["hm"].values, past["elevation"].values[None]
    where = np.ones(history.shape[1:], bool) if learnable is None else learnable
    origins = range(case.history - 1, len(history) - 1)
    fit: dict[str, Any] = {"leads": case.leads, "static": static, "history": case.history}
    limits: Mapping[str, Any] = {"valid_range": case.bounds}
    ridge = ridge_of(history, origins, case, static, where)
    found = {
        STILL: persistence(history, case.leads, **limits),
        "linear trend": linear_trend(history, case.leads, **limits),
        "damped trend": damped_trend(history, case.leads, **limits),
        "damped trend, phi -1..1": damped_trend(history, case.leads, damping=(-1, 1), **limits),
        "ridge on neighbourhoods": ridge.predict(history, case.leads, static=static, **limits),
    }
    made = {name: Prediction(mean) for name, mean in found.items()}
    if boosted:
        size: dict[str, Any] = {"most": boosted, "trees": trees, "seed": seed}
        forests = fit_boosted(history, origins, learnable=where, **size, **fit)
        made["gradient boosting"] = forests.predict(history, static=static, bounds=case.bounds)
    return made


def ridge_of(
    cube: NDArray[np.floating[Any]],
    origins: range,
    case: Case,
    static: NDArray[np.floating[Any]],
    where: Mask,
) -> Ridge:
    """Fit ridge to the changes of some pixels, whatever history lies around them."""
    width = count_features(case.history, RADII) + len(static)
    total = NormalEquations.zero(len(case.leads), width)
    for origin in origins:
        changes = np.full((len(case.leads), *where.shape), np.nan)
        for index, lead in enumerate(case.leads):
            if origin + lead < len(cube):
                changes[index] = np.where(where, cube[origin + lead] - cube[origin], np.nan)
        x = features(cube[origin - case.history + 1 : origin + 1], static=static)
        total += NormalEquations.of(x, changes)
    return Ridge(case.leads, case.history, RADII, *total.solve(1.0))
