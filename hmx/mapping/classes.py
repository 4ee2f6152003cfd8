"""Classes: bands of codes (land cover, soil types, geology) as one input for each class.

A code is a name and no quantity: 512 is not more than 311. A band is one of classes if its
attributes list CF flags (``flag_values`` or ``flag_meanings``), or if ``categories`` names it.
Networks and regressions get a plane of 0 and 1 for each class that the samples' windows contain,
and means of such planes are shares of the classes. A class that no sample has seen is 0 in all of
them: the map flags such pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hmx.cube.bands import Bands
from hmx.cube.declarations import has_classes
from hmx.errors import BadArgument, NotEnoughData, did_you_mean

MOST = 100  # classes of a band; more are too few samples each, or no classes

_MAX_SUSPECTS = 40  # a quantity in whole numbers usually has more values
_FEW = 20  # neighbours that differ; fewer show nothing about jumps
_LISTED = 5  # codes that a note lists

Classes = Mapping[str, tuple[int, ...]]


def declared(bands: Bands, categories: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the bands of classes; raise :class:`BadArgument` if a name is not that of a band."""
    stems = {name: name.partition("[")[0] for name in bands.variables}
    for name in categories:
        if name not in stems.values() and name not in stems:
            raise BadArgument(
                f"categories names {name!r}, and the cube has no such band (has: "
                f"{', '.join(bands.variables)}).{did_you_mean(name, stems)}"
            )
    return tuple(
        name
        for name, stem in stems.items()
        if {name, stem} & {*categories} or has_classes(bands.data[name].attrs)
    )


def classes_of(name: str, values: np.ndarray) -> tuple[int, ...]:
    """Return the codes of a band around the samples, in ascending order.

    Raises :class:`BadArgument` if they are not whole numbers, or too many;
    :class:`NotEnoughData` if there is none.
    """
    codes = np.unique(values[np.isfinite(values)])
    if not len(codes):
        raise NotEnoughData(
            f"band {name!r} has no known class around the training samples. Leave it out, or check "
            "its nodata and valid_range."
        )
    odd = codes[(codes % 1 != 0) | (np.abs(codes) > 2**24)]
    if len(odd):
        raise BadArgument(
            f"{name!r} is a band of classes, and contains {odd[0]:g}: codes are whole numbers. "
            "Bring it to this grid with align: nearest, or leave out its categories."
        )
    if len(codes) > MOST:
        raise BadArgument(
            f"{name!r} has {len(codes)} classes around the samples, and at most {MOST} can be "
            "learnt. Group them into fewer, or leave out its categories if it is a quantity."
        )
    return tuple(int(code) for code in codes)


def indicators(codes: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Turn codes (..., y, x) into planes of 0 and 1, (..., class, y, x); missing stays NaN."""
    wanted = np.asarray(classes, "float32")[:, None, None]
    planes: np.ndarray = (codes[..., None, :, :] == wanted).astype("float32")
    np.copyto(planes, np.nan, where=np.isnan(codes)[..., None, :, :])
    return planes


def unknown_classes(arrays: Mapping[str, np.ndarray], classes: Classes) -> np.ndarray | None:
    """Return where a band (..., y, x) has a class that training did not see, bool (y, x)."""
    found = None
    for name, codes in classes.items():
        values = arrays[name]
        odd = np.isfinite(values) & ~np.isin(values, codes)
        odd = odd.any(axis=0) if odd.ndim == 3 else odd
        found = odd if found is None else found | odd
    return found


def suspects(values: Mapping[str, np.ndarray], attrs: Mapping[str, Any]) -> list[str]:
    """Return a note for each band, (n, w, w), that looks like codes and is read as a quantity."""
    notes = []
    for name, band in values.items():
        codes = np.unique(band[np.isfinite(band)])
        if "flag_masks" in attrs.get(name, {}) or looks_coded(band, codes):
            listed = ", ".join(f"{code:g}" for code in codes[:_LISTED])
            more = ", ..." if len(codes) > _LISTED else ""
            notes.append(
                f"{name!r} looks like codes of {len(codes)} classes ({listed}{more}), and is read "
                f"as a quantity: codes are scaled and averaged. Pass categories=[{name!r}] (in a "
                f"catalog, cube.sources.{name}.categories: true) if they are classes."
            )
    return notes


def looks_coded(values: np.ndarray, codes: np.ndarray) -> bool:
    """Return True if values (n, w, w), of the distinct values `codes`, jump like class codes.

    Codes jump between neighbours: 11 lies next to 512 as often as next to 311. A quantity
    rounded to whole numbers passes through the values between. Two values are a mask, not codes.
    """
    if not 3 <= len(codes) <= _MAX_SUSPECTS or (codes % 1 != 0).any() or codes[0] < 0:
        return False
    one, other = (
        np.concatenate([along.ravel(), across.ravel()])
        for along, across in (
            (values[..., :-1], values[..., :-1, :]),
            (values[..., 1:], values[..., 1:, :]),
        )
    )
    differ = np.isfinite(one) & np.isfinite(other) & (one != other)
    if differ.sum() < _FEW:
        return len(codes) <= _FEW
    one, other = one[differ], other[differ]
    ranks = np.abs(np.searchsorted(codes, one) - np.searchsorted(codes, other))
    size = np.median(np.abs(one - other)) / (codes[-1] - codes[0])
    return bool((ranks > 1).mean() > 0.25 or size >= 0.2)
