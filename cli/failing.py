"""How commands fail: one message and an exit code, never a traceback for a user's fault."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from hmx.errors import HmxError, did_you_mean
from hmx.redact import redact

_SIGPIPE = 141  # as a shell has it for programs that a closed pipe ended
_WHOLE = 1000  # characters of a description: click cuts it at 45 otherwise
# Commands that run a network over tiles.
_COMPUTES = "forecast, map, plan and evaluate"
# options that some commands lack, and why they are refused there
_ELSEWHERE = {
    "-h": "-h is not an option: --help explains a command, and --h 4 is the number of steps",
    "--device": "nothing is computed on a device here: --device belongs to train, " + _COMPUTES,
    "--workers": "no tiles are computed here: --workers belongs to " + _COMPUTES,
    "--scheduler": "no tiles are computed here: --scheduler belongs to " + _COMPUTES,
    "--h": "nothing is forecast here: --h belongs to forecast, plan and evaluate",
}


def ignoring_full_disk(write: Callable[..., None]) -> Callable[..., None]:
    """Ignore a standard error that is full or closed: no work is lost for it."""

    def call(*values: Any) -> None:
        with suppress(OSError):
            write(*values)

    return call


def out(text: object) -> None:
    """Write a line to standard output.

    A reader that has closed the pipe, such as ``head``, ends the command silently.
    """
    try:
        click.echo(redact(str(text)))
    # Before OSError, of which it is one: head is satisfied, a full disk is not.
    except BrokenPipeError:
        discard_stdout()
        raise SystemExit(_SIGPIPE) from None
    except OSError as error:
        discard_stdout()
        raise CommandFailure(
            f"standard output cannot be written: {error.strerror}. What was made is kept; run the "
            "same command again.",
            1,
        ) from None


def discard_stdout() -> None:
    """Send further output to the null device, so that Python's last flush succeeds."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_closed_streams() -> None:
    """Open the null device in place of closed streams: a store would get their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # os.open gives the lowest free number, usually that of the closed stream.
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _refusal(error: click.NoSuchOption) -> click.UsageError:
    why = _ELSEWHERE.get(error.option_name)
    return error if why is None else click.UsageError(f"{why}. Leave it out.", error.ctx)


class Group(click.Group):
    """Commands in the order of a user's work, with the nearest one for an unknown name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names in the order in which the commands were added."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List all commands, each with the whole first sentence of its help."""
        rows = [
            (name, command.get_short_help_str(limit=_WHOLE))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; explain ``-h``."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _refusal(error) from None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a command, or name the nearest."""
        # "hmx demo.yaml" is a frequent mistake, so a name with a dot gets its own hint.
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            names = self.list_commands(ctx)
            near = did_you_mean(args[0], names)
            file = " Name the command first: hmx forecast CATALOG." if "." in args[0] else ""
            raise click.UsageError(
                f"there is no command {args[0]!r} (there are: {', '.join(names)}).{near or file}",
                ctx,
            )
        return super().resolve_command(ctx, args)


class Command(click.Command):
    """A command whose errors are one message and an exit code, and whose help has examples."""

    def __init__(self, *given: Any, examples: tuple[str, ...] = (), **options: Any):
        super().__init__(*given, **options)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, each on a line of its own."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; an option that only other commands have is refused with their names."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _refusal(error) from None
        except click.MissingParameter as error:
            if getattr(error.param, "name", None) != "catalog":
                raise
            raise click.UsageError(
                "the catalog is missing: a YAML file of what to read, fit and write. "
                f"Try hmx {ctx.info_name} catalogs/demo.yaml.",
                ctx,
            ) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run; show a traceback only with ``--debug``."""
        try:
            return super().invoke(ctx)
        # Click shows these itself; main turns them into exit codes.
        except (click.ClickException, click.exceptions.Exit, click.Abort, KeyboardInterrupt):
            raise
        except Exception as error:
            # redact: a traceback quotes URLs, which may hold keys or passwords.
            if ctx.params.get("debug"):
                click.echo(redact(traceback.format_exc()), err=True, nl=False)
            if isinstance(error, HmxError):
                raise CommandFailure(str(error), error.exit_code) from None
            text = f"{type(error).__name__}: {error}\nThis is not your catalog's fault as far as "
            raise CommandFailure(
                text + "hmx can see. --debug shows where it happened.", 1
            ) from None


class CommandFailure(click.ClickException):
    """A message and the exit code that goes with it."""

    def __init__(self, message: str, code: int):
        super().__init__(redact(message))
        self.exit_code = code  # type: ignore[misc]  # click reads it from the instance
