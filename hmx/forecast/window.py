"""One window of a forecast: numpy in, numpy out.

Everything else decides which windows, where, and where the result goes. The
network is loaded once per process, device and precision; a lock lets one window
compute at a time with all of torch's threads while other windows are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
import torch

from hmx.cube.grid import Grid
from hmx.cube.values import Rules
from hmx.engine.flags import QUALITY
from hmx.errors import BundleError
from hmx.features.terrain import row_sizes
from hmx.forecast.bundle import Bundle
from hmx.forecast.inputs import Inputs, PixelSize, assemble
from hmx.forecast.spec import Spec
from hmx.hardware import choose_device, computing
from hmx.networks.cost import streams
from hmx.networks.forecaster import Forecaster, NetworkInputs, channels_last, reach
from hmx.networks.options import Precision
from hmx.networks.stream.rollout import Rollout
from hmx.uncertainty.distribution import mean, mixture, rank, settle
from hmx.windows import Window, with_halo

_DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Request:
    """What is asked of every window; small, and all that travels to a worker.

    Parameters
    ----------
    bundle : str
        Folder of the bundle.
    digest : str
        The bundle's, to notice when the folder has changed since.
    rules : mapping
        Which numbers of each variable are data.
    h : int
        Leads.
    level : tuple of float
        Central intervals, percent.
    quantiles : tuple of float
        Between 0 and 1.
    exceed : tuple of float
        Thresholds, native units.
    precision : str
        ``float32``, ``bfloat16`` or ``float64``.
    device : str
        As torch names it, or ``auto``.
    threads : int, optional
        Torch threads that compute a window; default: as torch has them.
    """

    bundle: str
    digest: str
    rules: Mapping[str, Rules]
    h: int
    level: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()
    exceed: tuple[float, ...] = ()
    precision: Precision = "float32"
    device: str = "auto"
    threads: int | None = None

    def with_threads(self, threads: int | None) -> Self:
        """Return the same request, computed with so many torch threads."""
        return replace(self, threads=threads)


@dataclass(frozen=True)
class Engine:
    """Networks in memory, ready to compute.

    Parameters
    ----------
    bundle : Bundle
        Where they come from.
    networks : tuple
        One, or the members of an ensemble, on the device.
    device : torch.device
        Where they are.
    precision : str
        Of their convolutions.
    """

    bundle: Bundle
    networks: tuple[Rollout | Forecaster, ...]
    device: torch.device
    precision: Precision

    @classmethod
    def of(
        cls, bundle: Bundle, *, precision: Precision = "float32", device: str = "auto"
    ) -> Engine:
        """Move a bundle's networks to a device."""
        place, half = choose_device(device), precision == "bfloat16"
        loaded = (Forecaster.load(bundle, member) for member in range(bundle.spec.members))
        moved = (network.to(place, _DTYPES[precision]) for network in loaded)
        if streams(bundle.spec.network) and not bundle.spec.future:
            return cls(bundle, tuple(Rollout(n, half=half) for n in moved), place, precision)
        return cls(bundle, tuple(channels_last(n) for n in moved), place, precision)

    def knots(
        self, inputs: Inputs, h: int, crop: Window | None = None, *, threads: int | None = None
    ) -> np.ndarray:
        """Forecast the distributions of one window, or of its core alone.

        Parameters
        ----------
        inputs : Inputs
            What is shown.
        h : int
            Leads.
        crop : Window, optional
            The core, in pixels of the inputs; no more than it needs is computed.
            Default: all. A border that is nearer to the core than the network's
            reach counts as an edge of the world.
        threads : int, optional
            Torch threads to compute with; default: as torch has them.

        Returns
        -------
        ndarray
            Values of the knots, native units, settled and damped, (h, q, y, x);
            meaningless where the origin is missing.
        """
        spec, scaler = self.bundle.spec, self.bundle.scaler
        crop = crop or Window.of(inputs.past.shape[-2:])
        with computing(threads):
            seen = NetworkInputs(*(self._enter(array) for array in inputs.tensors()))
            members = [self._run(network, seen, h, crop) for network in self.networks]
        origin = inputs.past[(-1, *crop.slices)]
        mixed = mixture(members, spec.network.knots)
        settled = settle(mixed, origin, tolerance=scaler.tolerance, valid_range=spec.valid_range)
        near = None if inputs.distance is None else inputs.distance[crop.slices]
        return self.bundle.calibration.damp(settled, origin, near)

    def _run(
        self, network: Rollout | Forecaster, seen: NetworkInputs, h: int, crop: Window
    ) -> np.ndarray:
        if isinstance(network, Rollout):
            found = network(seen, h=h, crop=crop)
        else:
            batch = NetworkInputs(*(tensor[None] for tensor in seen))
            half = self.precision == "bfloat16"
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                found = network(batch, h=h, crop=crop.slices)[0]
        values: np.ndarray = found.cpu().numpy()
        return values

    def _enter(self, array: np.ndarray) -> torch.Tensor:
        """Move an array to the device; to a GPU through pinned memory, without waiting."""
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(_DTYPES[self.precision])
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)


