"""Stack: arrays of a window -> what a mapper is shown; one code for points and maps.

Windows around points and tiles of a map go through :func:`channels` and
:func:`shown`, which do the same arithmetic for a pixel whatever lies around the
array it stands in. So what a network was trained on and what it is asked on the map
are equal, number by number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hmx.cube.bands import Bands
from hmx.errors import NotEnoughData, missing_variable
from hmx.features.boxes import cut
from hmx.features.scaling import Moments
from hmx.features.transforms import apply_transforms
from hmx.mapping.spec import BandScaler, MapSpec
from hmx.points.samples import Samples
from hmx.points.windows import _grown, around, require_fits, squares
from hmx.windows import Window


@dataclass(frozen=True)
class Stack:
    """What a mapper is shown of a tile; nothing in it is NaN.

    Parameters
    ----------
    dynamic : ndarray of float32, (t, c, y, x)
        Scaled, 0 where missing; the last channel is 1 where all bands are known,
        else 0. c = 0 without dynamic bands.
    static : ndarray of float32, (s, y, x)
        Likewise.
    """

    dynamic: np.ndarray
    static: np.ndarray

    def features(self) -> np.ndarray:
        """Return the values of each pixel, (f, y, x), in the order of ``MapSpec.features``."""
        series = self.dynamic[:, :-1]
        return np.concatenate([series.reshape(-1, *series.shape[2:]), self.static[:-1]])


@dataclass(frozen=True)
class RawWindows:
    """Windows around samples as they were read: native units, NaN where missing.

    Parameters
    ----------
    dynamic : ndarray of float32, (n, t, c, w, w)
        Bands, then their means in squares of each coarse radius.
    static : ndarray of float32, (n, s, w, w)
        Likewise.
    """

    dynamic: np.ndarray
    static: np.ndarray

    def __len__(self) -> int:
        return len(self.dynamic)

    def at(self, rows: np.ndarray) -> RawWindows:
        """Return some of the windows, by position or by mask."""
        return RawWindows(self.dynamic[rows], self.static[rows])


@dataclass(frozen=True)
class Windows:
    """What a mapper is shown of samples; nothing in it is NaN.

    Parameters
    ----------
    dynamic : ndarray of float32, (n, t, c, w, w)
        As in :class:`Stack`.
    static : ndarray of float32, (n, s, w, w)
        As in :class:`Stack`.
    """

    dynamic: np.ndarray
    static: np.ndarray

    def __len__(self) -> int:
        return len(self.dynamic)

    def at(self, rows: np.ndarray) -> Windows:
        """Return some of the windows, by position or by mask."""
        return Windows(self.dynamic[rows], self.static[rows])


def assemble_bands(
    arrays: Mapping[str, np.ndarray],
    spec: MapSpec,
    scaler: BandScaler,
    *,
    inner: Window | None = None,
) -> Stack:
    """Scale the arrays of a window and turn what is missing into masks.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Cleaned values of the spec's bands, NaN where missing: dynamic ones
        (steps, y, x), static ones (y, x).
    spec : MapSpec
        Names and order of the bands.
    scaler : BandScaler
        From the training samples.
    inner : Window, optional
        Pixels that are wanted, in pixels of the arrays, which reach the largest coarse
        radius beyond them; further pixels count as missing. Default: all.

    Raises
    ------
    MissingVariable
        If a band is not among the arrays.
    """
    dynamic, static = channels(arrays, spec, inner)
    return Stack(*shown(dynamic, static, spec, scaler))


def channels(
    arrays: Mapping[str, np.ndarray], spec: MapSpec, inner: Window | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Stack bands and their neighbourhood means, native units, NaN where missing.

    Parameters
    ----------
    arrays, spec, inner
        As :func:`assemble_bands`.

    Returns
    -------
    tuple of ndarray, float32
        Dynamic (t, c, y, x) and static (s, y, x), without the channels of what is
        known; all bands, then all of them at each coarse radius.
    """
    for name in (*spec.dynamic, *spec.static):
        if name not in arrays:
            raise missing_variable(name, arrays, where="the window")
    arrays = apply_transforms(arrays, spec.transforms)
    inner = inner or Window.of(next(iter(arrays.values())).shape[-2:])
    return (
        _scales([arrays[n] for n in spec.dynamic], spec, inner, lead=(spec.steps,)),
        _scales([arrays[n] for n in spec.static], spec, inner, lead=()),
    )


