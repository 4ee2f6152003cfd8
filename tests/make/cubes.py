"""Any cube, model or folder of rasters in one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import torch
import xarray as xr
from affine import Affine

from hmx.cube.cube import as_cube
from hmx.features.scaling import Scaler
from hmx.forecast.bundle import Bundle
from hmx.forecast.spec import Spec
from hmx.forecast.train.recipe import context_of, with_context
from hmx.networks.forecaster import Forecaster
from hmx.networks.options import ModelOptions
from hmx.uncertainty.calibration import Calibration, fit_ranks, strata

SMALL: dict[str, Any] = {"width": 3, "trunk": (1, 2), "hidden": 2, "context": (1, 3)}
STREAMED: dict[str, Any] = {
    "arch": "convlstm", "strategy": "recursive", "trunk": (), "context": (), "terrain": (),
}  # fmt: skip


def network_options(**changes: Any) -> ModelOptions:
    """A network of any kind, small unless asked otherwise."""
    return ModelOptions(**(SMALL | changes))


def streamed_options(**changes: Any) -> ModelOptions:
    """A network of the kind that the fast executor runs."""
    return ModelOptions(**({"hidden": 3, "layers": 2} | STREAMED | changes))


def times(kind: str = "datetime", *, steps: int = 5, first: int = 1990, step: int = 5) -> Any:
    """A time axis: datetime, cftime, year (integers) or month (1-12)."""
    years = [first + step * index for index in range(steps)]
    if kind == "year":
        return np.array(years)
    if kind == "month":
        return np.arange(1, steps + 1)
    if kind == "cftime":
        import cftime

        return np.array([cftime.DatetimeNoLeap(year, 1, 1) for year in years])
    return np.array([f"{year}-01-01" for year in years], "datetime64[ns]")


def make_cube(
    shape: tuple[int, int] = (40, 50),
    *,
    steps: int = 5,
    crs: Any = "EPSG:32632",
    pixel: float = 300.0,
    corner: tuple[float, float] = (500_000.0, 6_000_000.0),
    time: str = "datetime",
    static: Sequence[str] = ("elevation",),
    dynamic: Sequence[str] = (),
    scale: float = 1.0,
    holes: bool = True,
    chunks: Any = None,
    seed: int = 0,
) -> xr.Dataset:
    """A smooth field that grows outward, with a coast and a lake of NaN."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[0 : shape[0], 0 : shape[1]]
    centre = rng.random((4, 2)) * shape
    near = np.min([np.hypot(rows - y, cols - x) for y, x in centre], axis=0)
    size = max(shape) / 12
    spread = np.arange(steps)[:, None, None] * size / 4 + size
    hm = 1 / (1 + np.exp((near - spread) / (size / 3))) + rng.random((steps, *shape)) * 0.02
    hm = np.clip(hm, 0, 1).astype("float32") * np.float32(scale)
    if holes:
        coast = cols > shape[1] * 0.85 + 4 * np.sin(rows / 5)
        lake = np.hypot(rows - shape[0] * 0.4, cols - shape[1] * 0.3) < max(2, min(shape) / 12)
        hm[:, coast | lake] = np.nan
    data: dict[str, Any] = {"hm": (("time", "y", "x"), hm, {"valid_range": [0.0, float(scale)]})}
    for number, name in enumerate(static):
        plane = np.sin(rows / 9 + number) * np.cos(cols / 7) * 400 + 500
        data[name] = (("y", "x"), plane.astype("float32"), {"units": "m"})
    for name in dynamic:
        data[name] = (("time", "y", "x"), rng.random((steps, *shape), "float32"))
    coords = {
        "time": times(time, steps=steps),
        "y": corner[1] - pixel * (np.arange(shape[0]) + 0.5),
        "x": corner[0] + pixel * (np.arange(shape[1]) + 0.5),
    }
    ds = xr.Dataset(data, coords)
    if time == "month":
        ds["time"].attrs["long_name"] = "month of year"
    ds = ds if crs is None else ds.rio.write_crs(crs)
    return ds if chunks is None else ds.chunk(chunks)


def make_spec(ds: xr.Dataset, network: ModelOptions | None = None, **changes: Any) -> Spec:
    """The spec of a model that fits a cube from :func:`make_cube`."""
    static = tuple(str(name) for name, v in ds.data_vars.items() if v.ndim == 2)
    dynamic = tuple(str(n) for n, v in ds.data_vars.items() if v.ndim == 3 and n != "hm")
    cube = as_cube(ds, target="hm", dynamic=dynamic, static=static)
    network = network or network_options()
    fields: dict[str, Any] = {
        "target": "hm",
        "dynamic": dynamic,
        "static": static,
        "network": network,
        "context": context_of(cube, network),
        "h": 4,
        "cadence": str(cube.cadence),
        "pixel_size_m": cube.grid.pixel_size_m,
        "valid_range": tuple(ds["hm"].attrs["valid_range"]),
    }
    return Spec(**(fields | changes))


