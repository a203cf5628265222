"""Hostile archives, damaged images, and a broken download."""

import errno
import http.server
import io
import os
import random
import struct
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep import archives

LIMITS = archives.Limits(members=20, total=1_000_000, member=100_000)
NOISE = random.Random(0).randbytes(60_000)


def make_zip(path: Path, members: dict, **info) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for key, value in info.items():
                setattr(member, key, value)
            archive.writestr(member, content)
    return path


def make_tar(path: Path, members: dict, **info) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in info.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return path


def make_folder(path: Path, members: dict) -> Path:
    for name, content in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def refused(path: Path, message: str, limits=LIMITS) -> None:
    with pytest.raises(ValueError, match=message) as caught, archives.opened(path, limits):
        pass
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# --- listing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [make_zip, make_tar, make_folder])
def test_files_are_listed_and_read_back(tmp_path, make):
    members = {"top/b.txt": NOISE, "top/deep/a.txt": b"", "c": b"see"}
    with archives.opened(make(tmp_path / "a", members), LIMITS) as source:
        assert source.kind == make.__name__.removeprefix("make_")
        assert {name: source.read(name) for name in source.files} == members


def test_folders_in_archives_are_not_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("top")
        archive.writestr("top/a", "x")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        (tmp_path / "top").mkdir()
        (tmp_path / "top/a").write_text("x")
        archive.add(tmp_path / "top", "./top")
    for name in ("a.zip", "a.tar"):
        with archives.opened(tmp_path / name, LIMITS) as source:
            assert list(source.files) == ["top/a"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a", "a/../../b", "C:/a", "c:a", "a\\b", "..", "a\nb"]
)
def test_unsafe_names_are_refused(tmp_path, make, name):
    refused(make(tmp_path / "a", {"fine": b"", name: b"x"}), "is refused: .* has an unsafe name")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_bombs_are_refused(tmp_path, make):
    refused(make(tmp_path / "a", {"a": NOISE * 2}), "is 120,000 bytes large, 100,000 are the most")
    refused(make(tmp_path / "b", {str(i): b"" for i in range(21)}), "more than 20 members")
    some = {str(i): bytes([i]) * 60_000 for i in range(5)}
    tight = LIMITS._replace(total=299_999, ratio=10**6)
    refused(make(tmp_path / "c", some), "or 299,999 bytes in them|is refused: 3.* bytes", tight)
    with archives.opened(make(tmp_path / "d", some), LIMITS._replace(ratio=10**6)) as source:
        assert len(source.files) == 5


def test_a_member_that_would_unpack_to_far_more_is_refused(tmp_path):
    refused(
        make_zip(tmp_path / "a.zip", {"a": bytes(100_000)}), "would unpack [0-9]+ bytes to 100,000"
    )


def test_an_archive_larger_than_its_content_may_be_is_refused(tmp_path):
    refused(
        make_tar(tmp_path / "a.tar", {"a": b""}),
        "is refused: .* bytes, 5,000 are the most",
        LIMITS._replace(total=5000),
    )


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_refused(tmp_path, kind):
    refused(
        make_tar(tmp_path / "a.tar", {"a": b""}, type=kind, linkname="/etc/passwd"),
        "'a' is a link, ",
    )


