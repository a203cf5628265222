"""Published codes: their rounding, their size, and files that are damaged."""

import numpy as np
import pytest
from whole import made

from dipvae_src.sap import sap_score
from replication import codes, results, scores
from replication.engine import runner


def left(folder, mu, factors=None):
    """A file of codes in a folder, and the factors beside it."""
    factors = np.arange(2 * len(mu)).reshape(-1, 2) % 7 if factors is None else factors
    path = folder / "a_seed0.codes.npz"
    path.write_bytes(codes.packed(**dict(zip(("codes", "ends"), codes.rounded(mu)))))
    (folder / codes.FACTORS).write_bytes(codes.packed(factors=factors.astype(np.uint8)))
    return path


def test_by_hand():
    mu = np.array([[0.0, 5.0], [1.0, 5.0], [255.0, 5.0], [100.6, 5.0]])
    rounded, ends = codes.rounded(mu)
    assert rounded.tolist() == [[0, 0], [1, 0], [255, 0], [101, 0]]  # a latent that never moves: 0
    assert ends.tolist() == [[0, 5], [255, 5]]
    assert codes.restored(rounded, ends).tolist() == [[0, 5], [1, 5], [255, 5], [101, 5]]


def test_rounding_is_off_by_half_a_step_at_most(tmp_path):
    mu = np.random.default_rng(0).normal(size=(500, 3)) * [1e-3, 1, 40]
    found, factors = codes.read_codes(left(tmp_path, mu))
    step = np.ptp(mu, axis=0) / codes.LEVELS
    assert (np.abs(found - mu) <= 0.51 * step).all() and factors.shape == (500, 2)
    assert factors.dtype == np.int64 and found.dtype == np.float64


def test_ten_thousand_images_take_at_most_110_kb_and_the_same_bytes_twice(tmp_path):
    mu = np.random.default_rng(1).normal(size=(10_000, 10))  # the least compressible
    first = left(tmp_path, mu).read_bytes()
    assert len(first) <= 110_000 and left(tmp_path, mu).read_bytes() == first


def test_sap_hardly_moves(tmp_path):
    rng = np.random.default_rng(2)
    factors = np.stack([rng.integers(0, 3, 10_000), rng.integers(0, 32, 10_000)], axis=1)
    mu = factors @ [[1.0, 0.2], [0.01, 0.3]] + 0.3 * rng.normal(size=(10_000, 2))
    found, read = codes.read_codes(left(tmp_path, mu, factors))
    scores = [sap_score(z, f, [True, False]).score for z, f in ((mu, factors), (found, read))]
    assert scores[0] > 0.1 and abs(scores[0] - scores[1]) < 1e-3


@pytest.mark.parametrize("damage", ["cut", "emptied", "gone", "no factors", "few factors", "ends"])
def test_damaged_files_are_refused_by_name(tmp_path, damage):
    mu = np.random.default_rng(3).normal(size=(50, 2))
    path = left(tmp_path, mu)
    if damage in ("cut", "emptied"):
        path.write_bytes(path.read_bytes()[: 200 if damage == "cut" else 0])
    elif damage == "gone":
        path.unlink()
    elif damage == "no factors":
        (tmp_path / codes.FACTORS).unlink()
    elif damage == "few factors":
        (tmp_path / codes.FACTORS).write_bytes(codes.packed(factors=np.zeros((9, 2), np.uint8)))
    else:
        ends = np.full((2, 2), np.nan, np.float32)
        path.write_bytes(codes.packed(codes=codes.rounded(mu)[0], ends=ends))
    with pytest.raises(codes.BadCodes, match=r"\.npz"):
        codes.read_codes(path)


def test_a_result_is_scored_again_from_its_codes_alone(data_dir, tiny, tmp_path, monkeypatch):
    """The same scores by the same code; by another scoring code no training takes place."""
    kept = made(tiny, data_dir, tmp_path)
    path = results.path_of(tmp_path, tiny, 1)
    mu, factors = codes.read_codes(path.with_name(kept["codes"]["file"]))
    sap = kept["metrics"]["sap"]
    assert scores.rounded(sap_score(mu, factors, sap["discrete"]).score) == sap["score"]
    assert len(mu) == kept["metrics"]["images"] and kept["metrics"]["unrounded"] is not None
    older = kept | {"code": kept["code"] | {"scoring": "0" * 16}}
    results.write(path, older)
    monkeypatch.setattr(runner, "train", None)  # would fail if it were called
    again = made(tiny, data_dir, tmp_path)
    assert again["metrics"]["sap"] == sap and again["code"] == kept["code"]
    assert again["metrics"]["zdiff"] == kept["metrics"]["zdiff"]
    assert again["metrics"]["unrounded"] is None and again["losses"] == kept["losses"]


def test_altered_codes_are_no_result(data_dir, tiny, tmp_path):
    kept = made(tiny, data_dir, tmp_path)
    path = results.path_of(tmp_path, tiny, 1)
    file = path.with_name(kept["codes"]["file"])
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(results.BadResult, match="codes.npz is not the file that"):
        results.read(path)
