"""Describe a mapper: what it maps, from what, how well and how sure, in lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hmx.map_bundle import MapBundle
from hmx.map_spec import MapSpec


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
        "network": _network(spec),
        "sees": _sees(spec),
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


def _network(spec: MapSpec) -> str:
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


def _sees(spec: MapSpec) -> str:
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
    from hmx.applicability import Applicability  # loads scipy

    limit = Applicability.from_arrays(bundle.applicability).threshold
    return f"up to a dissimilarity of {limit:.3g} (area of applicability)"
