"""Workflow: make what a catalog asks for, and reuse what is there and still fits.

Each function ensures one product and those it stands on, says in one line what
it builds and why, and returns the product's path. The command line is these
functions with flags.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmx.bundle import DESCRIPTION, Bundle, fits_means, load, require_bundle_place
from hmx.catalog import AnyCatalog, BaseCatalog, Catalog, MapCatalog
from hmx.cube import open_cube
from hmx.current import is_current, note_of
from hmx.describe import describe_skill
from hmx.draft import sweep
from hmx.ingest import ingest
from hmx.integrity.reading import damage_of
from hmx.lock import building
from hmx.options import ForecastOptions, ModelOptions
from hmx.parsing import HARDWARE, own_fields
from hmx.places import require_writable
from hmx.progress import QUIET, Talk
from hmx.remote_models import is_remote
from hmx.sections import BacktestOptions

if TYPE_CHECKING:
    from hmx.evaluate.scorecard import Scorecard
    from hmx.learn.train import Recipe
    from hmx.predict.job import Job
    from hmx.predict.plan import Plan


def ensure_cube(catalog: BaseCatalog, talk: Talk = QUIET, *, overwrite: bool = False) -> str:
    """Ingest the catalog's sources, unless their cube is there.

    Parameters
    ----------
    catalog : BaseCatalog
        Names sources and cube.
    talk : Talk
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
        with building(path, talk.say):  # and looked at again: another run may have made it
            if overwrite or not is_current(catalog):
                if (damage := damage_of(path)) is not None:
                    talk.say(f"cube: {damage}")
                if (note := note_of(catalog)) is not None:
                    talk.say(f"cube: {path}: {note}")
                talk.say(f"cube: ingesting {', '.join(catalog.cube.sources)} into {path}")
                ingest(catalog, overwrite=overwrite, progress=talk.progress(), say=talk.say)
                return path
    note = note_of(catalog)
    talk.say(f"cube: {path} is there and current" if note is None else f"cube: {path}: {note}")
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
        from hmx.predict.step import choose_device  # loads torch

        choose_device(device)
    if catalog.dask.cluster is not None or catalog.dask.scheduler is not None:
        from hmx.predict.cluster import check  # loads distributed

        check(catalog.dask)


def ensure_model(catalog: Catalog, talk: Talk = QUIET, *, overwrite: bool = False) -> Bundle:
    """Train the catalog's model, unless one with these settings is there.

    Parameters
    ----------
    catalog : Catalog
        Names the network, its training and its place.
    talk : Talk
        For progress.
    overwrite : bool
        Train again even if the model is current.

    Returns
    -------
    Bundle
        Saved at ``catalog.model_path``.
    """
    if is_remote(catalog.model_path):
        ensure_cube(catalog, talk)
        talk.say(f"model: {catalog.model_path}")
        return load(catalog.model_path)
    path = Path(catalog.model_path)
    require_bundle_place(path)  # before hours of work for a place that is taken
    require_writable(str(path), "model.path")
    ensure_cube(catalog, talk)
    cube = open_cube(catalog.cube.path)
    bundle, why = _found(catalog, cube, overwrite=overwrite)
    if bundle is None:
        from hmx.learn.fitting import alone  # loads torch and Lightning

        with alone(path, catalog.train, talk.say):  # and looked at again
            bundle, why = _found(catalog, cube, overwrite=overwrite)
            if bundle is None:
                talk.say(f"model: training {path} ({why})")
                return _trained(catalog, cube, talk)
    talk.say(f"model: {path} is there and current")
    sweep(path)
    return bundle


def _found(catalog: Catalog, cube: Any, *, overwrite: bool) -> tuple[Bundle | None, str]:
    """Load the catalog's model if it is there and current; else say why it is to be trained."""
    path = Path(catalog.model_path)
    if not (path / DESCRIPTION).is_file():
        return None, "there is none yet"
    bundle = load(path)
    change = _change(bundle.training, _settings(catalog, cube.attrs.get("hmx_fingerprint")))
    if set(bundle.spec.future) != set(catalog.future):
        change = "other covariates are known ahead"
    if change is None and not overwrite:
        return bundle, ""
    return None, change or "as asked"


def _trained(catalog: Catalog, cube: Any, talk: Talk) -> Bundle:
    from hmx.learn.train import train  # loads torch and Lightning

    bundle = train(cube, _recipe(catalog, cube), out=catalog.model_path, progress=talk.progress())
    talk.say(f"model: skill {describe_skill(bundle.training.get('validation', {}))}")
    if not fits_means(bundle):
        talk.say(
            "model: on steps left out, a linear regression does worse than persistence: what one "
            "map shows the next takes back. Means are held at the last map; look at hmx evaluate"
        )
    return bundle


def ensure_forecast(
    catalog: Catalog,
    talk: Talk = QUIET,
    *,
    region: Any = None,
    overwrite: bool = False,
) -> str:
    """Forecast what the catalog asks for, unless it is there.

    Parameters
    ----------
    catalog : Catalog
        Names leads, levels and output.
    talk : Talk
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
    from hmx.predict.job import run  # loads torch
    from hmx.predict.output import require_free

    require_free(path, what="forecast: --output PATH")  # before hours of work for a taken place
    job = _job(catalog, ensure_model(catalog, talk), region=region)
    return run(job, catalog.dask, overwrite=overwrite, talk=talk)


def evaluate(
    catalog: Catalog,
    talk: Talk = QUIET,
    *,
    model: str | None = None,
    overwrite: bool = False,
) -> tuple[str, Scorecard]:
    """Score the catalog's way to make a model, or a model, unless that is done.

    Parameters
    ----------
    catalog : Catalog
        Names leads, origins, folds and the folder of the scorecard.
    talk : Talk
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
    path, judged = catalog.scorecard_path, None if model is None else load(model)
    foresee(catalog, evaluate__output=path)
    from hmx.evaluate.backtest import evaluate as score  # loads torch

    ensure_cube(catalog, talk)
    cube = open_cube(catalog.cube.path)
    card = score(
        cube,
        judged or _recipe(catalog, cube),
        BacktestOptions(**own_fields(catalog.evaluate, BacktestOptions)),
        zones=catalog.evaluate.zones,
        out=path,
        section=catalog.dask,
        overwrite=overwrite,
        talk=talk,
    )
    return path, card


def plan_forecast(catalog: Catalog, talk: Talk = QUIET, *, region: Any = None) -> Plan:
    """Plan the catalog's forecast; ingest and train first if need be.

    Parameters
    ----------
    catalog : Catalog
        Names leads, levels, output and workers.
    talk : Talk
        For progress.
    region : optional
        As in ``ds.hm.forecast``.
    """
    foresee(catalog)
    from hmx.predict.plan import plan  # loads torch

    job = _job(catalog, ensure_model(catalog, talk), region=region)
    talk.say("plan: timing one tile")
    return plan(job.order, job.inventory, catalog.dask)


def _job(catalog: Catalog, bundle: Bundle, *, region: Any = None) -> Job:
    """Put together what a catalog's forecast is."""
    from hmx.predict.job import Job, adopt
    from hmx.predict.order import Order

    source, store = catalog.cube.path, catalog.forecast_path
    options = adopt(ForecastOptions(**own_fields(catalog.forecast, ForecastOptions)), store)
    order = Order.of(open_cube(source, chunks=None), bundle, options, region=region)
    return Job(order, source, store)


def _recipe(catalog: Catalog, cube: Any) -> Recipe:
    """Write down how the catalog's model is made."""
    from hmx.learn.train import Recipe  # loads torch and Lightning

    return Recipe(
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
