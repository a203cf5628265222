"""The engine's trial of itself: what agrees, what falls out and why; each failure is injected."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from replication import profiles
from replication.engine import batched, runner, stack, trial
from replication.engine.trial import Outcome

ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")
SETTINGS = profiles.setting("beta-vae", 1, width=32, batch_size=64, steps=50, learning_rate=1e-3)


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(trial, "SECONDS", 0.01)


@pytest.fixture
def uncompiled(monkeypatch):
    """Functions left as they are, so that the compiler is not waited for."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


def tried():
    told = []
    outcomes = trial.try_ways(SETTINGS, CPU, told.append)
    assert told == outcomes and [o.way for o in outcomes] == list(trial.WAYS)
    return {o.way: o for o in outcomes}


def test_each_way_is_timed_or_says_why_not(uncompiled):
    found = tried()
    for way in ("single", "stack", "compiled"):
        assert 0 < found[way].seconds < 10 and not found[way].fell_out
        assert str(found[way]).startswith(f"  {way}") and "ms a model step" in str(found[way])
    assert "fell out: a CUDA graph needs a CUDA device" in str(found["captured"])
    assert trial.fastest(found.values()).seconds == min(
        found[way].seconds for way in ("single", "stack", "compiled")
    )


def test_what_the_compiler_traced_agrees(tmp_path):
    """In a process without the tests' type checker, which no compiler could trace. Its graph runs
    as it is: writing kernels from it takes a minute and g++, and is what the trial does itself.
    """
    words = ["--profile", "smoke", "--device", "cpu", "--out", str(tmp_path / "outcomes")]
    brief = (
        "import functools, torch; from replication.engine import trial; trial.SECONDS = 0.01; "
        "torch.compile = functools.partial(torch.compile, backend='aot_eager_decomp_partition'); "
        "exit(trial.main())"
    )
    call = [sys.executable, "-c", brief, *words]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (compiled,) = (o for o in trial.read(tmp_path / "outcomes") if o.way == "compiled")
    assert not compiled.fell_out and compiled.seconds > 0


def raising(error):
    def call(*_, **__):
        raise error

    return call


def test_without_a_compiler_the_plain_stack_is_left(monkeypatch):
    error = RuntimeError("TritonMissing: Cannot find a working triton installation.\nmore")
    monkeypatch.setattr(torch, "compile", lambda function, **_: raising(error))
    found = tried()
    assert found["compiled"].fell_out == "TritonMissing: Cannot find a working triton installation."
    assert not found["stack"].fell_out and trial.fastest(found.values()).way in ("single", "stack")


def test_where_capturing_fails_the_compiled_stack_is_left(monkeypatch, uncompiled):
    """With the check that refuses a graph on a CPU passed by, capturing fails by itself."""
    build = stack.Stack._build_inputs

    def graphed(made):
        build(made)
        made.graphed, made.stream = made.precision == "bf16", None

    monkeypatch.setitem(trial.WAYS, "captured", {"compiled": True, "precision": "bf16"})
    monkeypatch.setattr(stack.Stack, "_build_inputs", graphed)
    found = tried()
    assert found["captured"].fell_out and "agree" not in found["captured"].fell_out
    assert not found["compiled"].fell_out


def test_bf16_products_agree_within_their_tolerance(monkeypatch, uncompiled):
    monkeypatch.setitem(trial.WAYS, "captured", {"compiled": True, "precision": "bf16"})
    assert not tried()["captured"].fell_out


def half_the_penalty(settings, device):
    weights = weights_of(settings, device)
    return weights | {name: weights[name] / 2 for name in ("lambda_od", "lambda_d", "lambda_3")}


def plain_noise(stack):
    draw(stack)
    stack.noise.fill_(0.0)


def no_memory_of_moments(made):
    for state in made.optimiser.state.values():
        state["exp_avg"].zero_()
        state["exp_avg_sq"].zero_()
    update(made)


