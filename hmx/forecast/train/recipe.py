"""TrainSetup: the settings of a training run, and its plan: split, scales and spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from hmx.bundles.folder import as_model
from hmx.cube.cube import Cube
from hmx.cube.read import in_memory
from hmx.cube.steps import KNOWN_UNTIL, OBSERVED_UNTIL, LearnUntil
from hmx.cube.values import Rules
from hmx.errors import BadArgument
from hmx.features.context import Context
from hmx.features.scaling import Scaler, check_transforms, fit_scaler
from hmx.forecast.beyond import listed
from hmx.forecast.bundle import Bundle
from hmx.forecast.inputs import Scan, scan, training_blocks
from hmx.forecast.options import TrainOptions
from hmx.forecast.spec import Spec
from hmx.forecast.train.anchor import foreseen
from hmx.forecast.train.data import Reader
from hmx.forecast.train.losses import require_criterion
from hmx.networks.base import require_units
from hmx.networks.forecaster import reach
from hmx.networks.options import ModelOptions
from hmx.progress import counted
from hmx.splits import (
    BLOCK,
    CALIBRATION,
    TEST,
    TRAIN,
    UNUSED,
    VALIDATION,
    Folds,
    Split,
    block_side,
    deal,
)  # fmt: skip

_MIN_CORE = 8  # px of a chip that must be scored at the last lead
_CHIP, _CORE = 116, 64  # px: the least side of a chip, and the most that a wide reach adds to it
_RADII = (1, 3, 10, 30)  # px: squares of the context
_HEIGHTS = ("elevation", "dem", "dtm", "altitude")  # usual names of terrain models
_SLOPE = 0.1  # rad: a usual slope
_FORESEEN = 0.2  # of the squared change of each past step: enough for a head at each lead

# options that decide neither the layers of a network nor what its channels mean; those of the
# context and the terrain are compared as the channels that came of them
_FREE = ("anchor", "context", "maxima", "terrain")


@dataclass(frozen=True)
class TrainSetup:
    """Everything but the data that decides a trained model."""

    target: str | None = None  # variable to predict
    dynamic: Sequence[str] | None = None  # covariates
    static: Sequence[str] | None = None
    network: ModelOptions = field(default_factory=ModelOptions)  # the network
    fit: TrainOptions = field(default_factory=TrainOptions)  # the fit
    track: Mapping[str, Any] | None = None  # arguments of :func:`hmx.training.tracking.loggers`
    # Applied to covariates before they are scaled
    transforms: Mapping[str, str] = field(default_factory=dict)
    # Dynamic covariates that are known ahead. Default: those with the attribute ``known_until``,
    # which a catalog's ``future: true`` sets
    future: Sequence[str] | None = None
    init_from: str | None = None  # folder of another model, whose weights are the start


@dataclass(frozen=True)
class TrainPlan:
    """A reader of training samples, and the scan of the cube that it is based on."""

    reader: Reader
    scanned: Scan
    chip: int  # side, px
    start: Start  # model whose weights the fit begins with
    regular: bool  # whether past steps foresee one another: they teach more than accidents

    def whole(self) -> Reader:
        """Return a reader for which all blocks except those of the test are for training."""
        split = self.reader.split
        table = np.where(np.isin(split.table, (UNUSED, TEST)), split.table, TRAIN)
        rows = tuple(tuple(int(role) for role in row) for row in table)
        buffer = split.buffer if (table == TEST).any() else 0
        whole = replace(split, blocks=rows, buffer=buffer)
        return replace(self.reader, split=whole, pieces=self.reader.fields)


def plan(cube: Cube, recipe: TrainSetup) -> TrainPlan:
    """Split, scale and describe a cube for training, without fitting anything."""
    require_criterion(recipe.fit, recipe.network)
    start, least = Start.read(recipe.init_from), recipe.network.least_history
    cube.require_history(least, truths=1)
    seen = LearnUntil(recipe.fit.until).seen(cube.data["time"], history=least)
    spec = describe(replace(cube, data=cube.data.isel(time=seen.slice)), recipe)
    ahead = None
    if spec.future:
        # Covariates known ahead are also read at the leads of the last origin with a truth.
        known = (cube.data if cube.whole is None else cube.whole)[list(spec.future)]
        ahead = known.isel(time=slice(seen.stop + spec.h - 1))
    cube = in_memory(replace(cube, data=cube.data.isel(time=slice(seen.stop)), whole=ahead))
    spec = start.settled(spec)
    start.require_fits(spec)
    chip = chip_of(recipe.fit, spec, cube.grid.shape)
    block = block_of(cube, recipe, spec)
    scanned = scan(cube, block, known=spec.future, h=spec.h - 1)
    split = split_of(cube, recipe, spec, scanned.valid, block=block)
    scaler, sizes = fit_scaler(training_blocks(cube, split, spec.transforms), cube.target, spec.h)
    usual = torch.from_numpy(sizes).float()
    reader = Reader(cube, spec, with_context(scaler, spec), split, usual)
    regular = foreseen(reader, seed=recipe.fit.seed) >= _FORESEEN
    return TrainPlan(with_heads(reader, apart=regular), scanned, chip, start, regular)


def with_heads(reader: Reader, *, apart: bool) -> Reader:
    """Decide between one head for all leads and one for each, where that is left open.

    A head of its own learns where change comes at its lead, as a front moves on, and also the
    accidents of the few maps that teach this lead. Where land use comes and goes (amapa, where
    .02 to .11 of the squared change of a step left out is foreseen), the last lead loses 3 points
    of CRPS skill; where fronts spread (the demo, .26 to .29) it gains 2, and 4 of RMSE skill.
    """
    spec, network = reader.spec, reader.spec.network
    if network.heads != "auto":
        return reader
    several = network.strategy == "direct" and spec.h > 1
    heads = "separate" if several and apart else "shared"
    settled = network.model_copy(update={"heads": heads})
    decided = replace(reader, spec=replace(spec, network=settled))
    vars(decided)["fields"] = reader.fields  # heads change no field, which are kept
    return decided


def chip_of(fit: TrainOptions, spec: Spec, shape: tuple[int, int]) -> int:
    """Choose the side of a chip, px, by the reach of a network at its last lead.

    Let a rim be this reach. A chip of three rims scores a ninth of its pixels, its core, at the
    last lead, and over four leads of equal steps 37 % on average: as many as a direct network
    on chips of 96 px. Beyond a core of 64 px, memory counts for more.
    """
    side, rim = fit.chip, reach(spec.network, spec.h)
    if side is None:
        return min(max(_CHIP, 2 * rim + min(rim, _CORE)), max(shape))
    if side - 2 * rim < _MIN_CORE and side < max(shape):
        raise BadArgument(
            f"chip={side} does not fit a network that reaches {rim} px in {spec.h} leads: "
            f"a chip must exceed twice the reach. Pass chip={2 * rim + 4 * _MIN_CORE}, or leave "
            "it out."
        )
    return side


def taught(planned: TrainPlan, recipe: TrainSetup) -> str:
    """Describe in a line the leads that a series can teach, and what becomes of the others."""
    maps, asked = planned.reader.cube.data.sizes["time"], recipe.fit.h
    history = planned.reader.spec.network.past_steps
    usual = recipe.network.past_steps  # of a history that the user leaves open
    text = f"{maps} maps with a history of {history} can teach {counted(maps - history, 'lead')}"
    if history != usual:
        text += f" (a history of {usual}: {maps - usual or 'none'})"
    if asked > maps - history:
        later = listed(range(maps - history + 1, asked + 1))
        text += f"; h={asked} asked: {later} will be extrapolated from the network's own mean"
    return text


def heads_apart(planned: TrainPlan, recipe: TrainSetup) -> str | None:
    """Return a line that says that each lead has a head; None where that was asked for."""
    if recipe.network.heads != "auto" or planned.reader.spec.network.heads != "separate":
        return None
    return (
        f"each lead has a head of its own, as the other steps foresee {100 * _FORESEEN:.0f} % or "
        "more of the squared change of each past step (model.heads: shared for one head)"
    )


def describe(cube: Cube, recipe: TrainSetup) -> Spec:
    """Return the spec of a network that a recipe trains on a cube, its history decided."""
    steps, h = cube.data.sizes["time"], recipe.fit.h
    network, future = recipe.network.settled(steps, h), _known_ahead(cube, recipe.future)
    if network.strategy == "direct":  # a lead without any truth would stay untrained
        h = min(h, steps - network.past_steps)
    return Spec(
        target=cube.target,
        dynamic=(*future, *(name for name in cube.dynamic if name not in future)),
        static=cube.static,
        network=network,
        h=h,
        cadence=str(cube.cadence),
        pixel_size_m=cube.grid.pixel_size_m,
        valid_range=Rules.of(cube.data[cube.target]).valid_range,
        units=cube.data[cube.target].attrs.get("units"),
        context=context_of(cube, network),
        future=future,
        transforms=check_transforms(recipe.transforms),
    )


def _known_ahead(cube: Cube, names: Sequence[str] | None) -> tuple[str, ...]:
    """Check the covariates known ahead; by default, those with the attribute for it."""
    if names is None:
        marked = (name for name in cube.dynamic if KNOWN_UNTIL in cube.data[name].attrs)
        return () if cube.whole is None else tuple(marked)
    for name in names:
        if name not in cube.dynamic:
            raise BadArgument(
                f"future={name!r} is not a covariate with time of this model (these are: "
                f"{', '.join(cube.dynamic) or 'none'}). Pass dynamic=[{name!r}] too, or "
                "leave it out of future."
            )
    if names and cube.whole is None:
        raise BadArgument(
            f"future={list(names)} goes on beyond the last map of {cube.target!r}, and the cube "
            f"has no attribute for that step. Write it: ds[{cube.target!r}].attrs["
            f"{OBSERVED_UNTIL!r}] = {cube.origin_label()!r}, or another step of the time axis."
        )
    return tuple(dict.fromkeys(names))


def context_of(cube: Cube, network: ModelOptions) -> Context:
    """Choose the channels that are derived for a network."""
    terrain = network.terrain
    if terrain is None:
        terrain = tuple(name for name in cube.static if name.lower() in _HEIGHTS)
    for name in terrain:
        if name not in cube.static:
            raise BadArgument(
                f"terrain={name!r} is not a static covariate of this model (these are: "
                f"{', '.join(cube.static) or 'none'}). Pass static=[{name!r}], or terrain=[]."
            )
    radii = network.context
    if radii is None:
        # The square of a wider radius covers more than half the raster along its shorter side:
        # its mean is a coordinate rather than a description of the surroundings.
        radii = tuple(radius for radius in _RADII if 4 * radius <= min(cube.grid.shape))
    radii = tuple(sorted(set(radii)))
    return Context(
        radii, maxima=network.maxima and bool(radii), distance=bool(radii), terrain=terrain
    )


def narrowed(cube: Cube, network: ModelOptions, context: Context) -> str | None:
    """Return a line that lists the radii left out on a small raster; None if all are kept."""
    if network.context is not None or context.radii == _RADII:
        return None
    kept = ", ".join(map(str, context.radii)) or "no"
    left = ", ".join(str(radius) for radius in _RADII if radius not in context.radii)
    return (
        f"context of {kept} px: {left} px is more than a quarter of the raster's "
        f"{min(cube.grid.shape)} px (model.context names other radii)"
    )


def with_context(scaler: Scaler, spec: Spec) -> Scaler:
    """Add scales for context channels, derived from the scales of their inputs."""
    # Not from each channel's own spread: the means of wide squares vary so little that they
    # would become coordinates, by which a network memorises locations.
    mean, std, target = dict(scaler.mean), dict(scaler.std), spec.target
    for name in spec.context.names(target):
        part = name.removeprefix(f"{target}_")
        if part.startswith(("mean_", "max_")):
            mean[name], std[name] = scaler.mean[target], scaler.std[target]
        elif part == "distance":
            mean[name], std[name] = 0.0, float(max(spec.context.radii))
        elif "change" in part:
            mean[name], std[name] = 0.0, scaler.change[0]
        else:
            mean[name], std[name] = 0.0, _SLOPE if name.endswith("_slope") else 1.0
    return replace(scaler, mean=mean, std=std)


def block_of(cube: Cube, recipe: TrainSetup, spec: Spec) -> int:
    """Choose the side of a block, px: twice the reach of network and context, if it fits."""
    wanted = recipe.fit.block or max(BLOCK, 2 * (reach(spec.network, spec.h) + spec.context.halo))
    return block_side(cube.grid.shape, wanted)


def split_of(
    cube: Cube, recipe: TrainSetup, spec: Spec, counts: np.ndarray, *, block: int
) -> Split:
    """Assign the blocks to their roles, with buffers between them."""
    fit, buffer = recipe.fit, recipe.fit.buffer
    if buffer is None:
        # the reach; a third of a block at most, so that a block between two others keeps its centre
        buffer = min(reach(spec.network, spec.h) + spec.context.halo, block // 3)
    shares = {VALIDATION: fit.validation, CALIBRATION: fit.calibration}
    common: dict[str, Any] = {
        "block": block, "seed": fit.seed, "buffer": buffer, "wraps": cube.grid.wraps,
    }  # fmt: skip
    if fit.fold is not None and fit.folds is not None:
        return Folds.deal(counts, cube.grid.shape, k=fit.folds, shares=shares, **common)[fit.fold]
    if fit.test:
        shares = {TEST: fit.test, **shares}
    return deal(counts, cube.grid.shape, shares=shares, **common)


@dataclass(frozen=True)
class Start:
    """A model to begin with; empty for random weights."""

    bundle: Bundle | None = None
    path: str | None = None  # as it was given

    @classmethod
    def read(cls, path: str | None) -> Start:
        """Read the model at a path; without one, the start is empty."""
        return cls() if path is None else cls(as_model(Bundle, path), path)

    @property
    def weights(self) -> Mapping[str, np.ndarray] | None:
        """Weights of its first network."""
        return None if self.bundle is None else self.bundle.member(0)

    def settled(self, spec: Spec) -> Spec:
        """Take the start's heads where they are left open."""
        if self.bundle is None or spec.network.heads != "auto":
            return spec
        update = {"heads": self.bundle.spec.network.heads}
        return replace(spec, network=spec.network.model_copy(update=update))

    def require_fits(self, spec: Spec) -> None:
        """Refuse a start whose network or inputs differ from those of a spec."""
        if self.bundle is None:
            return
        start = self.bundle.spec
        require_units(self.path, start.target, had=start.units, has=spec.units, data="maps")
        had, has = _shape(start), _shape(spec)
        differing = [
            f"{key}={had[key]!r} (here {has[key]!r})" for key in has if had[key] != has[key]
        ]
        if differing:
            raise BadArgument(
                f"init_from={self.path!r} has another network: {', '.join(differing)}. "
                "Train with its options, or leave init_from out."
            )

    def as_dict(self) -> dict[str, Any]:
        """Return path and digest, in JSON values; nothing without a start."""
        if self.bundle is None:
            return {}
        return {"init_from": self.path, "init_digest": self.bundle.digest}


def _shape(spec: Spec) -> dict[str, Any]:
    """Return all that decides the layers of a network, and the order of its channels."""
    options = {k: v for k, v in spec.network.model_dump().items() if k not in _FREE}
    direct = spec.network.strategy == "direct"
    return {
        **options,
        "h": spec.h if direct else None,
        **{name: list(getattr(spec, name)) for name in ("static", "dynamic", "future")},
        "context": spec.context.as_dict(),
    }