@lru_cache(maxsize=4)
def engine(path: str, digest: str, precision: Precision, device: str) -> Engine:
    """Load a bundle once per process, precision and device.

    Raises
    ------
    BundleError
        If the folder no longer holds the bundle the forecast was asked of.
    """
    bundle = Bundle.load(path)
    if bundle.digest != digest:
        raise BundleError(
            f"the model at {path!r} has changed since this forecast was set up. "
            "Call forecast() again to use the new one."
        )
    return Engine.of(bundle, precision=precision, device=device)


@np.errstate(all="ignore")
def forecast_window(
    request: Request, place: TileGeometry, *raw: np.ndarray
) -> dict[str, np.ndarray]:
    """Forecast one window and crop it to its core.

    Parameters
    ----------
    request : Request
        What is asked.
    place : TileGeometry
        Where the core lies in what was read.
    *raw : ndarray
        The spec's target, dynamic and static variables as stored, in this
        order; those with time have ``history`` steps.

    Returns
    -------
    dict of ndarray
        ``mean`` (h, y, x), ``lo_80`` and ``hi_80`` ... alike, ``quantile``
        (q, h, y, x) and ``exceedance`` (thresholds, h, y, x), all NaN where the
        origin step has no data, and ``quality`` (y, x), uint8.
    """
    run = engine(request.bundle, request.digest, request.precision, request.device)
    spec = run.bundle.spec
    dtype = "float64" if request.precision == "float64" else "float32"
    names = (spec.target, *spec.dynamic, *spec.static)
    arrays = {
        name: request.rules[name].clean(values, dtype)
        for name, values in zip(names, raw, strict=True)
    }
    core = {name: array[(..., *place.crop.slices)] for name, array in arrays.items()}
    results: dict[str, np.ndarray] = {"quality": quality(core, spec.target)}
    knots, distance = _knots(run, arrays, place, request)
    results["mean"] = mean(knots, spec.network.knots)
    results |= distribution(run.bundle, knots, distance, request)
    return results


def _knots(
    run: Engine, arrays: Mapping[str, np.ndarray], place: TileGeometry, request: Request
) -> tuple[np.ndarray, np.ndarray | None]:
    """Forecast the knots of a core, NaN without an origin, and its distance to change."""
    spec = run.bundle.spec
    origin = arrays[spec.target][(spec.network.history - 1, *place.crop.slices)]
    if not np.isfinite(origin).any():  # nothing to forecast: the sea costs no computing
        shape = (request.h, len(spec.network.knots), *origin.shape)
        return np.full(shape, np.nan, origin.dtype), None
    inputs = assemble(
        arrays, spec, run.bundle.scaler, inner=place.inner, pixel_size=place.pixel_size
    )
    knots = run.knots(inputs, request.h, place.core, threads=request.threads)
    knots[..., ~np.isfinite(origin)] = np.nan
    distance = inputs.distance
    return knots, None if distance is None else distance[place.core.slices]


