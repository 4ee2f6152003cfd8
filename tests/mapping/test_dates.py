"""Laws of the difference of two dates of a soil map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.errors import BadArgument
from hmx.mapping.api import soc_map
from hmx.mapping.bundle import MapBundle
from hmx.mapping.correlogram import between_dates
from hmx.uncertainty.joint.dependence import Dependence, LeadDependence
from tests.make.mapworlds import make_covariates, make_mapper

SHAPE = (40, 44)
ZONES = np.repeat(np.arange(1, 5), 10)[:, None] * np.ones(44, int)
LEAD = LeadDependence((0.1, 0.2, 0.3, 0.0, 0.0), 0.02, origins=1)


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    return make_covariates(SHAPE, years=6)


@pytest.fixture(scope="module")
def mapper(cube: xr.Dataset) -> MapBundle:
    return make_mapper(cube, calibrated=True, near=True, history=3, spec={"units": "kg m-2"})


def change(cube: xr.Dataset, mapper: MapBundle, phi: float, **options: Any) -> xr.Dataset:
    """The difference of 2015 and 2012, of a model whose errors persist so much."""
    model = replace(mapper, dependence=Dependence((LEAD,), 250.0, phi))
    late, early = (soc_map(cube, model=model, time=year) for year in (2015, 2012))
    return hmx.difference(late, early, ZONES, level=90, **options)


def width(table: xr.Dataset) -> np.ndarray:
    ends = (table[f"soc_total_difference_{end}_90"].values[:, 0] for end in ("hi", "lo"))
    return np.subtract(*ends)


def test_errors_that_persist_cancel_in_a_difference(cube: xr.Dataset, mapper: MapBundle) -> None:
    independent, half, nearly = (change(cube, mapper, phi) for phi in (0.0, 0.5, 0.95))
    for made in (half, nearly):  # what is expected does not depend on it
        np.testing.assert_allclose(made["soc_difference"], independent["soc_difference"], atol=0.35)
    # of normal errors of one size: sqrt(1 - phi)
    assert np.median(width(half) / width(independent)) == pytest.approx(0.71, abs=0.15)
    assert np.median(width(nearly) / width(independent)) == pytest.approx(0.22, abs=0.12)


def test_a_difference_of_stocks_is_that_of_the_two_tables(
    cube: xr.Dataset, mapper: MapBundle
) -> None:
    made = change(cube, mapper, 0.6, draws=100)
    model = replace(mapper, dependence=Dependence((LEAD,), 250.0, 0.6))
    late, early = (
        soc_map(cube, model=model, time=year).soc.zonal(ZONES, draws=100) for year in (2015, 2012)
    )
    names = list(made["zone"].values)
    assert names == ["1", "2", "3", "4", "all"]
    assert str(made["time"].values[0])[:4] == "2015"
    # the second date has draws of its own, so means differ by what 100 draws leave
    slack = 0.1 * width(made).max()
    expected = late["soc_total"].values - early["soc_total"].values
    np.testing.assert_allclose(made["soc_total_difference"], expected, atol=slack)
    assert made["soc_total_difference"].attrs["units"] == "t"
    share = made["p_greater"].values[:, 0]
    sure = made["soc_difference_lo_90"].values[:, 0] > 0
    assert (share[sure] >= 0.95).all()
    assert ((share >= 0) & (share <= 1)).all()


def test_what_was_taken_for_the_two_dates_is_named(cube: xr.Dataset, mapper: MapBundle) -> None:
    assert "correlate with 0.60, as at the sites" in change(cube, mapper, 0.6, draws=2).intervals
    text = change(cube, mapper, 0.0, draws=2).intervals
    assert "the errors of the two dates are independent (fewer than 10 sites" in text
    other = make_mapper(cube, calibrated=True, history=3, spec={"units": "kg m-2", "min_valid": 0})
    maps = soc_map(cube, model=mapper, time=2015), soc_map(cube, model=other, time=2012)
    assert "of two models" in hmx.difference(*maps, ZONES, draws=2).intervals


def test_a_map_does_not_differ_from_itself(cube: xr.Dataset, mapper: MapBundle) -> None:
    soil = soc_map(cube, model=mapper)
    made = hmx.difference(soil, soil, ZONES, draws=20)
    for name in ("soc_difference", "soc_difference_lo_95", "soc_total_difference_hi_95"):
        assert (made[name] == 0).all()


def test_a_gap_of_one_date_is_no_loss_of_carbon(cube: xr.Dataset, mapper: MapBundle) -> None:
    gap = cube.copy(deep=True)
    for name in ("lst", "rain"):
        gap[name][3:, :10] = np.nan  # of the last years alone
    gap["elevation"][:10] = np.nan
    gap["twi"][:10] = np.nan
    late, early = soc_map(gap, model=mapper), soc_map(cube, model=mapper, time=2012)
    made = hmx.difference(late, early, ZONES, draws=20)
    first = made.sel(zone="1").isel(time=0)
    assert float(first["missing_a"]) == 1
    assert np.isnan(first["soc_total_difference"])
    whole = made.sel(zone="all").isel(time=0)
    stock = early.soc.zonal(ZONES, draws=20).sel(zone="all")["soc_total"].item()
    assert abs(whole["soc_total_difference"].item()) < 0.15 * stock


def test_an_edited_second_date_is_refused(cube: xr.Dataset, mapper: MapBundle) -> None:
    model = replace(mapper, dependence=Dependence((LEAD,), 250.0, 0.6))
    late, early = (soc_map(cube, model=model, time=year).load() for year in (2015, 2012))
    fine = hmx.difference(late, early, ZONES, draws=2)
    assert np.isfinite(fine["soc_difference"]).all()
    early["soc"][5:9] += 1
    with pytest.raises(BadArgument, match="values of this map are not those"):
        hmx.difference(late, early, ZONES, draws=2)


def test_the_correlation_of_two_dates_is_that_of_sites_sampled_twice() -> None:
    draw = np.random.default_rng(0)
    shared, n = draw.normal(size=400), 400
    scores = np.concatenate(
        [0.8 * shared + 0.6 * draw.normal(size=n), 0.8 * shared + 0.6 * draw.normal(size=n)]
    )
    site, step = np.tile(np.arange(n), 2), np.repeat([3, 7], n)
    phi, pairs = between_dates(scores, site, step)
    assert pairs == n
    assert phi == pytest.approx(0.64, abs=0.06)
    order = draw.permutation(2 * n)
    assert between_dates(scores[order], site[order], step[order]) == (phi, n)


def test_few_sites_sampled_twice_and_opposite_errors_count_as_independent() -> None:
    scores = np.tile(np.random.default_rng(0).normal(size=9), 2)
    assert between_dates(scores, np.tile(np.arange(9), 2), np.repeat([0, 1], 9)) == (0.0, 9)
    # samples of one site and date are no pair
    assert between_dates(np.ones(40), np.tile(np.arange(20), 2), np.zeros(40, int)) == (0.0, 0)
    one = np.random.default_rng(0).normal(size=50)
    opposite = np.concatenate([one, -one])
    assert between_dates(opposite, np.tile(np.arange(50), 2), np.repeat([0, 1], 50)) == (0.0, 50)
    # ten pairs are worth half of what they show
    ten = np.tile(np.random.default_rng(0).normal(size=10), 2)
    assert between_dates(ten, np.tile(np.arange(10), 2), np.repeat([0, 1], 10)) == (0.5, 10)