weights_of, draw, update = batched.weights_of, stack.Stack._draw, stack.Stack._update


@pytest.mark.parametrize(
    ("where", "name", "wrong"),
    [
        (batched, "weights_of", half_the_penalty),
        (stack.Stack, "_draw", plain_noise),
        (stack.Stack, "_update", no_memory_of_moments),
    ],
)
def test_a_way_that_is_wrong_does_not_agree(monkeypatch, uncompiled, where, name, wrong):
    monkeypatch.setitem(trial.WAYS, "captured", {"compiled": True, "precision": "bf16"})
    monkeypatch.setattr(where, name, wrong)
    found = tried()
    wrong_ways = {way for way, its in found.items() if "does not agree: off by" in its.fell_out}
    assert wrong_ways == {"stack", "compiled", "captured"}, found


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
              RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")]
)  # fmt: skip
def test_where_memory_runs_out_it_says_so(monkeypatch, uncompiled, error):
    monkeypatch.setattr(stack.Stack, "_build_inputs", raising(error))
    found = tried()
    assert {way: o.fell_out for way, o in found.items()} == {"single": ""} | dict.fromkeys(
        ("stack", "compiled"), "not enough memory"
    ) | {"captured": found["captured"].fell_out}
    assert trial.fastest(found.values()).way == "single"


def test_where_even_the_plain_loop_fails_it_is_what_is_left(monkeypatch, uncompiled):
    monkeypatch.setattr(trial, "train", raising(RuntimeError("CUDA error: no kernel image")))
    found = tried()
    assert found["single"].fell_out == "CUDA error: no kernel image"
    assert all(outcome.fell_out for outcome in found.values())
    assert trial.fastest(found.values()) == Outcome("single")


def test_the_fastest_that_agrees_is_taken():
    slow, fast, wrong = (
        Outcome("single", 2.0),
        Outcome("stack", 1.0),
        Outcome("compiled", 0.1, "no"),
    )
    assert trial.fastest([slow, fast, wrong]) == fast and trial.fastest([]).way == "single"


def test_it_is_tried_once_in_a_process(monkeypatch):
    count, said = [], []
    monkeypatch.setattr(trial, "try_ways", lambda *_: count.append(1) or [Outcome("stack", 1.0)])
    log = said.append
    for objective, weight in (("beta-vae", 1), ("dip-vae-i", 10)):
        alike = profiles.setting(objective, weight, width=33, batch_size=64, steps=7)
        assert runner.way_for(alike, CPU, "trial", log).way == "stack"
    assert len(count) == 1 and len(said) == 1
    runner.way_for(dataclasses.replace(alike, width=34), CPU, "trial", log)
    assert len(count) == 2


@pytest.mark.parametrize("colour", [False, True])
def test_the_images_of_a_trial_are_those_of_a_data_set(colour):
    data = trial.drawn(CPU, 64, colour)
    images = data.images(torch.arange(64))
    assert images.shape == (64, data.pixels) and set(images.unique().tolist()) == {0.0, 1.0}
    assert 0.01 < images.mean() < 0.3 and len({tuple(i.tolist()) for i in images}) > 60


def test_the_plain_loop_is_timed():
    assert 0 < trial.seconds_per_step(SETTINGS, CPU) < 10


def test_as_a_command_it_prints_a_line_for_each_way_and_leaves_what_it_found(
    tmp_path, capsys, uncompiled
):
    out = tmp_path / "outcomes"
    words = ["--profile", "smoke", "--device", "cpu", "--out", str(out)]
    assert trial.main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[1:5]] == list(trial.WAYS)
    assert printed[5].startswith("taken: ")
    assert [str(outcome) for outcome in trial.read(out)] == printed[1:5]
    assert trial.read(tmp_path / "nowhere") == []
    assert trial.main(["--profile", "fast"]) == 1
    assert capsys.readouterr().err.startswith("error: unknown profile 'fast'")
