"""Bundle: all it takes to predict again, in a folder, without pickle.

``weights.safetensors`` holds the weights, ``bundle.json`` everything else:
what the network is and was fed (:class:`Spec`), the scaler, the calibration and
where it all came from. Loading is strict: whatever does not fit is named.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hmx.calibration import Calibration
from hmx.context import Context
from hmx.errors import BundleError, OutputExists, did_you_mean
from hmx.options import ModelOptions
from hmx.remote_models import local_folder
from hmx.scaling import Scaler
from hmx.spec import Spec

__all__ = ["Bundle", "Spec", "check_weights", "load", "require_bundle_place"]

FORMAT = 2
WEIGHTS, DESCRIPTION = "weights.safetensors", "bundle.json"


@dataclass(frozen=True)
class Bundle:
    """A trained model.

    Parameters
    ----------
    spec : Spec
        What it is and must be fed.
    scaler : Scaler
        From native units to the network's and back.
    weights : mapping of str to ndarray
        By parameter name; of an ensemble, ``0.name``, ``1.name`` ...
    calibration : Calibration
        Its errors on blocks kept for that.
    training : mapping
        Where it came from: options, seed, data, split, scores. JSON values.
    path : Path, optional
        Folder it was loaded from or saved to.
    """

    spec: Spec
    scaler: Scaler
    weights: Mapping[str, np.ndarray] = field(repr=False)
    calibration: Calibration = field(default=Calibration(), repr=False)
    training: Mapping[str, Any] = field(default_factory=dict, repr=False)
    path: Path | None = None

    def __repr__(self) -> str:
        spec = self.spec
        form = f"{spec.network.arch}, {spec.network.strategy}"
        place = "not saved" if self.path is None else str(self.path)
        return f"Bundle({spec.target}, {spec.h} x {spec.cadence}, {form}, {place})"

    def member(self, index: int) -> Mapping[str, np.ndarray]:
        """Return the weights of one network, by parameter name."""
        if self.spec.members == 1:
            return self.weights
        prefix = f"{index}."
        return {
            name.removeprefix(prefix): array
            for name, array in self.weights.items()
            if name.startswith(prefix)
        }

    @property
    def digest(self) -> str:
        """Hash of everything that decides a forecast."""
        text = json.dumps({**_describe(self), "training": None}, sort_keys=True)
        total = hashlib.sha256(text.encode())
        for name in sorted(self.weights):
            array = np.ascontiguousarray(self.weights[name])
            total.update(f"{name} {array.dtype} {array.shape}".encode())
            total.update(array.tobytes())
        return total.hexdigest()

    def save(self, path: str | Path) -> Bundle:
        """Write the bundle to a folder, whole or not at all.

        Parameters
        ----------
        path : str or Path
            A new folder, or one that holds a bundle, which is replaced.

        Returns
        -------
        Bundle
            The same, knowing its path.

        Raises
        ------
        OutputExists
            If ``path`` holds something that is not a bundle.
        """
        from safetensors.numpy import save_file

        path = Path(path)
        require_bundle_place(path)
        draft = path.with_name(f".{path.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        save_file({k: np.ascontiguousarray(v) for k, v in self.weights.items()}, draft / WEIGHTS)
        text = json.dumps(_describe(self), indent=2)
        (draft / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
        if path.exists():
            shutil.rmtree(path)
        draft.rename(path)
        return replace(self, path=path.resolve())


def require_bundle_place(path: Path) -> None:
    """Raise :class:`OutputExists` unless a bundle may be written at ``path``."""
    if path.exists() and not (path / DESCRIPTION).is_file() and any(_contents(path)):
        raise OutputExists(
            f"{path} exists and holds something that is not a model, so it is left alone. "
            "Choose another place for the model: out='models/demo'."
        )


def _contents(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else [path]


def load(path: str | Path) -> Bundle:
    """Load a trained model.

    Parameters
    ----------
    path : str or Path
        Folder of a bundle, or ``wandb:entity/project/name:v3``.

    Returns
    -------
    Bundle
        For ``ds.hm.forecast(model=...)``.

    Raises
    ------
    BundleError
        If there is no bundle, or it is damaged or of another version, or cannot be fetched.

    Examples
    --------
    >>> import hmx
    >>> model = hmx.load("build/demo.model")  # doctest: +SKIP
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = local_folder(path)
    if not (folder / DESCRIPTION).is_file():
        raise BundleError(
            f"there is no model at {str(path)!r} (no {DESCRIPTION} in it). Pass the folder that "
            "train(out=...) or hmx train wrote."
        )
    try:
        raw = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise BundleError(
            f"the model at {str(path)!r} is damaged: {error}. Train it again."
        ) from None
    return _restore(raw, weights, folder)


def _describe(bundle: Bundle) -> dict[str, Any]:
    """Put all but the weights into JSON values."""
    spec = {
        **asdict(bundle.spec),
        "network": bundle.spec.network.model_dump(),
        "context": bundle.spec.context.as_dict(),
        "transforms": dict(bundle.spec.transforms),
    }
    return {
        "format": FORMAT,
        "job": "forecast",
        "spec": spec,
        "scaler": asdict(bundle.scaler),
        "calibration": bundle.calibration.as_dict(),
        "weights": {name: list(array.shape) for name, array in sorted(bundle.weights.items())},
        "training": dict(bundle.training),
    }


def _restore(raw: dict[str, Any], weights: dict[str, np.ndarray], folder: Path) -> Bundle:
    if raw.get("format") != FORMAT:
        raise BundleError(
            f"the model at {str(folder)!r} has format {raw.get('format')!r} and this version of "
            f"hmx reads format {FORMAT}. Install the hmx that wrote it, or train again."
        )
    try:
        check_weights({name: w.shape for name, w in weights.items()}, raw["weights"])
        spec, scaler = dict(raw["spec"]), raw["scaler"]
        spec["network"] = ModelOptions(**spec["network"])
        spec["context"] = Context.from_dict(spec["context"])
        for key in ("dynamic", "static", "future", "pixel_size_m", "valid_range"):
            spec[key] = None if spec[key] is None else tuple(spec[key])
        return Bundle(
            spec=Spec(**spec),
            scaler=Scaler(**{**scaler, "change": tuple(scaler["change"])}),
            weights=weights,
            calibration=Calibration.from_dict(raw["calibration"]),
            training=raw["training"],
            path=folder.resolve(),
        )
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"{folder / DESCRIPTION} does not describe a model ({error}). Train it again."
        ) from None


def check_weights(have: Mapping[str, Sequence[int]], want: Mapping[str, Sequence[int]]) -> None:
    """Raise :class:`BundleError` naming the first weight that does not fit.

    Parameters
    ----------
    have, want : mapping of str to tuple
        Shapes by parameter name: in the bundle, and as its spec demands.
    """
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
