"""A second, faster executor of the forecaster's weights, for inference.

It computes what :class:`hmx.networks.forecaster.Forecaster` computes, with these
liberties, each of which was measured (``tests/bench/engine.py``):

- a layer's input and its own hidden state lie in one channels-last buffer from the
  start, so nothing is concatenated;
- rows stream: a strip of rows passes through all steps and layers before the next
  strip starts. Gates, four times as wide as anything else, are used while they
  are in the cache, and no state of the whole window is ever in memory;
- one sigmoid serves all gates, in place (:mod:`hmx.networks.stream.kernels`);
- given a core, each step computes only what the core still depends on;
- the zero state of the first step is not convolved.

In bfloat16 the operands of the convolutions are rounded, and the gates they give;
cell state, head and forecast stay float32.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from hmx.networks.convlstm import ConvLSTMCell
from hmx.networks.forecaster import Forecaster, NetworkInputs
from hmx.networks.stream.kernels import Head, Layer, update
from hmx.networks.stream.regions import SCALARS, STRIP, Layout, clip, grow
from hmx.windows import Span, Window


class Band:
    """Rows of a (y, x, c) field that slide down its window; zero until written.

    ``extent`` is the window of the whole field, and the number of rows in memory.
    """

    def __init__(self, extent: tuple[Window, int], channels: int, *, like: Tensor):
        self.window, rows = extent
        self.top = self.window.y.start
        self.data = like.new_zeros((rows, len(self.window.x), channels))

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


class Rollout:
    """The weights of a forecaster, prepared for fast inference.

    ``half`` convolves in bfloat16; ``strip`` is the number of bytes of gates computed at a time.
    """

    def __init__(self, network: Forecaster, *, half: bool = False, strip: int | None = None):
        self.head = Head.of(network)
        device, full = self.head.mixing.device.type, self.head.mixing.dtype
        self.strip = strip or STRIP["cpu" if device == "cpu" else "cuda"]
        self.layers = [
            Layer.of(
                cast(ConvLSTMCell, cell), halved=index > 0, dtype=torch.bfloat16 if half else full
            )
            for index, cell in enumerate(network.body.core.cells)
        ]

    def __call__(self, seen: NetworkInputs, *, h: int, crop: Window | None = None) -> Tensor:
        """Forecast the distributions of one window, (h, q, y, x) of its core, native units.

        The inputs have no ``b`` and nothing known ahead. The result is meaningless where the
        origin is missing.
        """
        past = seen.past
        read = Window.of((past.shape[1], past.shape[2]))
        plan = Layout(
            spreads=tuple(layer.radius for layer in self.layers),
            read=read,
            core=crop or read,
            history=past.shape[0],
            h=h,
            budget=self.strip,
            gate_bytes=4 * self.layers[0].hidden * past.element_size(),
        )
        return _Stream(self, plan, seen).run()


class _Stage:
    """One layer at one step, part-way down its region."""

    def __init__(self, layer: Layer, region: Window, extent: tuple[Window, int], *, first: bool):
        self.layer, self.region, self.first = layer, region, first
        self.done = region.y.start
        weight = layer.first if first else layer.carried
        self.input = Band(extent, weight.shape[1], like=weight)

    def take(self, source: Tensor, window: Window, *, carried: bool) -> None:
        """Write an input, or the hidden state that is carried, where it is convolved."""
        channel = 0 if carried or self.first else self.layer.hidden
        self.input.put(source, window, channel=channel, low=self.done - self.layer.radius)

    def ready(self, known: int, *, bottom: int, rows: int) -> Window:
        """Return the strip that the input's rows before ``known`` suffice for."""
        radius, end = self.layer.radius, self.region.y.stop
        stop = end if known >= min(end + radius, bottom) else known - radius
        stop = min(stop, end, self.done + rows)
        return Window(Span(self.done, max(self.done, stop)), self.region.x)

    def gates(self, strip: Window, *, bottom: int) -> Tensor:
        """Convolve a strip; rows from ``bottom`` on are beyond the window read."""
        source = grow(strip, self.layer.radius)
        self.input.reserve(source.y.stop, low=source.y.start)
        if source.y.stop > bottom:
            beyond = Span(max(bottom, source.y.start), source.y.stop)
            self.input.at(Window(beyond, source.x)).zero_()
        return self.layer.convolve(self.input.at(source), first=self.first)


