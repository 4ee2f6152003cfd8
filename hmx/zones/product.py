"""Product: a table of zones on disk, the record that it is current, and its unfinished tiles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from hmx.errors import BadArgument, OutputExists
from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.files.paths import is_url
from hmx.provenance import provenance
from hmx.zones.files import save_zones, suffix_of


@dataclass(frozen=True)
class ZonesProduct:
    """A table of zones.

    Beside it lies ``NAME.provenance.json``, which names how it came about and the hash of each
    file, and while it is made a folder ``NAME.work``.
    """

    path: str  # .csv, .gpkg or .md
    zones: str | Path  # the layer

    @property
    def work(self) -> str:
        """Folder of an unfinished table."""
        return f"{self.path}.work"

    @property
    def parts(self) -> str:
        """Folder of the counts of finished tiles."""
        return f"{self.work}/tiles"

    @property
    def record(self) -> Path:
        """File of the record."""
        return Path(f"{self.path}.provenance.json")

    def require_free(self, *, overwrite: bool) -> None:
        """Raise if the path holds something that hmx did not record, or cannot be written."""
        suffix_of(self.path)
        if is_url(self.path):
            raise BadArgument(
                f"{self.path} is a URL, and a table of zones is written on this machine. Choose a "
                "path here and copy the file."
            )
        if Path(self.path).exists() and not self._recorded() and not overwrite:
            raise OutputExists(
                f"{self.path} exists and has no record of hmx beside it. Choose another --output, "
                "or pass --overwrite to replace it."
            )

    def is_current(self, facts: Mapping[str, object]) -> bool:
        """Return True if the table came about in this way and its files are whole."""
        recorded = self._recorded()
        files = recorded.get("files", {})
        return recorded.get("made") == provenance(**facts) and all(
            _hash(Path(self.path).parent / name) == digest for name, digest in files.items()
        )

    def write(
        self, table: xr.Dataset, facts: Mapping[str, object], *, id: str | None, overwrite: bool
    ) -> None:
        """Write the table and its record, and remove what was unfinished."""
        known = bool(self._recorded())
        written = save_zones(
            table, self.path, zones=self.zones, id=id, overwrite=overwrite or known
        )
        files = {path.name: _hash(path) for path in written}
        text = as_json({"made": provenance(**facts), "files": files}, indent=2)
        Folder(str(self.record.parent)).write(self.record.name, text.encode())
        self.clean()

    def clean(self) -> None:
        """Remove what belongs to an unfinished table."""
        Folder(self.work).remove()

    def _recorded(self) -> dict[str, Any]:
        try:
            found = json.loads(self.record.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and found.get("files") else {}


def _hash(path: Path) -> str | None:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return None
