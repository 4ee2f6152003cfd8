"""BacktestSetup: a cube, the model to score and the folder of results, checked before any work."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hmx.cube.cube import CHUNK, Cube, Cubelike, StoredCube, as_cube
from hmx.cube.read import in_memory
from hmx.engine.inventory import Inventory
from hmx.engine.options import DaskSection
from hmx.engine.stores import store_of
from hmx.errors import BadArgument, CubeError, JobFailed
from hmx.forecast.backtest.baselines.fitting import Baselines
from hmx.forecast.backtest.baselines.registry import choose
from hmx.forecast.backtest.rounds import Round, UnseenTruth, held_out_by, model_rounds, refit_rounds
from hmx.forecast.backtest.strata import RasterStrata, Zones, zones_of
from hmx.forecast.beyond import extrapolated_leads
from hmx.forecast.bundle import Bundle
from hmx.forecast.inputs import scan
from hmx.forecast.options import BacktestOptions
from hmx.forecast.train.recipe import TrainSetup
from hmx.provenance import fingerprint, recipe_of
from hmx.scores import Settings
from hmx.settings import HARDWARE
from hmx.windows import TileGrid, Window

_cubes: dict[str, Cube] = {}  # of this process, for workers that live in it

_EVENT = 0.01  # of the range: a change above it is an event; below is noise of most sources


@dataclass(frozen=True)
class InProcessCube:
    """A cube of this process, for a worker inside it."""

    token: str  # names it, from :func:`hold`

    def open(self) -> Cube:
        """Return the cube."""
        return _cubes[self.token]


def hold(cube: Cube) -> InProcessCube:
    """Keep a cube that is not a store for the worker of this process."""
    token = f"cube-{id(cube)}"
    _cubes[token] = cube
    return InProcessCube(token)


def let_go(source: StoredCube | InProcessCube) -> None:
    """Forget a cube that was kept."""
    if isinstance(source, InProcessCube):
        _cubes.pop(source.token, None)


@dataclass(frozen=True)
class SavedBaselines:
    """Baselines on disk, written by this very job: trees are too large to travel."""

    path: str  # of the file
    digest: str  # of its bytes; nothing else is ever unpickled

    @classmethod
    def save(cls, baselines: Baselines, path: Path) -> SavedBaselines:
        """Write baselines for the workers; trees are too large to send with every task."""
        data = pickle.dumps(baselines)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return cls(str(path), hashlib.sha256(data).hexdigest())

    def load(self) -> Baselines:
        """Read them, once per process; refuse a file that has changed."""
        return _baselines(self.path, self.digest)


@lru_cache(maxsize=2)
def _baselines(path: str, digest: str) -> Baselines:
    data = Path(path).read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise JobFailed(f"{path} has changed since it was written. Run the same command again.")
    found: Baselines = pickle.loads(data)
    return found


def opened(source: StoredCube | InProcessCube, run: str) -> Cube:
    """Open a cube once per process and round."""
    return source.open() if isinstance(source, InProcessCube) else _opened(source, run)


@lru_cache(maxsize=4)
def _opened(source: StoredCube, run: str) -> Cube:
    return source.open()


@dataclass(frozen=True)
class BacktestSetup:
    """The cube, the model and the options of a backtest."""

    obj: Cubelike  # the cube, as its owner has it
    model: Bundle | TrainSetup  # what is judged: a model, or a way to make one
    options: BacktestOptions  # leads, origins, folds, levels and baselines
    folder: str  # where the results go, and what is needed on the way
    zones: Any = None  # as :func:`hmx.forecast.backtest.strata.zones_of` takes them
    section: DaskSection = field(default_factory=DaskSection)  # who computes

    def __post_init__(self) -> None:
        if isinstance(self.model, Bundle):
            if self.options.folds is not None:
                raise BadArgument(
                    f"folds={self.options.folds} with model=: folds are fitted anew, and a model "
                    "is one fit. Leave out one of them."
                )
            self.model.spec.require_fits(self.cube)

    @cached_property
    def cube(self) -> Cube:
        """The cube in its inner form, with the variables of the model."""
        what = self.model.spec if isinstance(self.model, Bundle) else self.model
        return as_cube(self.obj, target=what.target, dynamic=what.dynamic, static=what.static)

    @cached_property
    def store(self) -> str | None:
        """Path of the store that the cube is, if it is one."""
        return store_of(self.obj, self.cube)

    @cached_property
    def source(self) -> StoredCube | InProcessCube:
        """Where workers find the cube."""
        cube = self.cube
        if self.store is not None:
            return StoredCube(self.store, cube.target, cube.dynamic, cube.static)
        kept = in_memory(cube)
        section = self.section
        apart = (section.workers, section.scheduler, section.cluster) != (None, None, None)
        # not Dataset.chunks, which raises where variables are chunked differently
        lazy = kept is cube and any(v.chunks for v in cube.data.variables.values())
        if apart or lazy:
            why = "other processes read it from disk" if apart else "it is too large for memory"
            raise CubeError(
                f"this cube is not a store as it was opened, and {why}. Write it first: "
                "ds.to_zarr('cube.zarr'); ds = hmx.open_cube('cube.zarr')"
                + ("; or leave out workers=." if apart else ".")
            )
        return hold(kept)

    def require(self) -> None:
        """Refuse a cube that workers could not read, or tiles that would share a chunk."""
        _ = self.source, self.chunk()

    @cached_property
    def inventory(self) -> Inventory:
        """The cube's stored chunks, if it is a store."""
        return Inventory.of(self.cube, self.store)

    @cached_property
    def data(self) -> str:
        """Fingerprint of the cube's pixels, or of the state of its stored chunks."""
        if self.inventory.variables:
            return self.inventory.state(Window.of(self.cube.grid.shape))
        return scan(in_memory(self.cube), CHUNK).digest

    @cached_property
    def unseen_truth(self) -> UnseenTruth | None:
        """What a given model has not seen."""
        return held_out_by(self.model, self.cube) if isinstance(self.model, Bundle) else None

    @cached_property
    def rounds(self) -> list[Round]:
        """Origins and folds to score."""
        options, model = self.options, self.model
        if isinstance(model, Bundle):
            assert self.unseen_truth is not None
            history = model.spec.network.past_steps
            return model_rounds(
                self.cube, self.unseen_truth, options.origins, history=history, h=self.h
            )
        return refit_rounds(self.cube, model, options.origins, h=self.h, folds=options.folds)

    @property
    def h(self) -> int:
        """Leads asked for."""
        return self.options.h

    @cached_property
    def baselines(self) -> tuple[str, ...]:
        """Names of the other forecasters than the model."""
        return choose(self.options.baselines, self.cube.grid.shape)

    @cached_property
    def settings(self) -> Settings:
        """Settings of the scores: an event is a change above a hundredth of the range."""
        span = self._span()
        return Settings(self.options.level, threshold=_EVENT * span, data_range=span)

    def _span(self) -> float:
        limits = self.cube.rules[self.cube.target].valid_range
        if limits is not None:
            return limits[1] - limits[0]
        if isinstance(self.model, Bundle):
            return float(self.model.scaler.std[self.cube.target])
        first = self.cube.data[self.cube.target].isel(time=0)
        return float(np.nanstd(first.values)) or 1.0

    @cached_property
    def marks(self) -> Zones | None:
        """Zones, ready for windows."""
        flips = self.cube.outer.flips
        return zones_of(self.zones, self.cube.grid, flips=flips, folder=self.folder)

    @cached_property
    def tiles(self) -> TileGrid:
        """Tiles of the cube as its owner has it."""
        side = self.options.tile
        return TileGrid(self.cube.grid.shape, (side, side), halo=0)

    def chunk(self) -> int:
        """Return the side of a chunk of the skill maps, px; a tile is a whole number of chunks."""
        side = self.options.tile
        if side > CHUNK and side % CHUNK and side < max(self.cube.grid.shape):
            raise BadArgument(
                f"tile={side} is not a whole number of chunks of {CHUNK} px, so two tasks would "
                f"share one. Pass tile={CHUNK}."
            )
        return min(side, CHUNK)

    def asked(self) -> dict[str, Any]:
        """Return the JSON values that decide the scores."""
        model = self.model
        # earlier releases did not score them
        later = extrapolated_leads(model, self.h) if isinstance(model, Bundle) else []
        return {
            "model": model.digest if isinstance(model, Bundle) else described(model),
            "data": self.data,
            "target": self.cube.target,
            "origins": [r.label for r in self.rounds],
            "h": self.h,
            "level": list(self.options.level),
            "baselines": list(self.baselines),
            "zones": _identity(self.marks),
            **({"extrapolated": later} if later else {}),
            **({"zone_draws": self.options.zone_draws} if self.options.zone_draws else {}),
        }

    def recognised_by(self, bundle: Bundle) -> dict[str, str]:
        """Return by what a report recognises the cube and the models, as far as it is recorded."""
        mark = self.cube.data.attrs.get("hmx_fingerprint")
        found = {"cube": mark, "recipe": recipe_of(bundle.training)}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def fit(self) -> Mapping[str, Any]:
        """Seed and device of the model."""
        if isinstance(self.model, Bundle):
            return {"seed": self.model.training.get("seed", 0), "device": "auto"}
        return {"seed": self.model.fit.seed, "device": self.model.fit.device}


def described(recipe: TrainSetup) -> dict[str, Any]:
    """Return a recipe as JSON values, without the parts that the backtest decides."""
    ours = {"until", "fold", "folds", *HARDWARE}
    return {
        "network": recipe.network.model_dump(mode="json"),
        "fit": recipe.fit.model_dump(mode="json", exclude=ours),
        "dynamic": None if recipe.dynamic is None else list(recipe.dynamic),
        "static": None if recipe.static is None else list(recipe.static),
        "transforms": dict(recipe.transforms),
    }


def _identity(zones: Zones | None) -> str | None:
    if zones is None:
        return None
    if isinstance(zones, RasterStrata):
        path = Path(str(zones.raster.source))
        if path.suffix == ".npy":
            return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        stat = path.stat() if path.exists() else None
        return fingerprint([str(path), stat and [stat.st_size, stat.st_mtime_ns]])
    return fingerprint([[name, shape] for name, shape, _ in zones.shapes])
