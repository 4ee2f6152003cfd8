"""``ds.soc.select``: which covariates a map needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from hmx.cube.cube import Cubelike
from hmx.mapping.api import named_options, setup_of
from hmx.mapping.keywords import MapSelecting
from hmx.mapping.select.options import SelectOptions
from hmx.mapping.select.selection import Selection
from hmx.progress import Progress
from hmx.settings import parse


def select(
    obj: Cubelike,
    points: Any,
    target: str = "soc",
    *,
    window: int | None = None,
    dynamic: Sequence[str] | None = None,
    static: Sequence[str] | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress = Progress(),
    **options: Unpack[MapSelecting],
) -> Selection:
    """Select covariates by forward selection on the folds of the samples.

    Parameters
    ----------
    obj, points, target, window, seed, progress
        As in :func:`hmx.mapping.api.train`.
    dynamic, static : sequence of str, optional
        Covariates to choose from. Default: all.
    out : str or Path, optional
        Folder of the selection, where each scored set is saved: the same call goes on after it was
        stopped.
    **options
        ``learner="forest"``, ``start=2``, ``most=8``, ``rule="one_se"`` and ``nested=True``
        (:class:`hmx.mapping.select.options.SelectOptions`), and those of
        :func:`hmx.mapping.api.train`; samples are held out as there, by ``split``.

    Returns
    -------
    Selection
        ``print`` it; ``.covariates`` are the chosen ones, ``.plot()`` shows all sets, and
        ``ds.soc.train(points, **selection.keywords)`` trains on them: nothing else changes.

    Raises
    ------
    BadArgument, CubeError, MissingVariable, NotEnoughData, SourceError, OutputExists
        With what was given, the rule and what to type.

    Examples
    --------
    >>> found = ds.soc.select("points.csv", crs="EPSG:4326")  # doctest: +SKIP
    >>> model = ds.soc.train("points.csv", crs="EPSG:4326", **found.keywords)  # doctest: +SKIP
    """
    from hmx.mapping.select.select import select as search  # loads Lightning

    given: dict[str, Any] = {**named_options(target, window, seed), **options}
    own = {name: given.pop(name) for name in SelectOptions.model_fields if name in given}
    setup = setup_of(given, dynamic=dynamic, static=static)
    return search(obj, points, setup, parse(SelectOptions, own), out=out, progress=progress)
