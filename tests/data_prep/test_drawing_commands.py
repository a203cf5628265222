"""The commands that draw data sets: where they write, and how they say that they cannot."""

import errno
import json
import os

import pytest

from data_prep import packed, shapes2d
from data_prep.standins import chairs, faces

SMALL = {"faces": (faces, "--images", "10"), "standin_chairs": (chairs, "--chairs", "2")}
COMMANDS = (shapes2d, faces, chairs)


@pytest.mark.parametrize("stem", SMALL)
def test_a_home_folder_is_found_and_a_relative_one_named_whole(stem, tmp_path, monkeypatch, capsys):
    module, *options = SMALL[stem]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert module.main(["--out", "~/data", *options]) == 0
    assert packed.read_whole(tmp_path / "data", stem)
    monkeypatch.chdir(tmp_path)
    assert module.main(["--out", "data", *options]) == 0
    assert str(tmp_path / "data") in capsys.readouterr().out.splitlines()[-1]
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize("module", COMMANDS)
def test_a_file_in_the_folders_place_is_named_in_one_sentence(
    module, tmp_path, monkeypatch, capsys
):
    (tmp_path / "data").write_text("in the way")
    monkeypatch.chdir(tmp_path)
    assert module.main(["--out", "data"]) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"{module.__name__}: ")
    assert complaint.count("\n") == 1 and str(tmp_path / "data") in complaint


@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_made_is_named_in_one_sentence(
    module, code, tmp_path, monkeypatch, capsys
):
    def refuse(path, *rest, **more):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(packed.Path, "mkdir", refuse)
    assert module.main(["--out", str(tmp_path / "data")]) == 1
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1 and str(tmp_path / "data") in complaint
    assert os.strerror(code) in complaint and "Errno" not in complaint


ALTERED = {
    "source": lambda info: info | {"source": "official"},
    "reversed": lambda info: info | {"factors": info["factors"][::-1]},
    "discrete": lambda info: info | {"factors": [f | {"discrete": "no"} for f in info["factors"]]},
    "one value short": lambda info: (
        info | {"factors": [f | {"values": f["values"][:-1]} for f in info["factors"]]}
    ),
    "height": lambda info: info | {"height": 32, "width": 128},
    "no checksum": lambda info: {key: info[key] for key in info if key != "checksum"},
}


@pytest.mark.parametrize("change", ALTERED)
@pytest.mark.parametrize("stem", SMALL)
def test_a_description_that_was_altered_is_not_believed(stem, change, tmp_path, capsys):
    module, *options = SMALL[stem]
    command, path = ["--out", str(tmp_path), *options], tmp_path / f"{stem}.json"
    assert module.main(command) == 0
    right = path.read_bytes()
    path.write_text(json.dumps(ALTERED[change](json.loads(right))))
    with pytest.raises(ValueError, match=f"{stem}.json"):
        packed.read_whole(tmp_path, stem)
    assert module.main(command) == 0
    assert path.read_bytes() == right and str(path) in capsys.readouterr().out
