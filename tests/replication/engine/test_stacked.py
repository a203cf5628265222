"""Many models at once: each is that of the plain loop, whatever stops, diverges or fails."""

import contextlib
import dataclasses
import functools
import math
import re

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dipvae_src import models
from dipvae_src.settings import Settings
from dipvae_src.train import objective, stream, train
from replication import datasets, profiles, provenance, results
from replication.engine import batched, checkpoints
from replication.engine import stack as stacked
from replication.engine.stack import Stack

TINY = dict(
    width=32, steps=8, batch_size=64, learning_rate=1e-3,
    test_images=150, zdiff_train=100, zdiff_test=50,
)  # fmt: skip


def setting(objective, weight, **changes):
    """Of the tests' size; DIP-VAE-II with its third moments unless told."""
    third = {"lambda_3": 200.0} if objective == "dip-vae-ii" else {}
    return profiles.setting(objective, weight, **TINY | third | changes)


RUNS = [
    (setting("beta-vae", 1), 0), (setting("beta-vae", 4), 3), (setting("dip-vae-i", 10), 1),
    (setting("dip-vae-ii", 5), 0), (setting("dip-vae-ii", 5, lambda_3=0.0), 2),
]  # fmt: skip
# What the paper leaves open, read otherwise, beside what it is read as; memories that float32 holds
# exactly.
OPEN = [
    (setting("dip-vae-i", 10, memory=0.75), 1), (setting("dip-vae-ii", 5, memory=0.5), 0),
    (setting("dip-vae-ii", 5, third_moments="joint"), 0),
    (setting("dip-vae-ii", 5, third_moments="joint", memory=0.75), 4), RUNS[3], RUNS[0],
]  # fmt: skip


class Operators(TorchDispatchMode):
    """The names of all operators that run inside."""

    def __init__(self) -> None:
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        self.names.add(str(operator))
        return operator(*arguments, **(options or {}))


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def images(data_dir):
    return datasets.load("shapes2d", data_dir)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).cpu()


def distances(stack):
    """Of each model from the plain loop's: mean and 99 % quantile of the weights' errors.

    In units of their largest move.
    """
    for m, (settings, seed) in enumerate(stack.runs):
        plain, curve = train(settings, seed, stack.plain_data)
        start = models.build("fc", settings.latents, settings.width, 1, stream(seed, "weights"))
        error, moved = (
            (flat(stack.model(m)) - flat(plain)).abs(),
            (flat(plain) - flat(start)).abs().max(),
        )
        assert moved > 3 * settings.learning_rate
        yield error.mean() / moved, error.quantile(0.99) / moved, stack.history[m], curve


def trained(runs, images, **options):
    stack = Stack(runs, images, **options)
    stack.plain_data = images
    assert stack.train() and stack.step == stack.steps
    return stack


def held_to_the_plain_loop(stack):
    """By the measure of test_train.

    Adam divides tiny gradients by their own size, so a few weights amplify float32's rounding.
    """
    for mean, quantile, history, curve in distances(stack):
        assert mean < 1e-3 and quantile < 1e-2
        assert [h["step"] for h in history] == [c["step"] for c in curve]
        for name in ("reconstruction", "kl", "penalty"):
            assert [h[name] for h in history] == pytest.approx(
                [c[name] for c in curve], rel=1e-3, abs=2e-4
            )


def test_each_model_is_that_of_the_plain_loop(images):
    held_to_the_plain_loop(trained(RUNS, images))


@pytest.fixture(scope="module")
def few(images):
    """160 images, 144 of them for training: two steps an epoch."""
    return dataclasses.replace(images, bits=images.bits[::9][:160])


def test_so_it_is_over_several_epochs(few):
    held_to_the_plain_loop(trained(RUNS[2:], few))


def test_so_it_is_with_memories_and_joint_moments(few):
    stack = trained(OPEN, few)
    held_to_the_plain_loop(stack)
    ends = [flat(stack.model(m)) for m in range(6)]
    for a, b in ((1, 4), (2, 4), (1, 2)):  # one seed, three readings
        assert (ends[a] - ends[b]).abs().max() > 1e-4


