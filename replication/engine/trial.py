"""Which way of training works on this device, and how fast: a few steps of two models each way.

    python -m replication.engine.trial                  # at the paper's size, on the GPU if any
    python -m replication.engine.trial --profile quick --device cpu

Each way is held to train.train on the same device. No data are needed: the images are drawn here.
"""

from replication import lifeline  # noqa: F401  # isort: skip  (first: it holds us to our starter)

import argparse
import dataclasses
import functools
import gc
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parameters_to_vector

from dipvae_src.data import SIDE, Packed
from dipvae_src.models import VAE
from dipvae_src.settings import Settings
from dipvae_src.train import model_of, train
from replication import machine, profiles
from replication.engine.stack import Run, Stack, first_line, shape_of

# The ways of training, slowest first: options of Stack; "single" is train.train, one by one.
WAYS = {
    "single": {},
    "stack": {},
    "compiled": {"compiled": True},
    "captured": {"compiled": True, "graphed": True, "precision": "bf16"},
}
STEPS = 12  # that are compared; a CUDA graph is captured before the fourth of them
SECONDS = 2.0  # of each way's timing after that; one step at least
# A way agrees where its weights differ from those of train.train by no more than this share of the
# largest move of a weight, on average. Measured on a CPU at widths 256 and 1200, learning rates
# 1e-3 and 1e-4: rounding, which Adam amplifies where gradients are tiny, makes up to 2e-3 in
# float32 and 2e-2 with bf16 products; weights of the penalty that are wrong by half 5e-2 to 9e-2.
TOLERANCES = {"float32": 4e-3, "bf16": 3e-2}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a way of training came to: seconds of a model's step, or why it fell out."""

    way: str
    seconds: float = 0.0
    fell_out: str = ""

    def __str__(self) -> str:
        if self.fell_out:
            return f"  {self.way:<9} fell out: {self.fell_out}"
        return f"  {self.way:<9} {1e3 * self.seconds:.3g} ms a model step"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the device or of the machine, as PyTorch tells it."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, kinds) or any(word in str(error).lower() for word in words)


