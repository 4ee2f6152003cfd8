"""Ensure: make a product and what it depends on, unless it exists and is current.

Each function reports in one line what it builds and why.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import xarray as xr

from hmx.bundles.folder import DESCRIPTION, require_bundle_place
from hmx.bundles.hub import is_remote
from hmx.catalog import AnyCatalog, BaseCatalog, Catalog, MapCatalog
from hmx.cube.bands import as_bands
from hmx.cube.cube import open_cube
from hmx.cube.integrity.reading import damage_of
from hmx.cube.store import attributes, sweep
from hmx.errors import BadArgument
from hmx.files.lock import building
from hmx.files.paths import is_url, require_writable
from hmx.forecast.bundle import Bundle
from hmx.ingest.ingest import ingest
from hmx.ingest.manifest import is_current, note_of
from hmx.mapping.options import PredictOptions
from hmx.mapping.target import require_target
from hmx.points.joining import join
from hmx.progress import Progress
from hmx.settings import own_fields
from hmx.workflow.steps import AnyBundle, JobSteps, MapSteps, steps_of
from hmx.zones.options import ZonalOptions

if TYPE_CHECKING:
    from hmx.cube.cube import Region
    from hmx.engine.job import Job
    from hmx.forecast.backtest.scorecard import Scorecard
    from hmx.mapping.evaluate.scorecard import MapScorecard
    from hmx.mapping.select.selection import Selection


def preflight(catalog: AnyCatalog, outputs: dict[str, str] | None = None) -> None:
    """Refuse before hours of work what could not be computed or written after them.

    Checks the paths in `outputs` (by catalog key), the device and the scheduler.
    """
    paths = {"cube.path": catalog.cube.path, "model.path": catalog.model_path}
    for key, path in (paths | (outputs or {})).items():
        if not (key == "model.path" and is_remote(path)):
            require_writable(path, key)
    section = catalog.map if isinstance(catalog, MapCatalog) else catalog.forecast
    for device in {catalog.train.device, section.device} - {"auto", "cpu"}:
        from hmx.hardware import choose_device

        choose_device(device)
    if catalog.dask.cluster is not None or catalog.dask.scheduler is not None:
        from hmx.engine.pool.cluster import check  # loads distributed

        check(catalog.dask)


def ensure_cube(
    catalog: BaseCatalog, progress: Progress = Progress(), *, overwrite: bool = False
) -> str:
    """Ingest the catalog's sources, unless their cube is current; return the cube's path."""
    path = catalog.cube.path
    if overwrite or not is_current(catalog):
        require_writable(path, "cube.path")
        with building(path, progress):
            # checked again under the lock: another run may have made it meanwhile
            if overwrite or not is_current(catalog):
                if (damage := damage_of(path)) is not None:
                    progress.note(f"cube: {damage}")
                if (note := note_of(catalog)) is not None:
                    progress.note(f"cube: {path}: {note}")
                progress.note(f"cube: ingesting {', '.join(catalog.cube.sources)} into {path}")
                ingest(catalog, overwrite=overwrite, progress=progress)
                return path
    note = note_of(catalog)
    progress.note(f"cube: {path}{' exists and is current' if note is None else f': {note}'}")
    sweep(path)
    return path


def ensure_inputs(
    catalog: AnyCatalog, progress: Progress = Progress(), *, overwrite: bool = False
) -> str:
    """Ingest as :func:`ensure_cube`; check the points of a map before and after."""
    if not isinstance(catalog, MapCatalog):
        return ensure_cube(catalog, progress, overwrite=overwrite)
    MapSteps(catalog).points()
    path = ensure_cube(catalog, progress, overwrite=overwrite)
    progress.note(f"points: {describe_points(catalog)}")
    return path


def describe_points(catalog: MapCatalog) -> str:
    """Describe what becomes of the points: as samples of the cube, or alone if there is none."""
    points = MapSteps(catalog).points()
    if is_url(catalog.cube.path) or Path(catalog.cube.path).exists():
        network, min_valid = catalog.model, catalog.points.min_valid
        bands = as_bands(open_cube(catalog.cube.path), **catalog.covariates)
        samples, report = join(
            points, bands, window=network.window, history=network.history, min_valid=min_valid
        )
        value, row, text = samples.value, samples.source, str(report)
    else:
        value, row, text = points.value, points.row, points.describe()
    require_target(value, row, points, catalog.train.transform)
    return text


def ensure_model(
    catalog: AnyCatalog, progress: Progress = Progress(), *, overwrite: bool = False
) -> AnyBundle:
    """Train the catalog's model, unless one with these settings exists."""
    steps, path = steps_of(catalog), Path(catalog.model_path)
    if is_remote(catalog.model_path):
        ensure_cube(catalog, progress)
        progress.note(f"model: {catalog.model_path}")
        loaded: AnyBundle = steps.bundle.load(catalog.model_path)
        return loaded
    require_bundle_place(path)  # before hours of work for a path that is taken
    require_writable(str(path), "model.path")
    steps.check_inputs()
    ensure_cube(catalog, progress)
    cube = open_cube(catalog.cube.path)

    bundle, why = current_model(steps, cube, overwrite=overwrite)
    if bundle is None:
        from hmx.training.loop import alone

        with alone(path, catalog.train, progress):
            # another run may have trained it meanwhile
            bundle, why = current_model(steps, cube, overwrite=overwrite)
            if bundle is None:
                progress.note(f"model: training {path} ({why})")
                trained: AnyBundle = steps.train(cube, progress)
                return trained
    progress.note(f"model: {path} exists and is current")
    sweep(path)
    return bundle


