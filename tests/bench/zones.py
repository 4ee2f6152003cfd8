"""Measure totals of zones: bits, coverage and interval scores on held-out years, known laws, cost.

Run from the root of the project::

    python -m tests.bench.zones
    python -m tests.bench.zones --case amapa --model build/amapa
    python -m tests.bench.zones --case cost worlds --json

The cases:

- ``bits``: tiles of 64 and 256 px and one pass give the same draws and tables; the first 100 of
  200 draws are those of 100; over 400 draws the shares of the probabilities that pixels are read
  at, the mean, and each pixel's distribution are what they promise;
- ``amapa``, ``europe``, ``demo``: a model learns up to the year of ``tests.bench.cases``, and
  what came later is scored, in squares of 10, 30 and 60 px, irregular cells of about 900 px and
  the whole region, by the code of ``hmx evaluate``. Expected and observed totals stand beside
  them, also those of the origins it learnt from;
- ``worlds``: errors whose law is known (:mod:`tests.bench.zone_worlds`);
- ``cost``: CPU seconds of a draw, and the peak memory of totals over the size of the raster and
  the number of draws, in processes of their own.

``--model`` is a bundle saved earlier, for one case; else models are trained with the defaults,
and saved under ``--keep``. Each row has its figure, its bar and whether it passes; the exit code
is the number of rows that fail, at most 1. Half a thousandth of the index is the tolerance.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from pyproj import CRS

from hmx.cube.grid import Grid
from hmx.forecast.api import forecast
from hmx.forecast.backtest.backtest import evaluate
from hmx.forecast.backtest.zonal import CELLS
from hmx.forecast.bundle import Bundle
from hmx.forecast.options import BacktestOptions
from hmx.scores.zones import BOUNDS, DRAWS, EFFECTIVE, PIXELS, REGION, ZoneCell
from hmx.uncertainty.joint.dependence import LEVELS, RANGES, Dependence
from hmx.uncertainty.joint.draws import Draws
from hmx.uncertainty.joint.field import Field
from hmx.windows import Span, TileGrid, Window
from hmx.zones.layer import ZoneLayer, read_zones
from hmx.zones.sums import ALL, Measures, TileValues, Units, ZoneSums, tile_sums
from tests.bench import measured
from tests.bench.cases import CASES, Case, load, past_of

Facts = dict[str, Any]
SIZES = ("10 px", "30 px", "60 px", CELLS)
LAND = "amapa", "europe", "demo"


@dataclass(frozen=True)
class Row:
    """A figure, and the bar that it has to pass; without a bar it is for the reader."""

    case: str
    what: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def passes(self) -> bool:
        """Whether it lies within its bar, ends included."""
        if self.low is self.high is None:
            return True
        low = -np.inf if self.low is None else self.low
        return bool(low <= self.value <= (np.inf if self.high is None else self.high))

    def text(self) -> str:
        """Write a line."""
        bar = {
            (True, True): "",
            (False, True): f">= {self.low:g}" if self.low is not None else "",
            (True, False): f"<= {self.high:g}" if self.high is not None else "",
            (False, False): f"{self.low} - {self.high}",
        }[self.low is None, self.high is None]
        mark = "" if not bar else "pass" if self.passes else "FAIL"
        return f"{self.case:8}{self.what:64}{self.value:>10.4g}  {bar:16}{mark}".rstrip()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases and print one table; with --json JSON instead."""
    args = parse(argv)
    rows: list[Row] = []
    for name in args.case:
        note(f"{name} ...")
        for row in RUNS[name](args):
            rows.append(row)
            if not args.json:
                print(row.text(), flush=True)
    failed = [row for row in rows if not row.passes]
    if args.json:
        print(json.dumps([asdict(row) | {"passes": row.passes} for row in rows], indent=1))
    else:
        print(f"{len(rows)} rows, {len(failed)} beyond their bar")
    return int(bool(failed))


def note(line: str) -> None:
    """Write what is under way."""
    print(line, file=sys.stderr, flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--case", nargs="+", default=[*RUNS], choices=[*RUNS], metavar="NAME")
    parser.add_argument("--model", type=Path, help="saved bundle, for one case of rasters")
    parser.add_argument("--keep", type=Path, help="folder in which trained models are saved")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="small sizes, without meaning")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.model is not None and (len(args.case) != 1 or args.case[0] not in LAND):
        parser.error(f"--model is a model of one case: --case {LAND[0]} --model PATH")
    return args


# --- bits -----------------------------------------------------------------------------------


