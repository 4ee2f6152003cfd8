"""Map workflow: make what a catalog with points asks for, and reuse what still fits.

As :mod:`hmx.workflow`, of the other job: each function ensures one product and those it
stands on, and says in one line what it builds and why.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmx.bands import enter_bands
from hmx.catalog import MapCatalog, is_url
from hmx.cube import open_cube
from hmx.current import is_current
from hmx.describe_mapper import describe_held_out
from hmx.draft import sweep
from hmx.map_bundle import MapBundle
from hmx.map_options import MapperOptions, PointsOptions
from hmx.map_train_options import MapTrainOptions
from hmx.mapping_options import MapOptions, MapScoreOptions
from hmx.modelfolder import DESCRIPTION, require_bundle_place
from hmx.parsing import HARDWARE, own_fields
from hmx.places import require_writable
from hmx.points.joining import join, require_new
from hmx.points.suspects import require_learnable
from hmx.points.table import Points, read_points
from hmx.progress import QUIET, Talk
from hmx.remote_models import is_remote
from hmx.stamps import stamp
from hmx.workflow import ensure_cube, foresee

if TYPE_CHECKING:
    from hmx.evaluate.mapper.scorecard import MapScorecard
    from hmx.learn.mapper.recipe import MapRecipe
    from hmx.predict.job import Job
    from hmx.predict.plan import Plan


def ensure_land(catalog: MapCatalog, talk: Talk = QUIET, *, overwrite: bool = False) -> str:
    """Ingest the catalog's covariates, and look at its points before and after.

    Parameters
    ----------
    catalog : MapCatalog
        Names sources, cube and points.
    talk : Talk
        For progress, and what became of the points.
    overwrite : bool
        Ingest again even if the cube is current.

    Returns
    -------
    str
        Path of the cube.
    """
    _read(catalog)
    path = ensure_cube(catalog, talk, overwrite=overwrite)
    talk.say(f"points: {describe_points(catalog)}")
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
        bands = enter_bands(open_cube(catalog.cube.path))
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


def _before_work(catalog: MapCatalog, talk: Talk) -> None:
    """Ensure the cube, and read the points first where it is still to be made."""
    if not is_current(catalog):
        _read(catalog)
    ensure_cube(catalog, talk)


def ensure_mapper(catalog: MapCatalog, talk: Talk = QUIET, *, overwrite: bool = False) -> MapBundle:
    """Train the catalog's mapper, unless one with these settings is there.

    Parameters
    ----------
    catalog : MapCatalog
        Names points, network, training and place.
    talk : Talk
        For progress.
    overwrite : bool
        Train again even if the model is current.

    Returns
    -------
    MapBundle
        Saved at ``catalog.model_path``.
    """
    from hmx.loading import load_mapper

    if is_remote(catalog.model_path):
        ensure_cube(catalog, talk)
        talk.say(f"model: {catalog.model_path}")
        return load_mapper(catalog.model_path)
    path = Path(catalog.model_path)
    require_bundle_place(path)
    require_writable(str(path), "model.path")
    _before_work(catalog, talk)
    recipe, cube = _recipe(catalog), open_cube(catalog.cube.path)
    bundle, why = _found(path, recipe, cube, overwrite=overwrite)
    if bundle is None:
        from hmx.learn.fitting import alone  # loads torch and Lightning

        with alone(path, catalog.train, talk.say):  # and looked at again
            bundle, why = _found(path, recipe, cube, overwrite=overwrite)
            if bundle is None:
                talk.say(f"model: training {path} ({why})")

                from hmx.learn.mapper.train import train

                bundle = train(cube, catalog.points.path, recipe, out=path, talk=talk)
                talk.say(f"model: held out {describe_held_out(bundle)}")
                return bundle
    talk.say(f"model: {path} is there and current")
    sweep(path)
    return bundle


def _found(
    path: Path, recipe: MapRecipe, cube: Any, *, overwrite: bool
) -> tuple[MapBundle | None, str]:
    """Load a mapper if it is there and current; else say why it is to be trained."""
    from hmx.loading import load_mapper

    if not (path / DESCRIPTION).is_file():
        return None, "there is none yet"
    bundle = load_mapper(path)
    change = _change(bundle, recipe.settings(), cube.attrs.get("hmx_fingerprint"))
    return (bundle, "") if change is None and not overwrite else (None, change or "as asked")


def ensure_map(
    catalog: MapCatalog,
    talk: Talk = QUIET,
    *,
    region: Any = None,
    overwrite: bool = False,
) -> str:
    """Map what the catalog asks for, unless it is there.

    Parameters
    ----------
    catalog : MapCatalog
        Names levels, date, output and GeoTIFFs.
    talk : Talk
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
    from hmx.predict.job import run  # loads torch
    from hmx.predict.output import require_free

    require_free(catalog.map_path, what="map: --output PATH")
    job = _job(catalog, ensure_mapper(catalog, talk), region=region)
    store = run(job, catalog.dask, overwrite=overwrite, talk=talk)
    if catalog.map.cog is not None:
        from hmx.products.cog import export_cog

        files = export_cog(store, catalog.map.cog, progress=talk.progress())
        talk.say(f"map: {len(files)} GeoTIFFs in {catalog.map.cog}")
    return store


