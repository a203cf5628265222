"""The explorer: explorer.js draws what PyTorch draws, weights belong to their sheets.

python -m pytest tests/replication/report    # what is in JavaScript needs node (apt: nodejs)
"""

import base64
import dataclasses
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from reported import loud, means, sheet_of, shown_models

from dipvae_src import models
from dipvae_src.settings import Settings
from replication.report import explorer

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


def as_text(weights: dict[str, np.ndarray]) -> tuple[str, list[dict]]:
    numbers = b"".join(array.astype("<f2").tobytes() for array in weights.values())
    layout = [{"name": name, "shape": list(a.shape)} for name, a in weights.items()]
    return base64.b64encode(numbers).decode(), layout


def drawn_by_script(weights: dict[str, np.ndarray], z: np.ndarray, output: str) -> np.ndarray:
    text, layout = as_text(weights)
    code = "const draw = e.decoder(e.unpack(job.text, job.layout), job.output);"
    code += "console.log(JSON.stringify(job.z.map((z) => [...draw(z)])));"
    return np.array(node(code, {"text": text, "layout": layout, "z": z.tolist(), "output": output}))


def halves(model: models.VAE) -> dict[str, np.ndarray]:
    return {f"decoder.{name}": p.half().numpy() for name, p in model.decoder.state_dict().items()}


def settings_of(network: str, latents: int) -> Settings:
    """Of the models that `loud` makes."""
    data = "shapes2d" if network == "fc" else "celeba"
    return Settings("beta-vae", data=data, network=network, latents=latents, width=16, filters=4)


@needs_node
def test_every_half_precision_number_is_read_right():
    bits = np.arange(65_536, dtype=np.uint16)
    values = bits.view(np.float16).astype(np.float64)
    finite = np.isfinite(values)
    read = np.array(node("console.log(JSON.stringify([...e.HALF]));"), dtype=float)
    np.testing.assert_array_equal(read[finite], values[finite])


@needs_node
@pytest.mark.parametrize("network, latents", [("fc", 10), ("conv", 32), ("conv-2x2", 5)])
def test_pixels_equal_pytorch(network, latents):
    model, output = loud(network, latents, seed=3), "sigmoid" if network == "fc" else "clamp"
    z = np.random.default_rng(0).normal(size=(6, latents)).astype(np.float32)
    expected = means(model, z)
    assert expected.min() < 0.2 and expected.max() > 0.8, "too grey to tell anything"
    assert np.abs(drawn_by_script(halves(model), z, output) - expected).max() < 0.1 / 255
    drawn = explorer.decode(settings_of(network, latents), halves(model), z)
    assert np.abs(drawn - expected).max() < 0.1 / 255


@needs_node
def test_a_hand_computed_transposed_convolution():
    """One input cell of 1 in 4 x 4: the kernel appears, from row 2a - 1 and column 2b - 1 on."""
    first, second = np.zeros((16, 1), np.float16), np.zeros((1, 1, 4, 4), np.float16)
    first[4 * 2 + 1] = 1  # z = 1 sets cell (2, 1)
    second[0, 0] = np.arange(16).reshape(4, 4) / 16
    weights = {
        "decoder.0.weight": first,
        "decoder.0.bias": np.zeros(16, np.float16),
        "decoder.3.weight": second,
        "decoder.3.bias": np.zeros(1, np.float16),
    }
    drawn = drawn_by_script(weights, np.ones((1, 1)), "clamp").reshape(8, 8)
    expected = np.zeros((8, 8))
    expected[3:7, 1:5] = np.arange(16).reshape(4, 4) / 16
    np.testing.assert_array_equal(drawn, expected)


@needs_node
def test_weights_that_do_not_fit_their_layout_are_refused():
    text, layout = as_text({"a": np.zeros((2, 3), np.float16)})
    layout[0]["shape"] = [2, 2]
    code = "try { e.unpack(job.text, job.layout); console.log('0'); }"
    code += "catch (error) { console.log(JSON.stringify(error.message)); }"
    said = node(code, {"text": text, "layout": layout})
    assert said == "the weights are 12 bytes, their layout says 8"


@pytest.mark.parametrize("network", ["fc", "conv"])
def test_half_precision_moves_pixels_by_less_than_one_level(network):
    model = models.build(network, 10, 16, 1 if network == "fc" else 3, 0, filters=4)
    z = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32)
    drawn = explorer.decode(settings_of(network, 10), halves(model), z)
    assert 0 < np.abs(drawn - means(model, z)).max() < 1 / 255


# --- which weights, which models ---


@pytest.fixture
def own(tmp_path):
    """A model, its sheet, and its kept file."""
    model = loud("fc", 4, 0)
    mu = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float16).astype(np.float32)
    sheet = sheet_of(4, 1)
    sheet[64:128] = np.round(255 * explorer.tiles(means(model, mu[:11]), 1))
    kept_file(tmp_path / "own.npz", halves(model), mu)
    return model, sheet, mu, tmp_path / "own.npz"


