"""Make the demo of the map job: a small region, and soil samples from it.

Everything here is synthetic: no observed data went in. Soil organic carbon (SOC)
follows rules that a textbook would give, and the numbers were fixed before any network
was fitted to the result. What happens, in order:

terrain
    Rivers carve a noisy land above a sea (terrain.py).
cover
    Forest on slopes and heights, cropland on flat low land, grassland between.
weather
    Precipitation rises with height and to the west, with a year of its own;
    temperature falls with height. Each summer is hotter or cooler as a whole, and
    unevenly so.
bands
    NDVI tells forest at a glance. Cropland is as green as grassland in the mean, but
    changes with the crop from year to year, so it takes several years to tell them
    apart. Land surface temperature follows height, weather and NDVI.
carbon
    The logarithm of SOC rises where it is wet and falls where it is warm (both level
    off), and is least under the plough; hollows that lie lower than their
    surroundings keep more, steep land loses it, and drained wet cropland most. A smooth
    remainder stands for parent material, which no band shows. It does not change in
    these years.
samples
    Farms and forest plots lie in clusters, near low and level land, and none on the
    heights. Each sample carries a lognormal error: what one core tells of a pixel. Some
    sites were sampled twice, in different years.

Examples
--------
``python data/make_demo_soc.py`` writes ``data/demo_soc/points.csv``, the bands
``ndvi_2015.tif`` ... ``slope.tif``, and ``truth.tif``, which no model may see.
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from pyproj import Transformer
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter
from terrain import Array, Index, Mask, Relief, Rng, Terrain, make_terrain, noise, ramp


@dataclass(frozen=True)
class Recipe:
    """Hold the numbers that shape the region, its carbon and its samples."""

    seed: int = 11
    crs: str = "EPSG:25832"
    west: float = 560_000.0  # m
    north: float = 5_720_000.0  # m
    relief: Relief = field(default_factory=lambda: Relief(rows=120, cols=140, pixel=250.0))
    years: tuple[int, ...] = tuple(range(2015, 2023))

    rotation: float = 0.17  # sd of the NDVI of cropland over the years
    lapse: float = 6.5e-3  # K/m
    hot: float = 1.6  # sd of a summer's temperature, K
    rain: tuple[float, float] = (55.0, 0.07)  # of a month at sea level, mm, and its rise, mm/m

    base: float = 2.75  # log SOC of level, dry, warm grassland, g/kg
    under: tuple[float, float, float] = (-0.45, 0.0, 0.3)  # log SOC of crop, grass, forest
    remainder: float = 0.16  # sd of what no band shows, log SOC
    blur: float = 60.0  # wavelength above which it is flat, px
    error: float = 0.2  # sd of the logarithm of one sample about its pixel

    clusters: int = 80
    samples: int = 500
    spread: float = 4.0  # sd of the sites of a cluster, px
    ceiling: float = 0.9  # quantile of height above which nobody samples
    twice: float = 0.12  # share of the sites that are sampled in two years
    sampled: tuple[int, int] = (2018, 2022)  # first and last year


@dataclass(frozen=True)
class Land:
    """Hold what does not change; arrays of shape (rows, cols)."""

    terrain: Terrain
    alive: Mask  # not sea
    crop: Array  # share, 0-1
    forest: Array  # share, 0-1
    rain: Array  # of each month, mm, (12, rows, cols)
    hollow: Array  # how far a pixel lies below its surroundings, -1 to 1


def make_land(rng: Rng, recipe: Recipe) -> Land:
    """Lay out terrain, cover and rain."""
    terrain = make_terrain(rng, recipe.relief)
    alive = np.isfinite(terrain.height)
    height, shape = np.nan_to_num(terrain.height), alive.shape
    tree = 1.3 * noise(rng, shape, 2.8, 24) + terrain.slope / 0.06 + height / 400
    forest = ramp(tree, 1.6, 2.4)
    crop = ramp(noise(rng, shape, 2.8, 20) - terrain.slope / 0.08, -0.3, 0.2) * (1 - forest)
    level, rise = recipe.rain
    west = np.linspace(12, -12, shape[1])  # mm, from west to east
    season = 1 + 0.35 * np.cos(2 * np.pi * (np.arange(12) - 6.5) / 12)[:, None, None]
    rain = season * (
        level + rise * gaussian_filter(height, 3) + west + 4 * noise(rng, shape, 4, 80)
    )
    mean = gaussian_filter(height, 2) / np.maximum(gaussian_filter(alive * 1.0, 2), 0.05)
    hollow = np.tanh((mean - height) / 25)
    return Land(terrain, alive, crop, forest, rain, hollow)


def grow(rng: Rng, recipe: Recipe, *, land: Land) -> Array:
    """Draw the NDVI of each year, (years, rows, cols)."""
    shape = (len(recipe.years), *land.alive.shape)
    fields = np.stack([noise(rng, shape[1:], 1.0, 6) for _ in recipe.years])
    weather = 0.015 * rng.standard_normal((shape[0], 1, 1))
    still = 0.56 + 0.24 * land.forest + 0.04 * land.hollow + 0.0004 * (land.rain.mean(0) - 60)
    ndvi = still + weather + land.crop * recipe.rotation * fields
    return np.clip(ndvi + 0.02 * rng.standard_normal(shape), 0.05, 0.95)


def heat(rng: Rng, recipe: Recipe, *, land: Land, ndvi: Array) -> Array:
    """Draw the summer land surface temperature of each year, °C."""
    summer = recipe.hot * rng.standard_normal((len(ndvi), 1, 1))
    uneven = np.stack([0.8 * noise(rng, land.alive.shape, 3.0, 60) for _ in ndvi])
    height = np.nan_to_num(land.terrain.height)
    return 31 - recipe.lapse * height + summer + uneven - 9 * (ndvi - 0.56)


def carbon(rng: Rng, recipe: Recipe, *, land: Land) -> Array:
    """Work out the true SOC of each pixel, g/kg."""
    height = np.nan_to_num(land.terrain.height)
    wet = ramp(land.rain.mean(0), 50, 90)
    cool = ramp(recipe.lapse * height, 0.5, 4.0)  # K below the coast
    crop, grass, forest = recipe.under
    cover = crop * land.crop + forest * land.forest + grass
    lie = 0.28 * land.hollow - 0.5 * ramp(land.terrain.slope, 0.05, 0.35)
    drained = -0.3 * land.crop * wet
    rest = recipe.remainder * noise(rng, height.shape, 3.0, recipe.blur)
    return np.exp(recipe.base + 0.5 * wet + 0.5 * cool + cover + lie + drained + rest)


def visit(rng: Rng, recipe: Recipe, *, land: Land) -> Index:
    """Choose the pixels of sites in clusters; flat indices, some drawn twice."""
    height = land.terrain.height
    reachable = land.alive & (height < np.nanquantile(height, recipe.ceiling))
    ease = reachable * np.exp(-land.terrain.slope / 0.2)
    homes = rng.choice(height.size, recipe.clusters, replace=False, p=ease.ravel() / ease.sum())
    sizes = rng.gamma(1.0, size=recipe.clusters)  # few large clusters, many small ones
    at = rng.choice(homes, 4 * recipe.samples, p=sizes / sizes.sum())
    away = recipe.spread * rng.standard_normal((2, at.size))
    places = np.stack(np.unravel_index(at, height.shape)) + np.round(away).astype(int)
    inside = ((places >= 0) & (places < np.array(height.shape)[:, None])).all(0)
    sites = np.ravel_multi_index(tuple(places[:, inside]), height.shape)
    return np.array(list(dict.fromkeys(sites[reachable.ravel()[sites]])))


def sample(rng: Rng, recipe: Recipe, *, land: Land, truth: Array) -> pd.DataFrame:
    """Take the samples: site, place, year and SOC."""
    once = round(recipe.samples / (1 + recipe.twice))
    sites = visit(rng, recipe, land=land)[:once]
    again = rng.choice(once, recipe.samples - once, replace=False)
    number = np.concatenate([np.arange(once), again])
    first, last = recipe.sampled
    year = rng.integers(first, last, once)  # before the last, which a second visit may be in
    years = np.concatenate([year, np.minimum(year[again] + 2, last)])
    rows, cols = np.unravel_index(sites[number], truth.shape)
    off = rng.uniform(-0.35, 0.35, (2, once))[:, number]  # px from the centre of the pixel
    x = recipe.west + (cols + 0.5 + off[0]) * recipe.relief.pixel
    y = recipe.north - (rows + 0.5 + off[1]) * recipe.relief.pixel
    lon, lat = Transformer.from_crs(recipe.crs, "EPSG:4326", always_xy=True).transform(x, y)
    soc = truth[rows, cols] * np.exp(recipe.error * rng.standard_normal(number.size))
    columns = {
        "site": [f"S{n:03d}" for n in number + 1],
        "lon": lon.round(6),
        "lat": lat.round(6),
        "year": years,
        "soc": soc.round(1),
    }
    return pd.DataFrame(columns).sort_values(["year", "site"], ignore_index=True)


def write(path: Path, values: Array, *, recipe: Recipe, step: float = 1.0, units: str) -> None:
    """Write one GeoTIFF of whole numbers of ``step``, as small as they allow; 0 is nodata."""
    whole = np.nan_to_num(np.round(values / step)).astype(int)
    dtype = "uint8" if whole.max() < 256 else "uint16"
    rows, cols = values.shape
    corner = from_origin(recipe.west, recipe.north, recipe.relief.pixel, recipe.relief.pixel)
    shape = {"count": 1, "height": rows, "width": cols, "dtype": dtype, "nodata": 0}
    store = {"compress": "deflate", "zlevel": 9, "predictor": 2}
    place = {"crs": recipe.crs, "transform": corner}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place, **store) as file:
        file.write(whole.astype(dtype), 1)
        file.update_tags(SYNTHETIC="yes", UNITS=units, STEP=str(step))


def make_demo(out: Path, recipe: Recipe) -> None:
    """Write bands, truth and samples to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(recipe.seed)
    land = make_land(rng, recipe)

    def band(name: str, values: Array, step: float, units: str) -> None:
        known = np.where(land.alive, np.maximum(values, step), np.nan)
        write(out / f"{name}.tif", known, recipe=recipe, step=step, units=units)

    band("elevation", land.terrain.height, 1.0, "m")
    band("slope", 100 * land.terrain.slope, 0.2, "%")
    for month, rain in enumerate(land.rain, start=1):
        band(f"precip_{month:02d}", rain, 1.0, "mm")
    ndvi = grow(rng, recipe, land=land)
    lst = heat(rng, recipe, land=land, ndvi=ndvi)
    for year, green, hot in zip(recipe.years, ndvi, lst, strict=True):
        band(f"ndvi_{year}", green, 0.01, "1")
        band(f"lst_{year}", hot, 0.2, "degC")
    truth = carbon(rng, recipe, land=land)
    band("truth", truth, 0.1, "g/kg")
    points = sample(rng, recipe, land=land, truth=truth)
    points.to_csv(out / "points.csv", index=False, lineterminator="\n")


def main() -> None:
    """Read the command line and make the demo."""
    parser = argparse.ArgumentParser(description="Make the synthetic demo of soil samples.")
    parser.add_argument("--out", type=Path, default=Path("data/demo_soc"), help="folder")
    make_demo(parser.parse_args().out, Recipe())


if __name__ == "__main__":
    main()
