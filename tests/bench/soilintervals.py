"""Prediction intervals of a soil map on blocks that were held out, beside plain ones.

Run from the root of the project (needs ``HMX_REAL_DATA``)::

    python -m tests.bench.soilintervals
    python -m tests.bench.soilintervals --inner 5 --networks 0

Soil organic carbon of Macedonia, log(1 + %), 20 km blocks in 10 folds, sites are pixels.
``plain`` is split-conformal prediction with one symmetric width for all samples, from the
same residuals.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hmx.mapping.evaluate.baselines import null_rows
from hmx.mapping.evaluate.rounds import LEVELS, Blend, CrossValidated, FitPredict, cross_validate
from hmx.mapping.evaluate.score import networks
from hmx.mapping.inputs import RawWindows, gather
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.spec import MapSpec
from hmx.networks.options import MapperOptions
from hmx.points.samples import Samples
from hmx.scores import interval_scores, regression_scores
from hmx.splits.methods import block_folds
from tests.bench.soil import macedonia, real_data, samples_of, spec_of

HEAD = ("inside", "by fold", "below", "above", "width", "score", "top", "top predicted")


def case() -> tuple[RawWindows, Samples, MapSpec]:
    """Gather the windows around all samples."""
    with tempfile.TemporaryDirectory(prefix="hmx-soil-") as folder:
        bands = macedonia(real_data(), Path(folder))
        samples, spec = samples_of(bands, real_data()), spec_of(bands, MapperOptions())
        return gather(bands, samples, spec), samples, spec


def plain(played: CrossValidated, name: str, level: float) -> tuple[np.ndarray, np.ndarray]:
    """One symmetric width for all, from the residuals of the other folds."""
    center, folds = played.estimates[name].center, played.folds
    half = np.empty(len(center))
    for train, test in folds.rounds():
        residual = np.sort(np.abs(played.truth[train] - center[train]))
        at = int(np.ceil(level / 100 * (len(residual) + 1))) - 1
        half[test] = residual[min(at, len(residual) - 1)]
    return center - half, center + half


def figures(played: CrossValidated, name: str, bounds: Any, level: float) -> dict[str, float]:
    """Score an interval over all samples, by fold, and in the highest tenths."""
    truth, center, fold = played.truth, played.estimates[name].center, played.folds.fold
    inside = (truth >= bounds[0]) & (truth <= bounds[1])
    shares = np.bincount(fold, inside) / np.bincount(fold)
    found = interval_scores(truth, *bounds, level=level)
    return {
        "inside": found["picp"], "least_fold": shares.min(), "most_fold": shares.max(),
        "below": found["qcp_lower"], "above": 1 - found["qcp_upper"], "width": found["width"],
        "score": found["score"], "top": inside[truth >= np.quantile(truth, 0.9)].mean(),
        "top_predicted": inside[center >= np.quantile(center, 0.9)].mean(),
    }  # fmt: skip


def run(inner: int, members: int, folds: int, rows: int | None) -> dict[str, Any]:
    """Play the rounds and score intervals."""
    start, (raw, samples, spec) = time.process_time(), case()
    if rows:
        some = np.random.default_rng(0).permutation(len(samples))[:rows]
        raw, samples = raw.at(some), samples.at(some)
    dealt, truth = block_folds(samples, side_km=20, k=folds), np.log1p(samples.value)
    fits: dict[str, FitPredict] = {}
    if members:
        fit = MapTrainOptions(runs=members)
        fits["network"] = networks(raw, samples.value, spec, fit, samples.site)
    own = null_rows(raw, truth, spec)
    fits["forest"] = own["forest"]
    fits |= {"gaussian_process": own["gaussian_process"]} if members else {}
    blend = Blend(regression=spec.regression) if members else None
    names = [*fits, *(["blend"] if blend else [])]
    played = cross_validate(fits, dealt, truth, blend=blend, calibrate=names, inner=inner)
    found = []
    for name in names:
        for level in LEVELS:
            ways = {"plain": plain(played, name, level), "ours": played.bounds[name][level]}
            found += [
                {"name": name, "way": way, "level": level} | figures(played, name, bounds, level)
                for way, bounds in ways.items()
            ]
    r2 = {n: regression_scores(truth, played.estimates[n].center)["r2"] for n in names}
    seconds = time.process_time() - start
    return {"r2": r2, "rows": found, "samples": len(truth), "seconds": seconds}


def as_text(report: dict[str, Any]) -> str:
    """Lay the figures out."""
    r2 = ", ".join(f"{name} {value:.3f}" for name, value in report["r2"].items())
    seconds = report["seconds"]
    lines = [f"{report['samples']:,} samples, {seconds:.0f} CPU s; R2 of log1p: {r2}", ""]
    lines.append(f"{'':24}" + "".join(f"{head:>14}" for head in HEAD))
    for row in report["rows"]:
        inside, least, most, below, above, top, predicted = (
            f"{100 * row[name]:.1f}" for name in (
                "inside", "least_fold", "most_fold", "below", "above", "top", "top_predicted")
        )  # fmt: skip
        cells = (inside, f"{least}-{most}", below, above, f"{row['width']:.3f}",
                 f"{row['score']:.3f}", top, predicted)  # fmt: skip
        label = f"{row['name']} {row['level']:g} %, {row['way']}"
        lines.append(f"{label:24}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inner", type=int, default=0, help="inner folds; 0: the other outer ones")
    parser.add_argument("--networks", type=int, default=3, help="members; 0: the forest alone")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--rows", type=int, help="of the samples, at random")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    report = run(given.inner, given.networks, given.folds, given.rows)
    print(json.dumps(report, default=float) if given.json else as_text(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
