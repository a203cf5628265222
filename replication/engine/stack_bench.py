"""Model steps a second: the plain loop against stacks of models, and both against the floor of this machine.

    python -m replication.engine.stack_bench --profile paper --stack 1 8 16 24       # a GPU: some minutes
    python -m replication.engine.stack_bench --profile quick --stack 1 4 --seconds 5 --rounds 3

The floor is the larger of two times: the operations of the products over the rate of one large product, and the bytes that have to
pass through memory over the rate of one large copy, both measured here first. Ways take turns; shown is the median of the rounds.
Before anything is timed, each way makes a few steps from the same seed as the plain loop, and its curve's largest deviation is shown.
"""

import argparse
import dataclasses
import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from dipvae_src import data as packed
from dipvae_src import models
from dipvae_src.settings import Settings
from dipvae_src.train import train
from replication import profiles, results
from replication.engine.stack import WARM_UP, Stack, shape_of
from replication.machine import device_of
from replication.scores import rounded

CHECKED_STEPS = 40


def cost(settings: Settings, precision: str) -> tuple[int, int]:
    """Floating-point operations of the products of one model's step, and the bytes that it has to move at the least.

    Products: forward, gradients of the weights, gradients of the inputs of all layers but the first, 2 B in out each. Bytes a
    parameter: Adam reads and writes the weight and two moments in float32 (24); gradients are written and read, weights are read by
    the forward and the backward products (float32: 8 + 8; bf16: 4 + 4, and 2 to write the copy). Activations are not counted: those
    of one layer fit into the cache.
    """
    linear = [
        m
        for m in models.fc_vae(settings.latents, settings.width).modules()
        if isinstance(m, torch.nn.Linear)
    ]
    sizes, parameters = (
        [m.weight.numel() for m in linear],
        sum(p.numel() for m in linear for p in m.parameters()),
    )
    return 2 * settings.batch_size * (3 * sum(sizes) - sizes[0]), parameters * (
        34 if precision == "bf16" else 40
    )


