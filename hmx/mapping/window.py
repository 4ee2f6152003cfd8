"""One window of a map: numpy in, numpy out.

Everything else decides which windows, where, and where the result goes. The
networks and the forest are loaded once per process and device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from hmx.cube.grid import Grid
from hmx.cube.values import Rules
from hmx.engine.flags import NO_DATA, QUALITY
from hmx.errors import BundleError
from hmx.hardware import choose_device, computing
from hmx.mapping.bundle import MapBundle
from hmx.mapping.forest import Forest
from hmx.mapping.inputs import Stack, assemble_bands
from hmx.mapping.spec import MapSpec
from hmx.mapping.target import central, inverse, limits_of
from hmx.networks.cnn_lstm import Mapper
from hmx.networks.cnn_lstm import load as load_network
from hmx.networks.dense import dense
from hmx.uncertainty.applicability import Applicability
from hmx.uncertainty.distribution import mean, quantile
from hmx.windows import Span, Window

OUTSIDE, INSIDE, UNKNOWN = 0, 1, NO_DATA["applicable"]  # of the area of applicability


@dataclass(frozen=True)
class MapRequest:
    """What is asked of every window; small, and all that travels to a worker.

    Parameters
    ----------
    bundle : str
        Folder of the bundle.
    digest : str
        The bundle's, to notice when the folder has changed since.
    rules : mapping
        Which numbers of each band are data.
    steps : Span
        Of the time axis, that the network sees.
    level : tuple of float
        Central intervals, percent.
    device : str
        As torch names it, or ``auto``.
    threads : int, optional
        Torch threads that compute a window; default: as torch has them.
    """

    bundle: str
    digest: str
    rules: Mapping[str, Rules]
    steps: Span
    level: tuple[float, ...] = ()
    device: str = "auto"
    threads: int | None = None

    precision: ClassVar[str] = "float32"


@dataclass(frozen=True)
class MapTileGeometry:
    """Where a core lies in what is read, which ends at the edges of the cube.

    Parameters
    ----------
    edge : tuple
        Rows, then columns, that windows reach beyond the cube, before and after.
    inner : Window
        What a network is shown, in pixels of what is read and its edge.
    """

    edge: tuple[tuple[int, int], tuple[int, int]]
    inner: Window

    @classmethod
    def of(cls, core: Window, read: Window, grid: Grid, spec: MapSpec) -> MapTileGeometry:
        """Find the place of a core, both windows in pixels of the cube.

        Parameters
        ----------
        core, read : Window
            What is wanted and what is read for it.
        grid : Grid
            Of the cube.
        spec : MapSpec
            Of the model.
        """
        whole = Window(core.y.grow(spec.halo), core.x.grow(spec.halo))
        spans = ((whole.y, read.y), (whole.x, read.x))
        rows, columns = ((part.start - all_.start, all_.stop - part.stop) for all_, part in spans)
        shown = Window(core.y.grow(spec.margin), core.x.grow(spec.margin))
        return cls((rows, columns), shown.within(whole))

    @property
    def inside(self) -> np.ndarray:
        """Which pixels of ``inner`` lie in the cube, bool, (y, x)."""
        known = []
        for span, (before, after) in zip((self.inner.y, self.inner.x), self.edge, strict=True):
            at, size = np.arange(span.start, span.stop), span.start + span.stop  # of whole
            known.append((at >= before) & (at < size - after))
        return np.asarray(known[0][:, None] & known[1])


@dataclass(frozen=True)
class MapEngine:
    """Networks, and what goes with them, in memory.

    Parameters
    ----------
    bundle : MapBundle
        Where they come from.
    networks : tuple of Mapper
        One, or the members of an ensemble, on the device.
    forest : Forest, optional
        Beside them.
    applicability : Applicability, optional
        Knows what was trained on.
    device : torch.device
        Where the networks are.
    """

    bundle: MapBundle
    networks: tuple[Mapper, ...]
    forest: Forest | None
    applicability: Applicability | None
    device: torch.device

    @classmethod
    def of(cls, bundle: MapBundle, *, device: str = "auto") -> MapEngine:
        """Build what a bundle describes, and move its networks to a device."""
        place = choose_device(device)
        near = bundle.applicability
        networks = (load_network(bundle, m) for m in range(bundle.spec.members))
        return cls(
            bundle,
            tuple(network.to(place) for network in networks),
            Forest.from_arrays(bundle.forest) if bundle.forest else None,
            Applicability.from_arrays(near) if near else None,
            place,
        )

    def estimate(self, stack: Stack, *, threads: int | None = None) -> Estimate:
        """Estimate the target at every pixel whose window lies in a stack.

        Parameters
        ----------
        stack : Stack
            Of a core and half a window around it.
        threads : int, optional
            Torch threads to compute with; default: as torch has them.
        """
        spec = self.bundle.spec
        with computing(threads):
            dynamic, static = (torch.from_numpy(a).to(self.device) for a in vars(stack).values())
            found = [dense(n, dynamic, static).cpu().numpy() for n in self.networks]
        members = np.stack(found)  # (members, q, y, x)
        return mixed(members, spec, self.forest, self.features(stack))

    def features(self, stack: Stack) -> np.ndarray:
        """Return the values of the core's own pixels, (f, y, x)."""
        margin = self.bundle.spec.margin
        rows, columns = (slice(margin, n - margin) for n in stack.static.shape[-2:])
        return stack.features()[:, rows, columns]


