"""Cost: operations, memory and the best tile of a network; integers only."""

from __future__ import annotations

from hmx.networks.base import BodyCost, body_class, layers_of
from hmx.networks.options import ModelOptions, Precision
from hmx.networks.stream.graph import HEAD, SCALARS, STRIP, Graph, unroll
from hmx.windows import Span, Window

_BYTES = {"float32": (4, 4), "bfloat16": (2, 4), "float64": (8, 8)}  # convolved, kept
_OTHER = 8 << 20  # bytes that libraries take in addition to the tensors that are counted
Counts = tuple[int, int, int]  # dynamic, static and known-ahead channels


def body_cost(options: ModelOptions, channels: Counts, *, h: int) -> BodyCost:
    """Count operations and channels of the body of a network, per pixel."""
    looks = h if options.strategy == "recursive" else 1
    constant = _constant(options, channels, h=h)
    return body_class(options.arch).cost(options, SCALARS + channels[0], constant, looks)


def per_pixel(options: ModelOptions, channels: Counts, *, h: int) -> int:
    """Count the operations of a forecast of one pixel, halos not included.

    Two per multiply-add of a convolution; channels include those of validity.
    """
    recursive = options.strategy == "recursive"
    body = body_cost(options, channels, h=h)
    heads = 1 if recursive or options.heads == "shared" else h
    heads *= body.outputs * len(options.knots) * (h if recursive else 1)
    stacked = options.past_steps * (SCALARS + channels[0]) + _constant(options, channels, h=h)
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
    graph = _graph(options, channels, shape, h=h, crop=crop)
    if graph is None:
        return _area(Window.of(shape)) * per_pixel(options, channels, h=h)
    stacked = options.past_steps * (SCALARS + channels[0]) + _constant(options, channels, h=h)
    heads = h if options.heads == "separate" and options.strategy == "direct" else 1
    total = 0
    for i, region in graph.regions.items():
        if graph.nodes[i].convolves:
            total += _area(region) * graph.multiply_adds(i)
        elif graph.nodes[i].layer.name == HEAD:
            each = heads * graph.inputs(i) * len(options.knots)
            total += _area(region) * (each + (stacked if options.anchored else 0))
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
    graph = _graph(options, channels, shape, h=h, crop=crop, full=full, device=device)
    if graph is None:
        return _dense(options, channels, shape, h=h, crop=crop, bytes_each=full)
    steps, knots, area = options.past_steps, len(options.knots), _area(graph.read)
    given = (2 + channels[0]) * steps + channels[1] + (h + 1) * channels[2]
    if options.strategy == "recursive":
        given += h + 1 + knots  # means and running sums
    kept, strip = given * area + h * knots * _area(graph.core), 0
    for i, region in graph.regions.items():
        node, inputs = graph.nodes[i], graph.inputs(i)
        across = min(graph.rows, len(region.y)) * len(region.x)
        if graph.copied(i):
            share = 1 if node.layer.name == HEAD else half / full
            kept += int(graph.input(i).pixels * graph.copied_channels(i) * share)
        if node.layer.name == HEAD:
            leads = h if options.strategy == "direct" else 1
            strip = max(strip, across * (inputs + (8 * leads + 4) * knots))
        elif node.convolves:
            strip = max(strip, across * (3 * node.layer.convolved + 2 * inputs))
            if precision == "float64":  # convolved by way of all taps side by side
                strip = max(strip, 3 * across * node.layer.kernel**2 * inputs)
    for key, users in graph.running.items():
        kept += graph.carried(key).pixels * graph.nodes[users[0]].layer.outputs
    # doubled, because freed memory is fragmented
    return (kept + 2 * strip) * full * 6 // 5 + _OTHER


# Seconds on one core of an AMD EPYC (Zen 4), float32: of an operation, as convolutions of strips
# run alone; of a pixel whose inputs are derived, measured, and read; and of a tile whatever its
# size, which is assumed. Rates of whole tiles of 512 and 1024 px were not compared.
_OPERATION, _PIXEL, _TILE = 1.3e-11, 3.0e-7, 1e-2
_SIDES = (512, 1024)  # px, whole storage chunks
_GAIN = 0.1


def best_tile(
    options: ModelOptions, channels: Counts, *, h: int, far: int, around: int, device: str = "cpu"
) -> int:
    """Return the default side of a tile, px: the smallest that costs little more than any.

    ``far`` is the reach of the network for ``h`` leads, and ``around`` how much further its
    context looks, px. A larger tile reads and computes less halo, in four times the memory
    of the next and in a quarter of the tasks, so it must save a tenth of the time. A GPU takes
    the largest.
    """
    if device.startswith("cuda"):
        return _SIDES[-1]

    def seconds(side: int) -> float:
        window, core = side + 2 * far, Window(*(Span(far, far + side),) * 2)
        operations = flops(options, channels, (window, window), h=h, crop=core)
        read = (window + 2 * around) ** 2
        return (operations * _OPERATION + read * _PIXEL + _TILE) / side**2

    costs = {side: seconds(side) for side in _SIDES}
    return next(side for side in _SIDES if costs[side] <= min(costs.values()) * (1 + _GAIN))


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


def _graph(
    options: ModelOptions,
    channels: Counts,
    shape: tuple[int, int],
    *,
    h: int,
    crop: Window | None,
    full: int = 4,
    device: str = "cpu",
) -> Graph | None:
    described, read = layers_of(options), Window.of(shape)
    if described is None:
        return None
    nodes = unroll(
        described,
        SCALARS + channels[0],
        _constant(options, channels, h=h),
        history=options.past_steps,
        looks=h if options.strategy == "recursive" else 1,
    )
    strip = STRIP["cuda" if device.startswith("cuda") else "cpu"]
    return Graph(nodes, read, crop or read, strip, full)


def _constant(options: ModelOptions, channels: Counts, *, h: int) -> int:
    return channels[1] + (0 if options.strategy == "recursive" else h * channels[2])


def _area(window: Window) -> int:
    return len(window.y) * len(window.x)
