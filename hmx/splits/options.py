"""What can be chosen about how samples are split."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, model_validator

from hmx.errors import BadArgument
from hmx.settings import Folds, Length, Options
from hmx.splits.registry import method_of


def _registered(name: str) -> str:
    try:
        return method_of(name).name
    except BadArgument as error:
        raise ValueError(str(error)) from None


INNER = (
    "Folds from which training learns its intervals are train.inner=5, and folds of each training "
    "part of a scorecard are evaluate.inner=5"
)

MethodName = Annotated[str, AfterValidator(_registered)]


class SplitOptions(Options):
    """How samples are dealt into groups, and groups into the folds of a scorecard.

    Training deals the same groups into folds of its own, which are its option ``inner``.

    Parameters
    ----------
    method : str
        Of :mod:`hmx.splits.registry`: "random", "blocks", "distance", "regions", "knndm":
        by site at random, in blocks of land, in clumps with a distance around the tested
        ones, a region at a time, or as far apart as the map is from its samples.
    folds : int
        Parts that a scorecard holds out in turn; regions make a part each.
    block_km : float
        Side of a block, km.
    distance_km : float, optional
        Sites nearer than this to a tested sample are not trained on, km; of distance,
        blocks and regions. ``distance_threshold`` is another name of it.
    region : str, optional
        Column of the points that names their regions.
    """

    method: MethodName = "blocks"
    folds: Folds = 10
    block_km: Length = 20.0
    distance_km: Length | None = None
    region: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        given = dict(given)
        if "target_val_ratio" in given:
            raise ValueError(
                "target_val_ratio is the share of samples that is held out for early stopping, an "
                "option of the fit: train.target_val_ratio. Folds of a split are folds=5."
            )
        if "inner" in given:
            raise ValueError(
                f"inner is not an option of a split, whose folds are those of a scorecard. {INNER}"
            )
        name, other = "distance_km", "distance_threshold"
        if other in given:
            if name in given:
                raise ValueError(f"{name} and {other} mean the same. Pass {name} alone.")
            given[name] = given.pop(other)
        return given

    @model_validator(mode="after")
    def _consistent(self) -> SplitOptions:
        method = method_of(self.method)
        if "distance_km" in method.parameters and self.distance_km is None:
            raise ValueError(f"method={self.method!r} keeps a distance. Pass distance_km=5.")
        if "k" not in method.parameters and "folds" in self.model_fields_set:
            raise ValueError(
                f"method={self.method!r} decides how many folds there are (regions are a fold "
                f"each), but folds={self.folds} was given. Leave out folds, or pass "
                "method='blocks'."
            )
        if not method.keeps_distance and self.distance_km is not None:
            raise ValueError(
                f"method={self.method!r} keeps no distance, but distance_km="
                f"{self.distance_km:g} was given. Pass method='distance', or no distance_km."
            )
        if ("region" in method.parameters) != (self.region is not None):
            raise ValueError(
                "method='regions' and the column that names them go together. "
                "Pass method='regions', region='name of a column'."
            )
        return self

    def grouping(self) -> dict[str, Any]:
        """Return what decides the groups of samples that share a fold, in JSON values.

        The number of folds does so for clusters that are sought for it.
        """
        # regions are their own folds, and their groups are blocks of land
        own: set[str] = set() if method_of(self.method).groups_by_folds else {"folds"}
        return self.model_dump(mode="json", exclude=own)
