"""Rounds: from which origins, at which leads and pixels a model may be scored.

A score counts only on truth that the model has not seen: targets after the steps it learnt from,
or blocks that were left out of its training. Everything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hmx.cube.cadence import Cadence
from hmx.cube.cube import Cube
from hmx.cube.steps import until_index
from hmx.errors import BadArgument, HmxError, NotEnoughData
from hmx.forecast.bundle import Bundle
from hmx.forecast.train.recipe import TrainSetup
from hmx.splits import TEST, Split


@dataclass(frozen=True)
class Round:
    """One origin, and one fold where blocks are held out in turn."""

    origin: int  # step that forecasts start from
    when: str  # the origin in words, such as ``2005``
    fold: int | None = None  # from 0

    @property
    def label(self) -> str:
        """Its label in the scorecard."""
        fold = "" if self.fold is None else f"fold {self.fold + 1}, "
        return f"{fold}from {self.when}"

    @property
    def slug(self) -> str:
        """Name of its files."""
        fold = "" if self.fold is None else f"-fold-{self.fold + 1}"
        return f"from-{self.when.replace(':', '')}{fold}"


@dataclass(frozen=True)
class UnseenTruth:
    """The steps and blocks of a cube that a model has not seen."""

    # Last step that it may have seen; targets up to it count nowhere unless a split holds their
    # blocks out
    after: int
    split: Split | None = None  # only its test blocks count
    unseen: Split | None = None  # its test blocks were not seen at any step

    def leads(self, origin: int, steps: int, h: int) -> tuple[int, ...]:
        """List the leads with held-out truth."""
        first = 0 if self.split is not None else self.after + 1
        return tuple(n for n in range(1, h + 1) if first <= origin + n < steps)


def held_out_by(bundle: Bundle, cube: Cube) -> UnseenTruth:
    """Return the steps and blocks that a bundle records as held out; refuse if there are none."""
    steps, last = cube.data.sizes["time"], _last_seen(bundle, cube)
    blocks = _test_blocks(bundle, cube)
    if last < steps - 1:
        return UnseenTruth(last, unseen=blocks)
    if blocks is not None:
        return UnseenTruth(last, split=blocks)
    fit = bundle.training.get("fit", {})
    how = "on all blocks (final=True)" if fit.get("final") else "without test blocks"
    early = when(cube, max(0, steps - 2))
    raise BadArgument(
        f"this model holds nothing out: it was trained {how}, on steps up to "
        f"{bundle.training.get('steps', ['', '?'])[1]}, and the cube ends at {when(cube, -1)}. A "
        f"score needs truth that the model has not seen. Train one with until={early!r}, or with "
        "test=0.2; or leave out model= to refit at each origin."
    )


def _last_seen(bundle: Bundle, cube: Cube) -> int:
    """Find the last step of the cube that a model has learnt from."""
    until = bundle.training.get("fit", {}).get("until")
    label = until if until is not None else bundle.training.get("steps", [None, None])[1]
    if label is None:
        raise BadArgument(
            "this model does not record which steps it has learnt from, so nothing is known to be "
            "held out. Train it again, or leave out model= to refit at each origin."
        )
    return until_index(cube.data["time"], label, history=0)


def _test_blocks(bundle: Bundle, cube: Cube) -> Split | None:
    """Return the split that a model records, if it has test blocks on this grid."""
    saved = bundle.training.get("roles")
    if not saved:
        return None
    split = Split.from_dict(saved)
    on_grid = tuple(split.shape) == cube.grid.shape
    return split if on_grid and (split.table == TEST).any() else None


def model_rounds(
    cube: Cube, unseen_truth: UnseenTruth, labels: Sequence[Any] | None, *, history: int, h: int
) -> list[Round]:
    """List the origins from which a trained model is scored.

    By default the last step it has seen; with blocks alone held out, the last that leaves a
    target and the one that leaves all.
    """
    steps = cube.data.sizes["time"]
    if labels is not None:
        found = [_origin(cube, label, history - 1) for label in labels]
    elif unseen_truth.split is None:
        found = [unseen_truth.after]
    else:
        found = [steps - 1 - h, steps - 2]
    return _rounds(cube, [o for o in found if o >= history - 1], None)


def refit_rounds(
    cube: Cube, recipe: TrainSetup, labels: Sequence[Any] | None, *, h: int, folds: int | None
) -> list[Round]:
    """List the origins, and folds, at which a model is fitted anew.

    By default the last origin that leaves a target, and the one at which most leads can be both
    learnt and scored.
    """
    network, steps = recipe.network, cube.data.sizes["time"]
    least = network.least_history
    if labels is not None:
        found = [_origin(cube, label, least) for label in labels]
    else:
        cube.require_history(least, truths=2)

        def scored(origin: int) -> tuple[int, int]:
            settled = network.settled(origin + 1, recipe.fit.h)  # each origin has its own history
            learnt = origin + 1 - settled.past_steps if network.strategy == "direct" else h
            return min(h, steps - 1 - origin, learnt), origin

        found = [max(range(least, steps - 1), key=scored), steps - 2]
    return _rounds(cube, found, folds)


def _rounds(cube: Cube, origins: Sequence[int], folds: int | None) -> list[Round]:
    numbers = [None] if folds is None else list(range(folds))
    once = sorted(set(origins))
    if not once:
        raise NotEnoughData(
            "no step of the cube has both a whole history before it and a target after it. "
            "Add maps, or train with a shorter history."
        )
    return [Round(origin, when(cube, origin), fold) for origin in once for fold in numbers]


def _origin(cube: Cube, label: Any, least: int) -> int:
    """Find an origin by its label; it needs steps before it and a target after it."""
    try:
        found = until_index(cube.data["time"], label, history=least)
    except HmxError as error:
        text = str(error).replace("until=", "origins=")
        # the step that is named has to leave a target after it
        text = re.sub(r"e\.g\. origins='[^']*'", f"e.g. origins={when(cube, -2)!r}", text)
        raise type(error)(text) from None
    if found >= cube.data.sizes["time"] - 1:
        raise BadArgument(
            f"origins={label!r} is the last step, so no target follows it. Pass an earlier one: "
            f"origins={when(cube, -2)!r}."
        )
    return found


def when(cube: Cube, step: int) -> str:
    """Write a step's time, as short as the time axis allows."""
    texts = [_text(value) for value in cube.data["time"].values]
    for end, length in (("-01-01T00:00:00", 4), ("T00:00:00", 10)):
        if all(text.endswith(end) for text in texts):
            return texts[step][:length]
    return texts[step]


def _text(value: Any) -> str:
    """Write a time in ISO form; an integer as it is."""
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[s]"))
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def lead_names(cadence: Cadence, h: int) -> dict[int, str]:
    """Name leads by the time that passes: ``+5 years``."""

    def name(lead: int) -> str:
        passed = cadence.step * lead
        if cadence.unit == "months":
            years, months = divmod(passed, 12)
            count, unit = (years, "year") if not months else (passed, "month")
            return f"+{count} {unit}{'s' if count != 1 else ''}"
        return f"+{passed}" if cadence.unit == "steps" else f"lead {lead}"

    return {lead: name(lead) for lead in range(1, h + 1)}
