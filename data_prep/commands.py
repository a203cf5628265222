"""What the commands of data_prep share: paths, errors in one line, packing an archive at hand."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_prep import archives


def folder(text: str) -> Path:
    """A folder from the command line, so that messages name it whole."""
    return Path(os.path.expanduser(text)).absolute()


def run(name: str, work: Callable, interrupted: str = "nothing was kept") -> int:
    """Do `work(say)`; the exit status. What goes wrong, or Ctrl-C, is one line with this name."""
    if hasattr(sys.stdout, "reconfigure"):  # a path may hold what the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        work(lambda line: print(line, flush=True))
    except (OSError, ValueError) as error:
        wrong = str(error)
        if isinstance(error, OSError) and error.strerror:
            where = error.filename2 or error.filename or "the system says"
            wrong = f"{where}: {error.strerror}; put that right and give the same command again"
        print(f"data_prep.{name}: {wrong}", file=sys.stderr)
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


def _parser(name: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"data_prep.{name}", description=about)
    parser.add_argument("--out", type=folder, default="data", help="folder (default: data)")
    return parser


def draw_command(name: str, title: str, write_all: Callable, argv=None, **numbers: int) -> int:
    """Draw a set as `argv` asks, by `write_all(out, say=, **numbers)`; the exit status.

    Each of the numbers (how many, the seed) is an option, with this default.
    """
    parser = _parser(name, title)
    for number, default in numbers.items():
        parser.add_argument(f"--{number}", type=int, default=default, help=f"default: {default}")
    options = vars(parser.parse_args(argv))
    return run(name, lambda say: write_all(**options, say=say))


def pack_command(
    name: str, title: str, path_help: str, place: str, download: Callable, pack: Callable,
    argv: list[str] | None, size: tuple[int, int] = (0, 0), crop: archives.Box | None = None,
) -> int:  # fmt: skip
    """Check and pack an archive as `argv` asks; the exit status. `place`: what `download` fetches.

    `download(path, say=)` and `pack(path, out, say=)` raise OSError or ValueError. With `crop`, the
    box that is cut from images of this `size`, `pack` also takes `crop` and `processes`.
    """
    parser = _parser(name, f"Check and pack {title}.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--path", type=folder, help=path_help)
    fetch = f"fetch it into OUT/{place} first, continuing if interrupted"
    which.add_argument("--download", action="store_true", help=fetch)
    if crop:
        box, what = ",".join(map(str, crop)), "left,top,right,bottom (default: %(default)s)"
        parser.add_argument("--crop", default=box, help=what)
        at_a_time = "how many images are packed at a time (default: one a core)"
        parser.add_argument("--processes", type=int, help=at_a_time)
    given = parser.parse_args(argv)

    def work(say) -> None:
        options = {}
        if crop:
            options = {"crop": archives.crop_box(given.crop, size), "processes": given.processes}
            if given.processes is not None and given.processes < 1:
                raise ValueError(f"--processes must be 1 or more, not {given.processes}")
        path = given.path or given.out / place
        if given.download:
            download(path, say=say)
        pack(path, given.out, say=say, **options)

    return run(name, work, "the same command goes on from what is packed or downloaded")
