"""Band: the rows of a field that are in memory while they stream."""

from __future__ import annotations

from torch import Tensor

from hmx.networks.stream.graph import Extent, clip
from hmx.windows import Window


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
        both = clip(window, self.window)
        if len(both.y):
            self.reserve(both.y.stop, low=low)
            into = self.at(both)[..., channel : channel + source.shape[-1]]
            into.copy_(source[both.within(window).slices])
