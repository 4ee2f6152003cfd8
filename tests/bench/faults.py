"""Kill workers, clients and schedulers of jobs at random moments, many times.

Run from the root of the project::

    python -m tests.bench.faults --seeds 20

After each kill (and a second run where one is needed) every byte of the store is
compared with that of an uninterrupted job.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.make.faults import KILLS, make_work, reference, tree


def main(argv: Sequence[str] | None = None) -> int:
    """Kill, resume, compare; print one line for each victim."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--victims", nargs="+", choices=sorted(KILLS), default=sorted(KILLS))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    figures = {}
    with tempfile.TemporaryDirectory(prefix="hmx-faults-") as folder:
        catalog = make_work(Path(folder) / "work")
        wanted = reference(catalog)
        for victim in args.victims:
            start, same = time.perf_counter(), 0
            for seed in range(args.seeds):
                store = Path(folder) / f"{victim}-{seed}.zarr"
                KILLS[victim](catalog, store, seed)
                same += tree(store) == wanted
            seconds = (time.perf_counter() - start) / args.seeds
            figures[victim] = {"runs": args.seeds, "same_bytes": same, "seconds_each": seconds}
            if not args.json:
                print(
                    f"{victim:10} killed {args.seeds} times, {same} times the same bytes",
                    flush=True,
                )
    if args.json:
        print(json.dumps(figures, indent=2))
    return 0 if all(f["same_bytes"] == f["runs"] for f in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
