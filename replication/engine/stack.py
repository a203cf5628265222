"""Train many models of one shape at once: stacked parameters, torch.func.vmap, one Adam for all.

    stack = Stack([(settings, 0), (settings, 1)], data)
    stack.train()
    stack.model(1)

train.train is the definition; this file makes the same steps faster. Each model keeps its own
weights, order of the data and noise, drawn from its seed by the same streams as there, so model m
of a stack is the model that train.train makes, up to rounding. Models of a stack may differ in
objective, weights and seed only. On a GPU the data stay bit-packed there, products may be bfloat16
with float32 state, and the step may be compiled and captured in a CUDA graph; what of it works on a
device is found out by trial.py, and what to do where it stops working is up to runner.py.

The loss of one model: batched.py. Stopping and going on: checkpoints.py.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from dipvae_src import models
from dipvae_src.data import Packed
from dipvae_src.settings import Settings, check_settings
from dipvae_src.train import HISTORY_POINTS, model_of, stream
from replication.engine import batched
from replication.profiles import Run

PRECISIONS = ("float32", "bf16")  # of the products; parameters, moments and losses are float32
WARM_UP = 3  # steps before the capture: real ones, on the stream of the capture


def shape_of(settings: Settings) -> Settings:
    """What all models of a stack share: the settings with the VAE in their objective's place."""
    plain = dict(beta=1.0, lambda_od=0.0, lambda_d=0.0, lambda_3=0.0, memory=0.0)
    plain |= dict(objective="beta-vae", third_moments="marginal", reading="")
    return dataclasses.replace(settings, **plain)


def check_seed(seed: object) -> int:
    """`seed` if it is one; ValueError otherwise."""
    if type(seed) is not int or seed < 0:
        raise ValueError(f"seed must be a whole number, 0 or more, not {seed!r}")
    return seed


def check_runs(runs: Sequence[Run]) -> None:
    """ValueError or TypeError where these runs cannot be one stack, saying which and why."""
    if not runs:
        raise ValueError("a stack needs at least one run")
    for settings, seed in runs:
        check_settings(settings)
        check_seed(seed)
        if settings.network != "fc":
            raise ValueError(
                f"{settings.label}: only the fc network is stacked, not {settings.network!r}; "
                "use train.train"
            )
        if shape_of(settings) != shape_of(runs[0][0]):
            raise ValueError(
                f"{settings.label}, seed {seed}: models of a stack differ in objective, "
                "its weights and seed only"
            )
    if len(set(runs)) < len(runs):
        raise ValueError("a run stands in the stack twice")


