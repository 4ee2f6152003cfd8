"""Kill commands before every change of the file system, run them again, compare.

Run from the root of the project::

    python -m tests.bench.crashes
    python -m tests.bench.crashes --commands ingest train --every 5

The second run must leave the bytes of an undisturbed one, and no other file.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.make.crashes import COMMANDS, Crashes
from tests.make.forks import server


def main(argv: Sequence[str] | None = None) -> int:
    """Kill, run again, compare; print one line for each command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--commands", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--every", type=int, default=1, help="kill at each n-th point only")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    figures, good = {}, True
    with tempfile.TemporaryDirectory(prefix="hmx-crashes-") as folder, server() as ready:
        for name in args.commands:
            crashes = Crashes(ready, Path(folder), COMMANDS[name])
            tested = crashes.kill(crashes.every()[:: args.every])
            good &= tested.good
            figures[name] = asdict(tested)
            if not args.json:
                print(f"{name:10} {tested}", flush=True)
                for kind in ("failed", "lost", "different", "litter", "lies"):
                    for point in getattr(tested, kind)[:5]:
                        print(f"    {kind}: {point.strip()}", flush=True)
    if args.json:
        print(json.dumps(figures, indent=2))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
