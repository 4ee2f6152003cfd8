"""Pictures of a forecast's scorecard: skill by lead, calibration, skill by stratum.

Every function returns a figure that is known to no backend and shown nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter

from hmx.pictures.style import (
    REFERENCE,
    Figure,
    finish_axes,
    finite_or,
    legend_below,
    series_style,
    shift,
    with_units,
)  # fmt: skip
from hmx.scores.leads import LeadCard

_MEASURES = ("rmse", "crps")
# rounded: 0.57 * 100 is 56.99999999999999
_PERCENT = FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}")


def draw_skill(card: LeadCard) -> Figure:
    """Draw the pooled skill of each forecaster against the reference, by lead.

    Bars are one standard deviation over folds and origins, where there are several. A skill
    below the scale is written at its lower edge.
    """
    figure = Figure(figsize=(9.0, 4.4), layout="constrained")
    axes = figure.subplots(1, 2)
    names = [name for name in card.forecasters if name != card.reference]
    for axis, measure in zip(axes, _MEASURES, strict=True):
        axis.axhline(0, color=REFERENCE, linewidth=1.2, label=card.reference)
        floor = _floor(card, measure)
        for number, name in enumerate(names):
            _skill_line(
                axis, card, metric=f"{measure}_skill", name=name, number=number, of=len(names),
                floor=floor,
            )  # fmt: skip
        if floor > -math.inf:
            axis.set_ylim(bottom=floor)
        labels = [
            card.lead_name(lead) + ("" if lead in card.scored else "\n(no truth)")
            for lead in card.leads
        ]
        axis.set_xticks(range(len(labels)), labels)
        axis.set_xlim(-0.4, len(labels) - 0.6)
        finish_axes(axis, axis="y")
        axis.set(title=f"{measure.upper()} skill", ylabel=f"skill against {card.reference} (%)")
        axis.yaxis.set_major_formatter(_PERCENT)
    legend_below(figure, axes[0])
    figure.suptitle(_title(card, f"Skill against {card.reference}, higher is better"))
    return figure


def draw_reliability(card: LeadCard) -> Figure:
    """Draw the model's coverage against the nominal level and its PIT histogram, by lead.

    Ties are broken at random in both: half of a raster may never change.
    """
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=REFERENCE, linewidth=1.2, label="calibrated")
    right.axhline(1, color=REFERENCE, linewidth=1.2)
    for number, lead in enumerate(card.scored):
        cell, style = card.whole[card.model, lead, "all"], series_style(number)
        levels = [level / 100 for level in cell.coverage]
        shares = [interval.share for interval in cell.coverage.values()]
        left.plot(levels, shares, label=card.lead_name(lead), markersize=6, **style)
        bins = cell.pit.shares * cell.pit.shares.size  # density: 1 in every bin if calibrated
        plain = {key: style[key] for key in ("color", "linestyle")}
        right.stairs(bins, np.linspace(0, 1, bins.size + 1), baseline=None, linewidth=1.6, **plain)
    left.set(title="Coverage of central intervals", xlim=(0, 1), ylim=(0, 1))
    left.set(xlabel="nominal level (%)", ylabel="truths inside (%)", aspect="equal")
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter(_PERCENT)
    right.set(title="PIT histogram", xlim=(0, 1), xlabel="probability of the truth (PIT)")
    right.set(ylabel="density (1 = calibrated)")
    # at least 2: a small ripple around 1 must not fill the panel
    right.set_ylim(0, max(2.0, right.get_ylim()[1]))
    finish_axes(left, right)
    legend_below(figure, left)
    figure.suptitle(_title(card, f"Calibration of {card.model}"))
    return figure


def draw_strata(card: LeadCard, meanings: Mapping[str, str] | None = None) -> Figure:
    """Draw the model's pooled skill in each stratum, by lead.

    Each stratum is named with its share of the pixels at the first lead scored; ``meanings``
    explain them under the panels.
    """
    strata, height = card.strata, 1.7 + 0.3 * len(card.strata) * max(1, len(card.scored)) ** 0.5
    figure = Figure(figsize=(9.0, max(3.2, height)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(strata), dtype=float)
    for axis, measure in zip(axes, _MEASURES, strict=True):
        axis.axvline(0, color=REFERENCE, linewidth=1.2, label=card.reference)
        metric = f"{measure}_skill"
        for number, lead in enumerate(card.scored):
            skills, spreads = (
                [card.value(metric, card.model, lead, stratum=part, split=row) for part in strata]
                for row in ("all", "sd")
            )
            style = {**series_style(number), "linestyle": "none"}
            axis.errorbar(
                finite_or(skills, math.nan), rows + shift(number, len(card.scored), 0.5),
                xerr=finite_or(spreads, 0.0), label=card.lead_name(lead), capsize=2, **style,
            )  # fmt: skip
        for row, part in zip(rows, strata, strict=True):
            skills = [card.value(metric, card.model, n, stratum=part) for n in card.scored]
            # no lead has a skill here, as the reference is perfect
            if {*skills} == {-math.inf}:
                axis.annotate(
                    f"{card.reference} makes no error here", (0.5, row),
                    xycoords=("axes fraction", "data"), ha="center", va="center", fontsize=8,
                    color=REFERENCE, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
                )  # fmt: skip
        axis.set(title=f"{measure.upper()} skill", xlabel=f"skill against {card.reference} (%)")
        axis.xaxis.set_major_formatter(_PERCENT)
        axis.margins(x=0.08)
    axes[0].set_yticks(rows, [_stratum_name(card, name) for name in strata])
    axes[0].set_ylim(len(strata) - 0.5, -0.5)
    finish_axes(*axes, axis="x")
    for axis in axes:
        for edge in rows[:-1] + 0.5:
            axis.axhline(edge, color="0.9", linewidth=0.8)
    legend_below(figure, axes[0])
    known = [text for name, text in (meanings or {}).items() if name in strata]
    if known:
        share = "% at a name: its share of the area scored at the first lead"
        text = fill("; ".join([*known, share]) + ".", 118)
        # of the legend, which the layout keeps clear of the axes
        figure.legends[-1].set_title(text, prop=FontProperties(size=8))
    figure.suptitle(_title(card, f"Where {card.model} is better than {card.reference}"))
    return figure


def _skill_line(
    axis: Any, card: LeadCard, *, metric: str, name: str, number: int, of: int, floor: float
) -> None:
    """Draw one forecaster's skill; several are shifted sideways so that bars stay apart."""
    skills = [card.value(metric, name, lead) for lead in card.leads]
    spreads = [card.value(metric, name, lead, split="sd") for lead in card.leads]
    positions = np.arange(len(card.leads)) + shift(number, of, 0.18)
    style = series_style(number) | {"linewidth": 2.4 if name == card.model else 1.3}
    drawn = [skill if skill >= floor else math.nan for skill in skills]
    axis.errorbar(positions, drawn, yerr=finite_or(spreads, 0.0), label=name, capsize=3, **style)
    for position, skill in zip(positions, skills, strict=True):
        if skill < floor:
            axis.annotate(
                f"{100 * skill:.0f}", (position, floor),
                # three heights: labels of neighbouring series do not cover each other
                xytext=(0, 16 + 11 * (number % 3)), textcoords="offset points",
                arrowprops={"arrowstyle": "->", "color": style["color"]}, color=style["color"],
                ha="center", fontsize=8,
            )  # fmt: skip


def _floor(card: LeadCard, measure: str) -> float:
    """Return the lowest skill drawn: below the model's, and as much below zero as above.

    Without a floor, one hopeless baseline would squeeze all other lines into one.
    """
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


def _stratum_name(card: LeadCard, name: str) -> str:
    if not card.scored:
        return name
    lead = card.scored[0]
    weight, whole = (card.value("weight", card.model, lead, stratum=s) for s in (name, "all"))
    return f"{name}: {100 * weight / whole:.0f} %" if name != "all" and whole else name


def _title(card: LeadCard, text: str) -> str:
    target = card.facts.get("target")
    name = target and with_units(target, card.facts.get("units"))
    return f"{name}: {text[0].lower()}{text[1:]}" if name else text