@lru_cache(maxsize=4)
def map_engine(path: str, digest: str, device: str) -> MapEngine:
    """Load a bundle once per process and device.

    Raises
    ------
    BundleError
        If the folder no longer holds the bundle the map was asked of.
    """
    bundle = MapBundle.load(path)
    if bundle.digest != digest:
        raise BundleError(
            f"the model at {path!r} has changed since this map was set up. "
            "Call map() again to use the new one."
        )
    return MapEngine.of(bundle, device=device)


@np.errstate(all="ignore")
def map_window(
    request: MapRequest, place: MapTileGeometry, *raw: np.ndarray
) -> dict[str, np.ndarray]:
    """Map one window and crop it to its core.

    Parameters
    ----------
    request : MapRequest
        What is asked.
    place : MapTileGeometry
        Where the core lies in what was read.
    *raw : ndarray
        The spec's dynamic and static bands as stored, in this order; those with time
        have the request's steps.

    Returns
    -------
    dict of ndarray
        ``mean``, ``lo_90`` and ``hi_90`` ... (y, x), native units, NaN where too little is
        known; ``dissimilarity`` likewise, and ``applicable``, uint8, if the model knows
        what it was trained on; ``quality``, uint8.
    """
    run = map_engine(request.bundle, request.digest, request.device)
    spec = run.bundle.spec
    arrays = {
        name: _edged(request.rules[name].clean(values), place)
        for name, values in zip((*spec.dynamic, *spec.static), raw, strict=True)
    }
    known, whole = known_pixels(arrays, spec, place.inner, inside=place.inside)
    flags = np.where(whole, 0, QUALITY["covariate_missing"])
    results = {"quality": np.where(known, flags, QUALITY["no_data"]).astype("uint8")}
    if not known.any():  # the sea costs no computing
        return _nothing(run, request, known.shape) | results
    stack = assemble_bands(arrays, spec, run.bundle.scaler, inner=place.inner)
    found = _native(run, run.estimate(stack, threads=request.threads), request)
    results |= {name: np.where(known, values, np.nan) for name, values in found.items()}
    if run.applicability is not None:
        far = np.full(known.shape, np.nan, "float32")
        far[known] = run.applicability(run.features(stack)[:, known].T)
        inside = np.where(far <= run.applicability.threshold, INSIDE, OUTSIDE)
        results["dissimilarity"] = far
        results["applicable"] = np.where(known, inside, UNKNOWN).astype("uint8")
    return results


def _edged(values: np.ndarray, place: MapTileGeometry) -> np.ndarray:
    """Surround an array by what is missing beyond the edges of the cube."""
    lead = ((0, 0),) * (values.ndim - 2)
    return np.pad(values, (*lead, *place.edge), constant_values=np.nan)


