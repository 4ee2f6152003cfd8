"""One window of a forecast: numpy in, numpy out.

Other modules choose the windows and store the results. A
network is loaded once per process, device and precision; a lock lets one window
compute at a time with all of torch's threads while other windows are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self, cast

import numpy as np
import torch

from hmx.bundles.folder import load_unchanged
from hmx.cube.grid import Grid
from hmx.cube.values import Rules
from hmx.engine.result import QUALITY
from hmx.features.terrain import row_sizes
from hmx.forecast.beyond import keep_width, learnt_leads, outward
from hmx.forecast.bundle import Bundle
from hmx.forecast.inputs import Inputs, PixelSize, assemble
from hmx.forecast.spec import Spec
from hmx.hardware import choose_device, computing
from hmx.networks.base import layers_of
from hmx.networks.forecaster import Forecaster, channels_last, reach
from hmx.networks.inputs import NetworkInputs
from hmx.networks.options import Precision
from hmx.networks.stream.executor import Executor
from hmx.uncertainty.calibration import Strata
from hmx.uncertainty.distribution import Floats, alike, mean, namespace, settle
from hmx.uncertainty.exceed import exceedance
from hmx.uncertainty.mixing import mixture
from hmx.windows import STEP, Window, bounding, with_halo

# bfloat16 is a type of the convolutions alone (autocast): inputs and sums stay in float32
_BAND = 16384  # pixels: 13 knots of a lead are 0.8 MiB
_DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class ForecastRequest:
    """The settings of every window of a forecast: small, as it travels to each worker."""

    bundle: str  # folder
    digest: str  # of the bundle, to notice when the folder has changed since
    rules: Mapping[str, Rules]  # which numbers of each variable are data
    h: int
    level: tuple[float, ...] = ()  # central intervals, percent
    quantiles: tuple[float, ...] = ()  # between 0 and 1
    exceed: tuple[float, ...] = ()  # thresholds, native units
    precision: Precision = "float32"  # never "auto": that is resolved once per run
    device: str = "auto"
    threads: int | None = None  # of torch; default: as torch has them

    def with_threads(self, threads: int | None) -> Self:
        """Return the same request, computed with so many torch threads."""
        return replace(self, threads=threads)

    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Return the names of the floats of a window, with their leading shape."""
        ends = [f"{end}_{level:g}" for level in self.level for end in ("lo", "hi")]
        outputs: dict[str, tuple[int, ...]] = dict.fromkeys(["mean", *ends], (self.h,))
        if self.quantiles:
            outputs["quantile"] = (len(self.quantiles), self.h)
        if self.exceed:
            outputs["exceedance"] = (len(self.exceed), self.h)
        return outputs


@dataclass(frozen=True)
class Engine:
    """The networks of a bundle on a device: one, or the members of an ensemble."""

    bundle: Bundle
    networks: tuple[Executor | Forecaster, ...]
    device: torch.device
    precision: Precision

    @classmethod
    def of(
        cls, bundle: Bundle, *, precision: Precision = "float32", device: str = "auto"
    ) -> Engine:
        """Move a bundle's networks to a device."""
        chosen, half = choose_device(device), precision == "bfloat16"
        loaded = (Forecaster.load(bundle, member) for member in range(bundle.spec.members))
        moved = (network.to(chosen, _DTYPES[precision]) for network in loaded)
        layers = layers_of(bundle.spec.network)
        networks = (
            channels_last(network) if layers is None else Executor(network, layers, half=half)
            for network in moved
        )
        return cls(bundle, tuple(networks), chosen, precision)

    def knots(
        self, inputs: Inputs, h: int, crop: Window | None = None, *, threads: int | None = None
    ) -> np.ndarray:
        """Forecast the distributions of one window, or of its core alone."""
        crop = crop or Window.of(inputs.past.shape[-2:])
        members = self.members(inputs, h, crop, threads=threads)
        inner, found = inputs.at(crop.slices), np.empty(tuple(members[0].shape), inputs.past.dtype)
        for rows in bands(members[0]):
            found[..., rows, :] = on_host(self.settled(members, inner, rows))
        return found

    def members(
        self, inputs: Inputs, h: int, crop: Window, *, threads: int | None = None
    ) -> list[Floats]:
        """Run all networks on one window: (h, q, y, x) of its core each, on their device."""
        with computing(threads):
            seen = NetworkInputs(*(self.to_device(array) for array in inputs.tensors()))
            return [self.run(network, seen, h, crop) for network in self.networks]

    def settled(self, members: Sequence[Floats], inner: Inputs, rows: slice) -> Floats:
        """Mix, settle and adjust some rows of the members' distributions, (h, q, rows, x)."""
        spec, scaler = self.bundle.spec, self.bundle.scaler
        origin = alike(inner.past[-1, rows], members[0])
        mixed = mixture([member[..., rows, :] for member in members], spec.network.knots)
        settled = settle(mixed, origin, tolerance=scaler.tolerance, valid_range=spec.valid_range)
        distance = None if inner.distance is None else inner.distance[rows]
        return self.bundle.calibration.adjust(settled, spec.network.knots, origin, distance)

    def run(
        self, network: Executor | Forecaster, seen: NetworkInputs, h: int, crop: Window
    ) -> Floats:
        """Run one network on one window, (h, q, y, x) of its core, as a tensor on a GPU."""
        batch = NetworkInputs(*(tensor[None] for tensor in seen))
        half = self.precision == "bfloat16" and isinstance(network, Forecaster)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            found = network(batch, h=h, crop=crop.slices)[0]
        # what is computed of a tensor by `xp` functions stays on its device
        return cast(Floats, found.numpy() if found.device.type == "cpu" else found)

    def to_device(self, array: np.ndarray) -> torch.Tensor:
        """Move an array to the device; to a GPU through pinned memory, without waiting."""
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(_DTYPES[self.precision])
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)


