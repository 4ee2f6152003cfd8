"""Classes: bands of codes that are taken for quantities, named before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hmx.mapping.inputs import RawWindows
from hmx.mapping.spec import MapSpec

_FLAGS = ("flag_values", "flag_meanings", "flag_masks")  # of CF: the numbers are codes
_MOST = 40  # classes; a quantity in whole numbers mostly has more
_FEW = 20  # neighbours that differ, below which nothing is known of jumps
_LISTED = 5


def class_notes(raw: RawWindows, spec: MapSpec, attrs: Mapping[str, Any]) -> list[str]:
    """Name bands that look like codes of classes, one line each.

    Codes jump between neighbours: 11 lies beside 512 as often as beside 311. A quantity
    that is rounded to whole numbers goes through those between.

    Parameters
    ----------
    raw : RawWindows
        Around the samples.
    spec : MapSpec
        Names of the bands.
    attrs : mapping of str to mapping
        Attributes of each band, of which CF's flags are codes without a doubt.
    """
    seen = {n: raw.dynamic[:, -1, at] for at, n in enumerate(spec.dynamic)}
    seen |= {n: raw.static[:, at] for at, n in enumerate(spec.static)}
    notes = []
    for name, values in seen.items():
        flagged = any(flag in attrs.get(name, {}) for flag in _FLAGS)
        codes = np.unique(values[np.isfinite(values)])
        if flagged or _looks_coded(values, codes):
            notes.append(_note(name, codes))
    return notes


def _looks_coded(values: np.ndarray, codes: np.ndarray) -> bool:
    """Judge by how neighbours differ, values (n, w, w); of yes and no, 0 and 1, say no."""
    if not 3 <= len(codes) <= _MOST or (codes % 1 != 0).any() or codes[0] < 0:
        return False
    here, there = (
        np.concatenate([along.ravel(), across.ravel()])
        for along, across in (
            (values[..., :-1], values[..., :-1, :]),
            (values[..., 1:], values[..., 1:, :]),
        )
    )
    differ = np.isfinite(here) & np.isfinite(there) & (here != there)
    if differ.sum() < _FEW:
        return len(codes) <= _FEW
    here, there = here[differ], there[differ]
    ranks = np.abs(np.searchsorted(codes, here) - np.searchsorted(codes, there))
    size = np.median(np.abs(here - there)) / (codes[-1] - codes[0])
    return bool((ranks > 1).mean() > 0.25 or size >= 0.2)


def _note(name: str, codes: np.ndarray) -> str:
    listed = ", ".join(f"{code:g}" for code in codes[:_LISTED])
    more = ", ..." if len(codes) > _LISTED else ""
    one = f"{codes[len(codes) // 2]:g}" if len(codes) else "1"
    return (
        f"{name!r} looks like codes of {len(codes)} classes ({listed}{more}), and is read as a "
        "quantity: codes are scaled and averaged. Give a band of 0 and 1 for each class, "
        f"ds['{name}_{one}'] = (ds[{name!r}] == {one}).astype('uint8'), or leave it out."
    )