def bits(args: argparse.Namespace) -> Iterator[Row]:
    """Compare draws of tiles, and their shares with what they promise."""
    side, some = (96, 6) if args.quick else (300, 100)
    grid = grid_of(side)
    quantiles = distributions(side, h=2)
    tiles = (32, 64) if args.quick else (64, 256)
    whole = drawn(grid, quantiles, side, range(some))
    for tile in tiles:
        same = np.array_equal(drawn(grid, quantiles, tile, range(some)), whole, equal_nan=True)
        yield Row("bits", f"draws of tiles of {tile} px equal one pass", float(same), 1, 1)
    again = drawn(grid, quantiles, tiles[-1], range(2 * some))[:some]
    same = np.array_equal(again, whole, equal_nan=True)
    yield Row("bits", f"first {some} of {2 * some} draws equal {some} draws", float(same), 1, 1)
    yield from shares(args, grid)
    yield from tables(args)


def grid_of(side: int) -> Grid:
    """Lay a grid of 300 m pixels."""
    return Grid(CRS(32622), Affine(300, 0, 5e5, 0, -300, 1e6), (side, side))


def distributions(side: int, *, h: int, seed: int = 0) -> np.ndarray:
    """Draw skewed distributions, with point masses and pixels without data, (27, h, y, x)."""
    rng = np.random.default_rng(seed)
    p = np.array(LEVELS)[:, None, None, None]
    base = np.round(rng.random((h, side, side)) ** 4, 3)
    jump = np.maximum(0.0, p - rng.random((h, side, side))) * 0.3 * rng.random((h, side, side))
    made = np.minimum(base + jump, 1.0).astype("float32")
    made[..., rng.random((side, side)) < 0.05] = np.nan
    return made


def drawn(grid: Grid, quantiles: np.ndarray, tile: int, numbers: range) -> np.ndarray:
    """Draw tile by tile, (n, h, y, x)."""
    dependence = Dependence.prior(300.0)
    found = np.empty((len(numbers), *quantiles.shape[1:]), "float32")
    for part in TileGrid(grid.shape, (tile, tile), halo=0):
        at = part.core.slices
        field = Field(grid, part.core, dependence, seed=7)
        for number, lead, values in Draws(field, quantiles[(..., *at)])(numbers):
            found[(number - numbers.start, lead - 1, *at)] = values
    return found


def shares(args: argparse.Namespace, grid: Grid) -> Iterator[Row]:
    """Compare pooled probabilities, means and quantiles of many draws with their law."""
    side, draws = (32, 40) if args.quick else (64, 400)
    window = Window(Span(0, side), Span(0, side))
    dependence = Dependence.prior(300.0)
    levels = np.array(LEVELS, "float32")
    # a pixel whose quantile at p is p shows the probability that it is read at
    even = np.broadcast_to(levels[:, None, None, None], (len(LEVELS), 1, side, side)).copy()
    field = Field(grid, window, dependence, seed=3)
    u = np.stack([values.copy() for _, _, values in Draws(field, even)(range(draws))])
    for p in (0.025, 0.5, 0.975):
        off = float((u <= p).mean() - p)
        yield Row("bits", f"share of probabilities below {p}, less {p}", off, *slack(args, 0.005))
    quantiles = distributions(side, h=1, seed=1)
    values = drawn(grid_of(side), quantiles, side, range(draws))[:, 0]
    known = np.isfinite(quantiles[0, 0])
    want = weights() @ quantiles[:, 0, known].astype("float64")
    spread = values[:, known].std(axis=0)
    off = float((values[:, known].mean(axis=0) - want).mean() / (spread.mean() / np.sqrt(draws)))
    # pixels of a draw are alike, so their mean is off by as much as one pixel may be
    yield Row("bits", "mean over draws less pixel mean, standard errors", off, *slack(args, 2))
    for p in (0.025, 0.5, 0.975):
        level = quantiles[LEVELS.index(p), 0, known]
        jumps = quantiles[-1, 0, known] > quantiles[0, 0, known]
        near = np.abs(np.quantile(values[:, known], p, axis=0) - level)[jumps].mean()
        width = (quantiles[-1, 0, known] - quantiles[0, 0, known])[jumps].mean()
        what = f"quantile of draws at {p} off hm_quantile, share of the width"
        yield Row("bits", what, float(near / width), None, 1 if args.quick else 0.03)


def weights() -> np.ndarray:
    """Return each quantile's weight in the mean of a distribution, (27,)."""
    edges = np.concatenate([[0.0], (np.array(LEVELS[1:]) + np.array(LEVELS[:-1])) / 2, [1.0]])
    return np.diff(edges)


def slack(args: argparse.Namespace, size: float) -> tuple[float, float]:
    """Return a bar around 0; few draws have none worth the name."""
    far = 10 * size if args.quick else size
    return -far, far


