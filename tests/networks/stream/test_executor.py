"""Laws of the fast executor: the very network, in strips, and no more than is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmx.features.context import Context
from hmx.forecast.inputs import assemble
from hmx.forecast.window import Engine
from hmx.hardware import exact_float32
from hmx.networks.base import layers_of, network
from hmx.networks.cost import best_tile, flops, footprint
from hmx.networks.dilated import Dilated, Stacked, Trunk
from hmx.networks.forecaster import Channels, Forecaster, reach
from hmx.networks.inputs import NetworkInputs
from hmx.networks.options import ModelOptions
from hmx.networks.quantile import TargetScale
from hmx.networks.registry import NETWORKS as REGISTRY
from hmx.networks.stream import executor
from hmx.networks.stream.executor import Executor, update_cell
from hmx.networks.stream.graph import FRAME, Architecture, Graph, unroll
from hmx.windows import Span, Window
from tests.make.cubes import make_bundle, make_cube, streamed_options
from tests.make.networks import KINDS, options_of, plain, window

ROOT = Path(__file__).resolve().parents[3]
NETWORKS = [
    {"layers": 1, "history": 1},
    {"layers": 2, "history": 3},
    {"layers": 2, "history": 2, "dilation": (1, 4)},
    {"layers": 3, "history": 2, "dilation": (2, 1, 3)},
    {"layers": 2, "history": 3, "kernel": 5, "dilation": (2, 1)},
    {"layers": 2, "history": 2, "kernel": 1},
    {"layers": 2, "history": 2, "predict": "state"},
    {"layers": 1, "history": 3, "predict": "state", "knots": ()},
    {"layers": 2, "history": 2, "trunk": (1, 3)},
    {"arch": "dilated", "history": 2, "trunk": (2, 1)},
    {"strategy": "direct", "history": 3, "layers": 1, "trunk": (1, 4)},
    {"strategy": "direct", "history": 2, "layers": 2, "trunk": (), "heads": "separate"},
    {"strategy": "direct", "history": 2, "arch": "dilated", "trunk": (1, 2), "predict": "state"},
]


def network_of(
    options: ModelOptions,
    channels: tuple[int, int] = (0, 2),
    *,
    limits: tuple[float | None, float | None] = (None, None),
    dtype: torch.dtype = torch.float64,
) -> Forecaster:
    """A network whose every weight matters, at the scale of trained ones."""
    torch.manual_seed(0)
    scale = TargetScale(0.3, 0.2, 0.05, *limits)
    network = Forecaster(options, scale, leads=4, channels=Channels(*channels))
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.normal_(0, 0.5)
        if network.anchored:
            network.anchor_weight.normal_(0, 0.3)
            network.anchor_size.fill_(1.0)
    return network.to(dtype).eval()


def inputs(
    shape: tuple[int, int],
    history: int,
    channels: tuple[int, int] = (0, 2),
    *,
    dtype: torch.dtype = torch.float64,
) -> NetworkInputs:
    """A window with holes that differ from step to step; nothing known ahead."""
    return window(shape, history, Channels(*channels), dtype=dtype)


def fast(network: Forecaster, seen: NetworkInputs, h: int, **how: object) -> torch.Tensor:
    """What the executor gives for one window, (h, q, y, x)."""
    crop = how.pop("crop", None)
    batch = NetworkInputs(*(tensor[None] for tensor in seen))
    with torch.inference_mode():
        run = Executor(network, layers_of(network.options), **how)  # type: ignore[arg-type]
        return run(batch, h=h, crop=crop and crop.slices)[0]  # type: ignore[attr-defined]


def largest(one: torch.Tensor, other: torch.Tensor) -> float:
    assert one.shape == other.shape
    return float((one - other).abs().max())


def test_every_built_in_network_streams_and_others_run_as_they_are() -> None:
    cube = make_cube(dynamic=("roads",))
    for kind in KINDS:
        options = options_of(kind)
        known = make_bundle(cube, options, future=("roads",))
        runs = Engine.of(known, device="cpu").networks[0]
        assert isinstance(runs, Executor) == (options.arch in REGISTRY.built_in), kind


def test_a_network_that_derives_from_a_described_one_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Other(Dilated):
        pass

    assert layers_of(options_of("dilated, direct, shared")) is not None
    monkeypatch.setattr("hmx.networks.base.body_class", lambda arch: Other)
    assert layers_of(options_of("dilated, direct, shared")) is None


def test_a_registered_network_streams_if_it_describes_its_layers() -> None:
    class Narrow(Stacked):
        def __init__(self, options: ModelOptions, frame: int, constant: int):
            super().__init__(
                options.past_steps, Trunk(frame * options.past_steps + constant, 2, (3,))
            )

        @staticmethod
        def layers(options: ModelOptions) -> Architecture:
            chosen = options.model_copy(update={"width": 2, "trunk": (3,)})
            return Dilated.layers(chosen)

    network("narrow")(Narrow)
    try:
        options = ModelOptions(arch="narrow", context=(), terrain=())
        assert reach(options, 4) == 4, "of entry and layer"
        made, seen = network_of(options), inputs((20, 21), 3)
        assert largest(fast(made, seen, 4), plain(made, seen, 4)) <= 1e-12
    finally:
        REGISTRY.registered.pop("narrow")


@pytest.mark.parametrize("options", NETWORKS, ids=str)
@pytest.mark.parametrize("h", [1, 2, 4])
@pytest.mark.parametrize("channels", [(0, 2), (3, 0)], ids=str)
def test_it_is_the_very_network(options: dict[str, object], h: int, channels: tuple) -> None:
    network = network_of(chosen := streamed_options(hidden=3, **options), channels)
    tensors = inputs((23, 31), chosen.past_steps, channels)
    want = plain(network, tensors, h)
    assert largest(fast(network, tensors, h), want) <= 1e-12
    assert largest(want, tensors.past[-1].expand_as(want)) > 0.01, "it must move to be compared"


@pytest.mark.parametrize("hidden", [3, 16])
def test_in_float32_it_agrees_to_a_millionth(hidden: int) -> None:
    options = streamed_options(hidden=hidden)
    network = network_of(options, limits=(0.0, 1.0), dtype=torch.float32)
    tensors = inputs((40, 33), 3, dtype=torch.float32)
    assert largest(fast(network, tensors, 5), plain(network, tensors, 5)) <= 1e-6


@pytest.mark.parametrize("options", NETWORKS, ids=str)
@pytest.mark.parametrize("strip", [1, 9_000, 40_000])
def test_the_size_of_a_strip_does_not_matter(options: dict[str, object], strip: int) -> None:
    network = network_of(chosen := streamed_options(hidden=3, **options))
    tensors = inputs((37, 20), chosen.past_steps)
    strips = fast(network, tensors, 3, strip=strip)
    assert largest(strips, fast(network, tensors, 3, strip=1 << 30)) <= 1e-12


CROPS = {
    "corner": Window(Span(0, 9), Span(0, 12)),
    "far corner": Window(Span(70, 81), Span(58, 77)),
    "edge": Window(Span(30, 41), Span(70, 77)),
    "inside": Window(Span(36, 45), Span(31, 33)),
    "one row": Window(Span(40, 41), Span(0, 77)),
}


@pytest.mark.parametrize("options", NETWORKS, ids=str)
@pytest.mark.parametrize("crop", CROPS.values(), ids=CROPS)
@pytest.mark.parametrize("strip", [2_000, None])
def test_a_core_is_the_crop_of_the_whole(
    options: dict[str, object], crop: Window, strip: int | None
) -> None:
    network = network_of(chosen := streamed_options(hidden=2, **options))
    tensors = inputs((81, 77), chosen.past_steps)
    want = plain(network, tensors, 3)[(..., *crop.slices)]
    assert largest(fast(network, tensors, 3, crop=crop, strip=strip), want) <= 1e-12


@pytest.mark.parametrize("options", NETWORKS[:5], ids=str)
def test_the_halo_is_just_enough(options: dict[str, object]) -> None:
    chosen = streamed_options(hidden=2, **options)
    bundle = make_bundle(make_cube(), chosen, valid_range=None)  # no sign can cancel
    network, far = Forecaster.load(bundle).double(), reach(chosen, 2)
    tensors = inputs((2 * far + 6, 2 * far + 5), chosen.past_steps)
    want = plain(network, tensors, 2)[..., far : far + 6, far : far + 5]
    for short in (0, 1):
        cut = NetworkInputs(*(tensor[..., short:, :] for tensor in tensors))
        crop = Window(Span(far - short, far - short + 6), Span(far, far + 5))
        error = largest(fast(network, cut, 2, crop=crop), want)
        assert error > 1e-13 if short else error <= 1e-14


def test_nothing_outside_the_reach_of_a_core_is_touched() -> None:
    options = streamed_options(hidden=2, history=2)
    network, far = network_of(options), reach(options, 2)
    tensors = inputs((3 * far, 3 * far), 2)
    crop = Window(Span(far + 2, far + 6), Span(far + 3, far + 7))
    want = fast(network, tensors, 2, crop=crop)
    for tensor in tensors:
        tensor[..., :2, :] = tensor[..., 2 * far + 6 :, :] = torch.nan
        tensor[..., :3] = tensor[..., 2 * far + 7 :] = torch.nan
    assert torch.equal(fast(network, tensors, 2, crop=crop), want)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_network_on_any_window(data: st.DataObject) -> None:
    small = st.integers(1, 3)
    layers, h = data.draw(small), data.draw(small)
    options = streamed_options(
        hidden=data.draw(small),
        layers=layers,
        history=data.draw(small),
        kernel=data.draw(st.sampled_from([1, 3, 5])),
        dilation=tuple(data.draw(small) for _ in range(layers)),
    )
    shape = data.draw(st.tuples(st.integers(1, 30), st.integers(1, 12)))
    channels = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    network, tensors = network_of(options, channels), inputs(shape, options.past_steps, channels)
    starts = [data.draw(st.integers(0, size - 1)) for size in shape]
    y, x = (
        Span(at, data.draw(st.integers(at + 1, size)))
        for at, size in zip(starts, shape, strict=True)
    )
    strip = data.draw(st.sampled_from([1, 1500, 6000, None]))
    got = fast(network, tensors, h, crop=Window(y, x), strip=strip)
    assert largest(got, plain(network, tensors, h)[..., y.slice, x.slice]) <= 1e-12


def test_forecasts_keep_to_one_limit_or_two() -> None:
    for limits in [(0.2, 0.5), (None, 0.5), (0.2, None)]:
        network = network_of(streamed_options(hidden=3), limits=limits)
        tensors = inputs((15, 14), 3)
        got = fast(network, tensors, 4)
        assert largest(got, plain(network, tensors, 4)) <= 1e-12
        assert limits[0] is None or float(got.min()) == limits[0]
        assert limits[1] is None or float(got.max()) == limits[1]


def test_an_untrained_network_stays_persistence_exactly() -> None:
    options = streamed_options(terrain=())
    network = Forecaster.load(make_bundle(make_cube(), options, weights="untrained"))
    tensors = inputs((20, 21), 3, dtype=torch.float32)
    for half in (False, True):
        knots = fast(network, tensors, 4, half=half)
        assert torch.equal(knots[:, network.middle], tensors.past[-1:].expand(4, -1, -1))


@pytest.mark.parametrize(
    "options", [{"hidden": 16}, {"hidden": 16, "strategy": "direct", "trunk": (1, 2)}], ids=str
)
def test_bfloat16_rounds_convolutions_and_nothing_else(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = network_of(streamed_options(**options), limits=(0.0, 1.0), dtype=torch.float32)
    tensors, seen = inputs((40, 41), 3, dtype=torch.float32), []
    convolved, convolve = [], executor.functional.conv2d

    def spy(gates: torch.Tensor, cell: torch.Tensor, **how: bool) -> torch.Tensor:
        hidden = update_cell(gates, cell, **how)
        seen.append({gates.dtype, cell.dtype, hidden.dtype})
        return hidden

    def watch(x: torch.Tensor, *words: Any, **named: Any) -> torch.Tensor:
        convolved.append(x.dtype)
        return convolve(x, *words, **named)

    monkeypatch.setattr(executor, "update_cell", spy)
    monkeypatch.setattr(executor.functional, "conv2d", watch)
    got = fast(network, tensors, 4, half=True)
    monkeypatch.undo()
    assert set(convolved) == {torch.bfloat16}
    assert seen == [{torch.float32}] * len(seen)
    assert seen
    want = plain(network, tensors, 4)
    change = (want - tensors.past[-1]).square().mean().sqrt()
    error = (got - want).square().mean().sqrt()
    assert 0 < error <= 0.01 * change


def test_a_residual_far_below_bfloat16_adds_up() -> None:
    """One step of bfloat16 near 1 is 1/128: a state held in it could not move by 1e-4."""
    network = network_of(streamed_options(hidden=4), dtype=torch.float32)
    network.scale = TargetScale(0.3, 0.2, 1e-4)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.fill_(1.0)
    tensors = inputs((20, 20), 3, dtype=torch.float32)
    moved = fast(network, tensors, 3, half=True)[:, network.middle] - tensors.past[-1]
    for lead, by in enumerate(moved, start=1):
        assert largest(by, torch.full_like(by, lead * 1e-4)) <= 1e-6


def test_threads_do_not_change_the_result_and_are_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = make_bundle(make_cube(), streamed_options(hidden=8), weights="random")
    past = np.random.default_rng(0).random((3, 90, 70)).astype("float32")
    shown = assemble({"hm": past, "elevation": past[0] * 900}, bundle.spec, bundle.scaler)
    engine, before = Engine.of(bundle, device="cpu"), torch.get_num_threads()
    used, inner = [], Executor.__call__

    def spy(*words: Any, **named: Any) -> torch.Tensor:
        used.append(torch.get_num_threads())
        return inner(*words, **named)

    monkeypatch.setattr(Executor, "__call__", spy)
    results = [engine.knots(shown, 3, threads=count) for count in (1, 2, None)]
    assert used == [1, 2, before]
    assert torch.get_num_threads() == before
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=0, atol=1e-6)


def test_tf32_stays_out_and_choices_come_back() -> None:
    code = (
        "import torch; from hmx.hardware import exact_float32 as exact\n"
        "backends = torch.backends; modern = hasattr(backends.cudnn, 'conv')\n"
        "if modern: backends.fp32_precision = backends.cudnn.conv.fp32_precision = 'tf32'\n"
        "read = lambda: (backends.cudnn.conv.fp32_precision if modern else "
        "str(backends.cudnn.allow_tf32), backends.cudnn.enabled)\n"
        "before = read()\n"
        "with exact(): print(*read())\n"
        "assert read() == before, (read(), before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() in (["ieee", "True"], ["False", "True"])
    with exact_float32():
        assert torch.backends.cudnn.enabled, "cuDNN must stay on"


def graph_of(
    options: ModelOptions, shape: tuple[int, int], crop: Window | None = None, *, h: int = 1
) -> Graph:
    """The nodes of a forecast of a window with five input channels."""
    described, read = layers_of(options), Window.of(shape)
    assert described is not None
    looks = h if options.strategy == "recursive" else 1
    nodes = unroll(described, 3, 2, history=options.past_steps, looks=looks)
    return Graph(nodes, read, crop or read)


@pytest.mark.parametrize("options", NETWORKS, ids=str)
@pytest.mark.parametrize("h", [1, 2, 5])
def test_every_row_of_every_node_is_computed_once_and_after_what_it_reads(
    options: dict[str, object], h: int
) -> None:
    crop = Window(Span(25, 52), Span(0, 20))
    graph = graph_of(streamed_options(hidden=2, **options), (60, 40), crop, h=h)
    made = {i: graph.regions[i].y.start for i in graph.margins}
    for turn in range(graph.strips()):
        for i in graph.margins:
            strip, radius = graph.strip(i, turn), graph.nodes[i].layer.radius
            if len(strip.y):
                assert strip.y.start == made[i]
                made[i] = strip.y.stop
                for source in graph.nodes[i].sources:
                    end = graph.regions[source].y.stop
                    assert min(strip.y.stop + radius, end) <= made[source]
    assert made == {i: graph.regions[i].y.stop for i in graph.margins}


def test_a_layer_that_nobody_reads_is_not_computed() -> None:
    options = ModelOptions(history=3)
    graph = graph_of(options, (30, 30))
    done = [(graph.nodes[i].layer.name, graph.nodes[i].step) for i in graph.margins]
    assert [step for name, step in done if name == "trunk.entry"] == [2]
    assert [step for name, step in done if name == FRAME] == [0, 1, 2]


def test_nothing_is_held_for_the_whole_window() -> None:
    """What streams needs memory by the width of a window and not by its height."""
    channels = (0, 2, 0)
    for options, maps in ((streamed_options(hidden=32), 5 + 13), (ModelOptions(), 0)):
        low, high = (footprint(options, channels, (rows, 512), h=4) for rows in (512, 4096))
        steps, knots = options.past_steps, len(options.knots)
        maps += 2 * steps + 2 + 4 * knots
        area = (4096 - 512) * 512
        assert high - low <= 2 * maps * 4 * area, "only inputs, running sums and the forecast grow"


PEAKS = {
    "streamed": (streamed_options(hidden=16), 300, "float32", 0),
    "streamed, half": (streamed_options(hidden=16), 600, "bfloat16", 500),
    "streamed, wide": (streamed_options(hidden=48), 200, "float32", 120),
    "dilated": (ModelOptions(context=()), 300, "float32", 0),
    "dilated, core": (ModelOptions(context=()), 300, "float32", 200),
    "dilated, half": (ModelOptions(context=()), 300, "bfloat16", 200),
    "dilated, double": (ModelOptions(context=()), 200, "float64", 120),
    "dilated, separate": (ModelOptions(context=(), heads="separate"), 256, "float32", 200),
    "dilated, recursive": (ModelOptions(context=(), strategy="recursive"), 256, "float32", 120),
    "convlstm, trunk": (ModelOptions(context=(), arch="convlstm"), 256, "float32", 200),
    "convlstm, wide": (
        ModelOptions(context=(), arch="convlstm", trunk=(), hidden=48, layers=2),
        200, "float32", 120,
    ),
    "convlstm, trunk, recursive": (
        ModelOptions(context=(), arch="convlstm", strategy="recursive", trunk=(1,)),
        256, "float32", 120,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def fresh() -> Iterator[subprocess.Popen[str]]:
    """A process that has loaded torch and has computed nothing; it forks for each case."""
    code = "from tests.networks.stream.test_executor import fork_for_each; fork_for_each()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    with process:
        yield process


def fork_for_each() -> None:
    """Read names of cases; measure each in a process of its own."""
    torch.set_num_threads(1)
    for name in sys.stdin:
        if pid := os.fork():
            assert os.waitpid(pid, 0)[1] == 0
            continue
        peak(*PEAKS[name.strip()])
        sys.stdout.flush()
        os._exit(0)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", PEAKS)
def test_the_footprint_bounds_the_memory_and_not_by_much(
    fresh: subprocess.Popen[str], name: str
) -> None:
    assert fresh.stdin is not None
    assert fresh.stdout is not None
    print(name, file=fresh.stdin, flush=True)
    real, bound = map(int, fresh.stdout.readline().split())
    assert real <= bound <= (4 if "float64" in PEAKS[name] else 2.5) * real, (real, bound)


def peak(options: ModelOptions, side: int, precision: str, core: int) -> None:
    """Print by how much a forecast raises this process's peak, and the bound, bytes."""
    torch.set_num_threads(1)
    rim = (side - core) // 2
    span = Span(rim, rim + core) if core else Span(0, side)
    crop, shape = Window(span, span), (side, side)
    bundle = make_bundle(
        make_cube(), options, weights="random", context=Context((), distance=False)
    )
    engine = Engine.of(bundle, precision=precision, device="cpu")  # type: ignore[arg-type]
    kind = torch.float64 if precision == "float64" else torch.float32

    def run(side: int, crop: Window) -> None:
        past = torch.full((3, side, side), 0.5, dtype=kind)
        static, none = torch.full((2, side, side), 0.5, dtype=kind), past.new_zeros
        others = none((3, 0, side, side)), static, none((4, 0, side, side))
        engine.run(engine.networks[0], NetworkInputs(past, past * 2, *others), 4, crop)

    with torch.inference_mode(), exact_float32():
        run(16, Window.of((16, 16)))  # what every process pays once
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before, code = status("VmRSS"), status("RssFile")
        run(side, crop)
        code = status("RssFile") - code  # libraries read on the way are not memory of a forecast
    bound = footprint(options, (0, 2, 0), shape, h=4, precision=precision, crop=crop)  # type: ignore[arg-type]
    print(status("VmHWM") - before - code, bound)


