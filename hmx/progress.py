"""Progress: long work says how far it is, on standard error.

Work reports ``(done, total, text)`` to a callable; what becomes of it is the
caller's choice. :func:`reporter` draws a bar on a terminal and in notebooks and
writes a plain line now and then elsewhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from hmx.redact import redact

Progress = Callable[[int, int, str], None]

_EVERY = 5.0  # seconds between plain lines


@dataclass(frozen=True)
class Talk:
    """How a piece of work speaks.

    Parameters
    ----------
    say : callable
        Told one line before each step.
    progress : callable
        Makes a fresh progress callable for each long step.
    """

    say: Callable[[str], None] = lambda line: None
    progress: Callable[[], Progress] = lambda: silent

    def __post_init__(self) -> None:
        """Let no line say a secret of a URL."""
        say = self.say
        object.__setattr__(self, "say", lambda line: say(redact(line)))


def silent(done: int, total: int, text: str) -> None:
    """Report nothing."""


QUIET = Talk()


def aloud() -> Talk:
    """Speak on standard error: lines, and a bar or plain lines of progress."""
    return Talk(say=lambda line: print(line, file=sys.stderr, flush=True), progress=reporter)


def reporter() -> Progress:
    """Return a fresh progress reporter for where this process runs."""
    return _bar() if sys.stderr.isatty() or "ipykernel" in sys.modules else _lines()


def _bar() -> Progress:
    from tqdm.auto import tqdm

    bars: dict[str, tqdm[None]] = {}

    def report(done: int, total: int, text: str) -> None:
        what, _, detail = text.partition(": ")
        if what not in bars:
            bars[what] = tqdm(total=total, desc=what, file=sys.stderr)
        bar = bars[what]
        bar.total = total
        bar.set_postfix_str(detail, refresh=False)
        bar.update(done - bar.n)
        if done >= total:
            bars.pop(what).close()

    return report


def _lines() -> Progress:
    said = -_EVERY

    def report(done: int, total: int, text: str) -> None:
        nonlocal said
        now = time.monotonic()
        if done >= total or now - said >= _EVERY:
            said = now
            print(f"{text} ({done}/{total})", file=sys.stderr, flush=True)

    return report


def counted(number: int, thing: str) -> str:
    """Count things in words: ``1 tile``, ``1,204 tiles``.

    Parameters
    ----------
    number : int
        Of them.
    thing : str
        What one is called; an ``s`` makes it several.
    """
    return f"{number:,} {thing}{'s' if number != 1 else ''}"


def duration(seconds: float) -> str:
    """Write a time span in the two units that matter: ``3 h 20 min``.

    Parameters
    ----------
    seconds : float
        Zero or more.
    """
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(minutes)} min {int(seconds % 60)} s" if minutes >= 1 else f"{seconds:.0f} s"
