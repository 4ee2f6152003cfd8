"""What all commands share: flags, errors and the way they speak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from hmx.errors import BadArgument, HmxError
from hmx.progress import Talk, reporter

if TYPE_CHECKING:
    from hmx.catalog import AnyCatalog, Catalog, MapCatalog


class Command(click.Command):
    """A command whose errors are one message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run; show a traceback only with ``--debug``."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, KeyboardInterrupt):
            raise
        except HmxError as error:
            if ctx.params.get("debug"):
                raise
            raise Failure(str(error), error.exit_code) from None
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            text = f"{type(error).__name__}: {error}\nThis is not your catalog's fault as far as "
            raise Failure(text + "hmx can tell. --debug shows where it happened.", 1) from None


class Failure(click.ClickException):
    """A message and the exit code that goes with it."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click reads it from the instance


@dataclass(frozen=True)
class Call:
    """What every command is given.

    Parameters
    ----------
    catalog : str
        Path of the catalog.
    overrides : tuple of str
        Of ``--set``.
    device, workers, scheduler : optional
        Where to compute; ``None`` was not given.
    quiet, debug : bool
        How to speak.
    """

    catalog: str
    overrides: tuple[str, ...]
    device: str | None
    workers: int | None
    scheduler: str | None
    quiet: bool
    debug: bool

    def load(self, **flags: Any) -> Catalog:
        """Load the catalog of a forecast; flags that were given stand above what it says.

        Parameters
        ----------
        **flags
            Values by key path, with ``__`` for the dot; ``None`` was not given.
        """
        from hmx.catalog import Catalog

        return Catalog.load(self.catalog, self._sets("forecast", flags))

    def load_map(self, **flags: Any) -> MapCatalog:
        """Load the catalog of a map, likewise."""
        from hmx.catalog import MapCatalog

        return MapCatalog.load(self.catalog, self._sets("map", flags))

    def load_any(self, **flags: Any) -> AnyCatalog:
        """Load the catalog of whichever job."""
        return self.load_map(**flags) if self.maps else self.load(**flags)

    @property
    def maps(self) -> bool:
        """Whether the catalog has points, and so maps."""
        from hmx.catalog import has_points

        return has_points(self.catalog, self.overrides)

    def _sets(self, product: str, flags: dict[str, Any]) -> list[str]:
        """Write flags as overrides of the catalog."""
        flags = flags | {
            "train__device": self.device,
            f"{product}__device": self.device,
            "dask__workers": self.workers,
            "dask__scheduler": self.scheduler,
        }
        given = {k.replace("__", "."): v for k, v in flags.items() if v not in (None, ())}
        return [*self.overrides, *(f"{path}={_yaml(value)}" for path, value in given.items())]

    def forecast(
        self,
        *,
        h: int | None,
        level: tuple[float, ...],
        exceed: tuple[float, ...],
        region: str | None,
        output: str | None = None,
    ) -> tuple[Catalog, tuple[float, ...] | None]:
        """Load the catalog with the flags of a forecast; return the region beside it."""
        place = None if output is None else here(output)
        catalog = self.load(
            forecast__h=h,
            forecast__level=level,
            forecast__exceed=exceed,
            forecast__output=place,
        )
        return catalog, box(region)

    @property
    def talk(self) -> Talk:
        """Speak on standard error, or not at all."""
        if self.quiet:
            return Talk()
        return Talk(say=lambda line: click.echo(line, err=True), progress=reporter)


def _yaml(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def here(path: str) -> str:
    """Anchor a path typed on the command line to the working folder."""
    from hmx.paths import absolute

    return absolute(path)


def box(text: str | None) -> tuple[float, ...] | None:
    """Read ``west,south,east,north``."""
    if text is None:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise BadArgument(
            f"--region {text!r}: a box is west,south,east,north in the cube's CRS. "
            "Try --region 400000,5200000,450000,5250000."
        ) from None
    return west, south, east, north


def forecast_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that say which forecast is meant, for :meth:`Call.forecast`."""
    flags = (
        click.option("--h", type=int, metavar="N", help="Steps to forecast."),
        click.option(
            "--level", type=float, multiple=True, metavar="%", help="Interval; repeatable."
        ),
        click.option(
            "--exceed",
            type=float,
            multiple=True,
            metavar="VALUE",
            help="Probability of more than this; repeatable.",
        ),
        click.option("--region", metavar="W,S,E,N", help="Part to forecast, in the cube's CRS."),
    )
    for flag in reversed(flags):
        command = flag(command)
    return command


def catalog_command(function: Callable[..., None]) -> Callable[..., None]:
    """Add the catalog argument and the flags that every command has, as a :class:`Call`."""

    @wraps(function)
    def command(**given: Any) -> None:
        shared = {field.name: given.pop(field.name) for field in fields(Call)}
        function(Call(**shared), **given)

    flags = (
        click.argument("catalog", type=click.Path()),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY.PATH=VALUE",
            help="Change a value of the catalog; repeatable.",
        ),
        click.option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where to compute."),
        click.option("--workers", type=int, metavar="N", help="Dask workers on this machine."),
        click.option("--scheduler", metavar="tcp://HOST:PORT", help="A running Dask scheduler."),
        click.option("--quiet", is_flag=True, help="Say nothing but the path of the product."),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    )
    for flag in reversed(flags):
        command = flag(command)
    return command
