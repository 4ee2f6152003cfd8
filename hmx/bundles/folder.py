"""The folder of a model: JSON and arrays, without pickle, whole or not at all.

Both jobs keep their models so: ``weights.safetensors`` holds every array by name,
``bundle.json`` everything else. What is read is checked, and what does not fit is named.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np

from hmx.bundles.described import read_shapes
from hmx.bundles.hub import cache_folder, local_folder
from hmx.cube.store import swap
from hmx.errors import BundleError, NotTrained, OutputExists, did_you_mean
from hmx.files.jsontext import as_json
from hmx.files.lock import building
from hmx.files.paths import absolute, regular
from hmx.files.shown import facts_html
from hmx.redact import redact_all

FORMAT = 2
WEIGHTS, DESCRIPTION = "weights.safetensors", "bundle.json"

_LARGEST = 64_000_000  # bytes of a description: a thousand times that of a large ensemble

Arrays = Mapping[str, np.ndarray]

# What a model of each job is for, and the call that takes it.
CALLS = {"forecast": "ds.hm.forecast(model=...)", "map": "ds.soc.map(model=...)"}


def digest_of(description: Mapping[str, Any], arrays: Arrays) -> str:
    """Hash everything that decides a result: all but how a model was trained."""
    # Changing this text changes the digest of every stored model, and with it the ledgers of
    # all forecasts and maps: those would no longer resume.
    text = json.dumps({**description, "training": None}, sort_keys=True)
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def beneath(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """Return the arrays whose names start with a prefix, under the rest of their names."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def write_folder(
    path: str | Path,
    description: Mapping[str, Any],
    arrays: Arrays,
    *,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a model to a folder, whole or not at all."""
    from safetensors.numpy import save

    path = Path(absolute(path))
    text = as_json(redact_all(description), indent=2) + "\n"
    data = {**(files or {}), DESCRIPTION: text.encode()}
    # bytes rather than a file of safetensors, which nobody else may read
    data[WEIGHTS] = save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
    # The place is checked under the lock: another process may have written there since.
    with building(path):
        require_bundle_place(path)
        with swap(path) as draft:
            draft.mkdir()
            for name, content in data.items():
                (draft / name).write_bytes(content)
    return path.resolve()


def require_bundle_place(path: Path) -> None:
    """Raise :class:`OutputExists` unless a bundle may be written at ``path``."""
    if (
        path.exists()
        and not (path / DESCRIPTION).is_file()
        and any(path.iterdir() if path.is_dir() else [path])
    ):
        raise OutputExists(
            f"{path} exists and holds something that is not a model, so it is left alone. "
            "Choose another place for the model: out='models/demo'."
        )


def find_folder(path: str | Path) -> Path:
    """Find the folder of a model, fetched first if it is elsewhere."""
    folder = local_folder(path)
    if not (folder / DESCRIPTION).is_file():
        raise BundleError(
            f"there is no model at {str(path)!r} (no {DESCRIPTION} in it). Pass the folder that "
            "train(out=...) or hmx train wrote."
        )
    return folder


def read_description(folder: Path) -> dict[str, Any]:
    """Read what a model is, in JSON values."""
    try:
        with regular(folder / DESCRIPTION) as file:
            text = file.read(_LARGEST + 1)
        # One byte more than allowed was asked for, so a longer file is detected without
        # reading it, even if it grows between a stat and the read.
        if len(text) > _LARGEST:
            raise ValueError(f"{DESCRIPTION} has more than {_LARGEST:,} bytes")
        raw = json.loads(text.decode("utf-8"))
        if not isinstance(raw, dict):
            raise ValueError(f"{DESCRIPTION} holds {type(raw).__name__} and no object")
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(folder, error) from None
    if raw.get("format") != FORMAT:
        raise BundleError(
            f"the model at {str(folder)!r} has format {raw.get('format')!r} and this version of "
            f"hmx reads format {FORMAT}. Install the hmx that wrote it, or train again."
        )
    return dict(raw)


def read_folder(path: str | Path, job: str) -> tuple[dict[str, Any], dict[str, np.ndarray], Path]:
    """Read a model of one of the jobs."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = find_folder(path)
    raw = read_description(folder)
    if raw.get("job") != job:
        raise wrong_job(raw.get("job"), job, str(path))
    try:
        # load_file opens the path itself and would wait for ever on a FIFO: opening it here
        # first refuses everything but a regular file.
        with regular(folder / WEIGHTS):
            arrays = load_file(folder / WEIGHTS)
    # TypeError, KeyError: of number types that NumPy lacks
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(folder, error) from None
    shapes = {name: array.shape for name, array in arrays.items()}
    check_weights(shapes, read_shapes(raw, folder))
    return {"training": {}} | raw, arrays, folder


def require_floats(weights: Arrays) -> None:
    """Raise :class:`BundleError` naming the first weight that is not finite float32."""
    for name, array in weights.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            what = str(array.dtype) if array.dtype != np.float32 else "not finite"
            raise BundleError(
                f"the weight {name!r} is {what}, and weights are finite float32. Copy the model "
                "anew, or train it again."
            )


