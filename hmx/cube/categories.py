"""Categories: the attributes of a variable whose numbers are codes of classes.

The CF conventions list codes and names in ``flag_values`` and ``flag_meanings``; a catalog that
gives no names leaves only the mark that the numbers are codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_MARK = "hmx_categories"
_DECLARED = ("flag_values", "flag_meanings", _MARK)


def flag_attributes(categories: bool | Mapping[int, str] | None) -> dict[str, Any]:
    """Return the attributes of a variable whose catalog declares its classes."""
    if not categories:
        return {}
    if categories is True:
        return {_MARK: "true"}
    # names of CF flags are single words
    names = (re.sub(r"\W+", "_", str(name)).strip("_") or "class" for name in categories.values())
    return {
        "flag_values": [int(code) for code in categories],
        "flag_meanings": " ".join(names),
        _MARK: "true",
    }


def has_classes(attrs: Mapping[Any, Any]) -> bool:
    """Return True if the attributes of a variable declare its numbers to be codes of classes."""
    return any(name in attrs for name in _DECLARED)
