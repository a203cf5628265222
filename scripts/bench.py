"""Speed of rendering, training and scoring on this machine, as a table and as one JSON.

    python -m scripts.bench                        # what `make bench` calls: minutes on two cores
    python -m scripts.bench --quick --out b.json   # seconds: shows that it runs, means little

Rivals take turns, round after round, so that a drift of the machine meets all; a ratio is the
median over rounds of the ratio within a round. Whatever else the machine does lowers the figures.
"""

import argparse
import multiprocessing
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from timeit import timeit

import numpy as np
import sklearn
import torch
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, RandomSampler, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from data_prep import shapes2d
from dipvae_src import losses, models, sap, zdiff
from dipvae_src.settings import Settings
from dipvae_src.train import model_of, objective, train
from replication import datasets as packed
from replication import provenance, results, rulers, traversal_score
from replication.linear_svc_sap import sap_score_linear_svc
from replication.machine import device_of, name_of, usable_cores
from replication.scores import rounded

ROOT = Path(__file__).resolve().parents[1]
# DIP-VAE-II, on 2D Shapes with third moments: the objective with most to compute.
PAPER = Settings("dip-vae-ii", lambda_od=5, lambda_d=5, lambda_3=200)
CONV = dict(data="celeba", network="conv", width=256, latents=32, batch_size=100, lambda_3=0)
NETWORKS = {"fc-1200": PAPER, "fc-256": replace(PAPER, width=256), "conv": replace(PAPER, **CONV)}
# images: of one training on a CPU; sprites: of 1,024 images each; codes: of one model, that a
# result leaves; sheets: traversals, each held to all images, so none where seconds count; side: of
# the matrices whose product gives the floor
FULL = dict(
    rounds=4, images=8_000, sprites=720, renders=20_000, points=73_728, codes=10_000, sheets=1,
    train=10_000, test=5_000, side=2_048, networks=NETWORKS,
)  # fmt: skip
QUICK = dict(
    rounds=1, images=32, sprites=6, renders=100, points=2_000, codes=400, sheets=0, train=200,
    test=100, side=256,
    networks={name: replace(settings, batch_size=16) for name, settings in NETWORKS.items()},
)  # fmt: skip
WARM_UP = 2  # training steps before the clock starts
SOME_IMAGES = 8_192  # that the plain loop draws from


def race(title: str, size: dict, works: dict, unit: str = "images/s", **ratios: str) -> dict:
    """Measure works in turns; by name median and spread of each, and of ratios "one / other"."""
    print(f"\n{title}")
    rounds = [{name: work() for name, work in works.items()} for _ in range(size["rounds"])]
    pairs = [(name, ratio.split(" / ")) for name, ratio in ratios.items()]
    for its in rounds:
        its |= {name: its[a] / its[b] for name, (a, b) in pairs}
    found = {}
    for name in rounds[0]:
        values = [its[name] for its in rounds]
        kept = rounded([median(values), min(values), max(values)], 4)
        found[name] = dict(zip(("median", "low", "high"), kept)) | {"rounds": len(values)}
        shown = [f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in kept]
        what = ratios.get(name, unit)
        print(f"  {name:<24}{shown[0]:>9}  {' - '.join(shown[1:]):<19} {what}", flush=True)
    return found


seconds_of = partial(timeit, number=1)


# --- training ---


def rate(size: dict, settings: Settings, device: torch.device, loop: Callable) -> float:
    """Images per second of `loop(steps, progress)` from step WARM_UP to its last."""
    images = size["images"] * (20 if device.type == "cuda" else 1)
    steps, marks = WARM_UP + max(2, images // settings.batch_size), []

    def progress(step: int, _: int) -> None:
        if step in (WARM_UP, steps):
            if device.type == "cuda":
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

    loop(steps, progress)
    return (steps - WARM_UP) * settings.batch_size / (marks[1] - marks[0])


def ours(size: dict, settings: Settings, data: packed.Packed) -> float:
    """Images per second of train.train."""
    return rate(
        size, settings, data.bits.device,
        lambda steps, progress: train(replace(settings, steps=steps), 0, data, progress),
    )  # fmt: skip


def plain_step(
    settings: Settings, data: packed.Packed, layout: torch.memory_format = torch.contiguous_format
) -> Callable[[torch.Tensor], None]:
    """A step of the usual loop on a batch, Adam as it comes; network and loss are ours."""
    model = model_of(settings, 0, data).to(data.bits.device, memory_format=layout)
    likelihood = losses.bernoulli_nll if data.channels == 1 else losses.gaussian_nll
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)

    def step(batch: torch.Tensor) -> None:
        mu, log_var = model.encode(batch)
        nll = likelihood(model.decode(models.sample(mu, log_var)), batch)
        optimiser.zero_grad()
        objective(settings, nll, mu, log_var).total.backward()
        optimiser.step()

    return step


