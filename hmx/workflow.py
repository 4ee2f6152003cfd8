"""Workflow: make what a catalog asks for, and reuse what is there and still fits.

Each function ensures one product and those it stands on, says in one line what
it builds and why, and returns the product's path. The command line is these
functions with flags.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmx.bundles.folder import DESCRIPTION, require_bundle_place
from hmx.bundles.hub import is_remote
from hmx.catalog import AnyCatalog, BaseCatalog, Catalog, MapCatalog
from hmx.cube.bands import as_bands
from hmx.cube.cube import open_cube
from hmx.cube.integrity.reading import damage_of
from hmx.cube.store import sweep
from hmx.files.lock import building
from hmx.files.paths import is_url
from hmx.files.writable import require_writable
from hmx.forecast.bundle import Bundle, fits_means
from hmx.forecast.options import BacktestOptions, ForecastOptions
from hmx.ingest.current import is_current, note_of
from hmx.ingest.ingest import ingest
from hmx.ingest.stamps import stamp
from hmx.mapping.bundle import MapBundle
from hmx.mapping.options import MapOptions, MapScoreOptions, MapTrainOptions
from hmx.networks.options import MapperOptions, ModelOptions
from hmx.points.joining import join, require_new
from hmx.points.options import PointsOptions
from hmx.points.suspects import require_learnable
from hmx.points.table import Points, read_points
from hmx.products.describe import describe_held_out, describe_skill
from hmx.progress import Progress
from hmx.settings import HARDWARE, own_fields

if TYPE_CHECKING:
    from hmx.cube.steps import Label
    from hmx.engine.job import Job
    from hmx.engine.plan import Plan
    from hmx.forecast.backtest.scorecard import Scorecard
    from hmx.forecast.folds import FoldPlan
    from hmx.forecast.train.recipe import TrainSetup
    from hmx.mapping.evaluate.scorecard import MapScorecard
    from hmx.mapping.train.recipe import MapTrainSetup


def ensure_cube(
    catalog: BaseCatalog, progress: Progress = Progress(), *, overwrite: bool = False
) -> str:
    """Ingest the catalog's sources, unless their cube is there.

    Parameters
    ----------
    catalog : BaseCatalog
        Names sources and cube.
    progress : Progress
        For progress.
    overwrite : bool
        Ingest again even if the cube is current.

    Returns
    -------
    str
        Path of the cube.
    """
    path = catalog.cube.path
    if overwrite or not is_current(catalog):
        require_writable(path, "cube.path")
        with building(path, progress):  # and looked at again: another run may have made it
            if overwrite or not is_current(catalog):
                if (damage := damage_of(path)) is not None:
                    progress.note(f"cube: {damage}")
                if (note := note_of(catalog)) is not None:
                    progress.note(f"cube: {path}: {note}")
                progress.note(f"cube: ingesting {', '.join(catalog.cube.sources)} into {path}")
                ingest(catalog, overwrite=overwrite, progress=progress)
                return path
    note = note_of(catalog)
    progress.note(f"cube: {path} is there and current" if note is None else f"cube: {path}: {note}")
    sweep(path)
    return path


def foresee(catalog: AnyCatalog, **outputs: str) -> None:
    """Refuse before hours of work what could not be computed or written after them.

    Parameters
    ----------
    catalog : Catalog or MapCatalog
        Names where to compute, cube and model.
    **outputs
        Paths of products by their key in the catalog, with ``__`` for the dot.

    Raises
    ------
    BadArgument, SourceError
        If a place cannot be written, or no scheduler answers.
    """
    places = {"cube.path": catalog.cube.path, "model.path": catalog.model_path}
    for key, path in (places | outputs).items():
        if not (key == "model.path" and is_remote(path)):
            require_writable(path, key.replace("__", "."))
    product = catalog.map if isinstance(catalog, MapCatalog) else catalog.forecast
    for device in {catalog.train.device, product.device} - {"auto", "cpu"}:
        from hmx.hardware import choose_device

        choose_device(device)
    if catalog.dask.cluster is not None or catalog.dask.scheduler is not None:
        from hmx.engine.pool.cluster import check  # loads distributed

        check(catalog.dask)


def ensure_model(
    catalog: Catalog, progress: Progress = Progress(), *, overwrite: bool = False
) -> Bundle:
    """Train the catalog's model, unless one with these settings is there.

    Parameters
    ----------
    catalog : Catalog
        Names the network, its training and its place.
    progress : Progress
        For progress.
    overwrite : bool
        Train again even if the model is current.

    Returns
    -------
    Bundle
        Saved at ``catalog.model_path``.
    """
    if is_remote(catalog.model_path):
        ensure_cube(catalog, progress)
        progress.note(f"model: {catalog.model_path}")
        return Bundle.load(catalog.model_path)
    path = Path(catalog.model_path)
    require_bundle_place(path)  # before hours of work for a place that is taken
    require_writable(str(path), "model.path")
    ensure_cube(catalog, progress)
    cube = open_cube(catalog.cube.path)
    bundle, why = _found(catalog, cube, overwrite=overwrite)
    if bundle is None:
        from hmx.training.loop import alone

        with alone(path, catalog.train, progress):  # and looked at again
            bundle, why = _found(catalog, cube, overwrite=overwrite)
            if bundle is None:
                progress.note(f"model: training {path} ({why})")
                return _trained(catalog, cube, progress)
    progress.note(f"model: {path} is there and current")
    sweep(path)
    return bundle


def _found(catalog: Catalog, cube: Any, *, overwrite: bool) -> tuple[Bundle | None, str]:
    """Load the catalog's model if it is there and current; else say why it is to be trained."""
    path = Path(catalog.model_path)
    if not (path / DESCRIPTION).is_file():
        return None, "there is none yet"
    bundle = Bundle.load(path)
    change = _change(bundle.training, _settings(catalog, cube.attrs.get("hmx_fingerprint")))
    if set(bundle.spec.future) != set(catalog.future):
        change = "other covariates are known ahead"
    if change is None and not overwrite:
        return bundle, ""
    return None, change or "as asked"


