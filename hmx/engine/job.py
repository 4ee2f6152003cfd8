"""Job: write a forecast or a map into a store, tile by tile; an interrupted job continues.

The steps are: check, scan, lay out, run, finish. A tile is done if the ledger proves it. A
second run of a job computes the other tiles, and writes nothing if all are proven. Until the
last tile is on disk, the store has ``hmx_status: incomplete``.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any

from hmx.cube.cube import open_cube
from hmx.cube.integrity.examine import examine
from hmx.cube.store import attributes, recover, sweep
from hmx.engine import output
from hmx.engine.inventory import Inventory
from hmx.engine.ledger import LAYOUT, Header, Ledger, Record
from hmx.engine.options import DaskSection
from hmx.engine.order import Request, Run
from hmx.engine.output import TileWork
from hmx.engine.plan import plan
from hmx.engine.pool.runner import FailedTask, Task, run_windows
from hmx.errors import JobFailed, OutputExists, VerifyFailed
from hmx.files.durable import Folder
from hmx.files.heap import release_memory, reuse_memory
from hmx.files.paths import is_url
from hmx.independent import independent
from hmx.progress import Meter, Progress
from hmx.provenance import fingerprint
from hmx.redact import redact
from hmx.settings import parse
from hmx.windows import Index, Tile

# The Run class of each job, by the name in its ledger; imported when a job is restored.
JOBS = {"forecast": "hmx.forecast.order:ForecastRun", "map": "hmx.mapping.order:MapRun"}
_SHOWN = 10  # failed tiles that a message lists


@dataclass(frozen=True)
class Job:
    """A checked run, the path of its input and the path of its output."""

    run: Run[Request]  # the forecast or map to compute
    source: str  # path of the cube's store
    store: str  # path of the result's store

    @cached_property
    def facts(self) -> dict[str, object]:
        """Everything that decides the bytes of the store, as JSON values."""
        chunk = self.run.options.chunk
        return {**self.run.facts(), "chunk": chunk, "format": output.STORE_FORMAT}

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger next to the store."""
        return Ledger(self.store)

    @cached_property
    def inventory(self) -> Inventory:
        """The chunks of the input and their present state."""
        return self.run.inventory(self.source)

    @cached_property
    def arrays(self) -> list[str]:
        """Names of the variables that tiles write."""
        return [str(n) for n, v in self.run.template().data_vars.items() if v.ndim >= 2]

    @cached_property
    def work(self) -> TileWork:
        """The function that workers call for each tile."""
        source = self.run.source(self.source)
        digest, tiles = fingerprint(self.facts), self.run.output_tiles
        return TileWork(source, self.run.runner, self.store, digest, tiles)

    def header(self) -> dict[str, Any]:
        """Return everything that a later process needs to resume or check this job."""
        window = self.run.window
        return {
            "job": self.run.job,
            "run": self.work.run,
            "facts": self.facts,
            "source": redact(self.source),
            "bundle": redact(self.run.request.bundle),
            "window": [*asdict(window.y).values(), *asdict(window.x).values()],
            "options": self.run.settings(),
        }

    @classmethod
    def restore(cls, store: str, facts: dict[str, Any], source: str | None = None) -> Job:
        """Build the job that a ledger describes; `source` replaces the path of its cube."""
        header = Header.read(facts, store, source)
        module, _, name = JOBS[header.job].partition(":")
        kind: type[Run[Request]] = getattr(import_module(module), name)
        chosen = parse(kind.option_type, header.options, error=VerifyFailed)
        run = kind.check(open_cube(header.source, chunks=None), header.bundle, chosen)
        window = header.part(run.cube.grid.shape, store)
        return cls(replace(run, window=window), header.source, store)

    def state(self, tile: Tile) -> str:
        """Hash the state of the input of a tile."""
        return self.inventory.state(self.run.runner.reads(tile.core, self.run.cube.grid))

    def may_hold(self, tile: Tile) -> bool:
        """Return True if the input of a tile may have data."""
        return self.inventory.may_hold(self.run.runner.needs(tile.core, self.run.cube.grid))