class _Stream:
    """One window on its way through all steps and layers.

    ``series`` (t + h, y, x) starts with the past and ends with the means.
    """

    def __init__(self, rollout: Rollout, plan: Layout, seen: NetworkInputs):
        past, h = seen.past, plan.h
        self.rollout, self.plan, self.history, self.rows = rollout, plan, plan.history, plan.rows
        self.series = torch.cat((past, past.new_empty((h, *past.shape[1:]))))
        self.valid, self.dynamic, self.static = seen.valid, seen.dynamic, seen.static
        self.total = past.new_zeros((*past.shape[1:], len(rollout.head.shares)))
        self.knots = past.new_empty((h, len(rollout.head.shares), *plan.core.shape))
        self.bottom = plan.read.y.stop
        self.stages = [
            [
                _Stage(*parts, first=step == 0)
                for parts in zip(rollout.layers, regions, inputs, strict=True)
            ]
            for step, (regions, inputs) in enumerate(zip(plan.regions, plan.inputs(), strict=True))
        ]
        self.cells = [
            Band(extent, layer.hidden, like=self.series)
            for layer, extent in zip(rollout.layers, plan.cells(), strict=True)
        ]
        width = SCALARS + self.dynamic.shape[1] + self.static.shape[0]
        self.frames = [Band(extent, width, like=self.series) for extent in plan.frames()]
        self.fed = [frame.window.y.start for frame in self.frames]

    def run(self) -> Tensor:
        """Run all rows, a strip of each stage at a time; return the knots."""
        last = self.stages[-1][-1]
        while last.done < last.region.y.stop:
            for step, stages in enumerate(self.stages):
                known = self._feed(step)
                for index in range(len(stages)):
                    known = self._advance(step, index, known)
        return self.knots

    def _feed(self, step: int) -> int:
        """Feed a step with the target as far as it is known; return the rows known."""
        frame, start = self.frames[step], self.fed[step]
        stop = start + self.rows
        if step:  # the past is read no faster than it is used
            stop = self.stages[step - 1][-1 if step >= self.history else 0].done
        stop = min(stop, frame.window.y.stop)
        if stop > start:
            window = Window(Span(start, stop), frame.window.x)
            values = self._frame(step, window)
            frame.put(values, window, channel=0, low=self.stages[step][-1].done)
            self.stages[step][0].take(values, window, carried=False)
            self.fed[step] = stop
        return self.fed[step]

    def _frame(self, step: int, window: Window) -> Tensor:
        """Assemble a step's input, (y, x, c)."""
        scale, (y, x) = self.rollout.head.scale, window.slices
        now, then = (min(at, self.history - 1) for at in (step, max(step - 1, 0)))
        state, alive = self.series[step, y, x], self.valid[now, y, x]
        change = (state - self.series[max(step - 1, 0), y, x]) * alive * self.valid[then, y, x]
        target = ((state - scale.mean) / scale.std * alive, change / scale.change, alive)
        others = (self.dynamic[now, :, y, x], self.static[:, y, x])
        return torch.cat(
            (torch.stack(target, dim=-1), *(other.permute(1, 2, 0) for other in others)), dim=-1
        )

    def _advance(self, step: int, index: int, known: int) -> int:
        """Compute the next strip of a stage; return the rows known of it then."""
        stage, cell = self.stages[step][index], self.cells[index]
        if step:
            known = min(known, self.stages[step - 1][index].done)
        strip = stage.ready(known, bottom=self.bottom, rows=self.rows)
        if len(strip.y):
            cell.reserve(strip.y.stop, low=min(stages[index].done for stages in self.stages))
            gates = stage.gates(strip, bottom=self.bottom).to(self.series.dtype)
            hidden = update(gates, cell.at(strip), first=stage.first)
            self._pass_on(step, index, strip, hidden)
            stage.done = strip.y.stop
        return stage.done

    def _pass_on(self, step: int, index: int, strip: Window, hidden: Tensor) -> None:
        """Copy a hidden state to the next step, and to the next layer or the head."""
        if step + 1 < len(self.stages):
            self.stages[step + 1][index].take(hidden, strip, carried=True)
        if index + 1 < len(self.cells):
            self.stages[step][index + 1].take(hidden, strip, carried=False)
        elif step >= self.history - 1:
            self._look_ahead(step, strip, hidden)

    def _look_ahead(self, step: int, strip: Window, hidden: Tensor) -> None:
        """Forecast a strip of a lead: knots for the result, the mean for the next step."""
        head, at = self.rollout.head, strip.slices
        origin, frame = self.series[(self.history - 1, *at)], self.frames[step].at(strip)
        knots = head.ahead(self.total[at], origin, hidden, frame)
        self.series[(step + 1, *at)] = head.mean(knots)
        wanted = clip(strip, self.plan.core)
        if len(wanted.y):
            lead, part = step + 1 - self.history, wanted.within(self.plan.core)
            into = self.knots[(lead, slice(None), *part.slices)]
            into.copy_(knots[(slice(None), *wanted.within(strip).slices)])