def distribution(
    bundle: Bundle, knots: np.ndarray, distance: np.ndarray | None, request: Request
) -> dict[str, np.ndarray]:
    """Compute what is asked for beside the mean, pixel by pixel.

    Parameters
    ----------
    bundle : Bundle
        Brings the calibration.
    knots : ndarray
        Settled, native units, (h, q, y, x).
    distance : ndarray, optional
        To past change, px, (y, x).
    request : Request
        Names levels, quantiles and thresholds.

    Returns
    -------
    dict of ndarray
        Ends of intervals, each (h, y, x), ``quantile``, (q, h, y, x), and
        ``exceedance``, (thresholds, h, y, x).
    """
    found = {}
    for level in request.level:
        tail = (1 - level / 100) / 2
        found[f"lo_{level:g}"] = calibrated(bundle, knots, distance, tail)
        found[f"hi_{level:g}"] = calibrated(bundle, knots, distance, 1 - tail)
    if request.quantiles:
        quantiles = [calibrated(bundle, knots, distance, q) for q in request.quantiles]
        found["quantile"] = np.stack(quantiles)
    if request.exceed:
        above = [exceedance(bundle, knots, distance, x) for x in request.exceed]
        found["exceedance"] = np.stack(above)
    return found


def calibrated(
    bundle: Bundle, knots: np.ndarray, distance: np.ndarray | None, probability: float
) -> np.ndarray:
    """Compute one calibrated quantile at every lead, within the valid range, (h, y, x)."""
    spec = bundle.spec
    leads = [
        bundle.calibration.quantile(
            values, spec.network.knots, distance, lead=lead, probability=probability
        )
        for lead, values in enumerate(knots, start=1)
    ]
    low, high = spec.valid_range or (None, None)
    values = np.stack(leads)
    return values if low is None and high is None else np.clip(values, low, high)


def exceedance(
    bundle: Bundle, knots: np.ndarray, distance: np.ndarray | None, threshold: float
) -> np.ndarray:
    """Compute the probability of more than a threshold at every lead, (h, y, x)."""
    levels = bundle.spec.network.knots
    found = np.empty((len(knots), *knots.shape[-2:]), knots.dtype)
    for lead, values in enumerate(knots, start=1):
        at = np.full(values.shape[1:], threshold, values.dtype)
        below = rank(values, levels, at, np.ones_like(at))
        found[lead - 1] = 1 - bundle.calibration.probability(below, distance, lead=lead)
    found[:, np.isnan(knots[0, 0])] = np.nan
    return found


def quality(arrays: Mapping[str, np.ndarray], target: str) -> np.ndarray:
    """Flag pixels that were forecast from less than everything, uint8 (y, x)."""
    series = np.isfinite(arrays[target])
    others = [np.isfinite(array) for name, array in arrays.items() if name != target]
    known = [mask.all(axis=0) if mask.ndim == 3 else mask for mask in others]
    flags = np.zeros(series.shape[1:], "uint8")
    if known:
        flags[~np.logical_and.reduce(known)] |= QUALITY["covariate_missing"]
    flags[~series[:-1].all(axis=0)] |= QUALITY["history_incomplete"]
    flags[~series[-1]] = QUALITY["no_data"]  # nothing was forecast, so nothing else is said
    return flags


@dataclass(frozen=True)
class TileGeometry:
    """A core, inside what a network is shown, inside what is read.

    Parameters
    ----------
    inner : Window
        What a network is shown, in pixels of what is read.
    core : Window
        What is wanted, in pixels of ``inner``.
    pixel_size : tuple of float or ndarray
        Of each row that is read, or of all, metres.
    """

    inner: Window
    core: Window
    pixel_size: PixelSize = (1.0, 1.0)

    @property
    def crop(self) -> Window:
        """The core, in pixels of what is read."""
        rows, cols = self.inner.y.start, self.inner.x.start
        return Window(self.core.y.shift(rows), self.core.x.shift(cols))

    @classmethod
    def of(cls, core: Window, read: Window, grid: Grid, spec: Spec, *, h: int) -> TileGeometry:
        """Find the place of a core, both windows in pixels of the cube.

        Parameters
        ----------
        core, read : Window
            What is wanted and what is read for it.
        grid : Grid
            Of the cube.
        spec : Spec
            Of the model.
        h : int
            Leads.
        """
        far = reach(spec.network, h)
        inner = with_halo(core, grid.shape, halo=far, wraps=grid.wraps)
        size = row_sizes(grid, read) if spec.context.terrain else (1.0, 1.0)
        return cls(inner.within(read), core.within(inner), size)


def halo(spec: Spec, h: int) -> int:
    """Tell how many true pixels are read around a core: of network and context."""
    return reach(spec.network, h) + spec.context.halo
