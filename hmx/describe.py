"""Describe: a store or a model in a few lines of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from hmx.axes import find_axes
from hmx.calibration import Calibration
from hmx.cube import enter, open_cube
from hmx.dates import time_label
from hmx.describe_mapper import mapper_lines
from hmx.grid import Grid, crs_name
from hmx.integrity.examine import audit_of
from hmx.integrity.reading import damage_of
from hmx.integrity.seal import seal_in
from hmx.loading import load
from hmx.map_bundle import MapBundle
from hmx.observed import KNOWN_UNTIL
from hmx.paths import absolute
from hmx.predict.ledger import Ledger
from hmx.spec import Spec


def describe_store(path: str | Path) -> str:
    """Describe a cube, a forecast or a map.

    Parameters
    ----------
    path : str or Path
        A Zarr store.

    Returns
    -------
    str
        Lines of ``name  value``.
    """
    path = absolute(path)
    data = open_cube(path)
    series = _first_series(data)
    grid, told = _planar(data) if series is None else _serial(data, series)
    width, height = grid.pixel_size_m
    area = grid.cell_areas().sum() * grid.shape[1] / 1e6
    lines = {
        "variables": ", ".join(f"{n} {v.dims}".replace("'", "") for n, v in data.data_vars.items()),
        "grid": f"{grid.shape[0]} rows x {grid.shape[1]} columns of {width:.0f} x {height:.0f} m",
        "area": f"{area:,.0f} km2" + (", around the globe" if grid.wraps else ""),
        "CRS": crs_name(grid.crs),
        "bounds": ", ".join(f"{edge:.10g}" for edge in grid.bounds),
        **told,
        "status": data.attrs.get("hmx_status", "unknown"),
    }
    if lines["status"] == "incomplete" and (done := Ledger(str(path)).count()):
        lines["status"] = f"incomplete, {done:,} tiles done"
    if seal_in(str(path)) is not None and lines["status"] == "complete":
        damage = damage_of(str(path))
        lines["status"] += ", sealed (hmx verify reads it all)" if damage is None else f", {damage}"
    if (audit := audit_of(data.attrs)) is not None:
        lines["audit"] = (
            f"{audit['when'][:10]}: {audit['tiles']} tiles, {audit['windows']} windows computed "
            f"again, largest difference {audit['largest']:.2g}"
        )
    if "hmx_provenance" in data.attrs:
        facts = json.loads(data.attrs["hmx_provenance"])
        lines["made from"] = ", ".join(
            f"{k} {_brief(v)}" for k, v in facts.items() if v not in (None, [])
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
    if isinstance(bundle, MapBundle):
        return _table(mapper_lines(bundle))
    spec, training = bundle.spec, bundle.training
    lines = {
        "predicts": spec.target + (f" in {spec.units}" if spec.units not in (None, "1") else ""),
        "from": ", ".join(
            [f"{spec.target} x {spec.network.history} steps", *spec.dynamic, *spec.static]
        ),
        "network": _network(spec),
        "sees": _sees(spec),
        "weights": f"{sum(w.size for w in bundle.weights.values()):,}"
        + (f" in {spec.members} networks" if spec.members > 1 else ""),
        **({"known ahead": ", ".join(spec.future)} if spec.future else {}),
        "cadence": spec.cadence,
        "trained on": " to ".join(map(str, training.get("steps", [])[:2])) or "unknown",
        "skill": describe_skill(training.get("validation", {})),
        **_anchor(training.get("anchor", {})),
        "intervals": _calibrated(bundle.calibration),
        "digest": bundle.digest[:16],
    }
    return _table(lines)


def describe_skill(validation: Mapping[str, Any]) -> str:
    """Say in a line how a model did on the validation blocks.

    Parameters
    ----------
    validation : mapping
        Of a bundle's ``training``: ``leads``, the figures of each, and ``runs``,
        their mean and standard deviation if several networks were fitted.

    Returns
    -------
    str
        Skills against persistence, 1: above 0 is better.
    """
    leads, runs = validation.get("leads", {}), validation.get("runs", {})
    if not leads:
        return "not scored"
    parts = []
    for measure, name in (("CRPS", "crps_skill"), ("RMSE", "skill")):
        known = [
            _spread(runs.get(f"{name}_h{lead}")) or f"{row[name]:+.3f}"
            for lead, row in leads.items()
            if row.get(name) is not None
        ]
        parts += [f"{measure} {', '.join(known)}"] if known else []
    which = f"leads {', '.join(leads)}" if len(leads) > 1 else f"lead {next(iter(leads))}"
    count = runs.get("loss", {}).get("n", 1)
    several = f"; mean ± sd of {count} runs" if count > 1 else ""
    return f"{'; '.join(parts)} ({which} against persistence, validation blocks{several})"


def _spread(found: Mapping[str, float] | None) -> str | None:
    if found is None or None in found.values():  # a figure that was no number
        return None
    return f"{found['mean']:+.3f} ± {found['sd']:.3f}"


def _network(spec: Spec) -> str:
    """Name what decides a network's form and size."""
    options = spec.network
    facts = [f"{options.arch}, {options.strategy}, {spec.h} lead{'s' * (spec.h > 1)}"]
    if options.trunk:
        layers = ", ".join(map(str, options.trunk))
        facts.append(f"{options.width} wide, 3 x 3 layers dilated by {layers}")
    if options.arch == "convlstm":
        size = f"{options.kernel} x {options.kernel}"
        facts.append(f"{options.layers} x {options.hidden} cells of {size}")
    return "; ".join(facts)