def _trained(catalog: Catalog, cube: Any, progress: Progress) -> Bundle:
    from hmx.forecast.train.train import train  # loads torch and Lightning

    bundle = train(cube, _recipe(catalog, cube), out=catalog.model_path, progress=progress)
    progress.note(f"model: skill {describe_skill(bundle.training.get('validation', {}))}")
    if not fits_means(bundle):
        progress.note(
            "model: on steps left out, a linear regression does worse than persistence: what one "
            "map shows the next takes back. Means are held at the last map; look at hmx evaluate"
        )
    return bundle


def ensure_forecast(
    catalog: Catalog,
    progress: Progress = Progress(),
    *,
    region: Any = None,
    overwrite: bool = False,
) -> str:
    """Forecast what the catalog asks for, unless it is there.

    Parameters
    ----------
    catalog : Catalog
        Names leads, levels and output.
    progress : Progress
        For progress.
    region : optional
        As in ``ds.hm.forecast``.
    overwrite : bool
        Replace a forecast of other settings.

    Returns
    -------
    str
        Path of the forecast's store.

    Raises
    ------
    OutputExists, OutputBusy, OutputFailed
        If the output holds something else or another forecast, is being written
        by another job, or cannot be written.
    JobFailed
        If tiles failed, or the scheduler went away; the rest is done.
    """
    path = catalog.forecast_path
    foresee(catalog, forecast__output=path)
    from hmx.engine.job import run  # loads torch
    from hmx.engine.output import require_free

    require_free(path, what="forecast: --output PATH")  # before hours of work for a taken place
    job = _job(catalog, ensure_model(catalog, progress), region=region)
    return run(job, catalog.dask, overwrite=overwrite, progress=progress)


def evaluate(
    catalog: Catalog,
    progress: Progress = Progress(),
    *,
    model: str | None = None,
    overwrite: bool = False,
) -> tuple[str, Scorecard]:
    """Score the catalog's way to make a model, or a model, unless that is done.

    Parameters
    ----------
    catalog : Catalog
        Names leads, origins, folds and the folder of the scorecard.
    progress : Progress
        For progress.
    model : str, optional
        Folder of a model to score on what it records as held out. Default: the
        catalog's model is fitted anew at each origin.
    overwrite : bool
        Score again even if the scorecard is current.

    Returns
    -------
    str
        Path of the scorecard's folder.
    Scorecard
        The scores.

    Raises
    ------
    BadArgument
        If the model holds nothing out.
    OutputExists
        If the place holds something else.
    JobFailed
        If tiles failed; what is finished is kept.
    """
    path, judged = catalog.scorecard_path, None if model is None else Bundle.load(model)
    foresee(catalog, evaluate__output=path)
    from hmx.forecast.backtest.backtest import evaluate as score  # loads torch

    ensure_cube(catalog, progress)
    cube = open_cube(catalog.cube.path)
    card = score(
        cube,
        judged or _recipe(catalog, cube),
        BacktestOptions(**own_fields(catalog.evaluate, BacktestOptions)),
        zones=catalog.evaluate.zones,
        out=path,
        section=catalog.dask,
        overwrite=overwrite,
        progress=progress,
    )
    return path, card