def make_scaler(spec: Spec) -> Scaler:
    """Statistics that are about right for :func:`make_cube`."""
    names = (spec.target, *spec.dynamic, *spec.static)
    mean = {name: 500.0 if name in spec.static else 0.3 for name in names}
    std = {name: 300.0 if name in spec.static else 0.3 for name in names}
    return with_context(Scaler(mean, std, (0.05,) * spec.h), spec)


def make_calibration(spec: Spec, *, seed: int = 0, n: int = 4000) -> Calibration:
    """A calibration by ranks of truths that lie wider than they should."""
    rng = np.random.default_rng(seed)
    radii = spec.context.radii
    cap = float(max(radii)) if radii else None
    ranks = [rng.beta(0.8, 0.7, n) * 1.1 - 0.05 for _ in range(spec.h)]
    return fit_ranks(
        ranks,
        [None if cap is None else rng.uniform(0, cap, n) for _ in ranks],
        nodes=strata(cap),
        stretch=(0.05,) * spec.h,
    )


def make_bundle(
    ds: xr.Dataset,
    network: ModelOptions | None = None,
    *,
    weights: str = "positive",
    calibrated: bool = False,
    members: int = 1,
    **changes: Any,
) -> Bundle:
    """A bundle without training: ``positive`` non-zero weights, ``random``, or ``untrained``."""
    spec = make_spec(ds, network, members=members, **changes)
    scaler = make_scaler(spec)
    torch.manual_seed(0)
    state: dict[str, np.ndarray] = {}
    for member in range(members):
        prefix = f"{member}." if members > 1 else ""
        forecaster = Forecaster.of(spec, scaler)
        if weights != "untrained":
            fill(forecaster, weights)
        state |= {prefix + n: t.numpy().copy() for n, t in forecaster.state_dict().items()}
    calibration = make_calibration(spec) if calibrated else Calibration()
    return Bundle(spec=spec, scaler=scaler, weights=state, calibration=calibration)


def fill(forecaster: Forecaster, weights: str = "positive") -> Forecaster:
    """Give every parameter a value that matters: ``positive`` or ``random``."""
    with torch.no_grad():
        for name, parameter in forecaster.named_parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 1
            drawn = torch.rand(parameter.shape) + 0.5
            drawn = drawn if weights == "positive" else torch.randn(parameter.shape)
            parameter.copy_(2 * drawn / fan if "weight" in name else drawn * 0.1)
        for name, buffer in forecaster.named_buffers():
            if name.startswith("anchor"):
                buffer.copy_((torch.rand(buffer.shape) + 0.5) / buffer[..., 0].numel())
    return forecaster


def write_raster(
    path: Path,
    values: np.ndarray,
    *,
    crs: Any = "EPSG:32632",
    pixel: float = 300.0,
    corner: tuple[float, float] = (500_000.0, 6_000_000.0),
    **profile: Any,
) -> Path:
    """A GeoTIFF of one band."""
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = Affine(pixel, 0.0, corner[0], 0.0, -pixel, corner[1])
    kind: dict[str, Any] = {"dtype": values.dtype, "crs": crs, "transform": transform, **profile}
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, **kind
    ) as file:
        file.write(values, 1)
    return path


def write_catalog(folder: Path, ds: xr.Dataset | None = None, **sections: Any) -> Path:
    """Rasters of a cube and a catalog of them that trains in a second."""
    import yaml

    ds = make_cube((48, 56)) if ds is None else ds
    years = [int(str(time)[:4]) for time in ds["time"].values]
    for year, plane in zip(years, ds["hm"].values, strict=True):
        write_raster(folder / f"HM_{year}.tif", plane, nodata=np.nan)
    write_raster(folder / "elevation.tif", ds["elevation"].values)
    catalog: dict[str, Any] = {
        "hmx": 1,
        "name": "toy",
        "cube": {
            "path": "toy.zarr",
            "sources": {
                "hm": {"path": "HM_{year}.tif", "years": years, "valid_range": [0, 1]},
                "elevation": {"path": "elevation.tif", "units": "m"},
            },
        },
        "model": {
            "path": "toy.model",
            "history": 2,
            "width": 4,
            "trunk": [1, 2],
            "context": [1, 3],
        },
        "train": {"h": 2, "epochs": 1, "steps": 2, "chip": 32},
        "forecast": {"h": 2, "level": [80], "output": "toy_forecast.zarr", "tile": 32},
    }
    for section, values in sections.items():
        catalog[section] = (
            {**catalog.get(section, {}), **values} if isinstance(values, dict) else values
        )
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(catalog, sort_keys=False), encoding="utf-8")
    return path