def plain(
    size: dict, settings: Settings, data: packed.Packed, images: TensorDataset, **layout
) -> float:
    """Images per second of the usual loop over a DataLoader: the better of two worker counts."""
    device, batch = data.bits.device, settings.batch_size
    on_gpu = device.type == "cuda"

    def loop(workers: int, steps: int, progress: Callable) -> None:
        step = plain_step(settings, data, **layout)
        order = RandomSampler(images, replacement=True, num_samples=steps * batch)
        told = dict(sampler=order, num_workers=workers, pin_memory=on_gpu)
        for number, (some,) in enumerate(DataLoader(images, batch, **told), 1):
            step(some.to(device))
            progress(number, steps)

    counts = (0, min(8, usable_cores()) if on_gpu else 2)
    return max(rate(size, settings, device, partial(loop, workers)) for workers in counts)


def floor(size: dict, settings: Settings, data: packed.Packed) -> float:
    """Images per second if a step were nothing but its products, at the rate of one large one."""
    batch = data.images(data.split()[0][: settings.batch_size])
    with FlopCounterMode(display=False) as counter:
        plain_step(settings, data)(batch)
    a, b = torch.rand(2, size["side"], size["side"], device=data.bits.device)

    def product() -> None:
        (a @ b)[0, 0].item()  # on a GPU, this waits for it

    product()
    seconds = min(seconds_of(product) for _ in range(3))
    return 2 * size["side"] ** 3 / seconds / counter.get_total_flops() * len(batch)


