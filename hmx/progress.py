"""Progress: long work reports how far it is, on standard error.

Work calls :meth:`Progress.note` with a line and :meth:`Progress.step` with ``(done, total,
text)``; the caller chooses what becomes of both. :meth:`Progress.console` draws a bar on a
terminal and in notebooks, and writes a plain line now and then elsewhere.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hmx.redact import redact

if TYPE_CHECKING:
    from tqdm.auto import tqdm

OnStep = Callable[[int, int, str], object]

# seconds between plain lines: a log of a night's job stays readable, and a user still sees
# within one breath that the work goes on
_EVERY = 5.0


@dataclass(frozen=True)
class Progress:
    """Receives what long work reports; ``Progress()`` drops it.

    Parameters
    ----------
    on_note : callable
        Called with one line of text before each piece of work.
    on_step : callable
        Called with (steps done, steps in all, text).

    Examples
    --------
    >>> progress = Progress(on_step=lambda done, total, text: print(f"{text}: {done} of {total}"))
    >>> progress.step(1, 4, "tiles")
    tiles: 1 of 4
    """

    # not in the repr: a signature shows ``Progress()`` as its default
    on_note: Callable[[str], object] = field(default=lambda text: None, repr=False)
    on_step: OnStep = field(default=lambda done, total, text: None, repr=False)

    @classmethod
    def of(cls, progress: Progress | OnStep | None) -> Progress:
        """Accept a Progress, a plain callable for steps, or ``None`` for silence."""
        if isinstance(progress, Progress):
            return progress
        return cls() if progress is None else cls(on_step=progress)

    @classmethod
    def console(cls) -> Progress:
        """Report on standard error: notes as lines, steps as a bar or as plain lines."""
        in_notebook = "ipykernel" in sys.modules
        on_step = _Bars() if sys.stderr.isatty() or in_notebook else _Lines()
        return cls(lambda text: print(text, file=sys.stderr, flush=True), on_step)

    def note(self, text: str) -> None:
        """Report one line; secrets of its URLs are left out."""
        self.on_note(redact(text))

    def step(self, done: int, total: int, text: str) -> None:
        """Report that ``done`` of ``total`` steps are finished; ``text`` is ``"what: detail"``."""
        self.on_step(done, total, text)

    def within(self, prefix: str) -> Progress:
        """Return the same progress with ``"prefix: "`` before the text of each step."""
        return Progress(
            self.on_note, lambda done, total, text: self.step(done, total, f"{prefix}: {text}")
        )


class Outlook:
    """What long work has still to do, stage by stage, and about how long it takes.

    Parameters
    ----------
    stages : mapping of str to (int, float)
        Parts of each stage and the expected cost of one, in any unit, in the order of the work.
        Once a part of a stage is done, its measured time takes the place of the expected cost.

    Examples
    --------
    >>> print(Outlook({"network": (5, 1.0), "forest": (1, 0.2)}))
    then 5 networks, forest
    """

    def __init__(self, stages: Mapping[str, tuple[int, float]]):
        self._stages = dict(stages)
        self._done = dict.fromkeys(stages, 0.0)
        self._spared = dict.fromkeys(stages, 0.0)
        self._seconds = dict.fromkeys(stages, 0.0)
        self._last = time.monotonic()

    def watch(self, progress: Progress, stage: str, at: float = 0, share: float = 1) -> Progress:
        """Return a progress whose steps lead from `at` over `share` of a part of a stage.

        What is still to come follows the text of each step.
        """

        def on_step(done: int, total: int, text: str) -> None:
            self.reach(stage, at + share * done / max(1, total))
            left = str(self)
            progress.step(done, total, f"{text}; {left}" if left else text)

        return Progress(progress.on_note, on_step)

    def reach(self, stage: str, done: float) -> None:
        """Record the parts of a stage that are done; they took the time since the last record."""
        now = time.monotonic()
        self._seconds[stage] += now - self._last
        self._last, self._done[stage] = now, max(self._done[stage], done)

    def spare(self, stage: str, share: float = 1) -> None:
        """Record a part that an earlier run has done: it takes no time."""
        self._last = time.monotonic()
        self._done[stage] += share
        self._spared[stage] += share

    def seconds(self) -> float:
        """Return about how long the rest takes; NaN before anything is done."""
        worked = {stage: self._done[stage] - self._spared[stage] for stage in self._stages}
        cost = sum(worked[stage] * one for stage, (_, one) in self._stages.items())
        rate = sum(self._seconds.values()) / cost if cost > 0 else math.nan
        left = 0.0
        for stage, (count, one) in self._stages.items():
            own = self._seconds[stage] / worked[stage] if worked[stage] >= 1 else rate * one
            left += max(0.0, count - self._done[stage]) * own
        return left

    def __str__(self) -> str:
        parts = []
        for stage, (count, _) in self._stages.items():
            later = count - math.ceil(self._done[stage] - 1e-9)  # without the one in work
            if later > 0:
                parts.append(stage if count == 1 else counted(later, stage))
        texts = [f"then {', '.join(parts)}"] if parts else []
        if math.isfinite(left := self.seconds()) and left > 0:
            texts.append(f"about {roughly(left)} left")
        return "; ".join(texts)


def _bar() -> Any:
    """Return the bar of this place: a widget, or text where a notebook has no widgets."""
    if find_spec("ipywidgets") is None:
        from tqdm import tqdm as text_bar  # the other would warn of what is not installed

        return text_bar
    from tqdm.auto import tqdm

    return tqdm


class _Bars:
    """One bar for each piece of work, known by the text before the first colon."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[None]] = {}

    def __call__(self, done: int, total: int, text: str) -> None:
        tqdm = _bar()
        what, _, detail = text.partition(": ")
        if what in self._bars and done < self._bars[what].n:
            # training may stop early, so its bar never fills: the next fit gets a new bar
            self._bars.pop(what).close()
        if what not in self._bars:
            self._bars[what] = tqdm(total=total, desc=what, file=sys.stderr)
        bar = self._bars[what]
        bar.total = total
        bar.set_postfix_str(detail, refresh=False)
        bar.update(done - bar.n)
        if done >= total:
            self._bars.pop(what).close()


