"""Inputs of a mapper: arrays of a window -> network inputs; one code for points and maps.

Windows around points and tiles of a map both go through :func:`channels` and
:func:`network_inputs`, whose arithmetic for a pixel does not depend on the array around it. So
the inputs of training and of the map are equal, number by number.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from hmx.cube.bands import Bands
from hmx.errors import BadArgument, NotEnoughData, missing_variable
from hmx.features.boxes import box_means
from hmx.features.scaling import Moments, apply_transforms
from hmx.mapping.classes import indicators
from hmx.mapping.spec import DEPTH, BandScaler, MapSpec
from hmx.points.samples import Samples, around, require_fits, squares
from hmx.windows import Window


@dataclass(frozen=True)
class Stack:
    """Network inputs of a tile; never NaN.

    Bands are scaled, 0 (the mean) where missing; the last channel is 1 where all bands are known,
    else 0. There are 0 channels without bands of a kind.
    """

    dynamic: np.ndarray  # float32, (t, c, y, x)
    static: np.ndarray  # float32, (s, y, x)

    def features(self) -> np.ndarray:
        """Return the values of each pixel, (f, y, x), in the order of ``MapSpec.features``."""
        series = self.dynamic[:, :-1]
        return np.concatenate([series.reshape(-1, *series.shape[2:]), self.static[:-1]])


@dataclass(frozen=True)
class SampleWindows:
    """Windows around samples."""

    dynamic: np.ndarray  # float32, (n, t, c, w, w)
    static: np.ndarray  # float32, (n, s, w, w)

    def __len__(self) -> int:
        return len(self.dynamic)

    def at(self, rows: np.ndarray) -> Self:
        """Return some of the windows, by position or by mask."""
        return replace(self, dynamic=self.dynamic[rows], static=self.static[rows])


class RawWindows(SampleWindows):
    """Windows around samples as read: native units, NaN where missing.

    Bands come first, then their means in squares of each coarse radius.
    """


class ScaledWindows(SampleWindows):
    """Network inputs of samples, as in :class:`Stack`; never NaN."""


def assemble_bands(
    arrays: Mapping[str, np.ndarray],
    spec: MapSpec,
    scaler: BandScaler,
    *,
    inner: Window | None = None,
    depth: tuple[float, float] | None = None,
) -> Stack:
    """Build the network inputs of a tile from its cleaned bands, NaN where missing.

    Dynamic bands are (steps, y, x), static ones (y, x). `inner` has the pixels of the result, in
    pixels of the arrays; pixels beyond the arrays count as missing. `depth` is that of the map,
    cm, if depth is an input.
    """
    dynamic, static = channels(arrays, spec, inner)
    if depth is not None:
        static = with_depth(static, np.asarray(depth, "float32"))
    return Stack(*network_inputs(dynamic, static, spec, scaler))


def channels(
    arrays: Mapping[str, np.ndarray], spec: MapSpec, inner: Window | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Stack bands and their neighbourhood means: dynamic (t, c, y, x) and static (s, y, x).

    float32, native units, NaN where missing; all bands, then all of them at each coarse radius.
    """
    for name in (*spec.dynamic, *spec.static):
        if name not in arrays:
            raise missing_variable(name, arrays, where="the window")
    arrays = apply_transforms(arrays, spec.transforms)
    inner = inner or Window.of(next(iter(arrays.values())).shape[-2:])

    def at_all_scales(names: tuple[str, ...], lead: tuple[int, ...]) -> np.ndarray:
        width = len(spec.planes(names))
        count = width * (1 + len(spec.network.coarse))
        lead = arrays[names[0]].shape[:-2] if names else lead
        out, at = np.empty((*lead, count, *inner.shape), "float32"), 0
        for name in names:
            classes = spec.categories.get(name)
            values = arrays[name][..., None, :, :]
            planes = values if classes is None else indicators(arrays[name], classes)
            for number in range(planes.shape[-3]):
                plane = planes[..., number, :, :]
                out[..., at, :, :] = plane[(..., *inner.slices)]
                for scale, radius in enumerate(spec.network.coarse, 1):
                    out[..., scale * width + at, :, :] = box_means(plane, inner, radius)
                at += 1
        return out

    return at_all_scales(spec.dynamic, (spec.steps,)), at_all_scales(spec.static, ())


