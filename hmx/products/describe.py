"""Describe: a store or a model in a few lines of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from hmx.cube.cube import as_cube, open_cube
from hmx.cube.dates import time_label
from hmx.cube.grid import Grid, crs_name, north_up
from hmx.cube.integrity.examine import audit_of
from hmx.cube.integrity.reading import damage_of
from hmx.cube.integrity.seal import read_seal
from hmx.cube.steps import KNOWN_UNTIL
from hmx.engine.ledger import Ledger
from hmx.files.paths import absolute
from hmx.forecast.beyond import EXTRAPOLATED, learnt_leads, listed
from hmx.forecast.bundle import Bundle, describe_means
from hmx.forecast.joint import describe_dependence
from hmx.mapping.bundle import MapBundle
from hmx.mapping.spec import MapSpec, words_of

_BANDS = 8  # most important bands that a line lists


def store_lines(path: str | Path) -> dict[str, str]:
    """Return what `hmx info` prints of a cube, a forecast or a map, by name."""
    path = absolute(path)
    data = open_cube(path)
    grid, dates = _grid_and_dates(data)
    width, height = grid.pixel_size_m
    area = grid.cell_areas().sum() * grid.shape[1] / 1e6
    lines = {
        "variables": ", ".join(f"{n} {v.dims}".replace("'", "") for n, v in data.data_vars.items()),
        "grid": f"{grid.shape[0]} rows x {grid.shape[1]} columns of {width:.0f} x {height:.0f} m",
        "area": f"{area:,.0f} km2" + (", around the globe" if grid.wraps else ""),
        "CRS": crs_name(grid.crs),
        "bounds": ", ".join(f"{edge:.10g}" for edge in grid.bounds),
        **dates,
        "status": data.attrs.get("hmx_status", "unknown"),
    }
    if later := data.attrs.get(EXTRAPOLATED):
        lines["later leads"] = f"{listed(later)}: extrapolated from the model's own mean"
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
        # 16 characters of a digest identify it
        lines["made from"] = ", ".join(
            f"{name} {fact[:16] if isinstance(fact, str) else fact}"
            for name, fact in facts.items()
            if fact not in (None, [])
        )
    return lines


def _grid_and_dates(data: xr.Dataset) -> tuple[Grid, dict[str, str]]:
    """Return the grid of a cube, a forecast or a map, and lines about its steps or its date."""
    with_time = [str(name) for name, v in data.data_vars.items() if v.ndim == 3]
    roles = [name for name in with_time if data[name].attrs.get("hmx_role") == "target"]
    if not with_time:  # a map, which is not a series: as_cube would refuse it
        single = [v for name, v in data.coords.items() if not v.ndim and name != "spatial_ref"]
        date = {"date": time_label(single[0].values[()])} if single else {}
        return Grid.from_xarray(north_up(data)), date
    cube = as_cube(data, target=next(iter((*roles, *with_time))), dynamic=(), static=())
    times = cube.data["time"].values
    lines = {"time": f"{time_label(times[0])} to {time_label(times[-1])}, {len(times)} steps"}
    until = {name: v.attrs.get(KNOWN_UNTIL) for name, v in data.data_vars.items()}
    ahead = [f"{name} to {label}" for name, label in until.items() if label is not None]
    if ahead:
        lines["known ahead"] = ", ".join(ahead)
    return cube.grid, lines | {"cadence": str(cube.cadence) if len(times) > 1 else "one step"}


def bundle_lines(bundle: Bundle | MapBundle) -> dict[str, str]:
    """Return what `hmx info` prints of a model, by name."""
    return mapper_lines(bundle) if isinstance(bundle, MapBundle) else forecaster_lines(bundle)


def as_table(lines: dict[str, str]) -> str:
    """Write facts as lines of ``name  value``."""
    return "\n".join(f"  {name:<11} {value}" for name, value in lines.items())


def forecaster_lines(bundle: Bundle) -> dict[str, str]:
    """Return what `hmx info` prints of a forecaster, by name."""
    spec, training, options = bundle.spec, bundle.training, bundle.spec.network
    known = learnt_leads(bundle)
    form = f"{options.arch}, {options.strategy}, {known} lead{'s' * (known > 1)}"
    form += ", the state itself" if options.predict == "state" else ""
    form += ", one number" if options.point else ""
    (far, words), context = _body(bundle), spec.context
    means = f", means of squares of half-width {', '.join(map(str, context.radii))}"
    lines = {
        "predicts": spec.target + (f" in {spec.units}" if spec.units not in (None, "1") else ""),
        "from": ", ".join(
            [f"{spec.target} x {options.past_steps} steps", *spec.dynamic, *spec.static]
        ),
        "network": "; ".join([form, *words]),
        "sees": f"{far + context.halo} px around a pixel: {far} by the network"
        + (means if context.radii else ""),
        "weights": f"{sum(w.size for w in bundle.weights.values()):,}"
        + (f" in {spec.members} networks" if spec.members > 1 else ""),
        **({"known ahead": ", ".join(spec.future)} if spec.future else {}),
        "cadence": spec.cadence,
        "trained on": " to ".join(map(str, training.get("steps", [])[:2])) or "unknown",
        **({"starts from": training["init_from"]} if "init_from" in training else {}),
        "skill": describe_skill(training.get("validation", {})),
    }
    if (followed := describe_means(bundle)) is not None:
        lines["means"] = followed
    calibration = bundle.calibration
    intervals = "as the network gives them: nothing was kept to calibrate on"
    if options.point:
        intervals = "none: the network gives one number, and nothing was kept to calibrate on"
    if calibration.leads:
        nodes = calibration.nodes
        strata = ", ".join(f"{node:g}" for node in nodes)
        until = f"leads 1 to {calibration.leads}" if calibration.leads > 1 else "lead 1"
        intervals = f"calibrated for {until}"
        intervals += f", at {strata} px from past change" if len(nodes) > 1 else ""
        intervals += f"; persistence from {nodes[-1]:g} px on" if calibration.far == 0 else ""
    lines |= {"intervals": intervals, "zones": describe_dependence(bundle)}
    return lines | {"digest": bundle.digest[:16]}


def _body(bundle: Bundle) -> tuple[int, list[str]]:
    """Return reach and description of a network, as the model has them or as torch builds it."""
    match bundle.training.get("body"):
        case {"reach": int(far), "lines": [*lines]}:
            return far, list(map(str, lines))
    from hmx.networks.forecaster import described  # takes seconds to load

    found: Any = described(bundle.spec.network, bundle.spec.h)
    return found["reach"], found["lines"]


def describe_skill(validation: Mapping[str, Any]) -> str:
    """Describe in a line the skill of a model on the validation blocks."""
    leads, runs = validation.get("leads", {}), validation.get("runs", {})
    if not leads:
        return "not scored"

    def figure(name: str, lead: str, row: Mapping[str, float]) -> str:
        over_runs = runs.get(f"{name}_h{lead}")
        if over_runs is None or None in over_runs.values():  # JSON has null for NaN
            return f"{row[name]:+.3f}"
        return f"{over_runs['mean']:+.3f} ± {over_runs['sd']:.3f}"

    parts = []
    for measure, name in (("CRPS", "crps_skill"), ("RMSE", "skill")):
        known = [
            figure(name, lead, row) for lead, row in leads.items() if row.get(name) is not None
        ]
        parts += [f"{measure} {', '.join(known)}"] if known else []
    which = f"leads {', '.join(leads)}" if len(leads) > 1 else f"lead {next(iter(leads))}"
    count = runs.get("loss", {}).get("n", 1)
    several = f"; mean ± sd of {count} runs" if count > 1 else ""
    return f"{'; '.join(parts)} ({which} against persistence, validation blocks{several})"


def mapper_lines(bundle: MapBundle) -> dict[str, str]:
    """Return what `hmx info` prints of a mapper, by name."""
    from hmx.uncertainty.applicability import Applicability  # loads scipy

    spec, training, target = bundle.spec, bundle.training, bundle.target
    limits = spec.valid_range
    quantity = [
        spec.target + (f" in {spec.units}" if spec.units else ""),
        *([f"{limits[0]:g} to {limits[1]:g}"] if limits else []),
        *([f"learnt as {target.named(spec.target)}"] if target.transform != "none" else []),
        *([f"times {target.ratio:.3g} for bias"] if target.ratio != 1 else []),
    ]
    kind = "of every year" if spec.climatology else "up to the date"
    series = f"{', '.join(spec.dynamic)} x {spec.steps} steps {kind} ({spec.cadence})"
    side, (width, height) = spec.network.window, spec.pixel_size_m
    coarse = ", ".join(map(str, spec.network.coarse))
    members = f"{spec.members} networks" if spec.members > 1 else "1 network"
    mean = training.get("importance", {}).get("mean", {})
    ranked = sorted(mean, key=lambda band: -mean[band])[:_BANDS]
    matters = ", ".join(f"{band} {mean[band]:.2f}" for band in ranked)
    applicable = "not known where"
    if bundle.applicability:
        limit = Applicability.from_arrays(bundle.applicability).threshold
        applicable = f"up to a dissimilarity of {limit:.3g} (area of applicability)"
    return {
        "maps": ", ".join(quantity),
        "from": "; ".join(
            [series] * bool(spec.dynamic) + [", ".join(spec.static)] * bool(spec.static)
        ),
        "network": network_line(spec),
        "sees": f"windows of {side} x {side} px of {width:.0f} x {height:.0f} m"
        + (f", means of squares of half-width {coarse}" if coarse else ""),
        "members": members
        + (f" and {words_of(spec.regression)} of weight {spec.blend:g}" if spec.blend else ""),
        "weights": f"{sum(w.size for w in bundle.weights.values()):,}",
        "trained on": samples_line(training),
        "held out": describe_held_out(bundle),
        "matters": f"{matters} (loss of R2 without it)" if matters else "unknown",
        "kriging": kriging_line(bundle),
        "intervals": "conformal, learnt from what was held out"
        if bundle.calibration.nodes
        else "none: nothing was held out to learn them from",
        "applicable": applicable,
        "zones": soil_zones_line(bundle),
        "digest": bundle.digest[:16],
    }


def kriging_line(bundle: MapBundle) -> str:
    """Describe whether errors of held-out samples correct the map, and what the folds showed."""
    from hmx.mapping.kriging import Kriging  # loads scipy

    facts = bundle.training.get("kriging", {})
    gain = f"R2 {facts['gain']:+.4f} ± {facts['error']:.4f} on the folds" if facts else ""
    if not bundle.kriging:
        return f"none: {gain}" if facts.get("error") else "none"
    used = Kriging.from_arrays(bundle.kriging)
    share = used.sill / ((used.nugget + used.sill) or 1.0)
    return (
        f"errors of held-out samples within {used.range_m / 1000:.3g} km correct the map, of whose "
        f"variance neighbours share {share:.0%}{f': {gain}' if gain else ''}"
    )


def soil_zones_line(bundle: MapBundle) -> str:
    """Describe what intervals of zones of a map rest on."""
    known = bundle.dependence
    if known is None:
        return "from the prior: the model has no fit of how its errors depend on each other"
    lead, facts = known.at(1), bundle.training.get("correlogram", {})
    shares = ", ".join(
        f"{weight:.0%} over {sigma / 1e3:.2g} km"
        for weight, sigma in zip(lead.weights, known.sigmas_m, strict=True)
        if weight >= 0.005
    )
    pairs = facts.get("between_dates", {}).get("pairs", 0)
    dates = f"correlate with {known.phi:.2f} ({pairs} pairs)" if known.phi else "independent"
    return (
        f"errors of {facts.get('samples', 'the')} held-out samples: {lead.nugget:.0%} of their "
        f"variance alone{f', {shares}' if shares else ''}; errors of two dates {dates}"
    )


def network_line(spec: MapSpec) -> str:
    """Describe the network of a mapper."""
    options = spec.network
    facts = [
        options.arch,
        f"convolutions of {', '.join(map(str, options.widths))}",
        f"LSTM of {options.layers} x {options.hidden}",
        *(["skip"] * options.skip),
        *([f"{len(options.knots)} quantiles"] if options.knots else []),
    ]
    return ", ".join(facts)


def samples_line(training: Mapping[str, Any]) -> str:
    """Describe the samples of a training."""
    points, steps = training.get("points"), training.get("steps", [])
    first, last = (*map(str, steps[:2]), "", "")[:2]
    when = f"steps {first} to {last}" if first != last else "bands without time"
    if not points:
        return "unknown"
    left_out = points["rows"] - points["samples"]
    return (
        f"{points['samples']:,} samples at {points['sites']:,} sites of {points['table']} "
        f"({left_out:,} rows left out), {when}"
    )


def describe_held_out(bundle: MapBundle) -> str:
    """Describe in a line the scores of a mapper on samples that it did not train on."""
    training, spec, transform = bundle.training, bundle.spec, bundle.target.transform
    scores = training.get("held_out", {})
    if not scores:
        return "not scored"
    own, native, folds = scores["transformed"], scores["native"], training["folds"]
    # z-scores are scored in native units
    logarithm = transform not in ("none", "normalize")
    name = f"{transform}({spec.target})" if logarithm else spec.target
    units = f" {spec.units}" if spec.units else ""
    return (
        f"R2 {own['r2']:.3f}, RMSE {own['rmse']:.3g}, CCC {own['ccc']:.3f} of {name}; "
        f"RMSE {native['rmse']:.3g}{units}, bias {native['bias']:+.3g}{units} "
        f"({training['points']['samples']:,} samples, {max(folds['fold']) + 1} folds by "
        f"{folds['method']})"
    )