# --- held-out years -------------------------------------------------------------------------

# Interval score over that of summed pixel bounds, by size
OVER_BOUNDS = {"10 px": 1.0, "30 px": 0.80, "60 px": 0.65, CELLS: 0.80}


def amapa(args: argparse.Namespace) -> Iterator[Row]:
    """Score amapa, learned up to 2005."""
    card, bundle, _ = scored(args, "amapa")
    yield from figures("amapa", card.whole_zones.cells, bars_of_amapa)
    plain = [c.intervals[DRAWS, 95.0].share for (size, _), c in squares_of(card)]
    yield Row("amapa", "95 %, plain: mean over rows", float(np.mean(plain)), 0.87)
    yield from dependence_rows("amapa", bundle)


def bars_of_amapa(size: str, figure: str) -> tuple[float | None, float | None]:
    """Return the bar of a figure."""
    if size == REGION:
        return (1.0, None) if figure == "c95" else (None, None)
    return {
        "c95": (0.93, None),
        "c50": (0.33, 0.75),
        BOUNDS: (None, OVER_BOUNDS[size]),
        EFFECTIVE: (None, 1.05),
    }.get(figure, (None, None))


def europe(args: argparse.Namespace) -> Iterator[Row]:
    """Score europe, learned up to 2003 from two maps."""
    card, bundle, _ = scored(args, "europe")

    def bars(size: str, figure: str) -> tuple[float | None, float | None]:
        if size == REGION:
            return None, None
        return {"c95": (0.93, None), BOUNDS: (None, 0.6)}.get(figure, (None, None))

    yield from figures("europe", card.whole_zones.cells, bars)
    yield from dependence_rows("europe", bundle)


def demo(args: argparse.Namespace) -> Iterator[Row]:
    """Score the synthetic landscape, learned up to 2010: totals first."""
    card, bundle, ds = scored(args, "demo")
    case = CASES["demo"]
    for lead in case.leads:
        expected, observed = past_totals(ds, bundle, case, lead)
        what = f"{case.name(lead)}: expected / observed, training origins"
        yield Row("demo", what, expected / observed, 0.85, 1.15)

    def bars(size: str, figure: str) -> tuple[float | None, float | None]:
        return (0.88, None) if figure == "c95" and size != REGION else (None, None)

    yield from figures("demo", card.whole_zones.cells, bars)
    yield from dependence_rows("demo", bundle)


def scored(args: argparse.Namespace, name: str) -> tuple[Any, Bundle, xr.Dataset]:
    """Train a model or take a saved one, and score it on the years that it has not seen."""
    case = CASES[name]
    ds = load(case)
    if args.quick:
        ds = ds.isel(y=slice(100, 220), x=slice(200, 320))
    bundle = Bundle.load(args.model) if args.model else trained(args, ds, name)
    draws = 8 if args.quick else args.draws
    options = BacktestOptions(
        h=len(case.leads), origins=(str(case.origin),), baselines=("persistence",),
        level=(50.0, 80.0, 95.0), zone_draws=draws,
    )  # fmt: skip
    start = time.process_time()
    card = evaluate(ds, bundle, options)
    note(f"{name}: scored in {time.process_time() - start:.0f} s of CPU")
    return card, bundle, ds


def trained(args: argparse.Namespace, ds: xr.Dataset, name: str) -> Bundle:
    """Train with the defaults up to the origin, as ``hmx train`` does."""
    case, chosen = CASES[name], {}
    if args.quick:
        chosen = {"epochs": 1, "steps": 2, "width": 4}
    out = args.keep / name if args.keep else None
    start = time.process_time()
    model = ds.hm.train(
        static=["elevation"], history=case.history, h=len(case.leads), until=case.origin,
        out=out, **chosen,
    )  # fmt: skip
    note(f"{name}: trained in {time.process_time() - start:.0f} s of CPU")
    assert isinstance(model, Bundle)
    return model


def figures(
    name: str,
    cells: Mapping[tuple[str, int], ZoneCell],
    bars: Callable[[str, str], tuple[float | None, float | None]],
) -> Iterator[Row]:
    """Yield the figures of each lead and size."""
    for (size, lead), cell in cells.items():
        if not cell.zones:
            continue
        at = f"{CASES[name].name(lead)}, {size} ({cell.zones}): "
        ours = cell.intervals[DRAWS, 95.0]
        yield Row(name, at + "95 %, with tolerance", ours.tolerant, *bars(size, "c95"))
        yield Row(name, at + "95 %, plain", ours.share)
        half = cell.intervals[DRAWS, 50.0]
        # no tolerance here: in quiet zones it is wider than half of the distribution
        yield Row(name, at + "50 %, plain", half.share, *bars(size, "c50"))
        yield Row(name, at + "50 %, with tolerance", half.tolerant)
        for method in (BOUNDS, EFFECTIVE, PIXELS):
            other = cell.intervals.get((method, 95.0))
            if other is not None and other.interval_score > 0:
                ratio = ours.interval_score / other.interval_score
                yield Row(name, at + f"interval score over {method}", ratio, *bars(size, method))
        if size == REGION and cell.observed:
            yield Row(name, at + "expected / observed change", cell.expected / cell.observed)


