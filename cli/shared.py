"""What all commands share: flags, paths and progress."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hmx.cli.failing import Command, CommandFailure, Group, ignoring_full_disk, out
from hmx.errors import BadArgument
from hmx.files.jsontext import as_json
from hmx.progress import Progress

__all__ = [
    "Command", "CommandCall", "CommandFailure", "Group", "as_json", "box", "catalog_command",
    "device_flag", "forecast_flags", "here", "level_flag", "moment", "out", "quantiles_flag",
    "worker_flags",
]  # fmt: skip

if TYPE_CHECKING:
    from hmx.catalog import AnyCatalog, Catalog, MapCatalog


_SPEED = ("device", "workers", "scheduler", "resume", "overwrite")  # change no product


@dataclass(frozen=True)
class CommandCall:
    """What every command is given."""

    catalog: str  # path of the catalog
    overrides: tuple[str, ...]  # of ``--set``
    quiet: bool  # whether to print progress, and tracebacks
    debug: bool
    device: str | None = None  # where to compute; ``None`` was not given
    workers: int | None = None
    scheduler: str | None = None

    def load(self, **flags: Any) -> Catalog:
        """Load the catalog of a forecast; flags take precedence over its values."""
        from hmx.catalog import Catalog

        return Catalog.load(self.catalog, self.overrides, self._given("forecast", flags))

    def load_map(self, **flags: Any) -> MapCatalog:
        """Load the catalog of a map, likewise."""
        from hmx.catalog import MapCatalog

        return MapCatalog.load(self.catalog, self.overrides, self._given("map", flags))

    def load_any(self, **flags: Any) -> AnyCatalog:
        """Load the catalog of whichever job."""
        return self.load_map(**flags) if self.maps else self.load(**flags)

    @property
    def maps(self) -> bool:
        """Whether the catalog has points, and so maps."""
        from hmx.catalog import has_points

        return has_points(self.catalog, self.overrides)

    @property
    def store(self) -> str | None:
        """The path of a store or model that was given in place of a catalog."""
        from hmx.catalog import is_catalog

        if is_catalog(self.catalog):
            return None
        try:
            is_file = Path(self.catalog).expanduser().is_file()
        except OSError as error:
            raise BadArgument(
                f"{self.catalog[:99]!r} ... is not a path: {error.strerror}. Pass a catalog, or "
                "the folder of a store or model."
            ) from None
        if is_file:
            raise BadArgument(
                f"{self.catalog} is a file, and this command takes a catalog, whose name ends in "
                ".yaml, or the folder of a store or model. Pass one of them."
            )
        if self.overrides:
            raise BadArgument(
                f"--set {self.overrides[0]!r} changes a catalog, and {self.catalog} is not one. "
                "Leave it out, or pass a catalog."
            )
        return self.catalog

    def _given(self, product: str, flags: dict[str, Any]) -> dict[str, Any]:
        """Name the values of flags by their key path in the catalog."""
        flags = flags | {
            "train__device": self.device,
            f"{product}__device": self.device,
            "dask__workers": self.workers,
            "dask__scheduler": self.scheduler,
        }
        # Click gives None for a flag and () for a repeatable one that was not typed: neither may
        # overwrite the catalog. False and 0 are values.
        return {k.replace("__", "."): v for k, v in flags.items() if v not in (None, ())}

    def forecast(
        self,
        *,
        h: int | None,
        level: tuple[float, ...],
        exceed: tuple[float, ...],
        region: str | None,
        output: str | None = None,
    ) -> tuple[Catalog, tuple[float, ...] | None]:
        """Load the catalog with the flags of a forecast; return it with the region."""
        catalog = self.load(
            forecast__h=h,
            forecast__level=level,
            forecast__exceed=exceed,
            forecast__output=here(output),
        )
        return catalog, box(region)

    def then(self, **steps: str) -> None:
        """Name the commands that go on from here, and why; nothing if flags made another product.

        With flags, the same catalog without them would make another product first.
        """
        context = click.get_current_context()
        typed = {
            name
            for name in context.params
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        }
        if typed <= {"catalog", "quiet", "debug", *_SPEED} and self.store is None:
            for command, why in steps.items():
                self.progress.note(f"next: hmx {command} {self.catalog}  ({why})")

    @property
    def progress(self) -> Progress:
        """Progress on standard error, or none if the user asked for quiet."""
        if self.quiet:
            return Progress()
        note = ignoring_full_disk(lambda line: click.echo(line, err=True))
        return Progress(note, ignoring_full_disk(Progress.console().on_step))


def here(path: str | None, flag: str = "--output") -> str | None:
    """Make a path of the command line absolute; ``None`` was not given."""
    from hmx.files.paths import absolute

    if path is None:
        return None
    if not path.strip():
        raise BadArgument(f"{flag} is empty, and it is a path. Write one, or leave {flag} out.")
    return absolute(path)


def moment(text: str | None) -> int | str | None:
    """Turn a year into a number, as a catalog does; anything else is a date."""
    # isascii: "²".isdigit() is True, and int() fails on it.
    return int(text) if text is not None and text.isascii() and text.isdigit() else text


def box(text: str | None) -> tuple[float, ...] | None:
    """Read ``west,south,east,north``."""
    if text is None:
        return None
    try:
        west, south, east, north = edges = tuple(float(part) for part in text.split(","))
    except ValueError:
        edges = (math.nan,)
    # float() accepts nan and inf.
    if not all(map(math.isfinite, edges)):
        raise BadArgument(
            f"--region {text!r}: a box is west,south,east,north in the cube's CRS. "
            "Try --region 400000,5200000,450000,5250000."
        )
    return west, south, east, north


Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def flags(*each: Decorator) -> Decorator:
    """Return a decorator that adds several flags to a command, in this order."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for flag in reversed(each):
            command = flag(command)
        return command

    return add


level_flag = click.option(
    "--level", type=float, multiple=True, metavar="%", help="Interval; repeatable."
)
quantiles_flag = click.option(
    "--quantiles", type=float, multiple=True, metavar="P", help="Quantile, 0 to 1; repeatable."
)
# of commands that describe a forecast, for :meth:`CommandCall.forecast`
forecast_flags = flags(
    click.option("--h", type=int, metavar="N", help="Steps to forecast."),
    level_flag,
    click.option(
        "--exceed",
        type=float,
        multiple=True,
        metavar="VALUE",
        help="Probability of more than this; repeatable.",
    ),
    click.option("--region", metavar="W,S,E,N", help="Part to forecast, in the cube's CRS."),
)
# of commands that run a network
device_flag = click.option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where to compute.")
# of commands that compute tiles
worker_flags = flags(
    device_flag,
    click.option("--workers", type=int, metavar="N", help="Dask workers on this machine."),
    click.option("--scheduler", metavar="tcp://HOST:PORT", help="A running Dask scheduler."),
)


def catalog_command(function: Callable[..., None]) -> Callable[..., None]:
    """Add the catalog argument and the flags that every command has, as a :class:`CommandCall`."""

    @wraps(function)
    def command(**given: Any) -> None:
        # Not every command has all flags: those that are absent keep their default.
        names = [field.name for field in fields(CommandCall) if field.name in given]
        shared = {name: given.pop(name) for name in names}
        function(CommandCall(**shared), **given)

    return flags(
        click.argument("catalog", type=click.Path()),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY.PATH=VALUE",
            help="Change a value of the catalog, written as YAML; repeatable.",
        ),
        click.option("--quiet", is_flag=True, help="Print nothing but the path of the product."),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    )(command)
