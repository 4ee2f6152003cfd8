"""Registry: the networks that ``arch`` can name, known without loading torch.

A network is one file of :mod:`hmx.networks`: ``@network("unet")`` above its class. A
network of another package is declared in that package's ``pyproject.toml``::

    [project.entry-points."hmx.networks"]
    unet = "my_package.unet:UNet"

and any Python session can register one with :func:`hmx.networks.base.network`. Such a
network is known to that process alone; a Dask worker finds it by its entry point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any

from hmx.errors import BadArgument, did_you_mean
from hmx.plugins import declared, load_offered, offered


@dataclass
class Registry:
    """Classes by name: built in, registered by this process, or of an installed package.

    Parameters
    ----------
    group : str
        Entry-point group that other packages use.
    decorator : str
        Name of the decorator that registers a class.
    registered : dict
        Classes that :meth:`add` has added.

    Examples
    --------
    >>> NETWORKS.require("dilated")
    'dilated'
    """

    group: str
    decorator: str
    registered: dict[str, type[Any]] = field(default_factory=dict)

    @property
    def built_in(self) -> Mapping[str, str]:
        """``module:Class`` by name; a module is imported when its class is used."""
        return declared("hmx.networks", self.decorator)

    @property
    def offered(self) -> Mapping[str, EntryPoint]:
        """Entry points of installed packages by name."""
        return offered(self.group)

    def names(self) -> tuple[str, ...]:
        """Return all names, built-in ones first."""
        return tuple(dict.fromkeys((*self.built_in, *self.registered, *sorted(self.offered))))

    def require(self, name: str) -> str:
        """Return a name that is known; the message of the ValueError lists those that exist."""
        # built-in names first: reading entry points takes longer than importing hmx
        if name in self.built_in or name in self.registered or name in self.offered:
            return name
        *others, last = map(repr, self.names())
        listed = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"must be {listed}.{did_you_mean(name, self.names())}")

    def find(self, name: str) -> type[Any]:
        """Import the class of a name."""
        if name in self.registered:
            return self.registered[name]
        if name in self.built_in:
            module, _, attribute = self.built_in[name].partition(":")
            built: type[Any] = getattr(import_module(module), attribute)
            return built
        try:
            self.require(name)
        except ValueError as error:
            raise BadArgument(f"arch={name!r}: {error}") from None
        return load_offered(
            self.offered[name],
            self.registered,
            name,
            what=f"arch={name!r}",
            decorator=self.decorator,
            otherwise=f", or choose another arch ({', '.join(self.built_in)})",
        )

    def add(self, name: str, kind: type[Any]) -> None:
        """Register a class, unless another one has the name already."""
        path = f"{kind.__module__}:{kind.__qualname__}"
        if name in self.built_in:
            if self.built_in[name] != path:
                raise BadArgument(
                    f"arch={name!r} is built in ({self.built_in[name]}), and a bundle must mean "
                    f"one network. Give {path} another name."
                )
            return
        before = self.registered.get(name)
        # a notebook cell that runs again defines the same class anew, and replaces it
        if before is not None and f"{before.__module__}:{before.__qualname__}" != path:
            raise BadArgument(
                f"arch={name!r} is registered by {before.__module__}:{before.__qualname__}. "
                f"Give {path} another name."
            )
        self.registered[name] = kind


# The networks of the forecast job; ``arch`` of a bundle names one, so a name never changes.
NETWORKS = Registry("hmx.networks", "network")

# The networks of the map job.
MAPPERS = Registry("hmx.mappers", "mapper")
