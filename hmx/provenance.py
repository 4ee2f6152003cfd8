"""Provenance: how a product was made, as JSON that travels in its attributes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hmx.files.jsontext import as_json
from hmx.redact import redact_all


def code_version() -> str:
    """Return the version of the installed hmx."""
    try:
        return version("hmx")
    except PackageNotFoundError:
        return "unknown"


def provenance(**facts: object) -> str:
    """Write facts and the code's version as JSON, keys sorted, secrets left out."""
    return as_json(redact_all({"hmx": code_version(), **facts}), sort_keys=True)


def fingerprint(facts: object) -> str:
    """Hash JSON values, the same on every machine, 16 hex digits."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# settings that a backtest decides anew, and hardware; a history that is left open follows the maps
_OPEN = {
    "until", "fold", "folds", "final", "h", "seed", "history",
    "device", "parallel", "devices", "num_nodes",
}  # fmt: skip


def recipe_of(training: Mapping[str, Any]) -> str | None:
    """Hash the settings that a model and its refits share; ``None`` if they are not recorded."""
    if not {"network", "fit"} <= training.keys():
        return None
    parts = [
        {key: value for key, value in training[name].items() if key not in _OPEN}
        for name in ("network", "fit")
    ]
    return fingerprint([*parts, training.get("transforms", {})])
