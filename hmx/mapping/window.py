"""One window of a map: numpy in, numpy out.

Other modules decide which windows, and where the result goes. The networks and the
regressions are loaded once per process and device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from hmx.bundles.folder import load_unchanged
from hmx.cube.grid import Grid
from hmx.cube.values import Rules
from hmx.engine.result import NO_DATA, QUALITY
from hmx.hardware import choose_device, computing
from hmx.mapping.bundle import MapBundle
from hmx.mapping.classes import unknown_classes
from hmx.mapping.inputs import ScaledWindows, Stack, assemble_bands, centre
from hmx.mapping.kriging import Kriging
from hmx.mapping.masks import Mask
from hmx.mapping.options import Central
from hmx.mapping.process import Regressions
from hmx.mapping.spec import MapSpec
from hmx.mapping.target import central, inverse, limits_of
from hmx.networks.cnn_lstm import Mapper
from hmx.networks.cnn_lstm import load as load_network
from hmx.networks.dense import dense
from hmx.splits.distances import lonlat_of
from hmx.uncertainty.applicability import Applicability
from hmx.uncertainty.distribution import mean, quantile
from hmx.windows import STEP, Span, Window, bounding

OUTSIDE, INSIDE, UNKNOWN = 0, 1, NO_DATA["applicable"]  # of the area of applicability
_NODES, _SHARES = np.polynomial.legendre.leggauss(32)  # of -1 to 1
_INTEGRAL = tuple(zip((_NODES + 1) / 2, _SHARES / 2, strict=True))  # probabilities, weights
_WINDOWS = 1024  # windows computed at a time
_SIGMA = 0.1587, 0.8413  # one standard deviation below and above the mean of a normal


@dataclass(frozen=True)
class MapRequest:
    """The same request for every window; small, because each task of a worker carries it."""

    bundle: str  # folder
    digest: str  # of the bundle, to notice that the folder has changed since
    rules: Mapping[str, Rules]  # which numbers of each band are data
    steps: Span  # of the time axis, for the network
    level: tuple[float, ...] = ()  # central intervals, percent
    quantiles: tuple[float, ...] = ()  # between 0 and 1
    estimate: Central = "model"
    mask: Mask = field(default_factory=Mask)
    depths: tuple[tuple[float, float], ...] = ()  # cm; empty for a model without depths
    device: str = "auto"  # as torch names it, or auto
    threads: int | None = None  # torch threads of a window; None: torch's default

    precision: ClassVar[str] = "float32"

    def with_threads(self, threads: int | None) -> Self:
        """Return the same request, computed with so many torch threads."""
        return replace(self, threads=threads)


@dataclass(frozen=True)
class MapTileGeometry:
    """Position of a core in the pixels read for it, which end at the edges of the cube."""

    # rows, then columns, that windows reach beyond the cube, before and after
    edge: tuple[tuple[int, int], tuple[int, int]]
    inner: Window  # pixels of the network's inputs, counted in what is read plus the edge
    # The core in pixels of the cube, and its grid; only for a mask of polygons or kriging, as tasks
    # are small
    place: tuple[Window, Grid] | None = None

    @classmethod
    def of(cls, core: Window, read: Window, grid: Grid, spec: MapSpec) -> MapTileGeometry:
        """Locate a core, both windows in pixels of the cube."""
        whole = core.grow(spec.halo)
        spans = ((whole.y, read.y), (whole.x, read.x))
        rows, columns = ((part.start - all_.start, all_.stop - part.stop) for all_, part in spans)
        window = core.grow(spec.margin)
        return cls((rows, columns), window.within(whole))

    @property
    def inside(self) -> np.ndarray:
        """Which pixels of ``inner`` lie in the cube, bool, (y, x)."""
        known = []
        for span, (before, after) in zip((self.inner.y, self.inner.x), self.edge, strict=True):
            # inner lies in the middle of the whole, so start + stop is the size of the whole
            at, size = np.arange(span.start, span.stop), span.start + span.stop
            known.append((at >= before) & (at < size - after))
        return np.asarray(known[0][:, None] & known[1])


@dataclass(frozen=True)
class MapEngine:
    """The networks of a bundle, its regressions, area of applicability and kriging, in memory."""

    bundle: MapBundle
    networks: tuple[Mapper, ...]  # one, or the members of an ensemble, on the device
    regressions: Regressions
    applicability: Applicability | None
    kriging: Kriging | None
    device: torch.device

    @classmethod
    def of(cls, bundle: MapBundle, *, device: str = "auto") -> MapEngine:
        """Build the networks of a bundle, and move them to a device."""
        chosen, area = choose_device(device), bundle.applicability
        networks = (load_network(bundle, m) for m in range(bundle.spec.members))
        return cls(
            bundle,
            tuple(network.to(chosen) for network in networks),
            Regressions.from_arrays(bundle.forest, bundle.process),
            Applicability.from_arrays(area) if area else None,
            Kriging.from_arrays(bundle.kriging) if bundle.kriging else None,
            chosen,
        )

    def estimate(self, stack: Stack, *, threads: int | None = None) -> Estimate:
        """Estimate the target at every pixel whose window lies in a stack."""
        with computing(threads):
            dynamic, static = (torch.from_numpy(a).to(self.device) for a in vars(stack).values())
            estimates = [dense(n, dynamic, static).cpu().numpy() for n in self.networks]
        members = np.stack(estimates)  # (members, q, y, x)
        return mixed(members, self.bundle.spec, self.regressions, self.features(stack))

    def estimate_windows(self, windows: ScaledWindows) -> Estimate:
        """Estimate the target at the centre of windows, (n,)."""
        with computing(None):
            dynamic, static = (torch.from_numpy(a).to(self.device) for a in vars(windows).values())
            chunks = [
                (dynamic[at : at + _WINDOWS], static[at : at + _WINDOWS])
                for at in range(0, len(windows), _WINDOWS)
            ]
            members = [
                torch.cat([network(*chunk) for chunk in chunks]).T.cpu().numpy()
                for network in self.networks
            ]
        return mixed(np.stack(members), self.bundle.spec, self.regressions, centre(windows).T)

    def features(self, stack: Stack) -> np.ndarray:
        """Return the values of the core's own pixels, (f, y, x)."""
        margin = self.bundle.spec.margin
        rows, columns = (slice(margin, n - margin) for n in stack.static.shape[-2:])
        return stack.features()[:, rows, columns]