@pytest.mark.parametrize(
    "kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_special_members_of_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo("a")
        member.type = kind
        archive.addfile(member)
    refused(tmp_path / "a.tar", "'a' is a link, special, ")


@pytest.mark.parametrize("mode", [0o120777, 0o020600, 0o010600])
def test_links_and_special_members_of_a_zip_are_refused(tmp_path, mode):
    path = make_zip(tmp_path / "a.zip", {"a": b"/etc/passwd"}, external_attr=mode << 16)
    refused(path, "'a' is a link, special, ")


def test_links_to_files_in_a_folder_are_followed_and_strangers_passed_over(tmp_path):
    make_folder(tmp_path / "a", {"b/c": b"x"})
    make_folder(tmp_path / "elsewhere", {"d": b"yy"})
    (tmp_path / "a/b/d").symlink_to(tmp_path / "elsewhere/d")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/itself").symlink_to(tmp_path / "a/itself")
    (tmp_path / "a/lost").symlink_to("nowhere")
    os.mkfifo(tmp_path / "a/pipe")
    make_folder(tmp_path / "a", {"large": bytes(100_001), "odd\\name": b""})
    with archives.opened(tmp_path / "a", LIMITS) as source:
        assert {name: source.read(name) for name in ("b/c", "b/d")} == {"b/c": b"x", "b/d": b"yy"}
        with pytest.raises(OSError, match="a/lost is a link to a file that is not there"):
            source.read("lost")
        with pytest.raises(ValueError, match="a/large is refused: 100,001 bytes"):
            source.read("large")
    refused(make_folder(tmp_path / "b", {str(i): b"" for i in range(21)}), "more than 20 files")


def test_duplicates_are_refused(tmp_path):
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(tmp_path / "a.zip", "w") as archive,
    ):
        archive.writestr("a", "1")
        archive.writestr("a", "2")
    refused(tmp_path / "a.zip", "'a' is there twice")
    refused(make_tar(tmp_path / "a.tar", {"a": b"1", "./a": b"2"}), "'./a' is there twice")


def test_encrypted_and_unusual_members_are_refused(tmp_path):
    content = bytearray(make_zip(tmp_path / "a.zip", {"a": b"x"}).read_bytes())
    central = content.index(b"PK\x01\x02")
    (tmp_path / "b.zip").write_bytes(content[: central + 8] + b"\x01" + content[central + 9 :])
    refused(tmp_path / "b.zip", "'a' is a link, special, encrypted ")
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", "x")
    refused(tmp_path / "c.zip", "'a' is .* compressed in an unusual way")


def test_files_that_are_no_archives_are_named_for_what_they_are(tmp_path):
    whole = make_zip(tmp_path / "whole.zip", {"a": NOISE}).read_bytes()
    for content, message in (
        (
            b"\n<!DOCTYPE html><html>Quota exceeded</html>",
            "is a web page, not the data: delete it and download",
        ),
        (whole[:30_000], "is cut short at 30,000 bytes, or damaged .*: download it again"),
        (b"\x1f\x8b\x08\x00rest", "is compressed: call gunzip"),
        (
            b"version https://git-lfs.github.com/spec/v1\n" * 20,
            "is neither a zip nor a tar archive",
        ),
        (b"", "is neither a zip nor a tar archive"),
    ):
        (tmp_path / "a").write_bytes(content)
        refused(tmp_path / "a", message)
    with (
        pytest.raises(FileNotFoundError, match="there is no file or folder"),
        archives.opened(tmp_path / "none", LIMITS),
    ):
        pass


@pytest.mark.parametrize(
    ("left", "message"), [(70_000, "ends behind the end"), (121_600, "is cut short at 121,600 by")]
)
def test_a_tar_that_is_cut_short_is_refused(tmp_path, left, message):
    """Within the second member, and within its padding, which begins at byte 121,440."""
    whole = make_tar(tmp_path / "whole.tar", {"a": NOISE, "b": NOISE, "c": b"x"}).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:left])
    refused(tmp_path / "a.tar", message)


def test_damage_inside_a_zip_is_found_on_reading(tmp_path):
    content = bytearray(make_zip(tmp_path / "a.zip", {"a": NOISE}).read_bytes())
    content[1000] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with (
        archives.opened(tmp_path / "a.zip", LIMITS) as source,
        pytest.raises(ValueError, match="a.zip: a is damaged"),
    ):
        source.read("a")


