"""Laws of conservation tables: margins of transitions are areas of classes, shares are of draws."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from hmx.errors import BadArgument
from hmx.zones.conservation import class_labels, conservation_table
from hmx.zones.frames import zone_frame
from hmx.zones.options import CLASSES
from hmx.zones.sums import Measures
from hmx.zones.table import zone_table
from tests.make.zonetotals import GROUPS, NAMES, make_times, make_totals


@pytest.fixture(scope="module")
def table() -> xr.Dataset:
    return conservation_table(make_totals(), times=make_times(), level=(50, 95))


def test_margins_of_transitions_are_the_areas_of_classes(table: xr.Dataset) -> None:
    moved = table["transition_area"].dropna("zone")
    before = moved.sum("to_class").rename(from_class="class")
    after = moved.sum("from_class").rename(to_class="class")
    known = {"zone": moved["zone"]}
    for lead in range(table.sizes["time"]):
        origin = table["class_area_origin"].sel(known)
        np.testing.assert_allclose(before.isel(time=lead), origin, atol=1e-9)
    np.testing.assert_allclose(after, table["class_area"].sel(known), atol=1e-9)
    stay = np.einsum("ztkk->ztk", moved.values)
    np.testing.assert_allclose(before - stay, table["class_lost"].sel(known), atol=1e-9)
    np.testing.assert_allclose(after - stay, table["class_gained"].sel(known), atol=1e-9)


def test_net_change_is_gain_less_loss_and_adds_to_nothing(table: xr.Dataset) -> None:
    net = table["class_gained"] - table["class_lost"]
    np.testing.assert_allclose(table["class_change"], net, atol=1e-9)
    np.testing.assert_allclose(table["class_change"].sum("class"), 0, atol=1e-9)
    assert float(abs(net).max()) > 0.1


def test_groups_and_the_whole_add_up(table: xr.Dataset) -> None:
    for name in ("transition_area", "class_lost", "area_rising"):
        values = table[name].fillna(0)
        for group, members in GROUPS.items():
            np.testing.assert_allclose(values.sel(zone=group), values[list(members)].sum("zone"))
        np.testing.assert_allclose(values.sel(zone="all"), values[: len(NAMES)].sum("zone"))


def test_the_probability_of_a_share_below_the_target_rises_with_the_target() -> None:
    totals, times = make_totals(), make_times()
    shares = [
        conservation_table(totals, times=times, target_share=share)["p_below_target"].values
        for share in (5, 20, 30, 60, 95)
    ]
    steps = np.diff(np.array(shares)[:, totals.area > 0], axis=0)
    assert (steps >= 0).all()
    assert (steps > 0).sum() > 5
    low = 100 * totals.transition[0, 1, :, :, 0].sum(1) / totals.area[0]
    assert shares[2][0, 1] == (low < 30).mean()


def test_a_larger_move_has_less_area(table: xr.Dataset) -> None:
    for name in ("area_rising", "area_falling"):
        values = table[name].dropna("zone")
        assert (values.diff("move") <= 0).all()
        assert float(values.isel(move=0).max()) > 0


def test_the_mean_rises_or_falls_or_stays(table: xr.Dataset) -> None:
    known = table.dropna("zone", how="all", subset=["p_mean_rises"])
    both = known["p_mean_rises"] + known["p_mean_falls"]
    assert (both <= 1).all()
    quiet = table.sel(zone="quiet")
    assert (quiet["p_mean_rises"] == 0).all()
    assert (quiet["p_mean_falls"] == 0).all()
    assert float(table["p_mean_rises"].sel(zone="all")[0]) > 0.9


def test_zones_without_data_are_nan_and_intervals_nest(table: xr.Dataset) -> None:
    assert all(np.isnan(v).all() for v in table.sel(zone="sea").data_vars.values())
    for name in ("transition_area", "class_lost", "low_share", "area_falling"):
        known = table.drop_sel(zone="sea")
        assert (known[f"{name}_lo_95"] <= known[f"{name}_lo_50"]).all()
        assert (known[f"{name}_hi_95"] >= known[f"{name}_hi_50"]).all()
        assert (known[f"{name}_lo_95"] >= 0).all()


def test_the_tidy_frame_has_each_figure_once(table: xr.Dataset) -> None:
    frame = zone_frame(table)
    key = ["zone", "kind", "time", "figure", "from_class", "to_class", "class", "move", "threshold"]
    assert not frame.duplicated(key).any()
    labels = class_labels(CLASSES)
    row = frame[
        (frame["zone"] == "north")
        & (frame["time"] == "2030")
        & (frame["figure"] == "transition_area")
        & (frame["from_class"] == labels[0])
        & (frame["to_class"] == labels[1])
    ]
    assert len(row) == 1
    assert float(row["value"].iloc[0]) == float(table["transition_area"][0, 1, 0, 1])
    assert float(row["hi_95"].iloc[0]) == float(table["transition_area_hi_95"][0, 1, 0, 1])
    assert set(frame["units"]) == {"km2", "percent", "1"}
    lost = frame[(frame["figure"] == "class_lost") & (frame["zone"] == "all")]
    assert len(lost) == 3 * 3


def test_classes_are_named_by_their_edges() -> None:
    assert class_labels((0.1, 0.4)) == ["< 0.1", "0.1-0.4", ">= 0.4"]
    assert class_labels((0.25,)) == ["< 0.25", ">= 0.25"]


def test_thresholds_and_no_moves_are_served() -> None:
    totals = make_totals(n=9, h=1, measures=Measures(above=(0.2,), classes=(0.3,)))
    table = conservation_table(totals, times=make_times(1))
    plain = zone_table(totals, times=make_times(1))
    xr.testing.assert_identical(table["area_above_change_hi_95"], plain["area_above_change_hi_95"])
    assert table["area_rising"].sizes["move"] == 0
    frame = zone_frame(table)
    assert set(frame[frame["figure"] == "area_above"]["threshold"]) == {"0.2"}


def test_wrong_shares_and_totals_are_refused() -> None:
    totals, times = make_totals(n=4, h=1), make_times(1)
    with pytest.raises(BadArgument, match="target_share=0: a share of a zone is a percentage"):
        conservation_table(totals, times=times, target_share=0)
    plain = make_totals(n=4, h=1, measures=Measures(above=(0.1,), moves=(0.1,)))
    with pytest.raises(BadArgument, match="no transitions between classes"):
        conservation_table(plain, times=times)