@lru_cache(maxsize=4)  # a worker serves few models; each holds its device memory
def map_engine(path: str, digest: str, device: str) -> MapEngine:
    """Load a bundle once per process and device; raise :class:`BundleError` if it has changed."""
    bundle = load_unchanged(MapBundle, path, digest, "map")
    return MapEngine.of(bundle, device=device)


@np.errstate(all="ignore")  # NaN is missing data here, and every result is masked by `known`
def map_window(
    request: MapRequest, geometry: MapTileGeometry, *raw: np.ndarray
) -> dict[str, np.ndarray]:
    """Map one window and crop it to its core; `raw` has the bands as stored, in the spec's order.

    The result has ``mean``, ``lo_90`` and ``hi_90`` ... (y, x) and ``quantile`` (q, y, x), native
    units, NaN where too little is known, and ``quality``, uint8; with an area of applicability also
    ``dissimilarity`` and ``applicable``, uint8. With several depths, all but ``quality`` have a
    dimension of depths before y and x.
    """
    engine = map_engine(request.bundle, request.digest, request.device)
    spec = engine.bundle.spec
    # pixels beyond the edges of the cube are missing
    arrays = {
        name: np.pad(
            request.rules[name].clean(values),
            (*((0, 0),) * (values.ndim - 2), *geometry.edge),
            constant_values=np.nan,
        )
        for name, values in zip(request.rules, raw, strict=True)
    }
    known, whole = known_pixels(arrays, spec, geometry.inner, inside=geometry.inside)
    flags = np.where(whole, 0, QUALITY["covariate_missing"])
    odd = _unknown(arrays, spec, geometry, known)
    flags[odd] |= QUALITY["class_unknown"]
    flags = np.where(known, flags, QUALITY["no_data"])
    if request.mask:
        own = _cropped(arrays, request.mask.bands, spec, geometry)
        masked = request.mask.covers(geometry.place, own, known.shape)
        flags, known = np.where(masked, QUALITY["masked"], flags), known & ~masked
    results = {"quality": flags.astype("uint8")}
    several, found = len(request.depths) > 1, _empty(engine, request, known.shape)
    if not known.any():  # the sea costs no computing
        return results | found
    error = np.zeros(known.shape)
    if engine.kriging is not None:
        assert geometry.place is not None
        core, grid = geometry.place
        at = np.nonzero(known)
        pixels = (at[0] + core.y.start, at[1] + core.x.start)
        error[at] = engine.kriging(lonlat_of(grid, *pixels))
    bounds = bounding(known, step=STEP)  # rows and columns of sea around a coast cost none either
    first, margin = geometry.inner, spec.margin
    inner = Window(
        Span(first.y.start + bounds.y.start, first.y.start + bounds.y.stop + 2 * margin),
        Span(first.x.start + bounds.x.start, first.x.start + bounds.x.stop + 2 * margin),
    )
    part = known[bounds.slices], odd[bounds.slices], error[bounds.slices]
    for number, depth in enumerate(request.depths or (None,)):
        layers = _mapped(engine, request, inner, arrays, *part, depth)
        for name, values in layers.items():
            # of a quantile (q, depth, y, x), of all others (depth, y, x)
            whole = found[name][..., number, :, :] if several else found[name]
            whole[(..., *bounds.slices)] = values
    return results | found


