"""Chips and held-out windows: the samples of training and validation.

A chip carries true pixels around the ones it is scored on: pixels that the
chip's border could reach at a lead are masked at that lead, except at the true
edges of the cube. The inputs of a chip are cut out of *fields* (:mod:`.fields`), which are
read and derived once and kept for a while. Chips are
a function of seed, epoch and number alone, so a run is the same whatever the number
of processes and after any resumption.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from hmx.cube.cube import Cube
from hmx.features.scaling import Scaler
from hmx.features.terrain import turn
from hmx.forecast.inputs import Inputs
from hmx.forecast.spec import Spec
from hmx.forecast.train.fields import ChipCache
from hmx.networks.forecaster import reach
from hmx.networks.inputs import NetworkInputs, Slices
from hmx.splits import TRAIN, Split, interior
from hmx.windows import Span, Window, with_halo

TOGETHER = 8  # held-out windows in memory
_TRIES = 20  # positions tried for a chip; after that, one without a scored pixel is accepted


class Batch(NamedTuple):
    """Tensors of some windows: ``b`` windows, ``t`` history steps, ``h`` leads.

    ``truth`` (b, h, y, x) is in native units, 0 where ``weight`` is 0. ``weight`` is above 0
    where a lead is scored: the area of the pixel relative to the mean, times a factor that
    makes up for chips drawn more often. ``inner`` (b, y, x) is the same for pixels of the
    right role that the border cannot reach at lead 1. ``distance`` (b, y, x) is to past
    change, px. ``origin`` (b,) is the number of the forecast origin among those of the training.
    """

    seen: NetworkInputs
    truth: Tensor
    weight: Tensor
    inner: Tensor
    distance: Tensor
    origin: Tensor

    def window(self, index: int) -> Batch:
        """Return one of the windows, as a batch."""
        at = slice(index, index + 1)
        seen = NetworkInputs(*(part[at] for part in self.seen))
        return Batch(seen, *(part[at] for part in self[1:]))

    def scored_area(self) -> Slices:
        """Bound the pixels that are scored at any lead, or all: the rest need no distribution."""
        scored = (self.weight > 0).any(dim=0).any(dim=0)
        ends = []
        for axis in (1, 0):
            found = scored.any(dim=axis).nonzero()
            last = int(found.max()) + 1 if len(found) else scored.shape[1 - axis]
            ends.append(slice(int(found.min()) if len(found) else 0, last))
        return ends[0], ends[1]

    def at(self, crop: Slices) -> Batch:
        """Crop all maps."""
        seen = NetworkInputs(*(part[(..., *crop)] for part in self.seen))
        truth, weight, inner, distance = (part[(..., *crop)] for part in self[1:5])
        return Batch(seen, truth, weight, inner, distance, self.origin)


@dataclass(frozen=True)
class Sample:
    """One window as numpy arrays; a :class:`Batch` without ``b``."""

    inputs: Inputs
    truth: np.ndarray
    weight: np.ndarray
    inner: np.ndarray
    origin: int = 0  # its number among the origins of the training

    @property
    def distance(self) -> np.ndarray:
        """Distance to past change, px; 0 if the context does not include it."""
        known = self.inputs.distance
        return np.zeros(self.inner.shape, "float32") if known is None else known


@dataclass(frozen=True)
class Reader:
    """Cuts training samples out of a cube that is limited to the training years.

    ``scaler`` is fitted on the training blocks of ``split``, and so are ``sizes``: the usual change
    from each step over 1 ... h steps, (time, lead), native units.
    """

    cube: Cube
    spec: Spec
    scaler: Scaler
    split: Split
    sizes: Tensor = field(compare=False, repr=False)
    pieces: ChipCache | None = field(default=None, compare=False, repr=False)

    @cached_property
    def fields(self) -> ChipCache:
        """Pieces of the cube from which windows are cut; those of another split, if given."""
        return self.pieces or ChipCache(self.cube, self.spec, self.scaler)

    @property
    def origins(self) -> range:
        """Steps with a whole history before them and a truth after."""
        return range(self.spec.network.past_steps - 1, self.cube.data.sizes["time"] - 1)

    def sample(
        self,
        window: Window,
        origin: int,
        role: int,
        *,
        core: Window | None = None,
        around: Window | None = None,
    ) -> Sample:
        """Cut one window; pixels of other roles, or outside ``core``, are not scored.

        Chips of one block are cut from pixels ``around`` it.
        """
        inputs, truth = self.fields.cut(window, origin, around=around)
        of_role = self.split.roles(window) == role  # (y, x)
        if core is not None:
            inside = np.zeros_like(of_role)
            inside[core.within(window).slices] = True
            of_role &= inside
        # (h, y, x): not where the window's border can reach the lead
        scored = np.zeros((self.spec.h, *window.shape), bool)
        for lead in range(1, self.spec.h + 1):
            margin = reach(self.spec.network, lead)
            part = interior(window, self.cube.grid.shape, margin, wraps=self.cube.grid.wraps)
            scored[(lead - 1, *part.slices)] = of_role[part.slices]
        known = np.isfinite(truth) & (inputs.valid[-1] > 0)
        area = self.fields.areas(window)
        return Sample(
            inputs=inputs,
            truth=np.where(scored & known, truth, 0).astype("float32"),
            weight=(scored & known) * area,
            inner=scored[0] * area,
            origin=origin - self.origins.start,
        )


def batch_of(samples: list[Sample]) -> Batch:
    """Stack windows of one shape into tensors."""

    def stack(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.stack(arrays), "float32"))

    columns = zip(*(sample.inputs.tensors() for sample in samples), strict=True)
    return Batch(
        seen=NetworkInputs(*(stack(list(arrays)) for arrays in columns)),
        truth=stack([sample.truth for sample in samples]),
        weight=stack([sample.weight for sample in samples]),
        inner=stack([sample.inner for sample in samples]),
        distance=stack([sample.distance for sample in samples]),
        origin=torch.tensor([sample.origin for sample in samples]),
    )


@dataclass(frozen=True)
class Draw:
    """Training blocks, the odds of each, and the weight of its chips in the loss.

    A weight is the block's share of the pixels divided by its odds, so that the expected
    loss does not depend on the odds.
    """

    blocks: list[Window]
    odds: np.ndarray  # (n,)
    weights: np.ndarray  # (n,)

    @classmethod
    def of(cls, reader: Reader, changed: np.ndarray, focus: float) -> Draw:
        """Draw a share ``focus`` of the chips in proportion to change, and the rest uniformly.

        ``changed`` counts the changed pixels of each block, (block rows, block columns).
        """
        blocks = reader.split.windows(TRAIN)
        at = [(b.y.start // reader.split.block, b.x.start // reader.split.block) for b in blocks]
        moved = np.array([changed[index] for index in at], "float64")
        alike = np.full(len(blocks), 1 / max(1, len(blocks)))
        share = moved / moved.sum() if moved.sum() else alike
        odds = (1 - focus) * alike + focus * share
        return cls(blocks, odds, alike / odds)


class Chips(IterableDataset):
    """One epoch of training chips, read ahead by a thread.

    Parameters
    ----------
    reader : Reader
        Cuts the chips.
    draw : Draw
        Chooses their blocks.
    side : int
        Of a chip, px; at most the cube's.
    batch, steps : int
        Chips per step and steps per epoch, over all processes together.
    key : tuple of int
        Seed and epoch, which decide the chips.
    jitter : float
        Standard deviation of the offset of each static covariate of a chip, scaled.
    rank, world : int
        This process takes every ``world``-th chip.
    """

    def __init__(
        self,
        reader: Reader,
        draw: Draw,
        side: int,
        *,
        batch: int,
        steps: int,
        key: tuple[int, int],
        jitter: float = 0.0,
        rank: int = 0,
        world: int = 1,
    ):
        super().__init__()
        self.reader, self.draw, self.batch, self.steps = reader, draw, batch, steps
        self.key, self.jitter, self.rank, self.world = key, jitter, rank, world
        shape = reader.cube.grid.shape
        self.side = (min(side, shape[0]), min(side, shape[1]))
        self.waited = Waiting()

    def __iter__(self) -> Iterator[Batch]:
        def read(step: int) -> Batch:
            slots = range(self.rank, self.rank + each * self.world, self.world)
            return batch_of([self.chip(step, slot) for slot in slots])

        each = max(1, self.batch // self.world)
        with ThreadPoolExecutor(1, thread_name_prefix="hmx-chips") as pool:
            ahead = pool.submit(read, 0)
            for step in range(self.steps):
                with self.waited:
                    ready = ahead.result()
                if step + 1 < self.steps:
                    ahead = pool.submit(read, step + 1)
                yield ready

    def __len__(self) -> int:
        return self.steps

    def chip(self, step: int, slot: int) -> Sample:
        """Draw chip ``slot`` of a step of this epoch, rotated and mirrored at random."""
        rng = np.random.default_rng([*self.key, step, slot])
        # Where fields are read from a store, a slot takes its chips from one field for some
        # steps, so origin and first block come from a generator that stays the same so long.
        stay = self.reader.fields.patience
        slow = np.random.default_rng([*self.key, step // stay, slot, 1]) if stay > 1 else rng
        origin = int(slow.choice(self.reader.origins))
        block = int(slow.choice(len(self.draw.blocks), p=self.draw.odds))
        for _ in range(_TRIES):
            near = self.draw.blocks[block]
            sample = self.reader.sample(self._around(rng, block), origin, TRAIN, around=near)
            if sample.weight.any():
                break
            block = int(rng.choice(len(self.draw.blocks), p=self.draw.odds))
        weight = self.draw.weights[block]
        moved = rotated(sample, self.reader.spec, int(rng.integers(4)), bool(rng.integers(2)))
        offsets = rng.normal(0, self.jitter, len(self.reader.spec.static))
        if offsets.any():
            static = moved.inputs.static.copy()
            known = static[len(offsets)]  # the validity channel: a filled gap stays 0
            static[: len(offsets)] += offsets.astype(static.dtype)[:, None, None] * known
            moved = replace(moved, inputs=replace(moved.inputs, static=static))
        return replace(moved, weight=moved.weight * weight, inner=moved.inner * weight)

    def _around(self, rng: np.random.Generator, block: int) -> Window:
        """Put a chip around a random pixel of a block, inside the cube."""
        spans, at = [], self.draw.blocks[block]
        for span, side, size in zip(
            (at.y, at.x), self.side, self.reader.cube.grid.shape, strict=True
        ):
            centre = int(rng.integers(span.start, span.stop))
            start = min(max(0, centre - side // 2), size - side)
            spans.append(Span(start, start + side))
        return Window(*spans)


@dataclass
class Waiting:
    """Adds up the seconds spent waiting for data."""

    seconds: float = 0.0
    _began: float = field(default_factory=time.perf_counter, repr=False)
    _since: float = field(default=0.0, repr=False)

    def share(self) -> float:
        """Return the share of the time since the start that was spent waiting."""
        return self.seconds / max(time.perf_counter() - self._began, 1e-9)

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter() - self._since


def rotated(sample: Sample, spec: Spec, quarters: int, mirror: bool) -> Sample:
    """Apply one of the eight symmetries of a square (four for an oblong)."""
    square = sample.inner.shape[0] == sample.inner.shape[1]
    quarters = quarters if square else 2 * (quarters // 2)

    def moved(array: np.ndarray) -> np.ndarray:
        turned = np.rot90(array, quarters, axes=(-2, -1))
        return np.ascontiguousarray(turned[..., ::-1] if mirror else turned)

    # static channels include aspects, directions that turn with the map
    static = turn(sample.inputs.static, spec.static_names(), quarters, mirror)
    inputs = replace(sample.inputs.mapped(moved), static=static)
    truth, weight, inner = (moved(a) for a in (sample.truth, sample.weight, sample.inner))
    return Sample(inputs, truth, weight, inner, sample.origin)


class HeldOutWindows(Dataset):
    """Windows around the blocks of some roles, each with its whole reach of true pixels.

    At most ``most`` pairs of block and origin, drawn by ``seed``.
    """

    def __init__(self, reader: Reader, *roles: int, most: int, seed: int):
        self.reader = reader
        pairs = [
            (core, origin)
            for role in roles
            for core in reader.split.windows(role)
            for origin in reader.origins
        ]
        if len(pairs) > most:
            drawn = np.random.default_rng([seed, roles[0]]).choice(len(pairs), most, replace=False)
            pairs = [pairs[index] for index in np.sort(drawn)]
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Batch:
        return self.at(*self.pairs[index])

    def together(self) -> Iterator[list[tuple[int, Batch]]]:
        """Read all windows with their numbers, some at a time, for threads to work on."""
        for start in range(0, len(self), TOGETHER):
            stop = min(start + TOGETHER, len(self))
            yield [(index, self[index]) for index in range(start, stop)]

    def at(self, core: Window, origin: int) -> Batch:
        """Read the window around a block, forecast from one origin."""
        halo, side = reach(self.reader.spec.network, self.reader.spec.h), self.reader.split.block
        window = with_halo(core, self.reader.cube.grid.shape, halo=halo, wraps=False)
        # a block has one role; around it, a window may hold pixels of others
        role = int(self.reader.split.table[core.y.start // side, core.x.start // side])
        return batch_of([self.reader.sample(window, origin, role, core=core)])