def current_model(
    steps: JobSteps[Any], cube: xr.Dataset, *, overwrite: bool = False
) -> tuple[AnyBundle | None, str]:
    """Load the catalog's model if it is current; else return the reason why it is not."""
    path = Path(steps.catalog.model_path)
    if not (path / DESCRIPTION).is_file():
        return None, "there is none yet"
    bundle: AnyBundle = steps.bundle.load(path)
    change = steps.change(bundle, cube)
    return (bundle, "") if change is None and not overwrite else (None, change or "as asked")


def job_of(steps: JobSteps[Any], bundle: AnyBundle, region: Region) -> Job:
    """Return the job that computes a result from the cube's store."""
    from hmx.engine.job import Job

    source = steps.catalog.cube.path
    return Job(steps.run(open_cube(source, chunks=None), bundle, region), source, steps.result)


def ensure_result(
    catalog: AnyCatalog,
    progress: Progress = Progress(),
    *,
    region: Region = None,
    overwrite: bool = False,
) -> str:
    """Forecast or map what the catalog names, unless it exists; return the store's path.

    Tiles that an interrupted run has finished are kept.
    """
    steps = steps_of(catalog)
    preflight(catalog, steps.outputs)
    from hmx.engine.job import run  # loads torch
    from hmx.engine.output import require_free

    require_free(steps.result, what=f"{steps.name}: --output PATH")  # before hours of work
    job = job_of(steps, ensure_model(catalog, progress), region)
    there = attributes(job.store).get("hmx_status") == "complete" and not overwrite
    store = run(job, catalog.dask, overwrite=overwrite, progress=progress)
    steps.finish(store, None if there else job.run, progress)
    return store


def ensure_zones(
    catalog: AnyCatalog,
    progress: Progress = Progress(),
    *,
    region: Region = None,
    overwrite: bool = False,
) -> str:
    """Add up what the catalog forecasts or maps over its zones; return the table's path.

    Tiles that an interrupted run has finished are kept.
    """
    section, path = catalog.zonal, catalog.zones_path
    if section.zones is None:
        raise BadArgument(
            "zonal.zones is not set: there are no zones to add up. Pass --zones parks.gpkg, or "
            "write zonal: {zones: parks.gpkg} into the catalog."
        )
    preflight(catalog, {"zonal.output": path})
    from hmx.engine.recall import Recalled  # loads torch
    from hmx.products import zones
    from hmx.zones.files import ZonesProduct
    from hmx.zones.layer import require_zones
    from hmx.zones.run import add_up_job

    product = ZonesProduct(path, section.zones)
    product.require_free(overwrite=overwrite)  # before hours of work
    require_zones(section.zones, section.id)
    job = job_of(steps_of(catalog), ensure_model(catalog, progress), region)
    options = ZonalOptions(**own_fields(section, ZonalOptions))
    found = Recalled(job.run, source=job.source)
    with building(product.work, progress):  # large layers lie there too
        zonal, origin = zones.checked_zonal(
            found, section.zones, options, folder=f"{product.work}/zones", progress=progress
        )
        asked = {"table": options.model_dump(mode="json"), "cube": zonal.state(job.source)}
        facts = zonal.facts() | asked
        if not overwrite and product.is_current(facts):
            progress.note(f"zonal: {path} exists and is current")
            product.clean()
            return path
        totals = add_up_job(
            zonal, job.source, product.parts, catalog.dask, overwrite=overwrite, progress=progress
        )
        table = zones.make_table(zonal, totals, options, origin)
        product.write(table, facts, id=options.id, overwrite=overwrite)
    return path


