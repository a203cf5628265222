"""Speed of rendering, training and scoring on this machine, as a table and as one JSON.

    python scripts/bench.py                          # what `make bench` calls: about 4 minutes on two cores
    python scripts/bench.py --quick --out b.json     # seconds, small sizes: shows that it runs, its figures mean little

Rivals take turns, round after round, so that a drift of the machine meets both; a ratio is the median over rounds of the ratio
within a round. ProfileResults are the median, the lowest and the highest of the rounds. Whatever else the machine does lowers the figures.
"""

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, count, islice, product, repeat
from pathlib import Path
from statistics import median
from timeit import timeit
from unittest import mock

import numpy as np
import sklearn
import torch
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the project is not installed

from data_prep import shapes2d  # noqa: E402
from dipvae_src import data as packed  # noqa: E402
from dipvae_src import losses, models, sap, zdiff  # noqa: E402
from dipvae_src.settings import Settings
from dipvae_src.train import objective, train  # noqa: E402
from replication import (  # noqa: E402
    profiles,
    provenance,  # noqa: E402
    results,
)
from replication.linear_svc_sap import sap_score_linear_svc  # noqa: E402
from replication.machine import processor  # noqa: E402
from replication.scores import rounded  # noqa: E402

# seconds: of one training measurement; batch None: each network's own; sprites: 1,024 images each, 720 are the whole set
FULL = dict(
    rounds=4,
    seconds=2.0,
    batch=None,
    sprites=720,
    renders=20_000,
    points=73_728,
    svm=dict(train=10_000, test=5_000),
)
QUICK = dict(
    rounds=1,
    seconds=0.05,
    batch=16,
    sprites=6,
    renders=100,
    points=2_000,
    svm=dict(train=200, test=100),
)
WARM_UP = 2  # training steps before the clock starts; an epoch's start falls into them, for ours and for the plain loop
SOME_IMAGES = 8_192  # that the plain loop draws from; and random ones, where the data is not there


def figure(label: str, values: Sequence[float], unit: str = "images/s") -> dict:
    """Median and spread of the rounds, printed and returned."""
    values = rounded([median(values), min(values), max(values)], 4) + [len(values)]
    shown, low, high = (f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in values[:3])
    print(f"  {label:<52}{shown:>9}  {low + ' - ' + high:<19} {unit}", flush=True)
    return dict(zip(("median", "low", "high", "rounds"), values))


def rendering(size: dict) -> dict:
    print("\nRendering")
    sprites, renders = size["sprites"], size["renders"]
    classes = np.random.default_rng(0).integers(shapes2d.FACTOR_SIZES, size=(renders, 5))
    works = {
        "whole_set": (
            1_024 * sprites,
            "in order, bit-packed",
            lambda: sum(map(len, islice(shapes2d.packed_pieces(), sprites))),
        ),
        "render": (renders, "at random, render()", lambda: shapes2d.render(classes)),
    }
    found = {}
    for name, (n, how, work) in works.items():
        rates = [n / timeit(work, number=1) for _ in range(size["rounds"])]
        found[name] = {"images": n, "images_per_second": figure(f"{n:,} images {how}", rates)}
    return found


class Enough(Exception):
    """Ends a training that has been measured; holds its steps per second."""


def clock(seconds: float, device: torch.device) -> Iterator[float]:
    """Asked after each step, it answers 0, and once `seconds` have passed since the warm-up the steps per second."""
    wait = (
        torch.cuda.synchronize if device.type == "cuda" else lambda: None
    )  # at the two ends, not in between
    yield from repeat(0.0, WARM_UP - 1)
    wait()
    began = time.perf_counter()
    for steps in count(1):
        yield 0.0
        if time.perf_counter() - began >= seconds:
            wait()
            yield steps / (time.perf_counter() - began)