@independent
def run(
    job: Job,
    section: DaskSection | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = Progress(),
) -> str:
    """Compute all tiles of a store that are not proven, and complete it."""
    word = job.run.job
    output.require_free(job.store, what=f"{word}: --output PATH")
    job.run.report(word, progress)
    found = {} if overwrite else _found(job)
    if found.get("hmx_status") == "complete" and _is_current(job, progress):
        progress.note(f"{word}: {job.store} exists and is current")
        sweep(job.store)
        return job.store
    section = section or DaskSection()
    reuse_memory()
    plan(job.run, job.inventory, section, timed=False)  # refuses what does not fit in memory
    with output.writing(job.store), job.ledger.owned():
        if not is_url(job.store):
            recover(job.store)
        # checked again under the lock: another job may have finished in the meantime
        calls = _start(job, progress, fresh=overwrite or not _found(job))
        failures = _work_off(job, calls, section, progress)
        if failures:
            raise JobFailed(_report(job, failures))
        _require_same_input(job, calls)
        for folder in (Folder(job.store), job.ledger.folder):
            folder.sweep()
        output.set_status(job.store, complete=True, known=_written(job))
    release_memory()
    return job.store


def _found(job: Job) -> dict[str, Any]:
    """Return the attributes of an existing store; refuse a store of another run or layout."""
    if output.root_is_damaged(job.store) and job.ledger.knows(job.work.run):
        return {"hmx_status": "damaged"}  # the root is written again later
    found = attributes(job.store)
    if not found:
        return {}
    had = json.loads(found["hmx_provenance"])
    keys = list(job.run.identity)
    if found.get("hmx_status") != "complete":
        had = {"chunk": job.facts["chunk"], **had, **job.ledger.job().get("facts", {})}
        keys += LAYOUT
    for key in keys:
        if had.get(key) != job.facts.get(key):
            raise OutputExists(
                f"{job.store} holds another {job.run.job}: its {key} is {had.get(key)!r} and "
                f"this one's is {job.facts.get(key)!r}. Pass --overwrite to replace it, or "
                "--output for another path."
            )
    return found


def _is_current(job: Job, progress: Progress) -> bool:
    """Return True if a complete store has no damage and its input has not changed."""
    found, run = examine(job.store), job.ledger.job().get("run")
    faults = [fault for fault in found.faults if not fault.foreign]
    if faults or (run == job.work.run and not found.sealed):
        progress.note(f"{job.run.job}: {job.store} is damaged, and is repaired:\n{found.lines()}")
        return False
    if run == job.work.run:
        return not _todo(job, progress, read=False)
    if run is None:
        proof = "its own checksums" if found.sealed else "nothing (--overwrite makes it anew)"
        progress.note(
            f"{job.run.job}: the ledger {job.ledger.path} is gone; what is left is {proof}"
        )
    return True


def _start(job: Job, progress: Progress, *, fresh: bool) -> list[Task]:
    """Lay out the store if it does not exist; list the tiles that are not proven."""
    # a lost or torn header is written again, because each record also names its run
    run = job.ledger.job().get("run")
    if not fresh and run in (None, job.work.run):
        job.ledger.begin(job.header(), keep=True)
        output.mend(job.store, lambda place: _lay_out(job, place))
        calls = _todo(job, progress)
        output.set_status(job.store, complete=False)
        _drop_unproven(job, calls)
        return calls
    if not fresh:
        progress.note(
            f"{job.run.job}: {job.store} has another layout or release, and is made again"
        )
    job.ledger.begin(job.header())
    _lay_out(job, job.store)
    return _todo(job, progress)


def _lay_out(job: Job, store: str) -> None:
    """Write the empty store."""
    run = job.run
    grid, chunk = run.cube.grid.crop(run.window), run.options.chunk or 0
    output.lay_out(run.template(), store, grid=grid, chunk=chunk)


def _todo(job: Job, progress: Progress, *, read: bool = True) -> list[Task]:
    """List the tiles that the ledger does not prove; with `read`, chunks are compared with it."""
    states = {tile.index: job.state(tile) for tile in job.work.tiles}
    records = proofs(job)

    def proven(record: Record) -> bool:
        same = record.source == states.get(record.index)
        return same and (not read or job.ledger.holds(record))

    with ThreadPoolExecutor(8) as threads:
        done = dict(zip(records, threads.map(proven, records.values()), strict=True))
    calls = [
        Task(tile.index, (states[tile.index],))
        for tile in job.work.tiles
        if not done.get(tile.index) and (tile.index in done or job.may_hold(tile))
    ]
    if calls and any(done.values()):
        kept = sum(done.values())
        progress.note(f"{job.run.job}: {kept} tiles are done and proven, {len(calls)} are to do")
    return calls