def ensure_predictions(catalog: MapCatalog, progress: Progress = Progress()) -> str:
    """Predict at the points of ``predict.points``; return the path of the table."""
    from hmx.mapping.predict import columns_of, require_free, write_predictions

    section, path = catalog.predict, catalog.predictions_path
    if section.points is None:
        raise BadArgument(
            "predict.points is not set: there are no points to predict at. Pass --points new.csv, "
            "or write predict: {points: new.csv} into the catalog."
        )
    preflight(catalog, {"predict.output": path})
    require_free(path)  # before hours of work
    named = {
        name: getattr(section, name)
        for name in ("x", "y", "crs", "date", "top", "bottom", "id", "layer")
    }
    columns = columns_of(section.points, named, catalog.points, depths=bool(section.depths))
    ensure_model(catalog, progress)
    from hmx.mapping.predict import predict  # loads torch

    asked = own_fields(section, PredictOptions)
    table = predict(
        open_cube(catalog.cube.path),
        section.points,
        model=catalog.model_path,
        device=catalog.map.device,
        progress=progress,
        **asked,
        **columns,
    )
    return write_predictions(table, path)


def ensure_report(
    catalog: AnyCatalog,
    progress: Progress = Progress(),
    *,
    card: str | None = None,
    overwrite: bool = False,
) -> str:
    """Write the report of what the catalog forecasts or maps; return its path.

    Zones of the catalog are added up; a scorecard is taken if there is one.
    """
    path, section = catalog.report_path, catalog.zonal
    preflight(catalog, {"report.output": path})
    from hmx.engine.recall import recall  # loads torch
    from hmx.products import report
    from hmx.products.zones import add_up_zones
    from hmx.report.page import require_ours, state_of

    require_ours(path, overwrite=overwrite)  # before hours of work
    if section.zones is not None:
        from hmx.zones.layer import require_zones

        require_zones(section.zones, section.id)
    folder = card or catalog.scorecard_path
    if card:
        report.load_card(card)
    found = recall(open_cube(ensure_result(catalog, progress)))
    scored = report.load_card(folder) if card or report.has_card(folder) else None
    if scored is None:
        progress.note("report: without a scorecard; hmx evaluate makes one")
    elif not card and (related := report.belonging(scored, found.run)).foreign:
        progress.note(f"report: without {folder}; hmx evaluate makes another. {related.text}")
        scored = None
    zonal = own_fields(section, ZonalOptions)
    state = report.report_state(found, scored, section.zones, zonal, catalog.report.budget)
    if not overwrite and state is not None and state_of(path) == state:
        progress.note(f"report: {path} exists and is current")
        return path
    sections = [report.score_section(found, scored)]
    if section.zones is not None:
        table = add_up_zones(found, section.zones, zonal, progress)
        sections.insert(0, report.zones_section(table))
    return str(
        report.write_report(
            found, path, sections, section=catalog.dask, budget=catalog.report.budget,
            state=state, overwrite=overwrite, progress=progress,
        )
    )  # fmt: skip


@overload
def evaluate(
    catalog: Catalog, progress: Progress = ..., *, model: str | None = ..., overwrite: bool = ...
) -> tuple[str, Scorecard]: ...
@overload
def evaluate(
    catalog: MapCatalog, progress: Progress = ..., *, overwrite: bool = ...
) -> tuple[str, MapScorecard]: ...
def evaluate(
    catalog: AnyCatalog,
    progress: Progress = Progress(),
    *,
    model: str | None = None,
    overwrite: bool = False,
) -> tuple[str, Scorecard | MapScorecard]:
    """Score the catalog's way to make a model, unless the scorecard is current.

    With `model`, the folder of a forecaster, score that on what it records as held out.
    Returns the scorecard's folder and the scorecard.
    """
    given = None if model is None else Bundle.load(model)
    preflight(catalog, {"evaluate.output": catalog.scorecard_path})
    steps = steps_of(catalog)
    steps.check_inputs()
    ensure_cube(catalog, progress)
    cube = open_cube(catalog.cube.path)
    return catalog.scorecard_path, steps.score(cube, given, overwrite=overwrite, progress=progress)


def select_covariates(
    catalog: MapCatalog, progress: Progress = Progress(), *, overwrite: bool = False
) -> tuple[str, Selection]:
    """Select among the sources of a catalog; ingest first if need be.

    Returns the folder of the selection and the selection. The catalog and its model stay as they
    are.
    """
    preflight(catalog, {"select.output": catalog.selection_path})
    steps = MapSteps(catalog)
    steps.check_inputs()
    ensure_cube(catalog, progress)
    return steps.select(open_cube(catalog.cube.path), overwrite=overwrite, progress=progress)