def _mapped(
    engine: MapEngine,
    request: MapRequest,
    inner: Window,
    arrays: Mapping[str, np.ndarray],
    known: np.ndarray,
    odd: np.ndarray,
    error: np.ndarray,
    depth: tuple[float, float] | None,
) -> dict[str, np.ndarray]:
    """Map a part of a core at one depth, corrected by the kriged `error`.

    `inner` has the pixels of the network's inputs, in pixels of the arrays. Pixels that are not
    `known` are NaN, `odd` ones are outside.
    """
    results = {}
    scaler = engine.bundle.scaler
    stack = assemble_bands(arrays, engine.bundle.spec, scaler, inner=inner, depth=depth)
    estimate = engine.estimate(stack, threads=request.threads).corrected(error)
    for name, array in native(engine.bundle, estimate, request).items():
        results[name] = np.where(known, array, np.nan)
    if engine.applicability is not None:
        dissimilarity = np.full(known.shape, np.nan, "float32")
        dissimilarity[known] = engine.applicability(engine.features(stack)[:, known].T)
        like = (dissimilarity <= engine.applicability.threshold) & ~odd
        inside = np.where(like, INSIDE, OUTSIDE)
        results["dissimilarity"] = dissimilarity
        results["applicable"] = np.where(known, inside, UNKNOWN).astype("uint8")
    return results