def squares_of(card: Any) -> list[tuple[tuple[str, int], ZoneCell]]:
    """List the cells of all sizes but the region."""
    return [item for item in card.whole_zones.cells.items() if item[0][0] in SIZES]


def past_totals(ds: xr.Dataset, bundle: Bundle, case: Case, lead: int) -> tuple[float, float]:
    """Sum the expected and the observed change over all origins that a model has learnt from."""
    past = past_of(ds, case)
    area = Grid.from_xarray(ds).cell_areas()[:, None]
    expected = observed = 0.0
    for origin in range(case.history - 1, past.sizes["time"] - lead):
        seen = past.isel(time=slice(0, origin + 1))
        ahead = forecast(seen, model=bundle, h=lead)["hm"].values[lead - 1]
        start, came = past["hm"].values[origin], past["hm"].values[origin + lead]
        known = np.isfinite(start + came + ahead)
        expected += float((area * np.where(known, ahead - start, 0)).sum())
        observed += float((area * np.where(known, came - start, 0)).sum())
    return expected, observed


def dependence_rows(name: str, bundle: Bundle) -> Iterator[Row]:
    """Yield what a model's fitted dependence is, for the reader."""
    found = bundle.dependence
    for number, lead in enumerate(found.leads if found else (), start=1):
        yield Row(name, f"lead {number}: region's share", lead.region)
        yield Row(name, f"lead {number}: origins", lead.origins)
        parts = [lead.nugget, *lead.weights]
        labels = ("the nugget", *(f"{sigma:g} px" for sigma in RANGES))
        for label, weight in zip(labels, parts, strict=True):
            yield Row(name, f"lead {number}: weight of {label}", weight)


# --- known laws -----------------------------------------------------------------------------


def worlds(args: argparse.Namespace) -> Iterator[Row]:
    """Score zones of worlds whose law is known."""
    from tests.bench.zone_worlds import worlds as run

    small: dict[str, Any] = {"side": 120, "origins": (1,), "fits": 1, "tests": 2, "draws": 20}
    for row in run(**(small if args.quick else {}), note=note):
        at = f"{row['law']}, {row['origins']} origins, {row['zones']}: "
        bar = (0.90, 1.0) if row["zones"] == REGION else (0.91, 0.98)
        yield Row("worlds", at + "95 %", row["c95"], *bar)
        yield Row("worlds", at + "50 %", row["c50"])
        yield Row("worlds", at + "interval score over that of the true law", row["score"])


# --- cost -----------------------------------------------------------------------------------


def cost(args: argparse.Namespace) -> Iterator[Row]:
    """Measure CPU seconds of draws, and the memory of totals."""
    side, draws, h = (64, 2, 1) if args.quick else (512, 4, 4)
    quantiles = distributions(side, h=h)
    field = Field(grid_of(side), Window.of((side, side)), Dependence.prior(300.0), seed=0)
    run = Draws(field, quantiles)
    for _ in run(range(1)):  # tables are made once
        pass
    start = time.process_time()
    for _ in run(range(draws)):
        pass
    seconds = (time.process_time() - start) / (draws * h * side * side / 1e6)
    yield Row("cost", "CPU s per Mpx, draw and lead", seconds, None, None if args.quick else 0.6)
    yield from memory(args)


