"""Laws of distances on the ground."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from hmx.cube.grid import Grid
from hmx.errors import NotEnoughData
from hmx.splits.distances import domain, earth_centred, metres, nearest

GEOD = pyproj.Geod(ellps="WGS84")
FAR = [10.0, 1_000.0, 20_000.0, 500_000.0, 5_000_000.0]
LATITUDES = [-89.9, -60.0, -23.0, 0.0, 41.5, 66.0, 89.9]
UTM = Grid(pyproj.CRS(32634), Affine(1000, 0, 5e5, 0, -1000, 4.6e6), (30, 40))


def ring(lat: float, far: float) -> tuple[np.ndarray, np.ndarray]:
    """A place near the date line, and 24 that are so far from it, all around."""
    turn = np.arange(24) * 15.0
    lon, lats, _ = GEOD.fwd(np.full(24, 179.99), np.full(24, lat), turn, np.full(24, far))
    return np.array([[179.99, lat]]), np.stack([lon, lats], axis=1)


@pytest.mark.parametrize("lat", LATITUDES)
@pytest.mark.parametrize("far", FAR)
def test_distances_are_those_of_the_ellipsoid_at_all_latitudes(lat: float, far: float) -> None:
    here, there = ring(lat, far)
    np.testing.assert_allclose(metres(np.repeat(here, 24, 0), there), far, rtol=0.005)
    np.testing.assert_allclose(nearest(there, here), far, rtol=0.005)


def test_a_haversine_of_one_radius_would_not_do() -> None:
    """The tolerance of half a per cent is one that a sphere misses."""
    here, there = np.array([[0.0, 0.0]]), np.array([[0.0, 1.0]])
    sphere = np.deg2rad(1) * 6_371_008.8
    assert abs(sphere / metres(here, there)[0] - 1) > 0.005


@settings(max_examples=30)
@given(st.integers(0, 999), st.sampled_from([0.01, 1.0, 60.0]))
def test_the_nearest_is_the_least_of_all_pairs(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    middle = np.array([rng.uniform(-180, 180), rng.uniform(-80, 80)])
    here, there = (middle + spread * rng.uniform(-0.15, 0.15, (n, 2)) for n in (12, 17))
    pairs = GEOD.inv(*(part.ravel() for part in grid_of(here, there)))[2].reshape(12, 17)
    np.testing.assert_allclose(nearest(here, there), pairs.min(axis=1), rtol=1e-4)
    own = GEOD.inv(*(part.ravel() for part in grid_of(here, here)))[2].reshape(12, 12)
    np.fill_diagonal(own, np.inf)
    np.testing.assert_allclose(nearest(here), own.min(axis=1), rtol=1e-4)


def grid_of(here: np.ndarray, there: np.ndarray) -> list[np.ndarray]:
    lon = np.meshgrid(here[:, 0], there[:, 0], indexing="ij")
    lat = np.meshgrid(here[:, 1], there[:, 1], indexing="ij")
    return [lon[0], lat[0], lon[1], lat[1]]


def test_who_is_alone_is_infinitely_far_and_who_shares_a_place_is_near() -> None:
    place = np.array([[21.0, 41.0]])
    assert nearest(place) == np.inf
    assert nearest(place, np.empty((0, 2))) == np.inf
    assert nearest(np.repeat(place, 3, axis=0)).tolist() == [0, 0, 0]
    assert nearest(np.empty((0, 2)), place).shape == (0,)


def test_earth_centred_coordinates_are_those_of_proj() -> None:
    lonlat = np.array([[lon, lat] for lon in (-180, -70, 0, 21.5, 179) for lat in LATITUDES])
    to_geocentric = pyproj.Transformer.from_crs(4979, 4978, always_xy=True)
    proj = np.stack(to_geocentric.transform(*lonlat.T, np.zeros(len(lonlat))), axis=1)
    np.testing.assert_allclose(earth_centred(lonlat), proj, atol=1e-6)


def test_the_domain_is_the_centres_of_valid_pixels() -> None:
    valid = np.zeros(UTM.shape, bool)
    valid[4, 7] = valid[20, 0] = True
    to_map = pyproj.Transformer.from_crs(4326, UTM.crs, always_xy=True)
    x, y = to_map.transform(*domain(UTM, valid).T)
    np.testing.assert_allclose(x, [507_500, 500_500], atol=1e-3)
    np.testing.assert_allclose(y, [4_595_500, 4_579_500], atol=1e-3)


def test_a_domain_is_drawn_without_repeats_and_the_same_for_a_seed() -> None:
    assert len(domain(UTM)) == 1200
    drawn = domain(UTM, most=100, seed=3)
    assert len(np.unique(drawn, axis=0)) == 100
    np.testing.assert_array_equal(drawn, domain(UTM, most=100, seed=3))
    assert (drawn != domain(UTM, most=100, seed=4)).any()


def test_a_domain_without_valid_pixels_is_refused() -> None:
    with pytest.raises(NotEnoughData, match=r"none of 30 x 40 pixels holds data.*notnull"):
        domain(UTM, np.zeros(UTM.shape, bool))
