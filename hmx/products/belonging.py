"""Belonging: whether a scorecard is of the model and the cube that it is shown with."""

from __future__ import annotations

from dataclasses import dataclass

from hmx.errors import BadArgument
from hmx.forecast.backtest.scorecard import Scorecard
from hmx.forecast.order import ForecastRun
from hmx.mapping.order import MapRun
from hmx.provenance import recipe_of
from hmx.scores.card import Card

_DIGITS = 12  # of digests in scorecards


@dataclass(frozen=True)
class Belonging:
    """How a scorecard relates to a result: ``foreign`` if it scores something else."""

    foreign: bool
    text: str  # one sentence


def belonging(card: Card, run: ForecastRun | MapRun) -> Belonging:
    """Compare a scorecard with a result; raise if it scores another job or another variable."""
    facts, bundle = card.facts, run.bundle
    job = "forecast" if isinstance(card, Scorecard) else "map"
    if job != run.job:
        raise BadArgument(
            f"card= scores a {job}, and this is a {run.job}. Pass the scorecard of this {run.job}, "
            "or leave it out."
        )
    target = facts.get("target", bundle.spec.target)
    if target != bundle.spec.target:
        raise BadArgument(
            f"card= scores {target!r}, and this {run.job} is of {bundle.spec.target!r}. Pass a "
            "scorecard of the same variable, or leave it out."
        )
    cube, data = facts.get("cube"), run.facts().get("data")
    if None not in (cube, data) and cube != data:
        return Belonging(
            True,
            f"This scorecard is of another cube than this {run.job}, or of the cube before it "
            "changed.",
        )
    if bundle.digest[:_DIGITS] in str(facts.get("models", "")).split(", "):
        return Belonging(False, f"The scorecard is of the very model of this {run.job}.")
    scored, own = facts.get("recipe"), recipe_of(bundle.training)
    if scored is None or own is None:
        return Belonging(
            False,
            "The scorecard does not record how its models were made, so whether they are like "
            f"that of this {run.job} is not known.",
        )
    if scored != own:
        return Belonging(
            True, f"This scorecard is of models with other settings than that of this {run.job}."
        )
    held_out = "earlier maps" if job == "forecast" else "fewer samples"
    return Belonging(
        False,
        f"The scorecard is of models that were fitted as that of this {run.job}, to {held_out}.",
    )
