"""Chips and held-out windows: what a network is trained and judged on.

A chip carries true pixels around the ones it is scored on: those that the
chip's border could reach at a lead are masked at that lead, except at the true
edges of the cube. Chips are a function of seed, epoch and number alone, so a
run is the same whatever the number of processes and after any resumption.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from hmx.bundle import Spec
from hmx.cube import Cube
from hmx.folds import TRAIN, Split, interior
from hmx.models.forecaster import reach
from hmx.samples import assemble, read
from hmx.scaling import Scaler
from hmx.windows import Span, Window

_TRIES = 20  # positions tried for a chip before one without scoreable pixels is taken


class Batch(NamedTuple):
    """Tensors of some windows: ``b`` windows, ``t`` history steps, ``h`` leads.

    ``past, valid`` (b, t, y, x), ``dynamic`` (b, t, d, y, x) and ``static``
    (b, s, y, x) are the network's inputs; ``truth`` (b, h, y, x) is in native
    units, 0 where ``mask`` is 0; ``mask`` is 1 where a lead is scored, ``inner``
    (b, y, x) where the lead-1 border cannot reach a pixel of the right role.
    """

    past: Tensor
    valid: Tensor
    dynamic: Tensor
    static: Tensor
    truth: Tensor
    mask: Tensor
    inner: Tensor


@dataclass(frozen=True)
class Reader:
    """Cuts training samples out of a cube.

    Parameters
    ----------
    cube : Cube
        Only the years training may see.
    spec : Spec
        What the network is fed.
    scaler : Scaler
        Fitted on the training blocks.
    split : Split
        Roles of the blocks.
    """

    cube: Cube
    spec: Spec
    scaler: Scaler
    split: Split

    @property
    def origins(self) -> range:
        """Steps that have a whole history before them and a truth after."""
        return range(self.spec.network.history - 1, self.cube.data.sizes["time"] - 1)

    def sample(
        self, window: Window, origin: int, role: int, *, core: Window | None = None
    ) -> list[np.ndarray]:
        """Read one window as the arrays of a :class:`Batch`, without ``b``.

        Parameters
        ----------
        window : Window
            What is read.
        origin : int
            Step of the forecast origin.
        role : int
            Pixels of other roles are not scored.
        core : Window, optional
            Nor are pixels outside it.
        """
        history, h = self.spec.network.history, self.spec.h
        last = min(origin + h, self.cube.data.sizes["time"] - 1)
        arrays = read(self.cube, window, Span(origin - history + 1, last + 1), self.cube.rules)
        series = arrays[self.spec.target]
        seen = {n: a[:history] if a.ndim == 3 else a for n, a in arrays.items()}
        inputs = assemble(seen, self.spec, self.scaler)
        truth = np.full((h, *series.shape[1:]), np.nan, "float32")
        truth[: last - origin] = series[history:]
        scored = (
            self._scored(window, role, core) & np.isfinite(truth) & np.isfinite(series[history - 1])
        )
        inner = self._scored(window, role, core)[0]
        masks = (scored.astype("float32"), inner.astype("float32"))
        return [*inputs.tensors(), np.where(scored, truth, 0).astype("float32"), *masks]

    def _scored(self, window: Window, role: int, core: Window | None) -> np.ndarray:
        """Where each lead may be scored, by place alone, bool (h, y, x)."""
        place = self.split.roles(window) == role
        if core is not None:
            kept = np.zeros_like(place)
            kept[core.within(window).slices] = True
            place &= kept
        scored = np.zeros((self.spec.h, *window.shape), bool)
        for lead in range(1, self.spec.h + 1):
            margin = reach(self.spec.network, lead)
            inside = interior(window, self.cube.grid.shape, margin, wraps=self.cube.grid.wraps)
            scored[(lead - 1, *inside.slices)] = place[inside.slices]
        return scored


class Chips(IterableDataset):
    """One epoch of training chips, read ahead by a thread.

    Parameters
    ----------
    reader : Reader
        Where chips come from.
    side : int
        Of a chip, px; at most the cube's.
    batch, steps : int
        Chips per step and steps per epoch, over all processes together.
    seed, epoch : int
        Decide which chips.
    rank, world : int
        This process takes every ``world``-th chip.
    """

    def __init__(
        self,
        reader: Reader,
        side: int,
        *,
        batch: int,
        steps: int,
        seed: int,
        epoch: int,
        rank: int = 0,
        world: int = 1,
    ):
        super().__init__()
        self.reader, self.batch, self.steps = reader, batch, steps
        self.key, self.rank, self.world = (seed, epoch), rank, world
        shape = reader.cube.grid.shape
        self.side = (min(side, shape[0]), min(side, shape[1]))
        self.blocks = reader.split.windows(TRAIN)

    def __iter__(self) -> Iterator[Batch]:
        each = max(1, self.batch // self.world)
        with ThreadPoolExecutor(1, thread_name_prefix="hmx-chips") as pool:
            ahead = pool.submit(self._batch, 0, each)
            for step in range(self.steps):
                ready = ahead
                if step + 1 < self.steps:
                    ahead = pool.submit(self._batch, step + 1, each)
                yield ready.result()

    def __len__(self) -> int:
        return self.steps

    def _batch(self, step: int, each: int) -> Batch:
        first = step * each * self.world + self.rank
        chips = [self.chip(first + index * self.world) for index in range(each)]
        return Batch(*(torch.from_numpy(np.stack(arrays)) for arrays in zip(*chips, strict=True)))

    def chip(self, number: int) -> list[np.ndarray]:
        """Draw the arrays of one chip of this epoch, turned and mirrored at random."""
        rng = np.random.default_rng([*self.key, number])
        origins = self.reader.origins
        for _ in range(_TRIES):
            window = self._place(rng)
            arrays = self.reader.sample(window, origins[rng.integers(len(origins))], TRAIN)
            if arrays[5].any():
                break
        return _turn(arrays, int(rng.integers(4)), bool(rng.integers(2)))

    def _place(self, rng: np.random.Generator) -> Window:
        """Put a chip around a random pixel of a random training block."""
        block = self.blocks[rng.integers(len(self.blocks))]
        spans = []
        for span, side, size in zip(
            (block.y, block.x), self.side, self.reader.cube.grid.shape, strict=True
        ):
            centre = int(rng.integers(span.start, span.stop))
            start = min(max(0, centre - side // 2), size - side)
            spans.append(Span(start, start + side))
        return Window(*spans)


def _turn(arrays: list[np.ndarray], quarters: int, mirror: bool) -> list[np.ndarray]:
    """Apply one of the eight symmetries of a square (four for an oblong)."""
    square = arrays[0].shape[-1] == arrays[0].shape[-2]
    quarters = quarters if square else 2 * (quarters // 2)
    turned = [np.rot90(array, quarters, axes=(-2, -1)) for array in arrays]
    return [np.ascontiguousarray(a[..., ::-1] if mirror else a) for a in turned]


class HeldOut(Dataset):
    """Windows around held-out blocks, each with its whole reach of true pixels.

    Parameters
    ----------
    reader : Reader
        Where windows come from.
    role : int
        Whose blocks.
    most : int
        At most so many pairs of block and origin, drawn by ``seed``.
    seed : int
        Of the draw.
    """

    def __init__(self, reader: Reader, role: int, *, most: int, seed: int):
        self.reader, self.role = reader, role
        pairs = [(core, o) for core in reader.split.windows(role) for o in reader.origins]
        if len(pairs) > most:
            drawn = np.random.default_rng([seed, role]).choice(len(pairs), most, replace=False)
            pairs = [pairs[index] for index in np.sort(drawn)]
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Batch:
        core, origin = self.pairs[index]
        halo = reach(self.reader.spec.network, self.reader.spec.h)
        shape = self.reader.cube.grid.shape
        rows, cols = core.y.grow(halo).clip(Span(0, shape[0])), core.x.grow(halo)
        window = Window(rows, cols.clip(Span(0, shape[1])))
        arrays = self.reader.sample(window, origin, self.role, core=core)
        return Batch(*(torch.from_numpy(array)[None] for array in arrays))
