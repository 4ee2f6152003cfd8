"""Describe: a store or a model in a few lines of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from hmx.cube.axes import find_axes
from hmx.cube.cube import as_cube, open_cube
from hmx.cube.dates import time_label
from hmx.cube.grid import Grid, crs_name
from hmx.cube.integrity.examine import audit_of
from hmx.cube.integrity.reading import damage_of
from hmx.cube.integrity.seal import read_seal
from hmx.cube.observed import KNOWN_UNTIL
from hmx.engine.ledger import Ledger
from hmx.files.paths import absolute
from hmx.forecast.bundle import Bundle
from hmx.forecast.spec import Spec
from hmx.mapping.bundle import MapBundle
from hmx.mapping.spec import MapSpec
from hmx.uncertainty.calibration import Calibration


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
    if read_seal(str(path)) is not None and lines["status"] == "complete":
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


def describe_bundle(bundle: Bundle | MapBundle) -> str:
    """Describe a trained model.

    Parameters
    ----------
    bundle : Bundle or MapBundle
        As :func:`hmx.load` reads it.

    Returns
    -------
    str
        Lines of ``name  value``.
    """
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
    from hmx.networks.base import body_class  # loads torch

    options = spec.network
    facts = [f"{options.arch}, {options.strategy}, {spec.h} lead{'s' * (spec.h > 1)}"]
    return "; ".join([*facts, *body_class(options.arch).describe(options)])


def _sees(spec: Spec) -> str:
    """Say how far a pixel of the forecast looks, and by what."""
    from hmx.networks.forecaster import reach  # loads torch

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
    cube = as_cube(data, target=series, dynamic=(), static=())
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


def mapper_lines(bundle: MapBundle) -> dict[str, str]:
    """Describe a trained mapper.

    Parameters
    ----------
    bundle : MapBundle
        The model.

    Returns
    -------
    dict of str to str
        What is told, by its name.
    """
    spec, training = bundle.spec, bundle.training
    return {
        "maps": _target(bundle),
        "from": _bands(spec),
        "network": _mapper_network(spec),
        "sees": _mapper_sees(spec),
        "members": _members(spec),
        "weights": f"{sum(w.size for w in bundle.weights.values()):,}",
        "trained on": _samples(training),
        "held out": describe_held_out(bundle),
        "matters": _importance(training.get("importance", {})),
        "intervals": _intervals(bundle),
        "applicable": _applicable(bundle),
        "digest": bundle.digest[:16],
    }


def describe_held_out(bundle: MapBundle) -> str:
    """Say in a line how a mapper did on samples that it had not seen.

    Parameters
    ----------
    bundle : MapBundle
        The model.
    """
    training, spec = bundle.training, bundle.spec
    scores = training.get("held_out", {})
    if not scores:
        return "not scored"
    scale = {"none": spec.target, "normalize": spec.target}
    found, native = scores["transformed"], scores["native"]
    name = scale.get(bundle.target.transform, f"{bundle.target.transform}({spec.target})")
    units = f" {spec.units}" if spec.units else ""
    folds = training["folds"]
    return (
        f"R2 {found['r2']:.3f}, RMSE {found['rmse']:.3g}, CCC {found['ccc']:.3f} of {name}; "
        f"RMSE {native['rmse']:.3g}{units}, bias {native['bias']:+.3g}{units} "
        f"({training['points']['samples']:,} samples, {max(folds['fold']) + 1} folds by "
        f"{folds['method']})"
    )


def _target(bundle: MapBundle) -> str:
    spec, transform = bundle.spec, bundle.target.transform
    limits = spec.valid_range
    told = [
        spec.target + (f" in {spec.units}" if spec.units else ""),
        *([f"{limits[0]:g} to {limits[1]:g}"] if limits else []),
        *([f"learnt as {transform}"] if transform != "none" else []),
        *([f"times {bundle.target.ratio:.3g} for bias"] if bundle.target.ratio != 1 else []),
    ]
    return ", ".join(told)


def _bands(spec: MapSpec) -> str:
    kind = "of every year" if spec.climatology else "up to the date"
    series = f"{', '.join(spec.dynamic)} x {spec.steps} steps {kind} ({spec.cadence})"
    return "; ".join([series] * bool(spec.dynamic) + [", ".join(spec.static)] * bool(spec.static))


def _mapper_network(spec: MapSpec) -> str:
    options = spec.network
    way = "bidirectional LSTM" if options.bidirectional else "LSTM"
    extras = [*(f"{kind} attention" for kind in options.attention), *(["skip"] * options.skip)]
    facts = [
        options.arch,
        f"convolutions of {', '.join(map(str, options.widths))}",
        f"{way} of {options.layers} x {options.hidden}",
        *extras,
        *([f"{len(options.knots)} quantiles"] if options.knots else []),
    ]
    return ", ".join(facts)


def _mapper_sees(spec: MapSpec) -> str:
    side, (width, height) = spec.network.window, spec.pixel_size_m
    coarse = ", ".join(map(str, spec.network.coarse))
    means = f", means of squares of half-width {coarse}" if coarse else ""
    return f"windows of {side} x {side} px of {width:.0f} x {height:.0f} m{means}"


def _members(spec: MapSpec) -> str:
    networks = f"{spec.members} networks" if spec.members > 1 else "1 network"
    return networks + (f" and a forest of weight {spec.blend:g}" if spec.blend else "")


def _samples(training: Mapping[str, Any]) -> str:
    points, steps = training.get("points"), training.get("steps", [])
    first, last = (*map(str, steps[:2]), "", "")[:2]
    when = f"steps {first} to {last}" if first != last else "bands without time"
    if not points:
        return "unknown"
    left = points["rows"] - points["samples"]
    return (
        f"{points['samples']:,} samples at {points['sites']:,} sites of {points['table']} "
        f"({left:,} rows left out), {when}"
    )


def _importance(found: Mapping[str, Any]) -> str:
    mean = found.get("mean", {})
    ranked = sorted(mean, key=lambda band: -mean[band])
    told = ", ".join(f"{band} {mean[band]:.2f}" for band in ranked[:8])
    return f"{told} (loss of R2 without it)" if told else "unknown"


def _intervals(bundle: MapBundle) -> str:
    if not bundle.calibration.nodes:
        return "none: nothing was held out to learn them from"
    return "conformal, learnt from what was held out"


def _applicable(bundle: MapBundle) -> str:
    if not bundle.applicability:
        return "not known where"
    from hmx.uncertainty.applicability import Applicability  # loads scipy

    limit = Applicability.from_arrays(bundle.applicability).threshold
    return f"up to a dissimilarity of {limit:.3g} (area of applicability)"
