"""Totals of zones from drawn pixels, counted in whole numbers as a run of zones counts them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from hmx.zones.sums import Measures, ZoneTotals

STEP = 0.001  # of the values
PIXEL = 0.09  # km2
SIDE = 8  # px of a zone
NAMES = ("north", "south", "Île | d'Or, 2", "quiet", "sea")
GROUPS = {"land": (0, 1), "islands": (2, 3, 4)}
MEASURES = Measures(above=(0.1, 0.4), classes=(0.1, 0.4), moves=(0.005, 0.05))


def make_totals(n: int = 80, h: int = 3, *, seed: int = 0, measures: Measures = MEASURES):
    """Draw pixels of five zones in two groups; one does not change, one has no data."""
    noise = np.random.default_rng(seed)
    count, pixels = len(NAMES), SIDE * SIDE
    origin = np.round(noise.beta(1, 4, (count, pixels)), 3)
    common = noise.normal(0.1, 0.3, (count, h, n, 1)).cumsum(axis=1)
    jump = np.maximum(0, common + noise.normal(0, 0.6, (count, h, n, pixels)) - 0.6) / 4
    jump[3] = 0
    fall = 0.03 * (noise.random(jump.shape) > 0.95)
    fall[3] = 0
    drawn = np.clip(np.round(origin[:, None, None] + jump - fall, 3), 0, 1)
    data = np.ones((count, pixels))
    data[1, :16] = 0  # a quarter of the zone is missing
    data[4] = 0
    rows = [[zone] for zone in range(count)] + [list(g) for g in GROUPS.values()] + [range(count)]
    totals = _count(origin, drawn, data, measures)
    unit = {"area", "missing", "origin_above", "origin_class", "above", "transition", "risen"}
    unit |= {"fallen"}
    found = {
        name: np.stack([array[list(at)].sum(axis=0) for at in rows])
        * (PIXEL if name in unit else PIXEL * STEP)
        for name, array in totals.items()
    }
    names = (*NAMES, *GROUPS, "all")
    kinds = ("zone",) * count + ("group",) * len(GROUPS) + ("all",)
    return ZoneTotals(names, kinds, measures, **found)


def _count(
    origin: np.ndarray, drawn: np.ndarray, data: np.ndarray, measures: Measures
) -> dict[str, np.ndarray]:
    mask = data[:, None, None]
    above = [((drawn > t) * mask).sum(-1) for t in measures.above]
    k = len(measures.classes) + 1
    before = np.digitize(origin, measures.classes)
    after = np.digitize(drawn, measures.classes)
    moved = np.array(
        [[((before[:, None, None] == a) & (after == b)) * mask for b in range(k)] for a in range(k)]
    ).sum(-1)
    change = np.round(drawn - origin[:, None, None], 6)
    value = (np.rint(drawn / STEP) * mask).sum(-1)
    return {
        "area": data.sum(-1),
        "missing": (1 - data).sum(-1),
        "origin": (np.rint(origin / STEP) * data).sum(-1),
        "origin_above": np.stack([((origin > t) * data).sum(-1) for t in measures.above], -1),
        "origin_class": np.stack([((before == a) * data).sum(-1) for a in range(k)], -1),
        "expected": value.mean(axis=2),
        "value": value,
        "above": np.stack(above, -1),
        "transition": np.moveaxis(moved, (0, 1), (-2, -1)),
        "risen": _last([((change > m) * mask).sum(-1) for m in measures.moves], value.shape),
        "fallen": _last([((change < -m) * mask).sum(-1) for m in measures.moves], value.shape),
    }


def _last(parts: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(parts, -1) if parts else np.zeros((*shape, 0))


def make_times(h: int = 3) -> xr.DataArray:
    """Return times as a forecast has them."""
    times = np.array([f"{2025 + 5 * lead}-01-01" for lead in range(h)], "datetime64[ns]")
    return xr.DataArray(
        times,
        dims="time",
        coords={
            "time": times,
            "lead": ("time", np.arange(1, h + 1)),
            "forecast_reference_time": np.datetime64("2020-01-01", "ns"),
        },
        name="time",
    )


def without_origin(totals: ZoneTotals) -> ZoneTotals:
    """Return totals of a map, which has no step before it."""
    names = ("origin", "origin_above", "origin_class")
    return replace(totals, **{name: np.full_like(getattr(totals, name), np.nan) for name in names})


def make_polygons() -> dict[str, object]:
    """Return the zones side by side as GeoJSON, in another order than the table."""
    features = [
        {
            "type": "Feature",
            "properties": {"name": name, "ward": f"w{n}", "FID": 7, "Missing": "text"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[n, 0], [n + 1, 0], [n + 1, 1], [n, 1], [n, 0]]],
            },
        }
        for n, name in enumerate(NAMES)
    ]
    return {"type": "FeatureCollection", "features": features[::-1]}
