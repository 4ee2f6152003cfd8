"""Options of the selection of covariates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hmx.settings import Options

Learner = Literal["forest", "boosting", "linear", "network"]

# a set that would enlarge the model: its covariates are counted up to here
_MOST = Annotated[int, Field(ge=1, le=10_000, strict=True)]


class SelectOptions(Options):
    """The selection of covariates.

    Parameters
    ----------
    learner : {"forest", "boosting", "linear", "network"}
        What is fitted to each set: a random forest of 100 trees, gradient boosting or a linear
        regression on the values of the sample's pixel, or the networks of the model, which cost
        hundreds of times as much.
    start : {1, 2}
        Covariates of the first sets: all pairs, or each covariate alone.
    most : int, optional
        Largest number of covariates. Default: all.
    rule : {"one_se", "best"}
        The set that is chosen: the smallest within one standard error of the best, or the best.
    nested : bool
        Whether to select anew without each fold, and score that choice on the fold.
    """

    learner: Learner = "forest"
    start: Literal[1, 2] = 2
    most: _MOST | None = None
    rule: Literal["one_se", "best"] = "one_se"
    nested: bool = False
