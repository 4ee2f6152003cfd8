"""Workflow: make what a catalog asks for, and reuse what is there and still fits.

Each function ensures one product and those it stands on, says in one line what
it builds and why, and returns the product's path. The command line is these
functions with flags.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from hmx.bundle import DESCRIPTION, Bundle, load, require_bundle_place
from hmx.catalog import Catalog, DaskSection
from hmx.cube import open_cube
from hmx.draft import attributes
from hmx.errors import OutputExists, SourceError
from hmx.ingest import ingest, is_current
from hmx.options import ForecastOptions, ModelOptions
from hmx.predict.write import clear, is_ours, write
from hmx.progress import QUIET, Talk

# choices of where to compute, which do not decide what comes out
_PLACES = {"device", "strategy", "devices", "num_nodes"}


def ensure_cube(catalog: Catalog, talk: Talk = QUIET, *, overwrite: bool = False) -> str:
    """Ingest the catalog's sources, unless their cube is there.

    Parameters
    ----------
    catalog : Catalog
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
    if is_current(catalog) and not overwrite:
        talk.say(f"cube: {path} is there and current")
        return path
    talk.say(f"cube: ingesting {', '.join(catalog.cube.sources)} into {path}")
    ingest(catalog, overwrite=overwrite, progress=talk.progress())
    return path


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
    path = Path(catalog.model_path)
    require_bundle_place(path)  # before hours of work for a place that is taken
    ensure_cube(catalog, talk)
    cube = open_cube(catalog.cube.path)
    why = "there is none yet"
    if (path / DESCRIPTION).is_file():
        bundle = load(path)
        change = _change(bundle.training, _settings(catalog, cube.attrs.get("hmx_fingerprint")))
        if change is None and not overwrite:
            talk.say(f"model: {path} is there and current")
            return bundle
        why = change or "as asked"
    talk.say(f"model: training {path} ({why})")

    from hmx.learn.train import Recipe, train  # loads torch and Lightning

    recipe = Recipe(
        target=catalog.cube.target,
        dynamic=_named(cube, "dynamic"),
        static=_named(cube, "static"),
        network=_network(catalog),
        fit=catalog.train,
        track=catalog.track.model_dump(),
    )
    return train(cube, recipe, out=path, progress=talk.progress())


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
    OutputExists
        If the output holds something else, or another forecast.
    """
    path = catalog.forecast_path
    found = attributes(path)
    if not is_ours(found):  # refuse before hours of work for a place that is taken
        clear(path, what="forecast: --output PATH")
    bundle = ensure_model(catalog, talk)

    from hmx.predict.lazy import forecast

    options = ForecastOptions(**_only(catalog.forecast, ForecastOptions))
    cube = open_cube(catalog.cube.path)
    result = forecast(cube, bundle, region=region, **options.model_dump())
    assert isinstance(result, xr.Dataset)  # a cube opened from a store is one
    if found and not overwrite and _matches(found, result.attrs, path):
        talk.say(f"forecast: {path} is there and current")
        return path
    clear(path, what="forecast: --output PATH")
    leads = f"{str(result.time.values[0])[:10]} to {str(result.time.values[-1])[:10]}"
    talk.say(f"forecast: {options.h} steps, {leads}, into {path}")
    with computing(catalog.dask):
        write(result, path, progress=talk.progress())
    return path


@contextmanager
def computing(section: DaskSection) -> Iterator[None]:
    """Use the workers or the scheduler that a catalog names.

    Parameters
    ----------
    section : DaskSection
        ``workers`` threads of this process, or the ``scheduler`` at an address.

    Raises
    ------
    SourceError
        If no scheduler answers at the address.
    """
    import dask

    if section.scheduler is None:
        workers = {} if section.workers is None else {"num_workers": section.workers}
        with dask.config.set(scheduler="threads", **workers):
            yield
        return
    from distributed import Client

    try:
        client = Client(section.scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise SourceError(
            f"no Dask scheduler answers at {section.scheduler!r} ({error}). Start one with "
            "`dask scheduler`, or leave out --scheduler to compute here."
        ) from None
    with client:
        yield


def _network(catalog: Catalog) -> ModelOptions:
    return ModelOptions(**_only(catalog.model, ModelOptions))


def _only(section: Any, kind: type[Any]) -> dict[str, Any]:
    return {name: getattr(section, name) for name in kind.model_fields}


def _named(cube: Any, role: str) -> tuple[str, ...]:
    return tuple(str(n) for n, v in cube.data_vars.items() if v.attrs.get("hmx_role") == role)


def _settings(catalog: Catalog, data: str | None) -> dict[str, Any]:
    """Collect what decides a model, as a bundle records it, in JSON's own types."""
    facts = {
        "network": _network(catalog).model_dump(),
        "fit": catalog.train.model_dump(exclude=_PLACES),
        "data": data,
    }
    settings: dict[str, Any] = json.loads(json.dumps(facts))
    return settings


def _change(had: Any, wants: dict[str, Any]) -> str | None:
    """Say what differs from the settings a model was trained with."""
    if had.get("data") != wants["data"]:
        return "the cube has changed since"
    for section, name in (("network", "model"), ("fit", "train")):
        for key, value in wants[section].items():
            before = had.get(section, {}).get(key)
            if before != value:
                return f"{name}.{key} is {value}, and was {before}"
    return None


def _matches(found: dict[str, Any], wanted: dict[str, Any], path: str) -> bool:
    """Tell whether a store is this forecast, finished; refuse if it is another one."""
    had = json.loads(found.get("hmx_provenance", "{}"))
    wants = json.loads(wanted["hmx_provenance"])
    for key in ("bundle", "data", "origin", "h", "level", "quantiles", "region", "precision"):
        if had.get(key) != wants.get(key):
            raise OutputExists(
                f"{path} holds another forecast: its {key} is {had.get(key)!r} and this "
                f"one's is {wants.get(key)!r}. Pass --overwrite to replace it, or --output for "
                "another place."
            )
    return bool(found.get("hmx_status") == "complete")
