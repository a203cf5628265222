"""Result files: whole or not there, each number checked, told by what made them, never mixed."""

import copy
import dataclasses
import errno
import json
import os
import re

import numpy as np
import pytest
from whole import IDENTITY, whole_result

from replication import forms, profiles, provenance, results

OTHER = {"training": "0" * 16, "scoring": "1" * 16}


@pytest.fixture(autouse=True)
def without_codes(monkeypatch):
    """test_codes.py asks for what a run publishes; here no run does."""
    monkeypatch.setattr(forms, "leaves_codes", lambda settings: False)


@pytest.fixture
def result(tiny) -> dict:
    return whole_result(tiny)


@pytest.fixture
def path(tmp_path, tiny):
    return results.path_of(tmp_path, tiny, 2)


def changed(result: dict, field: str, value) -> dict:
    """A copy with one entry changed: "metrics.sap.gaps[0]", say; `...` takes it away."""
    made = copy.deepcopy(result)
    *way, last = [int(w) if w.isdigit() else w for w in re.findall(r"\w+", field)]
    place = made
    for word in way:
        place = place[word]
    place[last] = value
    if value is ...:
        del place[last]
    return made


def test_comes_back_as_it_went(path, result, tiny):
    results.write(path, result)
    assert results.read(path) == result
    assert results.why_not(path, tiny, 2, IDENTITY) is None
    assert [p.name for p in path.parent.iterdir()] == ["dip-vae-ii_5_m3-200_seed2.json"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code": OTHER}, "other training and scoring code"),
        ({"code": provenance.LOADED | {"training": "0" * 16}}, "other training code"),
        ({"code": provenance.STACKED | {"scoring": "0" * 16}}, "other scoring code"),
        ({"data": {"name": "x", "source": "official", "identity": "e" * 64}}, "other data"),
        ({"settings": "width"}, "other settings"),
    ],
)
def test_does_not_count_when_something_else_made_it(path, result, tiny, change, reason):
    if "settings" in change:
        change = {"settings": result["settings"] | {"width": 999}}
    results.write(path, result | change)
    assert results.why_not(path, tiny, 2, IDENTITY) == reason


def test_results_of_both_ways_of_training_count(path, result, tiny):
    results.write(path, result | {"code": provenance.STACKED})
    assert results.why_not(path, tiny, 2, IDENTITY) is None
    stacked = {"engine": "stacked", "stack": {"precision": "bf16"}, "code": provenance.STACKED}
    results.write(path, result | stacked)
    assert results.read(path)["stack"] == {"precision": "bf16"}


# --- each number ---

