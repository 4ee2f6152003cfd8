"""What can be chosen about a model, its training and a forecast.

One definition serves the Python call, the catalog and the command line, so a
wrong value gets the same words everywhere; :func:`parse` speaks them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from hmx.errors import BadArgument, HmxError, did_you_mean

Precision = Literal["float32", "bfloat16", "auto", "float64"]


class Options(BaseModel):
    """Frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


Count = Annotated[int, Field(ge=1, strict=True)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_as_list)]


class ModelOptions(Options):
    """The network.

    Parameters
    ----------
    history : int
        Past steps the model sees, the origin included.
    hidden : int
        Channels of each ConvLSTM layer.
    layers : int
        ConvLSTM layers.
    kernel : int
        Odd kernel size, px.
    dilation : tuple of int, optional
        Spacing of kernel taps, one per layer, px: reach for free. Default: 1 for
        the first layer and 4 for the others.
    """

    history: Count = 3
    hidden: Count = 16
    layers: Count = 2
    kernel: Count = 3
    dilation: tuple[Count, ...] | None = None

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError(f"a kernel has a centre, so its size is odd. Try {kernel + 1}.")
        return kernel

    def dilations(self) -> tuple[int, ...]:
        """Return one dilation per layer, px."""
        return self.dilation or (1, *(4,) * (self.layers - 1))

    @model_validator(mode="after")
    def _one_each(self) -> ModelOptions:
        if self.dilation is not None and len(self.dilation) != self.layers:
            raise ValueError(
                f"dilation={list(self.dilation)} has {len(self.dilation)} numbers for "
                f"layers={self.layers}, and each layer has one. Try {[1] * self.layers}."
            )
        return self


class TrainOptions(Options):
    """The fit.

    Parameters
    ----------
    h : int
        Leads trained for; leads without truth in the training years are skipped.
    epochs, steps : int
        Epochs at most, and optimizer steps in each.
    batch : int
        Chips per step.
    chip : int
        Side of a chip, px; the rim that the border could reach is not scored.
    lr, weight_decay, clip : float
        Peak learning rate and decay of AdamW, and the largest gradient norm.
    patience : int
        Epochs without a better validation score before stopping.
    validation, calibration : float
        Share of the spatial blocks kept for early stopping and for intervals.
    block : int
        Side of a spatial block, px.
    seed : int
        Decides initial weights, blocks and chips.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    strategy : str
        Lightning strategy, e.g. ``ddp``.
    devices, num_nodes : int
        Processes per node and nodes, for distributed training.
    """

    h: Count = 4
    epochs: Count = 20
    steps: Count = 12
    batch: Count = 4
    chip: Annotated[int, Field(ge=8)] = 96
    lr: Annotated[float, Field(gt=0)] = 4e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    clip: Annotated[float, Field(gt=0)] = 1.0
    patience: Count = 10
    validation: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    calibration: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    block: Annotated[int, Field(ge=8)] = 48
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"
    strategy: str = "auto"
    devices: Count = 1
    num_nodes: Count = 1


