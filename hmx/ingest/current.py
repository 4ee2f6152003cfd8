"""Current: whether an existing cube is the one that a catalog describes."""

from __future__ import annotations

from typing import Any

from hmx.cube.integrity.reading import damage_of
from hmx.cube.store import attributes, finished_manifest
from hmx.ingest.manifest import SourceManifest, is_older, rasters_gone, recipe_of, settled
from hmx.ingest.options import CubeCatalog


def is_current(catalog: CubeCatalog) -> bool:
    """Return True if the cube is complete, undamaged and made of the catalog's files."""
    if damage_of(catalog.cube.path) is not None:
        return False
    known = known_of(catalog, attributes(catalog.cube.path))
    return bool(known) and recipe_of(catalog, known) == known


def known_of(catalog: CubeCatalog, attrs: dict[str, Any]) -> SourceManifest:
    """Return the manifest of the existing cube in the current format; empty without a cube."""
    return settled(catalog, finished_manifest(attrs))


def note_of(catalog: CubeCatalog) -> str | None:
    """Describe what happens to a cube of an older hmx; ``None`` for other cubes."""
    known = finished_manifest(attributes(catalog.cube.path))
    if not is_older(known):
        return None
    missing = rasters_gone(catalog, known)
    rules = "which read scale tags, masks and ranges by other rules"
    if not missing:
        return f"it was made by an older hmx, {rules}, and its rasters are there: built anew"
    shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    return (
        f"it was made by an older hmx, {rules}, and rasters of it are gone ({shown}): kept as it "
        "is. To build it anew, bring them back"
    )