@lru_cache(maxsize=4)  # few: each entry takes memory of the device
def engine(path: str, digest: str, precision: Precision, device: str) -> Engine:
    """Load a bundle once per process, precision and device, if it still has this digest."""
    bundle = load_unchanged(Bundle, path, digest, "forecast")
    return Engine.of(bundle, precision=precision, device=device)


@np.errstate(all="ignore")
def forecast_window(
    request: ForecastRequest, geometry: TileGeometry, *raw: np.ndarray
) -> dict[str, np.ndarray]:
    """Forecast one window and crop it to its core."""
    run = engine(request.bundle, request.digest, request.precision, request.device)
    spec = run.bundle.spec
    dtype = "float64" if request.precision == "float64" else "float32"
    names = (spec.target, *spec.dynamic, *spec.static)
    arrays = {
        name: request.rules[name].clean(values, dtype)
        for name, values in zip(names, raw, strict=True)
    }
    core = {name: array[(..., *geometry.crop.slices)] for name, array in arrays.items()}
    origin = core[spec.target][spec.network.past_steps - 1]
    floats = {
        name: np.full((*lead, *origin.shape), np.nan, dtype)
        for name, lead in request.outputs().items()
    }
    known = np.isfinite(origin)
    if known.any():  # a core of sea or nodata is not computed
        at = bounding(known, step=STEP)  # nor are rows and columns of sea around a coast
        geometry = geometry.narrowed(at, reach(spec.network, request.h, spec.h))
        inputs = assemble(
            arrays, spec, run.bundle.scaler, inner=geometry.inner, pixel_size=geometry.pixel_size
        )
        members = run.members(inputs, request.h, geometry.core, threads=request.threads)
        inner = inputs.at(geometry.core.slices)
        part = {name: values[(..., *at.slices)] for name, values in floats.items()}  # views
        for rows in bands(members[0]):
            for name, block in _read(run, members, inner, rows, request).items():
                part[name][..., rows, :] = on_host(block)
        for values in floats.values():
            values[..., ~known] = np.nan
    return {"quality": quality(core, spec.target), **floats}


def _read(
    run: Engine, members: Sequence[Floats], inner: Inputs, rows: slice, request: ForecastRequest
) -> dict[str, Floats]:
    """Compute all outputs of some rows of a window."""
    with torch.inference_mode():  # for tensors
        knots = run.settled(members, inner, rows)
        distance = None if inner.distance is None else inner.distance[rows]
        found = {"mean": mean(knots, run.bundle.spec.network.knots)}
        return found | distribution(run.bundle, knots, distance, request)


