"""Laws of the pictures of a scorecard."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from hmx.forecast.backtest.scorecard import Scorecard
from hmx.pictures.backtest import draw_reliability, draw_skill, draw_strata
from hmx.pictures.style import COLOURS
from hmx.scores import Cell, Prediction, Scene, Tally
from tests.forecast.backtest.test_scorecard import scenes


@pytest.fixture(scope="module")
def card() -> Scorecard:
    return scenes()


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def curves(axis: Axes) -> dict[str, np.ndarray]:
    return {
        str(bars.get_label()): np.asarray(bars[0].get_ydata(), dtype=float)
        for bars in axis.containers
    }


def test_skill_is_drawn_for_each_forecaster_but_the_reference_in_percent(card: Scorecard) -> None:
    figure = draw_skill(card)
    assert legend(figure) == ["persistence", "model", "trend"]
    drawn = curves(figure.axes[1])["model"]
    assert drawn[:2] == pytest.approx([card.value("crps_skill", "model", k) for k in (1, 2)])
    assert figure.axes[0].yaxis.get_major_formatter()(0.25) == "25"


def test_every_point_lies_inside_its_panel(card: Scorecard) -> None:
    for axis in draw_skill(card).axes:
        points = np.concatenate([*curves(axis).values()])
        low, high = axis.get_ylim()
        assert low <= np.nanmin(points) <= np.nanmax(points) <= high


def test_a_lead_without_truth_is_named_so_and_has_no_point(card: Scorecard) -> None:
    axis = draw_skill(card).axes[0]
    assert [text.get_text() for text in axis.get_xticklabels()] == [
        "+5 years", "+10 years", "+15 years\n(no truth)"
    ]  # fmt: skip
    assert np.isnan(curves(axis)["model"][2])


def test_coverage_is_drawn_against_its_level_for_each_lead(card: Scorecard) -> None:
    figure = draw_reliability(card)
    assert legend(figure) == ["calibrated", "+5 years", "+10 years"]
    line = figure.axes[0].lines[1]
    assert list(line.get_xdata()) == [0.5, 0.8, 0.95]
    assert line.get_ydata() == pytest.approx(
        [card.value(f"coverage_{n}", "model", 1) for n in (50, 80, 95)]
    )
    steps = figure.axes[1].patches[0].get_data().values
    assert steps.mean() == pytest.approx(1)
    assert steps[0] == pytest.approx(20 * card.value("pit_00", "model", 1))


def test_strata_are_named_with_their_share(card: Scorecard) -> None:
    figure = draw_strata(card)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names[0] == "all"
    assert names[1].startswith("far: ")
    points = np.asarray(figure.axes[0].containers[0][0].get_xdata())
    assert points[2] == pytest.approx(card.value("rmse_skill", "model", 1, stratum="near"))


def test_a_stratum_in_which_the_reference_is_exact_says_so() -> None:
    truth = np.stack([np.where(np.arange(30) < 10, 0.5, 0.6) * np.ones((20, 1))] * 2)
    origin, model = np.full((20, 30), 0.5), np.full((2, 20, 30), 0.55)
    same = {"unchanged": np.arange(30) * np.ones((20, 1)) < 10}
    scene = Scene(truth, origin, (1, 2), strata=same)
    both = {"model": Prediction(model), "persistence": Prediction(np.stack([origin] * 2))}
    exact = Scorecard({"a": Tally.of(scene, both)})
    for axis in draw_strata(exact).axes:
        (note,) = axis.texts
        assert note.get_text() == "persistence makes no error here"
        assert note.xy[1] == exact.strata.index("unchanged")
    assert "-: persistence makes no error there" in str(exact)
    assert "unchanged: truly the same" in str(exact)
    assert "inf" not in str(exact)


def test_series_differ_by_colour_marker_and_line_style(card: Scorecard) -> None:
    bars = draw_skill(card).axes[0].containers
    lines = [bar[0] for bar in bars]
    for looks in (
        {to_hex(line.get_color()).upper() for line in lines},
        {line.get_marker() for line in lines},
        {line.get_linestyle() for line in lines},
    ):
        assert len(looks) == len(lines)
    assert {to_hex(line.get_color()).upper() for line in lines} <= set(COLOURS)


@pytest.mark.parametrize("draw", [draw_skill, draw_reliability, draw_strata])
def test_titles_name_target_and_units_and_nothing_is_needed_to_draw(draw, card: Scorecard) -> None:
    assert "hm (index)" in draw(card).get_suptitle()
    empty = Tally({("model", 1, "all"): Cell(), ("persistence", 1, "all"): Cell()})
    draw(Scorecard({"a": empty})).draw_without_rendering()


def test_an_infinite_skill_is_left_out() -> None:
    moved = Cell.of([[0.0]], [[0.0]], [[1.0]])
    still = Cell.of([[0.0]], [[0.0]], [[0.0]])
    card = Scorecard({"a": Tally({("persistence", 1, "all"): still, ("model", 1, "all"): moved})})
    assert np.isnan(curves(draw_skill(card).axes[0])["model"]).all()
    points = draw_strata(card).axes[0].containers[0][0].get_xdata()
    assert np.isnan(np.asarray(points, dtype=float)).all()


def test_a_hopeless_baseline_does_not_squeeze_the_others() -> None:
    def off(error: float) -> Cell:
        return Cell.of([[0.0, 1.0]], [[0.0, 0.0]], [[error, 1.0 - error]])

    cells = {"persistence": off(0.5), "model": off(0.4), "trend": off(5.0)}
    card = Scorecard({"a": Tally({(name, 1, "all"): cell for name, cell in cells.items()})})
    axis = draw_skill(card).axes[0]
    assert -0.5 < axis.get_ylim()[0] < 0
    assert np.isnan(curves(axis)["trend"]).all()
    assert [text.get_text() for text in axis.texts] == ["-900"]


def test_strata_are_explained_below_the_panels(card: Scorecard) -> None:
    figure = draw_strata(card, {"near": "near: up to 3 px", "elsewhere": "not in the card"})
    figure.draw_without_rendering()
    legend = figure.legends[0]
    assert legend.get_title().get_text().startswith("near: up to 3 px; % at a name")
    assert "elsewhere" not in legend.get_title().get_text()
    lowest = min(axis.get_tightbbox().y0 for axis in figure.axes)
    assert legend.get_window_extent().y1 <= lowest
