"""Scorecard: the finished scores of a model and of baselines on the same pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from hmx.forecast.backtest.strata import MEANINGS
from hmx.forecast.backtest.text import as_text, median_sentence, tables, verdict, zone_verdict
from hmx.pictures.backtest import draw_reliability, draw_skill, draw_strata
from hmx.report.page import Drawing, TextTable
from hmx.scores.leads import LeadCard


@dataclass(frozen=True, repr=False)
class Scorecard(LeadCard):
    """The measured skill of a model, and whether to use it.

    Parameters
    ----------
    tallies : mapping of str to Tally
        By fold and origin, such as ``"fold 1, from 2005"``.
    facts : mapping of str to JSON values
        What was scored: target, units, digests of model, data and split, seed.
    model : str
        The forecaster that is judged.
    reference : str
        The forecaster that skills compare with.
    leads : tuple of int, optional
        Leads asked for; those without held-out truth are `uncalibrated`. Default: the leads
        of the tallies.
    names : mapping of int to str, optional
        Labels of leads, such as ``{1: "+5 years"}``.
    zones : mapping of str to ZoneTally, optional
        Scores of zone means, by fold and origin.

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

    @property
    def verdict(self) -> str:
        """One sentence: whether to use the model or the reference."""
        return verdict(self)

    @property
    def zone_verdict(self) -> str | None:
        """One sentence: how often the intervals of zones held what came; ``None`` unscored."""
        return zone_verdict(self)

    @property
    def median_sentence(self) -> str | None:
        """One sentence: how often the median is the last map; ``None`` where it mostly moves."""
        return median_sentence(self)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict, that on medians, and that on zones if they were scored."""
        others = (self.median_sentence, self.zone_verdict)
        return (self.verdict, *(text for text in others if text))

    def tables(self) -> list[TextTable]:
        """Return the tables of a report."""
        return tables(self)

    def plots(self) -> Mapping[str, Callable[[], Drawing]]:
        """Return what draws skill, reliability and strata, by file name."""
        return {
            "skill.png": partial(draw_skill, self),
            "reliability.png": partial(draw_reliability, self),
            "strata.png": partial(draw_strata, self, MEANINGS),
        }

    def __str__(self) -> str:
        """Write the verdict and the table for a terminal."""
        return as_text(self)