def test_a_memory_is_each_models_own(images):
    """Models with and without memory in one stack end where they end alone."""
    stack, alone = trained(OPEN[:1] + OPEN[4:], images), trained(OPEN[:1], images)
    assert torch.allclose(stack.running[0], alone.running[0], rtol=1e-4, atol=1e-6)
    assert (flat(stack.model(0)) - flat(alone.model(0))).abs().mean() < 1e-5
    eye = torch.eye(10)
    assert (alone.running[0] - eye).abs().max() > 0.1 and torch.allclose(
        alone.running[0], alone.running[0].T, atol=1e-6
    )
    start = Stack(OPEN[:1], images)
    assert torch.equal(start.running, eye[None])


def test_so_it_is_for_one_model_alone(images):
    held_to_the_plain_loop(trained(RUNS[3:4], images))


def test_pixels_are_unpacked_as_the_data_set_has_them(images):
    rows = torch.tensor([0, 5, 700])
    assert torch.equal(batched.unpacked(images.bits[rows]), images.images(rows))
    byte_by_byte = torch.tensor([[0b10000001, 0b00000110]], dtype=torch.uint8)
    found = batched.unpacked(byte_by_byte).tolist()
    assert found == [[1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0]]


def test_bf16_products_stay_near(images):
    stack = trained(RUNS, images, precision="bf16")
    assert {p.dtype for p in stack.parameters.values()} == {torch.float32}
    moments = [its for state in stack.optimiser.state.values() for its in state.values()]
    assert {tensor.dtype for tensor in moments} == {torch.float32}
    for mean, _, history, curve in distances(stack):
        assert 1e-6 < mean < 5e-2  # it is bf16, and no more than that
        assert [h["reconstruction"] for h in history] == pytest.approx(
            [c["reconstruction"] for c in curve], rel=4e-3
        )


