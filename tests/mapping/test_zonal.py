"""Laws of the zones of a map: means, stocks, intervals that hold for sums."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.errors import BadArgument, NotTrained
from hmx.mapping.api import map_to_zarr, soc_map
from hmx.mapping.bundle import MapBundle
from hmx.mapping.target import TargetScaler
from hmx.mapping.zonal import tonnes_per_km2, zonal
from hmx.progress import Progress
from hmx.uncertainty.conformal import Conformal
from hmx.uncertainty.joint.dependence import Dependence, LeadDependence
from tests.make.mapworlds import make_covariates, make_mapper

SHAPE = (48, 61)
KM2 = 0.0625  # of a pixel


def dependence(*weights: float, region: float = 0.0) -> Dependence:
    """A fitted dependence with the weights of some of the five fields, shortest range first."""
    lead = LeadDependence((*weights, *(0.0,) * (5 - len(weights))), region, origins=1)
    return Dependence((lead,), 250.0)


@pytest.fixture(scope="module")
def covariates() -> xr.Dataset:
    return make_covariates(SHAPE)


@pytest.fixture(scope="module")
def mapper(covariates: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> MapBundle:
    made = make_mapper(covariates, forest=True, calibrated=True, near=True, spec={"units": "t/ha"})
    made = replace(made, dependence=dependence(0.2, 0.2, 0.2, region=0.02))
    return made.save(tmp_path_factory.mktemp("models") / "mapper")


@pytest.fixture(scope="module")
def soil(covariates: xr.Dataset, mapper: MapBundle) -> xr.Dataset:
    return soc_map(covariates, model=mapper, level=90).load()


@pytest.fixture(scope="module")
def zones() -> np.ndarray:
    """Two large zones that leave a part out, and one of a single pixel."""
    numbers = np.zeros(SHAPE, "int32")
    numbers[:20], numbers[24:, :40], numbers[30, 50] = 1, 2, 3
    return numbers


@pytest.fixture(scope="module")
def table(covariates: xr.Dataset, mapper: MapBundle, zones: np.ndarray) -> xr.Dataset:
    return zonal(covariates, zones, model=mapper, level=[50, 90], draws=400, above=[8.0])


def rows(table: xr.Dataset, name: str) -> np.ndarray:
    return np.asarray(table[name].isel(time=0).values)


def test_a_mean_lies_within_its_intervals_and_a_total_is_mean_times_area(
    table: xr.Dataset, soil: xr.Dataset, zones: np.ndarray
) -> None:
    assert list(table["zone"].values) == ["1", "2", "3", "all"]
    for name in ("soc", "soc_total"):
        ends = [f"{name}_{end}" for end in ("lo_90", "lo_50", "hi_50", "hi_90")]
        low, inner, upper, high = (rows(table, end) for end in ends)
        assert (low < inner).all()
        assert (inner < upper).all()
        assert (upper < high).all()
        assert ((low < rows(table, name)) & (rows(table, name) < high)).all()
    area = table["area_km2"].values * (1 - table["missing"].values)
    np.testing.assert_allclose(rows(table, "soc_total"), rows(table, "soc") * area * 100)
    assert table["soc_total"].attrs["units"] == "t"
    for row, number in enumerate((1, 2, 3)):
        inside = soil["soc"].values[zones == number]
        expected = float(np.nanmean(inside.astype("f8")))
        assert rows(table, "soc_estimate")[row] == pytest.approx(expected, rel=1e-5)
        assert table["missing"].values[row] == pytest.approx(np.isnan(inside).mean())
        assert table["area_km2"].values[row] == pytest.approx(KM2 * inside.size)


def test_a_zone_of_one_pixel_has_the_interval_of_the_map(
    table: xr.Dataset, soil: xr.Dataset
) -> None:
    at = {"y": 30, "x": 50}
    width = float(soil["soc_hi_90"].isel(at) - soil["soc_lo_90"].isel(at))
    for end in ("lo", "hi"):
        expected = float(soil[f"soc_{end}_90"].isel(at))
        assert rows(table, f"soc_{end}_90")[2] == pytest.approx(expected, abs=0.12 * width)


def test_the_mean_of_a_skewed_distribution_lies_above_the_estimate(
    covariates: xr.Dataset, mapper: MapBundle, table: xr.Dataset
) -> None:
    # learnt on log1p: the estimate is the back-transformed centre
    assert (rows(table, "soc") > rows(table, "soc_estimate")).all()
    # the mean of draws is that of the quantile functions, pixel by pixel
    shares = np.linspace(0.005, 0.995, 100)
    planes = soc_map(covariates, model=mapper, quantiles=shares).soc_quantile.values
    expected = np.nanmean(planes.mean(axis=0))
    assert rows(table, "soc")[-1] == pytest.approx(expected, rel=0.02)


def test_longer_dependence_widens_zones_and_leaves_pixels(
    covariates: xr.Dataset, mapper: MapBundle, zones: np.ndarray
) -> None:
    widths = []
    for known in (dependence(), dependence(0.0, 0.5), dependence(0.0, 0.0, 0.0, 0.0, 1.0)):
        model = replace(mapper, dependence=known, path=None)
        made = zonal(covariates, zones, model=model)
        widths.append(rows(made, "soc_hi_90") - rows(made, "soc_lo_90"))
    alone, some, all_of_it = widths
    assert (alone[[0, 1, 3]] * 1.5 < some[[0, 1, 3]]).all()
    assert (some[[0, 1, 3]] * 1.5 < all_of_it[[0, 1, 3]]).all()
    np.testing.assert_allclose(alone[2], all_of_it[2], rtol=0.3)
    # of dependence over the whole map, a zone is as unsure as its pixels
    assert all_of_it[0] == pytest.approx(all_of_it[2], rel=0.6)


def test_the_share_outside_the_area_of_applicability_is_that_of_the_map(
    covariates: xr.Dataset, mapper: MapBundle, zones: np.ndarray
) -> None:
    warm = covariates.copy(deep=True)
    warm["lst"][:, :10] += 500  # unlike any sample
    soil = soc_map(warm, model=mapper)
    made = soil.soc.zonal(zones, draws=2, progress=Progress())
    values = soil["applicable"].values
    for row, number in enumerate((1, 2, 3)):
        inside = values[zones == number]
        expected = (inside == 0).sum() / (inside != 255).sum()
        assert made["unlike"].values[row] == pytest.approx(expected)
    assert made["unlike"].values[0] > 0.3
    plain = make_mapper(covariates, calibrated=True)
    assert "unlike" not in zonal(covariates, zones, model=plain, draws=2).coords


def test_a_map_its_store_and_its_cube_give_the_same_table(
    covariates: xr.Dataset, mapper: MapBundle, zones: np.ndarray, table: xr.Dataset, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"level": [50, 90], "draws": 400, "above": [8.0]}
    lazy = soc_map(covariates, model=mapper)
    quiet = {"progress": Progress()}
    xr.testing.assert_equal(lazy.soc.zonal(zones, **options, **quiet), table)
    xr.testing.assert_equal(lazy.compute().soc.zonal(zones, **options, **quiet), table)
    covariates.to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    cube = hmx.open_cube(tmp_path / "cube.zarr")
    map_to_zarr(cube, tmp_path / "soc.zarr", model=mapper, level=80)
    stored = hmx.open_cube(tmp_path / "soc.zarr")
    xr.testing.assert_equal(stored.soc.zonal(zones, **options, **quiet), table)


def test_a_map_that_was_edited_or_comes_from_elsewhere_is_refused(
    soil: xr.Dataset, covariates: xr.Dataset, mapper: MapBundle, zones: np.ndarray
) -> None:
    soc_map(covariates, model=mapper, level=90)
    edited = soil.copy(deep=True)
    edited["soc"] = edited["soc"] * 2
    edited["soc"].attrs = soil["soc"].attrs
    with pytest.raises(BadArgument, match="values of this map are not those"):
        zonal(edited, zones)
    strange = soil.copy()
    strange.attrs = {**soil.attrs, "hmx_provenance": "{}"}
    with pytest.raises(BadArgument, match=r"model and the cube of this map.*ds\.soc\.zonal\("):
        zonal(strange, zones)
    with pytest.raises(BadArgument, match="model= belongs to the map"):
        zonal(soil, zones, model=mapper)
    with pytest.raises(NotTrained, match=r"ds\.soc\.zonal\(zones, model='models/soc'\)"):
        zonal(covariates, zones)
    with pytest.raises(BadArgument, match="no calibration"):
        zonal(covariates, zones, model=make_mapper(covariates))


def test_groups_and_the_whole_add_up(covariates: xr.Dataset, mapper: MapBundle) -> None:
    pytest.importorskip("geopandas")
    import geopandas as gpd
    from shapely.geometry import box

    west, north = 5e5, 6e6
    halves = [box(west + dx, north - 12e3, west + dx + 7625, north) for dx in (0, 7625)]
    layer = gpd.GeoDataFrame(
        {"name": ["a", "b"], "owner": ["x", "x"]}, geometry=halves, crs="EPSG:32632"
    )
    made = zonal(covariates, layer, model=mapper, by="owner", draws=50)
    assert list(made["kind"].values) == ["zone", "zone", "group", "all"]
    total = rows(made, "soc_total")
    assert total[0] + total[1] == pytest.approx(total[2], rel=1e-12)
    assert total[2] == pytest.approx(total[3], rel=1e-9)
    # what errors share does not cancel, and the rest does
    width = rows(made, "soc_total_hi_90") - rows(made, "soc_total_lo_90")
    assert width[2] < width[0] + width[1]


def test_a_calendar_gives_the_date_and_a_region_its_part(tmp_path: Path) -> None:
    cube = make_covariates((30, 30), years=5, holes=False)
    model = make_mapper(cube, calibrated=True, history=3)
    zones = np.ones((30, 30), int)
    made = zonal(cube, zones, model=model, time=2014, draws=4)
    assert str(made["time"].values[0])[:4] == "2014"
    part = zonal(cube, zones, model=model, draws=4, region=(5e5, 5.995e6, 5.05e5, 6e6))
    assert part.sel(zone="all")["area_km2"].item() == pytest.approx(400 * KM2)


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ("t/ha", 100), ("Mg ha-1", 100), ("t C ha-1", 100), ("tC/ha", 100), ("t ha^-1", 100),
        ("Mg C ha⁻¹", 100), ("tonnes per ha", 100), ("kg/m2", 1000), ("kg m-2", 1000),
        ("kg C m^-2", 1000), ("kg/m²", 1000), ("g m-2", 1), ("kg/ha", 0.1),
        ("g/kg", None), ("%", None), ("mg/ha", None), ("t/m3", None), ("t", None), (None, None),
    ],
)  # fmt: skip
def test_units_of_stocks_are_tonnes_per_km2_and_others_have_no_total(
    units: str | None, factor: float | None
) -> None:
    found = tonnes_per_km2(units)
    assert found is None if factor is None else found == pytest.approx(factor)


def test_what_is_assumed_and_what_is_missing_is_noted(covariates: xr.Dataset) -> None:
    lines: list[str] = []
    model = make_mapper(covariates, calibrated=True)
    made = zonal(
        covariates,
        np.ones(SHAPE, int),
        model=model,
        draws=4,
        progress=Progress(on_note=lines.append),
    )
    assert any("g/kg is not a stock per area (t/ha" in line for line in lines)
    assert any("no fitted dependence of errors" in line for line in lines)
    assert "is assumed (the prior of hmx" in made.attrs["intervals"]
    assert "4 draws are few" in made.attrs["intervals"]
    assert "soc_total" not in made
    assert "unlike them" in made.attrs["limits"]


def test_a_target_that_is_not_transformed_has_room_for_its_values(covariates: xr.Dataset) -> None:
    rng = np.random.default_rng(0)
    center = rng.normal(80, 20, 400)
    learnt = Conformal.fit(center, np.ones(400), center + rng.normal(0, 30, 400), np.arange(400))
    made = make_mapper(covariates, spec={"units": "t/ha", "valid_range": None})
    model = replace(made, target=TargetScaler("none"), calibration=learnt)
    table = zonal(covariates, np.ones(SHAPE, int), model=model, draws=50)
    assert rows(table, "soc_lo_90")[0] < 0 < rows(table, "soc_hi_90")[0]  # an untrained network
    assert rows(table, "soc_hi_90")[0] - rows(table, "soc_lo_90")[0] > 15
    assert "valid_range" not in table.attrs


def test_a_trained_mapper_names_the_samples_of_its_dependence(
    land: xr.Dataset, trained_mapper: hmx.MapBundle
) -> None:
    zones = np.ones((land.sizes["y"], land.sizes["x"]), int)
    made = land.soc.zonal(zones, model=trained_mapper, draws=20, level=80, progress=Progress())
    count = trained_mapper.training["points"]["samples"]
    assert f"fitted to the errors at {count} held-out samples" in made.attrs["intervals"]
    assert 0 < made["soc_lo_80"].values[0, 0] < made["soc_hi_80"].values[0, 0] < 50