def ours(settings: Settings, data: packed.Packed, seconds: float) -> float:
    """Images per second of train.train."""
    ticks = clock(seconds, data.bits.device)

    def progress(step: int, steps: int) -> None:
        if rate := next(ticks):
            raise Enough(rate)

    try:
        train(settings, 0, data, progress)
    except Enough as enough:
        return enough.args[0] * settings.batch_size


class Unpacked(Dataset):
    """Some of the images, unpacked in memory as bytes, repeated to the length of 2D Shapes."""

    def __init__(self, data: packed.Packed) -> None:
        self.scale = 1 if data.channels == 1 else 255
        some = data.split()[0][: SOME_IMAGES // data.channels]
        self.pixels = (
            data.images(some).mul(self.scale).round().byte().cpu()
        )  # (8192, 4096), or of colour (2730, 12288)

    def __len__(self) -> int:
        return shapes2d.N_IMAGES

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.pixels[index % len(self.pixels)].float() / self.scale


def plain(
    settings: Settings, images: Unpacked, device: torch.device, workers: int, seconds: float
) -> float:
    """Images per second of the usual loop: a Dataset, a DataLoader, Adam as it comes. Network and loss are ours."""
    colour = images.scale == 255
    model = models.build(
        settings.network, settings.latents, settings.width, 3 if colour else 1, 0, settings.filters
    ).to(device)
    likelihood = losses.gaussian_nll if colour else losses.bernoulli_nll
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    loader = DataLoader(
        images,
        settings.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    ticks = clock(seconds, device)
    for batch in chain.from_iterable(repeat(loader)):  # epoch after epoch
        batch = batch.to(device)
        mu, log_var = model.encode(batch)
        nll = likelihood(model.decode(models.sample(mu, log_var)), batch)
        loss = objective(settings, nll, mu, log_var).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if rate := next(ticks):
            return rate * settings.batch_size


def networks(size: dict) -> dict[str, Settings]:
    """Each network with its batch; DIP-VAE-II, on 2D Shapes with third moments: the objective with most to compute."""
    quick = profiles.experiment("quick", "dip-vae-ii", 5)
    found = {
        "fc-1200": profiles.dip_vae_ii(5),
        f"fc-{quick.width}": quick,
        "conv": profiles.dip_vae_ii(1, "celeba"),
    }
    return {
        k: dataclasses.replace(s, steps=10**6, batch_size=size["batch"] or s.batch_size)
        for k, s in found.items()
    }


def training(size: dict, data: dict[str, packed.Packed]) -> list[dict]:
    images, threads, rows = (
        {name: Unpacked(d) for name, d in data.items()},
        torch.get_num_threads(),
        [],
    )
    device = data["shapes2d"].bits.device
    choices = (0, 2) if device.type == "cpu" else (0, min(8, os.cpu_count() or 1))
    print(
        f"\nTraining on {device.type}, {threads} CPU threads; plain loop: the better of {choices[0]} and {choices[1]} workers"
    )
    for name, settings in networks(size).items():
        own, rivals = [], {workers: [] for workers in choices}
        for _ in range(size["rounds"]):
            own.append(ours(settings, data[settings.data], size["seconds"]))
            for workers in choices:
                rivals[workers].append(
                    plain(settings, images[settings.data], device, workers, size["seconds"])
                )
        best = max(choices, key=lambda workers: median(rivals[workers]))
        label = f"{name}, batch {settings.batch_size}"
        rows.append({
            "network": name, "batch_size": settings.batch_size, "data": described(data[settings.data]), "device": device.type,
            "threads": threads,
            "ours": figure(f"{label}: ours", own), "plain": figure(f"{label}: plain, {best} workers", rivals[best]),
            "ratio": figure(f"{label}: ours / plain", [a / b for a, b in zip(own, rivals[best])], "times"),
            "plain_workers": best, "plain_medians": {w: rounded(median(r), 4) for w, r in rivals.items()},
        })  # fmt: skip
    return rows


def start(meeting, threads: int) -> None:
    """Makes a process of the sweep ready: all meet before they measure, so that they do it at the same time."""
    global meet
    meet = meeting.wait
    torch.set_num_threads(threads)


def share(settings: Settings, folder: str, seconds: float, layout: str) -> float:
    data = load(folder, settings.data)
    meet(timeout=300)  # seconds
    # train.train lays convolutions out channels-last; the other layout is had by giving that word its meaning.
    with (
        mock.patch.object(torch, "channels_last", torch.contiguous_format)
        if layout == "contiguous"
        else contextlib.nullcontext()
    ):
        return ours(settings, data, seconds)


def race(
    settings: Settings, ways: dict[str, tuple[int, int, str]], size: dict, folder: str
) -> tuple[dict, dict]:
    """Ways, each so many processes of so many threads with one layout, in turns; what is kept of them, and their rates by round."""
    context, rates = multiprocessing.get_context("forkserver"), {way: [] for way in ways}
    context.set_forkserver_preload(
        ["replication.run", "torch.utils.data"]
    )  # imported once, not once a process
    pools = {
        way: ProcessPoolExecutor(n, context, start, (context.Barrier(n), threads))
        for way, (n, threads, _) in ways.items()
    }
    for _, (way, (n, _, layout)) in product(range(size["rounds"]), ways.items()):
        shares = pools[way].map(
            share, n * [settings], repeat(folder), repeat(size["seconds"]), repeat(layout)
        )
        rates[way].append(sum(shares))
    found = {}
    for way, (n, threads, layout) in ways.items():
        label = f"{n} process(es) of {threads} thread(s)" + (
            f", {layout}" if settings.network != "fc" else ""
        )
        found[way] = {
            "processes": n,
            "threads": threads,
            "images_per_second": figure(label, rates[way]),
        }
    return found, rates


def ratio(label: str, rates: dict, one: str, other: str) -> dict:
    return figure(label, [a / b for a, b in zip(rates[one], rates[other])], "times")


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sharing(size: dict, folder: str) -> dict:
    """As many processes of one thread as there are cores against one process of that many threads, in turns."""
    name, settings = list(networks(size).items())[1]
    print(
        f"\nRuns of a sweep on {cores()} cores, {name}, batch {settings.batch_size}, images per second of all together"
    )
    found, rates = race(
        settings, {"processes": (cores(), 1, ""), "threads": (1, cores(), "")}, size, folder
    )
    found["ratio"] = ratio("processes / threads", rates, "processes", "threads")
    return {"network": name, "batch_size": settings.batch_size} | found


def convolution(size: dict, folder: str) -> dict:
    """The same for the convolutional network, with its weights channels-last, as train.train has them, and contiguous."""
    name, settings = list(networks(size).items())[2]
    print(f"\nConvolutional training: channels-last against contiguous, one process a core of one thread against one of all cores\n"
          f"({cores()} cores, batch {settings.batch_size}, images per second of all together)")  # fmt: skip
    ways = {
        "processes": (cores(), 1, "channels-last"), "processes_contiguous": (cores(), 1, "contiguous"),
        "threads": (1, cores(), "channels-last"), "threads_contiguous": (1, cores(), "contiguous"),
    }  # fmt: skip
    found, rates = race(settings, ways, size, folder)
    found["ratio"] = ratio("processes / threads, channels-last", rates, "processes", "threads")
    found["layout_ratio"] = ratio(
        "channels-last / contiguous, processes", rates, "processes", "processes_contiguous"
    )
    found["layout_ratio_threads"] = ratio(
        "channels-last / contiguous, threads", rates, "threads", "threads_contiguous"
    )
    return {"network": name, "batch_size": settings.batch_size} | found


def scores(size: dict) -> dict:
    """Seconds of the scores on one code: five latents follow the factors with some noise, five are noise."""
    points, svm = size["points"], size["svm"]
    print(
        f"\nScores on one core, 10 latents x 5 factors x {points:,} points (SVMs: {svm['train']:,} + {svm['test']:,})"
    )
    rng = np.random.default_rng(0)
    factors, latents = (
        rng.integers(shapes2d.FACTOR_SIZES, size=(points, 5)),
        rng.normal(size=(points, 10)),
    )
    latents[:, :5] = 0.2 * latents[:, :5] + (factors - factors.mean(axis=0)) / factors.std(axis=0)
    works = {
        "sap_exact": ("SAP, exact", lambda: sap.sap_score(latents, factors, [True] + 4 * [False])),
        "sap_linear_svc": (
            "SAP so called, LinearSVC",
            lambda: sap_score_linear_svc(latents, factors, **svm),
        ),
        "zdiff": ("Z-diff", lambda: zdiff.z_diff_score(latents, factors, **svm)),
    }
    with threadpool_limits(1):
        rounds = [
            [timeit(work, number=1) for _, work in works.values()] for _ in range(size["rounds"])
        ]
    return {"points": points, **svm} | {
        f"{n}_seconds": figure(works[n][0], s, "s") for n, s in zip(works, zip(*rounds))
    }


def load(folder: str, name: str = "shapes2d", device: str = "cpu") -> packed.Packed:
    """The packed data set if it is in `folder`; otherwise random bits or pixels, which say so in their name."""
    if packed.described(folder, name):
        return packed.load(name, folder, device)
    colour = name != "shapes2d"
    shape = (SOME_IMAGES // 3, 12_288) if colour else (SOME_IMAGES, 512)
    bits = torch.randint(
        256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    ).to(device)
    table = (
        None
        if colour
        else ((torch.arange(256)[:, None] >> torch.arange(7, -1, -1)) & 1).float().to(device)
    )
    return packed.Packed(
        "pixels" if colour else "bits",
        "random",
        "",
        ("image",),
        (len(bits),),
        (False,),
        bits,
        table,
    )


def described(data: packed.Packed) -> str:
    return data.name if data.source in data.name else f"{data.source} {data.name}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parents[1] / "results" / "bench.json"
    )
    parser.add_argument(
        "--data",
        default="data",
        help="folder of the packed data; random bits and pixels where it holds none",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, seconds; the figures mean little"
    )
    args, began = parser.parse_args(arguments), time.perf_counter()
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # as in the runs of `make replicate`
    try:
        size = QUICK if args.quick else FULL
        data = {name: load(args.data, name) for name in ("shapes2d", "celeba")}
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        versions = {"python": platform.python_version()} | {
            m.__name__: m.__version__ for m in (torch, np, sklearn)
        }
        report = {
            "format": 1, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "quick": args.quick,
            "machine": {"processor": processor(), "system": platform.platform(), "cores": os.cpu_count(), "gpu": gpu},
            "versions": versions, "code": provenance.LOADED, "data": described(data["shapes2d"]),
        }  # fmt: skip
        print(
            f"{processor()}, {os.cpu_count()} cores, GPU: {gpu or 'none'}; {report['date']}; training on {' and '.join(map(described, data.values()))}"
        )
        print(*(f"{name} {version}" for name, version in versions.items()), sep=", ")
        print(
            f"{'QUICK: sizes too small to mean much' if args.quick else '':<54}{'median':>9}  lowest - highest"
        )
        report |= {"rendering": rendering(size), "training": training(size, data)}
        if gpu:
            report["training"] += training(
                size, {name: load(args.data, name, "cuda") for name in data}
            )
        report |= {
            "sharing": sharing(size, args.data),
            "convolution": convolution(size, args.data),
            "scores": scores(size),
        }
        results.write_whole(
            args.out, (json.dumps(report, indent=1, allow_nan=False) + "\n").encode()
        )
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\n{time.perf_counter() - began:.0f} s. Written: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
