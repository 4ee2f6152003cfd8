"""Cost: operations, memory and the best tile of a network; integers only."""

from __future__ import annotations

from hmx.networks.base import BodyCost, body_class
from hmx.networks.options import ModelOptions, Precision
from hmx.networks.stream.regions import SCALARS, STRIP, Layout, padded, radii
from hmx.windows import Window

_BYTES = {"float32": (4, 4), "bfloat16": (2, 4), "float64": (8, 8)}  # convolved, kept
_OTHER = 8 << 20  # bytes that libraries take in addition to the tensors that are counted
Counts = tuple[int, int, int]  # dynamic, static and known-ahead channels


def streams(options: ModelOptions) -> bool:
    """Return True if a network runs on the executor that streams rows."""
    return body_class(options.arch).streams(options)


def body_cost(options: ModelOptions, channels: Counts, *, h: int) -> BodyCost:
    """Count operations and channels of the body of a network, per pixel."""
    recursive = options.strategy == "recursive"
    constant = channels[1] + (0 if recursive else h * channels[2])
    looks = h if recursive else 1
    return body_class(options.arch).cost(options, SCALARS + channels[0], constant, looks)


def per_pixel(options: ModelOptions, channels: Counts, *, h: int) -> int:
    """Count the operations of a forecast of one pixel, halos not included.

    Two per multiply-add of a convolution; channels include those of validity.
    """
    recursive = options.strategy == "recursive"
    body = body_cost(options, channels, h=h)
    heads = 1 if recursive or options.heads == "shared" else h
    heads *= body.outputs * len(options.knots) * (h if recursive else 1)
    constant = channels[1] + (0 if recursive else h * channels[2])
    stacked = options.past_steps * (SCALARS + channels[0]) + constant
    anchor = stacked if options.anchored else 0
    return 2 * (body.multiply_adds + heads + anchor)


def flops(
    options: ModelOptions,
    channels: Counts,
    shape: tuple[int, int],
    *,
    h: int,
    crop: Window | None = None,
) -> int:
    """Count the operations of the convolutions that inference executes on a window of ``shape``.

    Two per multiply-add. Neither the zero state of the first step nor padding channels
    count. ``crop`` is the core, in pixels of the window; default all of it.
    """
    if not streams(options) or channels[2]:
        return _area(Window.of(shape)) * per_pixel(options, channels, h=h)
    frame, hidden, taps = SCALARS + sum(channels), options.hidden, options.kernel**2
    plan = _layout(options, shape, h=h, crop=crop)
    total = 0
    for step, regions in enumerate(plan.regions):
        for layer, region in enumerate(regions):
            inputs = (hidden if layer else frame) + (hidden if step else 0)
            total += _area(region) * inputs * taps * 4 * hidden
        if step >= options.past_steps - 1:
            total += _area(regions[-1]) * (frame + hidden + len(options.knots)) * hidden
    return 2 * total


def footprint(
    options: ModelOptions,
    channels: Counts,
    shape: tuple[int, int],
    *,
    h: int,
    precision: Precision = "float32",
    crop: Window | None = None,
    device: str = "cpu",
) -> int:
    """Bound the memory that a network takes for one window of ``shape``, bytes.

    It counts input tensors, buffers, temporaries and the forecast, but not the workspace
    of cuDNN on a GPU. ``auto`` counts as float32, which takes more than bfloat16.
    """
    half, full = _BYTES.get(precision, _BYTES["float32"])
    if not streams(options) or channels[2]:
        return _dense(options, channels, shape, h=h, crop=crop, bytes_each=full)
    plan = _layout(options, shape, h=h, crop=crop, full=full, device=device)
    frame, hidden, steps = SCALARS + sum(channels), options.hidden, options.past_steps
    maps = 2 * steps + steps * channels[0] + channels[1] + (steps + h)  # inputs and series
    knots = len(options.knots)
    given = (maps + knots) * _area(plan.read) + 2 * h * knots * _area(plan.core)
    given *= full
    total = sum(_bulk(rows) * hidden for rows in plan.cells())
    total += sum(_bulk(rows) * frame for rows in plan.frames())
    strip = min(plan.rows, len(plan.regions[0][0].y)) * len(plan.regions[0][0].x)
    # doubled, because freed memory is fragmented
    total += 2 * strip * (8 * hidden + 2 * frame + 6 * knots)
    total *= full
    widths = [frame, *(hidden,) * (options.layers - 1)]
    buffers = [
        _bulk(extent) * padded(width + hidden)
        for layers in plan.inputs()
        for extent, width in zip(layers, widths, strict=True)
    ]
    total += (sum(buffers) + strip * 4 * hidden) * half
    if precision == "float64":  # convolved by way of all taps side by side
        total += 3 * strip * options.kernel**2 * (max(frame, hidden) + hidden) * half
    return given + total * 6 // 5 + _OTHER  # 6/5: freed memory is not always reused immediately


def best_tile(device: str) -> int:
    """Return the default side of a tile, px.

    On one core of an AMD EPYC 9005 (Zen 5), with a recursive ConvLSTM of two layers of
    16 channels and h = 4, tiles of 128, 256, 512 and 1024 px made 359, 481, 520 and 538
    thousand finished pixels a second in bfloat16, and 262, 336, 352 and 392 in float32:
    the larger, the less halo. A tile of 512 px is read and written in a quarter of the
    memory of the next, and gives four times as many tasks. A GPU was not measured.
    """
    return 1024 if device.startswith("cuda") else 512


def _dense(
    options: ModelOptions,
    channels: Counts,
    shape: tuple[int, int],
    *,
    h: int,
    crop: Window | None,
    bytes_each: int,
) -> int:
    """Bound the memory of a network that computes a whole window in one run."""
    window, core = _area(Window.of(shape)), _area(crop or Window.of(shape))
    frame, constant = SCALARS + channels[0], channels[1] + h * channels[2]
    stacked = options.past_steps * frame + constant
    stored = 2 * options.past_steps + options.past_steps * channels[0] + constant + 2 * stacked
    body = body_cost(options, channels, h=h)
    working = 5 * body.channels
    knots = len(options.knots)
    leads = window if options.strategy == "recursive" else core
    total = window * (stored + working) + leads * 5 * h * knots + core * 2 * h * knots
    if bytes_each == 8:  # convolved by way of all taps side by side
        total += 3 * window * 9 * max(body.inputs, stacked)
    return total * bytes_each * 6 // 5 + _OTHER


def _layout(
    options: ModelOptions,
    shape: tuple[int, int],
    *,
    h: int,
    crop: Window | None,
    full: int = 4,
    device: str = "cpu",
) -> Layout:
    read = Window.of(shape)
    return Layout(
        radii(options),
        read,
        crop or read,
        options.past_steps,
        h,
        STRIP["cuda" if device.startswith("cuda") else "cpu"],
        4 * options.hidden * full,
    )


def _area(window: Window) -> int:
    return len(window.y) * len(window.x)


def _bulk(extent: tuple[Window, int]) -> int:
    window, rows = extent
    return len(window.x) * rows
