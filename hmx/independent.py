"""Independent: results do not hang on how a session has set numpy and xarray.

A notebook may raise on underflow, drop attributes or join coordinates by hand. What the
user chose is for the user's own arithmetic; hmx computes under the defaults, and leaves
everything as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
import xarray as xr

Args = ParamSpec("Args")
Result = TypeVar("Result")


@contextmanager
def defaults() -> Iterator[None]:
    """Compute under the defaults of numpy and xarray; not from several threads at once."""
    options = {"keep_attrs": "default", "arithmetic_join": "inner"}
    with np.errstate(all="ignore"), xr.set_options(**options):  # type: ignore[no-untyped-call]
        yield


def independent(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Let a function that a user calls compute under :func:`defaults`."""

    @wraps(function)
    def call(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        with defaults():
            return function(*args, **kwargs)

    return call
