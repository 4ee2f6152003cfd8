"""Pictures of a scorecard: skill by lead, calibration, skill by stratum.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell
apart; line styles and markers say the same once more, for prints in grey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

if TYPE_CHECKING:
    from hmx.forecast.backtest.scorecard import Scorecard

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
_REFERENCE = "0.35"  # grey of the line that stands for the reference
_MEASURES = ("rmse", "crps")
_PERCENT = FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}")


def draw_skill(card: Scorecard) -> Figure:
    """Draw the skill of each forecaster against the reference, by lead.

    Parameters
    ----------
    card : Scorecard
        Pooled skills of RMSE and CRPS; bars are one standard deviation over
        folds and origins, where there are several. A skill too bad for the
        scale is written at its lower edge.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and known to no backend.
    """
    figure = Figure(figsize=(9.0, 4.4), layout="constrained")
    axes = figure.subplots(1, 2)
    names = [name for name in card.forecasters if name != card.reference]
    for axis, measure in zip(axes, _MEASURES, strict=True):
        axis.axhline(0, color=_REFERENCE, linewidth=1.2, label=card.reference)
        for number, name in enumerate(names):
            _skill_line(axis, card, measure=measure, name=name, number=number, of=len(names))
        if (floor := _floor(card, measure)) > -math.inf:
            axis.set_ylim(bottom=floor)
        _lead_axis(axis, card)
        axis.set(title=f"{measure.upper()} skill", ylabel=f"skill against {card.reference} (%)")
        axis.yaxis.set_major_formatter(_PERCENT)
    _legend(figure, axes[0])
    figure.suptitle(_title(card, f"Skill against {card.reference}, higher is better"))
    return figure


def draw_reliability(card: Scorecard) -> Figure:
    """Draw whether the model's probabilities come true, by lead.

    Parameters
    ----------
    card : Scorecard
        Its coverage is drawn against the nominal level, and its PIT as a
        histogram; ties are broken at random in both.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and known to no backend.
    """
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=_REFERENCE, linewidth=1.2, label="calibrated")
    right.axhline(1, color=_REFERENCE, linewidth=1.2)
    for number, lead in enumerate(card.scored):
        cell, style = card.whole[card.model, lead, "all"], _style(number)
        levels = [level / 100 for level in cell.coverage]
        shares = [interval.share for interval in cell.coverage.values()]
        left.plot(levels, shares, label=card.lead_name(lead), markersize=6, **style)
        bins = cell.pit.shares * cell.pit.shares.size
        plain = {key: style[key] for key in ("color", "linestyle")}
        right.stairs(bins, np.linspace(0, 1, bins.size + 1), baseline=None, linewidth=1.6, **plain)
    left.set(title="Coverage of central intervals", xlim=(0, 1), ylim=(0, 1))
    left.set(xlabel="nominal level (%)", ylabel="truths inside (%)", aspect="equal")
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter(_PERCENT)
    right.set(title="PIT histogram", xlim=(0, 1), xlabel="probability of the truth (PIT)")
    right.set(ylabel="density (1 = calibrated)")
    right.set_ylim(0, max(2.0, right.get_ylim()[1]))
    _finish(left, right)
    _legend(figure, left)
    figure.suptitle(_title(card, f"Calibration of {card.model}"))
    return figure


def draw_strata(card: Scorecard) -> Figure:
    """Draw the model's skill in each stratum, by lead.

    Parameters
    ----------
    card : Scorecard
        Pooled skills of RMSE and CRPS; each stratum is named with the share of
        the pixels that it holds at the first lead scored.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and known to no backend.
    """
    strata, height = card.strata, 1.7 + 0.3 * len(card.strata) * max(1, len(card.scored)) ** 0.5
    figure = Figure(figsize=(9.0, max(3.2, height)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(strata), dtype=float)
    for axis, measure in zip(axes, _MEASURES, strict=True):
        axis.axvline(0, color=_REFERENCE, linewidth=1.2, label=card.reference)
        for number, lead in enumerate(card.scored):
            skills, spreads = _strata_skills(card, measure, lead)
            shift = _shift(number, len(card.scored), 0.5)
            style = {**_style(number), "linestyle": "none"}
            axis.errorbar(
                skills, places + shift, xerr=spreads, label=card.lead_name(lead), capsize=2, **style
            )
        for place in places[_without_error(card, measure)]:
            axis.annotate(
                f"{card.reference} makes no error here",
                (0.5, place),
                xycoords=("axes fraction", "data"),
                ha="center",
                va="center",
                fontsize=8,
                color=_REFERENCE,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )
        axis.set(title=f"{measure.upper()} skill", xlabel=f"skill against {card.reference} (%)")
        axis.xaxis.set_major_formatter(_PERCENT)
        axis.margins(x=0.08)
    axes[0].set_yticks(places, [_stratum_name(card, name) for name in strata])
    axes[0].set_ylim(len(strata) - 0.5, -0.5)
    _finish(*axes, axis="x")
    for axis in axes:
        for edge in places[:-1] + 0.5:
            axis.axhline(edge, color="0.9", linewidth=0.8)
    _legend(figure, axes[0])
    figure.suptitle(_title(card, f"Where {card.model} is better than {card.reference}"))
    return figure


def _skill_line(
    axis: Any, card: Scorecard, *, measure: str, name: str, number: int, of: int
) -> None:
    """Draw one forecaster's skill; lines of several stand side by side."""
    metric = f"{measure}_skill"
    skills = [card.value(metric, name, lead) for lead in card.leads]
    spreads = [card.value(metric, name, lead, split="sd") for lead in card.leads]
    places = np.arange(len(card.leads)) + _shift(number, of, 0.18)
    style = _style(number) | {"linewidth": 2.4 if name == card.model else 1.3}
    floor = _floor(card, measure)
    seen = [skill if skill >= floor else math.nan for skill in skills]
    axis.errorbar(places, seen, yerr=_bars(spreads), label=name, capsize=3, **style)
    for place, skill in zip(places, skills, strict=True):
        if skill < floor:
            axis.annotate(
                f"{100 * skill:.0f}",
                (place, floor),
                xytext=(0, 16 + 11 * (number % 3)),
                textcoords="offset points",
                arrowprops={"arrowstyle": "->", "color": style["color"]},
                color=style["color"],
                ha="center",
                fontsize=8,
            )


