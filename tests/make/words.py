"""Words: bad things typed on the command line, in this process and in a real shell."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from hmx.cli.main import hmx
from tests.make.cubes import write_catalog

PATIENCE = 10.0  # seconds of CPU that a refusal may take
HANG = 120.0  # seconds after which a process is stuck, on a machine that others use
LONG = "x" * 5000

NUMBERS = (
    "",
    "x",
    "1e3",
    "nan",
    "inf",
    "-1",
    "0",
    "2.5",
    "1" + "0" * 20,
    "9" * 5000,
    "[1]",
    "${N}",
)
TIMES = ("", "soon", "31/12/2020", "2020-13-45", "99999999", "-1", "[2020]", LONG)
PLACES = ("", " ", "/dev/null/x", "/proc/x/y", "http://x.invalid/a.zarr", "foo://a", "/" + LONG)
REGIONS = ("", "1,2,3", "a,b,c,d", "nan,0,1,1", "inf,inf,inf,inf", "1 2 3 4", "0,0,0,0", "9,9,1,1")
SETS = (
    "", "=", "x", "forecast", "forecast.h", "forecast.h=", "forecast.h=[", "..=1", "forecast..h=1",
    "forecast.h=!!python/name:os.system", "cube.sources=&a [*a]", "forecast={h: 1, h: 2}",
    "forecast.output=/data/maps #2/fc.zarr", "hmx=2", "name=", "name=1", "train.seed=-1",
    "train.epochs=1000000000", "cube.sources.hm.scale=0", "cube.sources.hm.valid_range=[0, .nan]",
    "model.width=1000000000", "cube.sources.hm.years={start: 1, stop: 1000000}",
    "cube.sources.hm.years=[1990, 1990]", "forecast.tile=1e9", "dask.workers=true",
    "cube.path=${HMX_NO_SUCH_NAME}/a.zarr", "forecast.level=[" + "50," * 5000 + "50]",
)  # fmt: skip
CATALOGS = (
    "", "nowhere.yaml", "toy", ".", "HM_1990.tif", "toy.zarr", "/dev/zero", "/dev/null",
    "fifo.yaml",
    "http://x.invalid/c.yaml", "binary.yaml", "huge.yaml", "loop.yaml", LONG, "a\nb.yaml",
)  # fmt: skip
COMPUTING = ("forecast", "plan", "evaluate")
ALL = (
    "ingest",
    "folds",
    "train",
    "evaluate",
    "plan",
    "forecast",
    "map",
    "export",
    "verify",
    "info",
)


def invocations() -> Iterator[tuple[str, ...]]:
    """Every bad word at every place where it can be typed, on a good catalog otherwise."""
    toy = "toy.yaml"
    for command in COMPUTING:
        yield from ((command, toy, "--h", value) for value in NUMBERS)
        levels = [value for value in NUMBERS if value != "2.5"]  # which is one
        yield from ((command, toy, "--level", value) for value in levels)
        yield from ((command, toy, "--workers", value) for value in NUMBERS)
        yield from ((command, toy, "--device", value) for value in ("", "gpu", "cuda:99", LONG))
        yield from ((command, toy, "-h", "4"), (command, "-h4", toy), (command, toy, "--hh", "4"))
        yield (command, toy, "--scheduler", "tcp://127.0.0.1:1")
        yield from ((command, toy, "--scheduler", value) for value in ("", "x", "foo://a:1"))
    for command in ("forecast", "plan"):
        yield from ((command, toy, "--region", value) for value in REGIONS)
        yield from ((command, toy, "--exceed", value) for value in ("", "x", "nan", "inf"))
    for command in ("forecast", "evaluate", "folds"):
        yield from ((command, toy, "--output", value) for value in PLACES)
    yield from (("evaluate", toy, "--origin", value) for value in TIMES)
    yield from (("evaluate", toy, "--folds", value) for value in NUMBERS)
    yield from (("evaluate", toy, "--model", value) for value in ("", "nowhere", "toy.zarr", LONG))
    yield from (("folds", toy, "--until", value) for value in TIMES)
    yield from (("folds", toy, "--block-m", value) for value in NUMBERS if value != "2.5")
    yield from (("folds", toy, "--buffer", value) for value in ("x", "-1", "1e3", "9" * 30))
    yield from (("verify", toy, "--sample", value) for value in ("x", "-1", "9" * 30))
    for command in ALL:
        good = {"toy.zarr"} if command in ("info", "verify", "export") else set()
        yield from ((command, name) for name in CATALOGS if name not in good)
        yield from ((command,), (command, toy, toy), (command, toy, "--nonsense"))
        yield from (
            (command, toy, "--set", value) for value in random.Random(command).sample(SETS, 9)
        )
    for command in ("ingest", "export", "info", "folds", "verify"):
        yield from ((command, toy, "--workers", "2"), (command, toy, "--device", "cpu"))
    yield from (("train", toy, "--workers", "2"), ("train", toy, "--scheduler", "tcp://a:1"))
    yield from (("info", "toy.zarr", "--set", "forecast.h=2"), ("map", toy), ("forecst", toy))
    yield from (("toy.yaml",), ("-h",), ("--bogus",), ("",), ("guide", "nonsense"))


def make_sandbox(folder: Path) -> Path:
    """A folder of rasters, a catalog whose cube and model are there, and strange files."""
    write_catalog(folder)
    with chdir(folder):
        made = CliRunner().invoke(hmx, ["forecast", "toy.yaml"])
        assert made.exit_code == 0, made.output
    (folder / "binary.yaml").write_bytes(bytes(range(256)))
    (folder / "huge.yaml").write_bytes(b"# " + b"x" * 1_000_001)
    (folder / "loop.yaml").write_text("hmx: 1\ncube: &a {sources: *a}\n")
    os.mkfifo(folder / "fifo.yaml")
    return folder


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Name all that is in a folder, with sizes and times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (
            (status.st_size, status.st_mtime_ns) if path.is_file() else (0, 0)
        )
    return found


def faults(words: Sequence[str], code: int, output: str, seconds: float) -> list[str]:
    """Say what is wrong with how a bad command ended."""
    nothing = words[:1] == ("verify",) and code == 1  # of a folder without a product
    found = [] if code == 2 or nothing else [f"exit {code}"]
    found += ["a traceback"] if "Traceback" in output else []
    found += ["a fault of hmx"] if "not your catalog's fault" in output else []
    found += ["no message"] if not output.strip() else []
    found += [f"{seconds:.0f} s"] if seconds > PATIENCE else []
    return found


def try_in_process(folder: Path, words: Sequence[str]) -> tuple[list[str], str]:
    """Run a command here; return what is wrong with its end, and its output."""
    before, started = listing(folder), time.process_time()
    with chdir(folder):
        done = CliRunner().invoke(hmx, list(words))
    found = faults(words, done.exit_code, done.output, time.process_time() - started)
    if not isinstance(done.exception, SystemExit | None):
        found.append(repr(done.exception))
    after = listing(folder)
    found += [f"wrote {name}" for name in sorted(after) if after[name] != before.get(name)]
    found += [f"removed {name}" for name in sorted(before.keys() - after)]
    return found, done.output


def try_in_shell(folder: Path, words: Sequence[str], **options: Any) -> tuple[list[str], str]:
    """Run a command as a process of its own."""
    before, started = listing(folder), _spent()
    code = "import sys; from hmx.cli.main import main; sys.argv[0] = 'hmx'; main()"
    with chdir(folder):
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, *words],
                capture_output=True, text=True, timeout=HANG, check=False, **options,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return [f"hangs for {HANG:.0f} s"], ""
    output = done.stdout + done.stderr
    found = faults(words, done.returncode, output, _spent() - started)
    return found + [f"wrote {n}" for n, s in listing(folder).items() if s != before.get(n)], output


def _spent() -> float:
    """Seconds of CPU that processes of this one have taken; others may be busy."""
    times = os.times()
    return times.children_user + times.children_system


def try_words(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Type bad words, every tenth of them in a process of its own."""
    make_sandbox(folder)
    every = [words for words in invocations() if "\x00" not in "".join(words)]
    chosen = random.Random(seed).sample(every, min(count, len(every)))
    counts: Counter[str] = Counter()
    broken = []
    for number, words in enumerate(chosen):
        attempt = try_in_shell if number % 10 == 0 else try_in_process
        found, output = attempt(folder, words)
        counts["BROKEN" if found else "refused, exit 2"] += 1
        if found:
            shown = " ".join(word[:60] for word in words)
            broken.append(f"hmx {shown}: {', '.join(found)}\n      {output[-500:]}")
    return {"counts": dict(counts), "broken": broken}