def _scales(
    bands: list[np.ndarray], spec: MapSpec, inner: Window, *, lead: tuple[int, ...]
) -> np.ndarray:
    """Stack bands at all scales along the axis before (y, x)."""
    count = len(bands) * (1 + len(spec.network.coarse))
    lead = bands[0].shape[:-2] if bands else lead
    out = np.empty((*lead, count, *inner.shape), "float32")
    for at, values in enumerate(bands):
        out[..., at, :, :] = values[(..., *inner.slices)]
        for scale, radius in enumerate(spec.network.coarse, 1):
            out[..., scale * len(bands) + at, :, :] = box_means(values, inner, radius)
    return out


def box_means(values: np.ndarray, inner: Window, radius: int) -> np.ndarray:
    """Average the known values in the square around each pixel.

    The additions for a pixel come in one order, whatever array it stands in: sums of
    1, 2, 4 ... neighbours, and of those, a side as long as the square. So a mean is
    the same, to the last bit, in every tile; running sums (:mod:`hmx.features.boxes`) round by
    where they began.

    Parameters
    ----------
    values : ndarray
        Shape (..., y, x), NaN where missing.
    inner : Window
        Pixels wanted.
    radius : int
        Half-width of the square, px; beyond the array all is missing.

    Returns
    -------
    ndarray
        Shape (..., *inner.shape), float64; NaN where no pixel is known.
    """
    part, place = cut(values, inner, radius)
    wanted = tuple(side + 2 * radius for side in inner.shape)
    top, left = radius - place.y.start, radius - place.x.start
    full = np.full((*part.shape[:-2], *wanted), np.nan)
    full[..., top : top + part.shape[-2], left : left + part.shape[-1]] = part
    known = np.isfinite(full)
    side = 2 * radius + 1
    number = _run_sums(_run_sums(known.astype("float64"), side, -1), side, -2)
    total = _run_sums(_run_sums(np.where(known, full, 0.0), side, -1), side, -2)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: no known pixel
        return np.asarray(total / number)


