"""3D Chairs, small archives in its place: packing, labels, the split, every way it can be wrong."""

import functools
import hashlib
import io
import json
import os
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep import chairs, packed

CHAIRS = [
    hashlib.md5(str(i).encode()).hexdigest() for i in range(6)
]  # not in the order of their names
AZIMUTHS, ELEVATIONS = (0, 11, 348), (20, 30)
SORTED = sorted(CHAIRS)


def png(red: int, green: int, blue: int, size=(600, 600)) -> bytes:
    """A chair: a box of one colour on white, over the whole of the crop's left half."""
    image = Image.new("RGB", size, "white")
    image.paste((red, green, blue), (100, 100, 300, 500))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@functools.cache
def pictures() -> dict[str, bytes]:
    found = {}
    for chair in CHAIRS:
        for number, (elevation, azimuth) in enumerate((e, a) for e in ELEVATIONS for a in AZIMUTHS):
            view = f"image_{number:03d}_p{elevation:03d}_t{azimuth:03d}_r096.png"
            found[f"rendered_chairs/{chair}/renders/{view}"] = png(
                10 * SORTED.index(chair), azimuth % 256, elevation
            )
    return found


def members() -> dict[str, bytes]:
    """In no order, as a tar may be, with the file that the real archive also holds."""
    names = list(pictures())
    random.Random(0).shuffle(names)
    return {name: pictures()[name] for name in names} | {
        "rendered_chairs/all_chair_names.mat": b"MATLAB"
    }


def write_tar(path: Path, files: dict) -> Path:
    with tarfile.open(path, "w") as archive:
        archive.addfile(directory("rendered_chairs"))
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def directory(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member


def write_folder(path: Path, files: dict) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def pack(path: Path, out: Path, **more) -> dict:
    counts = {
        "chairs": len(CHAIRS),
        "azimuths": len(AZIMUTHS),
        "elevations": len(ELEVATIONS),
        "processes": 1,
    }
    return chairs.pack(path, out, **counts | more)


def test_packed_images_and_labels(tmp_path):
    about = pack(write_tar(tmp_path / chairs.TAR, members()), tmp_path / "data")
    images = np.fromfile(tmp_path / "data/chairs.rgb", np.uint8).reshape(-1, 3, 64, 64)
    labels = np.load(tmp_path / "data/chairs.labels.npz")
    expected = [(c, a, e) for c in range(6) for a in range(3) for e in range(2)]
    assert labels["factors"].dtype == np.int16 and labels["factors"].tolist() == [
        list(row) for row in expected
    ]
    colours = [(10 * c, AZIMUTHS[a] % 256, ELEVATIONS[e]) for c, a, e in expected]
    assert (
        images[:, :, 1:-1, 1:31].min((2, 3)).tolist()
        == images[:, :, 1:-1, 1:31].max((2, 3)).tolist()
    )
    assert images[:, :, 30, 10].tolist() == [list(colour) for colour in colours]
    assert (images[:, :, :, 33:] == 255).all()
    assert about == json.loads((tmp_path / "data/chairs.json").read_text())
    assert (about["name"], about["source"], about["images"], about["channels"]) == (
        "3D Chairs",
        "official",
        36,
        3,
    )
    assert about["factors"] == [
        {"name": "chair", "values": [0, 1, 2, 3, 4, 5], "discrete": True},
        {"name": "azimuth", "values": [0, 11, 348], "discrete": False},
        {"name": "elevation", "values": [20, 30], "discrete": True},
    ]
    assert about["chairs"] == SORTED and about["crop"] == [100, 100, 500, 500]
    digest = hashlib.sha256((tmp_path / chairs.TAR).read_bytes()).hexdigest()
    assert (
        about["files"] == {chairs.TAR: {"sha256": digest, "published": False}}
        and "unverified" in about["edition"]
    )
    assert packed.read_whole(tmp_path / "data", "chairs") == about
    # One of six is held out, and with it all its views.
    held_out = sorted(CHAIRS, key=lambda name: hashlib.sha256(name.encode()).digest())[0]
    assert labels["test"].tolist() == [SORTED[c] == held_out for c, _, _ in expected]


def test_a_folder_and_a_second_call(tmp_path):
    tar = pack(write_tar(tmp_path / "a.tar", members()), tmp_path / "one")
    folder = write_folder(tmp_path / "top", members())
    for path in (folder, folder / "rendered_chairs"):
        about = pack(path, tmp_path / "two")
        assert (about["sha256"], about["labels_sha256"]) == (tar["sha256"], tar["labels_sha256"])
    said = []
    pack(folder / "rendered_chairs", tmp_path / "two", say=said.append)
    assert said[-1].endswith("is already there and whole; nothing to do")
    assert (
        pack(tmp_path / "a.tar", tmp_path / "two", crop=(0, 0, 600, 600))["sha256"] != tar["sha256"]
    )


def test_an_interrupted_call_is_continued(tmp_path, monkeypatch):
    path, read = write_tar(tmp_path / "a.tar", members()), []
    monkeypatch.setattr(packed, "CHUNK", 4)
    decode = chairs.archives.decode

    def stop_at(count: int | None, content, name, *more):
        if len(read) == count:
            raise KeyboardInterrupt
        read.append(name)
        return decode(content, name, *more)

    monkeypatch.setattr(chairs.archives, "decode", functools.partial(stop_at, 14))
    with pytest.raises(KeyboardInterrupt):
        pack(path, tmp_path / "data")
    monkeypatch.setattr(chairs.archives, "decode", functools.partial(stop_at, None))
    before = len(read)
    pack(path, tmp_path / "data")
    # Of the three chunks of four that were written, the last is not trusted.
    assert len(read) == before + 28 and len(set(read)) == 36
    pack(path, tmp_path / "b")
    assert (tmp_path / "data/chairs.rgb").read_bytes() == (tmp_path / "b/chairs.rgb").read_bytes()


def test_a_tenth_of_the_chairs_is_held_out():
    names = [hashlib.md5(str(i).encode()).hexdigest() for i in range(1393)]
    held_out = chairs.held_out(names)
    assert (
        len(held_out) == 139 and held_out < set(names) and chairs.held_out(names[::-1]) == held_out
    )
    # as good as random: a tenth of the first half of the names, too (the standard deviation is 5.6)
    assert 69 - 20 < len(held_out & set(sorted(names)[:696])) < 69 + 20


def lacks(name: str) -> dict:
    return {key: content for key, content in members().items() if key != name}


def some(chair: int, view: int) -> str:
    return list(pictures())[chair * 6 + view]


@pytest.mark.parametrize("write", [write_tar, write_folder])
@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            lambda: lacks(some(2, 4)),
            f"chair {CHAIRS[2]} lacks a view, p030 t011; take a fresh copy",
        ),
        (
            lambda: lacks(some(2, 4)) | {some(2, 4).replace("t011", "t012"): png(0, 0, 0)},
            f"chair {CHAIRS[2]} lacks a view, p030 t011",
        ),
        (
            lambda: members() | {some(1, 0).replace("t000", "t077"): png(0, 0, 0)},
            f"chair {CHAIRS[1]} has a view that other chairs lack, p020 t077",
        ),
        (
            lambda: members() | {some(1, 0).replace("image_000", "image_009"): png(0, 0, 0)},
            "holds one view twice",
        ),
        (
            lambda: {n: c for n, c in members().items() if CHAIRS[3] not in n},
            "holds views of 5 chairs, 6 expected: cut short",
        ),
        (
            lambda: {n: c for n, c in members().items() if "t011" not in n},
            "has 4 views .2 azimuths, 2 elev.*3 azimuths by 2",
        ),
        (lambda: {"readme.txt": b"none"}, "holds views of 0 chairs, 6 expected"),
        (
            lambda: members() | {some(3, 3): b"no picture"},
            "image_003_p030_t000_r096.png is not a PNG image that can be read",
        ),
        (
            lambda: members() | {some(3, 3): pictures()[some(3, 3)][:-30]},
            "image_003_p030_t000_r096.png is not a PNG image",
        ),
        (
            lambda: members() | {some(3, 3): png(0, 0, 0, (600, 599))},
            "_r096.png has 600 by 599 pixels, 600 by 600 expected",
        ),
    ],
)
def test_wrong_content_is_refused_and_nothing_is_kept(tmp_path, write, files, message):
    path = write(tmp_path / "a", files())
    with pytest.raises(ValueError, match=message) as caught:
        pack(path, tmp_path / "data")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists() or os.listdir(tmp_path / "data") == []


