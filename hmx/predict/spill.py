"""Spill: give a model that was never saved a place on disk.

The graph of a forecast or a map names the folder of its bundle, so that no weights travel
through a scheduler. A bundle without a folder is written to the user's cache
(``HMX_CACHE``, default ``~/.cache/hmx``) under its digest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hmx.bundle import Bundle
from hmx.loading import Model, load
from hmx.map_bundle import MapBundle
from hmx.modelfolder import DESCRIPTION
from hmx.remote_models import cache_folder

AnyModel = TypeVar("AnyModel", Bundle, MapBundle)


def on_disk(bundle: AnyModel) -> AnyModel:
    """Return the bundle with a path; saved to the cache, if its own folder is gone or changed."""
    if bundle.path is not None and _holds(bundle.path, bundle):
        return bundle
    folder = cache_folder() / "bundles" / bundle.digest[:32]
    if _holds(folder, bundle):
        return replace(bundle, path=folder.resolve())
    return bundle.save(folder)


def _holds(folder: Path, bundle: Model) -> bool:
    return (folder / DESCRIPTION).is_file() and load(folder).digest == bundle.digest
