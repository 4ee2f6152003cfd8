"""Bundle: a trained model in a folder, without pickle.

``weights.safetensors`` has the weights, ``bundle.json`` everything else:
network and inputs (:class:`Spec`), scaler, calibration and provenance. Loading is strict: the
forms below check every value, and an error names the one that does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from hmx.bundles import described as forms
from hmx.bundles.folder import FORMAT, Arrays, Model, read_folder, require_floats
from hmx.errors import BadArgument
from hmx.features.context import Context
from hmx.features.scaling import Scaler, Transform
from hmx.forecast.spec import Spec
from hmx.networks.options import ModelOptions
from hmx.settings import Leads, Options, Radius
from hmx.uncertainty.agreement import ENOUGH
from hmx.uncertainty.calibration import PROBABILITIES, Calibration
from hmx.uncertainty.joint.dependence import Dependence

_ADDED = {"predict"}  # options of networks that bundles of format 2 did not have at first


@dataclass(frozen=True)
class Bundle(Model):
    """A trained model.

    Parameters
    ----------
    spec : Spec
        Network and inputs.
    scaler : Scaler
        From native units to the network's and back.
    weights : mapping of str to ndarray
        By parameter name; of an ensemble, ``0.name``, ``1.name`` ...
    calibration : Calibration
        Fitted on blocks that training did not use.
    training : mapping
        Provenance in JSON values: options, seed, data, split, scores.
    path : Path, optional
        Folder of the bundle, once it is loaded or saved.
    dependence : Dependence, optional
        How errors of pixels vary together. Zone totals of a model without it use a prior.
    """

    job: ClassVar[str] = "forecast"

    spec: Spec
    scaler: Scaler
    weights: Arrays = field(repr=False)
    calibration: Calibration = field(default=Calibration(), repr=False)
    training: Mapping[str, Any] = field(default_factory=dict, repr=False)
    path: Path | None = None
    dependence: Dependence | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        spec = self.spec
        form = f"{spec.network.arch}, {spec.network.strategy}"
        saved = "not saved" if self.path is None else str(self.path)
        return f"Bundle({spec.target}, {spec.h} x {spec.cadence}, {form}, {saved})"

    def shown(self) -> dict[str, str]:
        """Return facts for a reader; ``hmx info`` has them all."""
        spec = self.spec
        steps = [str(step) for step in self.training.get("steps", [])[:2]]
        return {
            "predicts": spec.target
            + (f" in {spec.units}" if spec.units not in (None, "1") else ""),
            "from": ", ".join(
                [f"{spec.target} x {spec.network.past_steps} steps", *spec.dynamic, *spec.static]
            ),
            "leads": f"{spec.h} x {spec.cadence}",
            "network": f"{spec.network.arch}, {spec.network.strategy}",
            "trained on": " to ".join(steps) or "unknown",
        }

    def describe(self) -> dict[str, Any]:
        """Return everything but the arrays in JSON values; the digest hashes them in this order."""
        network = self.spec.network
        spec = {
            **asdict(self.spec),
            # without what a file of an older release lacks, so that the digest of its model, and
            # with it the ledger of an unfinished forecast, stays
            "network": network.model_dump(exclude=_ADDED - network.model_fields_set),
            "context": self.spec.context.as_dict(),
            "transforms": dict(self.spec.transforms),
        }
        # the digest of a model without dependence stays that of older releases
        joint = {} if self.dependence is None else {"dependence": self.dependence.as_dict()}
        return {
            "format": FORMAT,
            "job": "forecast",
            "spec": spec,
            "scaler": asdict(self.scaler),
            "calibration": self.calibration.as_dict(),
            **joint,
            "weights": {name: list(array.shape) for name, array in sorted(self.weights.items())},
            "training": dict(self.training),
        }

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
        form = forms.read_form(_ForecasterForm, raw, folder)
        calibration = form.calibration
        return cls(
            spec=Spec(**{**dict(form.spec), "context": form.spec.context.read()}),
            scaler=Scaler(**dict(form.scaler)),
            weights=weights,
            calibration=Calibration(
                tuple(np.array(table) for table in calibration.ranks),
                tuple(np.array(counts) for counts in calibration.counts),
                calibration.nodes,
                calibration.stretch,
                calibration.far,
                calibration.shift,
            ),
            training=raw["training"],
            path=folder.resolve(),
            dependence=Dependence.from_dict(raw["dependence"]) if form.dependence else None,
        )


def fits_means(bundle: Bundle) -> bool:
    """Return True if means follow past steps, and False if past steps contradict each other."""
    return bool(bundle.training.get("anchor", {}).get("fitted", True))


def describe_means(bundle: Bundle) -> str | None:
    """Describe in a line how far means follow past steps; ``None`` without an anchor."""
    anchor = bundle.training.get("anchor", {})
    if "trend" not in anchor:  # of an older release, or none
        gain = anchor.get("left_out_skill")
        if gain is None:
            return None
        text = f"{100 * gain:+.1f} % of a linear regression on steps left out"
        held = ": WORSE THAN PERSISTENCE, so means are held at the last map"
        return text if anchor["fitted"] else text + held
    gains = anchor["gains"].values()
    votes = "there is one past step, and none to check it"
    if gains:
        agree = sum(gain > 0 for gain in gains)
        votes = f"the fit to all other past steps gained at {agree} of {len(gains)}"
    if not anchor["fitted"]:
        return f"HELD AT THE LAST MAP: {votes}"
    rungs = {"a regression": anchor["regression"], "a damped trend": anchor["trend"]}
    shares = [f"{100 * w:.0f} % of {rung}" for rung, w in rungs.items() if round(100 * w)]
    text = f"expected changes are {' and '.join(shares)}: {votes}"
    if own := anchor.get("own_gains", {}).values():
        gained = sum(gain > 0 for gain in own)
        text += f"; what the network adds gained at {gained} of {len(own)}"
        if anchor["own_trust"] < ENOUGH:
            text += ", so it counts less"
    return text


class _ContextForm(Options):
    radii: Annotated[tuple[Radius, ...], Field(max_length=32)]
    maxima: bool = False
    distance: bool
    threshold: Annotated[forms.Real, Field(ge=0, le=1e30)] = 0.0
    terrain: forms.Names = ()

    def read(self) -> Context:
        try:
            return Context(**dict(self))
        except BadArgument as error:  # pydantic collects only ValueErrors of its own kind
            raise ValueError(str(error)) from None


class _SpecForm(forms.VariablesForm):
    transforms: dict[str, Transform] = Field(default_factory=dict)
    network: ModelOptions
    h: Leads
    context: _ContextForm
    future: forms.Names = ()

    @model_validator(mode="after")
    def _known(self) -> _SpecForm:
        if self.future != self.dynamic[: len(self.future)]:
            raise ValueError("covariates known ahead come first among the dynamic ones")
        if strange := set(self.context.terrain) - set(self.static):
            raise ValueError(f"terrain {sorted(strange)[0]!r} is not a static covariate")
        return self


class _ScalerForm(Options):
    mean: dict[str, forms.Value]
    std: dict[str, forms.Positive]
    change: Annotated[tuple[Annotated[forms.Real, Field(ge=0, le=1e30)], ...], Field(min_length=1)]
    step: Annotated[forms.Real, Field(ge=0, le=1e30)] = 0.0


class _CalibrationForm(Options):
    ranks: Annotated[tuple[forms.Rows, ...], Field(max_length=1000)]
    counts: tuple[tuple[Annotated[forms.Real, Field(ge=0)], ...], ...]
    nodes: Annotated[tuple[Annotated[forms.Real, Field(ge=0, le=1e6)], ...], Field(min_length=1)]
    stretch: tuple[Annotated[forms.Real, Field(ge=0, le=1e30)], ...]
    far: forms.Share = 1.0
    shift: Annotated[
        tuple[Annotated[forms.Real, Field(ge=-2, le=2)], ...], Field(max_length=1000)
    ] = ()

    @model_validator(mode="after")
    def _tables(self) -> _CalibrationForm:
        forms.require_ascending(self.nodes, "nodes")
        if not len(self.ranks) == len(self.counts) == len(self.stretch):
            raise ValueError("ranks, counts and stretch have an entry for each lead")
        for table, counts in zip(self.ranks, self.counts, strict=True):
            forms.require_table(table, len(self.nodes), len(PROBABILITIES), "ranks")
            if len(counts) != len(self.nodes):
                raise ValueError("counts have a number for each node")
        return self


class _ForecasterForm(forms.Description):
    spec: _SpecForm
    scaler: _ScalerForm
    calibration: _CalibrationForm
    dependence: forms.DependenceForm | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> _ForecasterForm:
        spec = self.spec
        context = spec.context.read()
        names = (spec.target, *spec.dynamic, *spec.static, *context.names(spec.target))
        forms.require_scales(names, self.scaler.mean, self.scaler.std)
        if len(self.scaler.change) != spec.h:
            raise ValueError(f"scaler.change has {len(self.scaler.change)} leads, and h={spec.h}")
        if self.scaler.change[0] <= 0:
            raise ValueError("scaler.change of the first lead must be greater than 0")
        if len(self.calibration.ranks) > spec.h:
            raise ValueError("calibration has more leads than spec.h")
        return self