def status(name: str) -> int:
    """One of Linux's figures of this process's memory, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def test_operations_are_counted_by_hand() -> None:
    options = streamed_options(hidden=4, layers=2, kernel=3, history=2, dilation=(1, 1))
    first = 5 * 9 * 16 + 4 * 9 * 16  # multiply-adds of a pixel: two layers from zero states
    later = (5 + 4) * 9 * 16 + (4 + 4) * 9 * 16
    head = (5 + 4) * 4 + 4 * len(options.knots)
    whole = 7 * 6 * (first + 2 * later + 2 * head)  # h = 2: three steps, two leads
    assert flops(options, (0, 2, 0), (7, 6), h=2) == 2 * whole
    # a core of one pixel: 9, 7, 5, 3, 3 and 1 pixels a side for the six states
    sides = [(4, 3), (3, 2), (1, 0)]
    shrunk = 0
    for step, (below, above) in enumerate(sides):
        one, two = (2 * below + 1) ** 2, (2 * above + 1) ** 2
        inputs = (5, 4) if step == 0 else (9, 8)
        shrunk += 9 * 16 * (one * inputs[0] + two * inputs[1]) + (two * head if step else 0)
    crop = Window(Span(20, 21), Span(20, 21))
    assert flops(options, (0, 2, 0), (41, 41), h=2, crop=crop) == 2 * shrunk


@pytest.mark.parametrize("options", NETWORKS, ids=str)
def test_the_operations_counted_are_those_executed(
    options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, crop = streamed_options(hidden=3, **options), Window(Span(20, 50), Span(0, 33))
    network, executed, convolve = network_of(chosen), [], executor.functional.conv2d

    def spy(x: torch.Tensor, weight: torch.Tensor, *words: Any, **named: Any) -> torch.Tensor:
        found = convolve(x, weight, *words, **named)
        executed.append(found[0, 0].numel() * weight.numel())
        return found

    monkeypatch.setattr(executor.functional, "conv2d", spy)
    fast(network, inputs((90, 80), chosen.past_steps), 3, crop=crop, strip=5_000)
    monkeypatch.undo()
    graph = graph_of(chosen, (90, 80), crop, h=3)
    convolved = {i for i in graph.margins if graph.nodes[i].convolves}
    counted = sum(graph.multiply_adds(i) * area(graph.regions[i]) for i in convolved)
    assert sum(executed) == counted
    assert flops(chosen, (0, 2, 0), (90, 80), h=3, crop=crop) > 2 * counted, "and the head"


def area(window: Window) -> int:
    """Pixels of a window."""
    return len(window.y) * len(window.x)


def test_a_default_tile_grows_with_what_a_network_reads_around_it() -> None:
    def best(h: int, around: int = 0, device: str = "cpu") -> int:
        options = streamed_options(hidden=16)
        far = reach(options, h)
        return best_tile(options, (0, 2, 0), h=h, far=far, around=around, device=device)

    assert best(1) == 512
    assert best(20) == best(1, around=300) == 1024
    assert best(1, device="cuda:1") == 1024
