"""Scorecard: the finished scores of a model and the baselines beside it.

Made of tallies, one for each fold and origin. Figures pool them by adding
their sums, so every pixel counts once, and their spread over folds and origins
stands beside each figure.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from hmx.errors import BadArgument, missing_variable
from hmx.files.durable import Folder
from hmx.files.jsontext import as_json, finite
from hmx.files.paths import absolute
from hmx.forecast.backtest.text import as_text
from hmx.forecast.backtest.verdict import verdict
from hmx.pictures.backtest import draw_reliability, draw_skill, draw_strata
from hmx.scores import Cell, Score, Tally, pooled, skill
from hmx.scores.score import Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POOLED, SPREAD = "all", "sd"  # rows of the table that stand for no single split
MEASURES: tuple[Measure, ...] = ("mae", "rmse", "crps")
COLUMNS = ("forecaster", "lead", "stratum", "split", "metric", "value")
_VERSION = 1

Row = dict[str, Any]
Figures = dict[str, float]


@dataclass(frozen=True)
class Scorecard:
    """Hold what is known of a model's skill, and say whether to use it.

    Parameters
    ----------
    tallies : mapping of str to Tally
        By fold and origin, such as ``"fold 1, from 2005"``.
    facts : mapping of str to JSON values
        What was scored: target, units, cadence, digests of model, data and
        split, seed.
    model : str
        The forecaster that is judged.
    reference : str
        The forecaster that skill is told against.
    leads : tuple of int, optional
        Leads asked for; those without held-out truth are `uncalibrated`. By
        default the leads of the tallies.
    names : mapping of int to str, optional
        What leads are called, such as ``{1: "+5 years"}``.

    Raises
    ------
    MissingVariable
        If the tallies lack the model or the reference.
    BadArgument
        If a tally has the label of a pooled row.

    Examples
    --------
    >>> from hmx.scores import Cell
    >>> still = Cell.of([[0.0, 1.0]], [[0.0, 0.0]], [[0.0, 0.0]])
    >>> half = Cell.of([[0.0, 1.0]], [[0.0, 0.0]], [[0.0, 0.5]])
    >>> tally = Tally({("persistence", 1, "all"): still, ("model", 1, "all"): half})
    >>> card = Scorecard({"from 2005": tally}, names={1: "+5 years"})
    >>> card.value("rmse_skill", "model", 1)
    0.5
    >>> card.verdict.partition(":")[0]
    'Use the model'
    """

    tallies: Mapping[str, Tally]
    facts: Mapping[str, Any] = field(default_factory=dict)
    model: str = "model"
    reference: str = "persistence"
    leads: tuple[int, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (self.model, self.reference):
            if name not in self.whole.forecasters:
                raise missing_variable(name, self.whole.forecasters, where="the tallies")
        if taken := {POOLED, SPREAD} & {*self.tallies}:
            raise BadArgument(
                f"a tally is called {taken.pop()!r}: that row of the table stands for all tallies. "
                "Name each after its fold and origin, such as 'fold 1, from 2005'."
            )
        if not self.leads:
            object.__setattr__(self, "leads", self.whole.leads)

    @cached_property
    def whole(self) -> Tally:
        """All tallies, added."""
        return pooled(self.tallies)

    @property
    def forecasters(self) -> tuple[str, ...]:
        """The model, the reference, then the other baselines as they came."""
        return tuple(dict.fromkeys([self.model, self.reference, *self.whole.forecasters]))

    @property
    def strata(self) -> tuple[str, ...]:
        """Names of the strata; ``"all"`` is every pixel."""
        return self.whole.strata

    @property
    def scored(self) -> tuple[int, ...]:
        """Leads with held-out truth."""
        return tuple(n for n in self.leads if self.whole[self.model, n, "all"].score.count)

    @property
    def uncalibrated(self) -> tuple[int, ...]:
        """Leads without held-out truth: nothing is known of their errors."""
        return tuple(lead for lead in self.leads if lead not in self.scored)

    @property
    def verdict(self) -> str:
        """One sentence: whether to use the model or the reference."""
        return verdict(self)

    def lead_name(self, lead: int) -> str:
        """Return what a lead is called."""
        return self.names.get(lead, f"lead {lead}")

    def value(
        self, metric: str, forecaster: str, lead: int, *, stratum: str = "all", split: str = POOLED
    ) -> float:
        """Look up a figure.

        Parameters
        ----------
        metric : str
            Such as ``rmse``, ``crps_skill``, ``rmse_skill_vs_ridge``,
            ``coverage_80``, ``width_80``, ``pit_07``, ``ssim``, ``f1``.
        forecaster, lead, stratum
            Which cell.
        split : str
            ``"all"`` pooled, ``"sd"`` the spread over the tallies, or a label.

        Returns
        -------
        float
            Skills and shares as fractions, errors in units of the target; NaN
            if there is none.
        """
        return self.table.get((forecaster, lead, stratum, split), {}).get(metric, math.nan)

    @cached_property
    def table(self) -> Mapping[tuple[str, int, str, str], Figures]:
        """Every figure, by (forecaster, lead, stratum, split) and name."""
        table: dict[tuple[str, int, str, str], Figures] = {}
        for name, lead, stratum in product(self.forecasters, self.leads, self.strata):
            parts = {
                split: self._figures(tally, name, lead, stratum)
                for split, tally in self.tallies.items()
                if tally[name, lead, stratum].score.count
            }
            table[name, lead, stratum, POOLED] = self._figures(self.whole, name, lead, stratum)
            table[name, lead, stratum, SPREAD] = _spread(parts)
            table |= {(name, lead, stratum, split): found for split, found in parts.items()}
        return table

    def _figures(self, tally: Tally, name: str, lead: int, stratum: str) -> Figures:
        """Finish a cell, and compare it with the reference and, if the model's, with all."""
        cell = tally[name, lead, stratum]
        found = cell.figures()
        others = {other: tally[other, lead, stratum] for other in self.forecasters}
        for measure in MEASURES:
            found[f"{measure}_skill"] = _skill(cell, others[self.reference].score, measure)
            if name == self.model:
                for other in self.forecasters[2:]:
                    beaten = _skill(cell, others[other].score, measure)
                    found[f"{measure}_skill_vs_{other}"] = beaten
        return found

    def rows(self) -> list[Row]:
        """List every figure: forecaster, lead, stratum, split, metric, value."""
        return [
            dict(zip(COLUMNS, (*key, metric, value), strict=True))
            for key, found in self.table.items()
            for metric, value in found.items()
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values: the verdict, all figures, and the sums they are made of."""
        scores = [
            dict(zip(COLUMNS[:4], key, strict=True)) | finite(found)
            for key, found in self.table.items()
        ]
        leads = [
            {"lead": lead, "name": self.lead_name(lead), "status": self._status(lead)}
            for lead in self.leads
        ]
        return {
            "hmx_scorecard": _VERSION,
            "verdict": self.verdict,
            "model": self.model,
            "reference": self.reference,
            "facts": dict(self.facts),
            "leads": leads,
            "scores": scores,
            "tallies": {label: tally.as_dict() for label, tally in self.tallies.items()},
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Scorecard:
        """Make the scorecard again from the values of :meth:`as_dict`."""
        return cls(
            {label: Tally.from_dict(tally) for label, tally in facts["tallies"].items()},
            facts["facts"],
            model=facts["model"],
            reference=facts["reference"],
            leads=tuple(row["lead"] for row in facts["leads"]),
            names={row["lead"]: row["name"] for row in facts["leads"]},
        )

    def save(self, folder: str) -> str:
        """Write ``scorecard.json``, ``scores.csv`` and the plots.

        Parameters
        ----------
        folder : str
            Directory or URL; made if it is not there, files of the same names
            are replaced.

        Returns
        -------
        str
            Path of the JSON file.
        """
        place = Folder(absolute(folder))
        place.write("scores.csv", self._csv().encode())
        draw: dict[str, Callable[[Scorecard], Figure]] = {"skill.png": draw_skill}
        draw |= {"reliability.png": draw_reliability, "strata.png": draw_strata}
        for name, figure in draw.items():
            picture = io.BytesIO()
            figure(self).savefig(picture, format="png", dpi=150)
            place.write(name, picture.getvalue())
        text = as_json(self.as_dict(), indent=1, default=str)
        place.write("scorecard.json", text.encode())
        return f"{folder.rstrip('/')}/scorecard.json"

    def __str__(self) -> str:
        """Write the verdict and the table for a terminal."""
        return as_text(self)

    def _status(self, lead: int) -> str:
        return "scored" if lead in self.scored else "uncalibrated: no held-out truth"

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in self.rows():
            value = row["value"]
            writer.writerow(row | {"value": "" if math.isnan(value) else repr(float(value))})
        return text.getvalue()


def _skill(cell: Cell, reference: Score, measure: Measure) -> float:
    """Compare, unless one of the two was not scored everywhere."""
    same = cell.score.count == reference.count
    return skill(cell.score, reference, measure=measure) if same else math.nan


def _spread(parts: Mapping[str, Figures]) -> Figures:
    """Take the standard deviation (n - 1) of each figure over splits that have it."""
    spread = {}
    for name in dict.fromkeys(name for found in parts.values() for name in found):
        values = [found[name] for found in parts.values() if math.isfinite(found.get(name, np.nan))]
        spread[name] = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return spread
