"""CelebA, small sets in its place in every layout: packing, labels, every way it can be wrong."""

import functools
import hashlib
import http.server
import io
import json
import os
import random
import re
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep import celeba, packed

N, TEST = 24, 5
NAMES = [f"{i:06d}.jpg" for i in range(1, N + 1)]
DRAWN = random.Random(0)
VALUES = [[DRAWN.choice((-1, 1)) for _ in range(40)] for _ in range(N)]
PARTS = [0] * 15 + [1] * 4 + [2] * TEST


def jpeg(number: int, size=(178, 218), mode="RGB") -> bytes:
    """A picture of its own for each number: a smooth ramp, so that JPEG changes little."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    pixels = np.stack([x, y, np.full_like(x, 5 * number)], axis=2).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


PICTURES = {name: jpeg(number) for number, name in enumerate(NAMES)}


def attributes_txt(names=NAMES, values=VALUES, titles=celeba.ATTRIBUTES, count=None) -> str:
    rows = [
        f"{name} " + " ".join(f"{value:2d}" for value in row) for name, row in zip(names, values)
    ]
    return "\n".join(
        [str(len(names) if count is None else count), " ".join(titles) + " ", *rows, ""]
    )


def partition_txt(names=NAMES, parts=PARTS) -> str:
    return "".join(f"{name} {part}\n" for name, part in zip(names, parts))


def attributes_csv(values=VALUES) -> str:
    rows = [",".join([name, *map(str, row)]) for name, row in zip(NAMES, values)]
    return "\r\n".join([",".join(["image_id", *celeba.ATTRIBUTES]), *rows, ""])


def partition_csv() -> str:
    return "image_id,partition\n" + "".join(f"{name},{part}\n" for name, part in zip(NAMES, PARTS))


def write_zip(path: Path, members: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            made = zipfile.ZipInfo(name)  # of one date: the same bytes at any time
            archive.writestr(made, content, zipfile.ZIP_DEFLATED)
    return path


def write_files(folder: Path, members: dict) -> Path:
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


TXT = {"list_attr_celeba.txt": attributes_txt(), "list_eval_partition.txt": partition_txt()}
CSV = {"list_attr_celeba.csv": attributes_csv(), "list_eval_partition.csv": partition_csv()}


def inside(prefix: str, pictures=PICTURES) -> dict:
    return {prefix + name: content for name, content in pictures.items()}


def torchvision(folder: Path, pictures=PICTURES, lists=TXT) -> Path:
    write_zip(folder / celeba.ZIP, inside("img_align_celeba/", pictures))
    return write_files(folder, lists)


def sums(folder: Path) -> dict:
    """The checksums of what lies there, in place of the published ones."""
    found = {path.name: path for path in folder.rglob("*")}
    return {
        name: hashlib.md5(found[name].read_bytes()).hexdigest() if name in found else "not there"
        for name in celeba.MD5
    }


def pack(path: Path, out: Path, md5: dict | None = None, **more) -> dict:
    md5 = sums(path if path.is_dir() else path.parent) if md5 is None else md5
    return celeba.pack(path, out, images=N, test_images=TEST, md5=md5, processes=1, **more)


def content_of(out: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.load(out / "celeba.labels.npz")
    return (
        np.fromfile(out / "celeba.rgb", np.uint8).reshape(-1, 3, 64, 64),
        labels["factors"],
        labels["test"],
    )


# --- the layouts ----------------------------------------------------------------------------------


def test_packed_images_and_labels(tmp_path):
    about = pack(torchvision(tmp_path / "celeba"), tmp_path / "data")
    images, factors, test = content_of(tmp_path / "data")
    # The ramps are linear, so the mean over a square of the crop is the value at its centre:
    # 15 (or 35) and 148/64 a pixel.
    centres = (np.arange(64) + 0.5) * 148 / 64 - 0.5
    for number in (0, N - 1):
        red, green, blue = images[number].astype(float)
        np.testing.assert_allclose(
            red[:, 1:-1], np.broadcast_to(15 + centres, (64, 64))[:, 1:-1], atol=3
        )
        np.testing.assert_allclose(
            green[1:-1], np.broadcast_to(35 + centres[:, None], (64, 64))[1:-1], atol=3
        )
        np.testing.assert_allclose(blue, 5 * number, atol=3)
    assert factors.dtype == np.int16 and np.array_equal(factors, (np.array(VALUES) + 1) // 2)
    assert test.dtype == bool and test.tolist() == [False] * (N - TEST) + [True] * TEST
    assert about == json.loads((tmp_path / "data/celeba.json").read_text())
    assert (about["name"], about["source"], about["images"], about["channels"]) == (
        "CelebA",
        "official",
        N,
        3,
    )
    assert about["factors"][0] == {"name": "5_o_Clock_Shadow", "values": [0, 1], "discrete": True}
    assert [factor["name"] for factor in about["factors"]][20] == "Male" and len(
        about["factors"]
    ) == 40
    assert about["crop"] == [15, 35, 163, 183] and about["edition"] == "published"
    md5 = sums(tmp_path / "celeba")
    assert about["files"] == {name: {"md5": md5[name], "published": True} for name in md5}
    assert packed.read_whole(tmp_path / "data", "celeba") == about


def build_layouts(tmp_path: Path) -> dict[str, Path]:
    """The path to pass for each layout, and whether the whole of it has published checksums."""
    t = tmp_path
    torchvision(t / "a/celeba")
    write_files(t / "b/celeba", inside("img_align_celeba/") | TXT)
    torchvision(t / "c/Img", lists={})
    write_files(t / "c", {"Anno/list_attr_celeba.txt": TXT["list_attr_celeba.txt"]})
    write_files(
        t / "c", {"Eval/list_eval_partition.txt": TXT["list_eval_partition.txt"], "README.txt": "x"}
    )
    write_zip(
        t / "d/archive.zip",
        inside("img_align_celeba/img_align_celeba/") | CSV | {"list_bbox_celeba.csv": "a,b\n"},
    )
    write_files(t / "e", inside("img_align_celeba/img_align_celeba/") | CSV)
    return {
        "torchvision's root": t / "a", "torchvision's folder": t / "a/celeba",
        "torchvision's zip": t / "a/celeba" / celeba.ZIP,
        "official": t / "c",
        "unpacked": t / "b/celeba", "unpacked images": t / "b/celeba/img_align_celeba",
        "Kaggle's zip": t / "d/archive.zip", "Kaggle's zip in its folder": t / "d",
        "Kaggle's folder": t / "e", "Kaggle's images": t / "e/img_align_celeba/img_align_celeba",
    }  # fmt: skip


def test_every_layout_gives_the_same_images_and_labels(tmp_path):
    layouts, found = build_layouts(tmp_path), {}
    md5 = sums(tmp_path / "a")
    for number, (layout, path) in enumerate(layouts.items()):
        said, out = [], tmp_path / f"out{number}"
        about = pack(path, out, md5=md5, say=said.append)
        found[layout] = about["sha256"], about["labels_sha256"]
        verified = "torchvision" in layout or layout == "official"
        assert (about["edition"] == "published") == verified, layout
        assert (
            any(line.startswith("unverified edition: no published checksum for") for line in said)
            != verified
        ), layout
        if "Kaggle" in layout:
            assert "list_attr_celeba.csv, list_eval_partition.csv, " in about["edition"]
    assert len(set(found.values())) == 1, found


def test_another_crop_is_other_pixels_and_is_recorded(tmp_path):
    path = torchvision(tmp_path / "celeba")
    before = pack(path, tmp_path)["sha256"]
    about = pack(path, tmp_path, crop=(25, 45, 153, 173))
    assert about["crop"] == [25, 45, 153, 173] and about["sha256"] != before
    blue = content_of(tmp_path)[0][:, 2]
    np.testing.assert_allclose(blue.mean((1, 2)), 5 * np.arange(N), atol=2)


def test_a_second_call_does_nothing_and_an_interrupted_one_is_continued(tmp_path, monkeypatch):
    path, out, read = torchvision(tmp_path / "celeba"), tmp_path / "data", []
    monkeypatch.setattr(packed, "CHUNK", 4)
    decode = celeba.archives.decode

    def stop_at(number: int | None, content, name, *more):
        read.append(int(name[-10:-4]))
        if number in read:
            raise KeyboardInterrupt
        return decode(content, name, *more)

    monkeypatch.setattr(celeba.archives, "decode", functools.partial(stop_at, 15))
    with pytest.raises(KeyboardInterrupt):
        pack(path, out)
    assert not (out / "celeba.json").exists() and read[-1] < N
    read.clear()
    monkeypatch.setattr(celeba.archives, "decode", functools.partial(stop_at, None))
    pack(path, out)
    assert read == list(range(9, N + 1))  # of 12 that were written, the last 4 are not trusted
    pack(path, tmp_path / "other")
    assert (out / "celeba.rgb").read_bytes() == (tmp_path / "other/celeba.rgb").read_bytes()
    read.clear()
    said = []
    pack(path, out, say=said.append)
    assert read == [] and said[-1] == f"{out}/celeba.rgb is already there and whole; nothing to do"
    # other labels, as of another edition, are another set
    write_files(path, {"list_eval_partition.txt": partition_txt(parts=PARTS[::-1])})
    pack(path, out)
    assert content_of(out)[2].tolist() == [True] * TEST + [False] * (N - TEST)


def test_packing_with_several_processes_is_the_same(tmp_path, monkeypatch):
    path = torchvision(tmp_path / "celeba")
    monkeypatch.setattr(packed, "CHUNK", 4)
    one = pack(path, tmp_path / "one")["sha256"]
    two = celeba.pack(
        path, tmp_path / "two", images=N, test_images=TEST, md5=sums(path), processes=2
    )["sha256"]
    assert one == two


# --- wrong lists ----------------------------------------------------------------------------------


def other(rows, row, column, value):
    rows = [list(line) for line in rows]
    rows[row][column] = value
    return rows


ATTR, PART = "list_attr_celeba.txt", "list_eval_partition.txt"
RENAMED = [*NAMES[:3], "000009.jpg", *NAMES[4:]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            ATTR,
            attributes_txt(values=other(VALUES, 4, 7, 0)),
            "line 7 holds '0' as Big_Nose, -1 or 1 expected: another layout",
        ),
        (
            ATTR,
            attributes_txt(values=VALUES[:4] + [VALUES[4][:-1]] + VALUES[5:]),
            "line 7 holds 'nan' as Young, -1 or 1 expected: another layout",
        ),
        (
            ATTR,
            attributes_txt(names=NAMES[:-1], count=N),
            "names 23 of 24 images; line 26 is about None, 000024.jpg expected: cut short",
        ),
        (
            ATTR,
            attributes_txt(titles=celeba.ATTRIBUTES[1:]),
            "has not one column titled '5_o_Clock_Shadow': another layout",
        ),
        (ATTR, attributes_txt(names=RENAMED), "line 6 is about 000009.jpg, 000004.jpg expected"),
        (ATTR, "24", "has not one column titled '5_o_Clock_Shadow'|is no such list .No columns"),
        (ATTR, "", "has not one column titled '5_o_Clock_Shadow'"),
        (
            ATTR,
            "<!DOCTYPE html><title>Google Drive - Quota exceeded</title>",
            "is a web page, not the list",
        ),
        (ATTR, b"\xff\xd8\xff\xe0 a picture", "is not a text file"),
        (
            PART,
            partition_txt(parts=[3, *PARTS[1:]]),
            "line 1 holds '3' as partition, 0 or 1 or 2 expected: another layout",
        ),
        (
            PART,
            partition_txt(parts=[2, *PARTS[1:]]),
            "puts 6 images into the test set .2., 5 expected",
        ),
        (PART, partition_txt(names=RENAMED), "line 4 is about 000009.jpg, 000004.jpg expected"),
        (PART, partition_txt(names=NAMES[:-1]), "names 23 of 24 images; "),
    ],
)
def test_wrong_lists_are_refused(tmp_path, name, content, message):
    folder = torchvision(tmp_path / "celeba", lists=TXT | {name: content})
    with pytest.raises(ValueError, match=message) as caught:
        pack(folder, tmp_path / "data")
    assert str(folder / name) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (attributes_csv().replace(",Young\r", ",Yuong\r"), "has not one column titled 'Young': an"),
        (attributes_csv().replace("Bald", "Young"), "has not one column titled 'Bald': another"),
        (attributes_csv() + attributes_csv()[-99:], "names 25 of 24 images; line 26 is "),
        (attributes_csv().replace(",Young\r", "\r"), "has not one column titled 'Young': another"),
        (attributes_csv().replace("\r", ",1\r").replace("Young,1", "Young"), "line 2 is about "),
        (
            attributes_csv(other(VALUES, 0, 0, 2)),
            "csv line 2 holds '2' as 5_o_Clock_Shadow, -1 or 1 expected",
        ),
        (attributes_csv()[:-30], "csv line 25 holds '-' as Receding_Hairline, -1 or 1 expected"),
    ],
)
def test_wrong_csv_lists_are_refused(tmp_path, content, message):
    folder = write_files(
        tmp_path / "k",
        inside("img_align_celeba/img_align_celeba/") | CSV | {"list_attr_celeba.csv": content},
    )
    with pytest.raises(ValueError, match=message):
        pack(folder, tmp_path / "data")


def as_pandas(text: str) -> str:
    """With an index, and every cell quoted."""
    rows = [line.split(",") for line in text.split()]
    rows = [["" if i == 0 else str(i - 1), *row] for i, row in enumerate(rows)]
    return "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows)


TABLE = CSV["list_attr_celeba.csv"]


@pytest.mark.parametrize(
    "rewrite",
    [
        as_pandas,
        lambda text: "\ufeff" + text.replace("\r\n", "\n"),
        lambda text: text.replace(",", ";"),
        lambda text: text.replace("-1", "0"),
        lambda text: re.sub(r"(-?\b1)\b(?!\.)", r"\1.0", text).replace("1.0.jpg", "1.jpg"),
        lambda text: text.replace("-1", "FALSE").replace(",1", ",TRUE"),
        lambda text: "\n".join(",".join(line.split(",")[::-1]) for line in text.split()),
    ],
)
def test_lists_as_pandas_or_a_spreadsheet_write_them(tmp_path, rewrite):
    pictures = inside("img_align_celeba/img_align_celeba/")
    partition = CSV["list_eval_partition.csv"]
    lists = {"list_attr_celeba.csv": rewrite(TABLE), "list_eval_partition.csv": partition}
    if rewrite is as_pandas:
        lists["list_eval_partition.csv"] = as_pandas(partition)
    assert lists["list_attr_celeba.csv"] != TABLE
    pack(write_files(tmp_path / "k", pictures | lists), tmp_path / "data")
    _, factors, test = content_of(tmp_path / "data")
    assert np.array_equal(factors, (np.array(VALUES) + 1) // 2) and test.sum() == TEST


def test_values_of_two_kinds_are_not_mixed(tmp_path):
    lists = {"list_attr_celeba.csv": attributes_csv(other(VALUES, 5, 3, 0))}
    folder = write_files(tmp_path / "k", inside("img_align_celeba/") | CSV | lists)
    with pytest.raises(
        ValueError, match="csv line 7 holds '0' as Bags_Under_Eyes, -1 or 1 expected"
    ):
        pack(folder, tmp_path / "data")


def test_lists_with_other_line_ends_are_the_published_ones(tmp_path):
    """An editor or git changes them; the checksum is then that of the lines."""
    folder = torchvision(tmp_path / "celeba")
    md5 = sums(folder)
    for change in (lambda b: b.replace(b"\n", b"\r\n"), lambda b: b"\xef\xbb\xbf" + b):
        write_files(folder, {name: change(text.encode()) for name, text in TXT.items()})
        assert pack(folder, tmp_path / "data", md5=md5)["edition"] == "published"


@pytest.mark.parametrize("given", ["Img", "Img/img_align_celeba.zip"])
def test_the_official_zip_alone_finds_its_lists_beside_it(tmp_path, given):
    layouts = build_layouts(tmp_path)
    assert pack(tmp_path / "c" / given, tmp_path / "out", md5=sums(layouts["official"]))


def test_links_and_strangers_in_a_folder(tmp_path):
    """A data cache: the files are links. A broken link and a pipe that nobody asks for stay."""
    cache = write_files(tmp_path / "cache", PICTURES | TXT)
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for name in PICTURES:
        (folder / "img_align_celeba" / name).symlink_to(cache / name)
    for name in TXT:
        (folder / name).symlink_to(cache / name)
    (folder / "img_align_celeba/stray").symlink_to("nowhere")
    (folder / "img_align_celeba/up").symlink_to(tmp_path)
    os.mkfifo(folder / "img_align_celeba/pipe")
    about = pack(folder, tmp_path / "data")
    assert (
        about["sha256"]
        == pack(write_files(tmp_path / "b", PICTURES | TXT), tmp_path / "c")["sha256"]
    )
    (cache / NAMES[3]).unlink()
    wrong = f"{NAMES[3]} is a link to a file that is not there: fetch it"
    with pytest.raises(OSError, match=wrong):
        pack(folder, tmp_path / "other")


@pytest.mark.parametrize("name", [ATTR, PART])
def test_a_missing_list_is_asked_for(tmp_path, name):
    folder = torchvision(
        tmp_path / "celeba", lists={key: value for key, value in TXT.items() if key != name}
    )
    wrong = rf"there is no {name} \(or .csv\) in {folder}, nor above it or in ../Anno or ../Eval: "
    with pytest.raises(FileNotFoundError, match=wrong):
        pack(folder, tmp_path / "data")
    assert not (tmp_path / "data").exists()


# --- wrong images ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(celeba.MD5))
def test_published_files_must_have_their_checksums(tmp_path, name):
    folder = torchvision(tmp_path / "celeba")
    with pytest.raises(
        ValueError,
        match=f"{name} is not the published file: its md5 is .*, not 0000; .*download it again",
    ):
        pack(folder, tmp_path / "data", md5=sums(folder) | {name: "0000"})
    assert not (tmp_path / "data").exists()


def test_the_real_checksums_and_counts_are_the_defaults(tmp_path):
    folder = torchvision(tmp_path / "celeba")
    with pytest.raises(ValueError, match="names 24 of 202,599 images"):
        celeba.pack(folder, tmp_path / "data")
    with pytest.raises(ValueError, match="not 75e246fa4810816ffd6ee81facbd244c"):
        celeba.pack(folder, tmp_path / "data", images=N, test_images=TEST)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[: len(b) // 2], "is cut short at [0-9,]+ bytes, or damaged"),
        (lambda b: b"<html>Quota exceeded</html>", "is a web page, not the data"),
        (lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:], "is not the published file"),
    ],
)
def test_a_damaged_zip_is_named_for_what_it_is(tmp_path, damage, message):
    folder = torchvision(tmp_path / "celeba")
    md5 = sums(folder)
    (folder / celeba.ZIP).write_bytes(damage((folder / celeba.ZIP).read_bytes()))
    with pytest.raises(ValueError, match=f"{celeba.ZIP} {message}"):
        pack(folder, tmp_path / "data", md5=md5)
    assert not (tmp_path / "data").exists()


def without(*names) -> dict:
    return {name: content for name, content in PICTURES.items() if name not in names}


@pytest.mark.parametrize("make", ["zip", "folder"])
@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (
            without("000007.jpg", "000009.jpg"),
            "holds 22 images, the lists name 24: 000007.jpg is missing; cut short",
        ),
        (
            PICTURES | {"000025.jpg": jpeg(1)},
            "holds 25 images, the lists name 24: .*000025.jpg is one too many",
        ),
        (
            PICTURES | {"more/000003.jpg": jpeg(1)},
            "24: .*/000003.jpg is one too many; .* two sets in one",
        ),
        (
            PICTURES | {"000005.jpg": jpeg(1, (178, 217))},
            "000005.jpg has 178 by 217 pixels, 178 by 218 expected",
        ),
        (
            PICTURES | {"000005.jpg": PICTURES["000005.jpg"][:1000]},
            "000005.jpg is not a JPEG image that can be read",
        ),
        (
            PICTURES | {"000005.jpg": b"no picture"},
            "000005.jpg is not a JPEG image that can be read",
        ),
        (
            PICTURES | {"000005.jpg": jpeg(1, mode="CMYK")},
            "000005.jpg is in PIL's mode CMYK, RGB expected",
        ),
    ],
)
def test_wrong_images_are_refused_and_nothing_is_kept(tmp_path, make, pictures, message):
    folder = tmp_path / "celeba"
    if make == "zip":
        torchvision(folder, pictures)
    else:
        write_files(folder, inside("img_align_celeba/", pictures) | TXT)
    with pytest.raises(ValueError, match=message) as caught:
        pack(folder, tmp_path / "data")
    assert "celeba" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists() or os.listdir(tmp_path / "data") == []


def test_paths_without_celeba_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        pack(tmp_path / "none", tmp_path / "data", md5={})
    with pytest.raises(
        FileNotFoundError, match="holds neither img_align_celeba.zip nor a folder with 000001.jpg"
    ):
        pack(tmp_path, tmp_path / "data", md5={})


def test_command_says_one_line(tmp_path, capsys):
    for arguments, message in (
        (["--path", str(tmp_path / "no.zip")], f"there is no file or folder {tmp_path}/no.zip"),
        (
            ["--path", str(tmp_path), "--crop", "0,0,64"],
            "the crop box must be left,top,right,bottom within 178 by 218",
        ),
        (["--path", str(tmp_path), "--processes", "0"], "--processes must be 1 or more, not 0"),
    ):
        assert celeba.main([*arguments, "--out", str(tmp_path / "data")]) == 1
        complaint = capsys.readouterr().err
        assert complaint.startswith(f"data_prep.celeba: {message}") and complaint.count("\n") == 1


# --- download -------------------------------------------------------------------------------------


@pytest.fixture
def drive(monkeypatch):
    """A server in place of Google's: what it has by id; None: the page on a spent quota."""
    monkeypatch.setenv("NO_PROXY", "*")

    class Handler(http.server.BaseHTTPRequestHandler):
        has, asked = {}, []

        def do_GET(self):
            Handler.asked.append(self.path[1:])
            content = self.has[self.path[1:]]
            self.send_response(200)
            self.send_header(
                "Content-Type",
                "text/html; charset=utf-8" if content is None else "application/octet-stream",
            )
            self.end_headers()
            self.wfile.write(
                b"<!DOCTYPE html><title>Quota exceeded</title>" if content is None else content
            )

        def log_message(self, *arguments):
            pass

    Handler.has, Handler.asked = {}, []
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    Handler.url = f"http://127.0.0.1:{listening.server_port}/{{}}"
    yield Handler
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_download_fetches_what_is_missing_and_says_what_a_quota_page_means(tmp_path, drive):
    there = torchvision(tmp_path / "there")
    md5 = sums(there)
    drive.has = {celeba.DRIVE[name]: (there / name).read_bytes() for name in md5}
    drive.has[celeba.DRIVE[celeba.ZIP]] = None
    folder = tmp_path / "data/celeba"
    with pytest.raises(OSError) as caught:
        celeba.download(folder, drive.url, md5)
    complaint = str(caught.value)
    assert (
        "answered with a web page instead of img_align_celeba.zip. If Google's quota" in complaint
    )
    assert (
        f"in a browser from {celeba.HOME}, put it into {folder} and give the same command"
        in complaint
    )
    assert sorted(os.listdir(folder)) == [ATTR, PART] and "\n" not in complaint
    drive.has[celeba.DRIVE[celeba.ZIP]] = (there / celeba.ZIP).read_bytes()
    drive.asked.clear()
    celeba.download(folder, drive.url, md5)
    assert drive.asked == [celeba.DRIVE[celeba.ZIP]] and sums(folder) == md5
    assert pack(folder, tmp_path / "data")["edition"] == "published"


def test_a_download_of_another_edition_is_not_kept(tmp_path, drive):
    drive.has = dict.fromkeys(celeba.DRIVE.values(), b"something else")
    with pytest.raises(
        OSError, match="list_eval_partition.txt.part is not the published file: its md5 is"
    ):
        celeba.download(tmp_path / "celeba", drive.url)
    assert os.listdir(tmp_path / "celeba") == []
