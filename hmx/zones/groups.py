"""Groups: zones that share a value of a property, such as the country."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hmx.errors import BadArgument, did_you_mean
from hmx.zones.cover import Ints
from hmx.zones.features import as_name, columns_of, missing


@dataclass(frozen=True)
class Groups:
    """Groups of the zones of a layer, in the order in which the layer names them."""

    names: tuple[str, ...]
    members: tuple[Ints, ...]  # numbers of the zones of each group

    def matrix(self, zones: int) -> np.ndarray:
        """Return 1 where a zone is in a group, else 0, shape (groups, zones)."""
        found = np.zeros((len(self.names), zones), np.int64)
        for row, members in enumerate(self.members):
            found[row, members] = 1
        return found


def groups_of(properties: Sequence[Mapping[str, object]], by: str) -> Groups:
    """Group zones by a property; those without a value are a group of their own.

    Zones of a group may overlap, and then a total counts the pixels of both twice.
    """
    known = columns_of(properties)
    if by not in known:
        raise BadArgument(
            f"by={by!r} is not a property of the zones (has: {', '.join(known) or 'none'})."
            f"{did_you_mean(by, known)} Pass one of them."
        )
    found: dict[str, list[int]] = {}
    for number, each in enumerate(properties):
        value = each.get(by)
        found.setdefault(f"no {by}" if missing(value) else as_name(value), []).append(number)
    return Groups(tuple(found), tuple(np.array(each, np.int64) for each in found.values()))
