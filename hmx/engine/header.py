"""Header: what a ledger says of its job, which a stranger may have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from hmx.engine.ledger import Ledger
from hmx.errors import VerifyFailed
from hmx.files.paths import is_url
from hmx.settings import Options, parse
from hmx.windows import Span, Window

LAYOUT = ("tile", "chunk")
Chosen = TypeVar("Chosen", bound=Options)
Edge = Annotated[int, Field(ge=0, le=2**31, strict=True)]  # px


class Header(Options):
    """All it takes to run a job again, or to check it, as its ledger has it."""

    job: Literal["forecast", "map"]
    run: str
    facts: dict[str, Any]
    source: str
    bundle: str
    window: tuple[Edge, Edge, Edge, Edge]
    options: dict[str, Any]

    @classmethod
    def read(cls, raw: Mapping[str, Any], store: str, source: str | None) -> Header:
        """Read the header of a ledger.

        Parameters
        ----------
        raw : mapping
            JSON values.
        store : str
            Whose ledger it is.
        source : str, optional
            Cube that the user named: it takes the place of the ledger's, and may be a URL.

        Raises
        ------
        VerifyFailed
            If it is no header, or names a URL: nothing is fetched on the word of a ledger.
        """
        said = parse(cls, raw, error=VerifyFailed)
        said = said.model_copy(update={"source": source or said.source})
        for place in {said.source, said.bundle} - {source}:
            if is_url(place):
                raise VerifyFailed(
                    f"the ledger of {store} names {place}, and nothing is fetched because a "
                    "ledger says so. If you trust it, pass the catalog in place of the store, or "
                    "--source with the cube."
                )
        return said

    def part(self, shape: tuple[int, int], store: str) -> Window:
        """Return the window of the cube that was computed.

        Raises
        ------
        VerifyFailed
            If it lies outside of a cube of this shape.
        """
        top, bottom, left, right = self.window
        if not (top < bottom <= shape[0] and left < right <= shape[1]):
            raise VerifyFailed(
                f"the ledger of {store} names rows {top}-{bottom} and columns {left}-{right}, and "
                f"its cube has {shape[0]} x {shape[1]}. Make the store anew with --overwrite."
            )
        return Window(Span(top, bottom), Span(left, right))


def adopt(options: Chosen, store: str) -> Chosen:
    """Take what a user left open from a job that is to be gone on with.

    Parameters
    ----------
    options : ForecastOptions or MapOptions
        As the user gave them.
    store : str
        Path of the result's store.
    """
    before, given = Ledger(store).job().get("options"), options.model_dump()
    if not isinstance(before, dict):
        return options
    undecided = given["tile"] is None and given["chunk"] is None
    taken = {key: before[key] for key in LAYOUT if undecided and key in before}
    if given.get("precision") == "auto" and "precision" in before:
        taken["precision"] = before["precision"]
    try:
        return type(options).model_validate({**given, **taken})
    except ValidationError:  # of a ledger that somebody else has written: it decides nothing
        return options
