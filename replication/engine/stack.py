"""Train many models of one shape at once: stacked parameters, batched products, one Adam for all of them.

train.train is the definition; this file makes the same steps faster. Each model keeps its own weights, order of the data and noise,
drawn from its seed by the same streams as there, so model m of a stack is the model that train.train makes, up to rounding. Models of
a stack may differ in objective, weights and seed only. On a GPU the data stay bit-packed there, products may be bfloat16 with float32
state, and the step is compiled and captured in a CUDA graph; where that fails, a printed line says so.

    stack = Stack([(settings, 0), (settings, 1)], data)
    stack.train()
    stack.model(1)

The mathematics: batched.py. Cost and floor: stack_bench.py. Stopping and going on: checkpoints.py. Whole sweeps: visit.py.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from dipvae_src import models
from dipvae_src.data import Packed
from dipvae_src.settings import Settings, check_settings
from dipvae_src.train import HISTORY_POINTS, stream
from replication.engine import batched

PRECISIONS = (
    "float32",
    "tf32",
    "bf16",
)  # of the products; parameters, moments and losses are float32 in all three
WARM_UP = 3  # steps before the capture: real ones, on the stream of the capture


def shape_of(settings: Settings) -> Settings:
    """What all models of a stack share: the settings with the plain VAE in the place of their objective."""
    plain = dict(
        objective="beta-vae", beta=1.0, lambda_od=0.0, lambda_d=0.0, lambda_3=0.0, memory=0.0
    )
    return dataclasses.replace(settings, **plain, third_moments="marginal", reading="")


def check_runs(runs: Sequence[tuple[Settings, int]]) -> None:
    """ValueError or TypeError where these runs cannot be one stack, saying which and why."""
    if not runs:
        raise ValueError("a stack needs at least one run")
    for settings, seed in runs:
        check_settings(settings)
        if settings.network != "fc":
            raise ValueError(
                f"{settings.label}: only the fc network is stacked, not {settings.network!r}; use train.train"
            )
        if shape_of(settings) != shape_of(runs[0][0]):
            raise ValueError(
                f"{settings.label}, seed {seed}: models of a stack differ in objective, its weights and seed only"
            )
    if len(set(runs)) < len(runs):
        raise ValueError("a run stands in the stack twice")


class Stack:
    """M models in training, at `step` of `steps`.

    `history[m]` is the loss curve that train.train returns; `diverged`, {m: message}, names the models whose loss stopped being
    finite: they stay in the stack, and the others go on as if they were not there. Raises ValueError for what does not fit together.
    """

    def __init__(
        self, runs: Sequence[tuple[Settings, int]], data: Packed, precision: str = "float32", compiled: bool = False,
        graphed: bool = False, log: Callable[[str], None] = print,
    ) -> None:  # fmt: skip
        check_runs(runs)
        self.runs, self.device, self.precision, self.log = (
            list(runs),
            data.bits.device,
            precision,
            log,
        )
        cuda, settings = self.device.type == "cuda", runs[0][0]
        if precision not in PRECISIONS or (precision == "tf32" and not cuda):
            raise ValueError(
                f"no precision {precision!r} on {self.device.type}; known: {', '.join(PRECISIONS)} (tf32: on a GPU)"
            )
        if graphed and not cuda:
            raise ValueError("a CUDA graph needs a CUDA device; leave it out on the CPU")
        if data.table is None:
            raise ValueError(
                f"{data.name} is in colour; stacks are of black and white images, eight pixels a byte"
            )
        self.data, self.rows = data, data.split()[0]
        if settings.batch_size > len(self.rows):
            raise ValueError(
                f"batch_size {settings.batch_size:,} is larger than the {len(self.rows):,} training images"
            )
        self.compiled, self.graphed, self.graph, self.warm = compiled, graphed, None, 0
        if cuda:
            torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
            self.stream = torch.cuda.Stream()
        self.settings, self.steps, self.window = (
            settings,
            settings.steps,
            math.ceil(settings.steps / HISTORY_POINTS),
        )

        built = [
            models.build("fc", settings.latents, settings.width, 1, stream(seed, "weights"))
            for _, seed in runs
        ]
        low, self.template = torch.bfloat16 if precision == "bf16" else torch.float32, built[0]
        stacked = [
            torch.stack(p).detach() for p in zip(*(m.parameters() for m in built))
        ]  # weight (M, out, in), bias (M, out), ...
        self.parameters = [
            (p.transpose(1, 2).contiguous() if p.ndim == 3 else p).to(self.device) for p in stacked
        ]
        self.first, self.second = ([torch.zeros_like(p) for p in self.parameters] for _ in range(2))
        # Products with the few latents on one side cost next to nothing: they stay in float32, and so does the code itself.
        wide = [
            min(p.shape[1:]) > 2 * settings.latents for p in self.parameters[::2] for _ in range(2)
        ]
        self.leaves = [
            (p.to(low) if w else p).detach().requires_grad_() for p, w in zip(self.parameters, wide)
        ]
        self.copies = [
            leaf.detach() if leaf.dtype == torch.bfloat16 else None for leaf in self.leaves
        ]
        self.weights = batched.weights_of([s for s, _ in runs], self.device)
        self.running = torch.eye(settings.latents, device=self.device).repeat(
            len(runs), 1, 1
        )  # covariances, (M, D, D)

        self.orders = [torch.Generator().manual_seed(stream(seed, "order")) for _, seed in runs]
        self.noises = [
            torch.Generator(self.device).manual_seed(stream(seed, "noise")) for _, seed in runs
        ]
        self.order = None  # (M, training images) of this epoch, drawn by `orders` when they were in the state that order_states keeps
        self.indices = torch.zeros(
            len(runs), settings.batch_size, dtype=torch.int64, device=self.device
        )
        self.noise = torch.zeros(
            len(runs), settings.batch_size, settings.latents, device=self.device
        )
        self.sums = torch.zeros(
            4, len(runs), dtype=torch.float64, device=self.device
        )  # over the window so far

        self.step, self.seconds, self.pace, self.chunk = (
            0,
            0.0,
            math.nan,
            1,
        )  # pace: seconds of a step, lately
        self.history, self.diverged = [[] for _ in runs], {}
        self.set_optimiser(0)
        self._forward, self._adam = batched.forward, batched.adam
        if compiled:  # whole, or the failure is an error; once in a process for each size of a stack, and many sizes are no failure
            torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
            self._forward, self._adam = (
                torch.compile(f, dynamic=False, fullgraph=True)
                for f in (batched.forward, batched.adam)
            )

    def how(self) -> dict:
        """How it trains, as results keep it."""
        return {
            "models": len(self.runs),
            "precision": self.precision,
            "compiled": self.compiled,
            "graph": self.graphed,
        }

    def set_optimiser(self, step: int) -> None:
        """Adam as after `step` steps: PyTorch's fused one, as in train.train; batched.adam where gradients are bf16."""
        self.adam_step, self.optimiser = (
            torch.tensor(float(step), dtype=torch.float64, device=self.device),
            None,
        )
        if self.precision != "bf16":
            options = {
                "lr": self.settings.learning_rate,
                "fused": True,
                "capturable": self.device.type == "cuda",
            }
            self.optimiser = torch.optim.Adam(self.leaves, **options)
            for leaf, m, v in zip(self.leaves, self.first, self.second):
                self.optimiser.state[leaf] = {
                    "step": self.adam_step.float(),
                    "exp_avg": m,
                    "exp_avg_sq": v,
                }

    # --- one step ---

    def _gradients(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        bits = self.data.bits[self.indices.flatten()].view(*self.indices.shape, -1)  # (M, B, 512)
        parts = self._forward(
            self.template, self.leaves, bits, self.noise, self.weights, self.running
        )  # (4, M)
        return parts.detach(), torch.autograd.grad(
            parts[0].sum(), self.leaves
        )  # no model's loss depends on another's weights

    @torch.no_grad()
    def _descend(self, gradients: tuple[Tensor, ...]) -> None:
        if self.optimiser:
            for leaf, gradient in zip(self.leaves, gradients):
                leaf.grad = gradient
            self.optimiser.step()
        else:
            scale = batched.adam_scale(self.adam_step + 1, self.settings.learning_rate)
            self._adam(self.parameters, gradients, self.first, self.second, self.copies, scale)
            self.adam_step += 1

    def _attempt(self, work: Callable, *arguments):
        """work(...); if it is the first step and compiling fails, again without. (No weight is changed by then; a running covariance
        may have taken in the first batch twice.)
        """
        try:
            return work(*arguments)
        except Exception as error:
            if not self.compiled or self.warm:
                raise
            self.log(
                f"NOT COMPILED: torch.compile failed ({first_line(error)}); going on without it, more slowly"
            )
            self.compiled, self._forward, self._adam = False, batched.forward, batched.adam
            return work(*arguments)

    def _update(self) -> None:
        parts, gradients = self._attempt(self._gradients)
        self._attempt(self._descend, gradients)
        self.sums += parts

    def _advance(self) -> None:
        """The next step, its batches and noise drawn as train.train draws them."""
        batch = self.settings.batch_size
        at = self.step % (len(self.rows) // batch)
        if at == 0 or self.order is None:
            self.order_states = [generator.get_state() for generator in self.orders]
            with (
                ThreadPoolExecutor() as pool
            ):  # a GPU waits for it; each order comes from its own generator
                drawn = pool.map(
                    lambda generator: torch.randperm(len(self.rows), generator=generator),
                    self.orders,
                )
                self.order = self.rows[torch.stack(list(drawn)).to(self.device)]
        self.indices.copy_(self.order[:, at * batch : (at + 1) * batch])
        for noise, generator in zip(self.noise, self.noises):
            noise.normal_(generator=generator)
        if self.graphed and not self.graph and self.warm >= WARM_UP:
            self._capture()
        self.graph.replay() if self.graph else self._update()
        self.step, self.warm = self.step + 1, self.warm + 1

    def _capture(self) -> None:
        """The step as a CUDA graph; capturing computes nothing."""
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self.stream):
                self._update()
            self.graph = graph
        except RuntimeError as error:
            self.log(
                f"NO CUDA GRAPH: capturing failed ({first_line(error)}); going on without it, more slowly"
            )
            self.graphed = False

    # --- all steps ---

    def train(self, stop: Callable[[], bool] = lambda: False, until: int | None = None) -> bool:
        """Go on to the end, to step `until`, or until stop() says so (asked about once a second); whether the end is reached."""
        cuda, end = (
            self.device.type == "cuda",
            self.steps if until is None else min(until, self.steps),
        )
        wait = torch.cuda.synchronize if cuda else lambda: None
        wait()
        with torch.cuda.stream(self.stream) if cuda else contextlib.nullcontext():
            while self.step < end and len(self.diverged) < len(self.runs) and not stop():
                began, count = (
                    time.perf_counter(),
                    min(self.chunk, self.window - self.step % self.window, end - self.step),
                )
                for _ in range(count):
                    self._advance()
                if self.step % self.window == 0 or self.step == self.steps:
                    self._close_window()
                wait()
                spent = time.perf_counter() - began
                self.seconds, self.pace = self.seconds + spent, spent / count
                self.chunk = max(1, min(2 * self.chunk, int(1 / self.pace)))
        return self.step == self.steps or len(self.diverged) == len(self.runs)

    def _close_window(self) -> None:
        """Append the window's means to the curves; name the models whose loss is no number."""
        length = (self.step - 1) % self.window + 1
        for m, values in enumerate((self.sums / length).T.tolist()):
            if m in self.diverged:
                continue
            if all(map(math.isfinite, values)):
                names = ("reconstruction", "kl", "penalty")
                self.history[m].append(
                    {"step": self.step} | {n: round(v, 4) for n, v in zip(names, values[1:])}
                )
            else:
                (settings, seed), window = (
                    self.runs[m],
                    f"between steps {self.step - length + 1} and {self.step}",
                )
                self.diverged[m] = (
                    f"{settings.label}, seed {seed}: the loss stopped being finite {window}"
                )
                self.log(f"DIVERGED: {self.diverged[m]}; the other models of the stack go on")
        self.sums.zero_()

    def model(self, m: int) -> models.VAE:
        """Model m on its own, on the stack's device, ready to be scored."""
        made = models.build("fc", self.settings.latents, self.settings.width, 1, 0).to(self.device)
        with torch.no_grad():
            for own, stacked in zip(made.parameters(), self.parameters):
                own.copy_(stacked[m].T if own.ndim == 2 else stacked[m])
        return made.eval()


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
