"""Flip bits, lose chunks and damage metadata of stores; count what is found and what is used.

Run from the root of the project::

    python -m tests.bench.damage --flips 1000 --chunks 200 --metadata 50

A quarter of each kind goes to a cube of each job, a forecast and a map. ``hmx verify``
must find each one; a forecast, a training (of every tenth cube) or a map made of it must
be refused or be the same to the byte. Every tenth product is made again by its own
command, and every file compared.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.make.damage import KINDS, Subject, inflict, subjects
from tests.make.faults import tree


def main(argv: Sequence[str] | None = None) -> int:
    """Damage, verify, use; print one line for each kind and store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for flag, kind, count in zip(
        ("flips", "chunks", "metadata"), KINDS, (1000, 200, 50), strict=True
    ):
        parser.add_argument(f"--{flag}", type=int, default=count, help=kind)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    counts = dict(zip(KINDS, (args.flips, args.chunks, args.metadata), strict=True))
    draw, rows = random.Random(args.seed), []
    with tempfile.TemporaryDirectory(prefix="hmx-damage-") as folder:
        found = subjects(Path(folder))
        for number, (name, subject) in enumerate(found.items()):
            right = {use: do() for use, do in subject.uses.items()}
            for kind, total in counts.items():
                share = total // len(found) + (number < total % len(found))
                start = time.perf_counter()
                row = _damage(subject, kind, share, right, draw)
                seconds = time.perf_counter() - start
                rows.append({"store": name, "kind": kind, "seconds": seconds, **row})
                if not args.json:
                    print(f"{name:9}{kind:18}{dict(row)}  {seconds:.0f} s", flush=True)
    if args.json:
        print(json.dumps({"rows": rows}, indent=2))
    wrong = [
        row for row in rows
        if row.get("found", 0) != row.get("damaged", 0) or row.get("silently used")
        or row.get("mended") != row.get("made again")
    ]  # fmt: skip
    return 1 if wrong else 0


def _damage(
    subject: Subject, kind: str, share: int, right: dict[str, bytes], draw: random.Random
) -> Counter[str]:
    row: Counter[str] = Counter()
    for turn in range(share):
        uses = [use for use in subject.uses if use != "train" or turn % 10 == 0]
        row += inflict(subject, kind, right, draw, uses)
        if subject.mend is not None and turn % 10 == 0:
            row += _mended(subject, kind, draw)
    return row


def _mended(subject: Subject, kind: str, draw: random.Random) -> Counter[str]:
    """Damage a product, run its command again and compare every file."""
    before = tree(subject.store)
    suits, damage = KINDS[kind]
    damage(
        draw.choice(sorted(f for f in subject.store.rglob("*") if f.is_file() and suits(f))), draw
    )
    assert subject.mend is not None
    subject.mend()
    return Counter({"made again": 1, "mended": int(tree(subject.store) == before)})


if __name__ == "__main__":
    sys.exit(main())
