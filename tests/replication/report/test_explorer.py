"""The explorer: explorer.js draws what PyTorch draws, weights belong to their sheets.

python -m pytest tests/replication/report    # what is in JavaScript needs node (apt: nodejs)
"""

import dataclasses
import io
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reported import loud, means, results_of, settings_of, sheet_of, shown_models

from dipvae_src import models
from replication import profiles, results
from replication.report import explorer, page

NODE = shutil.which("node") or shutil.which("nodejs")
needs_node = pytest.mark.skipif(not NODE, reason="node is not here: apt-get install -y nodejs")


def node(code: str, job=None):
    """The JSON that some JavaScript prints, with explorer.js as `e` and `job` as `job`."""
    head = f"const e = require({json.dumps(str(explorer.SCRIPT))});"
    head += "const job = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
    done = subprocess.run(
        [NODE, "-e", head + code],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def drawn_by_script(weights: dict[str, np.ndarray], z: np.ndarray, output: str) -> np.ndarray:
    code = "const draw = e.decoder(e.unpack(job.text, job.layout), job.output);"
    code += "console.log(JSON.stringify(job.z.map((z) => [...draw(z)])));"
    job = {"text": explorer.as_text(weights), "layout": layout_of(weights)}
    return np.array(node(code, job | {"z": z.tolist(), "output": output}))


def layout_of(weights: dict[str, np.ndarray]) -> list[dict]:
    return [{"name": name, "shape": list(a.shape)} for name, a in weights.items()]


def coarse(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What eight bits leave of weights."""
    found = {}
    for name, array in weights.items():
        scales, whole = explorer.eight_bits(array)
        found[name] = (scales[:, None] * whole).reshape(array.shape)
    return found


def side_by_side(images: np.ndarray, channels: int) -> np.ndarray:
    """Images (batch, pixels) as in a row of a sheet."""
    rows = [image.reshape(channels, 64, 64).transpose(1, 2, 0) for image in images]
    row = np.concatenate(rows, axis=1)
    return row[..., 0] if channels == 1 else row


def halves(model: models.VAE) -> dict[str, np.ndarray]:
    return {f"decoder.{name}": p.half().numpy() for name, p in model.decoder.state_dict().items()}


@needs_node
def test_weights_come_back_in_eight_bits_with_a_scale_a_row():
    array = np.array([[1.0, -2.0, 0.4], [0, 0, 0], [1e-3, 5e-4, 0]], np.float32)
    scales, whole = explorer.eight_bits(array)
    np.testing.assert_array_equal(whole, [[64, -127, 25], [0, 0, 0], [127, 64, 0]])
    np.testing.assert_allclose(scales[[0, 2]], [2 / 127, 1e-3 / 127], rtol=1e-6)
    bias = np.array([0.1, -3.0, 0, 7.5], np.float32)
    np.testing.assert_allclose(coarse({"b": bias})["b"], bias, rtol=1e-6)
    weights = {"a": array, "b": bias}
    code = "const found = e.unpack(job.text, job.layout);"
    code += "console.log(JSON.stringify(job.layout.map(({ name }) => [...e.values(found[name])])));"
    job = {"text": explorer.as_text(weights), "layout": layout_of(weights)}
    for read, kept in zip(node(code, job), coarse(weights).values()):
        np.testing.assert_allclose(read, kept.ravel(), rtol=1e-6)


def test_the_text_of_weights_needs_no_escaping():
    array = np.random.default_rng(0).normal(size=(300, 100)).astype(np.float32)
    text = explorer.as_text({"a": array})
    assert not set("<>&") & set(text) and len(text) == 5 * -(-300 * (100 + 4) // 4)


@needs_node
@pytest.mark.parametrize("network, latents", [("fc", 10), ("conv", 32), ("conv-2x2", 5)])
def test_pixels_equal_pytorch(network, latents):
    """With the same weights, of eight bits; the script rounds what goes into a layer, too."""
    model, output = loud(network, latents, seed=3), "sigmoid" if network == "fc" else "clamp"
    weights = coarse(halves(model))
    own = {name.removeprefix("decoder."): torch.from_numpy(a) for name, a in weights.items()}
    model.decoder.load_state_dict(own)
    z = np.random.default_rng(0).normal(size=(6, latents)).astype(np.float32)
    expected = means(model, z)
    assert expected.min() < 0.2 and expected.max() > 0.8, "too grey to tell anything"
    assert np.abs(drawn_by_script(weights, z, output) - expected).max() < 0.3 / 255
    drawn = explorer.decode(settings_of(network, latents), weights, z)
    row = side_by_side(expected, 1 if network == "fc" else 3)
    assert drawn.shape == row.shape and np.abs(drawn - row).max() < 1e-5


@needs_node
def test_a_linear_layer_of_the_papers_width_keeps_its_sums_apart():
    """All weights of one sign and size: the largest sums that a pair of rows can have."""
    ones = np.ones((1200, 1200), np.float32)
    ones[1::2] *= -1
    zeros = np.zeros(1200, np.float32)
    last = np.zeros((4, 1200), np.float32)
    last[0, 0] = last[1, 1] = last[2, 1198] = last[3, 1199] = 1.0
    weights = {
        "decoder.0.weight": np.ones((1200, 1), np.float32), "decoder.0.bias": zeros,
        "decoder.2.weight": ones / 1200, "decoder.2.bias": zeros,
        "decoder.4.weight": last, "decoder.4.bias": np.zeros(4, np.float32),
    }  # fmt: skip
    (drawn,) = drawn_by_script(weights, np.array([[20.0]]), "sigmoid")  # tanh of 20 is 1
    expected = 1 / (1 + np.exp(-np.tanh([1.0, -1.0, 1.0, -1.0])))
    np.testing.assert_allclose(drawn, expected, atol=2e-3)


@needs_node
def test_a_hand_computed_transposed_convolution():
    """One input cell of 1 in 4 x 4: the kernel appears, from row 2a - 1 and column 2b - 1 on."""
    first, second = np.zeros((16, 1), np.float32), np.zeros((1, 1, 4, 4), np.float32)
    first[4 * 2 + 1] = 1  # z = 1 sets cell (2, 1)
    second[0, 0] = kernel = np.array([*range(15), 127]).reshape(4, 4) / 127
    weights = {
        "decoder.0.weight": first,
        "decoder.0.bias": np.zeros(16, np.float16),
        "decoder.3.weight": second,
        "decoder.3.bias": np.zeros(1, np.float16),
    }
    drawn = drawn_by_script(weights, np.ones((1, 1)), "clamp").reshape(8, 8)
    expected = np.zeros((8, 8))
    expected[3:7, 1:5] = kernel
    np.testing.assert_allclose(drawn, expected, atol=1e-6)


@needs_node
def test_weights_that_do_not_fit_their_layout_are_refused():
    weights = {"a": np.zeros((2, 30), np.float16)}
    code = "try { e.unpack(job.text, job.layout); console.log('0'); }"
    code += "catch (error) { console.log(JSON.stringify(error.message)); }"
    job = {"text": explorer.as_text(weights), "layout": [{"name": "a", "shape": [2, 2]}]}
    assert node(code, job) == "the weights are 68 bytes, their layout says 12"


@pytest.mark.parametrize("network", ["fc", "conv"])
def test_eight_bits_move_pixels_of_a_fresh_model_by_less_than_two_levels(network):
    model = models.build(network, 10, 16, 1 if network == "fc" else 3, 0, filters=4)
    z = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32)
    weights = halves(model)
    drawn, exact = (
        explorer.decode(settings_of(network, 10), own, z) for own in (coarse(weights), weights)
    )
    assert 0 < np.abs(drawn - exact).max() < 2 / 255


# --- which weights, which models ---


@pytest.fixture
def own(tmp_path):
    """A model, its sheet, and its kept file."""
    model = loud("fc", 4, 0)
    mu = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float16).astype(np.float32)
    sheet = sheet_of(4, 1)
    sheet[64:128] = np.round(255 * side_by_side(means(model, mu[:11]), 1))
    kept_file(tmp_path / "own.npz", halves(model), mu)
    return model, sheet, mu, tmp_path / "own.npz"


def kept_file(path, weights, mu):
    half = mu.astype(np.float16)
    np.savez(path, **weights, mu=half, log_var=np.zeros_like(half))


def test_kept_weights_count_for_the_sheet_that_they_draw(own):
    model, sheet, mu, path = own
    weights, first, moved = explorer.kept(path, settings_of("fc", 4), sheet)
    assert set(weights) == set(halves(model)) and first.shape == (11, 4) and 0 < moved < 20
    gone = path.with_name("none.npz")
    assert explorer.kept(gone, settings_of("fc", 4), sheet) == (None, None, 0.0)
    kept_file(path, halves(loud("fc", 4, 1)), mu)
    with pytest.raises(ValueError, match="^own.npz is of another run or network$"):
        explorer.kept(path, settings_of("fc", 4), sheet)


def nan(content: bytes, own) -> bytes:
    model, _, mu, path = own
    weights = halves(model)
    next(iter(weights.values()))[0] = np.nan
    kept_file(path, weights, mu)
    return path.read_bytes()


def narrower(content: bytes, own) -> bytes:
    kept_file(own[3], halves(loud("fc", 3, 0)), own[2])
    return own[3].read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content, own: b"",
        lambda content, own: content[: len(content) // 2],
        lambda content, own: b"PK" + content[2:300] + bytes(200) + content[500:],
        nan,
        narrower,
    ],
    ids=["emptied", "cut", "overwritten", "nan", "of another network"],
)
def test_a_damaged_kept_file_is_left_out_and_said(own, damage, tmp_path):
    sheet, path = own[1], own[3]
    path.write_bytes(damage(path.read_bytes(), own))
    with pytest.raises(ValueError, match="^own.npz is ") as raised:
        explorer.kept(path, settings_of("fc", 4), sheet)
    shown = explorer.Model(settings_of("fc", 4), 1.0, [], sheet, left_out=str(raised.value))
    text = explorer.block([shown], "shapes", "2D Shapes")
    assert f"beta-VAE (2) is pre-rendered: {raised.value}." in text


def test_frames_show_every_latent_at_21_positions_from_every_test_image():
    """A row of reconstructions, then of each start image a row a latent, most used first."""
    (shown,), (model,) = shown_models("fc", 4, 1)
    pictures = Image.open(io.BytesIO(explorer.frames_of(shown))).convert("L")
    frames = 255 - np.asarray(pictures).astype(float)  # shapes are ink on white

    def apart(row: int, z: np.ndarray) -> float:
        """Levels between a row of frames and what PyTorch draws."""
        drawn = 255 * side_by_side(means(model, z), 1)
        return np.abs(frames[64 * row :][:64, : 64 * len(z)] - drawn).mean()

    def moved(start: int, latent: int) -> np.ndarray:
        z = np.tile(shown.mu[start], (21, 1))
        z[:, latent] = np.linspace(-2.5, 2.5, 21)
        return z

    loss = 8  # WebP's
    assert frames.shape == ((1 + 11 * 4) * 64, 21 * 64) and apart(0, shown.mu) < loss
    for start, latent in itertools.product({0, 10}, range(4)):
        row = 1 + 4 * start + 3 - latent
        every = {(s, k): apart(row, moved(s, k)) for s in range(11) for k in range(4)}
        assert min(every, key=every.get) == (start, latent) and every[start, latent] < loss


@pytest.fixture
def left(made, tmp_path):
    """A run's folder with what its first chair model left, and one with what is committed of it."""
    (source,) = {Path(shown.results_dir) for shown in results_of(made).values()}
    stem = "chairs_beta-vae_1_seed0"
    for name in (f"{stem}.json", f"{stem}.png", f"kept/{stem}.npz"):
        (tmp_path / "runs" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, tmp_path / "runs" / name)
    (tmp_path / "results").mkdir()
    shutil.copy(source / f"{stem}.png", tmp_path / "results")
    return results.read(source / f"{stem}.json"), tmp_path / "runs", tmp_path / "results"


def test_a_small_decoder_is_left_beside_results_and_draws_as_it_did(left):
    result, runs, committed = left
    explorer.leave(runs, committed)
    before, after = (explorer.model_of(result, folder) for folder in (runs, committed))
    assert not (committed / "frames").exists() and after.moved == before.moved
    for name, array in before.weights.items():
        np.testing.assert_array_equal(after.weights[name], array)
    np.testing.assert_array_equal(after.mu, before.mu)
    (path,) = (committed / "kept").iterdir()
    assert results.read_kept(path)["mu"].shape == (11, 12)  # latents of the images shown alone


def test_frames_of_a_large_decoder_are_left_beside_results_and_read_from_there(left, monkeypatch):
    result, runs, committed = left
    monkeypatch.setattr(explorer, "SMALL", 100)
    explorer.leave(runs, committed)
    (path,) = (committed / "frames").iterdir()
    assert path.name == explorer.frames_name(result) and not (committed / "kept").exists()
    read = explorer.model_of(result, committed)
    assert read.weights is None and read.frames == path.read_bytes()
    result["losses"][0]["step"] += 1  # another run's
    assert explorer.model_of(result, committed).frames == b""


OBJECTIVES = {"DIP-VAE-I": "dip-vae-i", "DIP-VAE-II": "dip-vae-ii"}


def model(label: str, kl: float) -> explorer.Model:
    """A model by its label: VAE, beta-VAE (4), DIP-VAE-I (10), ..."""
    name, _, weight = label.rstrip(")").partition(" (")
    settings = profiles.setting(OBJECTIVES.get(name, "beta-vae"), float(weight or 1))
    return explorer.Model(settings, kl, [], sheet_of(1, 1))


def test_one_of_each_objective_is_shown_first_the_last_that_uses_its_latents():
    labels = {
        "VAE": 9, "beta-VAE (4)": 5, "beta-VAE (60)": 0, "DIP-VAE-I (10)": 9, "DIP-VAE-II (5)": 9,
        "DIP-VAE-II (500)": 2,
    }  # fmt: skip
    these = [model(label, kl) for label, kl in labels.items()]
    assert explorer.chosen(these) == [0, 1, 3, 5]
    assert explorer.chosen(these[:3]) == [0, 1, 2]
    assert explorer.chosen([model("beta-VAE (4)", 0), model("beta-VAE (60)", 0)]) == [0, 1]


def facts_of(text: str) -> dict:
    return json.loads(re.search(r'class="facts">(.*?)</script>', text)[1])


def test_a_block_holds_weights_of_small_decoders_whether_shown_first_or_not():
    these, _ = shown_models("fc", 3, 6, without=1)
    facts = facts_of(explorer.block(these, "shapes", "2D Shapes"))
    assert ["layout" in m for m in facts["models"]] == 5 * [True] + [False]


def test_a_block_holds_weights_of_those_shown_first_else_frames_or_the_sheet(monkeypatch):
    monkeypatch.setattr(explorer, "SMALL", 100)
    these, own = shown_models("fc", 3, 6, without=1)
    assert explorer.chosen(these) == [0, 1, 2, 4]  # the last that uses its latents, then the first
    frames = explorer.frames_of(these[2])
    these[3] = dataclasses.replace(these[3], frames=frames)
    text = explorer.block(these, "shapes", "2D Shapes")
    facts = facts_of(text)
    assert ["layout" in m for m in facts["models"]] == [True, True, True, False, True, False]
    assert [m.get("positions") for m in facts["models"]] == [None, None, None, 21, None, 11]
    assert [m.get("starts") for m in facts["models"]] == [None, None, None, 11, None, 1]
    assert facts["models"][3]["frames"] == page.inline(frames, "webp")
    weights = re.findall(r'class="weights" data-model="(\d)">([^<]*)<', text)
    assert [w[0] for w in weights] == ["0", "1", "2", "4"]
    named = {f"decoder.{n}": p.detach().numpy() for n, p in own[1].decoder.named_parameters()}
    assert weights[1][1] == explorer.as_text(named)
    assert facts["channels"] == 1 and facts["models"][0]["rows"][0]["latent"] == 2


def test_a_label_cannot_end_the_block_early():
    these, _ = shown_models("fc", 2, 1)
    these[0].rows[0]["use"] = "</script><b>"
    text = explorer.block(these, "shapes", '"><b>')
    assert "<b>" not in text and json.loads(re.search(r'"facts">(.*?)</script>', text)[1])


def test_private_test_images_are_not_in_the_page():
    (shown,), _ = shown_models("conv", 2, 1)
    images, reconstructed = (
        page.inline(explorer.webp(shown.sheet[i : i + 64]), "webp") for i in (0, 64)
    )

    def text(private: bool) -> str:
        return explorer.block([dataclasses.replace(shown, private=private)], "faces", "CelebA")

    assert images.split(",")[1] in text(False) and "may not be passed on" not in text(False)
    assert images.split(",")[1] not in text(True) and "may not be passed on" in text(True)
    assert reconstructed.split(",")[1] in text(True)
