"""Measure what a selection of covariates is worth on real samples of soil carbon.

Run from the root of the project::

    python -m tests.bench.selection
    python -m tests.bench.selection --nested
    python -m tests.bench.selection --every 4 --most 2 --json

Samples, covariates and folds are those of ``tests.bench.soil`` (blocks of 20 km). The forest of the
selection is fitted to every set; ``all`` has all nine covariates, ``chosen`` is the smallest set
within one standard error of the best, ``best`` the best of all sets. Nested, the selection is
repeated without each fold and scored on it: that R2 has not seen its samples.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hmx.mapping.select.api import select
from hmx.progress import Progress
from tests.bench.soil import macedonia, real_data


def main(argv: Sequence[str] | None = None) -> int:
    """Select, and print the table; with --json also JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="keep every n-th sample")
    parser.add_argument("--most", type=int, help="covariates at most")
    parser.add_argument("--nested", action="store_true")
    parser.add_argument("--method", default="blocks", help="of the folds: blocks, random")
    parser.add_argument("--learner", default="forest")
    parser.add_argument("--out", help="folder of the selection; a stopped run goes on")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    clock = time.process_time()
    with tempfile.TemporaryDirectory(prefix="hmx-select-") as folder:
        bands = macedonia(real_data(), Path(folder))
        points = pd.read_csv(real_data() / "points.csv").iloc[:: args.every]
        asked: dict[str, Any] = {"nested": args.nested, "split": args.method}
        asked |= {} if args.most is None else {"most": args.most}
        found = select(
            bands.data, points, crs="EPSG:4326", units="%", learner=args.learner, out=args.out,
            progress=Progress.console(), **asked,
        )  # fmt: skip
    seconds = time.process_time() - clock
    out = sys.stderr if args.json else sys.stdout
    print(found, f"\n{seconds:.0f} CPU seconds in all", file=out)
    if args.json:
        best = {"best": list(found.best.covariates), "r2_best": found.r2(found.best)}
        print(json.dumps({**found.as_dict(), **best, "cpu_seconds": seconds}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