def peak(script: str) -> int:
    """The most memory that opening an archive took in a process of its own, in bytes."""
    root = Path(__file__).resolve().parents[2]
    lines = f"""
import resource, sys
sys.path.insert(0, {str(root)!r})
from pathlib import Path
from data_prep import archives, celeba
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with archives.opened(Path({script!r}), celeba.LIMITS): pass
except ValueError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    kilobytes, _, said = done.stdout.partition(" ")
    assert f"{script} is refused: " in said, done.stderr
    return 1024 * int(kilobytes)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_of_two_gigabytes_is_not_read(tmp_path, kind):
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = kind, 2 * 10**9
    with open(tmp_path / "a.tar", "wb") as file:
        file.write(member.tobuf())
        file.truncate(2 * 10**9 + 1024)  # a hole
    assert peak(str(tmp_path / "a.tar")) < 30_000_000


@pytest.mark.parametrize("lie", [False, True])
def test_a_zip_of_too_many_members_is_refused_before_it_is_listed(tmp_path, lie):
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0)
    count = 700_000
    entries = b"".join(entry + b"%06d" % i for i in range(count))
    size = len(entries)
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, 4)
    end += struct.pack("<4sLQL", b"PK\6\7", 0, 4 + size, 1)
    end += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, size, 4, 0)
    if lie:
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, 4, 0)
    (tmp_path / "a.zip").write_bytes(b"PK\3\4" + entries + end)
    assert peak(str(tmp_path / "a.zip")) < 60_000_000


def test_odd_headers_end_in_one_line_with_the_name(tmp_path):
    """Every byte of every header is damaged; names nest 900 deep; a size is beyond any disk."""
    for make, name in ((make_tar, "a.tar"), (make_zip, "a.zip")):
        whole = make(tmp_path / name, {"a": b"1", "b": b"2"}).read_bytes()
        for place in range(min(len(whole), 2048)):
            (tmp_path / name).write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
            try:
                with archives.opened(tmp_path / name, LIMITS) as source:
                    for member in source.files:
                        source.read(member)
            except ValueError as error:
                assert str(tmp_path / name) in str(error) and "object at 0x" not in str(error)
    link = tarfile.TarInfo("././@LongLink")
    link.type, link.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "a.tar").write_bytes((link.tobuf() + bytes(512)) * 900)
    refused(tmp_path / "a.tar", "is cut short at 921,600 bytes, or damaged .*recursion")
    huge = tarfile.TarInfo("a")
    huge.size = 2**70
    (tmp_path / "a.tar").write_bytes(huge.tobuf() + bytes(1024))
    refused(tmp_path / "a.tar", "is .*: ")


def test_a_zip_that_lies_about_a_size_gives_no_more_than_it_said(tmp_path):
    """50 MB of zeros, listed as 100 bytes: the reader stops there; the checksum does not fit."""
    content = bytearray(make_zip(tmp_path / "a.zip", {"a": bytes(50_000_000)}).read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 24 : central + 28] = struct.pack("<I", 100)
    (tmp_path / "a.zip").write_bytes(content)
    tracemalloc.start()
    with (
        archives.opened(tmp_path / "a.zip", LIMITS) as source,
        pytest.raises(ValueError, match="a is damaged .*CRC"),
    ):
        source.read("a")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_folder_that_changes_is_noticed(tmp_path):
    make_folder(tmp_path / "a", {"a": b"1234", "b": b"5"})
    with archives.opened(tmp_path / "a", LIMITS) as source:
        (tmp_path / "a/a").write_bytes(b"12345")
        with pytest.raises(ValueError, match="has changed since it was listed"):
            source.read("a")
    with archives.opened(tmp_path / "a", LIMITS) as changed:
        assert changed.proof("md5") != source.proof("md5")


# --- pixels ---------------------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str = "PNG", **more) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def planes(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8).reshape(3, 64, 64)


def test_crop_and_planes_are_as_documented():
    """A box of 64x64 needs no resizing, so the planes are the picture's own pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 100, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(pixels))
    found = archives.decode(content, "a", "PNG", (100, 90), (10, 20, 74, 84))
    assert np.array_equal(planes(found), pixels[20:84, 10:74].transpose(2, 0, 1))


