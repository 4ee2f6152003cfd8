"""Kinds: what kind of quantity a layer is, and so how it is resampled, compressed and coloured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from hmx.exports.choice import LAYER
from hmx.files.qml import AMOUNTS, Colours

# In the middle of changes stands a grey: no change must not look like no data, which is
# transparent over the white of most canvases.
_CHANGES = ("#5e3c99", "#b2abd2", "#d9d9d9", "#fdb863", "#e66101")
_WIDTHS = ("#000004", "#51127c", "#b73779", "#fc8961", "#fec98d")  # magma without its white end
_CHANCES = ("#00224e", "#434e6c", "#7d7c78", "#bcaf6f", "#fee838")  # cividis
# Okabe & Ito (2008), after a grey for "nothing of this"
_FLAGS = ("#d9d9d9", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442")


@dataclass(frozen=True)
class Kind:
    """One kind of layers."""

    name: str
    colours: Colours
    overviews: str  # how GDAL resamples it
    predictor: str = "YES"  # of the compression: neighbouring flags are no ramp to predict
    limits: tuple[float, float] | None = None  # of the colours, if they do not follow the values
    about_zero: bool = False  # whether 0 has the middle colour
    flags: bool = False  # whether values are names, not amounts


# A mean of flags would be another flag: masks of bits keep one pixel's, classes the most frequent
KINDS = {
    kind.name: kind
    for kind in (
        Kind("state", AMOUNTS, "AVERAGE"),
        Kind("change", _CHANGES, "AVERAGE", about_zero=True),
        Kind("width", _WIDTHS, "AVERAGE"),
        Kind("probability", _CHANCES, "AVERAGE", limits=(0.0, 1.0)),
        Kind("mask", _FLAGS, "NEAREST", predictor="NO", flags=True),
        Kind("classes", _FLAGS, "MODE", predictor="NO", flags=True),
    )
}
_PART = re.compile(r"_(?:lo_[0-9.]+|hi_[0-9.]+|quantile|width_[0-9.]+)$")


def kind_of(layer: xr.DataArray) -> Kind:
    """Return the kind of a layer."""
    if "flag_values" in layer.attrs:
        return KINDS["classes"]
    if "flag_masks" in layer.attrs or layer.dtype.kind == "b":
        return KINDS["mask"]
    if LAYER in layer.attrs:
        return KINDS[str(layer.attrs[LAYER])]
    if "threshold" in layer.coords or str(layer.name).endswith("_exceedance"):
        return KINDS["probability"]
    return KINDS["state"]


def family_of(layer: xr.DataArray) -> tuple[str, str]:
    """Return what layers share a colour scale: a mean and its bounds and quantiles, all steps."""
    return kind_of(layer).name, _PART.sub("", str(layer.name))


def flags_of(attrs: Mapping[Any, Any]) -> dict[str, int]:
    """Return the values (or bits) of flags by their names."""
    meanings = str(attrs.get("flag_meanings", "")).split()
    values = np.atleast_1d(attrs.get("flag_values", attrs.get("flag_masks", ())))
    return dict(zip(meanings, map(int, values), strict=False))


def label_of_flag(value: int, attrs: Mapping[Any, Any]) -> str:
    """Name a value of flags: its class, or its bits."""
    named = flags_of(attrs)
    if "flag_values" in attrs:
        words = [word for word, number in named.items() if number == value]
    else:
        words = [word for word, bit in named.items() if value & bit] or ["none of these"]
    return " + ".join(words).replace("_", " ") or str(value)
