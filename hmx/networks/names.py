"""Names: other names of options, such as those of the study that the map job comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NETWORK_NAMES = {"window_size": "window", "time_before": "history"}


def renamed(values: Any, names: Mapping[str, str]) -> Any:
    """Replace other names of options by their own; `names` maps other name to own name.

    Hyphens are underscores.
    """
    if not isinstance(values, Mapping):
        return values
    found: dict[Any, Any] = {}
    for name, value in values.items():
        plain = name.replace("-", "_") if isinstance(name, str) else name
        own = names.get(plain, plain)
        if own in found:
            other = next((n for n in values if names.get(n) == own), name)
            raise ValueError(
                f"{other} is another name of {own}, and both are given. Leave one out."
            )
        found[own] = value
    return found
