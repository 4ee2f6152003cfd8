"""MapBundle: a trained mapper in a folder, without pickle.

As :mod:`hmx.forecast.bundle`, of the other job: ``weights.safetensors`` also has the arrays of
the regressions and of the area of applicability. The forms at the end check ``bundle.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from hmx.bundles import described as forms
from hmx.bundles.folder import FORMAT, Arrays, Model, beneath, read_folder, require_floats
from hmx.errors import BundleError
from hmx.features.scaling import Transform
from hmx.mapping.classes import MOST
from hmx.mapping.options import Regression, TargetTransform
from hmx.mapping.spec import DEPTH, BandScaler, MapSpec, words_of
from hmx.mapping.target import TargetScaler
from hmx.networks.options import DROPPED, MapperOptions
from hmx.settings import Leads, Options
from hmx.uncertainty.applicability import Applicability
from hmx.uncertainty.calibration import PROBABILITIES
from hmx.uncertainty.conformal import Conformal
from hmx.uncertainty.joint.dependence import Dependence

if TYPE_CHECKING:
    from hmx.mapping.process import Regressions

_PARTS = (
    "weights",
    "forest",
    "process",
    "applicability",
    "kriging",
)  # fields of arrays, and prefixes in the file


@dataclass(frozen=True)
class MapBundle(Model):
    """A trained mapper.

    Parameters
    ----------
    spec : MapSpec
        The network and its inputs.
    scaler : BandScaler
        From the bands' units to the network's.
    target : TargetScaler
        From the target's units to the network's and back.
    weights : mapping of str to ndarray
        Of the networks, by parameter name; of an ensemble, ``0.name``, ``1.name`` ...
    calibration : Conformal
        Quantiles of its held-out errors; if empty, there are no intervals.
    forest, process, applicability : mapping of str to ndarray
        Arrays of the forest and of the Gaussian process of the blend, and of the area of
        applicability; empty if the model has none.
    kriging : mapping of str to ndarray
        Arrays of the kriging of its held-out errors, which corrects the blend; empty if the folds
        showed no gain.
    dependence : Dependence, optional
        How its errors at two pixels depend on each other; fitted to the held-out samples.
    training : mapping
        Provenance: options, seed, data, split, scores. JSON values.
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
    process: Arrays = field(default_factory=dict, repr=False)
    applicability: Arrays = field(default_factory=dict, repr=False)
    kriging: Arrays = field(default_factory=dict, repr=False)
    training: Mapping[str, Any] = field(default_factory=dict, repr=False)
    path: Path | None = None
    dependence: Dependence | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        spec = self.spec
        form = f"{spec.network.arch}, {spec.network.window} px x {spec.steps} steps"
        path = "not saved" if self.path is None else str(self.path)
        return f"MapBundle({spec.target}, {form}, {path})"

    def shown(self) -> dict[str, str]:
        """Return facts for a reader; ``hmx info`` has them all."""
        spec, points = self.spec, self.training.get("points") or {}
        samples = f"{points['samples']:,} samples at {points['sites']:,} sites" if points else ""
        return {
            "maps": spec.target + (f" in {spec.units}" if spec.units else ""),
            "network": f"{spec.network.arch}, {spec.network.window} px x {spec.steps} steps",
            "trained on": samples or "unknown",
            "intervals": "calibrated" if self.calibration.table.size else "none",
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays, each named after the part it belongs to."""
        return {
            f"{part}/{name}": array
            for part in _PARTS
            for name, array in getattr(self, part).items()
        }

    def describe(self) -> dict[str, Any]:
        """Return everything but the arrays in JSON values; the digest hashes them in this order."""
        # only if there is one: the digest of an older model stays as it was
        shared = {} if self.dependence is None else {"dependence": self.dependence.as_dict()}
        # with dropped options too: the digest of an older model stays as it was
        network = DROPPED | self.spec.network.model_dump()
        spec = {**asdict(self.spec), "network": network}
        for name in ("categories", "depth"):
            if not spec[name]:
                del spec[name]
        # the arrays tell both from the Gaussian process alone: older models keep their digest
        if spec["regression"] == "both":
            spec["regression"] = "gaussian_process"
        elif spec["regression"] in ("forest", "none"):
            del spec["regression"]
        target = asdict(self.target)
        if target["unit"] == 1:
            del target["unit"]
        return {
            "format": FORMAT,
            "job": "map",
            "spec": spec,
            "scaler": asdict(self.scaler),
            "target": target,
            "calibration": self.calibration.as_dict(),
            **shared,
            "weights": {name: list(array.shape) for name, array in sorted(self.arrays().items())},
            "training": dict(self.training),
        }

    @classmethod
    def load(cls, path: str | Path) -> MapBundle:
        """Load a mapper.

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
        from hmx.mapping.process import Regressions  # loads scipy, which a forecast does not need

        raw, arrays, folder = read_folder(path, "map")
        arrays_of: dict[str, Any] = {part: beneath(f"{part}/", arrays) for part in _PARTS}
        require_floats(arrays_of["weights"])
        form = forms.read_form(_BundleForm, raw, folder)
        calibration = dict(form.calibration)
        calibration["table"] = np.array(calibration["table"] or np.empty((0, 0)))
        regressions = Regressions.from_arrays(arrays_of["forest"], arrays_of["process"])
        bundle = cls(
            spec=MapSpec(**{**dict(form.spec), "regression": _regression(form.spec, regressions)}),
            scaler=BandScaler(**dict(form.scaler)),
            target=TargetScaler(**dict(form.target)),
            calibration=Conformal(**calibration),
            dependence=Dependence.from_dict(raw["dependence"]) if form.dependence else None,
            **arrays_of,
            training=raw["training"],
            path=folder.resolve(),
        )
        # a forest or an area of applicability of other bands would read past its features
        features = len(bundle.spec.features)
        for one in (regressions.process, regressions.forest):
            if one is not None:
                one.require_features(features)
        if bundle.applicability:
            Applicability.from_arrays(bundle.applicability).require_features(features)
        if bundle.kriging:
            from hmx.mapping.kriging import Kriging  # loads scipy, which most bundles do not need

            Kriging.from_arrays(bundle.kriging)
        return bundle


def _regression(spec: _MapSpecForm, found: Regressions) -> Regression:
    """Return the regression of a model, whose arrays are `found`; refuse those of another."""
    wanted = spec.regression
    # one word stands for both and for the process alone
    known = ("both", wanted) if wanted == "gaussian_process" else (wanted,)
    if spec.blend and found.name not in known:
        raise BundleError(
            f"the model blends in {words_of(wanted)} of weight {spec.blend:g}, and its arrays are "
            f"those of {words_of(found.name)}. Copy the model anew, or train it again."
        )
    return found.name


class _BandScalerForm(Options):
    mean: dict[str, tuple[forms.Value, ...]]
    std: dict[str, tuple[forms.Positive, ...]]


class _TargetForm(Options):
    transform: TargetTransform = "none"
    mean: forms.Value = 0.0
    std: forms.Positive = 1.0
    ratio: Annotated[forms.Real, Field(gt=0, le=1e6)] = 1.0
    unit: forms.Positive = 1.0


class _ConformalForm(Options):
    table: forms.Rows
    nodes: tuple[forms.Value, ...]
    trust: forms.Share
    typical: forms.Positive
    count: Annotated[int, Field(ge=0, le=2**53, strict=True)]  # larger, JSON would round it

    @model_validator(mode="after")
    def _tables(self) -> _ConformalForm:
        if self.count or self.table:
            forms.require_ascending(self.nodes, "nodes")
            forms.require_table(self.table, len(self.nodes), len(PROBABILITIES), "table")
        if self.count and not self.nodes:
            raise ValueError("there is a count, and nothing that was counted")
        return self


class _MapSpecForm(forms.VariablesForm):
    transforms: dict[str, Transform] = Field(default_factory=dict)
    network: MapperOptions
    steps: Leads
    climatology: bool
    blend: Annotated[forms.Real, Field(ge=0, lt=1)] = 0.0
    regression: Regression = "forest"
    min_valid: forms.Share = 0.5
    categories: dict[str, Annotated[tuple[int, ...], Field(min_length=1, max_length=MOST)]] = Field(
        default_factory=dict
    )
    depth: bool = False

    @model_validator(mode="after")
    def _of_bands(self) -> _MapSpecForm:
        for name, codes in self.categories.items():
            if name not in (*self.dynamic, *self.static) or list(codes) != sorted({*codes}):
                raise ValueError(f"the classes of {name!r} do not belong to a band")
        return self


class _MapTrainingForm(forms.TrainingForm):
    split: dict[str, Any] = Field(default_factory=dict)


class _BundleForm(forms.Description):
    spec: _MapSpecForm
    scaler: _BandScalerForm
    target: _TargetForm
    training: _MapTrainingForm = _MapTrainingForm()
    calibration: _ConformalForm
    dependence: forms.DependenceForm | None = None

    @model_validator(mode="after")
    def _fit(self) -> _BundleForm:
        spec = self.spec
        depth = DEPTH if spec.depth else ()
        names = (*spec.dynamic, *spec.static, *depth)
        forms.require_scales(names, self.scaler.mean, self.scaler.std)
        for name in names:
            mean, std = self.scaler.mean[name], self.scaler.std[name]
            # a band of a climatology has its own scale for each month
            each = spec.steps if spec.climatology and name in spec.dynamic else 1
            if not len(mean) == len(std) == each:
                raise ValueError(f"scaler of {name!r} has {len(mean)} numbers and needs {each}")
        return self