def _sees(spec: Spec) -> str:
    """Say how far a pixel of the forecast looks, and by what."""
    from hmx.models.forecaster import reach  # loads torch

    far, context = reach(spec.network, spec.h), spec.context
    means = f"means of squares of half-width {', '.join(map(str, context.radii))}"
    beside = f", {means}" if context.radii else ""
    return f"{far + context.halo} px around a pixel: {far} by the network{beside}"


def _anchor(found: Mapping[str, Any]) -> dict[str, str]:
    """Say what a linear regression gained on steps left out, if that could be told."""
    gain = found.get("left_out_skill")
    if gain is None:
        return {}
    told = f"{100 * gain:+.1f} % of a linear regression on steps left out"
    if not found["fitted"]:
        told += ": WORSE THAN PERSISTENCE, so means are held at the last map"
    return {"left out": told}


def _calibrated(calibration: Calibration) -> str:
    """Say for which leads, and distances to past change, intervals are calibrated."""
    if not calibration.leads:
        return "as the network gives them: nothing was kept to calibrate on"
    strata = ", ".join(f"{node:g}" for node in calibration.nodes)
    apart = f", at {strata} px from past change" if len(calibration.nodes) > 1 else ""
    until = f"leads 1 to {calibration.leads}" if calibration.leads > 1 else "lead 1"
    still = f"; persistence from {calibration.nodes[-1]:g} px on" if calibration.far == 0 else ""
    return f"calibrated for {until}{apart}{still}"


def _known_ahead(data: xr.Dataset) -> dict[str, str]:
    """Say up to when covariates are known, if they say so."""
    until = {name: v.attrs.get(KNOWN_UNTIL) for name, v in data.data_vars.items()}
    said = [f"{name} to {label}" for name, label in until.items() if label is not None]
    return {"known ahead": ", ".join(said)} if said else {}


def _first_series(data: xr.Dataset) -> str | None:
    """Name a variable with time; there is none in a map."""
    with_time = [str(name) for name, v in data.data_vars.items() if v.ndim == 3]
    roles = [name for name in with_time if data[name].attrs.get("hmx_role") == "target"]
    return next(iter((*roles, *with_time)), None)


def _serial(data: xr.Dataset, series: str) -> tuple[Grid, dict[str, str]]:
    """Find the grid of a cube or a forecast, and say what its steps are."""
    cube = enter(data, target=series, dynamic=(), static=())
    times = cube.data["time"].values
    return cube.grid, {
        "time": f"{time_label(times[0])} to {time_label(times[-1])}, {len(times)} steps",
        **_known_ahead(data),
        "cadence": str(cube.cadence) if len(times) > 1 else "one step",
    }


def _planar(data: xr.Dataset) -> tuple[Grid, dict[str, str]]:
    """Find the grid of a map, and say of which date it is, if it has one."""
    names = find_axes(data, ("y", "x"))
    inner = data.rename({outer: name for name, outer in names.items() if outer != name})
    north_up = inner.sortby("y", ascending=False).sortby("x")
    single = [v for name, v in data.coords.items() if not v.ndim and name != "spatial_ref"]
    return Grid.from_xarray(north_up), {"date": time_label(single[0].values[()])} if single else {}


def _brief(value: object) -> str:
    return value[:16] if isinstance(value, str) else str(value)


def _table(lines: dict[str, str]) -> str:
    return "\n".join(f"  {name:<11} {value}" for name, value in lines.items())
