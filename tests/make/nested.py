"""The law of quantiles, to the bit, for whatever hmx makes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import xarray as xr


def require_nested(product: xr.Dataset, name: str) -> int:
    """Raise unless quantiles of a product ascend and nest to the bit; count the comparisons.

    ``lo <= hi``, wider intervals contain narrower ones, ``name_quantile`` ascends, and each lies
    between the ends of intervals that have a lower and a higher probability.
    """
    planes = [
        (probability, product[f"{name}_{end}_{level:g}"].values)
        for level in levels_of(product, name)
        for end, probability in (("lo", 50 - level / 2), ("hi", 50 + level / 2))
    ]
    if f"{name}_quantile" in product:
        quantiles = product[f"{name}_quantile"]
        planes += [
            (100 * float(p), quantiles.sel(quantile=p).values) for p in quantiles["quantile"]
        ]
    # level=80 and quantile=.1 are one probability, up to the rounding of .1
    planes.sort(key=lambda plane: round(plane[0], 6))
    for (lower, low), (higher, high) in pairwise(planes):
        if higher - lower > 1e-6:
            crossing = int((low > high).sum())
            assert not crossing, f"{crossing} pixels of {name} cross at {lower:g} and {higher:g} %"
        assert (np.isnan(low) == np.isnan(high)).all()
    return len(planes)


def levels_of(product: xr.Dataset, name: str) -> Sequence[float]:
    """Return the levels of the intervals that a product has, percent."""
    start = f"{name}_lo_"
    found = (str(variable) for variable in product.data_vars)
    return sorted(float(text.removeprefix(start)) for text in found if text.startswith(start))
