"""Measure how fast Muon learns beside AdamW: the loss on validation blocks, epoch by epoch.

Run from the root of the project::

    python -m tests.bench.optimizers --data demo
    python -m tests.bench.optimizers --data amapa --epochs 20 --steps 13 25

Both train the same network on the same chips, with the default recipe, and no fit ends early. The
loss is the CRPS relative to persistence. AdamW moves all layers at the rate of the head, as it did
in earlier releases; with ``--rates`` at other ones too. Seconds are of CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from hmx.forecast.options import split_fitting
from hmx.forecast.train import module
from hmx.forecast.train.recipe import TrainSetup
from hmx.forecast.train.train import train
from hmx.training.muon import Muon
from tests.bench.cases import CASES, load


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each optimizer and number of steps."""
    args = parse(argv)
    case = CASES[args.data]
    ds = load(case)
    for steps in args.steps:
        for name, optimizer in optimizers(args.rates):
            losses: list[float] = []
            options = {"history": case.history, "h": len(case.leads), "until": case.origin,
                       "epochs": args.epochs, "patience": args.epochs, "steps": steps,
                       "final": False, "seed": args.seed}  # fmt: skip
            recipe = TrainSetup("hm", (), ("elevation",), *split_fitting(options))
            start = time.process_time()
            with mock.patch.object(module, "Muon", optimizer), watched(losses):
                train(ds, recipe)
            used = time.process_time() - start
            curve = " ".join(f"{loss:.3f}" for loss in losses)
            print(f"{name:14} {steps:3d} steps an epoch, {used:5.0f} s: {curve}")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", choices=sorted(CASES), default="demo")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, nargs="+", default=[13], help="of an epoch")
    parser.add_argument("--rates", type=float, nargs="+", default=[1.0], help="of AdamW, relative")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def optimizers(rates: Sequence[float]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the optimizers by name, each a function with the arguments of Muon."""
    yield "Muon", Muon
    for rate in rates:

        def adamw(layers: Any, others: Any, *, lr: float, faster: float, rate: float = rate,
                  weight_decay: float) -> torch.optim.Optimizer:  # fmt: skip
            del faster  # of Muon alone
            groups = [{"params": list(layers)}, *others]
            return torch.optim.AdamW(groups, lr=rate * lr, weight_decay=weight_decay)

        yield f"AdamW x {rate:g}", adamw


@contextmanager
def watched(losses: list[float]) -> Iterator[None]:
    """Note the loss on the validation blocks after each epoch."""
    ended = module.Fit.on_validation_epoch_end

    def note(fit: module.Fit) -> None:
        losses.append(fit.judge.loss())
        ended(fit)

    with mock.patch.object(module.Fit, "on_validation_epoch_end", note):
        yield


if __name__ == "__main__":
    raise SystemExit(main())
