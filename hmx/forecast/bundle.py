"""Bundle: all it takes to predict again, in a folder, without pickle.

``weights.safetensors`` holds the weights, ``bundle.json`` everything else:
what the network is and was fed (:class:`Spec`), the scaler, the calibration and
where it all came from. Loading is strict: whatever does not fit is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hmx.bundles.folder import FORMAT, beneath, digest_of, read_folder, require_floats, write_folder
from hmx.features.scaling import Scaler
from hmx.forecast.described import read_forecaster
from hmx.forecast.spec import Spec
from hmx.uncertainty.calibration import Calibration


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

    job: ClassVar[str] = "forecast"

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
        return self.weights if self.spec.members == 1 else beneath(f"{index}.", self.weights)

    @property
    def digest(self) -> str:
        """Hash of everything that decides a forecast."""
        return digest_of(_describe(self), self.weights)

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """Load a model that forecasts.

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
            If there is no bundle, or it is damaged, of another version or of the map job, or
            cannot be fetched.
        """
        raw, weights, folder = read_folder(path, "forecast")
        require_floats(weights)
        parts = read_forecaster(raw, folder)
        return cls(**parts, weights=weights, training=raw["training"], path=folder.resolve())

    def save(self, path: str | Path, *, files: Mapping[str, bytes] | None = None) -> Bundle:
        """Write the bundle to a folder, whole or not at all.

        Parameters
        ----------
        path : str or Path
            A new folder, or one that holds a bundle, which is replaced.
        files : mapping of str to bytes, optional
            What lies beside it, such as ``training.csv``.

        Returns
        -------
        Bundle
            The same, knowing its path.

        Raises
        ------
        OutputExists
            If ``path`` holds something that is not a bundle.
        """
        place = write_folder(path, _describe(self), self.weights, files=files)
        return replace(self, path=place)


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


def fits_means(bundle: Bundle) -> bool:
    """Tell whether means follow a regression, or are held as it would do harm."""
    return bool(bundle.training.get("anchor", {}).get("fitted", True))