NOT_SHARES = [float("nan"), float("inf"), "0.2", None, 7.0, -3, 1e308, True, [], 3 * 10**400]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        *[("metrics.sap.score", v, "number from 0 to 1") for v in NOT_SHARES],
        ("metrics.zdiff.accuracy", 100.1, "is 100.1, not a number from 0 to 100"),
        ("metrics.reconstruction_error", -3, "is -3, not a number from 0"),
        ("metrics.reconstruction_error", 1e308, "is 1e.308, not a number from 0"),
        ("metrics.kl", float("nan"), "is nan, not a number from -1e-6"),
        ("metrics.images", -5, "is -5, not a whole number from 1"),
        ("metrics.images", 9.0, "is 9.0, not a whole number from 1"),
        ("metrics.images", 151, "is more than its settings ask for"),
        ("metrics.covariance_of_means", [], "has 0 entries, not 10"),
        ("metrics.covariance_of_means[3]", [1.0], "has 1 entries, not 10"),
        (
            "metrics.covariance_of_means[0][1]",
            9.0,
            "`result.metrics.covariance_of_means` is not symm",
        ),
        ("metrics.covariance_of_means[0][0]", -0.5, "not symmetric with variances from 0"),
        ("metrics.kl_per_latent[0]", 5.0, "`result.metrics.kl` is not the sum of `kl_per_latent`"),
        ("metrics.mean_variance", 3, "is 3, not a list"),
        ("metrics.sap", 3, "is 3, not named values"),
        ("metrics.sap", None, "is None, not named values"),
        ("metrics.sap.score", 0.9156649, "`result.metrics.sap.score` is not its `gaps`' mean"),
        ("metrics.sap.matrix[2][1]", 1.0, "`result.metrics.sap.gaps` do not fit its `matrix`"),
        ("metrics.sap.factors", ["a", "b", "b"], "names a factor twice"),
        ("metrics.sap.factors", ["a", "b"], "has 2 entries, not 3"),
        ("metrics.sap.discrete[0]", "no", "is 'no', not true or false"),
        ("metrics.sap.images", 8, "is not the number of `images`"),
        ("metrics.zdiff.train", 99, "was not drawn as its settings say"),
        ("metrics.zdiff.chance", 20.0, "is not 1 in all factors"),
        ("metrics.zdiff.seed", ..., "`result.metrics.zdiff` lacks `seed`"),
        ("metrics.extra", 1, "`result.metrics` has an unknown `extra`"),
        ("metrics", {}, "`result.metrics` lacks `covariance_of_means`"),
        ("losses", "anything", "is 'anything', not a list"),
        ("losses", [], "has 0 entries"),
        ("losses[0].step", 12, "does not rise to step 12"),
        ("losses[1].step", 11, "does not rise to step 12"),
        ("losses[1].kl", "much", r"`result.losses\[1\].kl` is 'much', not a number"),
        ("settings.objective", "gan", "are not those of a run: unknown objective 'gan'"),
        ("settings.gamma", 1, "`result.settings` are not those of a run: .*gamma"),
        ("settings", [], r"is \[\], not named values"),
        ("seed", 3, "it holds the run dip-vae-ii_5_m3-200_seed3, it was renamed or altered"),
        ("seed", -1, "is -1, not a whole number from 0"),
        ("minutes", "1", "is '1', not a number from 0"),
        ("code", "c734", "is 'c734', not named values"),
        ("code.scoring", "c734", "is 'c734', not a text like"),
        ("data.identity", ..., "`result.data` lacks `identity`"),
        ("data.source", "mine", "not a text like official.rendered.stand-in"),
        ("device", "", "is '', not a text"),
        ("picture", {"file": "", "sha256": "0" * 64}, "file` is '', not a text like dip"),
        ("picture", {"file": "../x.png", "sha256": "0" * 64}, "is '../x.png', not a text like dip"),
        ("picture", {"file": 3, "sha256": "0" * 64}, "is 3, not a text like dip"),
        ("picture", 3, "is 3, not named values"),
        ("format", 2, f"has format 2, this code reads {results.FORMAT}; run it again"),
        ("format", ..., "has format None"),
    ],
)
def test_what_is_no_whole_result_is_refused_both_ways(path, result, tiny, field, value, words):
    wrong = changed(result, field, value)
    with pytest.raises(results.BadResult, match=words) as caught:
        results.write(path, wrong)
    assert str(caught.value).startswith(f"{path} ") and results.MEND in str(caught.value)
    assert not path.exists()
    signed = wrong | {"checksum": results.checksum(wrong)}  # as somebody with a pen would
    path.write_text(json.dumps(signed))
    with pytest.raises(results.BadResult, match=words):
        results.read(path)
    assert re.search(words, results.why_not(path, tiny, 2, IDENTITY))


def test_what_a_result_holds_depends_on_its_data(tmp_path, tiny, tiny_colour):
    """Faces have attributes beside the two scores; chairs have neither scores nor attributes."""
    faces, chairs = whole_result(tiny_colour), dataclasses.replace(tiny_colour, data="chairs")
    path = results.path_of(tmp_path, tiny_colour, 2)
    results.write(path, faces)
    assert results.read(path) == faces and path.name == "celeba_dip-vae-i_2_seed2.json"
    for field, value, words in (
        ("metrics.attributes", ..., "lacks `attributes`"),
        ("metrics.attributes.names[0]", "z", "are of other names, images or latents"),
        ("metrics.attributes.single_latent[0]", 12, "are of other names, images or latents"),
        ("metrics.attributes.accuracy[0]", 101, "not a number from 0 to 100"),
        ("metrics.sap", None, "is None, not named values"),
    ):
        with pytest.raises(results.BadResult, match=words):
            results.write(path, changed(faces, field, value))
    path = results.path_of(tmp_path, chairs, 2)
    results.write(path, whole_result(chairs))
    assert results.read(path)["metrics"]["sap"] is None
    with pytest.raises(results.BadResult, match="sap` is {'score'.*, not null"):
        results.write(path, changed(whole_result(chairs), "metrics.sap", faces["metrics"]["sap"]))


# --- each file ---


def test_every_flipped_bit_is_noticed(path, result):
    """400 bits of a good file: each is refused in a sentence, or was none of the content."""
    results.write(path, result)
    good, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for place in rng.choice(8 * len(good), 400, replace=False).tolist():
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bad)
        try:
            assert results.read(path) == result
        except results.BadResult as error:
            refused += 1
            assert str(error).startswith(f"{path} ") and results.MEND in str(error)
    assert refused > 300


