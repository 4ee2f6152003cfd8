"""One window of a forecast: numpy in, numpy out.

Everything else decides which windows, where, and where the result goes. The
network is loaded once per process, device and precision; a lock lets one window
compute at a time with all of torch's threads while other windows are read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from hmx.bundle import Bundle, load
from hmx.cube import Rules
from hmx.errors import BadArgument, BundleError
from hmx.models.forecaster import Forecaster
from hmx.models.kernels import exact_float32
from hmx.models.rollout import Rollout
from hmx.options import Precision
from hmx.samples import assemble
from hmx.windows import Window

_DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}
_computing = threading.Lock()

QUALITY = {"covariate_missing": 1, "history_incomplete": 2, "no_data": 4}


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
    precision: Precision = "float32"
    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class Engine:
    """A network in memory, ready to compute.

    Parameters
    ----------
    bundle : Bundle
        Where it comes from.
    rollout : Rollout
        Its network, on the device.
    device : torch.device
        Where it is.
    precision : str
        Of its convolutions.
    """

    bundle: Bundle
    rollout: Rollout
    device: torch.device
    precision: Precision

    @classmethod
    def of(
        cls, bundle: Bundle, *, precision: Precision = "float32", device: str = "auto"
    ) -> Engine:
        """Move a bundle's network to a device."""
        place = choose_device(device)
        network = Forecaster.load(bundle).to(place, _DTYPES[precision])
        return cls(bundle, Rollout(network, half=precision == "bfloat16"), place, precision)

    def mean(
        self,
        arrays: Mapping[str, np.ndarray],
        h: int,
        crop: Window | None = None,
        *,
        threads: int | None = None,
    ) -> np.ndarray:
        """Forecast the mean of one window, or of its core alone.

        Parameters
        ----------
        arrays : mapping
            Cleaned arrays of the spec's variables; those with time have
            ``history`` steps.
        h : int
            Leads.
        crop : Window, optional
            The core, in pixels of the window; no more than it needs is computed.
            Default: the whole window. A border of the window that is nearer to the
            core than the network's reach counts as an edge of the world.
        threads : int, optional
            Torch threads to compute with; default: as torch has them.

        Returns
        -------
        ndarray
            Native units, (h, y, x); meaningless where the origin is missing.
        """
        inputs = assemble(arrays, self.bundle.spec, self.bundle.scaler)
        with _computing, _threads(threads), torch.inference_mode(), exact_float32():
            tensors = [self._enter(array) for array in inputs.tensors()]
            mean: np.ndarray = self.rollout(*tensors, h=h, crop=crop).cpu().numpy()
        return mean

    def _enter(self, array: np.ndarray) -> torch.Tensor:
        """Move an array to the device; to a GPU through pinned memory, without waiting."""
        tensor = torch.from_numpy(array).to(_DTYPES[self.precision])
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads, which OpenMP counts in each thread; then as before."""
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_computing() -> bool:
    """Tell whether some thread of this process is in the middle of a window."""
    return _computing.locked()


def choose_device(device: str) -> torch.device:
    """Turn a device option into a torch device that exists here.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """
    count = torch.cuda.device_count()
    if device == "auto":
        return torch.device("cuda" if count else "cpu")
    name, _, index = device.partition(":")
    if name == "cpu" and not index:
        return torch.device("cpu")
    if name == "cuda" and (not index or index.isdigit()) and int(index or 0) < count:
        return torch.device(device)
    found = ", ".join(["cpu", *(f"cuda:{i}" for i in range(count))])
    raise BadArgument(f"device={device!r} is not here (found: {found}). Pass device='auto'.")


@lru_cache(maxsize=4)
def engine(path: str, digest: str, precision: Precision, device: str) -> Engine:
    """Load a bundle once per process, precision and device.

    Raises
    ------
    BundleError
        If the folder no longer holds the bundle the forecast was asked of.
    """
    bundle = load(path)
    if bundle.digest != digest:
        raise BundleError(
            f"the model at {path!r} has changed since this forecast was set up. "
            "Call forecast() again to use the new one."
        )
    return Engine.of(bundle, precision=precision, device=device)


def forecast_window(request: Request, crop: Window, *raw: np.ndarray) -> dict[str, np.ndarray]:
    """Forecast one window and crop it to its core.

    Parameters
    ----------
    request : Request
        What is asked.
    crop : Window
        The core, in pixels of the window.
    *raw : ndarray
        The spec's target, dynamic and static variables as stored, in this
        order; those with time have ``history`` steps.

    Returns
    -------
    dict of ndarray
        ``mean`` (h, y, x), ``lo_80`` and ``hi_80`` ... alike, ``quantile``
        (q, h, y, x), all NaN where the origin step has no data, and
        ``quality`` (y, x), uint8.
    """
    run = engine(request.bundle, request.digest, request.precision, request.device)
    spec = run.bundle.spec
    dtype = "float64" if request.precision == "float64" else "float32"
    names = (spec.target, *spec.dynamic, *spec.static)
    arrays = {
        name: request.rules[name].clean(values, dtype)
        for name, values in zip(names, raw, strict=True)
    }
    core = {name: array[(..., *crop.slices)] for name, array in arrays.items()}
    origin = core[spec.target][-1]
    results: dict[str, np.ndarray] = {"quality": quality(core, spec.target)}
    if np.isfinite(origin).any():
        mean = run.mean(arrays, request.h, crop, threads=request.threads)
    else:  # nothing to forecast: the sea costs no computing
        mean = np.broadcast_to(origin, (request.h, *origin.shape))
    results["mean"] = np.where(np.isfinite(origin), mean, np.nan).astype(dtype)
    return results | distribution(run.bundle, results["mean"], origin, request)


def distribution(
    bundle: Bundle, mean: np.ndarray, origin: np.ndarray, request: Request
) -> dict[str, np.ndarray]:
    """Compute what is asked for around the mean, pixel by pixel.

    Parameters
    ----------
    bundle : Bundle
        Brings the calibration.
    mean : ndarray
        Central estimate, (h, y, x).
    origin : ndarray
        Last observed state, (y, x).
    request : Request
        Names levels and quantiles.

    Returns
    -------
    dict of ndarray
        Ends of intervals, each (h, y, x), and ``quantile``, (q, h, y, x).
    """
    found = {}
    for level in request.level:
        tail = (1 - level / 100) / 2
        found[f"lo_{level:g}"] = spread(bundle, mean, origin, tail)
        found[f"hi_{level:g}"] = spread(bundle, mean, origin, 1 - tail)
    if request.quantiles:
        quantiles = [spread(bundle, mean, origin, q) for q in request.quantiles]
        found["quantile"] = np.stack(quantiles)
    return found


def spread(bundle: Bundle, mean: np.ndarray, origin: np.ndarray, probability: float) -> np.ndarray:
    """Compute one quantile at every lead, within the target's valid range."""
    leads = [
        bundle.calibration.quantile(ahead, origin, lead=lead, probability=probability)
        for lead, ahead in enumerate(mean, start=1)
    ]
    low, high = bundle.spec.valid_range or (None, None)
    values = np.stack(leads)
    return values if low is None and high is None else np.clip(values, low, high)


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