def plan_forecast(catalog: Catalog, progress: Progress = Progress(), *, region: Any = None) -> Plan:
    """Plan the catalog's forecast; ingest and train first if need be.

    Parameters
    ----------
    catalog : Catalog
        Names leads, levels, output and workers.
    progress : Progress
        For progress.
    region : optional
        As in ``ds.hm.forecast``.
    """
    foresee(catalog)
    from hmx.engine.plan import plan  # loads torch

    job = _job(catalog, ensure_model(catalog, progress), region=region)
    progress.note("plan: timing one tile")
    return plan(job.order, job.inventory, catalog.dask)


def plan_folds(
    catalog: Catalog,
    progress: Progress = Progress(),
    *,
    block_m: float | None = None,
    buffer: int | None = None,
    folds: int | None = None,
    until: Label | None = None,
) -> FoldPlan:
    """Split the cube of a catalog as training would, as :func:`hmx.forecast.folds.fold_plan`."""
    from hmx.forecast.folds import fold_plan

    ensure_cube(catalog, progress)
    return fold_plan(
        open_cube(catalog.cube.path),
        catalog.train,
        network=catalog.model,
        target=catalog.cube.target,
        block_m=block_m,
        buffer=buffer,
        folds=folds,
        until=until,
    )


def _job(catalog: Catalog, bundle: Bundle, *, region: Any = None) -> Job:
    """Put together what a catalog's forecast is."""
    from hmx.engine.header import adopt
    from hmx.engine.job import Job
    from hmx.forecast.order import ForecastRun

    source, store = catalog.cube.path, catalog.forecast_path
    options = adopt(ForecastOptions(**own_fields(catalog.forecast, ForecastOptions)), store)
    order = ForecastRun.of(open_cube(source, chunks=None), bundle, options, region=region)
    return Job(order, source, store)


def _recipe(catalog: Catalog, cube: Any) -> TrainSetup:
    """Write down how the catalog's model is made."""
    from hmx.forecast.train.recipe import TrainSetup

    return TrainSetup(
        target=catalog.cube.target,
        dynamic=_named(cube, "dynamic"),
        static=_named(cube, "static"),
        network=_network(catalog),
        fit=catalog.train,
        track=catalog.track.model_dump(),
        transforms=catalog.transforms,
        future=catalog.future,
    )


def _network(catalog: Catalog) -> ModelOptions:
    return ModelOptions(**own_fields(catalog.model, ModelOptions))


def _named(cube: Any, role: str) -> tuple[str, ...]:
    return tuple(str(n) for n, v in cube.data_vars.items() if v.attrs.get("hmx_role") == role)


def _settings(catalog: Catalog, data: str | None) -> dict[str, Any]:
    """Collect what decides a model, as a bundle records it, in JSON's own types."""
    facts = {
        "network": _network(catalog).model_dump(mode="json"),
        "fit": catalog.train.model_dump(mode="json", exclude=set(HARDWARE)),
        "transforms": catalog.transforms,
        "cube": data if catalog.train.until is None else None,
    }
    settings: dict[str, Any] = json.loads(json.dumps(facts))
    return settings


def _change(had: Any, wants: dict[str, Any]) -> str | None:
    """Say what differs from the settings a model was trained with."""
    for section, name in (("network", "model"), ("fit", "train")):
        for key, value in wants[section].items():
            before = had.get(section, {}).get(key)
            if before != value:
                return f"{name}.{key} is {value}, and was {before}"
    if had.get("transforms", {}) != wants["transforms"]:
        return "covariates are transformed otherwise"
    return None if had.get("cube") == wants["cube"] else "the cube has changed since"


def ensure_land(
    catalog: MapCatalog, progress: Progress = Progress(), *, overwrite: bool = False
) -> str:
    """Ingest the catalog's covariates, and look at its points before and after.

    Parameters
    ----------
    catalog : MapCatalog
        Names sources, cube and points.
    progress : Progress
        For progress, and what became of the points.
    overwrite : bool
        Ingest again even if the cube is current.

    Returns
    -------
    str
        Path of the cube.
    """
    _read(catalog)
    path = ensure_cube(catalog, progress, overwrite=overwrite)
    progress.note(f"points: {describe_points(catalog)}")
    return path


