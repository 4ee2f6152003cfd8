"""ZonalOptions: what is asked of zones, for the Python call, the catalog and the command line."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from pydantic import Field, model_validator

from hmx.settings import Growths, Levels, Numbers, Options, Thresholds
from hmx.zones.sums import Measures

CLASSES = (0.1, 0.4)  # edges: low, moderate and high modification
MOVES = (0.005, 0.01, 0.05)  # changes since the origin that count as a rise or a fall
Draws = Annotated[int, Field(ge=2, le=100_000, strict=True)]
DrawSeed = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]


class ZonalOptions(Options):
    """Totals of zones.

    Parameters
    ----------
    above : tuple of float
        Thresholds: the area above each, native units.
    level : tuple of float
        Central intervals, percent.
    grows : tuple of float
        Growths of the area above, percent of the zone, whose probability is given.
    draws : int
        Joint draws from which intervals are computed: 200 give the ends of a 95 % interval to
        4 % of its width.
    seed : int
        Of the draws.
    by : str, optional
        Property of zones by which groups are added up too, such as ``country``.
    id : str, optional
        Property that names the zones.
    table : {"zones", "conservation"}
        Means and areas above, or transitions between classes of the index.
    classes : tuple of float
        Ascending edges of the classes of the conservation table.
    moves : tuple of float
        Changes beyond which it counts land as rising or falling.
    target_share : float
        Share of a zone that should stay in the lowest class, percent.
    """

    above: Thresholds = ()
    level: Levels = (50, 95)
    grows: Growths = (0,)
    draws: Draws = 200
    seed: DrawSeed = 0
    by: str | None = None
    id: str | None = None
    table: Literal["zones", "conservation"] = "zones"
    classes: Thresholds = CLASSES
    moves: Thresholds = MOVES
    target_share: Annotated[float, Field(gt=0, lt=100)] = 30.0

    @model_validator(mode="after")
    def _ascending(self) -> ZonalOptions:
        for name in ("above", "classes", "moves"):
            values = list(getattr(self, name))
            if values != sorted(set(values)):
                raise ValueError(f"{name} ascends, each value once. Try {sorted(set(values))}")
        if self.table == "conservation" and not self.classes:
            raise ValueError(f"classes has at least one edge. Try {list(CLASSES)}")
        if self.moves and self.moves[0] <= 0:
            raise ValueError("moves are above 0, and stand for both directions. Try [0.01]")
        return self

    @property
    def measures(self) -> Measures:
        """What is added up of each draw."""
        if self.table == "conservation":
            return Measures(self.above, self.classes, self.moves)
        return Measures(self.above)


class Zoning(TypedDict, total=False):
    """The same as keywords."""

    above: Numbers | float
    level: Numbers | float
    grows: Numbers | float
    draws: int
    seed: int
    by: str | None
    id: str | None
    table: Literal["zones", "conservation"]
    classes: Numbers
    moves: Numbers
    target_share: float