def tables(args: argparse.Namespace) -> Iterator[Row]:
    """Add up zones from tiles of several sizes: whole numbers, so nothing may differ."""
    side, draws = (96, 4) if args.quick else (300, 50)
    tiles = (32, 64, side) if args.quick else (64, 256, side)
    grid, quantiles = grid_of(side), distributions(side, h=2)
    cell = np.add.outer(np.arange(side) // 45 * 100, np.arange(side) // 37) + 1
    layer = read_zones(cell, grid)
    measures = Measures(above=(0.1, 0.4), classes=(0.1, 0.4), moves=(0.01,))
    found = [totals_of(grid, quantiles, layer, measures, tile, draws) for tile in tiles]
    for tile, other in zip(tiles[:-1], found[:-1], strict=True):
        same = all(np.array_equal(a, b) for a, b in zip(other, found[-1], strict=True))
        yield Row("bits", f"tables of tiles of {tile} px equal one pass", float(same), 1, 1)
    more = totals_of(grid, quantiles, layer, measures, tiles[-1], 2 * draws)
    first = np.array_equal(more[0][:, :, :draws], found[-1][0])
    yield Row("bits", f"totals of the first {draws} of {2 * draws} draws", float(first), 1, 1)


def totals_of(
    grid: Grid, quantiles: np.ndarray, layer: ZoneLayer, measures: Measures, tile: int, draws: int
) -> list[np.ndarray]:
    """Add up draws of a map tile by tile: all arrays of the sums, those of values first."""
    h = quantiles.shape[1]
    units = Units.of(float(grid.cell_areas().sum() * grid.shape[1]), 1.0)
    sums = ZoneSums.empty(np.append(np.arange(len(layer)), ALL), h, draws, measures)
    for part in TileGrid(grid.shape, (tile, tile), halo=0):
        at = part.core.slices
        quantile = quantiles[(..., *at)]
        values = TileValues(
            np.einsum("q,qhyx->hyx", weights(), quantile), quantile[0, 0] * 0.9,
            grid.cell_areas()[part.core.y.slice],
        )  # fmt: skip
        field = Field(grid, part.core, Dependence.prior(300.0), seed=7)
        cover = layer.cover(part.core)
        sums.add(
            tile_sums(
                values, cover, Draws(field, quantile), range(draws), measures=measures, units=units
            )
        )
    arrays = sums.arrays()
    return [arrays.pop("value"), *arrays.values()]


ZONAL = (
    "import hmx; ds = hmx.open_cube({cube!r}); "
    "t = ds.hm.zonal({zones!r}, h=1, model={model!r}, draws={draws}, above=[0.1]); "
    "assert t.sizes['zone'] > 10; t.load()"
)


def memory(args: argparse.Namespace) -> Iterator[Row]:
    """Measure the peak of totals over sides of the raster, and over numbers of draws."""
    # the share of land falls as the raster grows: what is measured is memory, not patience
    sides = ((64, 1.0), (128, 1.0)) if args.quick else ((2048, 0.3), (8192, 0.02))
    counts = (2, 4) if args.quick else (50, 500)
    with tempfile.TemporaryDirectory(prefix="hmx-zones-") as folder:
        peaks = [peak_of(Path(folder), side, land, draws=10) for side, land in sides]
        drawn_ = [peak_of(Path(folder), min(sides)[0] // 4, 1.0, draws=n) for n in counts]
    for (side, _), peak in zip(sides, peaks, strict=True):
        yield Row("cost", f"peak of totals, {side:,} px squared, MiB", peak)
    bar = None if args.quick else 1.1
    yield Row("cost", "peak of the larger raster over the smaller", peaks[1] / peaks[0], None, bar)
    for count, peak in zip(counts, drawn_, strict=True):
        yield Row("cost", f"peak of totals of {count} draws, MiB", peak)
    yield Row("cost", "peak of more draws over fewer", drawn_[1] / drawn_[0], None, bar)


def peak_of(folder: Path, side: int, land: float, *, draws: int) -> float:
    """Add up 256 zones of a synthetic cube in a process of its own; return its peak, MiB."""
    from tests.bench.memory import TINY
    from tests.bench.world import make_model, write_world

    cube, model, zones = (folder / f"{side}{end}" for end in (".zarr", ".model", ".geojson"))
    if not cube.exists():
        write_world(cube, (side, side), land=land)
        make_model(model, cube, TINY, h=1)
        zones.write_text(json.dumps(boxes(side * 1000.0)))
    code = ZONAL.format(cube=str(cube), model=str(model), zones=str(zones), draws=draws)
    return measured.peak_rss(code)


def boxes(width: float) -> Facts:
    """Cut a square into 256 zones, GeoJSON."""
    edges = np.linspace(0, width, 17)
    features = []
    for row in range(16):
        for column in range(16):
            west, east = 5e5 + edges[column], 5e5 + edges[column + 1]
            north, south = 6e6 - edges[row], 6e6 - edges[row + 1]
            ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
            features.append(
                {
                    "type": "Feature",
                    "properties": {"name": f"{row}-{column}"},
                    "geometry": {"type": "Polygon", "coordinates": [ring]},
                }
            )
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    return {"type": "FeatureCollection", "crs": crs, "features": features}


RUNS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "bits": bits, "amapa": amapa, "europe": europe, "demo": demo, "worlds": worlds, "cost": cost,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