def restricted(
    raw: RawWindows, spec: MapSpec, variables: Collection[str]
) -> tuple[RawWindows, MapSpec]:
    """Return the windows of some variables, and their spec; the depth of a sample stays.

    A variable is all its bands, such as ``lst[month=1]`` to ``lst[month=12]``.
    """

    def channels_of(names: tuple[str, ...], depths: int) -> list[int]:
        planes, scales = spec.planes(names), 1 + len(spec.network.coarse)
        every = [*planes * scales]
        own = [at for at, name in enumerate(every) if variable_of(name) in variables]
        return [*own, *range(len(every), len(every) + depths)]

    dynamic, static = (
        tuple(name for name in kind if variable_of(name) in variables)
        for kind in (spec.dynamic, spec.static)
    )
    moving, fixed = (
        channels_of(spec.dynamic, 0),
        channels_of(spec.static, len(DEPTH) * spec.depth),
    )
    own = replace(
        spec,
        dynamic=dynamic,
        static=static,
        categories={n: of for n, of in spec.categories.items() if n in (*dynamic, *static)},
        transforms={n: of for n, of in spec.transforms.items() if n in (*dynamic, *static)},
    )
    return RawWindows(raw.dynamic[:, :, moving], raw.static[:, fixed]), own


def variable_of(band: str) -> str:
    """Return the variable of a band: that of ``lst[month=1]`` is ``lst``."""
    return band.partition("[")[0]


