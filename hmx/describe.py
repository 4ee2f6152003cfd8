"""Describe: a store or a model in a few lines of text."""

from __future__ import annotations

import json
from pathlib import Path

import xarray as xr

from hmx.bundle import load
from hmx.cube import enter, open_cube
from hmx.grid import crs_name
from hmx.observed import KNOWN_UNTIL
from hmx.predict.ledger import AUDIT, Ledger


def describe_store(path: str | Path) -> str:
    """Describe a cube or a forecast.

    Parameters
    ----------
    path : str or Path
        A Zarr store.

    Returns
    -------
    str
        Lines of ``name  value``.
    """
    data = open_cube(path)
    cube = enter(data, target=_first_series(data), dynamic=(), static=())
    grid, times = cube.grid, cube.data["time"].values
    width, height = grid.pixel_size_m
    area = grid.cell_areas().sum() * grid.shape[1] / 1e6
    lines = {
        "variables": ", ".join(f"{n} {v.dims}".replace("'", "") for n, v in data.data_vars.items()),
        "grid": f"{grid.shape[0]} rows x {grid.shape[1]} columns of {width:.0f} x {height:.0f} m",
        "area": f"{area:,.0f} km2" + (", around the globe" if grid.wraps else ""),
        "CRS": crs_name(grid.crs),
        "bounds": ", ".join(f"{edge:.10g}" for edge in grid.bounds),
        "time": f"{str(times[0])[:10]} to {str(times[-1])[:10]}, {len(times)} steps",
        **_known_ahead(data),
        "cadence": str(cube.cadence) if len(times) > 1 else "one step",
        "status": data.attrs.get("hmx_status", "unknown"),
    }
    if lines["status"] == "incomplete" and (done := Ledger(str(path)).count()):
        lines["status"] = f"incomplete, {done:,} tiles done"
    if AUDIT in data.attrs:
        audit = json.loads(data.attrs[AUDIT])
        lines["audit"] = (
            f"{audit['when'][:10]}: {audit['tiles']} tiles, {audit['windows']} windows computed "
            f"again, largest difference {audit['largest']:.2g}"
        )
    if "hmx_provenance" in data.attrs:
        facts = json.loads(data.attrs["hmx_provenance"])
        lines["made from"] = ", ".join(
            f"{k} {_brief(v)}" for k, v in facts.items() if v is not None
        )
    return _table(lines)


def describe_bundle(path: str | Path) -> str:
    """Describe a trained model.

    Parameters
    ----------
    path : str or Path
        Folder of a bundle.

    Returns
    -------
    str
        Lines of ``name  value``.
    """
    bundle = load(path)
    spec, training = bundle.spec, bundle.training
    network = ", ".join(f"{k} {v}" for k, v in spec.network.model_dump().items() if v is not None)
    scores = training.get("validation", {}).get("leads", {})
    lines = {
        "predicts": spec.target + (f" in {spec.units}" if spec.units else ""),
        "from": ", ".join(
            [f"{spec.target} x {spec.network.history} steps", *spec.dynamic, *spec.static]
        ),
        "network": network,
        "weights": f"{sum(w.size for w in bundle.weights.values()):,}",
        **({"known ahead": ", ".join(spec.future)} if spec.future else {}),
        "cadence": spec.cadence,
        "trained on": " to ".join(map(str, training.get("steps", [])[:2])) or "unknown",
        "skill": ", ".join(f"lead {k}: {v['skill']:+.3f}" for k, v in scores.items())
        or "not scored",
        "intervals": f"calibrated for {bundle.calibration.leads} leads",
        "digest": bundle.digest[:16],
    }
    return _table(lines)


def _known_ahead(data: xr.Dataset) -> dict[str, str]:
    """Say up to when covariates are known, if they say so."""
    until = {name: v.attrs.get(KNOWN_UNTIL) for name, v in data.data_vars.items()}
    said = [f"{name} to {label}" for name, label in until.items() if label is not None]
    return {"known ahead": ", ".join(said)} if said else {}


def _first_series(data: xr.Dataset) -> str:
    with_time = [str(name) for name, v in data.data_vars.items() if v.ndim == 3]
    roles = [name for name in with_time if data[name].attrs.get("hmx_role") == "target"]
    return next(iter((*roles, *with_time)), "hm")


def _brief(value: object) -> str:
    return value[:16] if isinstance(value, str) else str(value)


def _table(lines: dict[str, str]) -> str:
    return "\n".join(f"  {name:<11} {value}" for name, value in lines.items())
