"""QML: what every QGIS style of hmx has, of vector layers and of rasters.

The format is that of QGIS 3 (``.qml``). Its colours keep their meaning for colour-blind
readers, and are those of the pictures of hmx.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
VERSION = "3.22.0"  # long-term release; later ones read its styles
AMOUNTS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")  # viridis
CHANGES = ("#5e3c99", "#b2abd2", "#f7f7f7", "#fdb863", "#e66101")  # PuOr of ColorBrewer, reversed

Colours = tuple[str, ...]


def new_style(categories: str) -> ET.Element:
    """Return the root of a style with these categories, such as ``Symbology|Fields``."""
    return ET.Element("qgis", version=VERSION, styleCategories=categories)


def add_mark(root: ET.Element, name: str, value: str) -> None:
    """Add a custom property, which marks the style as ours."""
    properties = ET.SubElement(ET.SubElement(root, "customproperties"), "Option", type="Map")
    ET.SubElement(properties, "Option", name=name, type="QString", value=value)


def has_mark(path: Path, name: str) -> bool:
    """Return True if the style of a file has a custom property."""
    return name.encode() in path.read_bytes()


def text_of(root: ET.Element) -> str:
    """Write a style as the text of its file."""
    ET.indent(root)
    return DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"


def round_step(width: float) -> float:
    """Return the least of 1, 2, 2.5, 5 or 10 times a power of ten that is at least ``width``."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(power * n for n in (1, 2, 2.5, 5, 10) if power * n >= width * (1 - 1e-9))
