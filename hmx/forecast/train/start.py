"""Start: the model whose weights a fit begins with, and what it must have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hmx.bundles.folder import as_model
from hmx.errors import BadArgument
from hmx.forecast.bundle import Bundle
from hmx.forecast.spec import Spec
from hmx.networks.start import require_units

# options that decide neither the layers of a network nor what its channels mean; those of the
# context and the terrain are compared as the channels that came of them
_FREE = ("anchor", "context", "maxima", "terrain")


@dataclass(frozen=True)
class Start:
    """A model to begin with; empty for random weights."""

    bundle: Bundle | None = None
    path: str | None = None  # as it was given

    @classmethod
    def read(cls, path: str | None) -> Start:
        """Read the model at a path; without one, the start is empty."""
        return cls() if path is None else cls(as_model(Bundle, path), path)

    @property
    def weights(self) -> Mapping[str, np.ndarray] | None:
        """Weights of its first network."""
        return None if self.bundle is None else self.bundle.member(0)

    def require_fits(self, spec: Spec) -> None:
        """Refuse a start whose network or inputs differ from those of a spec."""
        if self.bundle is None:
            return
        start = self.bundle.spec
        require_units(self.path, start.target, had=start.units, has=spec.units, data="maps")
        had, has = _shape(start), _shape(spec)
        differing = [
            f"{key}={had[key]!r} (here {has[key]!r})" for key in has if had[key] != has[key]
        ]
        if differing:
            raise BadArgument(
                f"init_from={self.path!r} has another network: {', '.join(differing)}. "
                "Train with its options, or leave init_from out."
            )

    def as_dict(self) -> dict[str, Any]:
        """Return path and digest, in JSON values; nothing without a start."""
        if self.bundle is None:
            return {}
        return {"init_from": self.path, "init_digest": self.bundle.digest}


def _shape(spec: Spec) -> dict[str, Any]:
    """Return all that decides the layers of a network, and the order of its channels."""
    options = {k: v for k, v in spec.network.model_dump().items() if k not in _FREE}
    direct = spec.network.strategy == "direct"
    return {
        **options,
        "h": spec.h if direct else None,
        **{name: list(getattr(spec, name)) for name in ("static", "dynamic", "future")},
        "context": spec.context.as_dict(),
    }
