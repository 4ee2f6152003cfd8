"""QGIS: the style of a layer of zones, coloured by one of their figures.

Colours are viridis for amounts, and purple to orange for changes.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmx.files.qml import AMOUNTS, CHANGES, add_mark, has_mark, new_style, round_step, text_of
from hmx.zones.spread import mark

MARK = "hmx:zones"  # custom property of every style of ours


def is_ours(path: Path) -> bool:
    """Return True for a style that hmx wrote."""
    return has_mark(path, MARK)


def style_of(column: str, values: NDArray[np.float64], *, title: str, about: str) -> str:
    """Write the style of a layer whose zones are coloured by a column."""
    edges = _edges(values)
    root = new_style("Symbology|Fields|CustomProperties")
    renderer = ET.SubElement(
        root,
        "renderer-v2",
        type="graduatedSymbol",
        attr=column,
        graduatedMethod="GraduatedColor",
        symbollevels="0",
        forceraster="0",
        enableorderby="0",
    )
    ranges, symbols = ET.SubElement(renderer, "ranges"), ET.SubElement(renderer, "symbols")
    colours = CHANGES if edges[0] < 0 < edges[-1] else AMOUNTS
    for number, colour in enumerate(colours):
        lower, upper = edges[number], edges[number + 1]
        ET.SubElement(
            ranges,
            "range",
            lower=repr(lower),
            upper=repr(upper),
            symbol=str(number),
            label=f"{mark(lower)} to {mark(upper)}",
            render="true",
        )
        symbols.append(_symbol(str(number), colour))
    source = ET.SubElement(renderer, "source-symbol")
    source.append(_symbol("0", colours[0]))
    ET.SubElement(renderer, "classificationMethod", id="EqualInterval")
    add_mark(root, MARK, column)
    ET.SubElement(root, "layerGeometryType").text = "2"  # polygons
    ET.SubElement(root, "abstract").text = f"{title}. {about}"
    return text_of(root)


def _edges(values: NDArray[np.float64]) -> list[float]:
    """Cut the range of the values in five equal classes with round edges; of changes about 0."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    count = len(AMOUNTS)
    if signed := low < 0:  # a change: 0 is in the middle class
        low, high = -max(-low, high), max(-low, high)
    width = max((high - low) / count, abs(high) * 1e-9) or 0.2
    step = round_step(width)
    start = -count / 2 * step if signed else math.floor(low / (step / 5)) * (step / 5)
    edges = [float(f"{start + n * step:.9g}") for n in range(count + 1)]
    # rounding of the first edge may leave the greatest value out
    return [min(edges[0], low), *edges[1:-1], max(edges[-1], high)]


def _symbol(name: str, colour: str) -> ET.Element:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    look = {
        "color": f"{red},{green},{blue},255",
        "outline_color": "60,60,60,255",
        "outline_width": "0.2",
        "outline_style": "solid",
        "style": "solid",
    }
    symbol = ET.Element("symbol", type="fill", name=name, alpha="0.85", clip_to_extent="1")
    layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0"})
    options = ET.SubElement(layer, "Option", type="Map")
    for key, value in look.items():
        ET.SubElement(options, "Option", name=key, type="QString", value=value)
        ET.SubElement(layer, "prop", k=key, v=value)  # read by QGIS before 3.18
    return symbol
