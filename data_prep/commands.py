"""The command line that celeba.py and chairs.py share: where the archive is, or that it be fetched; the crop; how many pack at a time."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_prep import archives


def folder(text: str) -> Path:
    """A folder from the command line, so that messages name it whole."""
    return Path(text).expanduser().absolute()


def run(name: str, work: Callable, interrupted: str = "nothing was kept") -> int:
    """Do `work(say)`; the exit status. What goes wrong, or Ctrl-C, is one line with this name."""
    try:
        work(lambda line: print(line, flush=True))
    except (OSError, ValueError) as error:
        print(f"data_prep.{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"data_prep.{name}: interrupted; {interrupted}", file=sys.stderr)
        return 130
    return 0


def whole_number(value, what: str, least: int, most: int | None = None) -> int:
    """`value` as an int; ValueError, naming `what`, unless whole and from `least` to `most`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        bounds = f"not below {least}" if most is None else f"from {least} to {most:,}"
        raise ValueError(f"{what} must be a whole number {bounds}, found {value!r}")
    return int(value)


def draw_command(name: str, title: str, write_all: Callable, argv=None, **numbers: int) -> int:
    """Draw a set as `argv` asks, by `write_all(out, say=, **numbers)`; the exit status.

    Each of the numbers (how many, the seed) is an option, with this default.
    """
    parser = argparse.ArgumentParser(prog=f"data_prep.{name}", description=title)
    parser.add_argument("--out", type=folder, default="data", help="folder (default: data)")
    for number, default in numbers.items():
        parser.add_argument(f"--{number}", type=int, default=default, help=f"default: {default}")
    options = vars(parser.parse_args(argv))
    return run(name, lambda say: write_all(**options, say=say))


def pack_command(
    name: str, title: str, path_help: str, place: str, size: tuple[int, int], crop: tuple[int, int, int, int],
    download: Callable, pack: Callable, argv: list[str] | None,
) -> int:  # fmt: skip
    """Check and pack an archive as `argv` asks; the exit status. `place`: what `download` fetches, under --out.

    `download(path, say=)` and `pack(path, out, crop, processes, say=)` raise OSError or ValueError, shown in one line.
    """
    parser = argparse.ArgumentParser(
        prog=f"data_prep.{name}", description=f"Check and pack {title}."
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--path", type=Path, help=path_help)
    which.add_argument(
        "--download",
        action="store_true",
        help=f"fetch it into OUT/{place} first, continuing if interrupted",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("data"), help="folder to write to (default: data)"
    )
    parser.add_argument(
        "--crop",
        default=",".join(map(str, crop)),
        help="left,top,right,bottom in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--processes", type=int, help="how many pack at a time (default: one a core)"
    )
    arguments = parser.parse_args(argv)

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        box = archives.crop_box(arguments.crop, size)
        if arguments.processes is not None and arguments.processes < 1:
            raise ValueError(f"--processes must be 1 or more, not {arguments.processes}")
        if arguments.download:
            download(arguments.out / place, say=say)
        pack(
            arguments.path or arguments.out / place,
            arguments.out,
            box,
            arguments.processes,
            say=say,
        )
    except (OSError, ValueError) as error:
        print(f"data_prep.{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"data_prep.{name}: interrupted; the same command goes on from what is packed or downloaded",
            file=sys.stderr,
        )
        return 130
    return 0
