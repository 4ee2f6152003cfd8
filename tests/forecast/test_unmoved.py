"""Laws of the sentence on medians that repeat the last map."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.forecast.options import ForecastOptions
from hmx.forecast.order import ForecastRun
from hmx.forecast.unmoved import describe_unmoved, sentence, unmoved


@pytest.mark.parametrize("south_up", [False, True])
def test_the_share_is_that_of_the_whole_forecast(
    cube: xr.Dataset, trained: hmx.Bundle, south_up: bool
) -> None:
    ds = cube.isel(y=slice(None, None, -1)) if south_up else cube
    run = ForecastRun.check(ds, trained, ForecastOptions(h=2), region=None)
    share, pixels = unmoved(run)
    ahead = ds.hm.forecast(h=2, model=trained, level=[], quantiles=[0.5])
    median, last = ahead["hm_quantile"].sel(quantile=0.5), ds["hm"].isel(time=-1)
    known = median.notnull().values
    equal = (median.values == np.broadcast_to(last.values, median.shape))[known]
    assert share == pytest.approx(equal.mean())
    assert pixels == known.any(axis=0).sum()
    line = describe_unmoved(run)
    assert line == (sentence(share, pixels) if share > 0.5 else None)


def test_the_sentence_names_what_to_look_at() -> None:
    text = sentence(0.97, 12_345)
    assert text.startswith("the median equals the last map on 97 % of pixels (of 12,345")
    assert "that is what this history supports. Look at P(> t)" in text