def test_a_changed_digit_is_told_by_the_checksum(path, result):
    results.write(path, result)
    path.write_text(path.read_text().replace('"minutes": 0.5', '"minutes": 0.6'))
    with pytest.raises(results.BadResult, match="was altered: it does not fit its checksum; run"):
        results.read(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is truncated or not JSON"),
        (b'{"format": 3, "prof', "is truncated or not JSON"),
        (b"\xff\xfe{}", "is truncated or not JSON .*utf-8"),
        (100_000 * b"[", "is truncated or not JSON"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "is truncated or not JSON"),
        (b"[]", "has no checksum"),
        (b"null", "has no checksum"),
        (b"{}", "has no checksum"),
        (b'{"checksum": []}', "has no checksum|does not fit"),
        (b'{"kl": NaN, "checksum": "0"}', "does not fit its checksum"),
    ],
)
def test_a_damaged_file_ends_in_a_sentence(path, tiny, content, words):
    path.write_bytes(content)
    with pytest.raises(results.BadResult, match=words) as caught:
        results.read(path)
    assert str(path) in str(caught.value) and results.MEND in str(caught.value)
    assert re.search(words, results.why_not(path, tiny, 2, IDENTITY))


def test_a_folder_or_a_link_in_a_files_place_ends_in_a_sentence(path, result, tiny, tmp_path):
    path.mkdir()
    words = "cannot be read: Is a directory; move away the folder in its place"
    with pytest.raises(results.BadResult, match=words):
        results.read(path)
    with pytest.raises(OSError, match=f"could not write {path}: .*; move away the folder"):
        results.write(path, result)
    assert results.set_aside(path).parent.name == "old" and not path.exists()
    path.symlink_to(path)
    with pytest.raises(results.BadResult, match="cannot be read: .*; delete the link in its place"):
        results.read(path)
    assert "delete the link" in results.why_not(path, tiny, 2, IDENTITY)
    with pytest.raises(results.BadResult, match="delete the link"):
        results.collect(tmp_path, [(tiny, (2,))])
    results.write(path, result)
    assert results.read(path) == result


def test_no_permission_ends_in_a_sentence(path, result, monkeypatch):
    results.write(path, result)

    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(type(path), "read_bytes", forbidden)
        words = "cannot be read: Permission denied; check its folder and who may use it"
        with pytest.raises(results.BadResult, match=words):
            results.read(path)
    monkeypatch.setattr(os, "replace", forbidden)
    with pytest.raises(OSError, match=f"could not write {path}: Permission denied; check its f"):
        results.write(path, result)


def test_a_full_disk_leaves_what_was_there(path, result, monkeypatch):
    results.write(path, result)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    words = f"^could not write {path}: No space left on device; free some space$"
    with pytest.raises(OSError, match=words):
        results.write(path, result | {"minutes": 9.0})
    assert results.read(path) == result
    assert len(list(path.parent.iterdir())) == 1


def test_a_locked_folder_is_one_commands(tmp_path):
    with (
        results.locked(tmp_path / "runs"),
        pytest.raises(ValueError, match="another `make replicate` or sweep is at work in"),
        results.locked(tmp_path / "runs"),
    ):
        pass
    (tmp_path / "file").touch()
    with (
        pytest.raises(OSError, match="could not write .*file/.lock: .*; a file is in a folder's"),
        results.locked(tmp_path / "file"),
    ):
        pass


def test_pictures_are_checked(path, result, tiny):
    picture = {"file": f"{path.stem}.png", "sha256": "0" * 64}
    results.write(path, result | {"picture": picture})
    file = path.with_suffix(".png")
    with pytest.raises(results.BadResult, match=f"{file} cannot be read: No such file or dir"):
        results.read(path)
    file.mkdir()
    with pytest.raises(results.BadResult, match=f"{file} cannot be read: Is a directory"):
        results.read(path)
    file.rmdir()
    file.write_bytes(b"another picture")
    with pytest.raises(results.BadResult, match=f"{file} is not the file that {path.name}"):
        results.read(path)
    row = profiles.table_1()[0]
    with pytest.raises(results.BadResult, match="picture` is None, not named values"):
        results.write(results.path_of(path.parent, row, 0), whole_result(row, 0))


def test_set_aside_loses_nothing(path, result, tmp_path):
    for minutes in (1.0, 2.0):
        results.write(path, result | {"minutes": minutes})
        path.with_suffix(".png").write_bytes(b"picture")
        results.set_aside(path)
    kept = sorted((tmp_path / "old").glob("*.json"))
    assert sorted(json.loads(p.read_text())["minutes"] for p in kept) == [1.0, 2.0]
    assert len(list((tmp_path / "old").glob("*.png"))) == 2 and not path.exists()
    assert results.set_aside(path) is None


# --- kept decoders ---

KEPT = {
    "mu": np.zeros((3, 2), np.float16), "log_var": np.zeros((3, 2), np.float16),
    "decoder.0.weight": np.ones((4, 2), np.float16), "decoder.0.bias": np.ones(4, np.float16),
}  # fmt: skip


