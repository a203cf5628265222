"""The one function that trains: what it makes, what it does not make twice, what stops or fails."""

import dataclasses
import shutil

import pytest
import torch

from replication import datasets, profiles, provenance, record, results
from replication.engine import checkpoints, runner, stack, trial
from replication.engine.runner import Clock, train_unit

PLAN = profiles.plan("smoke", data="shapes2d")
ROWS = profiles.in_order(PLAN)[:6]  # of Table 1, all of one shape
STEPS = 12
SMALL = dict(steps=STEPS, batch_size=16, zdiff_train=50, zdiff_test=20)
RUNS = [  # two VAEs, DIP-VAE-I and II
    (dataclasses.replace(settings, **SMALL), seed)
    for settings, seed in (ROWS[0], ROWS[1], ROWS[3], ROWS[4])
]


@pytest.fixture(scope="module")
def images(data_dir):
    torch.set_num_threads(1)
    return datasets.load("shapes2d", data_dir)


@pytest.fixture
def make(data_dir, tmp_path):
    def call(runs=RUNS, way="stack", out=tmp_path, **options):
        said = []
        unit = train_unit("smoke", runs, data_dir, out, "cpu", way, log=said.append, **options)
        unit.said = said
        return unit

    return call


def scores(folder, runs=RUNS):
    found = [results.read(results.path_of(folder, *run)) for run in runs]  # pictures checked too
    return [(r["settings"], r["seed"], r["losses"], r["metrics"], r["picture"]) for r in found]


def waiting(folder):
    return sorted(folder.glob("checkpoints/*.pt"))


