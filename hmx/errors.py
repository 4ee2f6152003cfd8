"""What can go wrong, each error also the builtin a programmer would catch.

::

    HmxError (Exception)
    |-- BadArgument     (ValueError)       a value that a function or flag cannot take
    |-- CatalogError    (ValueError)       a catalog with an impossible setting
    |-- CubeError       (ValueError)       data that is not a cube
    |   |-- MissingCRS                     ... without a coordinate reference system
    |   |-- GridMismatch                   ... on another grid
    |   |-- IrregularTime                  ... whose time axis has gaps
    |   `-- NotEnoughData                  ... with too few steps or no valid pixel
    |-- MissingVariable (KeyError)         a name that is not in the cube
    |-- SourceError     (OSError)          a file that is missing or cannot be read
    |   `-- DamagedStore                   ... a store of hmx that is not as it was written
    |-- BundleError     (ValueError)       a model that does not fit, or is damaged
    |-- NotTrained      (LookupError)      a forecast asked for without a model
    |-- OutputExists    (FileExistsError)  a path that holds something else
    |-- OutputBusy      (BlockingIOError)  a path that another job writes to
    |-- OutputFailed    (OSError)          a path that cannot be written: disk full, no rights
    |-- JobFailed       (RuntimeError)     tiles that failed, or workers that went away
    |-- VerifyFailed    (RuntimeError)     a store that differs from its ledger
    `-- TrainingFailed  (RuntimeError)     a fit that went wrong on good input

Every message names what was given, the rule and what to type, without the secrets
that a URL in it may carry.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from hmx.redact import redact


class HmxError(Exception):
    """Base of every error hmx raises on purpose; ``exit_code`` is the CLI's."""

    exit_code = 2

    def __init__(self, *args: object):
        super().__init__(*(redact(arg) if isinstance(arg, str) else arg for arg in args))

    def __str__(self) -> str:
        """Give the message plainly (KeyError would quote it)."""
        return str(self.args[0]) if self.args else ""


class BadArgument(HmxError, ValueError):
    """A value that the function or flag cannot take."""


class CatalogError(HmxError, ValueError):
    """A catalog that is not YAML, has an unknown key or an impossible value."""


class CubeError(HmxError, ValueError):
    """Data that does not form a cube: dims, coordinates or values are off."""


class MissingCRS(CubeError):
    """A cube or raster without a coordinate reference system."""


class GridMismatch(CubeError):
    """Rasters or variables that do not share one grid."""


class IrregularTime(CubeError):
    """A time axis without one constant calendar step."""


class NotEnoughData(CubeError):
    """Too few time steps, or no valid pixel where some are needed."""


class MissingVariable(HmxError, KeyError):
    """A variable, covariate or dimension that is not there."""


class SourceError(HmxError, OSError):
    """A source file that is missing, truncated or unreadable."""


class DamagedStore(SourceError):
    """A store that hmx finished, and that has lost a chunk or holds other bytes since."""

    exit_code = 1


class BundleError(HmxError, ValueError):
    """A model bundle that is damaged, too new, or trained for something else."""


class NotTrained(HmxError, LookupError):
    """A forecast asked for on an object that has no model."""


class OutputExists(HmxError, FileExistsError):
    """An output path that holds something hmx must not overwrite."""


class OutputBusy(HmxError, BlockingIOError):
    """An output path that another job, still alive, is writing."""

    exit_code = 1


class OutputFailed(HmxError, OSError):
    """An output path that cannot be written now: disk full, quota, no rights."""

    exit_code = 1


class JobFailed(HmxError, RuntimeError):
    """A job whose tiles failed, or whose scheduler or workers went away."""

    exit_code = 1


class VerifyFailed(HmxError, RuntimeError):
    """A store that differs from its ledger, or that cannot be reproduced."""

    exit_code = 1


class TrainingFailed(HmxError, RuntimeError):
    """A fit that went wrong although its input was good."""

    exit_code = 1


def did_you_mean(word: str, known: Iterable[object]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or nothing."""
    names = {str(name).casefold(): str(name) for name in known}  # SOC is as near to soc as can be
    close = get_close_matches(word.casefold(), names, n=1, cutoff=0.6)
    within = [name for name in names if len(word) > 2 and word.casefold() in name]  # soc (g/kg)
    found = [*close, *within]
    return f" Did you mean {names[found[0]]!r}?" if found else ""


def broken_part(
    part: str, fault: str = "is damaged: its arrays do not fit together"
) -> BundleError:
    """Build the error for a part of a model that cannot be used."""
    return BundleError(f"the {part} of this model {fault}. Copy the bundle anew, or train again.")


def missing_variable(
    word: str, known: Iterable[object], *, where: str = "the cube", more: str = ""
) -> HmxError:
    """Build the error for a name that is not in a collection.

    Parameters
    ----------
    word : str
        The name that was asked for.
    known : iterable of str
        The names that exist.
    where : str
        The collection, as the message should call it.
    more : str
        A sentence that follows, after a space.
    """
    names = sorted(str(name) for name in known)
    text = f"{word!r} is not in {where} (has: {', '.join(names) or 'nothing'})."
    return MissingVariable(f"{text}{did_you_mean(word, names)}{more}")
