"""Recipe: what a mapper is made of, and the samples it is made from.

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
from hmx.mapping.classes import class_notes
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
from hmx.splits.choose import fold_samples
from hmx.splits.distances import domain
from hmx.splits.options import SplitOptions
from hmx.splits.site_folds import SiteFolds
from hmx.windows import Span, Window

_LOOKED_AT = 1 << 24  # pixels of a grid up to which places without data are left out


@dataclass(frozen=True)
class MapTrainSetup:
    """What a mapper is made of.

    Parameters
    ----------
    points : PointsOptions
        Columns of the table, and which rows count.
    network : MapperOptions
        The network.
    fit : MapTrainOptions
        The fit.
    split : SplitOptions
        How samples are dealt for scores and intervals.
    dynamic, static : sequence of str, optional
        Bands. Default: all of the cube.
    transforms : mapping of str to str
        What bands go through before they are scaled.
    track : mapping, optional
        Where training is logged: fields of the catalog's ``track``.
    init_from : str, optional
        Folder of another mapper, whose trunk is the start.
    stamp : list of str, optional
        State of the file of points, to notice that it has changed.
    """

    points: PointsOptions = field(default_factory=PointsOptions)
    network: MapperOptions = field(default_factory=MapperOptions)
    fit: MapTrainOptions = field(default_factory=MapTrainOptions)
    split: SplitOptions = field(default_factory=SplitOptions)
    dynamic: Sequence[str] | None = None
    static: Sequence[str] | None = None
    transforms: Mapping[str, str] = field(default_factory=dict)
    track: Mapping[str, Any] | None = None
    init_from: str | None = None
    stamp: Sequence[Any] | None = None

    def settings(self) -> dict[str, Any]:
        """Say what was asked, in JSON values."""
        told: dict[str, Any] = {
            "table": self.points.model_dump(mode="json"),
            "network": self.network.model_dump(mode="json"),
            "fit": self.fit.model_dump(mode="json"),
            "split": self.split.model_dump(mode="json"),
            "transforms": dict(self.transforms),
            "init_from": self.init_from,
            "stamp": self.stamp,
        }
        found: dict[str, Any] = json.loads(json.dumps(told))
        return found


@dataclass(frozen=True)
class Prepared:
    """Samples, what lies around them, and what a network will be fed.

    Parameters
    ----------
    bands : Bands
        The cube.
    points : Points
        As they were read.
    samples : Samples
        Points that lie in it.
    report : JoinReport
        What became of the others.
    spec : MapSpec
        What a network is fed.
    raw : RawWindows
        Around all samples.
    warnings : tuple of str
        What should be known of the bands before they are learnt from.
    """

    bands: Bands
    points: Points
    samples: Samples
    report: JoinReport
    spec: MapSpec
    raw: RawWindows
    warnings: tuple[str, ...] = ()

    @property
    def values(self) -> np.ndarray:
        """The sampled quantity, native units, (n,)."""
        return self.samples.value

    def introduce(self, progress: Progress) -> None:
        """Say what became of the points, and what should be known of the bands."""
        progress.note(f"points: {self.report}")
        for warning in self.warnings:
            progress.note(f"bands: {warning}")

    def folds(self, split: SplitOptions, *, seed: int) -> SiteFolds:
        """Deal the samples into folds.

        Parameters
        ----------
        split : SplitOptions
            How.
        seed : int
            Of all draws.
        """
        region = None
        if split.region is not None:
            region = self.points.column(split.region)[self.samples.source]
        places = self.domain(seed=seed) if split.method == "knndm" else None
        return fold_samples(self.samples, split, seed=seed, domain=places, region=region)

    def domain(self, *, seed: int) -> np.ndarray:
        """Draw places of the map, degrees, (p, 2): pixels where the first band has data."""
        rows, columns = self.bands.grid.shape
        if rows * columns > _LOOKED_AT:
            return domain(self.bands.grid, seed=seed)
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
    """Read points and cube.

    Parameters
    ----------
    obj : Dataset or DataArray
        Bands on one grid.
    source : DataFrame, GeoDataFrame or path
        Points.
    recipe : MapTrainSetup
        Says what of them counts.

    Raises
    ------
    BadArgument, CubeError, MissingVariable, NotEnoughData, SourceError
        If points, cube and recipe do not fit.
    """
    chosen = recipe.points.model_dump(exclude={"min_valid"})
    points = read_points(source, **chosen)
    bands = as_bands(obj, dynamic=recipe.dynamic, static=recipe.static)
    network, least = recipe.network, recipe.points.min_valid
    samples, report = join(
        points, bands, window=network.window, history=network.history, min_valid=least
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
        transforms={
            name: transforms[name.partition("[")[0]]
            for name in bands.variables
            if name.partition("[")[0] in transforms
        },
        min_valid=least,
    )
    raw = gather(bands, samples, spec)
    attrs = {name: bands.data[name].attrs for name in bands.variables}
    notes = tuple(class_notes(raw, spec, attrs))
    return Prepared(bands, points, samples, report, spec, raw, notes)
