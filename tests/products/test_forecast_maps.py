"""Laws of the pictures."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba

import hmx
from hmx.errors import CubeError
from hmx.pictures.style import MISSING


@pytest.fixture(scope="module")
def fc(cube: xr.Dataset, trained: hmx.Bundle) -> xr.Dataset:
    return cube.hm.forecast(h=2, model=trained, level=[50, 80]).load()


def images(figure: object) -> list[object]:
    return [image for axis in figure.axes for image in axis.images]  # type: ignore[attr-defined]


def test_a_sheet_has_a_map_per_lead_and_row(cube: xr.Dataset, fc: xr.Dataset) -> None:
    titles = [axis.get_title() for axis in fc.hm.plot_forecast(cube).axes]
    assert titles[:3] == ["2015 (observed)", "2020 (forecast, lead 1)", "2025 (forecast, lead 2)"]
    alone = [axis.get_title() for axis in fc.hm.plot_forecast().axes]
    assert alone[0] == "2020 (forecast, lead 1)"
    assert len(images(fc.hm.plot_forecast(cube))) == 3 + 2 + 2  # state, change, width
    assert len(images(fc.hm.plot_forecast())) == 2 + 2
    assert len(images(fc["hm"].hm.plot_forecast(cube["hm"]))) == 3 + 2


def test_maps_of_a_row_share_one_scale_and_change_is_centred(
    cube: xr.Dataset, fc: xr.Dataset
) -> None:
    drawn = images(fc.hm.plot_forecast(cube))
    assert len({image.get_clim() for image in drawn[:3]}) == 1  # type: ignore[attr-defined]
    low, high = drawn[3].get_clim()  # type: ignore[attr-defined]
    assert low == -high


def test_missing_data_is_grey_and_no_value_is(cube: xr.Dataset, fc: xr.Dataset) -> None:
    figure = fc.hm.plot_forecast(cube)
    axis = figure.axes[0]
    assert axis.get_facecolor() == to_rgba(MISSING)
    shown = np.ma.masked_invalid(axis.images[0].get_array())
    assert shown.mask.any()
    colours = axis.images[0].get_cmap()(np.linspace(0, 1, 256))
    assert np.abs(colours - to_rgba(MISSING)).max(axis=1).min() > 0.05


def test_what_is_no_forecast_is_refused(cube: xr.Dataset) -> None:
    with pytest.raises(CubeError, match=r"not a forecast \(it has no lead\)"):
        cube.hm.plot_forecast()
    with pytest.raises(CubeError, match=r"fc\.hm\.with_history\(ds\)"):
        cube.hm.with_history(cube)
