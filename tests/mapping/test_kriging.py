"""Laws of kriging: errors of samples that were held out correct the map near them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import hmx
from hmx.errors import BadArgument, BundleError
from hmx.mapping.evaluate.rounds import BLEND, PLAIN, Blend, Estimates, cross_validate
from hmx.mapping.kriging import Kriging, KrigingTrial
from hmx.mapping.options import MapTrainOptions
from hmx.points.samples import Samples
from hmx.settings import parse
from hmx.splits.distances import earth_centred
from hmx.splits.methods import block_folds, random_folds
from hmx.splits.site_folds import SiteFolds
from tests.make.soilworlds import TINY, UTM, make_points

RANGE = 15_000.0


def spherical(one: np.ndarray, other: np.ndarray, range_m: float) -> np.ndarray:
    """Spherical correlation of all pairs, written another way than the code's."""
    apart = np.sqrt(((one[:, None] - other[None]) ** 2).sum(axis=-1)) / range_m
    return np.where(apart < 1, 1 - 1.5 * apart + 0.5 * apart**3, 0.0)


def field(n: int = 600, *, seed: int = 0, sill: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Sites in a degree, and a field there of variance 1 whose errors correlate up to 15 km."""
    draw = np.random.default_rng(seed)
    lonlat = np.array([21.0, 41.0]) + draw.random((n, 2))
    places = earth_centred(lonlat)
    covariance = sill * spherical(places, places, RANGE) + (1 - sill) * np.eye(n)
    return lonlat, np.linalg.cholesky(covariance) @ draw.normal(size=n)


def samples_at(lonlat: np.ndarray) -> Samples:
    order = np.arange(len(lonlat))
    return Samples(order, order, 1.0 * order, order, 0 * order, lonlat, lonlat, order)


@pytest.fixture(scope="module")
def fitted() -> tuple[Kriging, np.ndarray, np.ndarray]:
    lonlat, values = field()
    return Kriging.fit(lonlat, values, np.arange(len(values))), lonlat, values


def test_the_sum_over_sites_is_simple_kriging(fitted: Any) -> None:
    kriging, lonlat, values = fitted
    new = np.array([21.0, 41.0]) + np.random.default_rng(1).random((50, 2))
    places = earth_centred(lonlat)
    system = kriging.sill * spherical(places, places, kriging.range_m)
    system += kriging.nugget * np.eye(len(values))
    right = kriging.sill * spherical(earth_centred(new), places, kriging.range_m)
    np.testing.assert_allclose(kriging(new), right @ np.linalg.solve(system, values), atol=1e-8)


def test_the_variogram_is_that_of_the_field() -> None:
    found = [Kriging.fit(*field(900, seed=seed), np.arange(900)) for seed in range(4)]
    sill = np.mean([one.sill for one in found])
    assert sill == pytest.approx(0.6, abs=0.15)
    assert np.mean([one.nugget for one in found]) == pytest.approx(0.4, abs=0.1)
    assert np.mean([one.range_m for one in found]) == pytest.approx(RANGE, rel=0.4)


def test_a_pixel_is_the_same_to_the_bit_whatever_is_beside_it(fitted: Any) -> None:
    kriging = fitted[0]
    pixels = np.array([20.9, 40.9]) + 1.2 * np.random.default_rng(2).random((3000, 2))
    whole = kriging(pixels)
    for rows in (slice(0, 1), slice(5, 900), slice(None, None, 7)):
        np.testing.assert_array_equal(kriging(pixels[rows]), whole[rows])


def test_far_from_all_samples_nothing_is_added(fitted: Any) -> None:
    np.testing.assert_array_equal(fitted[0](np.array([[25.0, 41.5], [21.5, 44.0]])), 0.0)


def test_samples_of_a_site_count_by_their_mean() -> None:
    lonlat, values = field(200)
    site = np.arange(200)
    twice = np.repeat(site, 2)
    apart = np.tile([1.0, -1.0], 200)
    one = Kriging.fit(lonlat, values, site)
    two = Kriging.fit(lonlat[twice], values[twice] + apart, twice)
    np.testing.assert_allclose(two(lonlat + 0.01), one(lonlat + 0.01), atol=1e-9)


def test_a_correlated_error_pays_and_noise_does_not() -> None:
    lonlat, values = field()
    folds = random_folds(samples_at(lonlat), k=5)
    centre = np.zeros(len(values))
    trial = KrigingTrial.of(folds, values, centre, "auto")
    assert trial.used
    better = 1 - ((values - trial.correction) ** 2).sum() / ((values - values.mean()) ** 2).sum()
    assert trial.gain == pytest.approx(better, abs=0.02)
    assert 0.8 < trial.share <= 1
    assert trial.gain > 0.2  # of .3 to .35 that the field allows at these distances
    used = 0
    for seed in range(8):
        noise = np.random.default_rng(seed).normal(size=len(values))
        trial = KrigingTrial.of(folds, noise, centre, "auto")
        used += trial.used
        assert trial.used or not trial.correction.any()
    assert used <= 2
    assert not KrigingTrial.of(folds, values, centre, False).used
    assert KrigingTrial.of(folds, noise, centre, True).used


@pytest.mark.parametrize("buffer_km", [0.0, 5.0])
def test_a_sample_is_corrected_from_other_folds_at_their_distance_alone(buffer_km: float) -> None:
    lonlat, values = field()
    folds = block_folds(samples_at(lonlat), side_km=20, k=4, buffer_km=buffer_km)
    train, test = next(folds.rounds())
    unseen = np.setdiff1d(np.arange(len(values)), train)
    assert (len(unseen) > len(test)) == (buffer_km > 0)
    changed = values.copy()
    changed[unseen] += np.random.default_rng(5).normal(size=len(unseen))
    one, two = (KrigingTrial.of(folds, v, 0 * v, True).kriged for v in (values, changed))
    np.testing.assert_array_equal(one[test], two[test])
    assert not np.array_equal(one, two)


def judged(folds: SiteFolds, truth: np.ndarray, centre: np.ndarray, krige: Any) -> Any:
    def fit_predict(train: Any, test: Any, seed: int) -> Estimates:
        return Estimates(centre[test][None])

    fits = {"network": fit_predict, "forest": fit_predict}
    return cross_validate(fits, folds, truth, blend=Blend(krige=krige), calibrate=[BLEND])


def test_rounds_krige_the_blend_and_nothing_of_the_tested_fold() -> None:
    lonlat, values = field()
    folds, centre = random_folds(samples_at(lonlat), k=4), np.zeros(len(values))
    played = judged(folds, values, centre, "auto")
    assert played.kriged == 4
    errors = {n: ((values - played.estimates[n].center) ** 2).mean() for n in (BLEND, PLAIN)}
    assert errors[BLEND] < 0.85 * errors[PLAIN]
    low, high = played.bounds[BLEND][90.0]
    assert ((values >= low) & (values <= high)).mean() == pytest.approx(0.9, abs=0.04)
    plain_low, plain_high = judged(folds, values, centre, False).bounds[BLEND][90.0]
    assert (high - low).mean() < 0.95 * (plain_high - plain_low).mean()
    first = folds.fold == 0
    other = judged(folds, np.where(first, values + 3, values), centre, True)
    for found, wanted in (
        (other.estimates[BLEND].center, played.estimates[BLEND].center),
        (other.bounds[BLEND][90.0][0], low),
    ):
        np.testing.assert_array_equal(found[first], wanted[first])
        assert not np.array_equal(found[~first], wanted[~first])


def test_arrays_come_back_and_damaged_ones_are_refused(fitted: Any) -> None:
    kriging, lonlat, _ = fitted
    arrays = kriging.arrays()
    again = Kriging.from_arrays(arrays)
    np.testing.assert_array_equal(again(lonlat + 0.003), kriging(lonlat + 0.003))
    for broken in (
        {"weights": arrays["weights"][1:]},
        {"numbers": np.array([0.1, 0.2, 0.0])},
        {"numbers": np.array([0.1, np.nan, 5.0])},
        {"lonlat": arrays["lonlat"].astype("float32")},
    ):
        with pytest.raises(BundleError, match=r"kriging of this model is damaged.*train again"):
            Kriging.from_arrays({**arrays, **broken})
    with pytest.raises(BundleError, match="damaged"):
        Kriging.from_arrays({"weights": arrays["weights"]})


def test_kriging_without_a_blend_is_refused() -> None:
    with pytest.raises(BadArgument, match=r"krige=True corrects the blend.*Try blend=0.5"):
        parse(MapTrainOptions, {"krige": True, "blend": 0})
    with pytest.raises(BadArgument, match="krige"):
        parse(MapTrainOptions, {"krige": "sometimes"})


@pytest.fixture(scope="module")
def kriged(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, tmp_path_factory: pytest.TempPathFactory
) -> hmx.MapBundle:
    """The small mapper with kriged errors as large as its target's spread."""
    table = make_points(land)
    x, y = land["x"].values, land["y"].values
    import pyproj

    to_lonlat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    lonlat = np.stack(to_lonlat.transform(table["x"], table["y"]), axis=1)
    wave = np.sin(4 * (table["x"] - x.min()) / np.ptp(x)) + (table["y"] - y.min()) / np.ptp(y)
    kriging = Kriging.fit(lonlat, wave.to_numpy(), np.arange(len(table)))
    assert kriging.sill > 0
    bundle = replace(trained_mapper, kriging=kriging.arrays(), path=None)
    return bundle.save(tmp_path_factory.mktemp("kriged") / "model")


def logged(soil: xr.Dataset) -> np.ndarray:
    return np.log1p(soil["soc"].values.astype("float64"))


def test_a_map_adds_the_kriged_error_whatever_the_tile_and_region(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, kriged: hmx.MapBundle
) -> None:
    plain = replace(trained_mapper, kriging={}, path=None)
    before, whole = (
        land.soc.map(model=m, level=80, tile=32, chunk=32).compute() for m in (plain, kriged)
    )
    columns, rows = np.meshgrid(land["x"].values, land["y"].values)
    import pyproj

    to_lonlat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    places = np.stack(to_lonlat.transform(columns.ravel(), rows.ravel()), axis=1)
    error = Kriging.from_arrays(kriged.kriging)(places).reshape(columns.shape)
    moved = (logged(whole) - logged(before)) / kriged.target.std
    known = np.isfinite(logged(whole)) & (whole["soc"].values > 0.01)
    assert known.mean() > 0.5
    np.testing.assert_allclose(moved[known], error[known], atol=1e-5)
    assert np.ptp(moved[known]) > 0.5
    for name in ("dissimilarity", "applicable", "quality"):  # the area is that of the covariates
        np.testing.assert_array_equal(whole[name], before[name])
    size = float(whole["soc"].max())
    part = {"region": (slice(5, 30), slice(3, 20)), "tile": 16}
    for options in ({"tile": 16, "chunk": 16}, part):
        found = land.soc.map(model=kriged, level=80, **options).compute()
        crop = whole.sel(x=found["x"], y=found["y"])
        for name in ("soc", "soc_lo_80", "soc_hi_80"):
            np.testing.assert_allclose(found[name], crop[name], rtol=0, atol=2e-6 * size)


def test_predictions_at_points_are_the_kriged_map(land: xr.Dataset, kriged: hmx.MapBundle) -> None:
    rng = np.random.default_rng(7)
    table = pd.DataFrame(
        {n: rng.uniform(float(land[n].min()), float(land[n].max()), 40) for n in ("x", "y")}
    )
    found = land.soc.predict(table, model=kriged, level=80, crs=UTM)
    at = {name: xr.DataArray(table[name].values, dims="row") for name in ("x", "y")}
    made = land.soc.map(model=kriged, level=80).sel(**at, method="nearest").compute()
    known = found["soc"].notna().values
    assert known.sum() > 20
    for name in ("soc", "soc_lo_80", "soc_hi_80"):
        size = float(made[name].max())
        np.testing.assert_allclose(found[name][known], made[name].values[known], atol=2e-5 * size)


def test_a_mask_takes_its_pixels_and_moves_no_other(
    land: xr.Dataset, kriged: hmx.MapBundle
) -> None:
    cover = np.random.default_rng(3).choice([10, 80], land["twi"].shape).astype("int16")
    ds = land.assign(cover=(("y", "x"), cover))
    plain, masked = (
        ds.soc.map(model=kriged, mask=mask).compute()["soc"].values
        for mask in (None, {"cover": [80]})
    )
    assert np.isnan(masked[cover == 80]).all()
    np.testing.assert_array_equal(masked[cover == 10], plain[cover == 10])


def test_a_bundle_keeps_its_kriging_and_reads_without(
    kriged: hmx.MapBundle, trained_mapper: hmx.MapBundle
) -> None:
    again = hmx.load(kriged.path)
    assert again.digest == kriged.digest != trained_mapper.digest
    np.testing.assert_array_equal(again.kriging["weights"], kriged.kriging["weights"])
    # described as before there was any kriging
    plain = replace(trained_mapper, kriging={}).describe()
    assert not any(name.startswith("kriging/") for name in plain["weights"])


def test_training_decides_by_its_folds_and_writes_why(land: xr.Dataset, tmp_path: Path) -> None:
    table = make_points(land, 120)
    x = land["x"].values
    # an error that no covariate explains and neighbours share
    wave = np.sin(6 * (table["x"] - x.min()) / np.ptp(x))
    table["soc"] = np.exp(1 + 0.5 * wave + 0.02 * np.random.default_rng(0).normal(size=len(table)))
    options: dict[str, Any] = {**TINY, "runs": 1, "split": "random", "crs": UTM}
    model = land.soc.train(table, **options, out=tmp_path / "auto")
    facts = model.training["kriging"]
    assert facts["used"]
    assert model.kriging
    assert facts["gain"] > 0.1
    assert 0 < facts["range_km"] < 20
    without = land.soc.train(table, **options, krige=False)
    assert not without.kriging
    assert not without.training["kriging"]["used"]
    r2 = [m.training["held_out"]["transformed"]["r2"] for m in (model, without)]
    assert r2[0] - r2[1] == pytest.approx(facts["gain"], abs=0.01)
    from hmx.products.describe import mapper_lines

    assert "correct the map" in mapper_lines(model)["kriging"]
    assert mapper_lines(without)["kriging"] == "none"
