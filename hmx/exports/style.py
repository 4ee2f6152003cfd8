"""Style: how QGIS draws an exported layer, in the ``.qml`` that it finds beside the file.

All layers of one family (a mean with its bounds and quantiles, at every step) have one scale, so
that two of them can be compared. Pixels without data are transparent. A style has the span of
time of its layer, which QGIS takes for its temporal controller.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable

import numpy as np

from hmx.exports.layers import ExportLayer, Kind, Statistics, label_of_flag
from hmx.files.qml import add_mark, new_style, round_step, text_of

MARK = "hmx:layer"  # custom property of every style of ours
_TAILS = (0.002, 0.998)  # of the pixels: a few extreme ones must not wash out all others
_PARTS = 4  # between the numbers of a legend


def limits_of(kind: Kind, all_of_them: Iterable[Statistics]) -> tuple[float, float]:
    """Return the ends of the colours of layers of a family."""
    found = list(all_of_them)
    if kind.limits is not None:
        return kind.limits
    pixels = np.concatenate([each.sample for each in found]) if found else np.empty(0)
    if not pixels.size:
        return (0.0, 1.0)
    low, high = (float(end) for end in np.quantile(pixels, _TAILS))
    if kind.about_zero:
        far = max(abs(low), abs(high)) or max(max(abs(s.low), abs(s.high)) for s in found) or 1.0
        far = _PARTS / 2 * round_step(far / (_PARTS / 2))
        return -far, far
    if high - low <= 0:
        low, high = min(s.low for s in found), max(s.high for s in found)
    if high - low <= 0:
        return (low, low + 1.0)
    step = round_step((high - low) / _PARTS)
    start = math.floor(low / step + 1e-9) * step
    # a rounded start may need one part more
    parts = max(_PARTS, math.ceil((high - start) / step - 1e-9))
    return float(f"{start:.9g}"), float(f"{start + parts * step:.9g}")


def style_of(layer: ExportLayer, own: Statistics, limits: tuple[float, float]) -> str:
    """Write the style of a layer, with the ends of its colours."""
    root = new_style("Symbology|Rendering|CustomProperties|Temporal")
    if layer.dates is not None:
        span = ET.SubElement(root, "temporal", enabled="1", mode="0", fetchMode="0")
        part = ET.SubElement(span, "fixedRange")
        ET.SubElement(part, "start").text, ET.SubElement(part, "end").text = layer.dates
    add_mark(root, MARK, layer.kind.name)
    pipe = ET.SubElement(root, "pipe")
    if layer.kind.flags:
        _add_palette(pipe, layer, own)
    else:
        _add_ramp(pipe, layer, limits)
    ET.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ET.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    ET.SubElement(root, "blendMode").text = "0"
    return text_of(root)


def _add_renderer(pipe: ET.Element, kind: str, **more: str) -> ET.Element:
    # an empty colour of no data is transparent
    look = {"type": kind, "band": "1", "opacity": "1", "alphaBand": "-1", "nodataColor": ""}
    renderer = ET.SubElement(pipe, "rasterrenderer", look | more)
    ET.SubElement(renderer, "rasterTransparency")
    # so that QGIS keeps the ends of the colours, and does not take them from what is in view
    ET.SubElement(ET.SubElement(renderer, "minMaxOrigin"), "limits").text = "None"
    return renderer


def _add_ramp(pipe: ET.Element, layer: ExportLayer, limits: tuple[float, float]) -> None:
    """Add colours between two ends; what is beyond has the colour of its end."""
    low, high = limits
    ends = {"classificationMin": repr(low), "classificationMax": repr(high)}
    renderer = _add_renderer(pipe, "singlebandpseudocolor", **ends)
    shader = ET.SubElement(
        ET.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        clip="0",
        minimumValue=repr(low),
        maximumValue=repr(high),
        labelPrecision="6",
    )
    colours, unit = layer.kind.colours, layer.units
    suffix = f" {unit}" if unit not in (None, "1") else ""
    _add_source_ramp(shader, colours)
    for number, colour in enumerate(colours):
        value = float(f"{low + (high - low) * number / (len(colours) - 1):.9g}")
        label = f"{value:+g}" if layer.kind.about_zero and value else f"{value:g}"
        ET.SubElement(
            shader, "item", value=repr(value), color=colour, alpha="255", label=label + suffix
        )
    ET.SubElement(
        shader, "rampLegendSettings", suffix=suffix, prefix="", useContinuousLegend="1",
        direction="0", orientation="2", minimumLabel="", maximumLabel="",
    )  # fmt: skip


def _add_source_ramp(shader: ET.Element, colours: tuple[str, ...]) -> None:
    """Add the ramp itself, from which QGIS draws a continuous legend."""
    ramp = ET.SubElement(shader, "colorramp", type="gradient", name="[source]")
    options = ET.SubElement(ramp, "Option", type="Map")
    inner = len(colours) - 1
    stops = ":".join(f"{n / inner:g};{_rgb(colours[n])}" for n in range(1, inner))
    for key, value in (
        ("color1", _rgb(colours[0])),
        ("color2", _rgb(colours[-1])),
        ("discrete", "0"),
        ("rampType", "gradient"),
        ("stops", stops),
    ):
        ET.SubElement(options, "Option", name=key, type="QString", value=value)
        ET.SubElement(ramp, "prop", k=key, v=value)  # read by QGIS before 3.18


def _rgb(colour: str) -> str:
    return ",".join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5)) + ",255"


def _add_palette(pipe: ET.Element, layer: ExportLayer, own: Statistics) -> None:
    """Add one colour for each value that the layer has."""
    palette = ET.SubElement(_add_renderer(pipe, "paletted"), "colorPalette")
    colours = layer.kind.colours
    for number, value in enumerate(sorted(own.values)):
        ET.SubElement(
            palette,
            "paletteEntry",
            value=str(value),
            color=colours[number % len(colours)],
            alpha="255",
            label=label_of_flag(value, layer.plane.attrs),
        )
