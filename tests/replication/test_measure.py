"""What results keep of further rulers: added without training, measured again where stale.

python -m pytest tests/replication/test_measure.py
"""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from whole import made, whole_result

from dipvae_src.models import SIDE
from dipvae_src.sap import sap_score
from dipvae_src.train import train
from replication import (
    codes,
    datasets,
    measure,
    provenance,
    record,
    results,
    rulers,
    score_readings,
    traversal_score,
)
from replication.scores import rounded, scores_seed

ROOT = Path(__file__).resolve().parents[2]


def test_results_keep_the_rulers_and_measure_again_what_is_stale(
    data_dir, tiny, tmp_path, monkeypatch
):
    kept = made(tiny, data_dir, tmp_path)
    path = results.path_of(tmp_path, tiny, 1)
    assert "rulers" not in kept  # and is whole without them
    measure.main([str(tmp_path)])
    found = results.read(path)
    own = rulers.rulers(*codes.read_codes(path.with_name(kept["codes"]["file"])))
    own = {name: rounded(score) for name, score in own.items()}
    read = score_readings.score_readings(
        *codes.read_codes(path.with_name(kept["codes"]["file"])),
        kept["metrics"]["sap"]["discrete"], tiny, scores_seed(1),
    )  # fmt: skip
    read = {name: rounded(score) for name, score in read.items()}
    assert found == kept | {
        "rulers": {"code": rulers.CODE, **own},
        "readings": {"code": score_readings.CODE, **read},
    }

    stale = found["rulers"] | {"code": "0" * 16, "mig": 0.5}
    results.write(path, found | {"rulers": stale})
    measure.main([str(tmp_path)])
    assert results.read(path) == found
    monkeypatch.setattr(rulers, "rulers", None)  # would fail if it were called
    measure.main([str(tmp_path)])

    with pytest.raises(results.BadResult, match="mig` is 1.1, not a number from 0 to 1"):
        results.write(path, found | {"rulers": found["rulers"] | {"mig": 1.1}})
    with pytest.raises(results.BadResult, match="SAP, 5,000 images` is 101, not a number"):
        results.write(path, found | {"readings": found["readings"] | {"SAP, 5,000 images": 101}})
    with pytest.raises(results.BadResult, match="`result.rulers` lacks `code`"):
        results.write(path, found | {"rulers": {}})
    with pytest.raises(results.BadResult, match="`result` has an unknown `traversals`"):
        results.write(path, found | {"traversals": {}})  # it left no picture


def test_results_keep_what_their_traversals_say(data_dir, tiny, tmp_path, monkeypatch):
    kept = made(tiny, data_dir, tmp_path)
    path = results.path_of(tmp_path, tiny, 1)
    measure.main([str(tmp_path), "--traversals"])
    assert results.read(path) == kept  # no picture, nothing to say
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((3 * SIDE, 11 * SIDE), np.uint8)).save(buffer, "PNG")
    path.with_suffix(".png").write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    kept["picture"] = {"file": path.with_suffix(".png").name, "sha256": digest}
    results.write(path, kept)
    for score, share in ((None, 0.0), (0.25, 0.25)):
        said = {"score": score, "change": [0.125], "share": [share]}
        monkeypatch.setattr(traversal_score, "traversal_score", lambda picture, said=said: said)
        results.write(path, kept)
        measure.main([str(tmp_path), "--traversals"])
        assert results.read(path)["traversals"] == said | {"code": traversal_score.CODE}
    with pytest.raises(results.BadResult, match="traversals` lacks `change`"):
        results.write(path, kept | {"traversals": {"code": "0" * 16, "score": 0.5}})


def test_all_test_images_are_had_by_training_again(data_dir, tiny, tmp_path, monkeypatch, capsys):
    kept = made(tiny, data_dir, tmp_path)
    data = datasets.load("shapes2d", data_dir)
    monkeypatch.setattr(measure.datasets, "load", lambda name: data)
    path = results.path_of(tmp_path, tiny, 1)
    measure.main([str(path), "--all-images"])
    test, (model, _) = data.split()[1], train(tiny, 1, data)
    with torch.no_grad():
        mu = model.encode(data.images(test))[0].double().numpy()
    score = sap_score(mu, data.factors(test), data.discrete).score
    assert len(test) > tiny.test_images
    found = results.read(path)["all_images"]
    assert found.pop("code") == provenance.LOADED["training"]
    assert found == {f"SAP, {len(test):,} images": pytest.approx(score, abs=1e-5)}
    kept["losses"][0]["kl"] += 1.0
    results.write(path, kept)
    assert measure.main([str(path), "--all-images"]) == 1
    assert "trained again has other losses" in capsys.readouterr().err


def test_what_cannot_be_measured_is_said(tmp_path, capsys):
    assert measure.main([str(tmp_path / "nope.json")]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'nope.json'} is not there")
    assert measure.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("0 of 0 results measured")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results").glob("*/*.json")), ids=lambda path: path.stem
)
def test_committed_results_were_measured_by_the_code_of_now(path):
    """If this fails: python -m replication.measure results/PROFILE, and --traversals."""
    result = results.read(path)
    for field, (_, code) in measure.FIELDS.items():
        assert result.get(field, {}).get("code", code) == code


def test_results_without_codes_are_passed_over_where_others_are_scored_again(
    data_dir, tiny, tiny_colour, tmp_path, capsys
):
    kept = made(tiny, data_dir, tmp_path)
    results.write(results.path_of(tmp_path, tiny_colour, 2), whole_result(tiny_colour))
    assert record.main([str(tmp_path)]) == 0
    assert "1 results scored again" in capsys.readouterr().out
    again = results.read(results.path_of(tmp_path, tiny, 1))["metrics"]
    assert again["unrounded"] is None and again["sap"] == kept["metrics"]["sap"]
    assert record.main([str(tmp_path / "nope")]) == 1
    assert "nope is no folder" in capsys.readouterr().err
