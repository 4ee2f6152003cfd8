"""Recipe: the setup of a mapper, and the samples that it is trained on.

Preparing reads points and cube once: everything after it is arithmetic on arrays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from hmx.cube.bands import Bands, as_bands
from hmx.cube.cube import Cubelike
from hmx.errors import BadArgument
from hmx.features.scaling import check_transforms
from hmx.mapping.classes import classes_of, declared, suspects
from hmx.mapping.inputs import RawWindows, gather
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.spec import MapSpec
from hmx.mapping.target import require_target
from hmx.networks.options import MapperOptions
from hmx.points.joining import JoinReport, join
from hmx.points.options import PointsOptions
from hmx.points.samples import Samples
from hmx.points.table import Points, read_points
from hmx.points.units import range_of
from hmx.progress import Progress
from hmx.provenance import code_version
from hmx.splits.distances import drawn_pixels, lonlat_of
from hmx.splits.methods import fold_samples
from hmx.splits.options import SplitOptions
from hmx.splits.site_folds import SiteFolds, linked
from hmx.windows import Span, Window

# pixels of a grid up to which one band is read to leave out places without data; beyond, the
# read would take longer than the training
READ_LIMIT = 1 << 24


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
    categories: Sequence[str] = ()  # bands of classes, beside those whose attributes list flags
    # Where training is logged: fields of the catalog's ``track``
    track: Mapping[str, Any] | None = None
    init_from: str | None = None  # folder of another mapper, whose trunk is the start
    # State of the points file; another state means that the model is out of date
    stamp: Sequence[Any] | None = None

    @property
    def bands(self) -> dict[str, list[str] | None]:
        """Covariates that the model reads, with and without time; None for all."""
        kinds = {"dynamic": self.dynamic, "static": self.static}
        return {kind: None if of is None else list(of) for kind, of in kinds.items()}

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
            # only if there are any: the settings of an older model stay its own
            **({"categories": list(self.categories)} if self.categories else {}),
            **({} if self.dynamic is None and self.static is None else {"bands": self.bands}),
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

    @cached_property
    def digest(self) -> str:
        """Hash of all samples: their windows, values, locations and sites."""
        digest, samples = hashlib.sha256(), self.samples
        for array in (*vars(self.raw).values(), self.values, samples.lonlat, samples.site):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def validation_groups(self, fit: MapTrainOptions) -> np.ndarray:
        """Return the samples' groups that stay on one side of a hold-out, (n,)."""
        return linked(self.samples.site, self.samples.lonlat, fit.validation_km)

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
        return lonlat_of(self.bands.grid, *self.pixels(seed=seed))

    def pixels(self, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw pixels where one band has data: rows and columns."""
        rows, columns = self.bands.grid.shape
        if rows * columns > READ_LIMIT:
            return drawn_pixels(self.bands.grid, seed=seed)
        # the last variable is a static band if there is any: one plane, not a series
        name, last = self.bands.variables[-1], len(self.bands.labels)
        one = self.bands.only(
            tuple(n for n in self.bands.dynamic if n == name),
            tuple(n for n in self.bands.static if n == name),
        )
        layer = one.read(Window.of((rows, columns)), Span(last - 1, last))[name]
        known = np.isfinite(layer if layer.ndim == 2 else layer[-1])
        return drawn_pixels(self.bands.grid, known, seed=seed)

    def plane_means(
        self, names: Sequence[str], samples: Samples | None = None
    ) -> dict[str, np.ndarray]:
        """Return the mean over time of bands of quantities at pixels, (n,), by default samples'."""
        spec, raw = self.spec, self.raw
        if samples is not None:
            dynamic, static = (
                tuple(n for n in kind if n in names) for kind in (spec.dynamic, spec.static)
            )
            network = spec.network.model_copy(update={"window": 1, "coarse": ()})
            spec = replace(
                spec, dynamic=dynamic, static=static, network=network, categories={}, depth=False
            )
            raw = gather(self.bands.only(dynamic, static), samples, spec)
        middle = raw.static.shape[-1] // 2
        series, planes = (a[..., middle, middle].T for a in (raw.dynamic, raw.static))
        found = dict(zip(spec.planes(spec.static), planes, strict=False))  # bands, then their means
        moving = zip(spec.planes(spec.dynamic), series, strict=False)
        found |= {name: values.mean(axis=0) for name, values in moving}  # (t, n)
        return {name: found[name] for name in names}


def prepare(obj: Cubelike, source: Any, recipe: MapTrainSetup) -> Prepared:
    """Read points and cube, and check that they fit the setup.

    Raises :class:`BadArgument`, :class:`CubeError`, :class:`MissingVariable`,
    :class:`NotEnoughData` or :class:`SourceError` if points, cube and setup do not fit.
    """
    return with_windows(joined(obj, source, recipe), recipe)


def joined(
    obj: Cubelike, source: Any, recipe: MapTrainSetup, *, most: int | None = None
) -> Prepared:
    """Join points and cube, without the windows of the samples.

    ``most`` bounds the numbers that are read of the cube, as in :func:`hmx.points.joining.join`.
    """
    points = read_points(source, **recipe.points.model_dump(exclude={"min_valid"}))
    bands = as_bands(obj, dynamic=recipe.dynamic, static=recipe.static)
    network, min_valid = recipe.network, recipe.points.min_valid
    samples, report = join(
        points, bands, window=network.window, history=network.history, min_valid=min_valid,
        most=most,
    )  # fmt: skip
    require_target(samples.value, samples.source, points, recipe.fit.transform)
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
        valid_range=points.valid_range or range_of(points.units, samples.value),
        blend=recipe.fit.blend,
        regression=recipe.fit.blended,
        # a channel of an array is called "array[channel]": it has the transform of the array
        transforms={
            name: transforms[name.partition("[")[0]]
            for name in bands.variables
            if name.partition("[")[0] in transforms
        },
        min_valid=min_valid,
        depth=points.depth is not None,
    )
    none = RawWindows(np.zeros((0, 0, 0, 0, 0), "float32"), np.zeros((0, 0, 0, 0), "float32"))
    return Prepared(bands, points, samples, report, spec, none)


