"""Registry of baselines: how one is written, registered and found.

A baseline is a class with a name. It is made for one origin, learns from windows of the past,
and then forecasts windows that are as large as a tile happens to be:

>>> import numpy as np
>>> from hmx.scores import Prediction
>>> from hmx.forecast.backtest.baselines.registry import Baseline, baseline
>>> @baseline("climate", large=True)  # doctest: +SKIP
... class Climate(Baseline):
...     def predict(self, history, static):
...         mean = np.repeat(history.mean(axis=0)[None], len(self.past.leads), axis=0)
...         return Prediction(mean, leads=self.past.leads)

Two laws keep scorecards comparable. The forecast of a pixel depends on pixels at most `halo`
away, so that tiles do not matter. It is finite wherever the origin is: all forecasters are
scored on the same pixels, so a gap would remove that pixel from everybody's score.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hmx.errors import BadArgument, did_you_mean
from hmx.plugins import import_files, load_offered, offered
from hmx.scores import Prediction

Floats = NDArray[np.floating[Any]]
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

GROUP = "hmx.baselines"  # of the entry points
PERSISTENCE = "persistence"  # the reference of all skills, so always there
HISTORY = 3  # steps that baselines look at, the origin included: the shortest that bends
LARGEST_HALO = 120  # px: windows to learn from are 256 px wide, and a halo fits in twice
_SMALL = 4_000_000  # px of a grid below which slow baselines are in the default, too

_CLASSES: dict[str, type[Baseline]] = {}  # by name, in the order of registration


@dataclass(frozen=True)
class BaselineSetup:
    """What is known of an origin's past before a baseline reads any of it.

    Parameters
    ----------
    leads : tuple of int
        Leads to forecast.
    learnable : tuple of int
        Those of them whose targets lie within the past, after a whole history.
    history : int
        Steps that features look at, the origin included.
    layers : int
        Static covariates.
    seed : int
        Of all random draws.
    span : float, units of the target
        Range of the target.
    valid_range : (float, float), units of the target, optional
        Bounds of all forecasts.
    """

    leads: tuple[int, ...]
    learnable: tuple[int, ...]
    history: int
    layers: int
    seed: int
    span: float
    valid_range: tuple[float, float] | None = None


class Baseline(ABC):
    """A forecaster that is fitted to one origin's past; it is pickled to reach the workers.

    Attributes
    ----------
    name : str
        In scorecards and catalogs.
    halo : int, px
        Distance over which a pixel's forecast looks at others, at most.
    large : bool
        Whether it is in the default on grids of 4 Mpx and more.
    rank : int
        Position in tables; baselines of one rank follow by name.

    Parameters
    ----------
    past : BaselineSetup
        Kept as ``self.past``.
    """

    name: ClassVar[str]
    halo: ClassVar[int]
    large: ClassVar[bool]
    rank: ClassVar[int]

    def __init__(self, past: BaselineSetup):
        self.past = past

    # Both hooks are optional: persistence learns nothing, and then no window is read.
    def learn(self, series: Floats, learnable: Mask) -> None:  # noqa: B027
        """Learn from a window: (time, y, x) up to the origin, and pixels (y, x) to learn from.

        Windows come one by one, so memory does not grow with the cube: keep sums or a sample.
        """

    def learn_changes(self, features: Array, changes: Array) -> None:  # noqa: B027
        """Learn from an origin of a window: features (f, y, x), changes (learnable lead, y, x).

        :func:`hmx.features.linear.features` are computed once for all baselines. A change is
        NaN where it is missing or not to be learnt from.
        """

    def finish(self) -> bool:
        """Solve for what is needed to forecast; return False if there was nothing to learn."""
        return True

    @abstractmethod
    def predict(self, history: Floats, static: Floats | None) -> Prediction:
        """Forecast a window.

        Parameters
        ----------
        history : array (time, y, x), units of the target
            The last :data:`HISTORY` steps, or all there are, up to the origin.
        static : array (layer, y, x), optional
            Static covariates.

        Returns
        -------
        Prediction
            With its leads; NaN exactly where the origin is missing.
        """


def baseline(
    name: str, *, halo: int = 0, large: bool = False, rank: int = 100
) -> Callable[[type[Baseline]], type[Baseline]]:
    """Register a class as a baseline.

    Parameters
    ----------
    name : str
        In scorecards and catalogs.
    halo : int, px, 0 to 120
        Distance over which a pixel's forecast looks at others, at most.
    large : bool
        Whether it is in the default on grids of 4 Mpx and more; False where fits are slow.
    rank : int
        Position in tables; default: after those of hmx.

    Raises
    ------
    BadArgument
        If the name is taken or the halo too large.
    """

    def register(kind: type[Baseline]) -> type[Baseline]:
        other = _CLASSES.get(name)
        # a module that is imported again, as notebooks do, replaces its own class
        if other is not None and (other.__module__, other.__qualname__) != (
            kind.__module__, kind.__qualname__,
        ):  # fmt: skip
            raise BadArgument(
                f"baseline {name!r} of {kind.__module__} is registered by {other.__module__} "
                "already: each has a name of its own. Choose another."
            )
        if not 0 <= halo <= LARGEST_HALO:
            raise BadArgument(
                f"halo={halo} of the baseline {name!r}: a baseline looks 0 to {LARGEST_HALO} px "
                f"around a pixel. Pass halo={LARGEST_HALO} and cut off what is farther."
            )
        kind.name, kind.halo, kind.large, kind.rank = name, halo, large, rank
        _CLASSES[name] = kind
        return kind

    return register


def names() -> tuple[str, ...]:
    """List all baselines, in the order of tables; plug-ins are not loaded for that."""
    import_files(__package__)
    own = sorted(_CLASSES.values(), key=lambda kind: (kind.rank, kind.name))
    known = [kind.name for kind in own]
    return (*known, *sorted({*offered(GROUP)} - {*known}))


def lookup(name: str) -> type[Baseline]:
    """Return the class of a baseline; a plug-in is loaded now."""
    require_known(name)
    if name not in _CLASSES:
        return load_offered(
            offered(GROUP)[name],
            _CLASSES,
            name,
            what=f"baseline {name!r}",
            decorator="baseline",
            otherwise=", or name other baselines",
        )
    return _CLASSES[name]


def require_known(name: str) -> None:
    """Refuse a name that no baseline has."""
    known = names()
    if name not in known:
        raise BadArgument(
            f"{name!r} is not a baseline (known: {', '.join(known)}).{did_you_mean(name, known)}"
        )


def choose(wanted: tuple[str, ...] | list[str] | None, shape: tuple[int, int]) -> tuple[str, ...]:
    """Return the names of the baselines to score, in the order of tables.

    Persistence is always among them. By default all are scored; on a grid of 4 Mpx and more,
    `shape` in rows and columns, only those that are registered for large grids.
    """
    for name in wanted or ():
        require_known(name)
    small = shape[0] * shape[1] < _SMALL
    chosen = {
        name
        for name in names()
        if (name in wanted if wanted is not None else small or lookup(name).large)
    }
    kinds = [lookup(name) for name in {PERSISTENCE, *chosen}]
    return tuple(kind.name for kind in sorted(kinds, key=lambda kind: (kind.rank, kind.name)))
