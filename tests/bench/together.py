"""Start several ``hmx forecast`` of one catalog at once, many times, and compare.

Run from the root of the project::

    python -m tests.bench.together
    python -m tests.bench.together --pairs 10 --fives 1 --real 2

There is no cube and no model to begin with. Most commands are forks of a process that
has imported everything, so that they really meet; some are processes of their own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.make.forks import server
from tests.make.together import Together, as_dict


def main(argv: Sequence[str] | None = None) -> int:
    """Run groups; print one line for each kind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=90, help="of forked commands")
    parser.add_argument("--fives", type=int, default=10, help="groups of five, forked")
    parser.add_argument("--real", type=int, default=10, help="pairs of processes of their own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    figures, good = {}, True
    with tempfile.TemporaryDirectory(prefix="hmx-together-") as folder, server() as ready:
        together = Together(ready, Path(folder))
        kinds = {"pairs": (args.pairs, 2, False), "fives": (args.fives, 5, False)}
        for name, (groups, size, real) in {**kinds, "real pairs": (args.real, 2, True)}.items():
            met = together.meet(groups, size, real=real, seed=args.seed)
            good &= met.good
            figures[name] = as_dict(met)
            if not args.json:
                print(f"{name:10} {met}", flush=True)
                for line in [*met.failed, *met.different][:5]:
                    print(f"    {line.strip()}", flush=True)
    if args.json:
        print(json.dumps(figures, indent=2))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