def known_pixels(
    arrays: Mapping[str, np.ndarray],
    spec: MapSpec,
    inner: Window,
    *,
    inside: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Tell where enough is known of a pixel and its window to map it.

    The rule is that of samples: the pixel itself has a value, and so has a share
    ``min_valid`` of the part of its window that lies in the cube, over bands, steps and
    pixels.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Cleaned bands, NaN where missing.
    spec : MapSpec
        Of the model.
    inner : Window
        A core and half a window around it, in pixels of the arrays.
    inside : ndarray of bool, optional
        Which of these lie in the cube. Default: all.

    Returns
    -------
    known, whole : ndarray of bool, (y, x)
        Of the core: where that is so, and where nothing is missing of the pixel.
    """
    number = len(spec.dynamic) * spec.steps + len(spec.static)
    counts = np.zeros(inner.shape, "int32")
    for values in arrays.values():
        here = np.isfinite(values[(..., *inner.slices)])
        counts += here.sum(axis=0) if here.ndim == 3 else here
    side, margin = spec.network.window, spec.margin
    around = sliding_window_view(counts, (side, side)).sum(axis=(-2, -1))
    own = counts[margin : margin + around.shape[0], margin : margin + around.shape[1]]
    there = np.ones(inner.shape, bool) if inside is None else inside
    pixels = sliding_window_view(there, (side, side)).sum(axis=(-2, -1))
    share = around / (number * np.maximum(pixels, 1))
    return (share >= spec.min_valid) & (own > 0), own == number


def _native(run: MapEngine, found: Estimate, request: MapRequest) -> dict[str, np.ndarray]:
    """Turn estimates into the target's units, within its valid range."""
    target, calibration = run.bundle.target, run.bundle.calibration
    values = {"mean": central(found.center, target)}
    for level in request.level:
        low, high = calibration.interval(found.center, found.spread, level)
        values[f"lo_{level:g}"] = inverse(low, target)
        values[f"hi_{level:g}"] = inverse(high, target)
    limits = run.bundle.spec.valid_range or limits_of(target.transform)
    return {name: np.clip(array, *limits).astype("float32") for name, array in values.items()}


def _nothing(run: MapEngine, request: MapRequest, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return the results of a core in which nothing is known."""
    ends = [f"{end}_{level:g}" for level in request.level for end in ("lo", "hi")]
    results = {name: np.full(shape, np.nan, "float32") for name in ("mean", *ends)}
    if run.applicability is not None:
        results["dissimilarity"] = np.full(shape, np.nan, "float32")
        results["applicable"] = np.full(shape, UNKNOWN, "uint8")
    return results


_SIGMA = 0.1587, 0.8413  # one standard deviation below and above the mean of a normal


@dataclass(frozen=True)
class Estimate:
    """What is thought of the target at some pixels.

    Parameters
    ----------
    center : ndarray of float64
        Mean, scaled transformed units.
    spread : ndarray of float64
        How far truths may lie from it, relative to other pixels.
    """

    center: np.ndarray
    spread: np.ndarray


def mixed(
    members: np.ndarray, spec: MapSpec, forest: Forest | None, features: np.ndarray
) -> Estimate:
    """Mix the networks of an ensemble, and the forest.

    Parameters
    ----------
    members : ndarray, (members, q, ...)
        As the networks give them, of pixels in any shape: (n,) or (y, x).
    spec : MapSpec
        Its ``blend`` is the weight of the forest, its network has the knots.
    forest : Forest, optional
        Knows where the target varies, so that its spread is taken if it is there.
    features : ndarray, (f, ...)
        Values of the pixels, for the forest.
    """
    knots, shape = spec.network.knots, members.shape[2:]
    values = members.mean(axis=0, dtype="float64").reshape(members.shape[1], 1, -1)
    center = mean(values, knots) if knots else values[0]
    spread = np.ones_like(center)
    if forest is not None:
        grown, spread = forest.moments(features.reshape(len(features), -1).T)
        center = (1 - spec.blend) * center + spec.blend * grown
    elif knots:
        low, high = (quantile(values, knots, p) for p in _SIGMA)
        spread = (high - low) / 2
    return Estimate(center.reshape(shape), spread.reshape(shape))
