"""Verify: prove that a stored forecast or map is right, or name its faults.

Three questions, in this order. Is every tile proven by a record, and does every
chunk match its record? Do windows that lie *across* the tiles, computed anew from
the cube and the model, give the numbers that are stored? If so, neither the disk
nor the tiling has left a mark. The answer is written into the store's attributes.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np
import zarr

from hmx.cube.integrity.examine import audit_text, require_whole
from hmx.cube.integrity.seal import AUDIT, set_attribute
from hmx.cube.store import attributes
from hmx.engine.job import Job, proofs
from hmx.engine.ledger import Ledger
from hmx.engine.output import is_ours, writing
from hmx.errors import VerifyFailed
from hmx.files.paths import absolute
from hmx.progress import OnStep, Progress, counted
from hmx.provenance import code_version
from hmx.windows import Span, Window


@dataclass(frozen=True)
class Audit:
    """What a verification found."""

    tiles: int  # tiles that are proven by the ledger
    empty: int  # tiles in which nothing can be computed
    chunks: int  # chunks whose bytes match the ledger
    windows: int  # windows that were computed again
    pixels: int  # pixels in them, each with all its leads and variables
    largest: float  # largest difference from what is stored, native units
    tolerance: float  # largest difference that is allowed, native units
    seed: int  # decides where the windows lie

    def __str__(self) -> str:
        return (
            f"{counted(self.tiles, 'tile')} and {counted(self.chunks, 'chunk')} match the "
            f"ledger ({self.empty} tiles hold nothing); {self.windows} windows across tiles, "
            f"{self.pixels:,} px, computed again: largest difference {self.largest:.2g} "
            f"(allowed {self.tolerance:.2g})"
        )


def verify(
    store: str,
    *,
    sample: int = 20,
    seed: int = 0,
    source: str | None = None,
    progress: Progress | OnStep | None = None,
) -> Audit:
    """Check a stored forecast or map and write the audit into it.

    Parameters
    ----------
    store : str
        Path of what a job has written.
    sample : int
        Windows to compute again.
    seed : int
        Decides where they lie.
    source : str, optional
        Path or URL of the cube. Default: the folder that the store's ledger names; a URL in
        it is not fetched.
    progress : Progress or callable, optional
        A plain callable gets (steps done, steps, text).

    Returns
    -------
    Audit
        Also in the store's attribute ``hmx_audit``, as JSON.

    Raises
    ------
    VerifyFailed
        If tiles are missing, chunks are not as they were written, or a window
        comes out otherwise. An earlier audit is then taken away.
    OutputBusy, OutputFailed
        If a job is writing there, or the audit cannot be written.
    BundleError, SourceError
        If the model or the cube is not what it was, or where it was.

    Examples
    --------
    >>> verify("build/demo_forecast.zarr", sample=5)  # doctest: +SKIP
    """
    store, progress = absolute(store), Progress.of(progress)
    _require_product(store)
    with writing(store), Ledger(store).owned():
        try:
            require_whole(store, progress=progress)
            job = _job_of(store, source)
            tiles, empty, chunks = _check_ledger(job, progress)
            windows = list(_windows(job, sample, seed))
            worst = _recompute(job, windows, progress)
        except VerifyFailed:
            _write_audit(store, None)
            raise
        pixels = sum(len(w.y) * len(w.x) for w in windows)
        tolerance = job.run.tolerance()
        audit = Audit(tiles, empty, chunks, len(windows), pixels, worst, tolerance, seed)
        _write_audit(store, audit)
    return audit


def _require_product(store: str) -> None:
    """Raise unless a finished product is there, damaged or not."""
    found = attributes(store)
    if not is_ours(found):
        require_whole(store)  # a root that is damaged does not show that nothing was there
        raise VerifyFailed(
            f"there is no forecast or map of hmx at {store!r}. Pass the store that its job "
            "printed, or the catalog it was made from."
        )
    if found["hmx_status"] == "incomplete":
        raise VerifyFailed(
            f"{store} is incomplete, so there is nothing to vouch for yet. Run the same command "
            "again to finish it."
        )


def _job_of(store: str, source: str | None) -> Job:
    """Restore the job of a finished store; the error names what is lost or has changed."""
    header = Ledger(store).job()
    if not header:
        raise VerifyFailed(
            f"{store} has no ledger next to it ({Ledger(store).path}), or a damaged one, so "
            "nothing can be proven. Keep the two together, or make the store anew with --overwrite."
        )
    job = Job.restore(store, header, source)
    for key, had in header["facts"].items():
        if job.facts.get(key) != had:
            raise VerifyFailed(
                f"{store} was made with {key} {had!r}, and now it would be {job.facts.get(key)!r}: "
                f"the cube {job.source} or the model {header['bundle']} has changed since."
            )
    return job


def _check_ledger(job: Job, progress: Progress) -> tuple[int, int, int]:
    """Compare every chunk with the ledger; count tiles, empty tiles and chunks."""
    records = proofs(job)
    missing = [t.index for t in job.work.tiles if t.index not in records and job.may_hold(t)]
    if missing:
        raise VerifyFailed(_faults(job, "no record of", missing))
    torn, done = [], 0
    with ThreadPoolExecutor(8) as threads:
        for record, holds in zip(
            records.values(), threads.map(job.ledger.holds, records.values()), strict=True
        ):
            done += 1
            progress.step(done, len(records), "verify: checksums of tiles")
            if not holds:
                torn.append(record.index)
    if torn:
        raise VerifyFailed(_faults(job, "other bytes than were written in", torn))
    chunks = sum(fact is not None for r in records.values() for fact in r.chunks.values())
    return len(records), len(list(job.work.tiles)) - len(records), chunks


def _faults(job: Job, what: str, tiles: list[tuple[int, int]]) -> str:
    listed = ", ".join(map(str, tiles[:10])) + (", ..." if len(tiles) > 10 else "")
    return (
        f"{job.store} has {what} {len(tiles)} of its tiles: {listed}. Run the same hmx "
        f"{job.run.job} again: it computes these anew."
    )


def _windows(job: Job, sample: int, seed: int) -> Iterator[Window]:
    """Draw windows as large as a tile that lie across tiles, where there is data."""
    draw = np.random.default_rng(seed)
    tiles = sorted(record.index for record in job.ledger.records())
    whole = Window.of(job.run.window.shape)
    for _ in range(sample if tiles else 0):
        core = job.work.tiles[tiles[draw.integers(len(tiles))]].core
        spans = []
        for span, outer in ((core.y, whole.y), (core.x, whole.x)):
            offset = int(draw.integers(1, max(2, len(span)))) * int(draw.choice([-1, 1]))
            moved = span.shift(offset).clip(outer)
            spans.append(moved if len(moved) else Span(span.start, span.stop - len(span) // 2))
        yield Window(*spans)


def _recompute(job: Job, windows: list[Window], progress: Progress) -> float:
    """Compute windows again; return the largest difference from what is stored.

    Numbers may differ by rounding, because another layout of tiles adds up in another
    order; flags may not differ at all.
    """
    group = zarr.open_group(job.store, mode="r")
    run, worst = job.run, 0.0
    for done, window in enumerate(windows, start=1):
        for name, again in run.runner.run(window, run.cube).items():
            array = group[name]
            assert isinstance(array, zarr.Array)
            off = _largest(again, np.asarray(array[(..., *window.slices)]))
            if not off <= run.tolerance(name):
                raise VerifyFailed(
                    f"{job.store}: {name} in rows {window.y.start}-{window.y.stop}, columns "
                    f"{window.x.start}-{window.x.stop} is not what its model and cube give: the "
                    f"largest difference is {off:.3g}. Make it anew: hmx {run.job} CATALOG "
                    "--overwrite."
                )
            worst = max(worst, off)
        progress.step(done, len(windows), "verify: windows across tiles")
    return worst


def _largest(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference; infinite where one has data and the other has none."""
    one, other = one.astype("float64"), other.astype("float64")
    if not np.array_equal(np.isnan(one), np.isnan(other)):
        return float("inf")
    known = np.isfinite(one)
    return float(np.abs(one[known] - other[known]).max(initial=0.0))


def _write_audit(store: str, audit: Audit | None) -> None:
    """Write what was found into the store, or take an older finding away."""
    text = None
    if audit is not None:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        text = audit_text({**asdict(audit), "when": when, "hmx": code_version()})
    set_attribute(store, AUDIT, text)