def describe_points(catalog: MapCatalog) -> str:
    """Say what becomes of the catalog's points: with its cube, or what the table alone holds.

    Parameters
    ----------
    catalog : MapCatalog
        Names points, columns and cube.

    Raises
    ------
    BadArgument, CubeError, MissingVariable, NotEnoughData, SourceError
        If points, columns and cube do not fit.
    """
    points = _read(catalog)
    if is_url(catalog.cube.path) or Path(catalog.cube.path).exists():
        bands = as_bands(open_cube(catalog.cube.path))
        network, least = catalog.model, catalog.points.min_valid
        samples, report = join(
            points, bands, window=network.window, history=network.history, min_valid=least
        )
        value, row = samples.value, samples.source
        said = str(report)
    else:
        value, row, said = points.value, points.row, points.describe()
    transform = catalog.train.transform
    require_learnable(value, row, points.target, points.names, transform=transform)
    return said


def _read(catalog: MapCatalog) -> Points:
    """Read the points: a wrong column is an error before hours of work on the cube."""
    options = PointsOptions(**own_fields(catalog.points, PointsOptions))
    points = read_points(catalog.points.path, **options.model_dump(exclude={"min_valid"}))
    require_new(points.target, catalog.cube.sources)
    return points


def _before_work(catalog: MapCatalog, progress: Progress) -> None:
    """Ensure the cube, and read the points first where it is still to be made."""
    if not is_current(catalog):
        _read(catalog)
    ensure_cube(catalog, progress)


def ensure_mapper(
    catalog: MapCatalog, progress: Progress = Progress(), *, overwrite: bool = False
) -> MapBundle:
    """Train the catalog's mapper, unless one with these settings is there.

    Parameters
    ----------
    catalog : MapCatalog
        Names points, network, training and place.
    progress : Progress
        For progress.
    overwrite : bool
        Train again even if the model is current.

    Returns
    -------
    MapBundle
        Saved at ``catalog.model_path``.
    """
    if is_remote(catalog.model_path):
        ensure_cube(catalog, progress)
        progress.note(f"model: {catalog.model_path}")
        return MapBundle.load(catalog.model_path)
    path = Path(catalog.model_path)
    require_bundle_place(path)
    require_writable(str(path), "model.path")
    _before_work(catalog, progress)
    recipe, cube = _map_recipe(catalog), open_cube(catalog.cube.path)
    bundle, why = _found_mapper(path, recipe, cube, overwrite=overwrite)
    if bundle is None:
        from hmx.training.loop import alone

        with alone(path, catalog.train, progress):  # and looked at again
            bundle, why = _found_mapper(path, recipe, cube, overwrite=overwrite)
            if bundle is None:
                progress.note(f"model: training {path} ({why})")

                from hmx.mapping.train.train import train

                bundle = train(cube, catalog.points.path, recipe, out=path, progress=progress)
                progress.note(f"model: held out {describe_held_out(bundle)}")
                return bundle
    progress.note(f"model: {path} is there and current")
    sweep(path)
    return bundle


def _found_mapper(
    path: Path, recipe: MapTrainSetup, cube: Any, *, overwrite: bool
) -> tuple[MapBundle | None, str]:
    """Load a mapper if it is there and current; else say why it is to be trained."""
    if not (path / DESCRIPTION).is_file():
        return None, "there is none yet"
    bundle = MapBundle.load(path)
    change = _mapper_change(bundle, recipe.settings(), cube.attrs.get("hmx_fingerprint"))
    return (bundle, "") if change is None and not overwrite else (None, change or "as asked")


def ensure_map(
    catalog: MapCatalog,
    progress: Progress = Progress(),
    *,
    region: Any = None,
    overwrite: bool = False,
) -> str:
    """Map what the catalog asks for, unless it is there.

    Parameters
    ----------
    catalog : MapCatalog
        Names levels, date, output and GeoTIFFs.
    progress : Progress
        For progress.
    region : optional
        As in ``ds.soc.map``.
    overwrite : bool
        Replace a map of other settings.

    Returns
    -------
    str
        Path of the map's store.

    Raises
    ------
    OutputExists, OutputBusy, OutputFailed
        If the output holds something else or another map, is being written by another
        job, or cannot be written.
    JobFailed
        If tiles failed, or the scheduler went away; the rest is done.
    """
    foresee(catalog, map__output=catalog.map_path, **_cogs(catalog))
    from hmx.engine.job import run  # loads torch
    from hmx.engine.output import require_free

    require_free(catalog.map_path, what="map: --output PATH")
    job = _map_job(catalog, ensure_mapper(catalog, progress), region=region)
    store = run(job, catalog.dask, overwrite=overwrite, progress=progress)
    if catalog.map.cog is not None:
        from hmx.products.cog import export_cog

        files = export_cog(store, catalog.map.cog, progress=progress)
        progress.note(f"map: {len(files)} GeoTIFFs in {catalog.map.cog}")
    return store