def first_line(error: BaseException) -> str:
    """An error in one line, for a log."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class Stack:
    """M models in training, at `step` of `steps`.

    `history[m]` is the loss curve that train.train returns; `diverged`, {m: message}, names the
    models whose loss stopped being finite: they stay in the stack, and the others go on as if they
    were not there. `seconds` of training so far; `pace`: seconds of a step, lately. Raises
    ValueError for what does not fit together; train() raises what compiling or capturing raises.
    """

    def __init__(
        self, runs: Sequence[Run], data: Packed, precision: str = "float32", compiled: bool = False,
        graphed: bool = False, log: Callable[[str], None] = print,
    ) -> None:  # fmt: skip
        check_runs(runs)
        settings, device, rows = runs[0][0], data.bits.device, data.split()[0]
        batch, count, on_gpu = settings.batch_size, len(rows), device.type == "cuda"
        if precision not in PRECISIONS:
            raise ValueError(f"no precision {precision!r}; known: {', '.join(PRECISIONS)}")
        if graphed and not on_gpu:
            raise ValueError("a CUDA graph needs a CUDA device; leave it out on the CPU")
        if data.table is None:
            raise ValueError(f"{data.name} is in colour; stacks are of black and white images")
        if batch > count:
            raise ValueError(f"batch_size {batch:,} is larger than the {count:,} training images")
        self.runs, self.data, self.rows, self.log = list(runs), data, rows, log
        self.settings, self.device, self.precision = settings, device, precision
        self.compiled, self.graphed, self.graph, self.warm = compiled, graphed, None, 0
        self.steps, self.window = settings.steps, math.ceil(settings.steps / HISTORY_POINTS)
        self.step, self.seconds, self.pace, self.chunk = 0, 0.0, math.nan, 1
        self.history, self.diverged = [[] for _ in runs], {}
        if on_gpu:
            torch.set_float32_matmul_precision("highest")
            self.stream = torch.cuda.Stream()

        networks = [batched.Network(model_of(*run, data)) for run in runs]
        stacked, _ = torch.func.stack_module_state(networks)  # each (M, ...), by name
        # Weights as (M, in, out): their gradients come so, and need no copy.
        self.parameters = {
            name: (p.mT if p.ndim == 3 else p).detach().contiguous().to(device).requires_grad_()
            for name, p in stacked.items()
        }
        self.optimiser = torch.optim.Adam(
            self.parameters.values(), settings.learning_rate, fused=True, capturable=on_gpu
        )
        self.network, self._losses = networks[0].to("meta"), batched.all_losses
        if compiled:  # whole or an error; once in a process for each size of a stack
            limit = torch._dynamo.config.recompile_limit
            torch._dynamo.config.recompile_limit = max(64, limit)
            self._losses = torch.compile(batched.all_losses, dynamic=False, fullgraph=True)
        self._build_inputs()

    def _build_inputs(self) -> None:
        """What a step reads beside the parameters; tensors that stay in place, for the graph."""
        count, s, device = len(self.runs), self.settings, self.device
        self.weights = batched.weights_of([settings for settings, _ in self.runs], device)
        self.running = torch.eye(s.latents, device=device).repeat(count, 1, 1)  # (M, D, D)
        seeds = [seed for _, seed in self.runs]
        self.orders = [torch.Generator().manual_seed(stream(seed, "order")) for seed in seeds]
        self.noises = [torch.Generator(device).manual_seed(stream(seed, "noise")) for seed in seeds]
        self.order, self.epochs = None, 0  # (M, training images) of the epoch that was drawn last
        self.indices = torch.zeros(count, s.batch_size, dtype=torch.int64, device=device)
        self.noise = torch.zeros(count, s.batch_size, s.latents, device=device)
        # of the parts of the loss, over the window so far
        self.sums = torch.zeros(count, 4, dtype=torch.float64, device=device)

    def how(self) -> dict:
        """How it trains, as results keep it."""
        return {
            "models": len(self.runs), "precision": self.precision, "compiled": self.compiled,
            "graph": self.graphed,
        }  # fmt: skip

    # --- one step ---

    def _update(self) -> None:
        """A step on the batches and noise in `indices` and `noise`; what a graph captures."""
        bits = self.data.bits[self.indices.flatten()].view(*self.indices.shape, -1)  # (M, B, 512)
        parts, running = self._losses(  # (M, 4), (M, D, D)
            self.network, self.precision == "bf16",
            self.parameters, bits, self.noise, self.running, self.weights,
        )  # fmt: skip
        self.optimiser.zero_grad(set_to_none=True)
        parts[:, 0].sum().backward()  # no model's loss depends on another's weights
        self.optimiser.step()
        self.running.copy_(running)
        self.sums += parts.detach()

    def _draw(self) -> None:
        """The next batches and noise, as train.train draws them."""
        batch, count = self.settings.batch_size, len(self.rows)
        epoch, at = divmod(self.step, count // batch)
        while self.epochs <= epoch:  # those before it too, where a training goes on
            with ThreadPoolExecutor() as pool:  # a GPU waits for this
                drawn = pool.map(lambda own: torch.randperm(count, generator=own), self.orders)
                self.order = self.rows[torch.stack(list(drawn)).to(self.device)]
            self.epochs += 1
        self.indices.copy_(self.order[:, at * batch : (at + 1) * batch])
        for noise, generator in zip(self.noise, self.noises):
            noise.normal_(generator=generator)

    def _advance(self) -> None:
        self._draw()
        if self.graphed and not self.graph and self.warm >= WARM_UP:
            self._capture()
        if self.graph:
            self.graph.replay()
        else:
            self._update()
        self.step, self.warm = self.step + 1, self.warm + 1

    def _capture(self) -> None:
        """The step as a CUDA graph; capturing computes nothing."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self._update()
        self.graph = graph

    # --- all steps ---

    @property
    def ended(self) -> bool:
        """Whether nothing is left to train."""
        return self.step == self.steps or len(self.diverged) == len(self.runs)

    def train(self, stop: Callable[[], bool] = lambda: False, until: int | None = None) -> bool:
        """Go on to the end, to step `until`, or until stop() says so, asked about once a second.

        Whether the end is reached.
        """
        on_gpu = self.device.type == "cuda"
        end = self.steps if until is None else min(until, self.steps)
        with torch.cuda.stream(self.stream) if on_gpu else contextlib.nullcontext():
            while self.step < end and not self.ended:
                began = time.perf_counter()
                count = min(self.chunk, self.window - self.step % self.window, end - self.step)
                for _ in range(count):
                    self._advance()
                if self.step % self.window == 0 or self.step == self.steps:
                    self._close_window()
                if on_gpu:
                    torch.cuda.synchronize()
                spent = time.perf_counter() - began
                self.seconds, self.pace = self.seconds + spent, spent / count
                self.chunk = max(1, min(2 * self.chunk, int(1 / self.pace)))
                if stop():
                    break
        self.name_broken()
        return self.ended

    def _close_window(self) -> None:
        """Append the window's means to the curves; name the models whose loss is no number."""
        length = (self.step - 1) % self.window + 1
        for m, values in enumerate((self.sums / length).tolist()):
            if m in self.diverged:
                continue
            if all(map(math.isfinite, values)):
                names = ("reconstruction", "kl", "penalty")
                means = {n: round(v, 4) for n, v in zip(names, values[1:])}
                self.history[m].append({"step": self.step} | means)
                continue
            steps = f"between steps {self.step - length + 1} and {self.step}"
            self._name(m, f"the loss stopped being finite {steps}")
        self.sums.zero_()

    def name_broken(self) -> None:
        """Name the models that a step has broken whose loss nobody has looked at yet."""
        weights = self.parameters.values()
        broken = sum((~p.isfinite()).flatten(1).sum(dim=1) for p in weights)  # (M,)
        for m in broken.nonzero().flatten().tolist():
            if m not in self.diverged:
                self._name(m, f"a weight is not finite after step {self.step}")

    def _name(self, m: int, what: str) -> None:
        settings, seed = self.runs[m]
        self.diverged[m] = f"{settings.label}, seed {seed}: {what}"
        self.log(f"DIVERGED: {self.diverged[m]}; the other models of the stack go on")

    def model(self, m: int) -> models.VAE:
        """Model m on its own, on the stack's device, ready to be scored."""
        made = model_of(*self.runs[m], self.data).to(self.device)
        own = {name: p[m] for name, p in self.parameters.items()}
        batched.Network(made).load_state_dict(batched.transposed(own))
        return made.eval()