def wrong_job(job: Any, wanted: str, model: str) -> BundleError:
    """Build the error for a model of the other job; it names the call that takes it."""
    does = {"forecast": "forecasts rasters", "map": "maps what was sampled at points"}
    if not isinstance(job, str) or job not in CALLS:
        return BundleError(
            f"{model} is a model for {job!r}, which this version of hmx does not know. "
            "Install the hmx that wrote it, or train again."
        )
    return BundleError(
        f"{model} is a model that {does[job]}, and {CALLS[wanted]} takes one that {does[wanted]}. "
        f"Pass it to {CALLS[job]}, or pass another model here."
    )


def _damaged(folder: Path, error: Exception) -> BundleError:
    # Errors of safetensors can quote the whole header.
    why = str(error)[:300]
    return BundleError(f"the model at {str(folder)!r} is damaged: {why}. Train it again.")


def check_weights(have: Mapping[str, Sequence[int]], want: Mapping[str, Sequence[int]]) -> None:
    """Raise :class:`BundleError` naming the first weight that does not fit."""
    for name in want:
        if name not in have:
            raise BundleError(
                f"the model lacks the weight {name!r} that its spec demands."
                f"{did_you_mean(name, have)} Train it again."
            )
        if tuple(have[name]) != tuple(want[name]):
            raise BundleError(
                f"the weight {name!r} has shape {tuple(have[name])} and the model's spec demands "
                f"{tuple(want[name])}. Train it again."
            )
    if extra := sorted(set(have) - set(want)):
        raise BundleError(
            f"the model has the weight {extra[0]!r}, which its spec does not know. Train it again."
        )


class Members(Protocol):
    """What a spec records of its ensemble."""

    @property
    def members(self) -> int:
        """Number of networks."""


class Model(ABC):
    """A trained model of either job; its subclasses are frozen dataclasses."""

    job: ClassVar[str]

    spec: Members
    weights: Arrays
    path: Path | None

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return everything but the arrays in JSON values; the digest hashes them."""

    @classmethod
    @abstractmethod
    def load(cls, path: str | Path) -> Self:
        """Read it from a folder."""

    @abstractmethod
    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""

    def _repr_html_(self) -> str:
        size = sum(array.size for array in self.weights.values())
        facts = {**self.shown(), "weights": f"{size:,} in {self.spec.members} networks"}
        facts["folder"] = "not saved" if self.path is None else str(self.path)
        return facts_html(f"{type(self).__name__} of hmx", facts)

    def arrays(self) -> Arrays:
        """Return all arrays of the model by name."""
        return self.weights

    def member(self, index: int) -> Arrays:
        """Return the weights of one network, by parameter name."""
        return self.weights if self.spec.members == 1 else beneath(f"{index}.", self.weights)

    @property
    def digest(self) -> str:
        """Hash of everything that decides a result."""
        return digest_of(self.describe(), self.arrays())

    def save(self, path: str | Path, *, files: Mapping[str, bytes] | None = None) -> Self:
        """Write the bundle to a folder, whole or not at all.

        Parameters
        ----------
        path : str or Path
            A new folder, or a bundle's, which is replaced.
        files : mapping of str to bytes, optional
            Further files of the folder, such as ``training.csv``.

        Returns
        -------
        Bundle or MapBundle
            The same, with its path.

        Raises
        ------
        OutputExists
            If ``path`` contains something that is not a bundle.
        """
        folder = write_folder(path, self.describe(), self.arrays(), files=files)
        saved = copy(self)
        object.__setattr__(saved, "path", folder)  # the dataclasses are frozen
        return saved


AnyModel = TypeVar("AnyModel", bound=Model)


def ensure_saved(bundle: AnyModel) -> AnyModel:
    """Return the bundle with a path; saved to the cache, if its own folder is gone or changed."""
    # Workers load the model from a folder by its path. A folder that was trained again since
    # would give them other weights than the user holds in memory, hence the digest.
    if bundle.path is not None and _holds(bundle.path, bundle):
        return bundle
    folder = cache_folder() / "bundles" / bundle.digest[:32]
    return bundle.load(folder) if _holds(folder, bundle) else bundle.save(folder)


def _holds(folder: Path, bundle: Model) -> bool:
    return (folder / DESCRIPTION).is_file() and bundle.load(folder).digest == bundle.digest


def as_model(kind: type[AnyModel], model: AnyModel | Model | str | Path) -> AnyModel:
    """Return a model of one job, read from its folder if it is a path."""
    if isinstance(model, kind):
        return model
    if isinstance(model, str | Path):
        return kind.load(model)
    raise wrong_job(getattr(model, "job", None), kind.job, str(model))


def trained_model(model: AnyModel | str | Path | None, how: str) -> AnyModel | str | Path:
    """Return the model, or refuse if the object neither trained nor was given one."""
    if model is None:
        raise NotTrained(f"this object has not trained a {how}")
    return model


def load_unchanged(kind: type[AnyModel], path: str, digest: str, call: str) -> AnyModel:
    """Load the model of a result, if it still is the one with which the result was set up."""
    model = kind.load(path)
    if model.digest != digest:
        raise BundleError(
            f"the model at {path!r} has changed since this {kind.job} was set up. "
            f"Call {call}() again to use the new one."
        )
    return model
