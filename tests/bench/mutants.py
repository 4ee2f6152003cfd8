"""Damaged models, wrong catalogs and bad words on the command line: who refuses, who breaks.

Run from the root of the project::

    python -m tests.bench.mutants
    python -m tests.bench.mutants --bundles 1000 --catalogs 0 --words 0 --json

Everything is to end in a result or in one of hmx's own errors. A mutant of a model that
loads is used on a small cube. Broken is any other exception, and whatever takes over ten
seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import hmx
from hmx.catalog import Catalog, MapCatalog, load_catalog
from hmx.errors import BundleError, HmxError
from hmx.mapping.api import soc_map
from hmx.products.describe import bundle_lines
from tests.make.cubes import make_bundle, make_cube, streamed_options, write_catalog
from tests.make.mapworlds import make_covariates, make_mapper
from tests.make.mutants import bundle_mutant, catalog_mutants
from tests.make.soilworlds import write_map_catalog
from tests.make.words import try_words

PATIENCE = 10.0  # seconds of CPU that anything may take
TINY = (24, 28)


class Outcomes:
    """Counts of what happened, and the first of what should not have."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []

    def add(self, what: str, act: Callable[[], str]) -> None:
        """Run something, and count how it ended."""
        started = time.process_time()
        try:
            outcome = act()
        except HmxError as error:
            outcome = f"refused: {type(error).__name__}"
        except Exception as error:
            outcome = f"BROKEN: {type(error).__name__}"
            self.broken.append(f"{what}: {''.join(traceback.format_exception(error)[-4:])}")
        if (seconds := time.process_time() - started) > PATIENCE:
            outcome = "SLOW"
            self.broken.append(f"{what}: {seconds:.0f} s")
        self.counts[outcome] += 1

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"counts": dict(self.counts.most_common()), "broken": self.broken[:20]}


def _models(folder: Path) -> list[tuple[Path, str, Callable[[Path], object]]]:
    """Write models of every kind; return each with its digest and a use of it."""
    cube, land = make_cube(TINY), make_covariates(TINY)

    def forecast(path: Path) -> object:
        return cube.hm.forecast(h=2, model=path, level=80, exceed=0.5, tile=32).load()

    def plain(path: Path) -> object:
        return cube.hm.forecast(h=2, model=path, tile=32).load()

    def soil(path: Path) -> object:
        return soc_map(land, model=path, level=90).load()

    made: list[tuple[Any, Callable[[Path], object]]] = [
        (make_bundle(cube, calibrated=True, members=2), forecast),
        (make_bundle(cube, streamed_options(), weights="random"), plain),
        (make_mapper(land, forest=True, calibrated=True, near=True, members=2), soil),
    ]
    saved = []
    for number, (bundle, use) in enumerate(made):
        path = bundle.save(folder / f"model-{number}").path
        use(path)
        saved.append((path, bundle.digest, use))
    return saved


def try_bundles(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Damage models, load them, and use those that load."""
    outcomes, models = Outcomes(), _models(folder)
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        model, digest, use = models[number % len(models)]
        out = folder / f"mutant-{number}"
        kind = bundle_mutant(model, out, rng)

        def act(out: Path = out, digest: str = digest, use: Any = use) -> str:
            bundle = hmx.load(out)
            bundle_lines(hmx.load(out))
            if bundle.digest == digest:
                return "as it was"
            try:
                use(out)
            except BundleError as error:
                return f"refused in use: {type(error).__name__}"
            return "usable"

        outcomes.add(f"bundle {number} ({kind})", act)
        shutil.rmtree(out)
    return outcomes.as_dict()


def _whole(catalog: Catalog | MapCatalog) -> dict[str, Any]:
    """Write a catalog with every key that it can have."""
    return json.loads(json.dumps(catalog.model_dump(mode="json")))


def try_catalogs(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Put wrong values at every key of catalogs of both jobs, and break their structure."""
    outcomes, rng = Outcomes(), random.Random(seed)
    (folder / "maps").mkdir()
    bases = [
        _whole(load_catalog(write_catalog(folder))),
        _whole(load_catalog(write_map_catalog(folder / "maps"))),
    ]
    file = folder / "mutant.yaml"
    for base in bases:
        for text in catalog_mutants(base, rng, -(-count // len(bases))):
            file.write_bytes(text)

            def act() -> str:
                catalog = load_catalog(file)
                for source in catalog.cube.sources.values():
                    len(source.steps())
                assert all(isinstance(name, str) for name in (*catalog.static, *catalog.dynamic))
                return "read"

            outcomes.add(f"catalog:\n{text[:3000]!r}", act)
    return outcomes.as_dict()


def main(argv: Sequence[str] | None = None) -> int:
    """Try them all; print counts of outcomes, and what broke."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundles", type=int, default=10_000)
    parser.add_argument("--catalogs", type=int, default=5_000)
    parser.add_argument("--words", type=int, default=200, help="invocations of the command line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    tries = {"bundles": try_bundles, "catalogs": try_catalogs, "words": try_words}
    for name, attempt in tries.items():
        if not getattr(args, name):
            continue
        with tempfile.TemporaryDirectory(prefix="hmx-mutants-") as place, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of overflow, in models with absurd scales
            figures[name] = attempt(getattr(args, name), args.seed, Path(place))
        if not args.json:
            print(f"{name}: {sum(figures[name]['counts'].values()):,} tried")
            for outcome, number in figures[name]["counts"].items():
                print(f"  {number:7,}  {outcome}")
            for text in figures[name]["broken"]:
                print(f"  {text}")
    if args.json:
        print(json.dumps(figures, indent=2))
    return 1 if any(found["broken"] for found in figures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
