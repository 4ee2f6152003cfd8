"""Transforms of covariates before they are scaled.

Population or GDP spans orders of magnitude; z-scores suit its logarithm, not its values.
Transforms come before :mod:`hmx.features.scaling`, have no fitted parameters, and are
stored as a plain mapping of names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from hmx.errors import BadArgument, did_you_mean, missing_variable

Transform = Literal["none", "log"]


def check_transforms(transforms: Mapping[str, str]) -> dict[str, Transform]:
    """Drop ``"none"`` from transforms by variable; refuse an unknown transform."""
    known = get_args(Transform)
    checked: dict[str, Transform] = {}
    for name, transform in transforms.items():
        if transform not in known:
            raise BadArgument(
                f"transform {transform!r} of {name!r} is not one of: {', '.join(known)}."
                + (did_you_mean(transform, known) or " Pass 'log' or leave it out.")
            )
        if transform == "log":
            checked[name] = "log"
    return checked


def apply_transforms(
    arrays: Mapping[str, np.ndarray], transforms: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Transform variables, each by its own rule.

    ``"log"`` is ``log(1 + x)``, natural: 0 stays 0, so places without people or income need no
    special case, and for large values it is the logarithm. It is computed in float64 and returned
    in the variable's own floating type (float32 for integers); NaN stays NaN. Raises
    :class:`MissingVariable` for an absent variable, :class:`BadArgument` for an unknown transform
    or a negative value.
    """
    checked = check_transforms(transforms)
    for name in transforms:
        if name not in arrays:
            raise missing_variable(name, arrays, where="the covariates")
    return {n: _logarithm(n, a) if n in checked else a for n, a in arrays.items()}


def _logarithm(name: str, values: np.ndarray) -> np.ndarray:
    """Return log(1 + x); refuse negative values."""
    values = np.asarray(values)
    negative = values[values < 0]
    if negative.size:
        raise BadArgument(
            f"{name!r} has {negative.size} value{'s' if negative.size > 1 else ''} below 0 (lowest "
            f"{negative.min():g}), and a logarithm is for counts and amounts from 0. If that is "
            f"nodata, declare it in the catalog (nodata: {negative.min():g}); else write "
            f"transform: none for {name!r}."
        )
    kind = values.dtype if values.dtype.kind == "f" else np.dtype("float32")
    logarithm: np.ndarray = np.log1p(values, dtype="float64")
    return logarithm.astype(kind)