def _empty(engine: MapEngine, request: MapRequest, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return the outputs of a core without data; several depths come right before y and x."""
    depths = len(request.depths)
    shape = (depths, *shape) if depths > 1 else shape
    ends = [f"{end}_{level:g}" for level in request.level for end in ("lo", "hi")]
    area = ["dissimilarity"] * (engine.applicability is not None)
    empty = {n: np.full(shape, np.nan, "float32") for n in ("mean", *ends, *area)}
    if request.quantiles:
        empty["quantile"] = np.full((len(request.quantiles), *shape), np.nan, "float32")
    if area:
        empty["applicable"] = np.full(shape, UNKNOWN, "uint8")
    return empty


class Asked(Protocol):
    """What is computed of a predictive distribution."""

    @property
    def level(self) -> tuple[float, ...]:
        """Central intervals, percent."""

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Quantiles, between 0 and 1."""

    @property
    def estimate(self) -> Central:
        """The estimate of each pixel."""


def native(bundle: MapBundle, estimate: Estimate, asked: Asked) -> dict[str, np.ndarray]:
    """Turn estimates into native units, float32: ``mean``, ``lo_90``, ``hi_90`` ..., ``quantile``.

    The first is the estimate that was asked for. Values are cut at the valid range, or at the
    bound that the transform of the target has.
    """
    target, (center, spread) = bundle.target, (estimate.center, estimate.spread)
    read = bundle.calibration.quantile  # flat beyond what the residuals support
    if asked.estimate == "mean":
        # the mean of a distribution is the integral of its quantile function
        parts = (w * inverse(read(center, spread, p), target) for p, w in _INTEGRAL)
        values = {"mean": np.sum([*parts], axis=0)}
    elif asked.estimate == "median":
        values = {"mean": inverse(read(center, spread, 0.5), target)}
    else:
        values = {"mean": central(center, target)}
    for level in asked.level:
        ends = bundle.calibration.interval(center, spread, level)
        values[f"lo_{level:g}"], values[f"hi_{level:g}"] = (inverse(e, target) for e in ends)
    if asked.quantiles:
        found = np.stack([read(center, spread, p) for p in asked.quantiles])
        values["quantile"] = inverse(found, target)
    limits = bundle.spec.valid_range or limits_of(target.transform)
    return {name: np.clip(array, *limits).astype("float32") for name, array in values.items()}


def _unknown(
    arrays: Mapping[str, np.ndarray], spec: MapSpec, geometry: MapTileGeometry, known: np.ndarray
) -> np.ndarray:
    """Return which pixels of the core have a class that training did not see, bool (y, x)."""
    cut = _cropped(arrays, tuple(spec.categories), spec, geometry)
    found = unknown_classes(cut, spec.categories)
    return np.zeros(known.shape, bool) if found is None else found


def _cropped(
    arrays: Mapping[str, np.ndarray], names: Sequence[str], spec: MapSpec, geometry: MapTileGeometry
) -> dict[str, np.ndarray]:
    """Return some bands of the core alone, (..., y, x)."""
    whole, margin = geometry.inner, spec.margin
    core = Window(*(Span(s.start + margin, s.stop - margin) for s in (whole.y, whole.x)))
    return {name: arrays[name][(..., *core.slices)] for name in names}


def known_pixels(
    arrays: Mapping[str, np.ndarray],
    spec: MapSpec,
    inner: Window,
    *,
    inside: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return where a pixel can be mapped, and where none of its bands is missing, bool (y, x).

    The rule is that of samples: the pixel itself has a value, and so has a share ``min_valid``
    of the part of its window that lies in the cube, over bands, steps and pixels. `inner` is the
    core and half a window around it, in pixels of the cleaned `arrays`; `inside` masks its pixels
    that lie in the cube (default: all).
    """
    number = len(spec.dynamic) * spec.steps + len(spec.static)
    counts = np.zeros(inner.shape, "int32")
    for name in (*spec.dynamic, *spec.static):
        values = arrays[name]
        finite = np.isfinite(values[(..., *inner.slices)])
        counts += finite.sum(axis=0) if finite.ndim == 3 else finite
    side, margin = spec.network.window, spec.margin
    around = sliding_window_view(counts, (side, side)).sum(axis=(-2, -1))
    own = counts[margin : margin + around.shape[0], margin : margin + around.shape[1]]
    in_cube = np.ones(inner.shape, bool) if inside is None else inside
    pixels = sliding_window_view(in_cube, (side, side)).sum(axis=(-2, -1))
    share = around / (number * np.maximum(pixels, 1))
    return (share >= spec.min_valid) & (own > 0), own == number


@dataclass(frozen=True)
class Estimate:
    """The estimated target at some pixels, scaled transformed units, float64."""

    center: np.ndarray  # mean
    spread: np.ndarray  # uncertainty, relative to other pixels

    def corrected(self, error: np.ndarray) -> Estimate:
        """Add the kriged error."""
        return Estimate(self.center + error, self.spread)


def mixed(
    members: np.ndarray, spec: MapSpec, regressions: Regressions, features: np.ndarray
) -> Estimate:
    """Mix the networks of an ensemble, (members, q, ...), and regressions of features (f, ...).

    Pixels have any shape: (n,) or (y, x). The spread is that of the forest, if it is blended in:
    it measures where the target varies among similar pixels, which members of a network do not.
    Without a forest, quantiles of a network have a spread, too; else it is the same everywhere.
    """
    knots, shape = spec.network.knots, members.shape[2:]
    values = members.mean(axis=0, dtype="float64").reshape(members.shape[1], 1, -1)
    center = mean(values, knots) if knots else values[0]
    spread: np.ndarray | None = None
    if regressions.name != "none":
        own, spread = regressions.moments(features.reshape(len(features), -1).T)
        center = (1 - spec.blend) * center + spec.blend * own
    if spread is None and knots:
        low, high = (quantile(values, knots, p) for p in _SIGMA)
        spread = (high - low) / 2
    elif spread is None:
        spread = np.ones_like(center)
    return Estimate(center.reshape(shape), spread.reshape(shape))
