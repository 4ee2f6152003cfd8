"""LeadCard: the figures of a scorecard of forecasts, by lead.

It is made of tallies, one for each fold and origin. Pooled figures add their sums, so every
pixel counts once; the spread of a figure is its standard deviation over folds and origins.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np

from hmx.errors import BadArgument, missing_variable
from hmx.files.jsontext import finite
from hmx.scores.card import Card, Figures, csv_of
from hmx.scores.score import Measure, skill
from hmx.scores.tally import Tally, pooled
from hmx.scores.zones import ZoneTally

POOLED, SPREAD = "all", "sd"  # splits of the table that stand for all tallies
MEASURES: tuple[Measure, ...] = ("mae", "rmse", "crps")


@dataclass(frozen=True, repr=False)
class LeadCard(Card):
    """Scorecard of forecasts, as verdict, text and plots read it."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "forecaster", "lead", "stratum", "split", "metric", "value",
    )  # fmt: skip
    FORMAT: ClassVar[str] = "hmx_scorecard"

    tallies: Mapping[str, Tally]  # by fold and origin, such as ``"fold 1, from 2005"``
    facts: Mapping[str, Any] = field(default_factory=dict)  # what was scored, in JSON values
    model: str = "model"  # the forecaster that is judged
    reference: str = "persistence"  # the forecaster that skills compare with
    leads: tuple[int, ...] = ()  # asked for; by default those of the tallies
    names: Mapping[int, str] = field(default_factory=dict)  # labels of leads: ``"+5 years"``
    zones: Mapping[str, ZoneTally] = field(default_factory=dict)  # of zones, by fold and origin

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

    @cached_property
    def whole_zones(self) -> ZoneTally:
        """The zones of all folds and origins, added."""
        return sum(self.zones.values(), ZoneTally())

    @property
    def forecasters(self) -> tuple[str, ...]:
        """The model, the reference, then the other baselines in their order."""
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
        """Leads without held-out truth: their errors are unknown."""
        return tuple(lead for lead in self.leads if lead not in self.scored)

    @property
    @abstractmethod
    def zone_verdict(self) -> str | None:
        """One sentence: how often the intervals of zones held what came; ``None`` unscored."""

    @property
    @abstractmethod
    def median_sentence(self) -> str | None:
        """One sentence: how often the median is the last map; ``None`` where it mostly moves."""

    def lead_name(self, lead: int) -> str:
        """Return the label of a lead."""
        return self.names.get(lead, f"lead {lead}")

    def value(
        self, metric: str, forecaster: str, lead: int, *, stratum: str = "all", split: str = POOLED
    ) -> float:
        """Look up a figure.

        Parameters
        ----------
        metric : str
            Such as ``rmse``, ``crps_skill``, ``rmse_skill_vs_ridge``, ``coverage_80``,
            ``width_80``, ``pit_07``, ``ssim``, ``f1``.
        forecaster, lead, stratum
            Which cell.
        split : str
            ``"all"`` pooled, ``"sd"`` the spread over the tallies, or a label.

        Returns
        -------
        float
            Skills and shares as fractions, errors in units of the target; NaN if there is
            none.
        """
        return self.look_up((forecaster, lead, stratum, split), metric)

    def zone_value(
        self, metric: str, lead: int, *, size: str = "30 px", split: str = POOLED
    ) -> float:
        """Look up a figure of zones.

        Parameters
        ----------
        metric : str
            Such as ``coverage_95`` (with a tolerance of half a thousandth of the range),
            ``plain_coverage_95``, ``interval_score_95``, ``score_over_bounds_95``.
        lead : int
            Steps ahead.
        size : str
            ``"10 px"``, ``"30 px"``, ``"60 px"``, ``"cells"``, ``"zones"`` or ``"region"``.
        split : str
            ``"all"`` pooled, or a label of fold and origin.

        Returns
        -------
        float
            NaN if there is none.
        """
        tally = self.whole_zones if split == POOLED else self.zones.get(split, ZoneTally())
        return tally[size, lead].figures().get(metric, math.nan)

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
            spread: Figures = {}
            for metric in dict.fromkeys(m for figures in parts.values() for m in figures):
                values = [figures.get(metric, np.nan) for figures in parts.values()]
                values = [value for value in values if math.isfinite(value)]
                # n - 1: folds and origins are a sample of those that could be drawn
                sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
                spread[metric] = sd
            table[name, lead, stratum, SPREAD] = spread
            table |= {(name, lead, stratum, split): found for split, found in parts.items()}
        return table

    def _figures(self, tally: Tally, name: str, lead: int, stratum: str) -> Figures:
        """Finish a cell and its skills: against the reference; the model's also against all."""
        cell = tally[name, lead, stratum]
        figures = cell.figures()

        def compared(other: str, measure: Measure) -> float:
            # A baseline may lack a lead of some tallies: then the pixels differ.
            theirs = tally[other, lead, stratum].score
            same = cell.score.count == theirs.count
            return skill(cell.score, theirs, measure=measure) if same else math.nan

        for measure in MEASURES:
            figures[f"{measure}_skill"] = compared(self.reference, measure)
            for other in self.forecasters[2:] if name == self.model else ():
                figures[f"{measure}_skill_vs_{other}"] = compared(other, measure)
        return figures

    def contents(self) -> dict[str, Any]:
        """Return facts, leads, figures, and the sums that the figures are made of."""
        unscored = "uncalibrated: no held-out truth"
        leads = [
            {
                "lead": lead,
                "name": self.lead_name(lead),
                "status": "scored" if lead in self.scored else unscored,
            }
            for lead in self.leads
        ]
        return {
            "facts": dict(self.facts),
            "leads": leads,
            "scores": self.scores(),
            "tallies": {label: tally.as_dict() for label, tally in self.tallies.items()},
            **self._zone_contents(),
        }

    def _zone_contents(self) -> dict[str, Any]:
        """Return the sentence, figures and sums of zones; nothing if none were scored."""
        if not self.zones:
            return {}
        return {
            "zone_verdict": self.zone_verdict,
            "zone_scores": [
                {"size": size, "lead": lead, "split": split} | finite(cell.figures())
                for split, tally in self._zone_splits()
                for (size, lead), cell in tally.cells.items()
            ],
            "zones": {label: tally.as_dict() for label, tally in self.zones.items()},
        }

    def _zone_splits(self) -> Iterator[tuple[str, ZoneTally]]:
        yield POOLED, self.whole_zones
        yield from self.zones.items()

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """Restore a scorecard from the values of :meth:`as_dict`."""
        return cls(
            {label: Tally.from_dict(tally) for label, tally in facts["tallies"].items()},
            facts["facts"],
            model=facts["model"],
            reference=facts["reference"],
            leads=tuple(row["lead"] for row in facts["leads"]),
            names={row["lead"]: row["name"] for row in facts["leads"]},
            # files of older releases have none
            zones={label: ZoneTally.from_dict(z) for label, z in facts.get("zones", {}).items()},
        )

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Yield ``scores.csv``, and ``zones.csv`` if zones were scored."""
        yield "scores.csv", self.scores_csv()
        if self.zones:
            rows = (
                (size, lead, split, metric, value)
                for split, tally in self._zone_splits()
                for (size, lead), cell in tally.cells.items()
                for metric, value in cell.figures().items()
            )
            yield "zones.csv", csv_of(("size", "lead", "split", "metric", "value"), rows)
