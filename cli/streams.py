"""Streams of a command: full or closed, they lose no work and show no traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from hmx.cli.failing import CommandFailure
from hmx.redact import redact


def ignoring_full_disk(write: Callable[..., None]) -> Callable[..., None]:
    """Ignore a standard error that is full or closed: no work is lost for it."""

    def call(*values: Any) -> None:
        with suppress(OSError):
            write(*values)

    return call


def out(text: object) -> None:
    """Write a line to standard output, for whoever reads it.

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


_SIGPIPE = 141  # as a shell has it for programs that a closed pipe ended


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