def drawn(device: torch.device, images: int, colour: bool = False) -> Packed:
    """Bright boxes on black, packed as a data set of 2D Shapes or of colour images is."""
    rng, sides = np.random.default_rng(0), np.arange(SIDE)
    low = rng.integers(0, SIDE // 2, (2, images, 1))
    inside = (sides >= low) & (sides < low + rng.integers(4, SIDE // 2, low.shape))  # (2, N, 64)
    pixels = (inside[0, :, :, None] & inside[1, :, None, :]).reshape(images, -1)  # (N, 4096)
    packed = np.tile(pixels, 3) * np.uint8(255) if colour else np.packbits(pixels, axis=1)
    table = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    return Packed(
        name="boxes", source="stand-in", identity="", factor_names=("a",), factor_sizes=(images,),
        discrete=(False,), bits=torch.from_numpy(packed).to(device),
        table=None if colour else torch.from_numpy(table).float().to(device),
    )  # fmt: skip


def pace_of_single(run: Run, data: Packed) -> tuple[float, VAE]:
    """Seconds of a step of train.train, the first ones left out, and the model after all."""
    marks = []
    model, _ = train(*run, data, lambda *_: marks.append(time.perf_counter()))
    return (time.perf_counter() - marks[3]) / (len(marks) - 4), model


@functools.cache
def seconds_per_step(shape: Settings, device: torch.device) -> float:
    """Of the plain loop, measured here in seconds, with the one CPU thread that a run has."""
    if device.type == "cpu":
        torch.set_num_threads(1)
    colour = shape.network != "fc"
    data = drawn(device, 2 * shape.batch_size, colour)
    return pace_of_single((dataclasses.replace(shape, steps=12 if colour else 24), 0), data)[0]


def try_stack(way: str, pair: list[Run], references: Iterable[VAE], data: Packed) -> Outcome:
    """Train `pair` at once this way and hold it to the references; raises whatever fails in it."""
    endless = [(dataclasses.replace(settings, steps=10**6), seed) for settings, seed in pair]
    stack = Stack(endless, data, log=lambda _: None, **WAYS[way])
    stack.train(until=STEPS)
    tolerance = TOLERANCES[stack.precision]
    for m, (run, reference) in enumerate(zip(pair, references)):
        models = (stack.model(m), reference, model_of(*run, data))
        own, end, start = (parameters_to_vector(made.cpu().parameters()) for made in models)
        off = ((own - end).abs().mean() / (end - start).abs().max()).item()
        if not off <= tolerance:  # nor where it is NaN
            return Outcome(way, fell_out=f"does not agree: off by {off:.1e}, allowed {tolerance}")
    begun = stack.seconds
    stack.train(lambda: stack.seconds - begun > SECONDS)
    return Outcome(way, (stack.seconds - begun) / (stack.step - STEPS) / len(pair))


def try_ways(
    settings: Settings, device: torch.device, tell: Callable[[Outcome], None]
) -> list[Outcome]:
    """Try every way at the size of `settings`, slowest first, and tell of each as it ends."""
    shape = dataclasses.replace(shape_of(settings), steps=STEPS, lambda_od=10.0, lambda_d=10.0)
    pair = [
        (dataclasses.replace(shape, objective="dip-vae-i"), 0),
        (dataclasses.replace(shape, objective="dip-vae-ii", lambda_3=200.0), 1),
    ]
    outcomes, references = [], ()  # the models of the plain loop, which other ways are held to
    for way in WAYS:
        try:
            data = drawn(device, 4 * settings.batch_size)
            if way == "single":
                paces, references = zip(*(pace_of_single(run, data) for run in pair))
                outcome = Outcome(way, min(paces))
            elif references:
                outcome = try_stack(way, pair, references, data)
            else:
                outcome = Outcome(way, fell_out="the plain loop, to which it is held, failed")
        except Exception as error:  # whatever a driver or a compiler may raise; MemoryError
            short = is_out_of_memory(error)
            outcome = Outcome(way, 0.0, "not enough memory" if short else first_line(error))
        free_memory()
        outcomes.append(outcome)
        tell(outcome)
    return outcomes


def free_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def fastest(outcomes: Iterable[Outcome]) -> Outcome:
    """Of the ways that agree; one by one where there is none."""
    agreeing = [outcome for outcome in outcomes if not outcome.fell_out]
    return min(agreeing, key=lambda outcome: outcome.seconds, default=Outcome("single"))


@functools.cache
def try_once(shape: Settings, device: torch.device, log: Callable[[str], None]) -> Outcome:
    """The fastest way that agrees at the size of `shape`; tried once in a process."""
    log(f"Trying {machine.name_of(device)}, two models each way, for a minute or two:")
    return fastest(try_ways(shape, device, lambda outcome: log(str(outcome))))


def read(path: Path) -> list[Outcome]:
    """What a trial in a process of its own found, as far as it came."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [Outcome(**json.loads(line)) for line in lines]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="paper", help="whose 2D Shapes size is tried")
    parser.add_argument("--device", help="cpu or cuda; the GPU where there is one unless told")
    parser.add_argument("--out", type=Path, help="also write a line of JSON for each way")
    args = parser.parse_args(arguments)
    try:
        device, settings = machine.device_of(args.device), profiles.plan(args.profile)[0][0]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    def tell(outcome: Outcome) -> None:
        print(outcome, flush=True)
        if args.out:
            with open(args.out, "a", encoding="utf-8") as file:
                print(json.dumps(dataclasses.asdict(outcome)), file=file)

    torch.set_num_threads(1)
    width, batch = settings.width, settings.batch_size
    print(f"{machine.name_of(device)}: width {width}, batch {batch}, two models", flush=True)
    found = fastest(try_ways(settings, device, tell))
    print(f"taken: {found.way}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
