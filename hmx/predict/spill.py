"""Spill: give a model that was never saved a place on disk.

A forecast's graph names the folder of its bundle, so that no weights travel
through a scheduler. A bundle without a folder is written to the user's cache
(``HMX_CACHE``, default ``~/.cache/hmx``) under its digest.
"""

from __future__ import annotations

from pathlib import Path

from hmx.bundle import DESCRIPTION, Bundle, load
from hmx.remote_models import cache_folder


def on_disk(bundle: Bundle) -> Bundle:
    """Return the bundle with a path; saved to the cache, if its own folder is gone or changed."""
    if bundle.path is not None and _holds(bundle.path, bundle):
        return bundle
    folder = cache_folder() / "bundles" / bundle.digest[:32]
    return load(folder) if _holds(folder, bundle) else bundle.save(folder)


def _holds(folder: Path, bundle: Bundle) -> bool:
    return (folder / DESCRIPTION).is_file() and load(folder).digest == bundle.digest
