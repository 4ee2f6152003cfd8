"""Options of training on a command line."""

from __future__ import annotations

import argparse
import ast
from typing import Any


def setting(text: str) -> tuple[str, Any]:
    """Split KEY=VALUE; the value is a Python literal or else plain text."""
    key, sign, value = text.partition("=")
    if not sign or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE. Try --train epochs=5.")
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value
