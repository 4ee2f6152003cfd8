"""Changes: how a model differs from what a catalog describes now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hmx.bundles.folder import DESCRIPTION, as_model
from hmx.forecast.bundle import Bundle
from hmx.mapping.bundle import MapBundle
from hmx.settings import HARDWARE

# defaults of earlier releases, for what is now chosen by the raster and the network
_FORMER = {"history": 3, "chip": 96, "context": [1, 3, 10, 30]}
# defaults of settings that bundles of earlier releases lack
NEWER = (None, "crps", 0.2, "change")


def changed(
    had: Any, wanted: Any, sections: dict[str, str], *, absent: Any = (None,)
) -> str | None:
    """Return the first setting that differs, by its name in the catalog."""
    for section, name in sections.items():
        for key, value in wanted[section].items():
            before = had.get(section, {}).get(key, value if value in absent else None)
            if value is None and before == _FORMER.get(key):
                continue
            if before != value and key not in HARDWARE:
                return f"{name}.{key} is {value}, and was {before}"
    return None


def other_start(had: Any, wanted: str | None, kind: type[Bundle | MapBundle]) -> str | None:
    """Return how the model that a fit starts from differs, if it does."""
    if had.get("init_from") != wanted:
        return "it starts from another model"
    # A start that is elsewhere, or was removed after training, changes nothing
    if wanted is None or not (Path(wanted) / DESCRIPTION).is_file():
        return None
    # mappers of earlier releases have no digest of their start
    same = had.get("init_digest") in (None, as_model(kind, wanted).digest)
    return None if same else "the model that it starts from has changed since"
