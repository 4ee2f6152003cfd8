"""Graph: the layers of a network, and the pixels and rows that each must compute; integers only.

A network describes itself once, as the layers of one step. :func:`unroll` repeats them over the
history and the leads. A forecast of a core then needs less of its window at every node: the head
only the core itself, the node before one kernel more, and so on back to the frames, where
the margin is the network's whole reach (:attr:`Graph.margins`). Rows stream through all nodes
at once, and each node trails those it reads from by the rows its kernel looks ahead
(:attr:`Graph.delays`). The executor, the reach, the count of operations and the bound of memory
read the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from hmx.windows import Span, Window

SCALARS = 3  # channels of the target in a frame: value, change, validity
STRIP = {"cpu": 4 << 20, "cuda": 1 << 30}  # bytes of the widest result that is computed at a time
FRAME, CONSTANT, HEAD = "frame", "constant", "head"  # what is read besides the layers


class Read(NamedTuple):
    """An input of a layer."""

    source: str  # another layer, FRAME or CONSTANT
    back: int = 0  # steps before; a source before the first step is zero


@dataclass(frozen=True)
class Layer:
    """A convolution of stride 1, padded with zeros, and what is done with its result."""

    name: str  # of the convolution among the body's modules
    reads: tuple[Read, ...]  # in the order of the convolution's input channels
    outputs: int  # channels of the result
    kernel: int = 3
    dilation: int = 1
    gates: bool = False  # of an LSTM, four times as many channels; else a SiLU follows
    sums: str = ""  # residual layers with one name here add their results up

    @property
    def radius(self) -> int:
        """How far the kernel looks, px."""
        return self.dilation * (self.kernel // 2)

    @property
    def convolved(self) -> int:
        """Channels that the convolution makes."""
        return 4 * self.outputs if self.gates else self.outputs


class Architecture(NamedTuple):
    """A network as the layers of one step, each after those it reads from, and its features."""

    layers: tuple[Layer, ...]
    features: tuple[Read, ...]  # what the head reads


class Node(NamedTuple):
    """A layer at one step, or a frame, the constant channels or a head."""

    layer: Layer
    step: int
    reads: tuple[int | None, ...]  # nodes; None is zero and not convolved

    @property
    def sources(self) -> tuple[int, ...]:
        """The nodes that are read, without those that are zero."""
        return tuple(read for read in self.reads if read is not None)

    @property
    def convolves(self) -> bool:
        """False for what has no weights here: a frame, the constant channels and a head."""
        return self.layer.name not in (FRAME, CONSTANT, HEAD)

    @property
    def running(self) -> tuple[str, int] | None:
        """What this node updates in place: cells go on from step to step, sums end with it."""
        if self.layer.gates:
            return self.layer.name, 0
        return (self.layer.sums, self.step) if self.layer.sums else None


def unroll(
    network: Architecture, frame: int, constant: int, *, history: int, looks: int
) -> tuple[Node, ...]:
    """Repeat a network's layers over all steps; each look is a head, and feeds the next step.

    ``frame`` and ``constant`` are numbers of channels.
    """
    nodes = [Node(Layer(CONSTANT, (), constant, kernel=1), 0, ())]
    at = {(CONSTANT, 0): 0}
    for step in range(history + looks - 1):
        fed = (Read(HEAD, 1),) if step >= history else ()
        layers = [Layer(FRAME, fed, frame, kernel=1), *network.layers]
        if step >= history - 1:
            layers.append(Layer(HEAD, network.features, 0, kernel=1))
        for layer in layers:
            found = [
                at.get((read.source, 0 if read.source == CONSTANT else step - read.back))
                for read in layer.reads
            ]
            at[layer.name, step] = len(nodes)
            nodes.append(Node(layer, step, tuple(found)))
    return tuple(nodes)


class Extent(NamedTuple):
    """A field that slides down its window: the window, and the rows of it in memory."""

    window: Window
    rows: int

    @property
    def pixels(self) -> int:
        """Pixels in memory."""
        return len(self.window.x) * self.rows


@dataclass(frozen=True)
class Graph:
    """The nodes of a forecast of one window, and what each computes and keeps."""

    nodes: tuple[Node, ...]
    read: Window  # with zeros beyond
    core: Window  # of the result
    budget: int = STRIP["cpu"]  # bytes of the widest result of a strip
    width: int = 4  # bytes of a number

    @cached_property
    def margins(self) -> dict[int, int]:
        """By how much each node must exceed the core, px; a node that nobody reads is left out."""
        found = {i: 0 for i, node in enumerate(self.nodes) if node.layer.name == HEAD}
        for i in reversed(range(len(self.nodes))):
            if i in found:
                need = found[i] + self.nodes[i].layer.radius
                found |= {r: max(need, found.get(r, 0)) for r in self.nodes[i].sources}
        return dict(sorted(found.items()))

    @cached_property
    def delays(self) -> dict[int, int]:
        """By how many rows each node trails the first frame."""
        found: dict[int, int] = {}
        for i in self.margins:
            node = self.nodes[i]
            found[i] = max((found[r] for r in node.sources), default=0) + node.layer.radius
        for i in self.margins:  # what depends on nothing is read no earlier than it is used
            if not self.nodes[i].sources:
                found[i] = min(found[c] - self.nodes[c].layer.radius for c in self.readers[i])
        return found

    @cached_property
    def readers(self) -> dict[int, list[int]]:
        """The nodes that read from each node."""
        found: dict[int, list[int]] = {i: [] for i in self.margins}
        for i in self.margins:
            for source in self.nodes[i].sources:
                found[source].append(i)
        return found

    @cached_property
    def regions(self) -> dict[int, Window]:
        """The pixels of each node that the core depends on."""
        return {i: self.core.grow(m).clip(self.read) for i, m in self.margins.items()}

    def inputs(self, i: int) -> int:
        """Count the channels that a node reads."""
        return sum(self.nodes[source].layer.outputs for source in self.nodes[i].sources)

    def copied(self, i: int) -> tuple[int, ...]:
        """Return the nodes whose results are copied to where a node reads them.

        A head, which needs no border, reads residual sums where they are, and assembles frames
        and constant channels anew.
        """
        node = self.nodes[i]
        if node.layer.name != HEAD:
            return node.sources if node.convolves else ()
        return tuple(
            source
            for source in node.sources
            if self.nodes[source].convolves and not self.nodes[source].layer.sums
        )

    def copied_channels(self, i: int) -> int:
        """Count the channels that are copied to where a node reads them."""
        return sum(self.nodes[source].layer.outputs for source in self.copied(i))

    def channel(self, source: int, reader: int) -> int:
        """Return the first channel of a source in its reader's input."""
        copied = self.copied(reader)
        return sum(self.nodes[s].layer.outputs for s in copied[: copied.index(source)])

    def multiply_adds(self, i: int) -> int:
        """Count the operations of a node's convolution at one pixel."""
        layer = self.nodes[i].layer
        return self.inputs(i) * layer.kernel**2 * layer.convolved

    @cached_property
    def rows(self) -> int:
        """Rows that are computed at a time."""
        widest = max(
            self.nodes[i].layer.convolved * max(1, len(region.x))
            for i, region in self.regions.items()
        )
        return max(1, self.budget // (self.width * max(1, widest)))

    def strips(self) -> int:
        """Count the turns after which all rows have passed all nodes."""
        last = max(self.regions[i].y.stop + self.delays[i] for i in self.margins)
        return -(-(last - self._first) // self.rows)

    def strip(self, i: int, turn: int) -> Window:
        """Return the part of its region that a node computes at a turn; it can be empty."""
        start = self._first + turn * self.rows - self.delays[i]
        region = self.regions[i]
        return Window(Span(start, start + self.rows).clip(region.y), region.x)

    @cached_property
    def _first(self) -> int:
        return min(self.regions[i].y.start + self.delays[i] for i in self.margins)

    def input(self, i: int) -> Extent:
        """Return the field that sources are copied to, with the zeros around it."""
        node = self.nodes[i]
        trail = self.delays[i] - min(self.delays[source] for source in self.copied(i))
        window = self.regions[i].grow(node.layer.radius)
        return self._kept(window, trail + node.layer.radius)

    @cached_property
    def running(self) -> dict[tuple[str, int], list[int]]:
        """The nodes that update each cell or residual sum in place, in their order."""
        found: dict[tuple[str, int], list[int]] = {}
        for i in self.margins:
            if (key := self.nodes[i].running) is not None:
                found.setdefault(key, []).append(i)
        return found

    def carried(self, key: tuple[str, int]) -> Extent:
        """Return the field of a cell or residual sum."""
        first, last = self.running[key][0], self.running[key][-1]
        trail = self.delays[last] - self.delays[first]
        trail = max([trail, *(self.delays[r] - self.delays[first] for r in self.readers[last])])
        return self._kept(self.regions[first], trail)

    def _kept(self, window: Window, trail: int) -> Extent:
        """Keep twice as many rows as are in use, so that a row moves once."""
        return Extent(window, min(len(window.y), 2 * (self.rows + trail)))


@lru_cache(maxsize=16)  # tiles of a raster have one shape inside, and a few at its edges
def lay_out(nodes: tuple[Node, ...], read: Window, core: Window, budget: int, width: int) -> Graph:
    """Return the graph of windows of one shape."""
    return Graph(nodes, read, core, budget, width)
