"""Laws of the picture of a map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba

from hmx.errors import CubeError
from hmx.mapping.api import soc_map
from hmx.mapping.bundle import MapBundle
from hmx.pictures.style import MISSING
from hmx.products.soil_maps import plot_map
from tests.make.mapworlds import make_covariates, make_mapper

PLACES = {"lon": [9.01, 9.05, 9.1], "lat": [54.1, 54.08, 54.11]}


@pytest.fixture(scope="module")
def covariates() -> xr.Dataset:
    return make_covariates((40, 50))


@pytest.fixture(scope="module")
def model(covariates: xr.Dataset) -> MapBundle:
    made = make_mapper(covariates, calibrated=True, near=True)
    return replace(made, training={"folds": PLACES})


@pytest.fixture(scope="module")
def mapped(covariates: xr.Dataset, model: MapBundle) -> xr.Dataset:
    found = soc_map(covariates, model=model, level=[50, 80]).load()
    found["applicable"][:8] = 0  # the north is unlike the samples
    return found


def words(figure: object) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]  # type: ignore[attr-defined]


def test_a_sheet_shows_the_estimate_and_the_widest_interval(mapped: xr.Dataset) -> None:
    figure = plot_map(mapped)
    left, right = figure.axes[0].images[0], figure.axes[1].images[0]
    np.testing.assert_array_equal(np.ma.filled(left.get_array(), np.nan), mapped["soc"])
    width = mapped["soc_hi_80"] - mapped["soc_lo_80"]
    np.testing.assert_array_equal(np.ma.filled(right.get_array(), np.nan), width)
    labels = [axis.get_ylabel() for axis in figure.axes[2:]]
    title = mapped["soc"].attrs["long_name"]
    assert labels == [f"{title} (g/kg)", "width of 80 % interval (g/kg)"]


def test_a_map_without_intervals_is_one_sheet(mapped: xr.Dataset) -> None:
    figure = plot_map(mapped[["soc"]])
    assert sum(bool(axis.images) for axis in figure.axes) == 1
    assert words(figure) == ["no data"]


def test_missing_data_is_grey(mapped: xr.Dataset) -> None:
    figure = plot_map(mapped)
    assert figure.axes[0].get_facecolor() == to_rgba(MISSING)
    assert np.ma.masked_invalid(figure.axes[0].images[0].get_array()).mask.any()


def test_land_unlike_the_samples_is_told_apart(mapped: xr.Dataset) -> None:
    figure = plot_map(mapped)
    outside = (mapped["applicable"] == 0).values
    for axis in figure.axes[:2]:
        np.testing.assert_array_equal(axis.images[1].get_array()[..., 3] > 0, outside)
        assert axis.collections[0].hatches == ["/////"]
    share = 100 * outside.sum() / int(mapped["soc"].notnull().sum())
    assert words(figure)[0] == f"unlike the samples: {share:.0f} % of the map"


def test_samples_lie_where_they_were_taken(mapped: xr.Dataset, model: MapBundle) -> None:
    figure = mapped.soc.plot_map(model)
    x, y = figure.axes[0].collections[-1].get_offsets().T
    assert words(figure)[0] == "samples"
    assert len(x) == len(PLACES["lon"])
    # EPSG:32632 has its central meridian, 500,000 m, at 9 °E; a degree is 65.4 km there
    np.testing.assert_allclose(x, 5e5 + 65_400 * (np.array(PLACES["lon"]) - 9), atol=60)
    assert (np.diff(y) > 0).tolist() == [False, True]


def test_axes_do_not_depend_on_names_and_orientation(mapped: xr.Dataset) -> None:
    turned = mapped.isel(y=slice(None, None, -1)).rename(y="northing", x="easting")
    first, second = plot_map(mapped).axes[0], plot_map(turned).axes[0]
    for a, b in zip(first.images, second.images, strict=True):
        np.testing.assert_array_equal(a.get_array(), b.get_array())
        assert a.get_extent() == b.get_extent()


def test_a_picture_can_be_saved(mapped: xr.Dataset, model: MapBundle, tmp_path: Path) -> None:
    plot_map(mapped, model).savefig(tmp_path / "soc.png")
    assert (tmp_path / "soc.png").stat().st_size > 10_000


def test_what_is_no_map_is_refused(covariates: xr.Dataset) -> None:
    with pytest.raises(
        CubeError, match=r"not a map of samples.*soc = ds\.soc\.map\(level=\[90\]\)"
    ):
        covariates.soc.plot_map()
