"""Laws of the panel that ends a fit."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from hmx.errors import BadArgument
from hmx.pictures.panel import NO_FORECAST, NO_TRUTH, PanelRow, block_mean, draw_panel

SHAPE = (40, 60)
MAPS = ("truth", "forecast", "lower", "upper", "origin")


def row(lead: int = 1, **changes: Any) -> PanelRow:
    rng = np.random.default_rng(lead)
    origin = rng.uniform(0, 0.6, SHAPE)
    truth = origin + 0.02 * lead
    maps = {
        "truth": truth, "forecast": origin + 0.015 * lead, "lower": origin, "origin": origin,
        "upper": origin + 0.1 * lead, "valid": truth.size,
    }  # fmt: skip
    return PanelRow(lead, f"{2005 + 5 * lead} (+{5 * lead} years)", **{**maps, **changes})


def draw(*rows: PanelRow, **options: Any) -> Figure:
    return draw_panel(rows, **{"target": "hm", "title": "toy", **options})


def maps_of(figure: Figure) -> list[Any]:
    return [axis for axis in figure.axes if axis.images]


def texts(figure: Figure) -> str:
    return "\n".join(t.get_text() for axis in figure.axes for t in axis.texts)


def test_a_panel_has_four_maps_and_a_label_for_each_lead() -> None:
    figure = draw(row(1), row(2), row(3), level=80)
    assert len(maps_of(figure)) == 3 * 4
    heads = [axis.get_title() for axis in maps_of(figure)[:4]]
    assert heads == ["observed", "forecast", "forecast - observed", "width of 80 % interval"]
    for lead in (1, 2, 3):
        assert f"{2005 + 5 * lead} (+{5 * lead} years)" in texts(figure)


def test_target_and_prediction_share_one_scale_over_all_rows() -> None:
    same = np.full(SHAPE, 0.4)
    figure = draw(row(1, truth=same, forecast=same), row(2, truth=same + 0.1, forecast=same))
    pictures = [axis.images[0].get_array() for axis in maps_of(figure)]
    np.testing.assert_array_equal(pictures[0], pictures[1])  # equal values, equal colours
    np.testing.assert_array_equal(pictures[0], pictures[5])
    assert (pictures[4] != pictures[5]).any()


def test_no_difference_is_the_middle_of_its_colours_however_one_sided_the_rest() -> None:
    still = row(1, forecast=row(1).truth)
    picture = maps_of(draw(still, row(2)))[2].images[0].get_array()
    np.testing.assert_allclose(picture, np.broadcast_to(colormaps["PuOr_r"](0.5), picture.shape))


def test_differences_and_widths_share_their_scales_over_rows() -> None:
    once, twice = row(1), row(1, truth=row(1).truth + 0.1)
    pictures = [axis.images[0].get_array() for axis in maps_of(draw(once, twice, once))]
    for column in range(4):
        np.testing.assert_array_equal(pictures[column], pictures[8 + column])
    assert (pictures[2] != pictures[6]).any()


def test_missing_truth_is_a_hatched_grey_in_target_and_difference() -> None:
    truth = row().truth.copy()
    truth[:20] = np.nan
    target, forecast, difference, width = maps_of(draw(row(truth=truth, valid=1200)))
    for axis in (target, difference):
        alpha = axis.images[0].get_array()[..., 3]
        assert (alpha[:20] == 0).all()
        assert (alpha[20:] == 1).all()
        assert axis.patch.get_facecolor() == to_rgba(NO_TRUTH)
        assert axis.patch.get_hatch()
    for axis in (forecast, width):
        assert (axis.images[0].get_array()[..., 3] == 1).all()


def test_missing_forecast_is_told_from_missing_truth() -> None:
    forecast = row().forecast.copy()
    forecast[:, :30] = np.nan
    axes = maps_of(draw(row(forecast=forecast, upper=forecast)))
    for axis in axes[1:]:
        picture = axis.images[0].get_array()
        assert (picture[:, :30] == to_rgba(NO_FORECAST)).all()
        assert (picture[:, 30:] != to_rgba(NO_FORECAST)).any(axis=-1).all()
    assert (axes[0].images[0].get_array()[..., 3] == 1).all()


@pytest.mark.parametrize("grey", [NO_TRUTH, NO_FORECAST, "0.40"])
@pytest.mark.parametrize("colours", ["viridis", "PuOr_r", "magma"])
def test_no_value_has_the_grey_of_missing_data(grey: str, colours: str) -> None:
    values = colormaps[colours](np.linspace(0, 1, 256))
    assert np.abs(values - to_rgba(grey)).max(axis=1).min() > 0.05


def test_a_lead_without_truth_shows_its_grey_everywhere_and_counts_no_pixels() -> None:
    figure = draw(row(1), row(2, truth=np.full(SHAPE, np.nan), valid=0))
    target, forecast, difference, _ = maps_of(figure)[4:]
    assert not target.images[0].get_array()[..., 3].any()
    assert not difference.images[0].get_array()[..., 3].any()
    assert forecast.images[0].get_array()[..., 3].all()
    assert "0 valid pixels" in texts(figure)
    legends = [axis.get_legend() for axis in figure.axes if axis.get_legend()]
    assert [t.get_text() for t in legends[0].get_texts()] == ["no truth"]


def test_a_panel_without_any_truth_is_drawn() -> None:
    nothing = np.full(SHAPE, np.nan)
    figure = draw(row(truth=nothing, forecast=nothing, lower=nothing, upper=nothing, valid=0))
    figure.savefig(io.BytesIO(), format="png")


def test_a_label_tells_count_errors_and_skill() -> None:
    truth = row().truth.copy()
    truth[0] = np.nan
    shown = texts(draw(row(truth=truth, valid=2340, skill=0.031)))
    assert "2,340 valid pixels" in shown
    assert "RMSE 0.005\npersistence 0.02\nskill +3.1 %" in shown
    assert "RMSE 0.7\npersistence 0.8" in texts(draw(row(rmse=0.7, persistence=0.8)))
    assert "1 valid pixel\n" in texts(draw(row(valid=1)))


def test_bars_name_the_target_and_its_units() -> None:
    def labels(**options: Any) -> list[str]:
        return [axis.get_xlabel() for axis in draw(row(), **options).axes if axis.get_xlabel()]

    assert labels(target="hfp", units="index") == [
        "hfp (index)", "difference (index)", "width (index)",
    ]  # fmt: skip
    assert labels(units="1") == ["hm", "difference", "width"]


def test_the_scale_stays_within_the_valid_range() -> None:
    wild = np.linspace(-1, 3, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    picture = maps_of(draw(row(truth=wild), valid_range=(0, 1)))[0].images[0].get_array()
    assert (picture[wild < 0] == colormaps["viridis"](0)).all()
    assert (picture[wild > 1] == colormaps["viridis"](255)).all()


def test_large_maps_are_drawn_as_block_means_of_known_pixels() -> None:
    values = np.arange(35.0).reshape(5, 7)
    values[0, 0] = np.nan
    values[4] = np.nan
    small = block_mean(values, most=4)
    assert small.shape == (3, 4)
    assert small[0, 0] == (1 + 7 + 8) / 3
    assert small[1, 3] == (20 + 27) / 2
    assert np.isnan(small[2]).all()
    np.testing.assert_array_equal(block_mean(values, most=7), values)
    big = {k: np.ones((1500, 900)) for k in MAPS}
    assert max(maps_of(draw(row(**big)))[0].images[0].get_array().shape) <= 480


def test_a_saved_panel_is_1200_pixels_wide_and_its_texts_stay_inside() -> None:
    long = PanelRow(12, "1990-12 (+120 months)", **{k: np.eye(9) for k in MAPS}, valid=184_600_000)
    figure = draw(long, replace(long, skill=-0.123), units="a rather long unit of measure, per km2")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    width, height = figure.canvas.get_width_height()
    assert width == 1200
    assert int.from_bytes(buffer.getvalue()[16:20], "big") == 1200  # of the PNG's header
    for axis in figure.axes:
        for text in axis.texts:
            box = text.get_window_extent()
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 < maps_of(figure)[0].get_window_extent().x0
            assert box.y1 <= height
    labels = [axis.xaxis.label.get_window_extent() for axis in figure.axes if axis.get_xlabel()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(labels))
    assert labels[-1].x1 <= width


def test_maps_of_different_shapes_are_refused() -> None:
    with pytest.raises(BadArgument, match=r"upper at lead 2 has shape \(3, 3\) and the panel \(40"):
        draw(row(1), row(2, upper=np.ones((3, 3))))
    with pytest.raises(BadArgument, match=r"no rows.*Pass a PanelRow each"):
        draw()


def test_drawing_touches_no_state_of_pyplot() -> None:
    import sys

    before = "matplotlib.pyplot" in sys.modules
    draw(row())
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_truth_that_was_trained_on_is_pale_and_counts_in_no_error() -> None:
    unseen = np.zeros(SHAPE, bool)
    unseen[:20] = True
    off = row().truth.copy()
    off[20:] += 5  # far from the forecast where the model has seen the truth
    figure = draw(row(truth=off, unseen=unseen))
    assert "RMSE 0.005" in texts(figure)
    plain, pale = (draw(row(truth=off, unseen=mask)) for mask in (None, unseen))
    for column in (0, 2):
        before, after = (maps_of(f)[column].images[0].get_array() for f in (plain, pale))
        np.testing.assert_array_equal(before[:20], after[:20])
        assert (after[20:, :, :3].mean() > before[20:, :, :3].mean()).all()
    for column in (1, 3):
        before, after = (maps_of(f)[column].images[0].get_array() for f in (plain, pale))
        np.testing.assert_array_equal(before, after)
    legends = [axis.get_legend() for axis in figure.axes if axis.get_legend()]
    assert [t.get_text() for t in legends[0].get_texts()] == ["pale: trained on"]
