"""Laws of tables of zones: groups and the whole add up, intervals nest, probabilities fall."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from hmx.errors import BadArgument
from hmx.uncertainty.joint.dependence import Dependence, LeadDependence
from hmx.zones.files import read_csv, save_zones
from hmx.zones.frames import zone_frame
from hmx.zones.spread import PER_ZONE, area_step, outward
from hmx.zones.table import about_intervals, zone_table
from tests.make.zonetotals import GROUPS, NAMES, STEP, make_times, make_totals, without_origin

LEVELS = (50, 80, 95)


@pytest.fixture(scope="module")
def table() -> xr.Dataset:
    options = {"level": LEVELS, "grows": (-1, 0, 1, 5), "step": STEP}
    return zone_table(make_totals(), times=make_times(), **options)


def test_groups_and_the_whole_add_up_in_every_draw_and_in_what_is_expected() -> None:
    totals, rows = make_totals(), {name: n for n, name in enumerate((*NAMES, *GROUPS, "all"))}
    for name in ("value", "above", "transition", "risen", "fallen", "expected"):
        drawn = getattr(totals, name)
        for group, members in GROUPS.items():
            np.testing.assert_allclose(drawn[rows[group]], drawn[list(members)].sum(0))
        np.testing.assert_allclose(drawn[rows["all"]], drawn[: len(NAMES)].sum(0))
    table = zone_table(totals, times=make_times())
    area = (table["area_km2"] * (1 - table["missing"])).fillna(0)
    mass = (table["hm"] * area).fillna(0)
    above = table["area_above"].fillna(0)
    for sums in (mass, above):
        np.testing.assert_allclose(sums.sel(zone="land"), sums[:2].sum("zone"))
        np.testing.assert_allclose(sums.sel(zone="all"), sums[: len(NAMES)].sum("zone"))


def test_wider_intervals_contain_narrower_ones(table: xr.Dataset) -> None:
    for name in ("hm", "hm_change", "area_above", "area_above_change"):
        for inner, outer in ((50, 80), (80, 95)):
            low, high = table[f"{name}_lo_{outer}"], table[f"{name}_hi_{outer}"]
            known = np.isfinite(low.values)
            assert known.any()
            assert (low <= table[f"{name}_lo_{inner}"]).values[known].all()
            assert (high >= table[f"{name}_hi_{inner}"]).values[known].all()
            assert (low <= high).values[known].all()


def test_ends_are_the_quantiles_of_draws_rounded_outward_to_half_a_step(table: xr.Dataset) -> None:
    totals = make_totals()
    means = totals.value[0] / totals.area[0]
    for level in LEVELS:
        tail = (100 - level) / 200
        low, high = (table[f"hm_{end}_{level}"].values[0] for end in ("lo", "hi"))
        exact = np.quantile(means, [tail, 1 - tail], axis=1)
        assert ((exact[0] - low >= -1e-9) & (exact[0] - low < STEP / 2)).all()
        assert ((high - exact[1] >= -1e-9) & (high - exact[1] < STEP / 2)).all()
        for end in (low, high):
            np.testing.assert_allclose(np.rint(end / (STEP / 2)) * STEP / 2, end, atol=1e-12)


@given(
    st.floats(-1e6, 1e6),
    st.floats(0, 1e5),
    st.sampled_from([0.0005, 0.001, 1 / 1024, 0.02, 5.0]),
)
def test_rounding_outward_never_narrows_and_moves_by_less_than_a_step(
    low: float, width: float, step: float
) -> None:
    lower, upper = outward(np.array(low), np.array(low + width), step)
    slack = 2e-6 * step
    assert -slack <= low - lower <= step
    assert -slack <= upper - (low + width) <= step


@pytest.mark.parametrize("count", [-300, -1, 0, 3, 7, 1111])
def test_a_multiple_of_the_step_stays(count: int) -> None:
    for step in (0.0005, 0.1, 1 / 3):
        lower, upper = outward(np.array(count * step), np.array(sum([step] * abs(count))), step)
        assert abs(lower - count * step) < 1e-9
        assert abs(upper - abs(count) * step) < 1e-9


@given(st.floats(1e-3, 1e8))
def test_the_step_of_an_area_is_round_and_fine(area: float) -> None:
    step = float(area_step(area))
    assert step <= area / PER_ZONE * (1 + 1e-6) < 2.51 * step
    assert f"{step:.0e}"[0] in "125"
    assert float(f"{step:.0e}") == pytest.approx(step)


def test_zones_without_data_are_nan_and_not_0(table: xr.Dataset) -> None:
    sea = table.sel(zone="sea")
    for name, variable in sea.data_vars.items():
        assert np.isnan(variable).all(), name
    assert float(sea["missing"]) == 1
    assert float(sea["area_km2"]) > 0
    assert float(table["missing"].sel(zone="south")) == pytest.approx(0.25)
    others = table.drop_sel(zone="sea")
    assert all(np.isfinite(variable).all() for variable in others.data_vars.values())


def test_a_zone_in_which_nothing_changes_has_no_width(table: xr.Dataset) -> None:
    quiet = table.sel(zone="quiet")
    assert (quiet["hm_change"] == 0).all()
    assert (quiet["hm_change_lo_95"] == 0).all()
    assert (quiet["hm_change_hi_95"] == 0).all()
    assert (quiet["p_grows"].sel(growth=0) == 0).all()
    assert (quiet["p_grows"].sel(growth=-1) == 1).all()


def test_a_larger_growth_is_less_probable(table: xr.Dataset) -> None:
    p = table["p_grows"].dropna("zone")
    assert (p.diff("growth") <= 0).all()
    assert ((p >= 0) & (p <= 1)).all()
    assert float((p.diff("growth") < 0).sum()) > 10


def test_p_grows_counts_draws() -> None:
    totals = make_totals()
    table = zone_table(totals, times=make_times(), grows=[2])
    change = totals.above[1, 2, :, 1] - totals.origin_above[1, 1]
    share = (change > 0.02 * totals.area[1]).mean()
    assert 0 < share < 1
    assert float(table["p_grows"][1, 2, 1, 0]) == share


def test_areas_stay_within_their_zone_and_means_within_the_valid_range() -> None:
    totals = make_totals()
    table = zone_table(
        totals, times=make_times(), level=99, step=0.1, attrs={"valid_range": (0.22, 0.26)}
    )
    known = totals.area > 0
    whole = totals.area[known][:, None, None]
    assert (table["area_above_hi_99"].values[known] <= whole).all()
    assert (table["area_above_lo_99"].values[known] >= 0).all()
    assert float(table["hm_hi_99"].max()) == 0.26
    assert float(table["hm_lo_99"].min()) == 0.22


def test_a_change_of_area_has_the_bounds_of_the_zone() -> None:
    totals = make_totals()
    full = totals.area[:, None, None, None] * np.ones_like(totals.above)
    for above in (full, 0 * full):
        # so few decimals that rounding outward would leave the zone
        odd = replace(totals, above=above, origin_above=totals.origin_above * 0.9871)
        table = zone_table(odd, times=make_times()).drop_sel(zone="sea")
        room = (table["area_km2"] * (1 - table["missing"]) - table["area_above_origin"]).values
        low, high = (table[f"area_above_change_{end}_95"].values for end in ("lo", "hi"))
        assert (high <= room[:, None] + 1e-12).all()
        assert (low >= -table["area_above_origin"].values[:, None] - 1e-12).all()


def test_rows_of_a_frame_have_the_shares_of_their_zone(table: xr.Dataset) -> None:
    frame = zone_frame(table)
    for name in ("area_km2", "missing", "kind"):
        for zone in table["zone"].values:
            found = frame.loc[frame["zone"] == zone, name].tolist()
            assert found == [table[name].sel(zone=zone).item()] * table.sizes["time"]


def test_every_variable_has_a_title_and_units(table: xr.Dataset) -> None:
    for name, variable in table.data_vars.items():
        assert variable.attrs["long_name"], name
        assert variable.attrs["units"], name
    assert table["lead"].values.tolist() == [1, 2, 3]
    assert "forecast_reference_time" in table.coords
    assert table["kind"].values.tolist()[-3:] == ["group", "group", "all"]


def test_a_map_has_no_changes() -> None:
    table = zone_table(without_origin(make_totals()), times=make_times(), target="soc", units="g")
    names = {str(name) for name in table.data_vars}
    assert not [name for name in names if "change" in name or "grows" in name or "origin" in name]
    assert {"soc", "soc_lo_95", "area_above_hi_95"} <= names
    assert table["soc"].attrs["units"] == "g"


def test_a_table_becomes_a_frame_and_a_store(table: xr.Dataset, tmp_path) -> None:
    frame = table.drop_dims(["threshold", "growth"]).to_dataframe()
    assert frame.index.names == ["zone", "time"]
    assert len(frame) == table.sizes["zone"] * table.sizes["time"]
    table.to_zarr(tmp_path / "t.zarr", consolidated=False, zarr_format=3)
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "t.zarr", consolidated=False).load(), table)


def test_the_share_unlike_the_training_is_that_of_the_area_with_data(tmp_path) -> None:
    totals = make_totals(n=5, h=1)
    table = zone_table(replace(totals, unlike=totals.area / 4), times=make_times(1))
    known = totals.area > 0
    np.testing.assert_allclose(table["unlike"].values[known], 0.25)
    assert np.isnan(table["unlike"].values[~known]).all()
    (path,) = save_zones(table, tmp_path / "zones.csv")
    assert read_csv(path)["unlike"][0] == 0.25
    (path,) = save_zones(table, tmp_path / "zones.md")
    assert "Up to 25.0 % of a zone is unlike what the model was trained on" in path.read_text()


def test_where_intervals_come_from_is_written_out() -> None:
    prior = about_intervals(200, 3, Dependence.prior(300.0), level=95)
    assert "200 joint draws (seed 3)" in prior
    assert "is assumed (the prior of hmx" in prior
    lead = LeadDependence(origins=2)
    fitted = about_intervals(200, 0, Dependence((lead, replace(lead, origins=1)), 300.0))
    assert "was fitted on past forecasts; the spread of the whole region rests on 1 to 2" in fitted
    assert "few" not in prior
    few = about_intervals(20, 0, None, level=[50, 95])
    assert few.endswith("its ends are the extreme draws. Take 40 draws or more.")


def test_a_wrong_level_growth_or_step_is_refused() -> None:
    totals, times = make_totals(n=5, h=1), make_times(1)
    with pytest.raises(BadArgument, match=r"level=195: a level is a percentage .* Try level=95"):
        zone_table(totals, times=times, level=[50, 195])
    with pytest.raises(BadArgument, match="grows=150: a growth is a percentage of the zone"):
        zone_table(totals, times=times, grows=[150])
    with pytest.raises(BadArgument, match="step=-1: the step of the data is positive"):
        zone_table(totals, times=times, step=-1)