def kept_file(path, weights, mu):
    half = mu.astype(np.float16)
    np.savez(path, **weights, mu=half, log_var=np.zeros_like(half))


def test_kept_weights_count_for_the_sheet_that_they_draw(own):
    model, sheet, mu, path = own
    weights, first, left_out = explorer.kept(path, settings_of("fc", 4), sheet)
    assert set(weights) == set(halves(model)) and first.shape == (11, 4) and left_out == ""
    gone = path.with_name("none.npz")
    assert explorer.kept(gone, settings_of("fc", 4), sheet) == (None, None, "")
    kept_file(path, halves(loud("fc", 4, 1)), mu)
    *nothing, left_out = explorer.kept(path, settings_of("fc", 4), sheet)
    assert nothing == [None, None] and left_out == "own.npz is of another run or network"


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
    *nothing, left_out = explorer.kept(path, settings_of("fc", 4), sheet)
    assert nothing == [None, None] and left_out.startswith("own.npz is ")
    shown = explorer.Model("M (1)", 1.0, [], sheet, left_out=left_out)
    assert f"M (1) is pre-rendered: {left_out}." in explorer.block([shown], "shapes", "2D Shapes")


def test_tiles_lie_as_on_a_sheet():
    images = np.arange(2.0 * 3 * 64 * 64).reshape(2, -1)
    row = explorer.tiles(images, 3)
    assert row.shape == (64, 128, 3)
    assert row[5, 64 + 7, 2] == images[1].reshape(3, 64, 64)[2, 5, 7]


def model(label: str, kl: float, megabytes: float = 0.0) -> explorer.Model:
    weights = {"decoder.0.weight": np.zeros((int(megabytes * 5e5), 1), np.float16)}
    return explorer.Model(label, kl, [], sheet_of(1, 1), False, weights if megabytes else None)


def test_one_of_each_objective_is_shown_first_the_last_that_uses_its_latents():
    labels = {
        "VAE": 9, "beta-VAE (4)": 5, "beta-VAE (60)": 0, "DIP-VAE-I (10)": 9, "DIP-VAE-II (5)": 9,
        "DIP-VAE-II (500)": 2,
    }  # fmt: skip
    these = [model(label, kl) for label, kl in labels.items()]
    assert explorer.chosen(these) == [0, 1, 3, 5]
    assert explorer.chosen(these[:3]) == [0, 1, 2]
    assert explorer.chosen([model("beta-VAE (4)", 0), model("beta-VAE (60)", 0)]) == [0, 1]


def test_weights_go_into_the_page_while_they_fit_those_shown_first():
    these = [model(f"beta-VAE ({beta})", 9, 3) for beta in (4, 60)]
    these = [model("VAE", 9, 3), *these, model("DIP-VAE-I (1)", 9), model("DIP-VAE-II (5)", 9, 3)]
    assert explorer.chosen(these) == [0, 2, 3, 4]
    # 4 megabytes of base64 each; one has no weights.
    assert explorer.within(these, 90) == [0, 2, 4, 1]
    assert explorer.within(these, 9) == [0, 2]


def test_a_block_holds_weights_or_else_the_sheet_without_its_test_images():
    these, own = shown_models("fc", 3, 3, without=1)
    text = explorer.block(these, "shapes", "2D Shapes")
    facts = json.loads(re.search(r'class="facts">(.*?)</script>', text)[1])
    held = [("layout" in m, "sheet" in m) for m in facts["models"]]
    assert held == [(True, False), (True, False), (False, True)]
    weights = re.findall(r'class="weights" data-model="(\d)">([^<]*)<', text)
    assert [w[0] for w in weights] == ["0", "1"]
    numbers = np.frombuffer(base64.b64decode(weights[1][1]), "<f2")
    expected = [p.detach().half().numpy().ravel() for p in own[1].decoder.parameters()]
    np.testing.assert_array_equal(numbers, np.concatenate(expected))
    assert facts["models"][2]["frames"] == 3 and facts["channels"] == 1
    assert facts["models"][0]["rows"][0]["latent"] == 2


def test_a_label_cannot_end_the_block_early():
    these, _ = shown_models("fc", 2, 1)
    these[0].rows[0]["use"] = "</script><b>"
    text = explorer.block(these, "shapes", '"><b>')
    assert "<b>" not in text and json.loads(re.search(r'"facts">(.*?)</script>', text)[1])


def test_private_test_images_are_not_in_the_page():
    (shown,), _ = shown_models("conv", 2, 1)
    images, reconstructed = (explorer.picture(shown.sheet[i : i + 64]) for i in (0, 64))

    def page(private: bool) -> str:
        return explorer.block([dataclasses.replace(shown, private=private)], "faces", "CelebA")

    assert images.split(",")[1] in page(False) and "may not be passed on" not in page(False)
    assert images.split(",")[1] not in page(True) and "may not be passed on" in page(True)
    assert reconstructed.split(",")[1] in page(True)
