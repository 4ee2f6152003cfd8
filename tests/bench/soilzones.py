"""Zone intervals of soil maps in worlds of a known law, beside independent pixels and bounds.

Run from the root of the project::

    python -m tests.bench.soilzones
    python -m tests.bench.soilzones --worlds 8 --samples 100

A world is a map of 120 x 120 px of 250 m whose errors have an exponential correlogram and a nugget
(the law is not of the family that is fitted). Samples show the error at their pixels; calibration
and dependence are fitted to them as in training, and the errors of zones are compared with the
intervals. ``independent`` adds pixels as if each had errors of its own; ``bounds`` adds the ends
of their intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyproj
from affine import Affine
from scipy.special import ndtri

from hmx.cube.grid import Grid
from hmx.mapping.correlogram import Correlogram
from hmx.scores import interval_scores
from hmx.uncertainty.conformal import Conformal
from hmx.uncertainty.joint.dependence import LEVELS, Dependence, LeadDependence
from hmx.uncertainty.joint.draws import Draws
from hmx.uncertainty.joint.field import Field
from hmx.windows import Window

SIDE, PIXEL = 120, 250.0  # px and m
ZONES = (10, 30, 60, 120)  # px
LAWS = {"short": (0.4, 2e3), "middle": (0.6, 5e3), "long": (0.6, 15e3), "none": (0.0, 1.0)}
LEVEL, INNER = 90, 50
GRID = Grid(
    pyproj.CRS("EPSG:32632"), Affine(PIXEL, 0, 5e5, 0, -PIXEL, 6e6), (SIDE, SIDE)
)  # fmt: skip
ALONE = Dependence((LeadDependence((0.0,) * 5, 0.0),), PIXEL)


def errors(share: float, length: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a map of errors of the law: a field by circulant embedding, and a nugget."""
    lag = np.minimum(np.arange(4 * SIDE), 4 * SIDE - np.arange(4 * SIDE)) * PIXEL
    spectrum = np.fft.fft2(np.exp(-np.hypot(lag[:, None], lag[None]) / length)).real
    noise = rng.normal(size=spectrum.shape) + 1j * rng.normal(size=spectrum.shape)
    # what the embedding lacks is below .1 % of the variance, and set to 0
    field = np.fft.fft2(noise * np.sqrt(np.maximum(spectrum, 0) / spectrum.size)).real
    field = field[:SIDE, :SIDE]
    return np.asarray(np.sqrt(share) * field + np.sqrt(1 - share) * rng.normal(size=(SIDE, SIDE)))


def world(share: float, length: float, samples: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield truth and intervals of each zone of a world, by way."""
    rng = np.random.default_rng(seed)
    truth = errors(share, length, rng)
    row, column = np.divmod(rng.choice(SIDE * SIDE, samples, replace=False), SIDE)
    to_lonlat = pyproj.Transformer.from_crs(GRID.crs, "EPSG:4326", always_xy=True)
    lonlat = np.stack(to_lonlat.transform(GRID.x[column], GRID.y[row]), axis=1)
    zero, one, seen = np.zeros(samples), np.ones(samples), truth[row, column]
    learnt = Conformal.fit(zero, one, seen, row // 12 * 10 + column // 12)
    correlogram = Correlogram.of(lonlat, ndtri(learnt.rank(zero, one, seen)), PIXEL)
    fitted = correlogram.fit()
    assert fitted is not None
    curve = [float(learnt.quantile(zero[:1], one[:1], learnt.within(p))[0]) for p in LEVELS]
    knots = np.broadcast_to(
        np.array(curve, "f4")[:, None, None, None], (len(LEVELS), 1, SIDE, SIDE)
    )
    for way, dependence in (("ours", fitted), ("independent", ALONE)):
        field = Field(GRID, Window.of(GRID.shape), dependence, seed)
        drawn = np.stack([values.copy() for _, _, values in Draws(field, knots)(range(200))])
        for side in ZONES:
            sums = [_blocks(a, side) for a in (truth[None], drawn)]
            yield {"way": way, "side": side, "truth": sums[0][0], "draws": sums[1]}
    ends = np.interp([0.05, 0.95, 0.25, 0.75], LEVELS, curve)
    for side in ZONES:
        found = _blocks(truth[None], side)[0]
        yield {"way": "bounds", "side": side, "truth": found, "ends": ends}


def _blocks(planes: np.ndarray, side: int) -> np.ndarray:
    """Average square zones: (n, y, x) to (n, zones)."""
    n, count = len(planes), SIDE // side
    return planes.reshape(n, count, side, count, side).mean(axis=(2, 4)).reshape(n, -1)


def run(laws: Sequence[str], worlds: int, samples: int) -> list[dict[str, Any]]:
    """Score all zones of all worlds, by law, size and way."""
    rows: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for law in laws:
        for seed in range(worlds):
            for found in world(*LAWS[law], samples, seed):
                truth = found["truth"]
                if "ends" in found:
                    low, high, inner, upper = (np.full(len(truth), e) for e in found["ends"])
                else:
                    low, high, inner, upper = np.quantile(
                        found["draws"], [0.05, 0.95, 0.25, 0.75], axis=0
                    )
                scored = interval_scores(truth, low, high, level=LEVEL)
                half = ((truth >= inner) & (truth <= upper)).mean()
                rows.setdefault((law, found["side"], found["way"]), []).append(
                    {"c90": scored["picp"], "c50": half, "score": scored["score"]}
                )
    return [
        {"law": law, "side": side, "way": way}
        | {name: float(np.mean([one[name] for one in each])) for name in each[0]}
        for (law, side, way), each in rows.items()
    ]


def as_text(rows: list[dict[str, Any]], seconds: float) -> str:
    """Lay the figures out; scores relative to those of bounds."""
    of_bounds = {(r["law"], r["side"]): r["score"] for r in rows if r["way"] == "bounds"}
    lines = [f"{seconds:.0f} CPU s", f"{'':28}{'c90':>8}{'c50':>8}{'score':>8}"]
    for r in sorted(rows, key=lambda r: (r["way"], r["law"], r["side"])):
        label = f"{r['way']}, {r['law']}, {r['side']} px"
        ratio = r["score"] / of_bounds[r["law"], r["side"]]
        lines.append(f"{label:28}{r['c90']:8.3f}{r['c50']:8.3f}{ratio:8.2f}")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--law", action="append", choices=list(LAWS))
    parser.add_argument("--worlds", type=int, default=24)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    start = time.process_time()
    rows = run(given.law or list(LAWS), given.worlds, given.samples)
    seconds = time.process_time() - start
    print(json.dumps({"rows": rows, "seconds": seconds}) if given.json else as_text(rows, seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
