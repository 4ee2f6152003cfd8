"""Selecting: the covariates of a catalog that are worth reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmx.catalog import MapCatalog
from hmx.cube.cube import open_cube
from hmx.progress import Progress
from hmx.workflow.ensure import ensure_cube, preflight
from hmx.workflow.steps import MapSteps

if TYPE_CHECKING:
    from hmx.mapping.select.selection import Selection


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