def bands(values: Floats) -> Iterator[slice]:
    """Cut the rows of an array (..., y, x) into bands; on a GPU there is one.

    A distribution takes some dozens of passes over an array. The bands of one lead, and all that
    is made of them, fit in the cache of a CPU core, which makes the passes several times faster.
    """
    height, width = values.shape[-2:]
    rows = max(1, _BAND // width) if namespace(values) is np else height
    for start in range(0, height, rows):
        yield slice(start, start + rows)


def on_host(values: Floats) -> Floats:
    """Return values as a NumPy array, moved from a GPU if need be."""
    moved: Floats = values if namespace(values) is np else cast(Any, values).cpu().numpy()
    return moved


def distribution(
    bundle: Bundle, knots: Floats, distance: Floats | None, request: ForecastRequest
) -> dict[str, Floats]:
    """Compute intervals, (h, y, x), quantiles and exceedances, (n, h, y, x), of a request.

    From settled ``knots``, native units, (h, q, y, x), and ``distance`` to past change, px.
    """
    tails = [(1 - level / 100) / 2 for level in request.level]
    ends = [f"{end}_{level:g}" for level in request.level for end in ("lo", "hi")]
    asked = [p for tail in tails for p in (tail, 1 - tail)] + list(request.quantiles)
    found: dict[str, Floats] = {}
    if request.exceed or len(knots) > learnt_leads(bundle):  # what is written for arrays alone
        knots = on_host(knots)
    knots = outward(knots, learnt_leads(bundle), bundle.spec.network.knots.index(0.5))
    type_of = np.dtype("float64" if request.precision == "float64" else "float32")
    strata = Strata.of(distance, bundle.calibration.nodes, type_of)
    near = None if strata is None else strata.beside(knots)  # once for all leads and levels
    if asked:
        values = calibrated(bundle, knots, near, asked)
        found = dict(zip(ends, values, strict=False))
        if request.quantiles:
            found["quantile"] = values[len(ends) :]
    if request.exceed:
        found["exceedance"] = np.stack([above(bundle, knots, near, x) for x in request.exceed])
    return found


def calibrated(
    bundle: Bundle, knots: Floats, distance: Floats | Strata | None, probabilities: Sequence[float]
) -> Floats:
    """Compute calibrated quantiles at every lead, within the valid range, (n, h, y, x).

    The knots of extrapolated leads are those after :func:`hmx.forecast.beyond.outward`.
    """
    spec, learnt, xp = bundle.spec, learnt_leads(bundle), namespace(knots)
    leads = [
        bundle.calibration.quantiles(
            values, spec.network.knots, distance,
            lead=min(lead, learnt), probabilities=probabilities,
        )
        for lead, values in enumerate(knots, start=1)
    ]  # fmt: skip
    found: Floats = xp.stack(leads, 1)
    low, high = spec.valid_range or (None, None)
    if low is not None or high is not None:
        xp.clip(found, low, high, out=found)
        if len(knots) > learnt:
            last, later = knots[learnt - 1], found[:, learnt:]
            keep_width(bundle, last, later, distance, probabilities)
    return found


def above(
    bundle: Bundle, knots: Floats, distance: Floats | Strata | None, threshold: float
) -> Floats:
    """Compute the probability of more than a threshold at every lead, (h, y, x)."""
    spec, learnt = bundle.spec, learnt_leads(bundle)
    low, high = spec.valid_range or (None, None)
    if low is not None and threshold < low:  # quantiles are clipped there
        return np.ones((len(knots), *knots.shape[-2:]), knots.dtype)
    if high is not None and threshold >= high:
        return np.zeros((len(knots), *knots.shape[-2:]), knots.dtype)
    return np.stack(
        [
            exceedance(
                bundle.calibration, values, spec.network.knots, distance,
                lead=min(lead, learnt), threshold=threshold,
            )
            for lead, values in enumerate(knots, start=1)
        ]
    )  # fmt: skip


def quality(arrays: Mapping[str, np.ndarray], target: str) -> np.ndarray:
    """Flag pixels with incomplete inputs, uint8 (y, x)."""
    series = np.isfinite(arrays[target])
    others = [np.isfinite(array) for name, array in arrays.items() if name != target]
    known = [mask.all(axis=0) if mask.ndim == 3 else mask for mask in others]
    flags = np.zeros(series.shape[1:], "uint8")
    if known:
        flags[~np.logical_and.reduce(known)] |= QUALITY["covariate_missing"]
    flags[~series[:-1].all(axis=0)] |= QUALITY["history_incomplete"]
    flags[~series[-1]] = QUALITY["no_data"]  # replaces the others: there is no forecast to flag
    return flags


@dataclass(frozen=True)
class TileGeometry:
    """A core, inside the input of the network, inside the pixels that are read."""

    inner: Window  # input of the network, in pixels of the read window
    core: Window  # pixels of the result, in pixels of ``inner``
    pixel_size: PixelSize = (1.0, 1.0)  # of each row that is read, or of all, metres

    @property
    def crop(self) -> Window:
        """The core, in pixels of the read window."""
        rows, cols = self.inner.y.start, self.inner.x.start
        return Window(self.core.y.shift(rows), self.core.x.shift(cols))

    @classmethod
    def of(cls, core: Window, read: Window, grid: Grid, spec: Spec, *, h: int) -> TileGeometry:
        """Nest a core in the window read for it, both in pixels of the cube."""
        far = reach(spec.network, h, spec.h)
        inner = with_halo(core, grid.shape, halo=far, wraps=grid.wraps)
        size = row_sizes(grid, read) if spec.context.terrain else (1.0, 1.0)
        return cls(inner.within(read), core.within(inner), size)

    def narrowed(self, part: Window, far: int) -> TileGeometry:
        """Nest a part of the core, in pixels of the core, which depends on pixels ``far`` away."""
        core = Window(part.y.shift(self.core.y.start), part.x.shift(self.core.x.start))
        inner = with_halo(core, self.inner.shape, halo=far, wraps=False)
        rows, cols = self.inner.y.start, self.inner.x.start
        whole = Window(inner.y.shift(rows), inner.x.shift(cols))
        return replace(self, inner=whole, core=core.within(inner))


def halo(spec: Spec, h: int) -> int:
    """Return the number of true pixels read around a core: reach of network and context."""
    return reach(spec.network, h, spec.h) + spec.context.halo
