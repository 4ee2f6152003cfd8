"""Make the demo landscape: seven Human Modification rasters and a terrain.

Everything here is synthetic: no observed data went in. The rules come from
thinking about landscapes, and their numbers from looking at the maps and at
plain baselines (persistence, a trend per pixel, a ridge regression). All was
fixed before any network was fitted to it. What happens, in order:

terrain
    Rivers carve a noisy land; the sea drowns the lowest valleys (terrain.py).
settlement
    Towns take flat, low sites near the coast or a large river, a distance
    apart from each other. The best sites have the largest towns.
roads
    Neighbouring towns are linked by least-cost paths over slope: a spanning
    tree, plus the links that save a long detour. Roads do not change.
contagion
    Where enough of the neighbourhood is built, a cell follows within a few
    years and saturates. Slope hinders this and roads help it, so towns grow
    along roads and valleys. Now and then a hamlet appears beside a road.
frontier
    Farmland (modification 0.2-0.5) spreads by the same rule with its own
    numbers, from the settled plains along roads into the wild interior.
protection
    One protected area resists both. No raster shows it, except by what does
    not happen there.
abandonment
    Patches of farmland, mostly sloping ones, are given up and revert to wild.
noise
    Yearly gusts make fronts advance unevenly; a fixed texture stands for soil
    and ownership. A tenth of the developed cells carries a small measurement
    error each time. Wild cells are exactly 0 until a front arrives.

Uses combine as in the Human Modification index, 1 - prod(1 - use) (Theobald
et al., 2020). The process runs on annual steps from 1960 and is written every
five years from 1990 to 2020.

Examples
--------
``python data/make_demo.py`` writes ``data/demo/HM_1990.tif`` ...
``HM_2020.tif`` and ``data/demo/elevation.tif``.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from terrain import Array, Index, Mask, Relief, Rng, Terrain, make_terrain, noise, ramp, travel

Links = dict[tuple[int, int], tuple[float, int, int]]  # towns: cost, cell, cell


@dataclass(frozen=True)
class Front:
    """State how one land use spreads into its neighbourhood."""

    rate: float  # part of the remaining gap that closes in a year, 1/year
    radius: float  # standard deviation of the neighbourhood kernel, px
    low: float  # eased share of the neighbourhood at which a cell starts to follow, 0-1
    high: float  # the same, at which it follows fully, 0-1
    steep: float  # slope at which the ease of spreading has fallen to 1/e, m/m
    road_gain: float  # extra ease on a road, relative to open land
    road_reach: float  # distance at which that extra has fallen to 1/e, px
    texture: float  # standard deviation of the logarithm of the fixed patchiness


@dataclass(frozen=True)
class Recipe:
    """Hold the numbers that shape the demo landscape."""

    seed: int = 7
    crs: str = "EPSG:32632"
    west: float = 400_000.0  # m
    north: float = 5_300_000.0  # m
    relief: Relief = field(default_factory=Relief)

    towns: int = 48
    spacing: float = 24.0  # mean of the least distance between towns, px
    border: int = 10  # least distance of a town from the edge of the map, px
    city_radius: float = 5.0  # of the largest town in the first year, px
    rank_power: float = 0.45  # by which the radius falls with rank
    detour: float = 1.8  # way by road over direct link, above which a link is built
    road_hm: float = 0.22  # modification of a road cell, 0-1
    town_hm: tuple[float, float] = (0.6, 1.0)  # modification of built land, 0-1
    crop_hm: tuple[float, float] = (0.2, 0.5)  # modification of farmland, 0-1
    farm_reach: float = 28.0  # travel cost from a town, at ease 1, farmed at the start, px

    park: tuple[float, float, float, float] = (100, 408, 44, 40)  # row, col, half axes, px
    resistance: float = 0.2  # ease of spreading in the park, relative to outside
    hamlet_rate: float = 0.003  # chance of a hamlet on farmland by a road, 1/year
    hamlet_share: float = 0.4  # built share of a new hamlet, 0-1
    abandon: float = 4.4  # threshold of the yearly abandonment field, standard deviations
    decay: float = 0.3  # part of abandoned farmland that reverts in a year, 1/year
    gust: float = 0.35  # standard deviation of the logarithm of the yearly speed of fronts
    first: int = 1960  # start of the simulation
    years: tuple[int, ...] = tuple(range(1990, 2021, 5))  # written

    observed: float = 0.1  # part of the developed cells that carries a measurement error
    error: float = 0.003  # standard deviation of that error, HM
    quantum: float = 1 / 512  # step to which HM is rounded; dyadic floats deflate well

    built: Front = Front(0.5, 1.2, 0.19, 0.76, 0.10, 1.2, 1.5, 0.40)
    farm: Front = Front(0.6, 1.4, 0.13, 0.42, 0.20, 0.7, 3.0, 0.25)


@dataclass(frozen=True)
class Land:
    """Hold what does not change; arrays of shape (rows, cols)."""

    alive: Mask  # not sea
    towns: Index  # flat indices, largest first
    roads: Mask
    remote: Array  # travel cost to the nearest town, px of flat land
    near_road: Array  # 1 on a road, falling to 0
    build_ease: Array  # 0-2
    farm_ease: Array  # 0-2
    town_hm: Array  # modification of a cell that is built up, 0-1
    crop_hm: Array  # modification of a cell that is farmed, 0-1
    marginal: Array  # how little farming pays, standard deviations


@dataclass(frozen=True)
class Uses:
    """Hold what changes from year to year; arrays of shape (rows, cols)."""

    built: Array  # share, 0-1
    farm: Array  # share, 0-1
    idle: Mask  # farmland that was given up


def place_towns(rng: Rng, recipe: Recipe, *, terrain: Terrain, park: Mask) -> Index:
    """Choose the best sites for towns, best first; flat indices."""
    score = appeal(terrain) + 0.6 * noise(rng, terrain.height.shape, 0.5, 50)
    score[park | ~inner(score.shape, recipe.border)] = -np.inf
    sites = []
    for _ in range(recipe.towns):
        sites.append(np.argmax(score))
        gap = recipe.spacing * rng.uniform(0.4, 1.6)
        score[away(sites[-1], score.shape) < gap] = -np.inf
    return np.array(sites)


def inner(shape: tuple[int, int], border: int) -> Mask:
    """Mark the cells that are not close to the edge of the map."""
    return np.pad(np.ones([n - 2 * border for n in shape], bool), border)


def appeal(terrain: Terrain) -> Array:
    """Rate sites: flat, low, near the coast or a large river, on land."""
    alive = np.isfinite(terrain.height)
    coast = distance_transform_edt(alive)
    river = gaussian_filter(np.where(alive, np.log10(terrain.area), 0.0), 2)
    hard = gaussian_filter(terrain.slope, 3) / 0.05 + terrain.height / 2000
    return np.where(coast < 3, -np.inf, np.exp(-coast / 12) + 0.5 * river - hard)


def away(site: int, shape: tuple[int, int]) -> Array:
    """Measure the distance of each cell from a site, px."""
    row, col = np.unravel_index(site, shape)
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(y - row, x - col)


def build_roads(terrain: Terrain, towns: Index, *, recipe: Recipe) -> tuple[Mask, Array]:
    """Link neighbouring towns by least-cost paths; roads and travel cost."""
    open_ = np.isfinite(terrain.height) & inner(terrain.height.shape, recipe.border // 2)
    graph = travel(np.where(open_, 1 + (terrain.slope / 0.03) ** 2, np.inf))
    cost, back, home = dijkstra(graph, indices=towns, min_only=True, return_predecessors=True)
    links = meetings(graph.tocoo(), cost, home=np.searchsorted(np.sort(towns), home))
    roads = np.zeros(cost.size, bool)
    for cell in (end for pair in wanted(links, recipe.detour) for end in links[pair][1:]):
        while cell >= 0:
            roads[cell] = True
            cell = back[cell]
    return roads.reshape(open_.shape), cost.reshape(open_.shape)


def meetings(moves: coo_matrix, cost: Array, *, home: Index) -> Links:
    """Find where the spheres of two neighbouring towns meet at least cost."""
    cross = home[moves.row] < home[moves.col]
    u, v = moves.row[cross], moves.col[cross]
    total = cost[u] + moves.data[cross] + cost[v]
    links: Links = {}
    for k in np.argsort(total, kind="stable"):
        links.setdefault((home[u[k]], home[v[k]]), (total[k], u[k], v[k]))
    return links


def wanted(links: Links, detour: float) -> list[tuple[int, int]]:
    """Keep the links of the spanning tree and those that save a detour."""
    rows, cols = np.array(list(links)).T
    costs = np.array([cost for cost, _, _ in links.values()])
    size = max(rows.max(), cols.max()) + 1
    tree = minimum_spanning_tree(csr_matrix((costs, (rows, cols)), shape=(size, size)))
    by_road = dijkstra(tree, directed=False)[rows, cols]
    on_tree = tree.toarray()[rows, cols] > 0
    keep = on_tree | (by_road > detour * costs)
    return list(compress(links, keep))


def protect(rng: Rng, recipe: Recipe) -> Mask:
    """Outline the protected area, a warped ellipse."""
    y, x = np.mgrid[: recipe.relief.rows, : recipe.relief.cols]
    row, col, tall, wide = recipe.park
    return np.hypot((y - row) / tall, (x - col) / wide) + 0.25 * noise(rng, y.shape, 3.0, 80) < 1


def ease(rng: Rng, front: Front, *, slope: Array, off_road: Array) -> Array:
    """Rate how readily each cell follows its neighbourhood, 0-2."""
    texture = np.exp(front.texture * noise(rng, slope.shape, 1.5, 12))
    road = 1 + front.road_gain * np.exp(-off_road / front.road_reach)
    return np.exp(-((slope / front.steep) ** 2)) * road * texture


def make_land(rng: Rng, recipe: Recipe, *, terrain: Terrain) -> Land:
    """Place towns and roads, and rate each cell for each use."""
    slope, shape = terrain.slope, terrain.slope.shape
    alive = np.isfinite(terrain.height)
    park = protect(rng, recipe)
    towns = place_towns(rng, recipe, terrain=terrain, park=park)
    roads, remote = build_roads(terrain, towns, recipe=recipe)
    off_road = distance_transform_edt(~roads)
    freedom = alive * np.where(park, recipe.resistance, 1.0)
    lie = gaussian_filter(slope, 2)
    soil = ramp(noise(rng, shape, 2.5, 40) - lie / 0.1, -2.5, 1.5)
    density = ramp(noise(rng, shape, 1.0, 12), -2.5, 0.5)
    return Land(
        alive,
        towns,
        roads,
        remote,
        near_road=np.exp(-off_road / 2),
        build_ease=freedom * ease(rng, recipe.built, slope=slope, off_road=off_road),
        farm_ease=freedom * ease(rng, recipe.farm, slope=slope, off_road=off_road),
        town_hm=np.interp(density, (0, 1), recipe.town_hm),
        crop_hm=np.round(np.interp(soil, (0, 1), recipe.crop_hm), 2),
        marginal=lie / 0.05 + 0.5 * noise(rng, shape, 2.0, 40),
    )


def settle(land: Land, recipe: Recipe) -> Uses:
    """Lay out the towns and farms of the first year."""
    built = np.zeros(land.alive.shape)
    for rank, site in enumerate(land.towns, start=1):
        built[away(site, built.shape) < recipe.city_radius * rank**-recipe.rank_power] = 1
    farm = land.remote < recipe.farm_reach * land.farm_ease
    return Uses(built * land.alive, farm.astype(float), np.zeros(built.shape, bool))


def spread(share: Array, front: Front, *, ease: Array, alive: Mask, gust: Array) -> Array:
    """Advance one land use by one year; the sea is no empty neighbourhood."""
    mass = gaussian_filter(alive.astype(float), front.radius, truncate=3)
    near = gaussian_filter(share, front.radius, truncate=3) / np.maximum(mass, 0.05)
    gap = np.maximum(ramp(near * ease, front.low, front.high) - share, 0)
    return share + np.minimum(front.rate * gust, 1) * gap


def advance(rng: Rng, recipe: Recipe, *, land: Land, uses: Uses) -> Uses:
    """Run one year: fronts, new hamlets, abandonment."""
    shape = land.alive.shape
    here = {"alive": land.alive, "gust": np.exp(recipe.gust * noise(rng, shape, 2.0, 20))}
    built = spread(uses.built, recipe.built, ease=land.build_ease, **here)
    farm = spread(uses.farm, recipe.farm, ease=land.farm_ease * ~uses.idle, **here)
    hamlet = rng.random(shape) < recipe.hamlet_rate * land.near_road * farm
    doubt = land.marginal + noise(rng, shape, 4.0, 25)
    idle = uses.idle | ((farm > 0.9) & (doubt > recipe.abandon))
    farm = np.where(idle, farm * (1 - recipe.decay), farm)
    return Uses(np.maximum(built, recipe.hamlet_share * hamlet), farm, idle)


def history(rng: Rng, recipe: Recipe, *, land: Land) -> Iterator[tuple[int, Array]]:
    """Run the annual process; yield the true HM of each year to write."""
    uses = settle(land, recipe)
    for year in range(recipe.first, recipe.years[-1] + 1):
        if year in recipe.years:
            yield year, combine(land, uses, road_hm=recipe.road_hm)
        uses = advance(rng, recipe, land=land, uses=uses)


def combine(land: Land, uses: Uses, *, road_hm: float) -> Array:
    """Combine uses to HM by the fuzzy sum, ``1 - prod(1 - use)``."""
    used = (uses.built * land.town_hm, uses.farm * land.crop_hm, land.roads * road_hm)
    return 1 - np.prod([1 - use for use in used], axis=0)


def observe(rng: Rng, recipe: Recipe, *, truth: Array) -> Array:
    """Add measurement error to a part of the developed cells, and round."""
    seen = (rng.random(truth.shape) < recipe.observed) & (truth > recipe.quantum)
    hm = truth + seen * recipe.error * rng.standard_normal(truth.shape)
    return np.clip(np.round(hm / recipe.quantum) * recipe.quantum, 0, 1)


def write(path: Path, values: Array, *, recipe: Recipe, **tags: str) -> None:
    """Write one tiled float32 GeoTIFF with NaN as nodata."""
    corner = from_origin(recipe.west, recipe.north, recipe.relief.pixel, recipe.relief.pixel)
    rows, cols = values.shape
    shape = {"count": 1, "height": rows, "width": cols, "dtype": "float32", "nodata": np.nan}
    store = {"tiled": True, "compress": "deflate", "zlevel": 9, "predictor": 3}
    place = {"crs": recipe.crs, "transform": corner}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place, **store) as file:
        file.write(values.astype(np.float32), 1)
        file.update_tags(SYNTHETIC="yes", **tags)


def make_demo(out: Path, recipe: Recipe) -> None:
    """Write all rasters of the demo to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(recipe.seed)
    terrain = make_terrain(rng, recipe.relief)
    write(out / "elevation.tif", np.round(terrain.height), recipe=recipe, UNITS="m")
    land = make_land(rng, recipe, terrain=terrain)
    for year, truth in history(rng, recipe, land=land):
        hm = np.where(land.alive, observe(rng, recipe, truth=truth), np.nan)
        write(out / f"HM_{year}.tif", hm, recipe=recipe, UNITS="1", YEAR=str(year))


def main() -> None:
    """Read the command line and make the demo."""
    parser = argparse.ArgumentParser(description="Make the synthetic demo landscape.")
    parser.add_argument("--out", type=Path, default=Path("data/demo"), help="folder to write to")
    make_demo(parser.parse_args().out, Recipe())


if __name__ == "__main__":
    main()
