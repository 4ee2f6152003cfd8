"""Recipe: the setup of a mapper, and the samples that it is trained on.

Preparing reads points and cube once: everything after it is arithmetic on arrays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hmx.cube.bands import Bands, as_bands
from hmx.cube.cube import Cubelike
from hmx.features.transforms import check_transforms
from hmx.mapping.inputs import RawWindows, gather
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.spec import MapSpec
from hmx.networks.options import MapperOptions
from hmx.points.joining import JoinReport, join
from hmx.points.options import PointsOptions
from hmx.points.samples import Samples
from hmx.points.suspects import require_learnable
from hmx.points.table import Points, read_points
from hmx.progress import Progress
from hmx.splits.distances import domain
from hmx.splits.methods import fold_samples
from hmx.splits.options import SplitOptions
from hmx.splits.site_folds import SiteFolds
from hmx.windows import Span, Window

# pixels of a grid up to which one band is read to leave out places without data; beyond, the
# read would take longer than the training
_READ_LIMIT = 1 << 24
_CF_FLAGS = ("flag_values", "flag_meanings", "flag_masks")  # CF: the numbers are codes
_MAX_CLASSES = 40  # a quantity in whole numbers usually has more values
_FEW = 20  # neighbours that differ; fewer show nothing about jumps
_LISTED = 5  # codes that a note lists


@dataclass(frozen=True)
class MapTrainSetup:
    """The setup of a mapper."""

    # Columns of the table, and which rows count
    points: PointsOptions = field(default_factory=PointsOptions)
    network: MapperOptions = field(default_factory=MapperOptions)  # the network
    fit: MapTrainOptions = field(default_factory=MapTrainOptions)  # the fit
    # How samples are dealt for scores and intervals
    split: SplitOptions = field(default_factory=SplitOptions)
    dynamic: Sequence[str] | None = None  # bands. Default: all of the cube
    static: Sequence[str] | None = None
    # Transforms of bands before they are scaled
    transforms: Mapping[str, str] = field(default_factory=dict)
    # Where training is logged: fields of the catalog's ``track``
    track: Mapping[str, Any] | None = None
    init_from: str | None = None  # folder of another mapper, whose trunk is the start
    # State of the points file; another state means that the model is out of date
    stamp: Sequence[Any] | None = None

    def settings(self) -> dict[str, Any]:
        """Return the settings that decide a model, in JSON values."""
        settings: dict[str, Any] = {
            "table": self.points.model_dump(mode="json"),
            "network": self.network.model_dump(mode="json"),
            "fit": self.fit.model_dump(mode="json"),
            "split": self.split.model_dump(mode="json"),
            "transforms": dict(self.transforms),
            "init_from": self.init_from,
            "stamp": self.stamp,
        }
        # tuples become lists: the settings are compared with those read from a bundle
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        return plain


@dataclass(frozen=True)
class Prepared:
    """Samples, the windows around them, and the inputs of a network."""

    bands: Bands
    points: Points  # all rows of the table
    samples: Samples  # points inside the cube
    report: JoinReport  # reasons why the other rows were left out
    spec: MapSpec
    raw: RawWindows  # around all samples
    warnings: tuple[str, ...] = ()  # about bands

    @property
    def values(self) -> np.ndarray:
        """The sampled quantity, native units, (n,)."""
        return self.samples.value

    def announce(self, progress: Progress) -> None:
        """Report the use of the points, and warnings about the bands."""
        progress.note(f"points: {self.report}")
        for warning in self.warnings:
            progress.note(f"bands: {warning}")

    def folds(self, split: SplitOptions, *, seed: int) -> SiteFolds:
        """Deal the samples into folds."""
        region = None
        if split.region is not None:
            region = self.points.column(split.region)[self.samples.source]
        places = self.domain(seed=seed) if split.method == "knndm" else None
        return fold_samples(self.samples, split, seed=seed, domain=places, region=region)

    def domain(self, *, seed: int) -> np.ndarray:
        """Draw places of the map, degrees, (p, 2): pixels where one band has data."""
        rows, columns = self.bands.grid.shape
        if rows * columns > _READ_LIMIT:
            return domain(self.bands.grid, seed=seed)
        # the last variable is a static band if there is any: one plane, not a series
        name, last = self.bands.variables[-1], len(self.bands.labels)
        one = Bands(
            self.bands.data[[name]],
            tuple(n for n in self.bands.dynamic if n == name),
            tuple(n for n in self.bands.static if n == name),
            self.bands.outer,
            self.bands.climatology,
        )
        layer = one.read(Window.of((rows, columns)), Span(last - 1, last))[name]
        known = np.isfinite(layer if layer.ndim == 2 else layer[-1])
        return domain(self.bands.grid, known, seed=seed)


def prepare(obj: Cubelike, source: Any, recipe: MapTrainSetup) -> Prepared:
    """Read points and cube, and check that they fit the setup.

    Raises :class:`BadArgument`, :class:`CubeError`, :class:`MissingVariable`,
    :class:`NotEnoughData` or :class:`SourceError` if points, cube and setup do not fit.
    """
    points = read_points(source, **recipe.points.model_dump(exclude={"min_valid"}))
    bands = as_bands(obj, dynamic=recipe.dynamic, static=recipe.static)
    network, min_valid = recipe.network, recipe.points.min_valid
    samples, report = join(
        points, bands, window=network.window, history=network.history, min_valid=min_valid
    )
    require_learnable(
        samples.value, samples.source, points.target, points.names, transform=recipe.fit.transform
    )
    transforms = check_transforms(recipe.transforms)
    spec = MapSpec(
        target=recipe.points.target,
        dynamic=bands.dynamic,
        static=bands.static,
        network=network,
        steps=bands.history(network.history),
        climatology=bands.climatology,
        cadence=str(bands.cadence),
        pixel_size_m=bands.grid.pixel_size_m,
        units=points.units,
        valid_range=points.valid_range,
        blend=recipe.fit.blend,
        # a channel of an array is called "array[channel]": it has the transform of the array
        transforms={
            name: transforms[name.partition("[")[0]]
            for name in bands.variables
            if name.partition("[")[0] in transforms
        },
        min_valid=min_valid,
    )
    raw = gather(bands, samples, spec)
    attrs = {name: bands.data[name].attrs for name in bands.variables}
    return Prepared(bands, points, samples, report, spec, raw, tuple(class_notes(raw, spec, attrs)))


def class_notes(raw: RawWindows, spec: MapSpec, attrs: Mapping[str, Any]) -> list[str]:
    """Return a note for each band that looks like codes of classes; `attrs` by band.

    A network reads codes as a quantity, which is almost never meant; CF flags in the attributes
    of a band are codes without doubt.
    """
    bands = {n: raw.dynamic[:, -1, at] for at, n in enumerate(spec.dynamic)}
    bands |= {n: raw.static[:, at] for at, n in enumerate(spec.static)}
    notes = []
    for name, values in bands.items():
        codes = np.unique(values[np.isfinite(values)])
        if any(flag in attrs.get(name, {}) for flag in _CF_FLAGS) or looks_coded(values, codes):
            listed = ", ".join(f"{code:g}" for code in codes[:_LISTED])
            more = ", ..." if len(codes) > _LISTED else ""
            one = f"{codes[len(codes) // 2]:g}" if len(codes) else "1"
            notes.append(
                f"{name!r} looks like codes of {len(codes)} classes ({listed}{more}), and is read "
                "as a quantity: codes are scaled and averaged. Give a band of 0 and 1 for each "
                f"class, ds['{name}_{one}'] = (ds[{name!r}] == {one}).astype('uint8'), or leave it "
                "out."
            )
    return notes


def looks_coded(values: np.ndarray, codes: np.ndarray) -> bool:
    """Return True if values (n, w, w), of the distinct values `codes`, jump like class codes.

    Codes jump between neighbours: 11 lies next to 512 as often as next to 311. A quantity
    rounded to whole numbers passes through the values between. Two values are a mask, not codes.
    """
    if not 3 <= len(codes) <= _MAX_CLASSES or (codes % 1 != 0).any() or codes[0] < 0:
        return False
    one, other = (
        np.concatenate([along.ravel(), across.ravel()])
        for along, across in (
            (values[..., :-1], values[..., :-1, :]),
            (values[..., 1:], values[..., 1:, :]),
        )
    )
    differ = np.isfinite(one) & np.isfinite(other) & (one != other)
    if differ.sum() < _FEW:
        return len(codes) <= _FEW
    one, other = one[differ], other[differ]
    ranks = np.abs(np.searchsorted(codes, one) - np.searchsorted(codes, other))
    size = np.median(np.abs(one - other)) / (codes[-1] - codes[0])
    return bool((ranks > 1).mean() > 0.25 or size >= 0.2)
