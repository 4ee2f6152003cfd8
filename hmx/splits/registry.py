"""Split methods: one function each, found by name.

``@split_method("regions", question="...")`` above a function registers it. The function
takes the samples and returns :class:`hmx.splits.site_folds.SiteFolds`; the names of its
other parameters decide which options it takes:

====================  ==============================================================
``k``, ``seed``       number of folds, and of all draws
``side_km``           option ``block_km``
``buffer_km``         option ``distance_km``, 0 without it
``distance_km``       option ``distance_km``, which the method then needs
``region``            region of each sample; the method then needs the option
``domain``            locations to predict, degrees
====================  ==============================================================
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from hmx.errors import BadArgument, did_you_mean

if TYPE_CHECKING:
    from hmx.splits.site_folds import SiteFolds

Deal = Callable[..., "SiteFolds"]


@dataclass(frozen=True)
class SplitMethod:
    """A way to deal samples into folds."""

    name: str  # in options and reports
    deal: Deal  # samples and keywords to folds
    question: str  # what scores on such folds answer, as the end of "folds tell ..."
    label: Callable[[SiteFolds], str]  # folds to their name with lengths, for tables
    # whether the groups that share a fold depend on the number of folds
    groups_by_folds: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the keywords of ``deal``."""
        _, *others = inspect.signature(self.deal).parameters
        return tuple(others)

    @property
    def keeps_distance(self) -> bool:
        """Whether option ``distance_km`` means something to the method."""
        return not {"buffer_km", "distance_km"}.isdisjoint(self.parameters)

    @property
    def works_by_name(self) -> bool:
        """Whether the method needs no option of its own."""
        return {"distance_km", "region"}.isdisjoint(self.parameters)


_METHODS: dict[str, SplitMethod] = {}


def split_method(
    name: str,
    *,
    question: str,
    label: Callable[[SiteFolds], str] | None = None,
    groups_by_folds: bool = False,
) -> Callable[[Deal], Deal]:
    """Register a function as a split method.

    Parameters
    ----------
    name : str
        In options and reports.
    question : str
        What scores on such folds answer, e.g. "how well gaps between samples are filled".
    label : callable, optional
        Folds to their name in tables. Default: ``name``.
    groups_by_folds : bool
        Whether the groups that share a fold depend on the number of folds.

    Examples
    --------
    >>> @split_method("halves", question="how well the east is predicted")  # doctest: +SKIP
    ... def halves(samples, *, seed=0):
    ...     sites = Sites.of(samples)
    ...     east = sites.lonlat[:, 0] > np.median(sites.lonlat[:, 0])
    ...     return checked(SiteFolds(sites, east.astype("int64"), sites.back, "halves", seed))
    """

    def register(deal: Deal) -> Deal:
        named = label or (lambda folds: name)
        _METHODS[name] = SplitMethod(name, deal, question, named, groups_by_folds)
        return deal

    return register


def method_of(name: str) -> SplitMethod:
    """Find a split method by name."""
    # by name and late: the methods import this module, and scipy
    import_module("hmx.splits.methods")
    if name not in _METHODS:
        raise BadArgument(
            f"{name!r} is not a way of splitting (has: {', '.join(_METHODS)})."
            f"{did_you_mean(name, _METHODS)}"
        )
    return _METHODS[name]
