"""Handover: how a cube and fitted baselines reach the workers of a backtest."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hmx.cube.cube import Cube
from hmx.engine.tile import StoredCube
from hmx.errors import JobFailed
from hmx.forecast.backtest.baselines.fitting import Baselines

_cubes: dict[str, Cube] = {}  # of this process, for workers that live in it


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
