"""Saved split: a split as JSON values with its digest, and checked when it is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from hmx.errors import BadArgument
from hmx.provenance import fingerprint


class SavedSplit(ABC):
    """What can be written as JSON values and read again, or refused if it was changed."""

    WORD: ClassVar[str]  # in messages

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return all that decides roles, in JSON values."""

    @classmethod
    @abstractmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Self:
        """Build from the values of :meth:`facts`; any exception means that they do not fit."""

    @property
    def digest(self) -> str:
        """Hash of all that decides roles, the same on every machine."""
        return fingerprint(self.facts())

    def as_dict(self) -> dict[str, Any]:
        """Return the facts and their digest in JSON values."""
        return {**self.facts(), "digest": self.digest}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_dict` has written, or refuse it if it was changed since."""
        try:
            found, digest = cls.of_facts(saved), str(saved["digest"])
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise BadArgument(
                f"cannot read the {cls.WORD} ({type(error).__name__}: {error}). "
                "Pass what as_dict() gave, or split again."
            ) from None
        if found.digest != digest:
            raise BadArgument(
                f"the {cls.WORD} saved as {digest} reads as {found.digest}, so it was changed "
                "since. Restore the file, or split again."
            )
        return found
