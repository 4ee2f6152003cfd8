"""Commands that are killed just before a change of the file system, and run again.

A :class:`Command` starts from a folder that is the same each time. Run to its end it
leaves one tree of files. Killed anywhere and run again, it must leave the same: every
file, with the same bytes, and no other. What differs between two runs that nobody
disturbs is listed in :func:`_settled`, and nothing else is left out:

- ``training.seconds`` of ``bundle.json``: how long the fit took;
- ``wait_share`` of ``training.csv``: the share of time that was waited for data.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.make.forks import End, Server

Tree = Mapping[str, bytes | None]


@dataclass(frozen=True)
class Command:
    """A command line and the folder that it starts from.

    Parameters
    ----------
    name : str
        Of the command in reports.
    words : sequence of str
        Of the command line.
    before : sequence of sequence of str
        Commands that make what it starts from.
    change : callable, optional
        What happens to the folder between them and the command.
    catalog : {"toy", "soils"}
        Of which job.
    """

    name: str
    words: Sequence[str]
    before: Sequence[Sequence[str]] = ()
    change: Callable[[Path], None] = lambda folder: None
    catalog: str = "toy"


def _add_a_year(folder: Path) -> None:
    """Add a map, and name it in the catalog."""
    shutil.copy2(folder / "HM_1990.tif", folder / "HM_2010.tif")
    _reword(folder, "- 2005\n", "- 2005\n      - 2010\n")


def _replace_a_map(folder: Path) -> None:
    shutil.copy2(folder / "HM_1990.tif", folder / "HM_2000.tif")


def _reword(folder: Path, old: str, new: str) -> None:
    catalog = folder / "toy.yaml"
    text = catalog.read_text()
    assert old in text
    catalog.write_text(text.replace(old, new))


def _train_longer(folder: Path) -> None:
    _reword(folder, "epochs: 2", "epochs: 3")


_SHORTER = ("--overwrite", "--h", "1")
COMMANDS = {
    command.name: command
    for command in (
        Command("ingest", ["ingest", "toy.yaml"]),
        Command("append", ["ingest", "toy.yaml"], [["ingest", "toy.yaml"]], _add_a_year),
        Command("rebuild", ["ingest", "toy.yaml"], [["ingest", "toy.yaml"]], _replace_a_map),
        Command("train", ["train", "toy.yaml"], [["ingest", "toy.yaml"]]),
        Command("retrain", ["train", "toy.yaml"], [["train", "toy.yaml"]], _train_longer),
        Command("forecast", ["forecast", "toy.yaml"], [["train", "toy.yaml"]]),
        Command(
            "overwrite", ["forecast", "toy.yaml", *_SHORTER], [["forecast", "toy.yaml"]]
        ),
        Command("export", ["export", "toy.yaml"], [["forecast", "toy.yaml"]]),
        Command(
            "map evaluate", ["evaluate", "soils.yaml"], [["ingest", "soils.yaml"]], catalog="soils"
        ),
        Command("map train", ["train", "soils.yaml"], [["ingest", "soils.yaml"]], catalog="soils"),
        Command("map", ["map", "soils.yaml"], [["train", "soils.yaml"]], catalog="soils"),
    )
}  # fmt: skip


@dataclass
class Tested:
    """What came of killing one command at several points.

    Parameters
    ----------
    points : int
        Changes of the file system that the command makes.
    killed : int
        Times it was killed and run again.
    failed, lost, different, litter, lies : list of str
        Points after which the second run failed, lacked a file, had another content,
        left a file too many; and those whose kill left a store that says it is complete
        and is not.
    """

    points: int
    killed: int = 0
    failed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)
    lies: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not (self.failed or self.lost or self.different or self.litter or self.lies)

    def __str__(self) -> str:
        found = ("failed", "lost", "different", "litter", "lies")
        counts = ", ".join(f"{len(getattr(self, name))} {name}" for name in found)
        return f"{self.points} changes, killed {self.killed} times: {counts}"


class Crashes:
    """A command, what it starts from, and what it leaves when nobody disturbs it."""

    def __init__(self, server: Server, folder: Path, command: Command):
        self.server, self.command = server, command
        self.base, self.work = folder / "base", folder / "work"
        for place in (self.base, self.work):
            shutil.rmtree(place, ignore_errors=True)
        self._reset()
        write_world(self.work, command.catalog)
        for words in command.before:
            end = server.run(self.work, *words)
            assert end.code == 0, end.said
        command.change(self.work)
        shutil.copytree(self.work, self.base)
        self._reset()
        end = self._run()
        assert end.code == 0, end.said
        self.points, self.wanted = end.points, tree(self.work)

    def kill(self, at: Sequence[tuple[int, bool]]) -> Tested:
        """Kill the command at points; ``True`` right after a file was opened."""
        tested = Tested(len(self.points))
        for number, torn in at:
            self._reset()
            killed = self._run(kill=number, torn=torn)
            point = f"{number}{' torn' if torn else ''} {self.points[number - 1]}"
            if self._lies():
                tested.lies.append(point)
            again = self._run()
            tested.killed += killed.code < 0
            if again.code != 0 or "Traceback" in again.said:
                tested.failed.append(f"{point}: {again.said}")
                continue
            found = tree(self.work)
            for name in sorted({*found, *self.wanted}):
                if name not in found:
                    tested.lost.append(f"{point}: {name}")
                elif name not in self.wanted:
                    tested.litter.append(f"{point}: {name}")
                elif found[name] != self.wanted[name]:
                    tested.different.append(f"{point}: {name}")
        return tested

    def every(self) -> list[tuple[int, bool]]:
        """List all points: before each change, and after each opening of a file."""
        numbered = list(enumerate(self.points, 1))
        torn = [(number, True) for number, point in numbered if point.startswith("open ")]
        return sorted([*((number, False) for number, _ in numbered), *torn])

    def _run(self, **how: Any) -> End:
        return self.server.run(self.work, *self.command.words, **how)

    def _reset(self) -> None:
        restore(self.work, self.base)

    def _lies(self) -> bool:
        """Whether a store says that it is complete and is neither the old nor the new one."""
        now, before = tree(self.work), tree(self.base)
        stores = {name.partition("/")[0] for name in self.wanted if ".zarr/" in name}
        for store in stores:
            meta = now.get(f"{store}/zarr.json") or b"{}"
            if json.loads(meta).get("attributes", {}).get("hmx_status") != "complete":
                continue
            if _below(now, store) not in (_below(before, store), _below(self.wanted, store)):
                return True
        return False


def _below(files: Tree, store: str) -> Tree:
    inside = (item for item in files.items() if item[0].startswith(f"{store}/"))
    return {name: data for name, data in inside if not name.endswith(".partial")}


def restore(work: Path, base: Path) -> None:
    """Make a folder what another one is; files at its top, which nothing changes, stay.

    A cube remembers the inodes of its rasters, so the rasters may not be copied anew.
    """
    work.mkdir(parents=True, exist_ok=True)
    wanted = {path.name for path in base.iterdir()} if base.exists() else set()
    for path in list(work.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in wanted:
            path.unlink()
    for name in wanted:
        if (base / name).is_dir():
            shutil.copytree(base / name, work / name)
        elif not (work / name).exists():
            shutil.copy2(base / name, work / name)


def write_world(folder: Path, catalog: str, *, epochs: int = 2) -> None:
    """Write rasters and a catalog, the same bytes each time."""
    if catalog == "toy":
        from tests.make.cubes import make_cube, write_catalog

        small = {"history": 2, "width": 4, "trunk": [1, 2], "context": [1, 3]}
        cube, fit = make_cube((48, 56), steps=4), {"epochs": epochs, "chip": 32}
        write_catalog(folder, cube, model=small, train=fit)
    else:
        from tests.make.soilworlds import write_map_catalog

        write_map_catalog(folder, train={"runs": 1, "epochs": 1})


def tree(folder: Path) -> Tree:
    """Every file and every empty folder below a folder, settled for comparing."""
    found: dict[str, bytes | None] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            found[name] = _settled(path)
        elif not any(path.iterdir()):
            found[f"{name}/"] = None
    return found


def _settled(path: Path) -> bytes:
    """Read a file without what differs between any two runs."""
    data = path.read_bytes()
    if path.name == "bundle.json" and data:  # one of a draft may be torn
        facts = json.loads(data)
        facts["training"].pop("seconds", None)
        return json.dumps(facts).encode()
    if path.name == "training.csv" and data:
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        return json.dumps([{**row, "wait_share": ""} for row in rows]).encode()
    return data