def with_windows(found: Prepared, recipe: MapTrainSetup) -> Prepared:
    """Read the windows of samples, and the codes of bands of classes."""
    bands, samples = found.bands, found.samples
    classes = _classes(bands, samples, found.spec, recipe.categories)
    spec = replace(found.spec, categories=classes)
    raw = gather(bands, samples, spec)
    quantities = _quantities(raw, spec)
    notes = suspects(quantities, {name: bands.data[name].attrs for name in quantities})
    return replace(found, spec=spec, raw=raw, warnings=tuple(notes))


def decisive(prepared: Prepared, recipe: MapTrainSetup) -> dict[str, Any]:
    """Return all that decides networks and regressions, in JSON values."""
    settings = recipe.settings()
    del settings["stamp"]  # of the table's file; what was read of it decides
    return {
        "points": prepared.digest,
        **settings,
        "split": recipe.split.grouping(),
        "bands": list(prepared.spec.features),
        "hmx": code_version(),
    }


def _classes(
    bands: Bands, samples: Samples, spec: MapSpec, categories: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Read the codes around the samples of each band of classes."""
    names = declared(bands, categories)
    if odd := [name for name in names if name in spec.transforms]:
        raise BadArgument(
            f"{odd[0]!r} is a band of classes and has transform={spec.transforms[odd[0]]!r}: codes "
            "have no logarithm. Leave out one of both."
        )
    if not names:
        return {}
    dynamic, static = (
        tuple(name for name in kind if name in names) for kind in (bands.dynamic, bands.static)
    )
    plain = replace(
        spec,
        dynamic=dynamic,
        static=static,
        network=spec.network.model_copy(update={"coarse": ()}),
        depth=False,
    )
    raw = gather(bands.only(dynamic, static), samples, plain)
    planes = {n: raw.dynamic[:, :, at] for at, n in enumerate(dynamic)}
    planes |= {n: raw.static[:, at] for at, n in enumerate(static)}
    return {name: classes_of(name, planes[name]) for name in names}


def _quantities(raw: RawWindows, spec: MapSpec) -> dict[str, np.ndarray]:
    """Return the windows of each band without classes, (n, w, w), of the last step."""
    series = enumerate(spec.planes(spec.dynamic))
    found = {n: raw.dynamic[:, -1, at] for at, n in series if n not in spec.categories}
    planes = enumerate(spec.planes(spec.static))
    return found | {n: raw.static[:, at] for at, n in planes if n not in spec.categories}
