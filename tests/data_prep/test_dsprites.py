"""The official file, with small archives in its place: packing, and all that can be wrong."""

import hashlib
import http.server
import json
import os
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep import dsprites, packed, shapes2d

IMAGES = 3 * 1024 + 100


def make_archive(path: Path, images=None, labels=None, **changed) -> dict:
    """A small archive laid out as the published one; returns the checksum for `pack`."""
    classes = shapes2d.classes_of(np.arange(IMAGES))
    arrays = {
        "metadata": np.array({"title": "would be unpickled"}, dtype=object),
        "imgs": shapes2d.render(classes) if images is None else images,
        "latents_classes": np.column_stack([np.zeros(IMAGES, dtype=np.int64), classes])
        if labels is None
        else labels,
    } | changed
    np.savez_compressed(
        path, **{name: array for name, array in arrays.items() if array is not None}
    )
    return checksums(path)


def checksums(path: Path) -> dict:
    content = path.read_bytes()
    return {"sha1": hashlib.sha1(content).hexdigest()}


def pack(path: Path, out: Path, sums: dict, **more) -> None:
    dsprites.pack(path, out, images=IMAGES, **sums, **more)


def test_packed_official_file_is_the_same_as_the_drawn_one(tmp_path):
    sums = make_archive(tmp_path / "a.npz")
    pack(tmp_path / "a.npz", tmp_path / "data", sums)
    drawn = b"".join(piece for piece, _ in zip(shapes2d.packed_pieces(), range(4)))[: IMAGES * 512]
    assert (tmp_path / "data/dsprites.bits").read_bytes() == drawn
    info = json.loads((tmp_path / "data/dsprites.json").read_text())
    assert (info["source"], info["images"], info["bytes"]) == ("official", IMAGES, IMAGES * 512)
    assert (info["sha256"], info["archive_sha1"]) == (
        hashlib.sha256(drawn).hexdigest(),
        sums["sha1"],
    )
    lines = []
    pack(tmp_path / "a.npz", tmp_path / "data", sums, say=lines.append)
    assert "nothing to do" in lines[0] and lines[1] == (
        f"{IMAGES:,} of {IMAGES:,} images equal the drawn ones to the last pixel"
    )


def test_compare_counts_images_and_pixels(tmp_path):
    images = shapes2d.render(shapes2d.classes_of(np.arange(IMAGES)))
    images[5, 0, 0] ^= 1
    images[2000, 10:12, 10:13] ^= 1
    pack(tmp_path / "a.npz", tmp_path, make_archive(tmp_path / "a.npz", images))
    counts = dsprites.compare(tmp_path)
    by_shape = counts.pop("by_shape")
    assert counts == {
        "images": IMAGES,
        "equal": IMAGES - 2,
        "pixels": 7,
        "worst": 6,
        "worst_index": 2000,
    }
    assert by_shape["square"] == {"images": IMAGES, "equal": IMAGES - 2, "pixels": 7}
    assert by_shape["heart"] == {"images": 0, "equal": 0, "pixels": 0}


def test_compare_refuses_an_altered_packed_file(tmp_path):
    pack(tmp_path / "a.npz", tmp_path, make_archive(tmp_path / "a.npz"))
    content = bytearray((tmp_path / "dsprites.bits").read_bytes())
    content[1000] ^= 1
    (tmp_path / "dsprites.bits").write_bytes(content)
    with pytest.raises(ValueError, match="altered"):
        dsprites.compare(tmp_path)


def test_the_real_checksums_are_asked_for(tmp_path):
    make_archive(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="sha1 is .*altered, or another edition"):
        dsprites.pack(tmp_path / "a.npz", tmp_path)