def _floor(card: Scorecard, measure: str) -> float:
    """Lowest skill drawn: room for the model, and as much below zero as above."""
    skills = [
        card.value(f"{measure}_skill", name, lead)
        for name in card.forecasters
        for lead in card.leads
    ]
    known = [skill for skill in skills if math.isfinite(skill)]
    ours = [card.value(f"{measure}_skill", card.model, lead) for lead in card.scored]
    low = min([skill for skill in ours if math.isfinite(skill)], default=0.0)
    bottom = -1.3 * max([0.05, *known, -low])
    return bottom if any(skill < bottom for skill in skills) else -math.inf


def _legend(figure: Figure, axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    columns = min(len(labels), 6)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def _lead_axis(axis: Any, card: Scorecard) -> None:
    """Name the leads, and say which have no truth."""
    names = [
        card.lead_name(lead) + ("" if lead in card.scored else "\n(no truth)")
        for lead in card.leads
    ]
    axis.set_xticks(range(len(names)), names)
    axis.set_xlim(-0.4, len(names) - 0.6)
    _finish(axis, axis="y")


def _strata_skills(card: Scorecard, measure: str, lead: int) -> tuple[list[float], list[float]]:
    metric = f"{measure}_skill"
    pairs = [
        [card.value(metric, card.model, lead, stratum=part, split=row) for row in ("all", "sd")]
        for part in card.strata
    ]
    return _finite([skill for skill, _ in pairs]), _bars([spread for _, spread in pairs])


def _without_error(card: Scorecard, measure: str) -> list[int]:
    """Find the strata in which no lead has a skill, as the reference is perfect there."""
    metric = f"{measure}_skill"
    return [
        at
        for at, part in enumerate(card.strata)
        if {card.value(metric, card.model, n, stratum=part) for n in card.scored} == {-math.inf}
    ]


def _stratum_name(card: Scorecard, name: str) -> str:
    if not card.scored:
        return name
    lead = card.scored[0]
    weight, whole = (card.value("weight", card.model, lead, stratum=s) for s in (name, "all"))
    return f"{name}: {100 * weight / whole:.0f} %" if name != "all" and whole else name


def _style(number: int) -> dict[str, Any]:
    """Colour, marker and line of the n-th series."""
    turn = number % len(COLOURS)
    return {
        "color": COLOURS[turn],
        "marker": _MARKERS[turn],
        "linestyle": _LINES[(number + number // len(COLOURS)) % len(_LINES)],
    }


def _shift(number: int, of: int, room: float) -> float:
    return room * ((number + 0.5) / of - 0.5) if of > 1 else 0.0


def _finite(values: Sequence[float]) -> list[float]:
    """Leave out what cannot be drawn, such as a skill against a perfect reference."""
    return [value if math.isfinite(value) else math.nan for value in values]


def _bars(spreads: Sequence[float]) -> list[float]:
    return [spread if math.isfinite(spread) else 0.0 for spread in spreads]


def _finish(*axes: Any, axis: str = "both") -> None:
    for each in axes:
        each.grid(axis=axis, color="0.88", linewidth=0.8)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)


def _title(card: Scorecard, text: str) -> str:
    target = card.facts.get("target")
    units = card.facts.get("units")
    name = f"{target} ({units})" if target and units and units != "1" else target
    return f"{name}: {text[0].lower()}{text[1:]}" if name else text