def training(size: dict, data: dict[str, packed.Packed]) -> list[dict]:
    """Each network: ours, the plain DataLoader loop (of convolutions with channels last, too), and
    the floor of the products.
    """
    rows = []
    for name, settings in size["networks"].items():
        images = data[settings.data]
        some = images.images(images.split()[0][: SOME_IMAGES // images.channels]).cpu()
        usual = partial(plain, size, settings, images, TensorDataset(some))
        works = {
            "ours": partial(ours, size, settings, images),
            "plain": usual,
            "floor": partial(floor, size, settings, images),
        }
        ratios = {"ratio": "ours / plain", "ratio_to_floor": "ours / floor"}
        if settings.network == "conv":
            works["channels_last"] = partial(usual, layout=torch.channels_last)
            ratios["ratio_channels_last"] = "channels_last / plain"
        about = {"network": name, "batch_size": settings.batch_size, "data": images.name}
        about |= {"device": images.bits.device.type, "threads": torch.get_num_threads()}
        rows.append(about | race(f"Training {about}", size, works, **ratios))
    return rows


def start(meeting, threads: int) -> None:
    """Makes a process ready: all meet before they measure, so that they do it at the same time."""
    global meet
    meet = meeting.wait
    torch.set_num_threads(threads)


def share(size: dict, network: str, folder: str, _: int) -> float:
    """One process's images per second."""
    settings = size["networks"][network]
    data = packed.load(settings.data, folder)
    meet(timeout=300)  # seconds
    return ours(size, settings, data)


def sharing(size: dict, folder: str, network: str) -> dict:
    """Images per second of all processes together: one a core of one thread, or one on all."""
    context, cores, works = multiprocessing.get_context("forkserver"), usable_cores(), {}
    imported_once = ["replication.scores", "torch.utils.data", "torch._dynamo"]  # what takes long
    context.set_forkserver_preload(imported_once)
    for way, n, threads in (("processes", cores, 1), ("threads", 1, cores)):
        pool = ProcessPoolExecutor(n, context, start, (context.Barrier(n), threads))
        job = partial(share, size, network, folder)
        works[way] = lambda pool=pool, job=job, n=n: sum(pool.map(job, range(n)))
    title = f"{network}: one process a core, or one process on all {cores} cores"
    batch = size["networks"][network].batch_size
    about = {"network": network, "batch_size": batch, "cores": cores}
    return about | race(title, size, works, ratio="processes / threads")


# --- the rest ---


def seconds(size: dict) -> dict:
    """Seconds of rendering 2D Shapes, and of all scores of a code of 5 latents and 5 of noise."""
    rng, split = np.random.default_rng(0), {name: size[name] for name in ("train", "test")}
    factors = rng.integers(shapes2d.FACTOR_SIZES, size=(size["points"], 5))
    latents = rng.normal(size=(size["points"], 10))
    latents[:, :5] = 0.2 * latents[:, :5] + (factors - factors.mean(axis=0)) / factors.std(axis=0)
    codes = latents[: size["codes"]], factors[: size["codes"]]
    sheet = shapes2d.render(factors[:110]).reshape(-1, models.SIDE**2).astype(np.float32)
    works = {
        "rendering": lambda: sum(map(len, islice(shapes2d.packed_pieces(), size["sprites"]))),
        "rendering_at_random": partial(shapes2d.render, factors[: size["renders"]]),
        "sap_exact": partial(sap.sap_score, latents, factors, [True] + 4 * [False]),
        "sap_linear_svc": partial(sap_score_linear_svc, latents, factors, **split),
        "zdiff": partial(zdiff.z_diff_score, latents, factors, **split),
        "sap_of_codes": partial(sap.sap_score, *codes, rulers.SHAPES2D),
        "zdiff_of_codes": partial(zdiff.z_diff_score, *codes, **split),
        "mig_of_codes": partial(rulers.mig, *codes),
        "factor_vae_of_codes": partial(rulers.factor_vae_score, *codes),
        "dci_of_codes": partial(rulers.dci, *codes),
    }
    if size["sheets"]:
        shape = (10, 11, *shapes2d.FACTOR_SIZES)  # latents, positions
        works["traversals"] = lambda: [
            traversal_score.explained(row)
            for row in traversal_score.distances_of(sheet).view(shape)
        ]
    about = {
        name: size[name] for name in ("sprites", "renders", "points", "codes", "train", "test")
    }
    timed = {name: partial(seconds_of, work) for name, work in works.items()}
    with threadpool_limits(1):
        return about | race(f"Rendering and scores on one core, {about}", size, timed, "s")


def measure(quick: bool, folder: str) -> dict:
    """All of it, printed as it comes."""
    size, devices = QUICK if quick else FULL, ["cpu"] + ["cuda"] * torch.cuda.is_available()
    sets = [{n: packed.load(n, folder, d) for n in ("shapes2d", "celeba")} for d in devices]
    report = {
        "format": 2, "quick": quick, "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": ", ".join(name_of(device_of(device)) for device in devices),
        "cores": usable_cores(), "system": platform.platform(), "python": platform.python_version(),
        "versions": {m.__name__: str(m.__version__) for m in (torch, np, sklearn)},
        "code": provenance.LOADED, "data": [data.name for data in sets[0].values()],
    }  # fmt: skip
    print("QUICK: sizes too small to mean much\n" * quick + str(report))
    print("\nThe median of the rounds, the lowest and the highest:")
    return report | {
        "training": [row for data in sets for row in training(size, data)],
        "sharing": sharing(size, folder, "fc-256"), "convolution": sharing(size, folder, "conv"),
        "seconds": seconds(size),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "bench.json")
    parser.add_argument("--data", default="data", help="folder of the packed data")
    parser.add_argument("--quick", action="store_true", help="seconds; the figures mean little")
    args, began = parser.parse_args(arguments), time.perf_counter()
    try:
        results.write_json(args.out, measure(args.quick, args.data))
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\n{time.perf_counter() - began:.0f} s. Written: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