@pytest.fixture(scope="module")
def undisturbed(data_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    unit = train_unit("smoke", RUNS, data_dir, out, "cpu", "stack", log=lambda _: None)
    assert unit.made == 4 and unit.pending() == [] and len(unit.results()) == 4
    return out


# --- what it makes ---


def test_a_stacks_results_are_whole_and_known_by_their_engine(undisturbed):
    for run in RUNS:
        result = results.read(results.path_of(undisturbed, *run))
        assert result["engine"] == "stacked" and result["code"] == provenance.STACKED
        how = {"models": 4, "precision": "float32", "compiled": False, "graph": False}
        assert result["stack"] == how and result["metrics"]["images"] == 154
        assert result["picture"]["file"].endswith("_seed0.png")
    kept = {path.stem for path in (undisturbed / "kept").glob("*.npz")}
    assert kept == {f"{settings.name}_seed0" for settings, _ in RUNS} and not waiting(undisturbed)


def test_they_are_those_of_the_plain_loop_up_to_rounding(undisturbed, make):
    unit = make(RUNS[:1], "single")
    (plain,), own = unit.results(), results.read(results.path_of(undisturbed, *RUNS[0]))
    assert plain["code"] == provenance.LOADED and set(plain) == set(own) - {"engine", "stack"}
    for name in ("reconstruction_error", "kl"):
        assert own["metrics"][name] == pytest.approx(plain["metrics"][name], rel=0.02)
    curves = [[h["reconstruction"] for h in r["losses"]] for r in (own, plain)]
    assert curves[0] == pytest.approx(curves[1], rel=5e-3)


def test_what_counts_is_not_made_again(undisturbed, make, tmp_path):
    """One result of the plain loop, one of a stack, one in another folder; one that is outdated."""
    make(RUNS[:1], "single")
    other = tmp_path / "other"
    other.mkdir()
    for run, folder in ((RUNS[1], tmp_path), (RUNS[2], other)):
        for path in undisturbed.glob(results.path_of("", *run).stem + ".*"):
            shutil.copy(path, folder)
    old = results.path_of(tmp_path, *RUNS[3])
    outdated = results.read(results.path_of(undisturbed, *RUNS[3]))
    outdated |= {"code": dict.fromkeys(outdated["code"], "0" * 16)}
    results.write_json(old, outdated)
    there = {p: p.read_bytes() for p in tmp_path.rglob("*.json") if p != old}
    unit = make(have=(other,))
    assert unit.made == 1 and unit.pending() == [] and len(unit.results()) == 3
    assert sum("already there" in line for line in unit.said) == 2
    assert all(path.read_bytes() == content for path, content in there.items())
    assert results.read(old)["code"] == provenance.STACKED
    assert len(list((tmp_path / "old").glob("*.json"))) == 1
    again = make(have=(other,))
    assert again.made == 0 and not any("begin" in line for line in again.said)


def test_runs_of_several_shapes_are_made_one_shape_after_the_other(make, tmp_path):
    longer = (dataclasses.replace(RUNS[0][0], steps=STEPS // 2, reading="half the steps"), 3)
    unit = make([RUNS[0], longer, RUNS[1]])
    assert unit.made == 3
    models = [r["stack"]["models"] for r in unit.results()]
    assert models == [2, 1, 2]


def test_convolutions_are_trained_one_by_one_whatever_is_asked(make, tiny_colour):
    unit = make([(tiny_colour, 0)], "compiled")
    assert unit.made == 1 and "stack" not in unit.results()[0]


# --- stopping and going on ---


def stop_at(monkeypatch, step, clock):
    advance = stack.Stack._advance

    def stopping(made):
        advance(made)
        if made.step == step:
            clock.ends = 0.0

    monkeypatch.setattr(stack.Stack, "_advance", stopping)


def test_stopped_and_gone_on_with_it_ends_the_same(undisturbed, make, tmp_path, monkeypatch):
    clock = Clock()
    with monkeypatch.context() as patched:
        stop_at(patched, 7, clock)
        first = make(clock=clock)
    assert first.made == 0 and first.pending() == RUNS
    (path,) = waiting(tmp_path)
    step = checkpoints.read(path)[0]["step"]
    assert 7 <= step < STEPS and f"saved at step {step} of {STEPS}: {path.name}" in first.said
    second = make()
    assert f"4 runs go on from step {step} of {STEPS}" in second.said and second.made == 4
    assert scores(tmp_path) == scores(undisturbed) and not waiting(tmp_path)


def test_stopped_in_scoring_the_rest_is_scored_later(undisturbed, make, tmp_path, monkeypatch):
    clock, write = Clock(), record.write_result

    def stop_in_the_third(path, *rest):
        if path == results.path_of(tmp_path, *RUNS[2]):
            clock.ends = 0.0
        return write(path, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(record, "write_result", stop_in_the_third)
        assert make(clock=clock).made == 3
    first = {path: path.read_bytes() for path in tmp_path.glob("*.json")}
    unit = make()
    assert unit.made == 1 and f"1 runs go on from step {STEPS} of {STEPS}" in unit.said
    assert scores(tmp_path) == scores(undisturbed) and not waiting(tmp_path)
    assert all(path.read_bytes() == content for path, content in first.items())
    assert not (tmp_path / "old").exists()


@pytest.mark.parametrize("where", ["scoring", "saving"])
def test_where_a_disk_is_full_the_last_checkpoint_is_kept(
    undisturbed, make, tmp_path, monkeypatch, where
):
    save = checkpoints.save

    def full(*_):
        raise OSError("could not write it: No space left on device; free some space")

    def full_at_step_8(path, made):
        return full() if made.step >= 8 else save(path, made)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="free some space"):
        if where == "scoring":
            patched.setattr(record, "write_result", full)
        else:
            patched.setattr(checkpoints, "save", full_at_step_8)
        make(save_every=1e-9)
    assert len(waiting(tmp_path)) == 1
    unit = make()
    assert any("go on from step" in line for line in unit.said) and unit.made == 4
    assert scores(tmp_path) == scores(undisturbed)


@pytest.mark.parametrize("harm", [lambda c: c[:-100], lambda _: b"half", lambda _: b""])
def test_a_bad_checkpoint_is_set_aside_and_its_runs_start_again(
    undisturbed, make, tmp_path, monkeypatch, harm
):
    clock = Clock()
    with monkeypatch.context() as patched:
        stop_at(patched, 5, clock)
        make(RUNS[:2], clock=clock)
    (path,) = waiting(tmp_path)
    path.write_bytes(harm(path.read_bytes()))
    unit = make(RUNS[:2])
    (said,) = (line for line in unit.said if line.startswith("REFUSED"))
    assert f"{path.name} is no whole checkpoint" in said and "start again" in said
    assert path.with_suffix(".refused").exists()
    assert unit.made == 2 and scores(tmp_path, RUNS[:2]) == scores(undisturbed, RUNS[:2])


def test_a_run_of_the_plain_loop_that_is_stopped_leaves_nothing(make, tmp_path, monkeypatch):
    clock, train = Clock(), runner.train

    def stopping(settings, seed, data, progress):
        def tell(step, steps):
            clock.ends = 0.0 if step == 7 else clock.ends
            progress(step, steps)

        return train(settings, seed, data, tell)

    monkeypatch.setattr(runner, "train", stopping)
    unit = make(RUNS[:2], "single", clock=clock)
    assert unit.made == 0 and [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert unit.said == ["VAE, seed 0: stopped; it starts again next time"]


# --- what goes wrong ---


def failing(monkeypatch, error, where):
    """Raise `error` in training wherever `where(stack)`; how many models were tried each time."""
    tried, advance = [], stack.Stack._advance

    def advancing(made):
        if made.step == 3:
            tried.append((len(made.runs), made.compiled))
            if where(made):
                raise error
        advance(made)

    monkeypatch.setattr(stack.Stack, "_advance", advancing)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    return tried


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_half_the_stack_goes_on(undisturbed, make, tmp_path, monkeypatch, error):
    tried = failing(monkeypatch, error, lambda made: len(made.runs) > 2)
    unit = make()
    assert [count for count, _ in tried] == [4, 2, 2]
    assert "OUT OF MEMORY with 4 models at once: 2 instead" in unit.said
    assert unit.made == 4 and scores(tmp_path) == scores(undisturbed) and not waiting(tmp_path)


def test_out_of_memory_with_one_model_it_is_the_plain_loop(make, monkeypatch):
    failing(monkeypatch, OUT_OF_MEMORY[1], lambda _: True)
    unit = make(RUNS[:2])
    assert unit.made == 2 and all("stack" not in result for result in unit.results())


def test_out_of_memory_a_checkpoint_of_the_whole_is_not_tried_again(make, tmp_path, monkeypatch):
    clock = Clock()
    with monkeypatch.context() as patched:
        stop_at(patched, 5, clock)
        make(RUNS[:2], clock=clock)
    with monkeypatch.context() as patched:
        failing(patched, OUT_OF_MEMORY[1], lambda made: len(made.runs) > 1)
        restore = checkpoints.restore

        def short(path, *rest, **options):
            made = restore(path, *rest, **options)
            if len(made.runs) > 1:
                raise OUT_OF_MEMORY[1]
            return made

        patched.setattr(checkpoints, "restore", short)
        unit = make(RUNS[:2])
    assert unit.made == 2 and len(list(tmp_path.glob("checkpoints/*.refused"))) == 1


def test_where_compiling_fails_later_the_plain_stack_goes_on(
    undisturbed, make, tmp_path, monkeypatch
):
    """Say, for a stack of another size than the trial's."""
    tried = failing(monkeypatch, RuntimeError("no compiler\nhere"), lambda made: made.compiled)
    unit = make(way="compiled")
    assert tried == [(4, True), (4, False)] and scores(tmp_path) == scores(undisturbed)
    assert "FAILED as compiled, 4 at once (no compiler): stack instead" in unit.said


def test_where_every_stack_fails_it_is_the_plain_loop(make, monkeypatch):
    failing(monkeypatch, RuntimeError("CUDA error: an illegal memory access"), lambda _: True)
    unit = make(RUNS[:2])
    assert unit.made == 2 and all("stack" not in result for result in unit.results())


def test_by_default_a_cpu_has_the_plain_loop_and_a_trial_can_be_asked_for(make, monkeypatch):
    asked = []
    found = trial.Outcome("stack", 0.5)
    monkeypatch.setattr(trial, "try_once", lambda settings, *_: asked.append(settings) or found)
    assert "stack" not in make(RUNS[:1], "").results()[0] and asked == []
    assert make(RUNS[1:2], "trial").results()[0]["stack"]["models"] == 1 and len(asked) == 1


WILD = (dataclasses.replace(RUNS[2][0], lambda_od=1e38, lambda_d=1e38, reading="wild"), 0)


@pytest.mark.parametrize("way", ["stack", "single"])
def test_a_run_that_diverges_is_noted_and_the_others_are_made(make, tmp_path, monkeypatch, way):
    runs = [RUNS[0], WILD, RUNS[1]]
    unit = make(runs, way)
    assert unit.made == 2 and unit.pending() == [] and len(unit.results()) == 2
    (message,) = unit.diverged()
    assert message.startswith("DIP-VAE-I (lambda_od 1e+38), wild, seed 0: the loss ")
    assert any(line.startswith(f"DIVERGED: {message}") for line in unit.said)
    again = make(runs, way)
    assert again.made == 0 and again.diverged() == [message]
    elsewhere = make(runs, way, out=tmp_path / "elsewhere", have=(tmp_path,))
    assert elsewhere.made == 0 and elsewhere.diverged() == [message]
    monkeypatch.setattr(provenance, "STACKED", dict.fromkeys(provenance.STACKED, "1" * 16))
    assert runner.pending_of([WILD], (tmp_path,), unit.data.identity) == [WILD]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"message": "x", "checksum": "0"}'])
def test_a_damaged_note_is_none(make, tmp_path, content):
    path = results.path_of(tmp_path, *WILD).with_suffix(".diverged")
    path.write_text(content)
    assert record.diverged(path, "any") is None


def test_a_model_that_its_last_step_broke_is_noted(make, monkeypatch):
    close = stack.Stack.name_broken

    def spoil(made):
        if made.step == made.steps:
            next(iter(made.parameters.values())).data[1, 0, 0] = float("nan")
        close(made)

    monkeypatch.setattr(stack.Stack, "name_broken", spoil)
    unit = make()
    assert unit.made == 3 and f"a weight is not finite after step {STEPS}" in unit.diverged()[0]


def test_an_edit_while_it_trains_is_refused(make, tmp_path, monkeypatch):
    advance = stack.Stack._advance

    def edit(made):
        advance(made)
        monkeypatch.setattr(provenance, "code_hash", lambda *_, **__: "edited")

    monkeypatch.setattr(stack.Stack, "_advance", edit)
    with pytest.raises(RuntimeError, match="the code was edited since this process started"):
        make()
    assert not list(tmp_path.glob("*.json")) and len(waiting(tmp_path)) == 1


@pytest.mark.parametrize(
    ("runs", "way", "message"),
    [
        ([], "stack", "a unit of work is of one run at least, and of one data set"),
        ([RUNS[0], (profiles.plan("smoke", data="celeba")[0][0], 0)], "", "of one data set"),
        (RUNS, "fast", "unknown way 'fast'; known: trial, single, stack, compiled, captured"),
        ([(RUNS[0][0], -1)], "single", "seed must be a whole number, 0 or more, not -1"),
        ([(dataclasses.replace(RUNS[0][0], width=0), 0)], "single", "width must be at least 1"),
        (RUNS, "captured", "a CUDA graph needs a CUDA device"),
    ],
)
def test_bad_input_is_refused_before_any_work(make, tmp_path, runs, way, message):
    with pytest.raises(ValueError, match=message):
        make(runs, way)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


# --- units ---


def test_units_are_disjoint_cover_the_plan_and_keep_its_order():
    plan = profiles.in_order(profiles.plan("paper", data="shapes2d"))
    parts, at = runner.units(plan, 8), {run: i for i, run in enumerate(plan)}
    shapes = {stack.shape_of(settings) for settings, _ in plan}
    assert sorted(map(at.get, sum(parts, []))) == list(range(len(plan)))
    for part in parts:
        assert 0 < len(part) <= 8 and len({stack.shape_of(settings) for settings, _ in part}) == 1
        assert [at[run] for run in part] == sorted(at[run] for run in part)
    assert [at[part[0]] for part in parts] == sorted(at[part[0]] for part in parts)
    assert len(parts) <= len(plan) / 8 + len(shapes)  # one short one a shape
    assert len({runner.name_of(part) for part in parts}) == len(parts)
    assert runner.units(plan, 8) == parts and runner.units([], 8) == []


def test_what_waits_comes_first_and_stays_together():
    """Of a checkpoint of runs 1, 3, 5, run 3 is made; one holds run 5 too; one nobody asks for."""
    todo = [run for run in ROWS if run != ROWS[3]]
    together = [ROWS[1::2], [ROWS[5], ROWS[0]], [(ROWS[0][0], 7)]]
    found = runner.units(todo, 8, together)
    assert found == [[ROWS[1], ROWS[5]], [ROWS[0]], [ROWS[2], ROWS[4]]]


def test_rows_name_runs_and_runs_rows():
    rows = [["beta-vae", 1.0, "", [0, 2]], ["dip-vae-ii", 5.0, "running covariance", [1]]]
    runs = runner.runs_of("smoke", rows)
    assert [(s.label, seed) for s, seed in runs] == [
        ("VAE", 0), ("VAE", 2), ("DIP-VAE-II (lambda_od 5), running covariance", 1),
    ]  # fmt: skip
    assert runner.rows_of(runs) == rows
    for plan in (profiles.plan("smoke"), profiles.plan("paper", data="shapes2d")):
        for settings, seeds in plan:
            own = [(settings, seed) for seed in seeds]
            profile = "smoke" if settings.steps < 1_000 else "paper"
            assert runner.runs_of(profile, runner.rows_of(own), settings.data) == own