def _cogs(catalog: MapCatalog) -> dict[str, str]:
    return {} if catalog.map.cog is None else {"map__cog": catalog.map.cog}


def evaluate_mapper(
    catalog: MapCatalog, progress: Progress = Progress(), *, overwrite: bool = False
) -> tuple[str, MapScorecard]:
    """Score the catalog's way to make a mapper, unless that is done.

    Parameters
    ----------
    catalog : MapCatalog
        Names splits, levels and the folder of the scorecard.
    progress : Progress
        For progress.
    overwrite : bool
        Score again even if the scorecard is current.

    Returns
    -------
    str
        Path of the scorecard's folder.
    MapScorecard
        The scores.
    """
    foresee(catalog, evaluate__output=catalog.scorecard_path)
    from hmx.mapping.evaluate.score import score  # loads torch

    _before_work(catalog, progress)
    card = score(
        open_cube(catalog.cube.path),
        catalog.points.path,
        _map_recipe(catalog),
        MapScoreOptions(**own_fields(catalog.evaluate, MapScoreOptions)),
        out=catalog.scorecard_path,
        overwrite=overwrite,
        progress=progress,
    )
    return catalog.scorecard_path, card


def plan_catalog_map(
    catalog: MapCatalog, progress: Progress = Progress(), *, region: Any = None
) -> Plan:
    """Plan the catalog's map; ingest and train first if need be.

    Parameters
    ----------
    catalog : MapCatalog
        Names levels, output and workers.
    progress : Progress
        For progress.
    region : optional
        As in ``ds.soc.map``.
    """
    foresee(catalog)
    from hmx.engine.plan import plan  # loads torch

    job = _map_job(catalog, ensure_mapper(catalog, progress), region=region)
    progress.note("plan: timing one tile")
    return plan(job.order, job.inventory, catalog.dask)


def _map_job(catalog: MapCatalog, bundle: MapBundle, *, region: Any = None) -> Job:
    """Put together what a catalog's map is."""
    from hmx.engine.header import adopt
    from hmx.engine.job import Job
    from hmx.mapping.order import MapRun

    source, store = catalog.cube.path, catalog.map_path
    options = adopt(MapOptions(**own_fields(catalog.map, MapOptions)), store)
    order = MapRun.of(open_cube(source, chunks=None), bundle, options, region=region)
    return Job(order, source, store)


def _map_recipe(catalog: MapCatalog) -> MapTrainSetup:
    """Write down how the catalog's mapper is made."""
    from hmx.mapping.train.recipe import MapTrainSetup  # loads torch and Lightning

    path = catalog.points.path
    return MapTrainSetup(
        points=PointsOptions(**own_fields(catalog.points, PointsOptions)),
        network=MapperOptions(**own_fields(catalog.model, MapperOptions)),
        fit=MapTrainOptions(**own_fields(catalog.train, MapTrainOptions)),
        split=catalog.train.split,
        transforms=catalog.transforms,
        track=catalog.track.model_dump(),
        init_from=catalog.train.init_from,
        stamp=None if is_url(path) or not Path(path).is_file() else stamp(path)[:3],
    )


def _mapper_change(bundle: MapBundle, wants: dict[str, Any], cube: str | None) -> str | None:
    """Say what differs from the settings a mapper was trained with."""
    had = bundle.training
    sections = {"table": "points", "network": "model", "fit": "train", "split": "train.split"}
    for section, name in sections.items():
        for key, value in wants[section].items():
            before = had.get(section, {}).get(key, value if value in ([], None) else None)
            if before != value and key not in HARDWARE:
                return f"{name}.{key} is {value}, and was {before}"
    for key, why in (
        ("transforms", "bands are transformed otherwise"),
        ("init_from", "it starts from another mapper"),
        ("stamp", "the points have changed since"),
    ):
        if had.get(key) != wants[key]:
            return why
    return None if had.get("cube") == cube else "the cube has changed since"
