"""Loading: a trained model of either job, from its folder or as it is."""

from __future__ import annotations

from pathlib import Path

from hmx.bundle import Bundle
from hmx.bundle import load as load_bundle
from hmx.map_bundle import MapBundle
from hmx.map_bundle import load as load_map_bundle
from hmx.modelfolder import find_folder, read_description, wrong_job

Model = Bundle | MapBundle


def load(path: str | Path) -> Model:
    """Load a trained model, of whichever job it is.

    Parameters
    ----------
    path : str or Path
        Folder of a bundle, or ``wandb:entity/project/name:v3``.

    Returns
    -------
    Bundle or MapBundle
        For ``ds.hm.forecast(model=...)``, or for ``ds.soc.map(model=...)``.

    Raises
    ------
    BundleError
        If there is no bundle, or it is damaged or of another version, or cannot be fetched.

    Examples
    --------
    >>> import hmx
    >>> model = hmx.load("build/demo.model")  # doctest: +SKIP
    """
    folder = find_folder(path)
    is_map = read_description(folder).get("job") == "map"
    return load_map_bundle(folder) if is_map else load_bundle(folder)


def load_forecaster(model: Model | str | Path) -> Bundle:
    """Take or load a model that forecasts.

    Raises
    ------
    BundleError
        As :func:`load`, or if it is a mapper.
    """
    if isinstance(model, MapBundle):
        raise wrong_job("map", "forecast", str(model))
    return model if isinstance(model, Bundle) else load_bundle(model)


def load_mapper(model: Model | str | Path) -> MapBundle:
    """Take or load a model that maps.

    Raises
    ------
    BundleError
        As :func:`load`, or if it forecasts.
    """
    if isinstance(model, Bundle):
        raise wrong_job("forecast", "map", str(model))
    return model if isinstance(model, MapBundle) else load_map_bundle(model)