@pytest.mark.parametrize("runs", [RUNS, OPEN], ids=["as the paper has it", "read otherwise"])
def test_the_objective_is_that_of_the_losses_with_its_gradients(runs):
    generator, count = torch.Generator().manual_seed(0), len(runs)
    nll, mu, log_var = (
        torch.randn(count, *shape, generator=generator).double()
        for shape in ((9,), (9, 10), (9, 10))
    )
    mu, log_var = mu.requires_grad_(), log_var.requires_grad_()
    weights = batched.weights_of([settings for settings, _ in runs], torch.device("cpu"))
    before = torch.eye(10).double() + torch.arange(1, len(runs) + 1)[:, None, None] / 8
    parts, running = torch.func.vmap(batched.objective)(nll, mu, log_var, before, weights)
    gradients = torch.autograd.grad(parts[:, 0].sum(), (mu, log_var))
    for m, (settings, _) in enumerate(runs):
        own, kept = [t.detach()[m].requires_grad_() for t in (mu, log_var)], before[m].clone()
        loss = objective(settings, nll[m], *own, kept)
        assert parts[m].tolist() == pytest.approx([part.item() for part in loss], rel=1e-12)
        if settings.memory:
            assert torch.allclose(running[m], kept, rtol=1e-12, atol=1e-14) and not torch.equal(
                kept, before[m]
            )
        for gradient, wanted in zip(gradients, torch.autograd.grad(loss.total, own)):
            assert torch.allclose(gradient[m], wanted, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("runs", [RUNS, OPEN[:5]], ids=["as the paper has it", "read otherwise"])
def test_a_latent_that_never_moves_has_a_gradient_all_the_same(runs):
    """The norm of third moments has none at 0: no NaN where lambda_3 is 0, nor where it is not."""
    nll, mu, log_var = (
        torch.ones(5, 9),
        torch.zeros(5, 9, 10, requires_grad=True),
        torch.zeros(5, 9, 10),
    )
    weights = batched.weights_of([s for s, _ in runs], torch.device("cpu"))
    running = torch.eye(10).repeat(5, 1, 1)
    parts, _ = torch.func.vmap(batched.objective)(nll, mu, log_var, running, weights)
    assert torch.isfinite(torch.autograd.grad(parts[:, 0].sum(), mu)[0]).all()


# --- stopping and going on ---


def tensors(stack):
    """All that a step reads and writes."""
    moments = [its for state in stack.optimiser.state.values() for its in state.values()]
    return [*stack.parameters.values(), *moments, stack.running, stack.sums]


def same(one, other):
    """Whether two stacks are equal to the last bit."""
    pairs = list(zip(tensors(one), tensors(other), strict=True))
    return len(pairs) > 40 and one.history == other.history and all(map(torch.equal, *zip(*pairs)))


@pytest.mark.parametrize(  # before all steps; within an epoch and a window; between two epochs
    ("at", "precision"), [(0, "float32"), (3, "float32"), (3, "bf16"), (4, "float32")]
)
def test_a_training_that_was_stopped_ends_the_same_to_the_last_bit(
    few, tmp_path, monkeypatch, precision, at
):
    monkeypatch.setattr(stacked, "HISTORY_POINTS", 4)  # two steps a window
    undisturbed, stopped = Stack(RUNS[2:], few, precision), Stack(RUNS[2:], few, precision)
    assert undisturbed.train()
    assert not stopped.train(until=at) and stopped.step == at
    checkpoints.save(tmp_path / "c.pt", stopped)
    stack = checkpoints.restore(tmp_path / "c.pt", few, precision)
    assert stack.step == at and stack.runs == RUNS[2:] and stack.train()
    assert same(undisturbed, stack) and len(stack.history[0]) == 4


def test_a_training_with_memory_goes_on_with_what_it_remembers(few, tmp_path):
    undisturbed, stopped = Stack(OPEN, few), Stack(OPEN, few)
    assert undisturbed.train()
    stopped.train(until=3)
    checkpoints.save(tmp_path / "c.pt", stopped)
    stack = checkpoints.restore(tmp_path / "c.pt", few)
    assert (
        stack.runs == OPEN
        and torch.equal(stack.running, stopped.running)
        and not torch.equal(stack.running[0], torch.eye(10))
    )
    stack.train()
    assert same(undisturbed, stack)


@pytest.fixture
def saved(images, tmp_path):
    stack = Stack(RUNS[:2], images)
    stack.train(until=4)
    checkpoints.save(tmp_path / "c.pt", stack)
    return tmp_path / "c.pt"


def test_a_whole_one_goes_on(images, saved):
    assert checkpoints.restore(saved, images).step == 4


def cut(content):
    return content[: len(content) // 2]


def flip_a_byte(content):
    return content[:-9000] + bytes([content[-9000] ^ 1]) + content[-8999:]


@pytest.mark.parametrize("harm", [cut, flip_a_byte, lambda _: b"", lambda _: b"PK nonsense"])
def test_a_checkpoint_that_is_not_whole_is_refused_by_name(images, saved, harm):
    saved.write_bytes(harm(saved.read_bytes()))
    with pytest.raises(checkpoints.BadCheckpoint, match=r"c\.pt is no whole checkpoint \("):
        checkpoints.restore(saved, images)


@pytest.mark.parametrize(
    "content", [[], {}, {"runs": 3}, {"runs": []}, {"runs": [[{"a": 1}, 0]]}, torch.nn.Linear(1, 1)]
)
def test_a_file_of_something_else_is_refused_by_name(images, saved, content):
    torch.save(content, saved)
    with pytest.raises(checkpoints.BadCheckpoint, match=r"c\.pt is no whole checkpoint \("):
        checkpoints.restore(saved, images)


def test_what_was_restored_can_be_saved_again_before_a_step(images, tmp_path):
    stack = Stack(RUNS[:2], images)
    stack.train(until=5)
    checkpoints.save(tmp_path / "a.pt", stack)
    checkpoints.save(tmp_path / "b.pt", checkpoints.restore(tmp_path / "a.pt", images))
    again = checkpoints.restore(tmp_path / "b.pt", images)
    assert same(stack, again) and (again.step, again.runs) == (5, RUNS[:2])


def test_a_checkpoint_of_other_code_data_or_precision_is_refused(images, saved, monkeypatch):
    with pytest.raises(
        checkpoints.BadCheckpoint,
        match="c.pt cannot go on: its precision is 'float32', here it is 'bf16'",
    ):
        checkpoints.restore(saved, images, "bf16")
    with pytest.raises(checkpoints.BadCheckpoint, match="cannot go on: its data is"):
        checkpoints.restore(saved, dataclasses.replace(images, identity="other"))
    monkeypatch.setattr(provenance, "STACKED", "edited")
    with pytest.raises(
        checkpoints.BadCheckpoint, match="cannot go on: its code is .*, here it is 'edited'"
    ):
        checkpoints.restore(saved, images)


def test_a_full_disk_leaves_the_older_checkpoint(images, saved, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.os, "fsync", full)
    stack = Stack(RUNS[:2], images)
    with pytest.raises(OSError, match="c.pt: No space left on device; free some space"):
        checkpoints.save(saved, stack)
    assert checkpoints.restore(saved, images).step == 4


# --- what goes wrong in one model, or in the fast path ---


def test_a_model_that_diverges_is_named_and_leaves_the_others_as_they_were(images):
    wild = Settings("dip-vae-i", lambda_od=1e38, lambda_d=1e38, **TINY)
    said = []
    stack, calm = (
        trained([RUNS[0], (wild, 5), RUNS[3]], images, log=said.append),
        trained([RUNS[0], RUNS[2], RUNS[3]], images),
    )
    assert list(stack.diverged) == [1] and stack.diverged[1] in said[0] and len(said) == 1
    assert stack.diverged[1].startswith(
        "DIP-VAE-I (lambda_od 1e+38), seed 5: the loss stopped being finite between steps "
    )
    assert len(stack.history[1]) < 4
    for m in (0, 2):
        assert (
            torch.equal(flat(stack.model(m)), flat(calm.model(m)))
            and stack.history[m] == calm.history[m]
        )
        assert torch.isfinite(flat(stack.model(m))).all()


def test_a_model_that_a_step_broke_is_named_before_it_is_saved_or_scored(
    images, tmp_path, monkeypatch
):
    """Its loss was not looked at again; what is saved goes on without it."""
    monkeypatch.setattr(stacked, "HISTORY_POINTS", 2)  # four steps a window
    said = []
    stack = Stack(RUNS[:3], images, log=said.append)
    stack.train(until=5)
    with torch.no_grad():
        stack.parameters["vae.encoder.0.weight"][1, 0, 0] = float("nan")
    checkpoints.save(tmp_path / "c.pt", stack)
    assert list(stack.diverged) == [1] and "a weight is not finite after step 5" in said[0]
    again = checkpoints.restore(tmp_path / "c.pt", images, log=said.append)
    assert list(again.diverged) == [1] and again.train()
    assert torch.isfinite(flat(again.model(0))).all() and len(said) == 1


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_what_a_cuda_graph_captures_asks_the_cpu_for_nothing(images, precision):
    """A capture fails where a step reads a value or has a shape that depends on one."""
    stack = Stack(OPEN, images, precision=precision)
    stack.train(until=2)
    with Operators() as seen:
        stack._update()
    assert {"aten.bmm.default", "aten.where.self"} <= seen.names
    assert [
        name
        for name in sorted(seen.names)
        if re.search(r"_local_scalar|lift_fresh|nonzero|masked_select|unique|is_nonzero", name)
    ] == []
    with Operators() as seen:  # the test can fail
        torch.tensor(1.0).item()
    assert {"aten.lift_fresh.default", "aten._local_scalar_dense.default"} <= seen.names


def test_a_step_makes_every_tensor_on_the_device_of_its_inputs(monkeypatch):
    """On PyTorch's device without data, which refuses a tensor of the CPU as a GPU does."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    away, settings = torch.device("meta"), [s for s, _ in OPEN]
    network, count, batch = batched.Network(models.build("fc", 10, 32, 1, 0)), len(OPEN), 64
    own = {n: p.T if p.ndim == 2 else p for n, p in network.named_parameters()}
    parameters = {
        n: torch.empty(count, *p.shape, device=away, requires_grad=True) for n, p in own.items()
    }
    bits = torch.empty(count, batch, models.SIDE**2 // 8, dtype=torch.uint8, device=away)
    noise = torch.empty(count, batch, 10, device=away)
    running = torch.eye(10, device=away).repeat(count, 1, 1)
    loss = functools.partial(batched.all_losses, network.to(away), False)
    found, after = loss(parameters, bits, noise, running, batched.weights_of(settings, away))
    found[:, 0].sum().backward()
    gradients = {n: p.grad for n, p in parameters.items()}
    assert {t.device for t in (found, after, *gradients.values())} == {away}
    assert all(gradients[n].shape == p.shape for n, p in parameters.items())
    with pytest.raises(RuntimeError, match="device"):
        loss(parameters, bits, noise, running, batched.weights_of(settings, torch.device("cpu")))


def test_the_capture_is_no_step_and_every_step_after_it_a_replay(images, monkeypatch):
    """With a graph whose replay makes the step: what is left is the order of things."""
    stack, said = Stack(RUNS[:2], images), []
    update = stack._update

    class Graph:
        def replay(self):
            said.append(stack.step)
            update()

    @contextlib.contextmanager
    def capture(graph, stream):
        said.append("capture")
        stack._update = lambda: None
        yield
        stack._update = None  # not to be called again

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    stack.graphed, stack.stream = True, None
    assert stack.train() and said == ["capture", *range(stacked.WARM_UP, stack.steps)]
    assert torch.equal(flat(stack.model(1)), flat(trained(RUNS[:2], images).model(1)))


@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        ([], {}, "a stack needs at least one run"),
        ([RUNS[0], RUNS[0]], {}, "a run stands in the stack twice"),
        (
            [RUNS[0], (dataclasses.replace(RUNS[1][0], steps=9), 0)],
            {},
            "beta 4.*, seed 0: models of a stack differ in objective",
        ),
        (
            [RUNS[0], (dataclasses.replace(RUNS[1][0], batch_size=32, reading="batch 64"), 0)],
            {},
            "batch 64, seed 0: models of a stack",
        ),
        (
            [(dataclasses.replace(RUNS[0][0], network="conv"), 0)],
            {},
            "VAE: only the fc network is stacked, not 'conv'",
        ),
        (
            [(dataclasses.replace(RUNS[0][0], batch_size=2_000), 0)],
            {},
            "batch_size 2,000 is larger than the 1,382 training images",
        ),
        (RUNS[:1], {"precision": "fp8"}, "no precision 'fp8'; known: float32, bf16"),
        ([(RUNS[0][0], -1)], {}, "seed must be a whole number, 0 or more, not -1"),
        (RUNS[:1], {"graphed": True}, "a CUDA graph needs a CUDA device"),
    ],
)
def test_what_is_no_stack_is_refused(images, runs, options, message):
    with pytest.raises(ValueError, match="is in colour; stacks are of black and white images"):
        Stack(RUNS, dataclasses.replace(images, table=None))
    with pytest.raises(ValueError, match=message):
        Stack(runs, images, **options)


def test_its_results_are_known_by_their_code():
    assert provenance.STACKED["training"] != provenance.LOADED["training"]
    assert provenance.STACKED["scoring"] == provenance.LOADED["scoring"]


# --- on a GPU only ---


@pytest.fixture(scope="module")
def on_gpu(data_dir):
    return datasets.load("shapes2d", data_dir, "cuda")


@GPU
@pytest.mark.parametrize("runs", [RUNS, OPEN], ids=["as the paper has it", "read otherwise"])
def test_gpu_each_model_is_that_of_the_plain_loop(on_gpu, runs):
    held_to_the_plain_loop(trained(runs, on_gpu))


@GPU
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("runs", [RUNS, OPEN], ids=["as the paper has it", "read otherwise"])
def test_gpu_a_captured_step_is_the_same_step(on_gpu, runs, precision):
    one, other = (
        trained(runs, on_gpu, precision=precision, graphed=graphed) for graphed in (False, True)
    )
    assert other.how()["graph"] and other.graph is not None
    for a, b in zip(tensors(one), tensors(other)):
        assert torch.allclose(a, b, rtol=0, atol=1e-6)


@GPU
def test_gpu_the_fastest_way_stays_near_and_goes_on_from_a_checkpoint(on_gpu, tmp_path):
    options = dict(precision="bf16", compiled=True, graphed=True)
    said = []
    stack = trained(RUNS, on_gpu, log=said.append, **options)
    assert said == [] and stack.how() == {
        "models": 5,
        "precision": "bf16",
        "compiled": True,
        "graph": True,
    }
    for mean, _, history, curve in distances(stack):
        assert mean < 5e-2 and [h["reconstruction"] for h in history] == pytest.approx(
            [c["reconstruction"] for c in curve], rel=4e-3
        )
    stopped = Stack(RUNS, on_gpu, **options)
    stopped.train(until=5)
    checkpoints.save(tmp_path / "c.pt", stopped)
    again = checkpoints.restore(tmp_path / "c.pt", on_gpu, **options)
    assert again.train() and all(
        math.isfinite(h["kl"]) for history in again.history for h in history
    )
    for a, b in zip(stack.parameters.values(), again.parameters.values()):
        assert torch.allclose(a, b, rtol=0, atol=1e-4)
