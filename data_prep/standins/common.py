"""What the two drawn sets share: how their numbers are checked, and their command line."""

import argparse
from collections.abc import Callable

import numpy as np

from data_prep.commands import folder, run


def whole_number(value, what: str, least: int, most: int | None = None) -> int:
    """`value` as an int; ValueError, naming `what`, unless whole and from `least` to `most`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        bounds = f"not below {least}" if most is None else f"from {least} to {most:,}"
        raise ValueError(f"{what} must be a whole number {bounds}, found {value!r}")
    return int(value)


def command(name: str, title: str, write_all: Callable, counted: str, count: int, argv=None) -> int:
    """Draw a set as `argv` asks, by `write_all(out, COUNTED, seed, say)`; the exit status."""
    parser = argparse.ArgumentParser(prog=f"data_prep.standins.{name}", description=title)
    parser.add_argument("--out", type=folder, default="data", help="folder (default: data)")
    parser.add_argument(
        f"--{counted}", type=int, default=count, help="how many (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    options = vars(parser.parse_args(argv))
    return run(f"standins.{name}", lambda say: write_all(**options, say=say))
