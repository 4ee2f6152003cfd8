"""The streams of a command: full, closed or gone, they lose no work and show no traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from hmx.cli.failing import CommandFailure
from hmx.redact import redact


def whisper(speak: Callable[..., None]) -> Callable[..., None]:
    """Go on without a word if standard error is full or gone: no work is lost for it."""

    def said(*words: Any) -> None:
        with suppress(OSError):
            speak(*words)

    return said


def out(text: object) -> None:
    """Write a line to standard output, for whoever reads it.

    A reader that has gone, such as ``head``, ends the command without a word.

    Raises
    ------
    CommandFailure
        If it cannot be written.
    """
    try:
        click.echo(redact(str(text)))
    except BrokenPipeError:
        let_go_of_stdout()
        raise SystemExit(_SIGPIPE) from None
    except OSError as error:
        let_go_of_stdout()
        raise CommandFailure(
            f"standard output cannot be written: {error.strerror}. What was made is kept; run the "
            "same command again.",
            1,
        ) from None


_SIGPIPE = 141  # as a shell has it for programs that a closed pipe ended


def let_go_of_stdout() -> None:
    """Send what is still to come nowhere, so that Python's last flush finds a way."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stand_in_for_closed_streams() -> None:
    """Open nowhere in place of closed streams: a store would get their numbers, and their text."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
