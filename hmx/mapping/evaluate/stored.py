"""What a scorecard keeps of its rounds: arrays to read back, and a table to look at."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from hmx.files.durable import Folder
from hmx.mapping.evaluate.rounds import Array, CrossValidated, Estimates
from hmx.splits.site_folds import SiteFolds

Rounds = Mapping[str, CrossValidated]
_ENDS = ("lower", "upper")


def describe(splits: Rounds) -> dict[str, Any]:
    """Say in JSON's types what :func:`pack` has packed, all but the folds."""
    return {
        split: {
            "guesses": list(played.estimates),
            "levels": {name: list(found) for name, found in played.bounds.items()},
            "calibration": played.calibration,
        }
        for split, played in splits.items()
    }


def pack(splits: Rounds) -> bytes:
    """Pack what forecasters said of every sample; safetensors, float64.

    Parameters
    ----------
    splits : mapping of str to CrossValidated
        By name of the folds.
    """
    arrays: dict[str, Array] = {}
    for number, played in enumerate(splits.values()):
        arrays[f"{number}/truth"] = played.truth
        for name, guess in played.estimates.items():
            arrays[f"{number}/{name}/members"] = guess.members
            if guess.spread is not None:
                arrays[f"{number}/{name}/spread"] = guess.spread
        for name, found in played.bounds.items():
            for level, ends in found.items():
                for end, array in zip(_ENDS, ends, strict=True):
                    arrays[f"{number}/{name}/{level}/{end}"] = array
    packed: bytes = save({name: np.ascontiguousarray(part) for name, part in arrays.items()})
    return packed


def unpack(
    data: bytes, described: Mapping[str, Any], folds: Mapping[str, SiteFolds]
) -> dict[str, CrossValidated]:
    """Build rounds of what :func:`pack` and :func:`describe` gave.

    Parameters
    ----------
    data : bytes
        Packed.
    described : mapping
        Also after a round trip through JSON.
    folds : mapping of str to SiteFolds
        By the same names.

    Raises
    ------
    KeyError, ValueError, safetensors.SafetensorError
        If they do not belong together.
    """
    arrays, splits = load(data), {}
    for number, (split, told) in enumerate(described.items()):
        truth, known = arrays[f"{number}/truth"], len(folds[split].fold)
        if len(truth) != known:
            raise ValueError(f"{len(truth)} samples in the rounds, and {known} in their folds")
        guesses = {
            name: Estimates(
                arrays[f"{number}/{name}/members"], arrays.get(f"{number}/{name}/spread")
            )
            for name in told["guesses"]
        }
        bounds = {
            name: {
                level: tuple(arrays[f"{number}/{name}/{level}/{end}"] for end in _ENDS)
                for level in map(float, levels)
            }
            for name, levels in told["levels"].items()
        }
        splits[split] = CrossValidated(folds[split], truth, guesses, bounds, told["calibration"])
    return splits


def part_of(place: Folder, name: str) -> bytes:
    """Read a file of a scorecard's folder."""
    data = place.read(name)
    if data is None:
        raise ValueError(f"no {name} in it")
    return data


def predictions_csv(splits: Rounds) -> bytes:
    """Write each sample with what was said of it, split by split."""
    names = tuple(next(iter(splits.values())).estimates)
    header = ("split", "sample", "site", "fold", "lon", "lat", "truth", *names)
    lines = (
        (split, i, places.site[i], played.folds.fold[i], *places.lonlat[i].tolist(),
         float(played.truth[i]), *(float(played.estimates[name].center[i]) for name in names))
        for split, played in splits.items()
        for places in (played.folds.places,)
        for i in range(len(places))
    )  # fmt: skip
    return csv_of(header, lines)


def csv_of(header: tuple[str, ...], lines: Iterable[Iterable[Any]]) -> bytes:
    """Write a table; floats so that they read back exactly, NaN as nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for line in lines:
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else _exact(v) for v in line])
    return text.getvalue().encode()


def _exact(value: Any) -> Any:
    return repr(value) if isinstance(value, float) else value
