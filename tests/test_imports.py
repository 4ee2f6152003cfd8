"""Laws of loading: a command loads what it needs, and none of what it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import hmx
from hmx.workflow import ensure_model
from tests.make.cubes import write_catalog

LOAD = """
import json, sys
from hmx.cli.main import hmx
hmx.main(sys.argv[1:], standalone_mode=False)
print(json.dumps(sorted(sys.modules)))
"""
# what each takes to load on its own, in seconds of CPU: 1.7, 1.5, 0.9, 1.0, 0.6, 6 and 0.5
TORCH, FORESTS, STATISTICS = "torch", "sklearn", "scipy.stats"
COMPILER = "sympy"  # of torch, 1 s: needed by operations on the device "meta"
RASTERS, CLUSTERS, FITTING, PICTURES = "rasterio", "distributed", "pytorch_lightning", "matplotlib"


def loaded(folder: Path, *words: str) -> Sequence[str]:
    """Run a command in a process of its own; list what it has loaded."""
    command = [sys.executable, "-c", LOAD, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_commands_load_no_library_that_they_do_not_use(tmp_path: Path) -> None:
    """The description of a model needs no torch, and a forecast no forests and no training."""
    ensure_model(hmx.Catalog.load(write_catalog(tmp_path)))
    told = loaded(tmp_path, "info", "toy.yaml")
    assert not {TORCH, FORESTS, STATISTICS, CLUSTERS, FITTING, PICTURES} & {*told}
    made = loaded(tmp_path, "forecast", "toy.yaml")
    assert {TORCH, CLUSTERS} <= {*made}
    assert not {FORESTS, STATISTICS, FITTING, PICTURES, COMPILER} & {*made}


def test_help_and_the_catalog_load_no_science() -> None:
    heavy = [TORCH, FORESTS, STATISTICS, RASTERS, CLUSTERS, FITTING, PICTURES, "scipy.optimize"]
    code = f"import sys, hmx.cli.main, hmx.catalog; print(set({heavy}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
