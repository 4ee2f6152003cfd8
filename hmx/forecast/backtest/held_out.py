"""PreparedRound: a round of a backtest with all it takes to score it, and words for what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hmx.forecast.backtest.case import BacktestSetup
from hmx.forecast.backtest.judging import TileScores
from hmx.forecast.backtest.rounds import Round, UnseenTruth, when
from hmx.forecast.bundle import Bundle
from hmx.scores import Tally
from hmx.splits import TEST, Split


@dataclass(frozen=True)
class PreparedRound:
    """A round with all it takes to score it, and its scores if they are there.

    Parameters
    ----------
    round : Round
        Origin and fold.
    bundle : Bundle
        The model.
    judging : TileScores
        What happens to a tile.
    held : UnseenTruth
        What the model has not seen.
    key : str
        Fingerprint of all that decides the scores.
    done : Tally, optional
        The scores of an earlier run.
    """

    round: Round
    bundle: Bundle
    judging: TileScores
    held: UnseenTruth
    key: str
    done: Tally | None


def held_out_from(bundle: Bundle, round_: Round) -> UnseenTruth:
    """Say what a model that was fitted for a round has not seen.

    Parameters
    ----------
    bundle : Bundle
        Fitted up to the origin of the round.
    round_ : Round
        The origin and fold.
    """
    saved = bundle.training.get("roles")
    split = Split.from_dict(saved) if saved else None
    if split is None or not (split.table == TEST).any():
        return UnseenTruth(round_.origin)
    if round_.fold is None:
        return UnseenTruth(round_.origin, unseen=split)
    return UnseenTruth(round_.origin, split=split)


def how(case: BacktestSetup, first: PreparedRound) -> str:
    """Say what was scored.

    Parameters
    ----------
    case : BacktestSetup
        What was asked.
    first : PreparedRound
        One of the rounds.
    """
    if not isinstance(case.model, Bundle):
        blocks = ", on blocks left out" if case.options.folds else ""
        return f"a model refitted at each origin, on targets after it{blocks}"
    if first.held.split is not None:
        return "the test blocks of the model"
    return f"the model as it is, on targets after {when(case.cube, first.held.after)}"


def truth_of(ready: Sequence[PreparedRound], names: Mapping[int, str]) -> str:
    """Say from which origins each lead has held-out truth.

    Parameters
    ----------
    ready : sequence of PreparedRound
        The rounds.
    names : mapping of int to str
        Of the leads.
    """
    parts = []
    for lead, name in names.items():
        found = dict.fromkeys(w.round.when for w in ready if lead in w.judging.leads)
        parts.append(f"{name} " + (f"from {', '.join(found)}" if found else "nowhere"))
    return "; ".join(parts)
