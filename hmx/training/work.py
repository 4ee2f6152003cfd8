"""Work: what an unfinished training keeps on disk, so that the next run goes on.

A work folder lies beside the product to be. It records the settings and data that it belongs to:
work of other settings or data is never used, but removed. The folder goes away as soon as the
product is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hmx.cube.store import claim, discard_work, mark_private
from hmx.files.durable import Folder
from hmx.progress import Progress
from hmx.provenance import fingerprint

_RECIPE = "recipe.json"
_WORK = (".safetensors", ".ckpt")  # files that spare the next run some work
_HASHES = ("points", "data", "cube", "scaler", "start")  # facts whose values are not shown


@contextmanager
def work_folder(
    folder: Path,
    out: str | Path,
    facts: Mapping[str, Any],
    *,
    what: str = "model",
    progress: Progress = Progress(),
) -> Iterator[Path]:
    """Yield the folder for the unfinished work of `out`; one of the same facts keeps its files.

    The facts are JSON values of all that decides the work. A run that is stopped leaves the
    folder; a run that fails before it finished anything does not.
    """
    now = json.loads(json.dumps(facts, default=str))
    before = _recorded(folder)
    if before is None or before["fingerprint"] != fingerprint(now):
        if before is not None:  # ours, but its work is of no use
            progress.note(f"{what}: unfinished work is left unused ({_change(before, now)})")
            mark_private(folder)
        claim(folder)
        text = json.dumps({"fingerprint": fingerprint(now), "facts": now})
        Folder(str(folder)).write(_RECIPE, text.encode())
    mark_private(folder)
    try:
        yield folder
    except Exception:
        if not any(path.suffix in _WORK for path in folder.rglob("*")):
            discard_work(folder, out)
        raise
    discard_work(folder, out)


def _recorded(folder: Path) -> dict[str, Any] | None:
    """Read what the work in a folder belongs to; None if it is not a work folder."""
    try:
        saved: dict[str, Any] = json.loads((folder / _RECIPE).read_bytes())
        return saved if isinstance(saved["fingerprint"], str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describe the first fact that differs."""
    had = before.get("facts")
    if not isinstance(had, dict):  # of an older release
        return "settings or data have changed"
    for name, value, old in _flat(now, had):
        if value != old:
            plain = name not in _HASHES and max(len(str(value)), len(str(old))) <= 60
            return f"{name} is {value}, and was {old}" if plain else f"other {name}"
    return "an option is gone"


def _flat(now: Any, had: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield name, value and former value of each plain fact."""
    if not isinstance(now, dict):
        yield name, now, had
        return
    for key, value in now.items():
        old = had.get(key) if isinstance(had, dict) else None
        yield from _flat(value, old, key)  # the last key alone is what a user types


@dataclass(frozen=True)
class Finished:
    """Finished parts of a training, by name: arrays with facts, each whole or absent.

    Without a folder nothing is kept.
    """

    folder: Path | None = None

    def has(self, name: str) -> bool:
        """Return True if a part is finished."""
        return self.folder is not None and self._file(name).is_file()

    def read(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return arrays and facts of a part; None if it is not finished, or its file is damaged."""
        if not self.has(name):
            return None
        try:
            with safe_open(self._file(name), framework="numpy") as file:
                facts = json.loads((file.metadata() or {})["facts"])
                names = list(file.keys())
                return {key: file.get_tensor(key) for key in names}, facts
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None

    def write(self, name: str, arrays: Mapping[str, np.ndarray], facts: object = None) -> None:
        """Keep a part: on disk when this returns."""
        if self.folder is None:
            return
        plain = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        data = save(plain, metadata={"facts": json.dumps(facts)})
        Folder(str(self.folder)).write(self._file(name).name, data)

    def _file(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.safetensors"