def test_labels_stored_by_columns_are_the_same_labels(tmp_path):
    labels = np.asfortranarray(labels_with(lambda labels: None))
    pack(tmp_path / "a.npz", tmp_path, make_archive(tmp_path / "a.npz", latents_classes=labels))
    assert dsprites.compare(tmp_path)["equal"] == IMAGES


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[: len(b) // 2], "cut short at"),
        (lambda b: b[:2000] + bytes([b[2000] ^ 255]) + b[2001:], "altered"),
        (lambda b: b"\n<!DOCTYPE html><html>Not here</html>", "a web page"),
        (
            lambda b: b"version https://git-lfs.github.com/spec/v1",
            "neither a zip nor a tar archive",
        ),
        (lambda b: b"", "neither a zip nor a tar archive"),
    ],
)
def test_wrong_files_are_named_for_what_they_are(tmp_path, damage, message):
    sums = make_archive(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(damage((tmp_path / "a.npz").read_bytes()))
    with pytest.raises(ValueError, match=message):
        pack(tmp_path / "a.npz", tmp_path / "data", sums)
    assert not (tmp_path / "data").exists()


def labels_with(change) -> np.ndarray:
    labels = np.column_stack(
        [np.zeros(IMAGES, dtype=np.int64), shapes2d.classes_of(np.arange(IMAGES))]
    )
    change(labels)
    return labels


def swap_two(labels):
    labels[[7, 8]] = labels[[8, 7]]


def colour(labels):
    labels[3, 0] = 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            lambda: {"imgs": np.full((IMAGES, 64, 64), 255, np.uint8)},
            "the value 255; pixels are 0 or 1",
        ),
        (lambda: {"imgs": np.zeros((IMAGES, 64, 63), np.uint8)}, r"imgs is .*64, 63.*expected"),
        (lambda: {"imgs": np.zeros((IMAGES, 64, 64), bool)}, "imgs is .* bool"),
        (lambda: {"imgs": None}, "is damaged: .*imgs.npy"),
        (lambda: {"imgs": np.array([{"a": 1}], dtype=object)}, "imgs is .* object"),
        (lambda: {"latents_classes": labels_with(swap_two)}, "latents_classes .* in order"),
        (lambda: {"latents_classes": labels_with(colour)}, "latents_classes .* in order"),
        (
            lambda: {"latents_classes": np.zeros((IMAGES, 5), np.int64)},
            "latents_classes .*5. int64",
        ),
        (lambda: {"latents_classes": np.zeros((IMAGES, 6))}, "latents_classes .* float64"),
        (
            lambda: {"latents_classes": np.array([{"a": 1}], dtype=object)},
            "Object arrays cannot be loaded",
        ),
    ],
)
def test_archives_with_other_content_are_refused(tmp_path, changed, message):
    sums = make_archive(tmp_path / "a.npz", **changed())
    with pytest.raises(ValueError, match=message):
        pack(tmp_path / "a.npz", tmp_path / "data", sums)
    assert not (tmp_path / "data").exists() or os.listdir(tmp_path / "data") == []


def test_array_shorter_than_its_header_says(tmp_path):
    make_archive(tmp_path / "whole.npz")
    with (
        zipfile.ZipFile(tmp_path / "whole.npz") as whole,
        zipfile.ZipFile(tmp_path / "a.npz", "w") as archive,
    ):
        archive.writestr("imgs.npy", whole.read("imgs.npy")[: 128 + 4096 * 2000 + 10])
        archive.writestr("latents_classes.npy", whole.read("latents_classes.npy"))
    with pytest.raises(
        ValueError, match="1,024,002 bytes were made for .*dsprites.bits, 1,624,064 expected"
    ):
        pack(tmp_path / "a.npz", tmp_path / "data", checksums(tmp_path / "a.npz"))
    assert os.listdir(tmp_path / "data") == []


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    sums = make_archive(tmp_path / "a.npz")
    monkeypatch.setattr(packed.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        pack(tmp_path / "a.npz", tmp_path / "data", sums)
    assert os.listdir(tmp_path / "data") == []


def test_command_with_a_missing_file(tmp_path, capsys):
    assert dsprites.main(["--path", str(tmp_path / "no.npz"), "--out", str(tmp_path)]) == 1
    said = f"data_prep.dsprites: {tmp_path}/no.npz: No such file or directory; put that right and "
    assert capsys.readouterr().err == f"{said}give the same command again\n"


# --- download -------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch):
    """A server of `content` on this machine, which hangs up after `cut` bytes of an answer."""
    monkeypatch.setenv("NO_PROXY", "*")

    class Handler(http.server.BaseHTTPRequestHandler):
        content, cut, ranges, asked = b"", None, True, []

        def do_GET(self):
            wanted = self.headers.get("Range")
            Handler.asked.append(wanted)
            start = int(wanted[6:-1]) if wanted and self.ranges else 0
            if start >= len(self.content):
                self.send_error(416)
                return
            body = self.content[start:]
            self.send_response(206 if wanted and self.ranges else 200)
            self.send_header("Content-Length", str(len(body)))
            if wanted and self.ranges:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
                )
            self.end_headers()
            self.wfile.write(body[: self.cut])

        def log_message(self, *arguments):
            pass

    Handler.asked = []
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    Handler.url = f"http://127.0.0.1:{listening.server_port}/file.npz"
    yield Handler
    listening.shutdown()
    thread.join()
    listening.server_close()


