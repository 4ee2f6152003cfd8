"""All benchmarks of jobs and the engine, one after the other.

Run from the root of the project::

    python -m tests.bench
    python -m tests.bench engine job --json
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module

BENCHES = {
    "engine": "tiles end to end beside the plain network",
    "densemap": "dense inference of mappers beside window by window",
    "job": "a job beside a bare loop, and two workers beside one",
    "jobmemory": "the memory of a job against the size of its raster",
    "backtest": "the memory of a backtest against the size of its raster",
    "faults": "jobs that are killed, and what comes out in the end",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named, or all; print tables, or one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if unknown := set(args.names) - set(BENCHES):
        parser.error(f"{sorted(unknown)[0]!r} is not among the benchmarks: {', '.join(BENCHES)}")
    figures, worst = {}, 0
    for name in args.names or BENCHES:
        bench = import_module(f"tests.bench.{name}")
        print(
            f"== {name}: {BENCHES[name]}", file=sys.stderr if args.json else sys.stdout, flush=True
        )
        if args.json:
            with redirect_stdout(io.StringIO()) as caught:
                worst = max(worst, bench.main(["--json"]))
            figures[name] = json.loads(caught.getvalue())
        else:
            worst = max(worst, bench.main([]))
    if args.json:
        print(json.dumps(figures, indent=2))
    return worst


if __name__ == "__main__":
    sys.exit(main())
