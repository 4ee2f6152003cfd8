"""What can be chosen about a mapper, its training and a map."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from hmx.parsing import Count, Numbers, Options

Loss = Literal["l1", "mse", "composite_l1", "composite_l2", "huber", "quantile"]
TargetTransform = Literal["none", "log", "log1p", "normalize"]


class MapperOptions(Options):
    """The network.

    Parameters
    ----------
    arch : {"cnn_lstm", "refitted_covlstm"}
        Convolutions for each step, then an LSTM over the steps.
    window : int
        Odd side of the window around a point, px.
    history : int, optional
        Steps the network sees, the last of them that of the sample. Default: all of
        a climatology, 5 of a calendar.
    widths : tuple of int
        Channels of the convolutions.
    hidden, layers : int
        Channels and layers of the LSTM.
    bidirectional : bool
        Whether the LSTM reads the steps both ways.
    attention : tuple of {"temporal", "spatial"}
        What is weighed by attention.
    pool : tuple of int
        After which convolutions (1, 2 ...) features are pooled by 2; for wide windows.
    coarse : tuple of int
        Half-widths, px, of squares whose means the network is shown beside each pixel.
    skip : bool
        Whether a linear function of the centre pixel's values is added.
    dropout : float
        Share of features dropped in training.
    knots : tuple of float
        Probabilities of a quantile head; empty for one number.
    """

    arch: Literal["cnn_lstm", "refitted_covlstm"] = "cnn_lstm"
    window: Count = 5
    history: Count | None = None
    widths: tuple[Count, ...] = (24, 48)
    hidden: Count = 48
    layers: Count = 1
    bidirectional: bool = False
    attention: tuple[Literal["temporal", "spatial"], ...] = ()
    pool: tuple[Count, ...] = ()
    coarse: tuple[Count, ...] = ()
    skip: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    knots: Numbers = ()

    @field_validator("window")
    @classmethod
    def _odd(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError(f"a window has a centre, so its side is odd. Try {window + 1}.")
        return window
