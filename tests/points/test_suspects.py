"""Laws of suspects: codes for missing, negative values and places nobody was at are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from hmx.errors import BadArgument
from tests.make.soilworlds import TINY, UTM, make_points
from tests.make.tables import make_table, read

TABLE = make_table(40)
QUICK: dict[str, Any] = {**TINY, "crs": UTM, "runs": 1, "epochs": 1, "blend": 0}


@pytest.mark.parametrize("code", [-999, -9999, -99, -32768, 9999, 99999, 1e20, -3.4e38, 1e35])
def test_codes_for_missing_in_the_target_are_refused_with_rows_and_remedy(code: float) -> None:
    table = TABLE.astype({"soc": "float64"})
    table.loc[[3, 5], "soc"] = code
    text = rf"2 rows {code:g} \(id P3, P5\), a usual code.*between 1\.5 and 40\.5"
    with pytest.raises(BadArgument, match=text.replace("+", r"\+")) as refused:
        read(table)
    assert f"points.missing: [{code:g}] or points.valid_range: [0, ...]" in str(refused.value)
    assert read(table, missing=[code]).left["no value"].tolist() == [3, 5]
    assert read(table, valid_range=(0, 100)).left["invalid"].tolist() == [3, 5]


def test_true_values_that_look_like_codes_are_kept() -> None:
    heights = np.linspace(200, 1900, 40)
    heights[7] = 999
    assert len(read(TABLE.assign(soc=heights))) == 40
    colds = np.linspace(-150, 20, 40)
    colds[7] = -99
    assert len(read(TABLE.assign(soc=colds))) == 40
    table = TABLE.assign(soc=np.where(TABLE.index == 3, 9999.0, TABLE["soc"]))
    assert len(read(table, valid_range=(0, 10000))) == 40  # declared


def test_codes_for_missing_in_coordinates_are_refused_with_rows_and_remedy() -> None:
    table = TABLE.copy()
    table.loc[[1, 2], ["lon", "lat"]] = -9999
    text = r"column 'lon' .*2 rows -9999 \(id P1, P2\).*points\.missing: \[-9999\]"
    with pytest.raises(BadArgument, match=text):
        read(table)
    assert read(table, missing=-9999).left["no place"].tolist() == [1, 2]
    assert len(read(TABLE.assign(lon=np.linspace(-120, -80, 40), lat=40.0))) == 40


def test_null_island_is_no_place() -> None:
    table = TABLE.copy()
    table.loc[[1, 2], ["lon", "lat"]] = 0
    points = read(table)
    assert points.left["null island"].tolist() == [1, 2]
    around = TABLE.assign(x=np.arange(40) - 20.0, y=np.arange(40) - 20.0)
    local = read(around, x="x", y="y", crs="+proj=laea +lat_0=41 +lon_0=21 +type=crs")
    assert len(local) == 40


def test_negative_values_are_named_unless_their_range_is_declared() -> None:
    table = TABLE.copy()
    table.loc[[4, 6], "soc"] = [-0.2, -0.9]
    (note,) = read(table).notes
    assert note.startswith("2 values are negative, down to -0.9 (id P4, P6)")
    assert "points.valid_range: [0, ...]" in note
    assert read(table, valid_range=(-1, 100)).notes == ()


def trained(land: xr.Dataset, change: Any, **options: Any) -> None:
    points = make_points(land)
    land.soc.train(points.assign(soc=change(points["soc"])), **{**QUICK, **options})


def test_values_without_a_logarithm_are_named_before_another_transform(land: xr.Dataset) -> None:
    with pytest.raises(BadArgument) as refused:
        trained(land, lambda soc: soc.where(soc.index > 1, -5.0))
    said = str(refused.value)
    assert "2 of" in said
    assert "row 0, 1" in said
    assert 0 < said.index("valid_range: [0, ...]") < said.index("transform='normalize'")
    with pytest.raises(BadArgument, match=r"takes values above 0, .*Pass transform='log1p'"):
        trained(land, lambda soc: soc.where(soc.index > 1, 0.0), transform="log")


def test_a_constant_target_is_refused_before_training(land: xr.Dataset) -> None:
    with pytest.raises(BadArgument, match=r"'soc' is 4 in all \d+ samples, and a constant"):
        trained(land, lambda soc: soc * 0 + 4, transform="none")


def test_a_target_that_is_a_band_is_refused(land: xr.Dataset) -> None:
    points = make_points(land).rename(columns={"soc": "twi"})
    with pytest.raises(BadArgument, match=r"target 'twi' is a band of the cube too"):
        land.soc.train(points, target="twi", **QUICK)
