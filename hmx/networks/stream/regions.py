"""Regions: the pixels that a rollout computes, and their memory; integers only.

A forecast of a core needs less of its window at every step: the last step only
the core itself, the step before one kernel more, and so on back to the first
input, where the margin is the network's whole reach. :func:`margins` walks that
way. :func:`delays` walks the other way: rows stream through all steps and layers
at once, and each trails the one it reads from by the rows its kernel looks ahead.
The executor, the count of its operations and the bound of its memory read the
same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hmx.networks.options import ModelOptions
from hmx.windows import Window

SCALARS = 3  # channels of the target in a frame: value, change, validity
STRIP = {"cpu": 4 << 20, "cuda": 1 << 30}  # bytes of the gates that are computed at a time


def padded(channels: int) -> int:
    """Round channels up to a multiple of eight, so that pixels are aligned."""
    return -(-channels // 8) * 8


def grow(window: Window, pixels: int) -> Window:
    """Return a window with ``pixels`` more on all four sides."""
    return Window(window.y.grow(pixels), window.x.grow(pixels))


def clip(window: Window, outer: Window) -> Window:
    """Return the part of a window inside ``outer``."""
    return Window(window.y.clip(outer.y), window.x.clip(outer.x))


def radii(options: ModelOptions) -> tuple[int, ...]:
    """Return how far each layer's kernel looks, px."""
    return tuple(step * (options.kernel // 2) for step in options.dilations())


def margins(spreads: Sequence[int], history: int, h: int) -> list[list[int]]:
    """Return by how much each state must exceed the core, px, by step and layer.

    ``spreads`` are the radii of the layers' kernels, px. The first margin of the first layer
    plus its radius is the reach of the network.
    """
    found: list[list[int]] = []
    after = [-spread for spread in spreads]  # nobody reads the last step's states
    for step in reversed(range(history + h - 1)):
        need = after[0] + spreads[0] if step >= history - 1 else 0  # the lead that is fed back
        margin = [0] * len(spreads)
        for layer in reversed(range(len(spreads))):
            margin[layer] = max(need, after[layer] + spreads[layer])
            need = margin[layer] + spreads[layer]
        found.append(margin)
        after = margin
    return found[::-1]


def delays(spreads: Sequence[int], history: int, h: int) -> tuple[list[int], list[list[int]]]:
    """Return by how many rows each step's frame and its states trail the first frame."""
    frames, states = [0], [[0] * len(spreads)]
    for step in range(history + h - 1):
        before, late = states[-1], frames[-1]
        states.append([])
        for layer, spread in enumerate(spreads):
            late = max(late, before[layer] if step else 0) + spread
            states[-1].append(late)
        frames.append(late if step + 1 >= history else states[-1][0])
    return frames[:-1], states[1:]


@dataclass(frozen=True)
class Layout:
    """The regions of each step and layer, and the rows of them in memory at a time."""

    spreads: tuple[int, ...]  # radius of each layer's kernel, px
    read: Window  # with zeros beyond
    core: Window  # of the result
    history: int  # steps
    h: int  # leads
    budget: int  # bytes of a strip's gates
    gate_bytes: int  # of one pixel's gates

    @property
    def rows(self) -> int:
        """Rows that are computed at a time."""
        return max(1, self.budget // (self.gate_bytes * max(1, len(self.regions[0][0].x))))

    @property
    def regions(self) -> list[list[Window]]:
        """The pixels of each state that the core depends on, per step and layer."""
        steps = margins(self.spreads, self.history, self.h)
        return [[clip(grow(self.core, m), self.read) for m in step] for step in steps]

    def inputs(self) -> list[list[tuple[Window, int]]]:
        """Return the window of each convolution's input, and how many rows are in memory."""
        states = delays(self.spreads, self.history, self.h)[1]
        before = [[0] * len(self.spreads), *states]
        return [
            [
                self._hold(grow(region, spread), late - early + 2 * spread)
                for region, spread, late, early in zip(
                    regions, self.spreads, states[step], before[step], strict=True
                )
            ]
            for step, regions in enumerate(self.regions)
        ]

    def frames(self) -> list[tuple[Window, int]]:
        """Return the window of each step's frame, and how many rows the head needs."""
        frames, states = delays(self.spreads, self.history, self.h)
        return [
            self._hold(clip(grow(regions[0], self.spreads[0]), self.read), state[-1] - frame)
            for regions, frame, state in zip(self.regions, frames, states, strict=True)
        ]

    def cells(self) -> list[tuple[Window, int]]:
        """Return the window of each layer's cell state, and how many rows are in memory."""
        states = delays(self.spreads, self.history, self.h)[1]
        return [
            self._hold(region, last - first)
            for region, first, last in zip(self.regions[0], states[0], states[-1], strict=True)
        ]

    def _hold(self, window: Window, trail: int) -> tuple[Window, int]:
        """Hold twice the rows in use, so that what is kept moves rarely and without overlap."""
        return window, min(len(window.y), 2 * (min(self.rows, len(window.y)) + trail))