def test_kept_arrays_come_back_and_are_missing_without_a_word(tmp_path, capsys):
    path = tmp_path / "one.npz"
    assert results.read_kept(path) is None and capsys.readouterr().out == ""
    np.savez(path, **KEPT)
    found = results.read_kept(path)
    assert found.keys() == KEPT.keys() and all((found[n] == KEPT[n]).all() for n in KEPT)


def spoilt(name, value):
    return {n: a for n, a in (KEPT | {name: value}).items() if a is not None}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (spoilt("mu", np.full((3, 2), np.nan)), "a number is not finite"),
        (spoilt("decoder.0.bias", np.full(4, np.inf)), "a number is not finite"),
        (spoilt("mu", np.zeros((2, 2))), "latents of other shapes"),
        (spoilt("mu", None), "not what a run leaves"),
        (spoilt("decoder.0.bias", None), "not what a run leaves"),
        (spoilt("mu", np.array([None])), "allow_pickle"),
        ({}, "not what a run leaves"),
    ],
)
def test_kept_arrays_that_are_no_runs_are_left_out(tmp_path, capsys, arrays, words):
    path = tmp_path / "one.npz"
    np.savez(path, **arrays)
    assert results.read_kept(path) is None
    out = capsys.readouterr().out
    assert out.startswith(f"left out: {path} is damaged (") and words in out
    assert out.count("\n") == 1


def test_a_damaged_file_of_kept_arrays_is_left_out(tmp_path, capsys):
    path = tmp_path / "one.npz"
    np.savez(path, **KEPT)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"NUMPY") + 130] ^= 1
    for content in (b"", whole[:100], whole[:-30], bytes(flipped), b"no archive"):
        path.write_bytes(content)
        assert results.read_kept(path) is None
        assert capsys.readouterr().out.startswith(f"left out: {path} is damaged (")
    path.unlink()
    path.mkdir()
    assert results.read_kept(path) is None and "left out" in capsys.readouterr().out


# --- many results ---


def test_collect_takes_exactly_the_plan(tmp_path, result, tiny):
    for seed in range(1, 5):  # one more than asked for
        results.write(results.path_of(tmp_path, tiny, seed), result | {"seed": seed})
    assert [r["seed"] for r in results.collect(tmp_path, [(tiny, (1, 2, 3))])] == [1, 2, 3]
    words = "1 of 5 results are not in .*: dip-vae-ii_5_m3-200_seed5"
    with pytest.raises(FileNotFoundError, match=words):
        results.collect(tmp_path, [(tiny, (1, 2, 3, 4, 5))])
    wider = dataclasses.replace(tiny, width=999)
    with pytest.raises(results.BadResult, match="has other settings than its profile now"):
        results.collect(tmp_path, [(wider, (1,))])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"code": OTHER},
            r"2 versions of the code on shapes2d \(1 from another: .*_seed1.json\); run `make rep",
        ),
        (
            {"data": {"name": "x", "source": "official", "identity": "e" * 64}},
            "2 versions of the shapes2d",
        ),
    ],
)
def test_collect_refuses_a_mixture(tmp_path, result, tiny, change, words):
    results.write(results.path_of(tmp_path, tiny, 1), result | {"seed": 1})
    results.write(results.path_of(tmp_path, tiny, 2), result | change)
    with pytest.raises(results.BadResult, match=words):
        results.collect(tmp_path, [(tiny, (1, 2))])


def test_collect_takes_results_on_several_data_sets(tmp_path, result, tiny, tiny_colour):
    """Each of one version of its own data; two versions of one of them are refused."""
    data = {"name": "faces", "source": "stand-in", "identity": "f" * 64}
    colour = whole_result(tiny_colour) | {"data": data}
    for seed in (1, 2):
        results.write(results.path_of(tmp_path, tiny, seed), result | {"seed": seed})
        results.write(results.path_of(tmp_path, tiny_colour, seed), colour | {"seed": seed})
    plan = [(tiny, (1, 2)), (tiny_colour, (1, 2))]
    found = [r["data"]["identity"][0] for r in results.collect(tmp_path, plan)]
    assert found == ["d", "d", "f", "f"]
    other = colour | {"data": data | {"identity": "c" * 64}}
    results.write(results.path_of(tmp_path, tiny_colour, 2), other)
    with pytest.raises(results.BadResult, match=r"2 versions of the celeba \(1 from another: "):
        results.collect(tmp_path, plan)


def test_collect_takes_both_ways_of_training(tmp_path, result, tiny):
    results.write(results.path_of(tmp_path, tiny, 1), result | {"seed": 1})
    results.write(results.path_of(tmp_path, tiny, 2), result | {"code": provenance.STACKED})
    found = [r["code"] for r in results.collect(tmp_path, [(tiny, (1, 2))])]
    assert found == [provenance.LOADED, provenance.STACKED]
