"""Storage of a scorecard's rounds: arrays to read back, and a table for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from hmx.files.durable import Folder
from hmx.mapping.evaluate.rounds import Array, CrossValidated, Estimates
from hmx.scores.card import csv_of
from hmx.splits.site_folds import SiteFolds

Rounds = Mapping[str, CrossValidated]  # by name of the folds
_ENDS = ("lower", "upper")


def describe(splits: Rounds) -> dict[str, Any]:
    """Return JSON values that name the arrays of :func:`pack`; the folds are not among them."""
    return {
        split: {
            "guesses": list(validated.estimates),
            "levels": {name: list(found) for name, found in validated.bounds.items()},
            "calibration": validated.calibration,
        }
        for split, validated in splits.items()
    }


def pack(splits: Rounds) -> bytes:
    """Pack truth, estimates and intervals of every sample: safetensors, float64."""
    arrays: dict[str, Array] = {}
    # Splits are numbered: a name such as "blocks of 20 km" may contain a slash.
    for number, validated in enumerate(splits.values()):
        arrays[f"{number}/truth"] = validated.truth
        for name, estimates in validated.estimates.items():
            arrays[f"{number}/{name}/members"] = estimates.members
            if estimates.spread is not None:
                arrays[f"{number}/{name}/spread"] = estimates.spread
        for name, levels in validated.bounds.items():
            for level, ends in levels.items():
                for end, array in zip(_ENDS, ends, strict=True):
                    arrays[f"{number}/{name}/{level}/{end}"] = array
    packed: bytes = save({name: np.ascontiguousarray(part) for name, part in arrays.items()})
    return packed


def unpack(
    data: bytes, described: Mapping[str, Any], folds: Mapping[str, SiteFolds]
) -> dict[str, CrossValidated]:
    """Restore rounds from the results of :func:`pack` and :func:`describe`."""
    arrays, splits = load(data), {}
    for number, (split, parts) in enumerate(described.items()):
        truth, known = arrays[f"{number}/truth"], len(folds[split].fold)
        if len(truth) != known:
            raise ValueError(f"{len(truth)} samples in the rounds, and {known} in their folds")
        estimates = {
            name: Estimates(
                arrays[f"{number}/{name}/members"], arrays.get(f"{number}/{name}/spread")
            )
            for name in parts["guesses"]
        }
        bounds = {
            name: {
                level: tuple(arrays[f"{number}/{name}/{level}/{end}"] for end in _ENDS)
                for level in map(float, levels)
            }
            for name, levels in parts["levels"].items()
        }
        splits[split] = CrossValidated(folds[split], truth, estimates, bounds, parts["calibration"])
    return splits


def read_part(folder: Folder, name: str) -> bytes:
    """Read a file of a scorecard's folder."""
    data = folder.read(name)
    if data is None:
        raise ValueError(f"no {name} in it")
    return data


def predictions_csv(
    splits: Rounds, model: str, ids: tuple[object, ...], native: Callable[[Array], Array]
) -> bytes:
    """Write each sample with its truth and all predictions, split by split.

    Truth and predictions come in the units of the scores, then in native units: the truth, each
    forecaster's prediction, the residual of the model (truth less prediction) and its intervals.
    Rows have the `ids` of the samples; `native` turns estimates into native units.
    """
    main = next(iter(splits.values()))
    names = tuple(main.estimates)
    model = next(n for n in sorted(names, key=len, reverse=True) if model.startswith(n))
    levels = tuple(main.bounds.get(model, {}))
    ends = [f"native_{end}_{level:g}" for level in levels for end in ("lo", "hi")]
    header = (
        "split", "id", "sample", "site", "fold", "lon", "lat", "truth", *names,
        "native_truth", *(f"native_{name}" for name in names), "native_residual", *ends,
    )  # fmt: skip

    def lines() -> Iterator[tuple[object, ...]]:
        for split, validated in splits.items():
            sites, truth = validated.folds.sites, native(validated.truth)
            centers = [validated.estimates[name].center for name in names]
            turned = dict(zip(names, map(native, centers), strict=True))
            bounds = validated.bounds.get(model, {})  # of the main split alone
            unknown = (np.full(len(sites), np.nan),) * 2
            spans = [native(end) for level in levels for end in bounds.get(level, unknown)]
            columns = [
                validated.truth, *centers, truth, *turned.values(), truth - turned[model], *spans,
            ]  # fmt: skip
            for i in range(len(sites)):
                name = ids[i] if ids else i
                where = (sites.site[i], validated.folds.fold[i], *sites.lonlat[i].tolist())
                values = (float(column[i]) for column in columns)
                yield (split, name, i, *where, *("" if np.isnan(v) else v for v in values))

    return csv_of(header, lines())
