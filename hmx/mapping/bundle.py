"""MapBundle: all it takes to map again, in a folder, without pickle.

As :mod:`hmx.forecast.bundle`, of the other job: ``weights.safetensors`` also holds the arrays of
the forest and of the area of applicability, where the mapper has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hmx.bundles.folder import (
    FORMAT,
    Arrays,
    beneath,
    digest_of,
    read_folder,
    require_floats,
    write_folder,
)
from hmx.errors import BundleError
from hmx.mapping.described import read_mapper
from hmx.mapping.forest import Forest
from hmx.mapping.spec import BandScaler, MapSpec, TargetScaler
from hmx.uncertainty.applicability import Applicability
from hmx.uncertainty.conformal import Conformal

_PARTS = ("weights", "forest", "applicability")  # fields of arrays, and prefixes in the file


@dataclass(frozen=True)
class MapBundle:
    """A trained mapper.

    Parameters
    ----------
    spec : MapSpec
        What it is and must be fed.
    scaler : BandScaler
        From the bands' units to the network's.
    target : TargetScaler
        From the target's units to the network's and back.
    weights : mapping of str to ndarray
        Of the networks, by parameter name; of an ensemble, ``0.name``, ``1.name`` ...
    calibration : Conformal
        Its errors where it had not learnt; if that is empty, there are no intervals.
    forest, applicability : mapping of str to ndarray
        Arrays of the forest that is blended in, and of the training samples that say how
        far a map may be trusted; empty where there is none.
    training : mapping
        Where it came from: options, seed, data, split, scores. JSON values.
    path : Path, optional
        Folder it was loaded from or saved to.
    """

    job: ClassVar[str] = "map"

    spec: MapSpec
    scaler: BandScaler
    target: TargetScaler
    weights: Arrays = field(repr=False)
    calibration: Conformal = field(default=Conformal(), repr=False)
    forest: Arrays = field(default_factory=dict, repr=False)
    applicability: Arrays = field(default_factory=dict, repr=False)
    training: Mapping[str, Any] = field(default_factory=dict, repr=False)
    path: Path | None = None

    def __repr__(self) -> str:
        spec = self.spec
        form = f"{spec.network.arch}, {spec.network.window} px x {spec.steps} steps"
        place = "not saved" if self.path is None else str(self.path)
        return f"MapBundle({spec.target}, {form}, {place})"

    def member(self, index: int) -> Arrays:
        """Return the weights of one network, by parameter name."""
        return self.weights if self.spec.members == 1 else beneath(f"{index}.", self.weights)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays, each named after the part it belongs to."""
        return {
            f"{part}/{name}": array
            for part in _PARTS
            for name, array in getattr(self, part).items()
        }

    @property
    def digest(self) -> str:
        """Hash of everything that decides a map."""
        return digest_of(_describe(self), self.arrays())

    @classmethod
    def load(cls, path: str | Path) -> MapBundle:
        """Load a model that maps.

        Parameters
        ----------
        path : str or Path
            Folder of a bundle, or ``wandb:entity/project/name:v3``.

        Returns
        -------
        MapBundle
            For ``ds.soc.map(model=...)``.

        Raises
        ------
        BundleError
            If there is no bundle, or it is damaged, of another version or of the forecast
            job, or cannot be fetched.
        """
        raw, arrays, folder = read_folder(path, "map")
        arrays_of: dict[str, Any] = {part: beneath(f"{part}/", arrays) for part in _PARTS}
        require_floats(arrays_of["weights"])
        bundle = cls(
            **read_mapper(raw, folder),
            **arrays_of,
            training=raw["training"],
            path=folder.resolve(),
        )
        _require_parts(bundle)
        return bundle

    def save(self, path: str | Path, *, files: Mapping[str, bytes] | None = None) -> MapBundle:
        """Write the bundle to a folder, whole or not at all.

        Parameters
        ----------
        path : str or Path
            A new folder, or one that holds a bundle, which is replaced.
        files : mapping of str to bytes, optional
            What lies beside it, such as ``training.csv``.

        Returns
        -------
        MapBundle
            The same, knowing its path.

        Raises
        ------
        OutputExists
            If ``path`` holds something that is not a bundle.
        """
        place = write_folder(path, _describe(self), self.arrays(), files=files)
        return replace(self, path=place)


def _require_parts(bundle: MapBundle) -> None:
    """Refuse a forest or an area of applicability that is not of the bands of the spec."""
    features = len(bundle.spec.features)
    if bundle.spec.blend and not bundle.forest:
        raise BundleError(
            f"the model blends in {bundle.spec.blend:g} of a forest, and it has none. Copy the "
            "model anew, or train it again."
        )
    if bundle.forest:
        Forest.from_arrays(bundle.forest).require_features(features)
    if bundle.applicability:
        Applicability.from_arrays(bundle.applicability).require_features(features)


def _describe(bundle: MapBundle) -> dict[str, Any]:
    """Put all but the arrays into JSON values."""
    return {
        "format": FORMAT,
        "job": "map",
        "spec": {**asdict(bundle.spec), "network": bundle.spec.network.model_dump()},
        "scaler": asdict(bundle.scaler),
        "target": asdict(bundle.target),
        "calibration": bundle.calibration.as_dict(),
        "weights": {name: list(array.shape) for name, array in sorted(bundle.arrays().items())},
        "training": dict(bundle.training),
    }
