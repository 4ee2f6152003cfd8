"""Tile: the task of one tile of a stored result: read, compute, write, record.

Only a :class:`TileWork` is sent to a worker: paths, settings and digests, never weights or
pixels. The worker opens cube and output once per process, reads the core of the tile and its
halo, computes, writes whole chunks, and records them in the ledger after they are on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import zarr

from hmx.cube.read import CubeView
from hmx.engine.ledger import Ledger, Record
from hmx.engine.order import Openable, Request, WindowRunner
from hmx.engine.output import write_tile, writing
from hmx.errors import JobFailed
from hmx.windows import Index, TileGrid, Window


@dataclass(frozen=True)
class TileWork:
    """One result, cut into tiles of the chunk grid of its store."""

    source: Openable  # the cube; ``open`` returns it
    runner: WindowRunner[Request]  # computes the windows
    store: str  # path of the result
    run: str  # fingerprint of the job, which shows that another job has taken the store
    tiles: TileGrid  # of the output, in its own pixels

    def __call__(self, index: Index, state: str, threads: int | None = None) -> None:
        """Compute one tile and write it; nothing is returned."""
        core = self.tiles[index].core
        arrays = self.runner.with_threads(threads).run(core, _opened(self.source, self.run))
        self._write(index, core, arrays, state)

    def _write(
        self, index: Index, core: Window, arrays: Mapping[str, np.ndarray], state: str
    ) -> None:
        ledger = Ledger(self.store)
        if ledger.job().get("run") != self.run:
            raise JobFailed(
                f"{self.store} has been taken over by another job, so this one stops writing to it."
            )
        with writing(self.store):
            keys = write_tile(_output(self.store, self.run), arrays, core)
            ledger.sign(Record(index, self.run, state, ledger.checksum(keys, flush=True)))


@lru_cache(maxsize=4)
def _opened(source: Openable, run: str) -> CubeView:
    """Open a cube once per process and job."""
    return source.open()


@lru_cache(maxsize=4)
def _output(store: str, run: str) -> zarr.Group:
    """Open an output once per process and job."""
    return zarr.open_group(store, mode="r+", use_consolidated=False)
