"""The command that shows what a change of the losses does."""

import numpy as np
import pytest
import torch
from PIL import Image

from replication import datasets, watch

DIVISION = " / mu.shape[0]"


@pytest.fixture
def changed(monkeypatch, tmp_path, data_dir):
    """Watch, in seconds, with losses.py changed or not; what was said and the picture."""
    monkeypatch.setattr(watch, "SMALL", watch.SMALL | {"steps": 40, "width": 16})

    def run(capsys, source: str):
        (tmp_path / "dipvae_src").mkdir(exist_ok=True)
        (tmp_path / watch.LOSSES).write_text(source)
        as_committed = watch.committed()
        monkeypatch.setattr(watch, "committed", lambda: as_committed)
        monkeypatch.setattr(watch, "ROOT", tmp_path)
        out = tmp_path / "watch.png"
        code = watch.main(["--data", str(data_dir), "--out", str(out)])
        return code, capsys.readouterr(), out

    return run


def test_unchanged_losses_give_one_column(changed, capsys):
    code, said, out = changed(capsys, "# a comment more\n" + watch.committed())
    assert code == 0 and "change it to see a second column" in said.out
    assert "committed" in said.out and "now" not in said.out.split("picture")[0]
    assert "no result" in said.out and Image.open(out).width > 300


def test_a_change_shows_beside_what_was(changed, capsys):
    source = watch.committed()
    assert source.count(DIVISION) == 1, "the docstring and README name this change"
    code, said, _ = changed(capsys, source.replace(DIVISION, ""))
    lines = {line[:18].strip(): line[18:].split() for line in said.out.splitlines()}
    assert code == 0 and lines[""] == ["committed", "now"]
    before, after = map(float, lines["KL, nats an image"])
    assert before != after and after < before


def test_a_loss_that_fails_is_said_before_the_committed_one_is_trained(changed, capsys):
    code, said, _ = changed(capsys, watch.committed().replace(DIVISION, "/ nothing"))
    assert code == 1 and "committed: " not in said.out
    assert said.err.startswith(f"error: {watch.LOSSES} as it is now does not train: NameError: ")


def test_the_copied_snippet_is_as_the_docstring_says():
    """Those edits make of losses.py what the snippet computes, here written apart from both."""
    source = watch.committed()
    start, end = (source.index(f"def {n}(") for n in ("covariance_of_means", "total_covariance"))
    edited = source[start:end].replace(DIVISION, "").replace("dim=0", "dim=1")
    rest = source[end:].replace(
        "torch.diag(mean_variance) + ", "(2 * log_var).exp().diag().mean() + "
    )
    made = {}
    exec(source[:start] + edited + rest, made)
    rng = np.random.default_rng(0)
    mu, log_var = rng.normal(size=(8, 3)), rng.normal(size=(8, 3))
    centred = mu - mu.mean(axis=1, keepdims=True)
    one = np.mean([np.exp(log_var[i, i]) ** 2 for i in range(3)])
    found = made["total_covariance"](torch.from_numpy(mu), torch.from_numpy(log_var)).numpy()
    np.testing.assert_allclose(found, centred.T @ centred + one)


def test_equal_losses_give_equal_models(data_dir):
    data = watch.squares(datasets.load("shapes2d", data_dir))
    small = watch.SMALL | {"steps": 5, "width": 16}
    settings = watch.profiles.setting("dip-vae-i", 10, **small)
    first, second = (watch.trained_by(watch.committed(), settings, data) for _ in range(2))
    assert first["numbers"] == second["numbers"] and np.array_equal(first["z"], second["z"])


def test_what_is_missing_is_said(changed, capsys, monkeypatch, tmp_path):
    assert watch.main(["--data", str(tmp_path)]) == 1
    assert "run `make data` first" in capsys.readouterr().err
    monkeypatch.setattr(watch, "ROOT", tmp_path)
    with pytest.raises(RuntimeError, match="git has no dipvae_src/losses.py to compare with"):
        watch.committed()
