"""Remote models: ``wandb:entity/project/name:v3`` wherever a folder of a model is.

The files of an artifact are kept in the user's cache (``HMX_CACHE``, default
``~/.cache/hmx``) under ``models/entity/project/name/v3``. A version never
changes, so one that is there is used without asking anyone; an alias such as
``latest`` is asked for each time which version it means.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmx.errors import BundleError
from hmx.files.paths import absolute

SCHEME = "wandb:"
_DESCRIPTION = "bundle.json"
_WORD = r"[A-Za-z0-9][A-Za-z0-9_.\-]*"
_REFERENCE = re.compile(rf"wandb:({_WORD})/({_WORD})/({_WORD}):({_WORD})")
_EXAMPLE = "'wandb:entity/project/name:v3'"
_PATIENCE = 20  # seconds until a server that does not answer is given up


@dataclass(frozen=True)
class Reference:
    """Name an artifact of Weights & Biases."""

    entity: str  # whose, where and what
    project: str
    name: str
    version: str  # ``v0``, ``v1`` ... or an alias such as ``latest``

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference such as ``wandb:entity/project/name:v3``."""
        found = _REFERENCE.fullmatch(text)
        if found is None:
            lacks = text.count("/") == 2 and ":" not in text.removeprefix(SCHEME)
            hint = f"Add a version: {text + ':latest'!r}." if lacks else f"Write {_EXAMPLE}."
            raise BundleError(
                f"{text!r} names no model: a model at Weights & Biases is "
                "wandb:ENTITY/PROJECT/NAME:VERSION, of letters, digits, '-', '_' and '.', and the "
                f"version is v0, v1 ... or an alias such as latest. {hint}"
            )
        return cls(*found.groups())

    def __str__(self) -> str:
        return f"{SCHEME}{self.path}"

    @property
    def path(self) -> str:
        """The reference as Weights & Biases writes it."""
        return f"{self.entity}/{self.project}/{self.name}:{self.version}"

    @property
    def is_exact(self) -> bool:
        """Return True if it is a version, which never changes, and no alias."""
        return re.fullmatch(r"v\d+", self.version) is not None

    def folder(self, version: str) -> Path:
        """Return where a version of it is kept; it may not be there yet."""
        return cache_folder() / "models" / self.entity / self.project / self.name / version


def cache_folder() -> Path:
    """Return the folder of hmx's cache; it may not exist yet."""
    return Path(absolute(os.environ.get("HMX_CACHE") or "~/.cache/hmx"))


def is_remote(path: str | Path) -> bool:
    """Return True if a path is a reference to a model elsewhere."""
    return str(path).startswith(SCHEME)


def local_folder(path: str | Path) -> Path:
    """Return the folder of a model, fetched first if it is elsewhere."""
    if not is_remote(path):
        return Path(absolute(path))
    reference = Reference.parse(str(path))
    kept = reference.folder(reference.version)
    # Without a request: nodes of a cluster often have no network.
    if reference.is_exact and (kept / _DESCRIPTION).is_file():
        return kept
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # no spinner, and no prompt for a key
            return _fetch(reference)
    except BundleError:
        raise
    except Exception as error:  # the client raises what its libraries raise
        raise BundleError(_explain(reference, error)) from None


def _fetch(reference: Reference) -> Path:
    """Ask the server which version is meant, and download it unless it is kept."""
    # Imported here: wandb takes seconds to load, and most models are folders of this machine.
    import wandb

    artifact = wandb.Api(timeout=_PATIENCE).artifact(reference.path)
    kept = reference.folder(str(artifact.version))
    if not (kept / _DESCRIPTION).is_file():
        _download(artifact, reference, kept)
    return kept


def _download(artifact: Any, reference: Reference, kept: Path) -> None:
    """Fetch the files next to their target, check them and move them there at once."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that the rename stays on one file system and is atomic.
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=kept.parent) as folder:
        draft = Path(folder, "model")
        artifact.download(root=str(draft), skip_cache=True)
        artifact.verify(str(draft))  # checksums: files in the cache are not checked again
        if not (draft / _DESCRIPTION).is_file():
            raise BundleError(
                f"{reference} is an artifact of type {artifact.type!r} without {_DESCRIPTION}, so "
                "it is not a model of hmx. Name one that hmx train logged with "
                "track: {wandb: online}."
            )
        try:
            draft.rename(kept)
        except OSError:
            if not (kept / _DESCRIPTION).is_file():  # else another process was faster
                shutil.rmtree(kept, ignore_errors=True)
                draft.rename(kept)


def _explain(reference: Reference, error: Exception) -> str:
    """Describe why a model cannot be had, and what to type."""
    # The client has one class for most faults, so only its text distinguishes them.
    why = " ".join(str(error).split())[:200] or type(error).__name__
    text = why.lower()
    if any(word in text for word in ("api key", "logged in", "no authentication")):
        return (
            f"{reference} needs a login at Weights & Biases, and there is none that works "
            f"({why}). Type wandb login, or set WANDB_API_KEY."
        )
    if "not found" in text:
        return (
            f"{reference} is not at Weights & Biases, or not for you to read ({why}). "
            "Copy the full name from the artifact's page and write wandb: before it."
        )
    return (
        f"{reference} cannot be fetched from Weights & Biases now ({why}). Try again where there "
        "is a network; a version that was fetched once, such as v3, is kept and needs none."
    )