def timed(work: Callable[[], None], device: torch.device, repeats: int) -> float:
    """Seconds of one call, the mean of some after a warm-up."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for _ in range(2):
        work()
    wait()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    wait()
    return (time.perf_counter() - began) / repeats


def rates(device: torch.device, precision: str) -> tuple[float, float]:
    """Operations a second of a large product of random numbers, bytes a second (read and written) of a large copy."""
    cuda = device.type == "cuda"
    n, words = (8192, 1 << 29) if cuda else (1024, 1 << 25)
    if cuda:
        torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    a, b = (
        torch.randn(n, n, device=device).to(
            torch.bfloat16 if precision == "bf16" else torch.float32
        )
        for _ in range(2)
    )
    source, target = torch.rand(words, device=device), torch.empty(words, device=device)
    return 2 * n**3 / timed(lambda: a @ b, device, 10), 8 * words / timed(
        lambda: target.copy_(source), device, 5
    )


class Enough(Exception):
    """Ends a plain training that has been measured."""


def plain_rate(settings: Settings, data: packed.Packed, seconds: float) -> float:
    """Steps a second of train.train."""
    wait = torch.cuda.synchronize if data.bits.is_cuda else lambda: None
    marks = []

    def progress(step: int, steps: int) -> None:
        if step <= WARM_UP:
            wait()
            marks[:] = [time.perf_counter()]
        elif time.perf_counter() - marks[0] > seconds:
            wait()
            raise Enough((step - WARM_UP) / (time.perf_counter() - marks[0]))

    try:
        train(settings, 0, data, progress)
    except Enough as enough:
        return enough.args[0]
    raise ValueError(f"{settings.steps} steps are over before {seconds} s; give more steps")


def stack_rate(stack: Stack, seconds: float) -> float:
    """Model steps a second of a stack that has made its first steps (compiling, capturing)."""
    step, before = stack.step, stack.seconds
    stack.train(lambda: stack.seconds - before > seconds)
    return len(stack.runs) * (stack.step - step) / (stack.seconds - before)


def runs_like(settings: Settings, count: int) -> list[tuple[Settings, int]]:
    """`settings` with seed 0 first, then models of the paper's three objectives in turn."""
    plain = shape_of(settings)
    kinds = (
        settings,
        dataclasses.replace(plain, objective="dip-vae-i", lambda_od=10.0, lambda_d=100.0),
        plain,
    )
    return [(kinds[m % 3], m // 3) for m in range(count)]


def deviation(stack: Stack, plain: list[dict]) -> float:
    """The largest relative deviation of the first model's reconstruction, in its first steps, from the plain loop's."""
    usual, stack.window = stack.window, 1
    stack.train(until=CHECKED_STEPS)
    stack.window = usual
    return max(
        abs(a["reconstruction"] / b["reconstruction"] - 1)
        for a, b in zip(stack.history[0], plain, strict=True)
    )


def ways(device: torch.device, sizes: list[int]) -> list[tuple[int, dict]]:
    """Number of models and options of each way: on a GPU the best for every size, and for the largest what each step to it gave."""
    if device.type == "cpu":
        return [(count, {}) for count in sizes]
    steps = [
        {},
        {"graphed": True},
        {"precision": "tf32", "graphed": True},
        {"precision": "tf32", "compiled": True, "graphed": True},
    ]
    best = {"precision": "bf16", "compiled": True, "graphed": True}
    return [(sizes[-1], options) for options in steps] + [(count, best) for count in sizes]


def measure(
    settings: Settings, data: packed.Packed, sizes: list[int], seconds: float, rounds: int
) -> list[dict]:
    """One row for the plain loop and one for each way, printed as they are measured."""
    device, rows, floors = data.bits.device, [], {}
    cuda = device.type == "cuda"
    _, curve = train(dataclasses.replace(settings, steps=CHECKED_STEPS), 0, data)
    endless = dataclasses.replace(settings, steps=10**7)
    for precision in ("float32", "tf32", "bf16") if cuda else ("float32",):
        (flops, moved), (flop_rate, byte_rate) = cost(settings, precision), rates(device, precision)
        floors[precision] = max(flops / flop_rate, moved / byte_rate)
        bound = "memory" if moved / byte_rate > flops / flop_rate else "arithmetic"
        print(
            f"{precision}: product {flop_rate / 1e12:.3g} TFLOP/s, copy {byte_rate / 1e12:.3g} TB/s; {flops / 1e9:.3g} GFLOP and"
        )
        print(
            f"  {moved / 1e6:,.0f} MB a model step take {1e3 * flops / flop_rate:.3g} and {1e3 * moved / byte_rate:.3g} ms: {bound} bounds it"
        )
    torch.set_float32_matmul_precision("highest")  # as train.train has it
    print(
        f"{'way':<52}{'model steps/s':>14}{'ms':>9}{'/ plain':>9}{'/ floor':>9}{'deviation':>11}{'GiB':>6}",
        flush=True,
    )

    def show(
        way: str, found: list[float], against: list[float], floor: float, off: float, memory: float
    ) -> None:
        rate, ratio = median(found), median(a / b for a, b in zip(found, against))
        row = {
            "way": way,
            "model_steps_per_second": rate,
            "of_plain": ratio,
            "of_floor": 1 / rate / floor,
            "deviation": off,
        }
        rows.append(
            {k: v if isinstance(v, str) else rounded(v, 4) for k, v in row.items()}
            | {"peak_gib": rounded(memory, 4)}
        )
        print(
            f"{way:<52}{rate:>14,.4g}{1e3 / rate:>9.3g}{ratio:>9.3g}{1 / rate / floor:>9.3g}{off:>11.1e}{memory:>6.1f}",
            flush=True,
        )

    against = [plain_rate(endless, data, seconds) for _ in range(rounds)]
    show("plain loop, one model", against, against, floors["float32"], 0.0, 0.0)
    for count, options in ways(device, sizes):
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        stack = Stack(runs_like(endless, count), data, **options)
        off, found, beside = deviation(stack, curve), [], []
        for _ in range(rounds):
            found.append(stack_rate(stack, seconds))
            beside += (
                [] if cuda else [plain_rate(endless, data, seconds)]
            )  # a GPU is not shared: no need to take turns
        memory = torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0
        name = ", ".join(
            [
                f"stack of {count}",
                stack.precision,
                *(w for w in ("compiled", "graphed") if getattr(stack, w)),
            ]
        )
        show(name, found, beside or against, floors[stack.precision], off, memory)
        del stack
        gc.collect()
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="paper")
    parser.add_argument(
        "--stack", type=int, nargs="+", default=[1, 8, 16], help="numbers of models"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--data", default="data")
    parser.add_argument("--device", help="cpu or cuda; the GPU where there is one unless told")
    parser.add_argument("--out", type=Path, help="also write the rows to this JSON file")
    args = parser.parse_args(arguments)
    try:
        device = device_of(args.device)
        data = packed.load("shapes2d", args.data, device)
        settings = profiles.dip_vae_ii(5, **profiles.profile(args.profile).parts["shapes2d"].common)
        name = (
            torch.cuda.get_device_name()
            if device.type == "cuda"
            else f"{torch.get_num_threads()} CPU threads"
        )
        print(
            f"{name}, torch {torch.__version__}; width {settings.width}, batch {settings.batch_size}",
            flush=True,
        )
        rows = measure(settings, data, sorted(args.stack), args.seconds, args.rounds)
        if args.out:
            report = {
                "device": name,
                "torch": torch.__version__,
                "profile": args.profile,
                "rows": rows,
            }
            results.write_whole(args.out, (json.dumps(report, indent=1) + "\n").encode())
    except (OSError, ValueError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