def test_a_tar_that_is_cut_short_between_members_lacks_chairs_or_views(tmp_path):
    """Nothing in what is left of the file says so."""
    whole = write_tar(tmp_path / "whole.tar", pictures()).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as archive:
        cut = archive.getmembers()[20].offset
    (tmp_path / "a.tar").write_bytes(whole[:cut])
    with pytest.raises(ValueError, match="holds views of 4 chairs, 6 expected: cut short"):
        pack(tmp_path / "a.tar", tmp_path / "data")


def test_command_says_one_line(tmp_path, capsys):
    assert chairs.main(["--path", str(tmp_path / "no.tar"), "--out", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err
        == f"data_prep.chairs: there is no file or folder {tmp_path}/no.tar\n"
    )
    write_tar(tmp_path / "a.tar", members())
    assert (
        chairs.main(
            ["--path", str(tmp_path / "a.tar"), "--out", str(tmp_path), "--crop", "0,0,601,600"]
        )
        == 1
    )
    assert "within 600 by 600 pixels" in capsys.readouterr().err
    assert chairs.main(["--path", str(tmp_path / "a.tar"), "--out", str(tmp_path)]) == 1
    complaint = capsys.readouterr().err
    assert "holds views of 6 chairs, 1,393 expected" in complaint and complaint.count("\n") == 1


def test_a_download_that_is_no_tar_is_not_kept(tmp_path):
    (tmp_path / "page").write_text("<html>moved</html>")
    with pytest.raises(ValueError, match="rendered_chairs.tar.part is a web page, not the data"):
        chairs.download(tmp_path / "data" / chairs.TAR, (tmp_path / "page").as_uri())
    assert os.listdir(tmp_path / "data") == []
    write_tar(tmp_path / "b.tar", members())
    chairs.download(tmp_path / "data" / chairs.TAR, (tmp_path / "b.tar").as_uri())
    assert (tmp_path / "data" / chairs.TAR).read_bytes() == (tmp_path / "b.tar").read_bytes()
