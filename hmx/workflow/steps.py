"""Steps: what one job adds to the workflow, under the same names for both jobs.

:mod:`hmx.workflow.ensure` is written once and calls :class:`JobSteps`; each job has its own. Both
compare a model with what a catalog describes now.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import xarray as xr

from hmx.bundles.folder import DESCRIPTION, as_model
from hmx.catalog import AnyCatalog, Catalog, MapCatalog
from hmx.files.paths import is_url
from hmx.forecast.bundle import Bundle, describe_means, fits_means
from hmx.forecast.options import BacktestOptions, ForecastOptions, TrainOptions
from hmx.ingest.manifest import is_current
from hmx.ingest.stamps import stamp
from hmx.mapping.bundle import MapBundle
from hmx.mapping.options import MapOptions, MapScoreOptions, MapTrainOptions
from hmx.mapping.select.options import SelectOptions
from hmx.networks.options import MapperOptions, ModelOptions
from hmx.points.joining import require_new
from hmx.points.options import PointsOptions
from hmx.points.table import Points, read_points
from hmx.products.describe import describe_held_out, describe_skill, kriging_line
from hmx.progress import Progress
from hmx.settings import HARDWARE, own_fields

if TYPE_CHECKING:
    from hmx.cube.cube import Region
    from hmx.engine.order import Run
    from hmx.forecast.backtest.scorecard import Scorecard
    from hmx.forecast.order import ForecastRun
    from hmx.forecast.train.cost import ForecasterPlan
    from hmx.forecast.train.recipe import TrainSetup
    from hmx.mapping.evaluate.scorecard import MapScorecard
    from hmx.mapping.order import MapRun
    from hmx.mapping.select.selection import Selection
    from hmx.mapping.train.cost import MapperPlan
    from hmx.mapping.train.recipe import MapTrainSetup

AnyBundle = Bundle | MapBundle
BundleT = TypeVar("BundleT", Bundle, MapBundle)
# defaults of earlier releases, for what is now chosen by the raster and the network
_FORMER = {"history": 3, "chip": 96, "context": [1, 3, 10, 30]}
# defaults of settings that bundles of earlier releases lack
_NEWER = (None, "crps", 0.2, "change")


class JobSteps(Protocol[BundleT]):
    """What a job adds to the workflow: how a model is made, run and scored."""

    name: str
    bundle: type[BundleT]
    result: str  # path of the store
    outputs: dict[str, str]  # paths that the job writes, by their key in the catalog

    @property
    def catalog(self) -> AnyCatalog:
        """The catalog that describes all of it."""

    def check_inputs(self) -> None:
        """Refuse wrong inputs before the cube is made."""

    def change(self, bundle: BundleT, cube: xr.Dataset) -> str | None:
        """Describe the first difference between a model and the catalog; None if it is current."""

    def train(self, cube: xr.Dataset, progress: Progress) -> BundleT:
        """Train the model, and report how good it is."""

    def plan_training(self, cube: xr.Dataset) -> tuple[Any, BundleT, float]:
        """Return the cost of the training, an untrained model and seconds a pixel it lacks."""

    def run(self, cube: xr.Dataset, bundle: BundleT, region: Region) -> Run[Any]:
        """Return the checked run; an unfinished store decides options that are unset."""

    def finish(self, store: str, made: Run[Any] | None, progress: Progress) -> None:
        """Write further files once the store is complete; ``made`` is what was computed now."""

    def score(
        self, cube: xr.Dataset, model: BundleT | None, *, overwrite: bool, progress: Progress
    ) -> Scorecard | MapScorecard:
        """Score a model, or the catalog's way to make one."""