def _run_sums(values: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Sum each run of ``length`` neighbours along an axis, in an order of its own."""
    values = np.moveaxis(values, axis, -1)
    runs = values.shape[-1] - length + 1
    total, block, at, size = np.zeros((*values.shape[:-1], runs)), values, 0, 1
    while size <= length:  # the binary digits of the length, smallest first
        if length & size:
            total += block[..., at : at + runs]
            at += size
        block, size = block[..., : block.shape[-1] - size] + block[..., size:], 2 * size
    return np.moveaxis(total, -1, axis)


def fit_band_scaler(raw: RawWindows, rows: np.ndarray, spec: MapSpec) -> BandScaler:
    """Take the mean and spread of each band from training samples alone.

    Parameters
    ----------
    raw : RawWindows
        Of all samples.
    rows : ndarray of int or bool
        Training samples.
    spec : MapSpec
        Names of the bands; a climatology has statistics for each of its steps.

    Raises
    ------
    NotEnoughData
        If a band has no known value there.
    """
    mean: dict[str, tuple[float, ...]] = {}
    std: dict[str, tuple[float, ...]] = {}
    train = raw.at(rows)
    for at, name in enumerate(spec.dynamic):
        series = train.dynamic[:, :, at]  # (n, t, w, w)
        steps = range(series.shape[1]) if spec.climatology else [slice(None)]
        mean[name], std[name] = _moments([Moments.of(series[:, step]) for step in steps], name)
    for at, name in enumerate(spec.static):
        mean[name], std[name] = _moments([Moments.of(train.static[:, at])], name)
    return BandScaler(mean, std)


def _moments(found: list[Moments], name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not any(moments.n for moments in found):
        raise NotEnoughData(
            f"band {name!r} has no known value around the training samples, so it has no scale. "
            f"Leave it out, or check its nodata and valid_range."
        )
    return tuple(m.mean for m in found), tuple(m.std or 1.0 for m in found)


def scaled(raw: RawWindows, spec: MapSpec, scaler: BandScaler) -> Windows:
    """Turn windows as they were read into what a mapper is shown.

    Parameters
    ----------
    raw : RawWindows
        From :func:`hmx.mapping.inputs.gather`.
    spec : MapSpec
        Names and order of the bands.
    scaler : BandScaler
        From the training samples.
    """
    return Windows(*shown(raw.dynamic, raw.static, spec, scaler))


def shown(
    dynamic: np.ndarray, static: np.ndarray, spec: MapSpec, scaler: BandScaler
) -> tuple[np.ndarray, np.ndarray]:
    """Scale channels, fill with 0 (the mean), and append where all are known.

    Parameters
    ----------
    dynamic, static : ndarray
        Shapes (..., t, c, y, x) and (..., s, y, x), native units, NaN where missing.
    spec : MapSpec
        Names and order of the bands.
    scaler : BandScaler
        From the training samples.
    """
    scales = 1 + len(spec.network.coarse)
    return (
        _shown(dynamic, _of(scaler.mean, spec.dynamic), _of(scaler.std, spec.dynamic), scales),
        _shown(static, _of(scaler.mean, spec.static), _of(scaler.std, spec.static), scales),
    )


def _of(numbers: Mapping[str, tuple[float, ...]], names: tuple[str, ...]) -> np.ndarray:
    """Stack statistics, (steps or 1, bands)."""
    return np.array([numbers[name] for name in names], "float32").T


def _shown(values: np.ndarray, mean: np.ndarray, std: np.ndarray, scales: int) -> np.ndarray:
    """Scale, fill and mark channels along the axis before (y, x)."""
    if values.shape[-3] == 0:
        return values
    by_channel = [np.tile(part, (1, scales))[..., None, None] for part in (mean, std)]
    if values.ndim == 3 or by_channel[0].shape[0] == 1:  # one number for all steps
        by_channel = [part[0] for part in by_channel]
    z = (values - by_channel[0]) / by_channel[1]
    known = np.isfinite(z)
    out = np.empty((*z.shape[:-3], z.shape[-3] + 1, *z.shape[-2:]), "float32")
    np.copyto(out[..., :-1, :, :], np.where(known, z, 0))
    out[..., -1, :, :] = known.all(axis=-3)
    return out


def centre(windows: Windows) -> np.ndarray:
    """Return the values of the centre pixels, (n, f), in the order of ``MapSpec.features``.

    Parameters
    ----------
    windows : Windows
        Scaled; what is known is left out.
    """
    middle = windows.dynamic.shape[-1] // 2
    series = windows.dynamic[:, :, :-1, middle, middle]
    fixed = windows.static[:, :-1, middle, middle]
    return np.concatenate([series.reshape(len(series), -1), fixed], axis=1)


def gather(bands: Bands, samples: Samples, spec: MapSpec) -> RawWindows:
    """Read the window around each sample, storage square by storage square.

    Parameters
    ----------
    bands : Bands
        Entered with the spec's bands; only squares with samples are read.
    samples : Samples
        Pixels and last steps.
    spec : MapSpec
        Window, steps and coarse radii.

    Returns
    -------
    RawWindows
        One window for each sample, in their order; what lies beyond the cube is
        missing, but for the date line of a globe.

    Raises
    ------
    BadArgument
        If a window does not fit into the cube.
    NotEnoughData
        If a sample lacks its history.
    """
    side, margin = spec.network.window, spec.margin
    require_fits(side, bands)
    if len(samples) and samples.step.min() + 1 < spec.steps:
        raise NotEnoughData(
            f"a sample of step {samples.step.min()} has {samples.step.min() + 1} steps up to it, "
            f"and history={spec.steps}. Join the points with this history: join(..., "
            f"history={spec.steps})."
        )
    scales = 1 + len(spec.network.coarse)
    shape = (len(samples), spec.steps, len(spec.dynamic) * scales, side, side)
    dynamic = np.empty(shape, "float32")
    static = np.empty((len(samples), len(spec.static) * scales, side, side), "float32")
    for rows, core, steps in squares(bands, samples, spec.steps):
        arrays = bands.read(_grown(core, spec.halo), steps)
        wider = spec.halo - margin
        inner = Window.of(_grown(core, margin).shape)
        inner = Window(inner.y.shift(wider), inner.x.shift(wider))
        series, planes = channels(arrays, spec, inner)
        y, x = samples.row[rows] - core.y.start, samples.column[rows] - core.x.start
        static[rows] = np.moveaxis(around(planes, side)[:, y, x], 1, 0)
        times = samples.step[rows, None] - np.arange(spec.steps)[::-1] - steps.start  # (n, t)
        moving = around(series, side)  # (t, c, y, x, w, w)
        if moving.shape[1]:
            dynamic[rows] = moving[times, :, y[:, None], x[:, None]]
    return RawWindows(dynamic, static)
