"""Executor: a second, faster way to run a forecaster's weights, for inference.

It computes what :class:`hmx.networks.forecaster.Forecaster` computes, for every network that
describes itself (:meth:`hmx.networks.base.Body.layers`), with these liberties, each of which was
measured (``tests/bench/engine.py``):

- rows stream: a strip of rows passes through all steps, layers and the head before the next
  strip starts (:mod:`hmx.networks.stream.graph`). What a layer makes is used while it is in the
  cache; no state of the whole window is ever in memory, and no page of memory is new;
- the inputs of a layer lie in one channels-last buffer from the start, so nothing is
  concatenated;
- one sigmoid serves all gates (:func:`update_cell`);
- given a core, each node computes only what the core still depends on;
- the zero state of the first step is not convolved.

In bfloat16 the operands of the convolutions are rounded, and what they give; cell states,
residual sums, head and forecast stay float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hmx.networks.base import layers_of
from hmx.networks.forecaster import Forecaster
from hmx.networks.inputs import NetworkInputs, Slices, go_on
from hmx.networks.quantile import mean
from hmx.networks.stream.graph import (
    CONSTANT,
    FRAME,
    HEAD,
    STRIP,
    Architecture,
    Extent,
    Graph,
    Layer,
    Node,
    lay_out,
    unroll,
)
from hmx.windows import Span, Window


class Band:
    """Rows of a (y, x, c) field that slide down its window; zero until written."""

    def __init__(self, extent: Extent, channels: int, *, like: Tensor):
        self.window = extent.window
        self.top = self.window.y.start
        self.data = like.new_zeros((extent.rows, len(self.window.x), channels))

    def at(self, window: Window) -> Tensor:
        """Return the part under a window, a view."""
        rows, cols = window.y.shift(-self.top), window.x.shift(-self.window.x.start)
        return self.data[rows.slice, cols.slice]

    def reserve(self, stop: int, *, low: int) -> None:
        """Make room up to row ``stop`` by forgetting the rows before ``low``."""
        if stop - self.top > len(self.data):
            kept = self.data[low - self.top :]
            self.data[: len(kept)] = kept if len(kept) <= low - self.top else kept.clone()
            self.top = low

    def put(self, source: Tensor, window: Window, *, channel: int, low: int) -> None:
        """Copy the part of ``source``, (y, x, c) at ``window``, that overlaps this field.

        ``channel`` is the first channel to write, ``low`` the first row that must stay.
        """
        both = window.clip(self.window)
        if len(both.y):
            self.reserve(both.y.stop, low=low)
            into = self.at(both)[..., channel : channel + source.shape[-1]]
            into.copy_(source[both.within(window).slices])


class Executor:
    """A forecaster, prepared for fast inference; it is called like one, with one window.

    Parameters
    ----------
    network : Forecaster
    described : Architecture
        Of its body.
    half : bool
        Convolve in bfloat16.
    strip : int, optional
        Bytes of the widest result that is computed at a time.
    """

    def __init__(
        self,
        network: Forecaster,
        described: Architecture,
        *,
        half: bool = False,
        strip: int | None = None,
    ):
        self.network, self.described = network, described
        self.leads, self.knots = network.leads, network.knots
        head = network.head.weight
        self.kind = torch.bfloat16 if half else head.dtype
        self.strip = strip or STRIP["cpu" if head.device.type == "cpu" else "cuda"]
        self._packed: dict[tuple[str, tuple[bool, ...]], tuple[Tensor, Tensor]] = {}

    def __call__(
        self,
        seen: NetworkInputs,
        *,
        h: int,
        crop: Slices | None = None,
        origin: Tensor | None = None,
    ) -> Tensor:
        """Forecast the distributions of one window, (1, h, q, y, x) of its core, native units.

        The result is meaningless where the origin is missing. ``origin`` is as in
        :meth:`hmx.networks.forecaster.Forecaster.forward`.
        """
        direct = self.network.options.strategy == "direct"
        if direct and h > self.leads:
            return go_on(self, seen, h=h, crop=crop)
        read = Window.of((seen.past.shape[-2], seen.past.shape[-1]))
        core = read if crop is None else Window(*(Span(s.start, s.stop) for s in crop))
        return _Stream(self, self.graph(read, core, 1 if direct else h), seen, h, origin).run()

    def graph(self, read: Window, core: Window, looks: int) -> Graph:
        """Lay out the nodes of a forecast."""
        frame, constant = self.network.frame_channels, self.network.constant_channels
        history, width = self.network.options.past_steps, self.network.head.weight.element_size()
        nodes = unroll(self.described, frame, constant, history=history, looks=looks)
        return lay_out(nodes, read, core, self.strip, width)

    def weights(self, node: Node) -> tuple[Tensor, Tensor]:
        """Return weights, channels-last, and bias of a node, without inputs that are zero."""
        name, there = node.layer.name, tuple(read is not None for read in node.reads)
        if (name, there) not in self._packed:
            self._packed[name, there] = self._pack(node.layer, there)
        return self._packed[name, there]

    def _pack(self, layer: Layer, there: tuple[bool, ...]) -> tuple[Tensor, Tensor]:
        convolution = self.network.body.get_submodule(layer.name)
        assert isinstance(convolution, nn.Conv2d)
        weight, bias = (p.detach().clone() for p in convolution.parameters())
        if layer.gates:  # see update_cell
            weight[3 * layer.outputs :] *= 2
            bias[3 * layer.outputs :] *= 2
        sizes = {FRAME: self.network.frame_channels, CONSTANT: self.network.constant_channels}
        sizes |= {other.name: other.outputs for other in self.described.layers}
        parts = weight.split([sizes[read.source] for read in layer.reads], dim=1)
        weight = torch.cat(
            [part for part, is_there in zip(parts, there, strict=True) if is_there], 1
        )
        weight = weight.to(self.kind).contiguous(memory_format=torch.channels_last)
        return weight, bias.to(self.kind)


def run_window(
    network: Forecaster, seen: NetworkInputs, *, h: int, crop: Slices, origin: Tensor
) -> Tensor:
    """Forecast the core of one window, (1, h, q, y, x), by an executor if the network streams."""
    layers = layers_of(network.options) if isinstance(network, Forecaster) else None
    run = network if layers is None else Executor(network, layers)
    # threads of a pool do not have the precision of the thread that trains
    with torch.autocast(seen.past.device.type, enabled=False):
        found: Tensor = run(seen, h=h, crop=crop, origin=origin)
    return found


class _Stream:
    """One window on its way through all nodes."""

    def __init__(
        self, executor: Executor, graph: Graph, seen: NetworkInputs, h: int, origin: Tensor | None
    ):
        self.executor, self.network, self.graph = executor, executor.network, graph
        self.seen, self.h, self.origin = seen, h, origin
        self.turn, past = 0, seen.past
        knots = len(self.network.knots)
        self.knots = past.new_empty((1, h, knots, *graph.core.shape))
        if self.network.options.strategy != "direct":
            self.series = torch.cat((past[:, -1:], past.new_empty((1, h, *past.shape[2:]))), 1)
            self.total = past.new_zeros((1, knots, *past.shape[2:]))
        half = past.new_empty(0, dtype=executor.kind)
        self.inputs = {
            i: Band(
                graph.input(i),
                graph.copied_channels(i),
                like=past if graph.nodes[i].layer.name == HEAD else half,
            )
            for i in graph.margins
            if graph.copied(i)
        }
        self.running = {
            key: Band(graph.carried(key), graph.nodes[users[0]].layer.outputs, like=past)
            for key, users in graph.running.items()
        }

    def run(self) -> Tensor:
        """Run all rows, a strip of each node at a time; return the knots, (1, h, q, y, x)."""
        graph = self.graph
        for self.turn in range(graph.strips()):
            for i in graph.margins:
                strip = graph.strip(i, self.turn)
                if not len(strip.y):
                    continue
                if graph.nodes[i].layer.name == HEAD:
                    self._look(graph.nodes[i].step, strip, self._features(i, strip))
                else:
                    self._pass_on(i, strip, self._compute(i, strip))
        return self.knots

    def _compute(self, i: int, strip: Window) -> Tensor:
        """Compute a strip of a node, (y, x, c)."""
        node = self.graph.nodes[i]
        if node.layer.name == CONSTANT:
            return _last(self.network.constant(_cropped(self.seen, strip)))
        if node.layer.name == FRAME:
            return _last(self._frame(node.step, strip))
        source = self._input(i, strip)
        weight, bias = self.executor.weights(node)
        found = functional.conv2d(source, weight, bias, dilation=node.layer.dilation)
        values = _last(found).to(self.seen.past.dtype)
        if (key := node.running) is None:
            return functional.silu(values, inplace=True)
        users = self.graph.running[key]
        band, first = self.running[key], users[0] == i
        band.reserve(strip.y.stop, low=self._oldest(users[-1]))
        if node.layer.gates:
            return update_cell(values, band.at(strip), first=first)
        values = functional.silu(values, inplace=True)
        total = band.at(strip)
        return total.copy_(values) if first else total.add_(values)

    def _oldest(self, i: int) -> int:
        """Return the first row of a node that it, or a reader of it, still needs."""
        nodes = (i, *self.graph.readers[i])
        return min(self.graph.strip(node, self.turn).y.start for node in nodes)

    def _input(self, i: int, strip: Window) -> Tensor:
        """Return the input of a strip, (1, c, y, x), channels-last, with its border."""
        band, window = self.inputs[i], strip.grow(self.graph.nodes[i].layer.radius)
        band.reserve(window.y.stop, low=window.y.start)
        if window.y.stop > (bottom := self.graph.read.y.stop):
            beyond = Span(max(bottom, window.y.start), window.y.stop)
            band.at(Window(beyond, window.x)).zero_()
        return band.at(window).permute(2, 0, 1)[None]

    def _pass_on(self, i: int, strip: Window, values: Tensor) -> None:
        """Copy a result to where it is read."""
        for reader in self.graph.readers[i]:
            if i in self.graph.copied(reader):
                done = self.graph.strip(reader, self.turn).y.start
                self.inputs[reader].put(
                    values,
                    strip,
                    channel=self.graph.channel(i, reader),
                    low=done - self.graph.nodes[reader].layer.radius,
                )

    def _features(self, i: int, strip: Window) -> Tensor:
        """Collect the features of a strip, (1, c, y, x), channels-last."""
        found, graph = [], self.graph
        for source in graph.nodes[i].sources:
            node = graph.nodes[source]
            if source in graph.copied(i):
                first = graph.channel(source, i)
                found.append(self.inputs[i].at(strip)[..., first : first + node.layer.outputs])
            elif node.running is not None:
                found.append(self.running[node.running].at(strip))
            else:
                found.append(self._compute(source, strip))
        return torch.cat(found, dim=-1).permute(2, 0, 1)[None]

    def _frame(self, step: int, strip: Window) -> Tensor:
        seen, lead = _cropped(self.seen, strip), step - self.network.options.past_steps + 1
        if lead < 1:
            return self.network.past_frame(seen, step)
        before, value = self.series[(0, slice(lead - 1, lead + 1), *strip.slices)]
        return self.network.next_frame(seen, value[None], before[None], lead)

    def _look(self, step: int, strip: Window, features: Tensor) -> None:
        """Forecast a strip: knots for the result, and means for the next step."""
        seen, network = _cropped(self.seen, strip), self.network
        wanted = strip.clip(self.graph.core)
        into = wanted.within(self.graph.core).slices
        if network.options.strategy == "direct":
            found = network.direct(features, seen, h=self.h, origin=self.origin)
            self.knots[(..., *into)] = found
            return
        lead = step - network.options.past_steps + 1
        part = self.total[(..., *strip.slices)]
        total, knots = network.recursive(part, features, seen)
        part.copy_(total)
        self.series[(0, lead + 1, *strip.slices)] = mean(knots, network.knots)[0]
        if len(wanted.y):
            self.knots[(0, lead, slice(None), *into)] = knots[
                (0, slice(None), *wanted.within(strip).slices)
            ]


def update_cell(gates: Tensor, cell: Tensor, *, first: bool) -> Tensor:
    """Advance a doubled cell, (y, x, hidden), in place; return the hidden state.

    ``gates``, (y, x, 4 hidden) before their sigmoid, are overwritten. Since tanh(x) =
    2 sigmoid(2x) - 1, one sigmoid serves all four; the factor within is exact in binary and
    lives in the weights of the last, and the cell is doubled. ``first`` means that the cell
    counts as zero, whatever the memory contains.
    """
    i, f, o, g = gates.sigmoid_().chunk(4, dim=-1)
    if first:
        torch.mul(i, g, out=cell).mul_(4).sub_(i, alpha=2)
    else:
        cell.mul_(f).addcmul_(i, g, value=4).sub_(i, alpha=2)
    return torch.sigmoid(cell).mul_(2).sub_(1).mul_(o)


def _last(tensor: Tensor) -> Tensor:
    """View (1, c, y, x) as (y, x, c)."""
    return tensor[0].permute(1, 2, 0)


def _cropped(seen: NetworkInputs, window: Window) -> NetworkInputs:
    return NetworkInputs(*(tensor[(..., *window.slices)] for tensor in seen))
