"""PreparedRound: a round of a backtest, ready to be scored, and its description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hmx.forecast.backtest.case import BacktestSetup
from hmx.forecast.backtest.judging import TileScores
from hmx.forecast.backtest.rounds import Round, UnseenTruth, when
from hmx.forecast.beyond import learnt_leads, listed
from hmx.forecast.bundle import Bundle
from hmx.scores import Tally
from hmx.scores.zones import ZoneTally
from hmx.splits import TEST, Split


@dataclass(frozen=True)
class PreparedRound:
    """A round that is ready to be scored, and its scores if they exist."""

    round: Round  # origin and fold
    bundle: Bundle  # the model
    judging: TileScores  # scores a tile
    unseen_truth: UnseenTruth  # steps and blocks that the model has not seen
    key: str  # fingerprint of all that decides the scores
    done: RoundScores | None  # the scores of an earlier run


@dataclass(frozen=True)
class RoundScores:
    """The scores of a round."""

    tally: Tally  # of pixels
    zones: ZoneTally  # of zones; empty if none were scored

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        return {"tally": self.tally.as_dict(), "zones": self.zones.as_dict()}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> RoundScores:
        """Restore the state from the values of :meth:`as_dict`; older files have no zones."""
        zones = facts.get("zones")
        return cls(
            Tally.from_dict(facts["tally"]),
            ZoneTally() if zones is None else ZoneTally.from_dict(zones),
        )


def held_out_from(bundle: Bundle, round_: Round) -> UnseenTruth:
    """Return the steps and blocks that a model fitted up to a round's origin has not seen."""
    saved = bundle.training.get("roles")
    split = Split.from_dict(saved) if saved else None
    if split is None or not (split.table == TEST).any():
        return UnseenTruth(round_.origin)
    if round_.fold is None:
        return UnseenTruth(round_.origin, unseen=split)
    return UnseenTruth(round_.origin, split=split)


def how(case: BacktestSetup, first: PreparedRound) -> str:
    """Describe what was scored, in words."""
    if not isinstance(case.model, Bundle):
        blocks = ", on blocks left out" if case.options.folds else ""
        return f"a model refitted at each origin, on targets after it{blocks}"
    if first.unseen_truth.split is not None:
        return "the test blocks of the model"
    return f"the model as it is, on targets after {when(case.cube, first.unseen_truth.after)}"


def later_of(ready: Sequence[PreparedRound]) -> str:
    """List the leads that a model was scored at and has not learnt, by origin, in words."""
    later = {
        work.round.label: [n for n in work.judging.leads if n > learnt_leads(work.bundle)]
        for work in ready
    }
    return ", ".join(f"{listed(leads)} {label}" for label, leads in later.items() if leads)


def truth_of(ready: Sequence[PreparedRound], names: Mapping[int, str]) -> str:
    """List the origins from which each lead has held-out truth, in words."""
    parts = []
    for lead, name in names.items():
        found = dict.fromkeys(w.round.when for w in ready if lead in w.judging.leads)
        parts.append(f"{name} " + (f"from {', '.join(found)}" if found else "nowhere"))
    return "; ".join(parts)