def proofs(job: Job) -> dict[Index, Record]:
    """Return the records of a job that list exactly the chunks of their tile."""
    names, tiles = job.arrays, job.work.tiles
    ours = [
        record
        for record in job.ledger.records()
        if record.run == job.work.run
        and all(0 <= at < count for at, count in zip(record.index, tiles.counts, strict=True))
    ]
    stored = output.stored_arrays(job.store, names if ours else ())
    return {
        record.index: record
        for record in ours
        if record.chunks.keys() == set(output.tile_keys(stored, names, tiles[record.index].core))
    }


def _drop_unproven(job: Job, calls: list[Task]) -> None:
    """Remove chunks of empty tiles: no task of this job wrote them."""
    keep = [key for record in proofs(job).values() for key in record.chunks]
    names, tiles = job.arrays, job.work.tiles
    stored = output.stored_arrays(job.store, names)
    keep += [
        key for call in calls for key in output.tile_keys(stored, names, tiles[call.index].core)
    ]
    output.drop_chunks(job.store, names, set(keep))


def _written(job: Job) -> dict[str, dict[str, int]]:
    """Return the checksums of all proven chunks, by array."""
    known: dict[str, dict[str, int]] = {name: {} for name in job.arrays}
    for record in proofs(job).values():
        for key, fact in record.chunks.items():
            if fact is not None:
                known[key.partition("/")[0]][key] = fact["crc32c"]
    return known


def _work_off(
    job: Job, calls: list[Task], section: DaskSection, progress: Progress
) -> list[FailedTask]:
    """Compute tiles on the workers that the section describes."""
    if not calls:
        return []
    from hmx.engine.pool.cluster import connect  # loads distributed

    with connect(section, tasks=len(calls), device=job.run.options.device) as pool:
        tiles = "tile" if len(calls) == 1 else "tiles"
        progress.note(
            f"{job.run.job}: {job.run.summary()}, {len(calls)} {tiles} of "
            f"{job.run.options.tile} px, halo {job.run.halo} px, by {pool.described}, into "
            f"{job.store}"
        )
        meter = Meter(progress, len(calls), f"{job.run.job}: ", start="starting")
        pixels = 0

        def on_done(index: Index, _: Any) -> None:
            nonlocal pixels
            rows, columns = job.work.tiles[index].core.shape
            pixels += rows * columns
            meter(rate=lambda seconds: f"{pixels / seconds / 1e6:.2f} Mpx/s, ")

        return run_windows(pool, job.work, calls, on_done=on_done)


def _require_same_input(job: Job, calls: list[Task]) -> None:
    """Refuse a result whose cube changed during the run: tiles may mix old and new values."""
    now = Job(job.run, job.source, job.store)  # a new inventory of the cube
    changed = [c for c in calls if c.arguments != (now.state(job.work.tiles[c.index]),)]
    if changed:
        raise JobFailed(
            f"{job.source} was written to while it was read, under {len(changed)} of {len(calls)} "
            f"tiles, so {job.store} stays incomplete. Run the same command again: it computes "
            "them anew."
        )


def _report(job: Job, failures: list[FailedTask]) -> str:
    """List failed tiles with their location and cause."""
    lines = [f"{job.store} is incomplete: {len(failures)} tiles failed, what is done is kept."]
    for failure in failures[:_SHOWN]:
        core = job.work.tiles[failure.index].core
        bounds = job.run.cube.grid.crop(job.run.runner.core(core)).bounds
        where = ", ".join(f"{edge:.10g}" for edge in bounds)
        lines.append(
            f"  tile {failure.index}, rows {core.y.start}-{core.y.stop}, columns {core.x.start}-"
            f"{core.x.stop}, bounds ({where}): {type(failure.error).__name__}: {failure.error}"
        )
    if len(failures) > _SHOWN:
        lines.append(f"  ... and {len(failures) - _SHOWN} more")
    lines.append("Repair their inputs, then run the same command again: only they are computed.")
    return "\n".join(lines)