class ForecastOptions(Options):
    """A forecast.

    Parameters
    ----------
    h : int
        Leads to forecast.
    level : tuple of float
        Central prediction intervals, percent.
    quantiles : tuple of float
        Quantiles of the predictive distribution, between 0 and 1.
    tile : int, optional
        Side of a tile, the piece that one task computes, px. Default: decided from
        the device and the chunk.
    chunk : int, optional
        Side of an output chunk, px; a tile is a whole number of chunks, so that no
        two tasks share one. Default: 512, or a whole part of the tile.
    precision : str
        ``float32``, ``bfloat16``, ``auto`` or, for proofs, ``float64``.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    h: Count = 4
    level: Numbers = ()
    quantiles: Numbers = ()
    tile: Annotated[int, Field(ge=1)] | None = None
    chunk: Annotated[int, Field(ge=1)] | None = None
    precision: Precision = "float32"
    device: str = "auto"

    @field_validator("level")
    @classmethod
    def _percent(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < level < 100 for level in levels):
            raise ValueError("a level is a percentage between 0 and 100. Try 80.")
        return tuple(sorted(set(levels)))

    @field_validator("quantiles")
    @classmethod
    def _share(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < quantile < 1 for quantile in quantiles):
            raise ValueError("a quantile lies between 0 and 1. Try 0.5.")
        return tuple(sorted(set(quantiles)))

    @model_validator(mode="after")
    def _whole_chunks(self) -> ForecastOptions:
        if self.tile and self.chunk and self.tile % self.chunk:
            whole = self.chunk * max(1, round(self.tile / self.chunk))
            raise ValueError(
                f"tile={self.tile} is no whole number of chunks (chunk={self.chunk}), so two tasks "
                f"would share one. Try tile={whole}."
            )
        return self


class Fitting(TypedDict, total=False):
    """Keyword options of ``train`` beside its named ones; see the classes above."""

    hidden: int
    layers: int
    kernel: int
    dilation: Sequence[int]
    epochs: int
    steps: int
    batch: int
    chip: int
    lr: float
    weight_decay: float
    clip: float
    patience: int
    validation: float
    calibration: float
    block: int
    device: str
    strategy: str
    devices: int
    num_nodes: int


class Forecasting(TypedDict, total=False):
    """Keyword options of a planned or stored forecast; see :class:`ForecastOptions`."""

    level: Numbers | float
    quantiles: Numbers | float
    tile: int
    chunk: int
    precision: Precision
    device: str


def split_fitting(options: Mapping[str, Any]) -> tuple[ModelOptions, TrainOptions]:
    """Tell options of the network from options of the fit, and validate both.

    Parameters
    ----------
    options : mapping
        By field name.

    Raises
    ------
    BadArgument
        If one is unknown or impossible.
    """
    known = [*ModelOptions.model_fields, *TrainOptions.model_fields]
    for name in options:
        if name not in known:
            raise BadArgument(
                f"unknown option {name!r} (known: {', '.join(known)}).{did_you_mean(name, known)}"
            )
    network = {k: v for k, v in options.items() if k in ModelOptions.model_fields}
    fit = {k: v for k, v in options.items() if k in TrainOptions.model_fields}
    return parse(ModelOptions, network), parse(TrainOptions, fit)


Chosen = TypeVar("Chosen", bound=BaseModel)


def parse(
    kind: type[Chosen],
    values: Mapping[str, Any],
    *,
    file: str | None = None,
    error: type[HmxError] = BadArgument,
    context: Mapping[str, Any] | None = None,
) -> Chosen:
    """Validate options, or say what was given, the rule and what to type.

    Parameters
    ----------
    kind : type
        A pydantic model.
    values : mapping
        What the user gave.
    file : str, optional
        Name of the catalog the values stand in.
    error : type
        Which error to raise.
    context : mapping, optional
        For the model's validators.
    """
    try:
        return kind.model_validate(values, context=dict(context or {}))
    except ValidationError as problems:
        lines = [_say(kind, problem, file) for problem in problems.errors()]
        raise error("\n".join(dict.fromkeys(lines))) from None


_RULES = {
    "missing": "this key is required",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "string_type": "must be a text",
    "literal_error": "must be {expected}",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "too_few": "must have more entries",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
}


def _say(kind: type[BaseModel], problem: Any, file: str | None) -> str:
    """Turn one of pydantic's problems into a sentence of ours."""
    # neither places in lists nor "[...]", which names a branch of a union or a key
    at = [p for p in problem["loc"] if not isinstance(p, int) and not p.startswith("[")]
    where = f" in {file}" if file else ""
    if problem["type"] == "extra_forbidden":
        known = list(_at(kind, at[:-1]))
        path, near = ".".join(map(str, at)), did_you_mean(str(at[-1]), known)
        what = "key" if file else "option"
        return f"unknown {what} {path!r}{where} (known: {', '.join(known)}).{near}"
    what, given = problem["type"], problem["input"]
    if what == "missing" and isinstance(problem["loc"][-1], int):
        what = "too_few"
    rule = _RULES.get(what, problem["msg"].removeprefix("Value error, "))
    rule = rule.format(**problem.get("ctx", {})) if what in _RULES else rule
    section = what == "missing" or (what == "value_error" and isinstance(given, Mapping))
    shown = "" if section else _given(given, tight=not file)
    head = f"{'.'.join(map(str, at))}{shown}{where}".strip()
    end = "" if rule.endswith(("?", ".")) else "."
    return f"{head}: {rule}{end}" if head else f"{rule}{end}"


def _given(value: Any, *, tight: bool) -> str:
    shown = list(value) if isinstance(value, tuple) else value
    shown = shown[0] if isinstance(shown, list) and len(shown) == 1 else shown
    return f"={shown!r}" if tight else f" = {shown!r}"


def _at(kind: type[BaseModel], path: list[Any]) -> list[str]:
    """Field names of the model found by following ``path`` from ``kind``."""
    for name in path:
        inner = kind.model_fields.get(str(name))
        models = _models_in(inner.annotation) if inner else [kind]
        kind = models[0] if models else kind
    return list(kind.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]