def content_and_sums() -> tuple[bytes, dict]:
    content = np.random.default_rng(0).bytes(500_000)
    return content, {"sha1": hashlib.sha1(content).hexdigest()}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_is_continued(tmp_path, server, ranges):
    server.content, sums = content_and_sums()
    server.cut, server.ranges = 200_000, ranges
    target = tmp_path / "file.npz"
    with pytest.raises(OSError, match="broke after 200,000 bytes; the same command continues"):
        dsprites.download(target, server.url, **sums)
    assert not target.exists()
    server.cut = None
    dsprites.download(target, server.url, **sums)
    assert target.read_bytes() == server.content and os.listdir(tmp_path) == ["file.npz"]
    assert server.asked == [None, "bytes=200000-"]
    dsprites.download(target, server.url, **sums)
    assert len(server.asked) == 2  # nothing was asked for the third time


def test_a_complete_part_is_checked_and_taken(tmp_path, server):
    server.content, sums = content_and_sums()
    (tmp_path / "file.npz.part").write_bytes(server.content)
    dsprites.download(tmp_path / "file.npz", server.url, **sums)
    assert os.listdir(tmp_path) == ["file.npz"]


def test_a_download_of_something_else_is_not_kept(tmp_path, server):
    server.content, (_, sums) = b"<html>moved</html>", content_and_sums()
    with pytest.raises(ValueError, match="web page"):
        dsprites.download(tmp_path / "file.npz", server.url, **sums)
    assert os.listdir(tmp_path) == []


def test_offline_is_one_clear_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(
        dsprites.download,
        "__defaults__",
        ("http://127.0.0.1:9/x",) + dsprites.download.__defaults__[1:],
    )
    assert dsprites.main(["--download", "--out", str(tmp_path)]) == 1
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1 and "offline?" in complaint and "--path" in complaint


# --- the animation --------------------------------------------------------------------------------


def save_animation(path: Path, frames: np.ndarray, bright: int = 255) -> None:
    pictures = [Image.fromarray(frame * np.uint8(bright)) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])


def test_animation_is_read_back(tmp_path):
    frames = shapes2d.render(shapes2d.classes_of(np.arange(0, 737280, 20011)))
    save_animation(tmp_path / "a.gif", frames)
    np.testing.assert_array_equal(dsprites.read_animation(tmp_path / "a.gif"), frames)


def test_wrong_animations_are_refused(tmp_path):
    with pytest.raises(ValueError, match="none.gif is not an animation .*No such file"):
        dsprites.read_animation(tmp_path / "none.gif")
    (tmp_path / "page.gif").write_text("<html>")
    with pytest.raises(ValueError, match="not an animation"):
        dsprites.read_animation(tmp_path / "page.gif")
    save_animation(tmp_path / "small.gif", np.eye(32, dtype=np.uint8)[None].repeat(2, 0))
    with pytest.raises(ValueError, match="32 by 32 pixels in 2 shades of grey, 64 by 64 in two"):
        dsprites.read_animation(tmp_path / "small.gif")
    grey = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    save_animation(tmp_path / "grey.gif", grey[None], bright=1)
    with pytest.raises(ValueError, match="in 127 shades of grey, 64 by 64 in two expected"):
        dsprites.read_animation(tmp_path / "grey.gif")
