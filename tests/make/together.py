"""Several ``hmx forecast`` of one catalog at once, with no cube and no model to begin with.

Each ends with 0 or says that another one is writing the forecast, and what is there at the
end is what a single command leaves. In the ledger only the names of files are compared: a
record holds the state of the cube's files, which are written anew each time.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.make.crashes import Tree, restore, tree, write_world
from tests.make.forks import End, Run, Server

WORDS = ("forecast", "toy.yaml")
BUSY = "is being written by another job"


@dataclass
class Met:
    """What came of commands that were started together.

    Parameters
    ----------
    groups, commands, busy : int
        How many groups, commands in all, and commands that found the forecast being written.
    failed, different : list of str
        What ended otherwise; groups whose files are not those of a single run.
    """

    groups: int = 0
    commands: int = 0
    busy: int = 0
    failed: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not (self.failed or self.different)

    def __str__(self) -> str:
        return (
            f"{self.groups} groups, {self.commands} commands: {self.busy} found it busy, "
            f"{len(self.failed)} failed, {len(self.different)} groups left other files"
        )


class Together:
    """A catalog, and what one command leaves of it."""

    def __init__(self, server: Server, folder: Path):
        self.server, self.work, self.base = server, folder / "work", folder / "base"
        self.base.mkdir(parents=True)
        write_world(self.base, "toy", epochs=1)
        self._reset()
        end = server.run(self.work, *WORDS)
        assert end.code == 0, end.said
        self.wanted = self._tree()

    def meet(self, groups: int, size: int, *, real: bool = False, seed: int = 0) -> Met:
        """Start groups of commands at random offsets; ``real`` as processes of their own."""
        draw, met = random.Random(seed), Met()
        for number in range(groups):
            self._reset()
            # from one instant to about as long as a command takes
            wide = draw.choice([0.0, 0.3, 3.0])
            delays = [draw.random() * wide for _ in range(size)]
            ends = self._processes(delays) if real else self._forks(delays)
            met.groups += 1
            met.commands += size
            for end in ends:
                busy = end.code == 1 and BUSY in end.said
                met.busy += busy
                if (end.code != 0 and not busy) or "Traceback" in end.said:
                    met.failed.append(f"group {number}: {end.code} {end.said}")
            found = self._tree()
            wrong = [name for name in {*found, *self.wanted} if self._differs(name, found)]
            if wrong:
                met.different.append(f"group {number}: {sorted(wrong)[:5]}")
        return met

    def _differs(self, name: str, found: Tree) -> bool:
        missing = object()
        return found.get(name, missing) != self.wanted.get(name, missing)

    def _forks(self, delays: Sequence[float]) -> list[End]:
        return self.server.together([Run(WORDS, str(self.work), delay=delay) for delay in delays])

    def _processes(self, delays: Sequence[float]) -> list[End]:
        hmx = str(Path(sys.executable).with_name("hmx"))
        command = ["sh", "-c", 'sleep "$0"; exec "$@"']
        processes = [
            subprocess.Popen(
                [*command, f"{delay:.3f}", hmx, *WORDS],
                cwd=self.work,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for delay in delays
        ]
        said = [process.communicate()[1] for process in processes]
        codes = [process.returncode for process in processes]
        return [End(code, said=text) for code, text in zip(codes, said, strict=True)]

    def _reset(self) -> None:
        restore(self.work, self.base)

    def _tree(self) -> Tree:
        found = dict(tree(self.work))
        return {n: b"" if ".ledger/tiles/" in n else data for n, data in found.items()}


def as_dict(met: Met) -> dict[str, object]:
    """Return JSON values."""
    return dict(json.loads(json.dumps(vars(met))))