class ForecastSteps:
    """:class:`JobSteps` of the forecast job."""

    name, bundle = "forecast", Bundle

    def __init__(self, catalog: Catalog):
        self.catalog, self.result = catalog, catalog.forecast_path
        self.outputs = {"forecast.output": self.result}
        self.network = ModelOptions(**own_fields(catalog.model, ModelOptions))
        self.fit = TrainOptions(**own_fields(catalog.train, TrainOptions))

    def check_inputs(self) -> None:
        """Do nothing: rasters are checked as they are ingested."""

    def setup(self, cube: xr.Dataset) -> TrainSetup:
        """Return how the catalog's model is made; the cube names the role of each variable."""
        from hmx.forecast.train.recipe import TrainSetup

        roles = {str(name): v.attrs.get("hmx_role") for name, v in cube.data_vars.items()}
        return TrainSetup(
            target=self.catalog.cube.target,
            dynamic=tuple(name for name, role in roles.items() if role == "dynamic"),
            static=tuple(name for name, role in roles.items() if role == "static"),
            network=self.network,
            fit=self.fit,
            track=self.catalog.track.model_dump(),
            transforms=self.catalog.transforms,
            future=self.catalog.future,
            init_from=self.catalog.train.init_from,
        )

    def change(self, bundle: Bundle, cube: xr.Dataset) -> str | None:
        """Compare with the settings in the bundle, in JSON's own types."""
        catalog, had = self.catalog, bundle.training
        if set(bundle.spec.future) != set(catalog.future):
            return "other covariates are known ahead"
        network, steps = self.network, had.get("steps", ())
        if len(steps) > 2:  # maps of the training, which decided a history that was left open
            network = network.settled(steps[2], catalog.train.h)
        if network.heads == "auto":  # a model of an earlier release has what was usual then
            heads = had.get("network", {}).get("heads", "auto")
            network = network.model_copy(update={"heads": heads})
        settings = {"network": network, "fit": self.fit}
        wanted = {name: options.model_dump(mode="json") for name, options in settings.items()}
        # through JSON, where tuples are lists, as in the bundle
        wanted = json.loads(json.dumps(wanted))
        sections = {"network": "model", "fit": "train"}
        if (change := changed(had, wanted, sections, absent=_NEWER)) is not None:
            return change
        if (change := other_start(had, catalog.train.init_from, Bundle)) is not None:
            return change
        if had.get("transforms", {}) != dict(catalog.transforms):
            return "covariates are transformed otherwise"
        # a model that learns until a fixed step does not change with the maps after it
        data = cube.attrs.get("hmx_fingerprint") if catalog.train.until is None else None
        return None if had.get("cube") == data else "the cube has changed since"

    def train(self, cube: xr.Dataset, progress: Progress) -> Bundle:
        """Train; report the skill, and means that are not forecast."""
        from hmx.forecast.train.train import train  # loads torch and Lightning

        bundle = train(cube, self.setup(cube), out=self.catalog.model_path, progress=progress)
        progress.note(f"model: skill {describe_skill(bundle.training.get('validation', {}))}")
        if (means := describe_means(bundle)) is not None:
            progress.note(
                f"model: {means}" + ("" if fits_means(bundle) else "; look at hmx evaluate")
            )
        return bundle

    def plan_training(self, cube: xr.Dataset) -> tuple[ForecasterPlan, Bundle, float]:
        """Time a few steps of the training in the middle of the cube."""
        from hmx.forecast.train.cost import plan_training  # loads torch and Lightning

        return (*plan_training(cube, self.setup(cube)), 0.0)

    def run(self, cube: xr.Dataset, bundle: Bundle, region: Region) -> ForecastRun:
        """Return the checked forecast; an unfinished store decides options that are unset."""
        from hmx.engine.ledger import adopt
        from hmx.forecast.order import ForecastRun

        options = ForecastOptions(**own_fields(self.catalog.forecast, ForecastOptions))
        return ForecastRun.check(cube, bundle, adopt(options, self.result), region=region)

    def finish(self, store: str, made: Run[Any] | None, progress: Progress) -> None:
        """Report a median that is the last map: a forecast is its store."""
        from hmx.forecast.order import ForecastRun
        from hmx.forecast.unmoved import describe_unmoved

        if isinstance(made, ForecastRun) and (line := describe_unmoved(made)) is not None:
            progress.note(f"forecast: {line}")

    def score(
        self, cube: xr.Dataset, model: Bundle | None, *, overwrite: bool, progress: Progress
    ) -> Scorecard:
        """Backtest a model, or the catalog's way to make one."""
        from hmx.forecast.backtest.backtest import evaluate as backtest  # loads torch

        section = self.catalog.evaluate
        if model is None and self.catalog.train.init_from is not None:
            progress.note(
                "scores: refits start from random weights, not from train.init_from, which may "
                "have learnt from the years that are scored"
            )
        return backtest(
            cube,
            model or replace(self.setup(cube), init_from=None),
            BacktestOptions(**own_fields(section, BacktestOptions)),
            zones=section.zones,
            out=self.catalog.scorecard_path,
            section=self.catalog.dask,
            overwrite=overwrite,
            progress=progress,
        )