class _Lines:
    """A line every few seconds for each piece of work, and always its last one."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}  # seconds and steps of the last line

    def __call__(self, done: int, total: int, text: str) -> None:
        what, now = text.partition(": ")[0], time.monotonic()
        when, steps = self._last.get(what, (-_EVERY, 0))
        if done >= total or done < steps or now - when >= _EVERY:
            self._last[what] = (now, done)
            print(f"{text} ({done}/{total})", file=sys.stderr, flush=True)
        if done >= total:
            del self._last[what]


class Meter:
    """Reports how many steps of a piece of work are done, and the remaining time."""

    def __init__(self, progress: Progress, total: int, label: str, *, start: str = ""):
        self._progress, self._total, self._label = progress, total, label
        self._start, self._done, self._lock = time.monotonic(), 0, threading.Lock()
        if start:
            progress.step(0, total, f"{label}{start}")

    def __call__(
        self, done: int | None = None, *, rate: Callable[[float], str] | None = None
    ) -> None:
        """Report one more step, or so many in all; ``rate`` has a text for the seconds so far."""
        with self._lock:  # threads may share steps
            before, self._done = self._done, self._done + 1 if done is None else done
            if self._done > before:
                seconds = time.monotonic() - self._start
                left = (self._total - self._done) * seconds / self._done
                text = f"{self._label}{'' if rate is None else rate(seconds)}{duration(left)} left"
                self._progress.step(self._done, self._total, text)


def counted(number: int, thing: str) -> str:
    """Count things in words: ``1 tile``, ``1,204 tiles``."""
    return f"{number:,} {thing}{'s' if number != 1 else ''}"


def duration(seconds: float) -> str:
    """Write a time span in the two units that matter: ``3 h 20 min``."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(minutes)} min {int(seconds % 60)} s" if minutes >= 1 else f"{seconds:.0f} s"


def roughly(seconds: float) -> str:
    """Write a time span that is only estimated: ``40 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 95:
        return f"{10 * max(1, math.ceil(seconds / 10))} s"
    if seconds < 5700:
        return f"{math.ceil(seconds / 60)} min"
    return duration(600 * math.ceil(seconds / 600))