def _cogs(catalog: MapCatalog) -> dict[str, str]:
    return {} if catalog.map.cog is None else {"map__cog": catalog.map.cog}


def evaluate_mapper(
    catalog: MapCatalog, talk: Talk = QUIET, *, overwrite: bool = False
) -> tuple[str, MapScorecard]:
    """Score the catalog's way to make a mapper, unless that is done.

    Parameters
    ----------
    catalog : MapCatalog
        Names splits, levels and the folder of the scorecard.
    talk : Talk
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
    from hmx.evaluate.mapper.score import score  # loads torch

    _before_work(catalog, talk)
    card = score(
        open_cube(catalog.cube.path),
        catalog.points.path,
        _recipe(catalog),
        MapScoreOptions(**own_fields(catalog.evaluate, MapScoreOptions)),
        out=catalog.scorecard_path,
        overwrite=overwrite,
        talk=talk,
    )
    return catalog.scorecard_path, card


def plan_catalog_map(catalog: MapCatalog, talk: Talk = QUIET, *, region: Any = None) -> Plan:
    """Plan the catalog's map; ingest and train first if need be.

    Parameters
    ----------
    catalog : MapCatalog
        Names levels, output and workers.
    talk : Talk
        For progress.
    region : optional
        As in ``ds.soc.map``.
    """
    foresee(catalog)
    from hmx.predict.plan import plan  # loads torch

    job = _job(catalog, ensure_mapper(catalog, talk), region=region)
    talk.say("plan: timing one tile")
    return plan(job.order, job.inventory, catalog.dask)


def _job(catalog: MapCatalog, bundle: MapBundle, *, region: Any = None) -> Job:
    """Put together what a catalog's map is."""
    from hmx.predict.job import Job, adopt
    from hmx.predict.mapper.order import MapOrder

    source, store = catalog.cube.path, catalog.map_path
    options = adopt(MapOptions(**own_fields(catalog.map, MapOptions)), store)
    order = MapOrder.of(open_cube(source, chunks=None), bundle, options, region=region)
    return Job(order, source, store)


def _recipe(catalog: MapCatalog) -> MapRecipe:
    """Write down how the catalog's mapper is made."""
    from hmx.learn.mapper.recipe import MapRecipe  # loads torch and Lightning

    path = catalog.points.path
    return MapRecipe(
        points=PointsOptions(**own_fields(catalog.points, PointsOptions)),
        network=MapperOptions(**own_fields(catalog.model, MapperOptions)),
        fit=MapTrainOptions(**own_fields(catalog.train, MapTrainOptions)),
        split=catalog.train.split,
        transforms=catalog.transforms,
        track=catalog.track.model_dump(),
        init_from=catalog.train.init_from,
        stamp=None if is_url(path) or not Path(path).is_file() else stamp(path)[:3],
    )


def _change(bundle: MapBundle, wants: dict[str, Any], cube: str | None) -> str | None:
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
