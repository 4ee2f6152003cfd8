"""Planning: what a catalog's products will cost, also before its cube and its model are there.

A plan makes nothing: headers show what ingest will read, points and folds what training will
learn from, and times come from a few real steps and a part of a tile. Nothing is written into the
paths of the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import xarray as xr

from hmx.bundles.hub import is_remote
from hmx.catalog import AnyCatalog, Catalog
from hmx.cube.cube import open_cube
from hmx.files.shown import Shown, listed
from hmx.ingest.manifest import is_current
from hmx.ingest.unwritten import IngestPlan, open_unwritten
from hmx.progress import Progress
from hmx.settings import own_fields
from hmx.workflow.ensure import current_model, ensure_cube, ensure_model, job_of, preflight
from hmx.workflow.steps import AnyBundle, JobSteps, steps_of
from hmx.zones.options import ZonalOptions

if TYPE_CHECKING:
    from hmx.cube.cube import Region
    from hmx.cube.steps import Label
    from hmx.engine.plan import Plan
    from hmx.forecast.folds import FoldPlan
    from hmx.zones.files import ZonePlan

_SIDE = 96  # px of the part of a tile that is timed


class TrainingPlan(Protocol):
    """The cost of a training, of either job."""

    def shown(self) -> Mapping[str, str]:
        """Return facts for a reader."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""


@dataclass(frozen=True, repr=False)
class FreshPlan(Shown):
    """What ingest, training and the result of a catalog will cost."""

    ingest: IngestPlan | None  # None if the cube is there and current
    training: TrainingPlan | None  # None if the model is there and current
    result: Plan  # the forecast or map

    # a fresh plan stands for the plan of the result wherever workers are counted
    @property
    def workers(self) -> int:
        """Processes of the result."""
        return self.result.workers

    @property
    def threads(self) -> int:
        """Torch threads of each."""
        return self.result.threads

    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""
        parts = [part.shown() for part in (self.ingest, self.training) if part is not None]
        return {key: text for facts in (*parts, self.result.shown()) for key, text in facts.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values: those of the result, ``ingest`` and ``training``."""
        own: dict[str, Any] = {}
        if self.ingest is not None:
            own["ingest"] = self.ingest.as_dict()
        if self.training is not None:
            own["training"] = self.training.as_dict()
        return self.result.as_dict() | own

    def __str__(self) -> str:
        return listed(self.shown())


def cube_or_sources(catalog: AnyCatalog) -> tuple[xr.Dataset, IngestPlan | None]:
    """Open the catalog's cube, or what ingest would make of its sources."""
    if is_current(catalog):
        return open_cube(catalog.cube.path), None
    return open_unwritten(catalog)


def plan_fresh(
    steps: JobSteps[Any],
    cube: xr.Dataset,
    ingest: IngestPlan | None,
    bundle: AnyBundle | None,
    *,
    progress: Progress,
    region: Region = None,
) -> FreshPlan:
    """Plan a catalog whose cube or model is missing."""
    from hmx.engine.plan import plan  # loads torch

    training, beside, model = None, 0.0, bundle
    with TemporaryDirectory(prefix="hmx-plan-") as folder:
        if model is None:
            progress.note("plan: timing steps of the training")
            training, untrained, beside = steps.plan_training(cube)
            model = untrained.save(f"{folder}/model")  # where nobody looks for one
        run = steps.run(cube, model, region)
        stored = steps.catalog.cube.path if ingest is None else None
        run.report("plan", progress)
        progress.note("plan: timing a part of a tile")
        section = steps.catalog.dask
        result = plan(run, run.inventory(stored), section, side=_SIDE, beside=beside)
    return FreshPlan(ingest, training, result)


def plan_result(
    catalog: AnyCatalog, progress: Progress = Progress(), *, region: Region = None
) -> Plan | FreshPlan:
    """Plan the catalog's forecast or map, and the cube and the model if they are missing.

    Nothing is ingested or trained.
    """
    preflight(catalog)
    from hmx.engine.plan import plan  # loads torch

    steps = steps_of(catalog)
    cube, ingest = cube_or_sources(catalog)
    if is_remote(catalog.model_path):
        bundle, why = steps.bundle.load(catalog.model_path), ""
    else:
        bundle, why = current_model(steps, cube)
    if ingest is not None or bundle is None:
        if why:
            progress.note(f"plan: {catalog.model_path} would be trained ({why})")
        return plan_fresh(steps, cube, ingest, bundle, progress=progress, region=region)
    job = job_of(steps, bundle, region)
    job.run.report("plan", progress)
    progress.note("plan: timing one tile")
    return plan(job.run, job.inventory, catalog.dask)


def plan_zones(
    catalog: AnyCatalog,
    made: Plan | FreshPlan,
    progress: Progress = Progress(),
    *,
    region: Region = None,
) -> ZonePlan | None:
    """Plan the totals of the catalog's zones, beside the plan of its forecast or map.

    Returns ``None`` for a catalog without zones, or without the model that draws need.
    """
    section = catalog.zonal
    if section.zones is None:
        return None
    if isinstance(made, FreshPlan):
        progress.note("plan: zones need the trained model; plan again once it is there")
        return None
    from hmx.engine.recall import Recalled  # loads torch
    from hmx.products.zones import checked_zonal
    from hmx.zones.files import plan_zones as plan_table

    job = job_of(steps_of(catalog), ensure_model(catalog), region)
    options = ZonalOptions(**own_fields(section, ZonalOptions))
    zonal, _ = checked_zonal(
        Recalled(job.run, source=job.source), section.zones, options, progress=progress
    )
    progress.note("plan: timing draws of one tile")
    return plan_table(zonal, job.inventory, workers=made.workers, threads=made.threads)


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