def test_resizing_averages_what_it_shrinks():
    """Stripes of one pixel become grey; taking every fourth pixel would give black or white."""
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    found = planes(
        archives.decode(encoded(Image.fromarray(stripes)), "a", "PNG", (256, 256), (0, 0, 256, 256))
    )
    assert found[:, :, 1:-1].min() >= 126 and found[:, :, 1:-1].max() <= 129
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 256, 0).repeat(3, 2)
    found = planes(
        archives.decode(encoded(Image.fromarray(ramp)), "a", "PNG", (256, 256), (0, 0, 256, 256))
    )
    np.testing.assert_allclose(
        found[0, 5, 1:-1], (np.arange(64) * 4 + 1.5)[1:-1], atol=1
    )  # the mean of four columns


def test_transparent_pixels_are_white():
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    image.putpixel((3, 5), (10, 20, 30, 255))
    found = planes(archives.decode(encoded(image), "a", "PNG", (64, 64), (0, 0, 64, 64)))
    assert (
        found[:, 5, 3].tolist() == [10, 20, 30]
        and (np.delete(found.reshape(3, -1), 5 * 64 + 3, 1) == 255).all()
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: encoded(Image.new("RGB", (65, 64))), "x has 65 by 64 pixels, 64 by 64 expected"),
        (lambda: encoded(Image.new("I;16", (64, 64))), "x is in PIL's mode I;16, RGB expected"),
        (
            lambda: encoded(Image.new("RGB", (64, 64)), "JPEG"),
            "x is not a PNG image that can be read",
        ),
        (
            lambda: encoded(Image.effect_noise((64, 64), 50))[:3000],
            "x is not a PNG image that can be read",
        ),
        (lambda: b"", r"x is not a PNG image that can be read .cannot identify image file\)"),
        # an image of 100,000 by 100,000 pixels, by its header alone
        (
            lambda: encoded(Image.new("RGB", (64, 64)))[:16] + struct.pack(">II", 10**5, 10**5),
            "x is not a PNG image",
        ),
    ],
)
def test_images_that_cannot_be_right_are_refused(content, message):
    with pytest.raises(ValueError, match=message) as caught:
        archives.decode(content(), "x", "PNG", (64, 64), (0, 0, 64, 64))
    assert "\n" not in str(caught.value)


def test_crop_box():
    assert archives.crop_box("15, 35,163,183", (178, 218)) == (15, 35, 163, 183)
    for text in ("1,2,3", "10,10,10,20", "0,0,179,218", "-1,0,10,10", "a,b,c,d", ""):
        with pytest.raises(
            ValueError, match="must be left,top,right,bottom within 178 by 218 pixels"
        ):
            archives.crop_box(text, (178, 218))


# --- download -------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch):
    """A server on this machine that answers with `content` as `kind`."""
    monkeypatch.setenv("NO_PROXY", "*")

    class Handler(http.server.BaseHTTPRequestHandler):
        content, kind = b"", "application/octet-stream"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", self.kind)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content)

        def log_message(self, *arguments):
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    Handler.url = f"http://127.0.0.1:{listening.server_port}/"
    yield Handler
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_a_web_page_in_place_of_the_file_leaves_what_came_before(tmp_path, server):
    server.content, server.kind = b"<html>Quota exceeded</html>", "text/html; charset=utf-8"
    (tmp_path / "a.zip.part").write_bytes(b"came before")
    with pytest.raises(OSError, match="answered with a web page instead of a.zip"):
        archives.download(tmp_path / "a.zip", server.url, lambda path: None, print)
    assert (tmp_path / "a.zip.part").read_bytes() == b"came before" and len(
        os.listdir(tmp_path)
    ) == 1


def test_a_full_disk_names_the_part_and_keeps_it(tmp_path, server, monkeypatch):
    def full(answer, file):
        file.write(b"as much as there was room for")
        raise OSError(errno.ENOSPC, "No space left on device")

    server.content = NOISE
    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left on device: .*a.zip.part"):
        archives.download(tmp_path / "a.zip", server.url, lambda path: None, print)
    assert (tmp_path / "a.zip.part").read_bytes() == b"as much as there was room for"