def with_depth(static: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Append planes of the depth, (..., 2), to static channels, (..., s, y, x)."""
    shape = (*static.shape[:-3], len(DEPTH), *static.shape[-2:])
    planes = np.broadcast_to(depth[..., None, None], shape)
    return np.concatenate([static, planes.astype("float32")], axis=-3)


def fit_band_scaler(raw: RawWindows, rows: np.ndarray, spec: MapSpec) -> BandScaler:
    """Measure mean and spread of each band on the training samples at `rows` alone.

    A band of a climatology has its own statistics for each month. Raises
    :class:`NotEnoughData` if a band has no known value.
    """
    mean: dict[str, tuple[float, ...]] = {}
    std: dict[str, tuple[float, ...]] = {}

    def measure(name: str, parts: list[np.ndarray]) -> None:
        moments = [Moments.of(part) for part in parts]
        if not any(m.n for m in moments):
            raise NotEnoughData(
                f"band {name!r} has no known value around the training samples, so it has no "
                "scale. Leave it out, or check its nodata and valid_range."
            )
        mean[name] = tuple(m.mean for m in moments)
        std[name] = tuple(m.std or 1.0 for m in moments)  # a constant band stays 0

    train = raw.at(rows)
    for at, name in enumerate(spec.planes(spec.dynamic)):
        if name not in spec.categories:
            series = train.dynamic[:, :, at]  # (n, t, w, w)
            steps = range(series.shape[1]) if spec.climatology else [slice(None)]
            measure(name, [series[:, step] for step in steps])
    for at, name in enumerate(spec.planes(spec.static)):
        if name not in spec.categories:
            measure(name, [train.static[:, at]])
    for at, name in enumerate(DEPTH[: len(DEPTH) * spec.depth], -len(DEPTH)):
        measure(name, [train.static[:, at]])
    for name in spec.categories:  # planes of 0 and 1 stay as they are
        count = spec.steps if spec.climatology and name in spec.dynamic else 1
        mean[name], std[name] = (0.0,) * count, (1.0,) * count
    return BandScaler(mean, std)


def scaled(raw: RawWindows, spec: MapSpec, scaler: BandScaler) -> ScaledWindows:
    """Turn windows as read into network inputs."""
    return ScaledWindows(*network_inputs(raw.dynamic, raw.static, spec, scaler))


def network_inputs(
    dynamic: np.ndarray, static: np.ndarray, spec: MapSpec, scaler: BandScaler
) -> tuple[np.ndarray, np.ndarray]:
    """Scale channels, fill missing pixels with 0 (the mean), and append the mask of known pixels.

    The arrays are (..., t, c, y, x) and (..., s, y, x), native units, NaN where missing.
    """
    scales = 1 + len(spec.network.coarse)
    inputs = []
    kinds = ((dynamic, spec.planes(spec.dynamic)), (static, spec.planes(spec.static)))
    for values, names in kinds:
        if values.shape[-3] == 0:
            inputs.append(values)  # no band of this kind, and no mask either
            continue
        # (steps or 1, bands), then one row of channels: every scale of a band has its statistics
        parts = [np.array([of[n] for n in names], "float32").T for of in (scaler.mean, scaler.std)]
        mean, std = (np.tile(part, (1, scales)) for part in parts)
        if spec.depth and values is static:
            own = [[of[n][0] for n in DEPTH] for of in (scaler.mean, scaler.std)]
            mean, std = (
                np.hstack([part, np.array([ends], "float32")])
                for part, ends in zip((mean, std), own, strict=True)
            )
        mean, std = mean[..., None, None], std[..., None, None]
        if values.ndim == 3 or len(mean) == 1:  # one number for all steps
            mean, std = mean[0], std[0]
        z = (values - mean) / std
        known = np.isfinite(z)
        out = np.empty((*z.shape[:-3], z.shape[-3] + 1, *z.shape[-2:]), "float32")
        np.copyto(out[..., :-1, :, :], np.where(known, z, 0))
        out[..., -1, :, :] = known.all(axis=-3)
        inputs.append(out)
    return inputs[0], inputs[1]


def centre(windows: ScaledWindows) -> np.ndarray:
    """Return the centre pixels without masks, (n, f), in the order of ``MapSpec.features``."""
    middle = windows.dynamic.shape[-1] // 2
    series = windows.dynamic[:, :, :-1, middle, middle]
    fixed = windows.static[:, :-1, middle, middle]
    return np.concatenate([series.reshape(len(series), -1), fixed], axis=1)


def gather(bands: Bands, samples: Samples, spec: MapSpec) -> RawWindows:
    """Read the window around each sample, storage square by storage square.

    Only squares with samples are read. Pixels beyond the cube are missing, except across the
    date line of a globe. Raises :class:`BadArgument` if a window is larger than the cube,
    :class:`NotEnoughData` if a sample lacks its history.
    """
    side, margin = spec.network.window, spec.margin
    require_fits(side, bands)
    history = 1 if bands.timeless else spec.steps
    if len(samples) and samples.step.min() + 1 < history:
        raise NotEnoughData(
            f"a sample of step {samples.step.min()} has {samples.step.min() + 1} steps up to it, "
            f"and history={spec.steps}. Join the points with this history: join(..., "
            f"history={spec.steps})."
        )
    scales = 1 + len(spec.network.coarse)
    counts = [len(spec.planes(names)) * scales for names in (spec.dynamic, spec.static)]
    dynamic = np.empty((len(samples), spec.steps, counts[0], side, side), "float32")
    static = np.empty((len(samples), counts[1], side, side), "float32")
    for rows, core, steps in squares(bands, samples, history):
        arrays = bands.read(core.grow(spec.halo), steps)
        # the halo also holds the neighbours of coarse means; the windows end at the margin
        wider = spec.halo - margin
        inner = Window.of(core.grow(margin).shape)
        inner = Window(inner.y.shift(wider), inner.x.shift(wider))
        series, planes = channels(arrays, spec, inner)
        y, x = samples.row[rows] - core.y.start, samples.column[rows] - core.x.start
        static[rows] = np.moveaxis(around(planes, side)[:, y, x], 1, 0)
        times = samples.step[rows, None] - np.arange(spec.steps)[::-1] - steps.start  # (n, t)
        moving = around(series, side)  # (t, c, y, x, w, w)
        if moving.shape[1]:
            dynamic[rows] = moving[times, :, y[:, None], x[:, None]]
    if spec.depth:
        static = with_depth(static, depths_in(samples).astype("float32"))
    return RawWindows(dynamic, static)


def depths_in(samples: Samples) -> np.ndarray:
    """Return the depths of samples, (n, 2), which a model of depths needs."""
    if samples.depth is None:
        raise BadArgument(
            "the model has learnt how the target changes with depth, and the points have none. "
            "Name the columns of their depths, cm: top='upper', bottom='lower'."
        )
    return samples.depth