class MapSteps:
    """:class:`JobSteps` of the map job."""

    name, bundle = "map", MapBundle

    def __init__(self, catalog: MapCatalog):
        self.catalog, self.result = catalog, catalog.map_path
        cog = catalog.map.cog
        self.outputs = {"map.output": self.result} | ({} if cog is None else {"map.cog": cog})

    def points(self) -> Points:
        """Read the points."""
        options = PointsOptions(**own_fields(self.catalog.points, PointsOptions))
        table = options.model_dump(exclude={"min_valid"})
        points = read_points(self.catalog.points.path, **table)
        require_new(points.target, self.catalog.cube.sources)
        return points

    def check_inputs(self) -> None:
        """Read the points while the cube is not there: a wrong column costs no hours."""
        if not is_current(self.catalog):
            self.points()

    @cached_property
    def setup(self) -> MapTrainSetup:
        """How the catalog's mapper is made."""
        from hmx.mapping.train.recipe import MapTrainSetup  # loads torch and Lightning

        catalog, path = self.catalog, self.catalog.points.path
        return MapTrainSetup(
            points=PointsOptions(**own_fields(catalog.points, PointsOptions)),
            network=MapperOptions(**own_fields(catalog.model, MapperOptions)),
            fit=MapTrainOptions(**own_fields(catalog.train, MapTrainOptions)),
            split=catalog.train.split,
            dynamic=catalog.covariates["dynamic"],
            static=catalog.covariates["static"],
            transforms=catalog.transforms,
            track=catalog.track.model_dump(),
            init_from=catalog.train.init_from,
            stamp=None if is_url(path) or not Path(path).is_file() else stamp(path)[:3],
        )

    def change(self, bundle: MapBundle, cube: xr.Dataset) -> str | None:
        """Compare with the settings in the bundle."""
        had, wanted = bundle.training, self.setup.settings()
        wanted["split"] = self.setup.split.grouping()  # folds of a scorecard decide no model
        sections = {"table": "points", "network": "model", "fit": "train", "split": "train.split"}
        # a setting that a bundle lacks is newer than the bundle: its empty default changes nothing
        change = changed(had, wanted, sections, absent=([], None, "auto"))
        change = change or other_start(had, wanted["init_from"], MapBundle)
        if change is not None:
            return change
        for key, why in (
            ("bands", "it reads other covariates"),
            ("transforms", "bands are transformed otherwise"),
            ("stamp", "the points have changed since"),
        ):
            if had.get(key) != wanted.get(key):
                return why
        same = had.get("cube") == cube.attrs.get("hmx_fingerprint")
        return None if same else "the cube has changed since"

    def train(self, cube: xr.Dataset, progress: Progress) -> MapBundle:
        """Train; report the scores on held-out samples."""
        from hmx.mapping.train.train import train  # loads torch and Lightning

        out, points = Path(self.catalog.model_path), self.catalog.points.path
        bundle = train(cube, points, self.setup, out=out, progress=progress)
        progress.note(f"model: held out {describe_held_out(bundle)}")
        progress.note(f"model: kriging {kriging_line(bundle)}")
        return bundle

    def plan_training(self, cube: xr.Dataset) -> tuple[MapperPlan, MapBundle, float]:
        """Time a few steps of the training on some of the samples."""
        from hmx.mapping.train.cost import plan_training  # loads torch and Lightning

        scored = MapScoreOptions(**own_fields(self.catalog.evaluate, MapScoreOptions))
        return plan_training(cube, self.catalog.points.path, self.setup, scored)

    def run(self, cube: xr.Dataset, bundle: MapBundle, region: Region) -> MapRun:
        """Return the checked map; an unfinished store decides options that are unset."""
        from hmx.engine.ledger import adopt
        from hmx.mapping.order import MapRun

        options = MapOptions(**own_fields(self.catalog.map, MapOptions))
        return MapRun.check(cube, bundle, adopt(options, self.result), region=region)

    def finish(self, store: str, made: Run[Any] | None, progress: Progress) -> None:
        """Write GeoTIFFs, if the catalog names their folder."""
        if (folder := self.catalog.map.cog) is not None:
            from hmx.exports.cog import export_cog

            files = export_cog(store, folder, progress=progress)
            progress.note(f"map: {len(files)} GeoTIFFs in {folder}")

    def score(
        self, cube: xr.Dataset, model: MapBundle | None, *, overwrite: bool, progress: Progress
    ) -> MapScorecard:
        """Cross-validate the catalog's way to make a mapper."""
        from hmx.mapping.evaluate.score import score  # loads torch

        return score(
            cube,
            self.catalog.points.path,
            self.setup,
            MapScoreOptions(**own_fields(self.catalog.evaluate, MapScoreOptions)),
            out=self.catalog.scorecard_path,
            overwrite=overwrite,
            progress=progress,
        )

    def select(
        self, cube: xr.Dataset, *, overwrite: bool, progress: Progress
    ) -> tuple[str, Selection]:
        """Select among all sources of the catalog; return the folder and the selection."""
        from hmx.mapping.select.select import select  # loads torch

        out, catalog = self.catalog.selection_path, self.catalog
        setup = replace(self.setup, dynamic=None, static=None)
        options = SelectOptions(**own_fields(catalog.select, SelectOptions))
        found = select(
            cube, catalog.points.path, setup, options,
            out=out, overwrite=overwrite, progress=progress,
        )  # fmt: skip
        return out, found


def steps_of(catalog: AnyCatalog) -> JobSteps[Any]:
    """Return the steps of a catalog's job."""
    return MapSteps(catalog) if isinstance(catalog, MapCatalog) else ForecastSteps(catalog)


def changed(
    had: Any, wanted: Any, sections: dict[str, str], *, absent: Any = (None,)
) -> str | None:
    """Return the first setting that differs, by its name in the catalog."""
    for section, name in sections.items():
        for key, value in wanted[section].items():
            before = had.get(section, {}).get(key, value if value in absent else None)
            if value is None and before == _FORMER.get(key):
                continue
            if before != value and key not in HARDWARE:
                return f"{name}.{key} is {value}, and was {before}"
    return None


def other_start(had: Any, wanted: str | None, kind: type[Bundle | MapBundle]) -> str | None:
    """Return how the model that a fit starts from differs, if it does."""
    if had.get("init_from") != wanted:
        return "it starts from another model"
    # A start that is elsewhere, or was removed after training, changes nothing
    if wanted is None or not (Path(wanted) / DESCRIPTION).is_file():
        return None
    # mappers of earlier releases have no digest of their start
    same = had.get("init_digest") in (None, as_model(kind, wanted).digest)
    return None if same else "the model that it starts from has changed since"
