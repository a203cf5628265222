"""Sets on disk: what counts as whole, one writer at a time, packing that goes on where it was."""

import hashlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_prep import packed

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 11
INFO = {
    "name": "Test", "source": "official", "images": IMAGES, "channels": 3, "crop": (1, 2),
    "factors": [{"name": "a", "values": [0, 1], "discrete": True}], "software": "S 1",
}  # fmt: skip
CLASSES, HELD_OUT = np.arange(IMAGES)[:, None] % 2, np.arange(IMAGES) < 2
LABELS = packed.labels_file(CLASSES, HELD_OUT)
OTHER_LABELS = packed.labels_file(CLASSES, ~HELD_OUT)
WHOLE = ["celeba.json", "celeba.labels.npz", "celeba.rgb"]


def image(i: int) -> bytes:
    return random.Random(i).randbytes(packed.BYTES_PER_RGB)


def work(task: list) -> bytes:
    return b"".join(map(image, task))


def write(out: Path, info=INFO, labels=LABELS, stop=None, work=work) -> tuple[list[int], list[str]]:
    """Which images were read, and what was said."""
    seen, said = [], []

    def read(i: int) -> int:
        if i == stop:
            raise KeyboardInterrupt
        seen.append(i)
        return i

    pieces = packed.in_order(read, work, IMAGES, 1)
    packed.write_packed(out, "celeba", pieces, info, labels=labels, say=said.append)
    return seen, said


def is_whole(out: Path) -> bool:
    pixels = (out / "celeba.rgb").read_bytes()
    return pixels == work(range(IMAGES)) and problem(out) is None


def problem(out: Path) -> str | None:
    """Why the set is not whole; None if it is."""
    try:
        packed.read_whole(out, "celeba")
    except ValueError as error:
        return str(error)
    return None


@pytest.fixture(autouse=True)
def chunks_of_two(monkeypatch):
    monkeypatch.setattr(packed, "CHUNK", 2)


# --- what is whole --------------------------------------------------------------------------------


def describe(out: Path, stem: str = "celeba", seal: bool = True, **changed) -> None:
    """Change the description, with a checksum that fits if it is to be sealed."""
    path = out / f"{stem}.json"
    info = {k: v for k, v in (json.loads(path.read_text()) | changed).items() if v != "left out"}
    path.write_text(json.dumps(info | ({"checksum": packed.checksum_of(info)} if seal else {})))


FACTOR = INFO["factors"][0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source": "rendered"}, "field 'source' is 'rendered', official expected"),
        ({"height": 32}, "field 'height' is 32, 64 expected"),
        ({"width": 128}, "field 'width' is 128, 64 expected"),
        ({"channels": 1}, "field 'channels' is 1, 3 expected"),
        ({"images": 12}, "field 'bytes' is 135168, 147456 expected"),
        ({"images": "11"}, "field 'images' is '11', a whole number above 0 expected"),
        ({"sha256": "left out"}, "field 'sha256' is None"),
        ({"labels_sha256": "left out"}, "field 'labels_sha256' is None"),
        ({"factors": "left out"}, "field 'factors' is None"),
        ({"factors": []}, "field 'factors' is "),
        ({"factors": [3]}, "field 'factors' is "),
        ({"factors": [FACTOR, FACTOR]}, "field 'factors' is "),
        ({"factors": [FACTOR | {"values": [1, 1]}]}, "field 'factors' is "),
        ({"factors": [FACTOR | {"values": [1, float("nan")]}]}, "field 'factors' is "),
        ({"factors": [FACTOR | {"discrete": "no"}]}, "field 'factors' is "),
        ({"factors": [FACTOR | {"values": [0]}]}, "field 'factors' is "),
        ({"factors": [FACTOR | {"values": [0, 10**400]}]}, "field 'factors' is "),
        (
            {"factors": [FACTOR, FACTOR | {"name": "b"}]},
            "array 'factors' is (11, 1) int16, (11, 2) int16 expected",
        ),
    ],
)
def test_a_description_that_cannot_be_right_is_named_and_made_again(tmp_path, changed, message):
    """Also where the checksum fits: it may have been written by other code."""
    write(tmp_path)
    describe(tmp_path, **changed)
    said = problem(tmp_path)
    assert message in said and f"{tmp_path}/celeba." in said and "\n" not in said
    seen, said = write(tmp_path)
    assert len(seen) == IMAGES and is_whole(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [{"name": "x"}, {"factors": [FACTOR | {"values": [1, 0]}]}, {"crop": [1, 3]}, {"checksum": 1}],
)
def test_a_description_that_was_edited_is_not_believed(tmp_path, changed):
    write(tmp_path)
    describe(tmp_path, seal=False, **changed)
    right = f"{tmp_path}/celeba.json is altered: field 'checksum' does not fit the others"
    assert problem(tmp_path).startswith(right)
    seen, said = write(tmp_path)
    assert said[0] == f"{right}: it is made again" and len(seen) == IMAGES and is_whole(tmp_path)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-2], lambda b: flip(b, len(b) // 2), None]
)
def test_every_damaged_file_is_named_and_made_again(tmp_path, name, damage):
    write(tmp_path)
    if damage:
        (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    else:
        (tmp_path / name).unlink()
    assert f"{tmp_path}/{name} " in problem(tmp_path)
    assert len(write(tmp_path)[0]) == IMAGES and is_whole(tmp_path)


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def labels(factors: object = None, test: object = None, **arrays) -> bytes:
    arrays |= {"factors": CLASSES.astype(np.int16) if factors is None else factors}
    arrays |= {"test": HELD_OUT if test is None else test}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not False})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "arrays 'factors' and 'test' cannot be read"),
        (labels(test=False), "arrays 'factors' and 'test' cannot be read"),
        (labels(np.array([{}], object)), "arrays 'factors' and 'test' cannot be read"),
        (
            labels(CLASSES.astype(float)),
            r"array 'factors' is \(11, 1\) float64, \(11, 1\) int16 expec",
        ),
        (labels(CLASSES[1:].astype(np.int16)), r"array 'factors' is \(10, 1\) int16"),
        (labels(-CLASSES.astype(np.int16)), "class -1 of a for image 1, 0 to 1 expected"),
        (labels(2 * CLASSES.astype(np.int16)), "class 2 of a for image 1, 0 to 1 expected"),
        (
            labels(test=HELD_OUT.astype(int)),
            r"array 'test' is \(11,\) int64, \(11,\) bool expected",
        ),
        (labels(test=HELD_OUT | True), "array 'test' holds out none or all"),
    ],
)
def test_labels_that_cannot_be_right_are_not_written(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "new", labels=content)
    assert not (tmp_path / "new").exists()


def test_the_same_labels_are_the_same_bytes_however_they_lie_in_memory():
    classes = np.arange(12).reshape(6, 2)
    by_columns = packed.labels_file(np.asfortranarray(classes), HELD_OUT[:6])
    assert by_columns == packed.labels_file(classes, HELD_OUT[:6])


def of_sizes(*sizes: int) -> list[dict]:
    return [
        {"name": name, "values": list(range(size)), "discrete": name == "shape"}
        for name, size in zip(packed.SHAPES2D, sizes)
    ]


SHAPES, FULL = of_sizes(1, 2, 1, 3, 2), of_sizes(*packed.SHAPES2D.values())


@pytest.mark.parametrize(
    ("factors", "images", "right"),
    [
        (SHAPES, 12, True),
        (FULL, 737_280, True),
        (FULL, 12, True),
        (FULL, 737_281, False),
        (SHAPES, 11, False),
        (SHAPES[::-1], 12, False),
        (FULL[::-1], 737_280, False),
        (FULL[:4], 737_280, False),
        ([*FULL[:4], FULL[4] | {"name": "y"}], 737_280, False),
        ([*FULL[:4], FULL[4] | {"values": list(range(31))}], 737_280, False),
        (of_sizes(6, 3, 40, 32, 32), 737_280, False),  # as many, but another data set
    ],
)
def test_two_d_shapes_have_their_factors_in_their_order(factors, images, right):
    assert packed._are_factors(factors, images, "shapes2d") == right


def test_what_cannot_be_right_is_not_written(tmp_path):
    for changed, message in (
        ({"source": "rendered"}, "celeba.json: field 'source' is 'rendered', official expected"),
        ({"images": 10}, r"array 'factors' is \(11, 1\) int16, \(10, 1\) int16 expected"),
    ):
        with pytest.raises(ValueError, match=message):
            write(tmp_path / "data", INFO | changed)
    assert not (tmp_path / "data").exists()
    for pieces, message in (([image(0)], "12,288 bytes were made for .*, 135,168 expected"),):
        with pytest.raises(ValueError, match=message):
            packed.write_packed(tmp_path, "celeba", pieces, INFO, labels=LABELS)
    with pytest.raises(ValueError, match=f"celeba.rgb have sha256 [0-9a-f]*, {'0' * 64} expected"):
        packed.write_packed(tmp_path, "celeba", map(image, range(11)), INFO, "0" * 64, LABELS)
    assert os.listdir(tmp_path) == []


# --- packing that goes on -------------------------------------------------------------------------


def interrupt(out: Path, stop: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(out, stop=stop)
    part_in(out)
    assert problem(out) is not None


def part_in(out: Path) -> Path:
    """The only file there, what was written so far; its name says of which set."""
    (part,) = out.iterdir()
    assert re.fullmatch(r"celeba\.rgb\.[0-9a-f]{16}\.part", part.name)
    return part


def test_packing_in_one_go_and_again(tmp_path):
    seen, said = write(tmp_path)
    assert seen == list(range(IMAGES)) and is_whole(tmp_path)
    assert sorted(os.listdir(tmp_path)) == WHOLE
    about = json.loads((tmp_path / "celeba.json").read_text())
    assert (about["channels"], about["bytes"], about["crop"]) == (3, IMAGES * 12288, [1, 2])
    assert about["sha256"] == hashlib.sha256(work(range(IMAGES))).hexdigest()
    assert (tmp_path / "celeba.labels.npz").read_bytes() == LABELS
    assert about["labels_sha256"] == hashlib.sha256(LABELS).hexdigest()
    seal = about.pop("checksum")
    assert seal == hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    done = [f"{tmp_path}/celeba.rgb is already there and whole; nothing to do"]
    assert write(tmp_path, {**INFO, "software": "S 2"}) == ([], done)
    for changed in (
        {"labels": OTHER_LABELS},
        {"info": {**INFO, "crop": (1, 3)}},
        {"info": {**INFO, "name": "Other"}},
    ):
        seen, said = write(tmp_path, **changed)
        assert "celeba.json describes another set" in said[0]
        assert seen == list(range(IMAGES)) and is_whole(tmp_path)


def test_an_interrupted_call_is_continued(tmp_path):
    """Two chunks are read before they are written; the last that was written is not trusted."""
    interrupt(tmp_path, stop=9)
    interrupt(tmp_path, stop=10)
    seen, said = write(tmp_path)
    assert seen == [8, 9, 10] and is_whole(tmp_path)
    assert f"going on from image {seen[0]}" in said[0] and sorted(os.listdir(tmp_path)) == WHOLE


@pytest.mark.parametrize(
    "changed",
    [
        {"info": {**INFO, "crop": (0, 2)}},
        {"info": {**INFO, "software": "S 2"}},
        {"labels": OTHER_LABELS},
    ],
)
def test_another_input_or_setting_starts_anew(tmp_path, changed):
    interrupt(tmp_path, stop=9)
    assert write(tmp_path, **changed)[0] == list(range(IMAGES)) and is_whole(tmp_path)
    assert sorted(os.listdir(tmp_path)) == WHOLE


@pytest.mark.parametrize(
    ("left", "first"), [(4 * 12288 + 5, 2), (2 * 12288, 0), (2 * 12288 - 1, 0), (0, 0)]
)
def test_what_a_kill_left_half_written_is_not_kept(tmp_path, left, first):
    interrupt(tmp_path, stop=10)
    os.truncate(part_in(tmp_path), left)
    assert write(tmp_path)[0] == list(range(first, IMAGES)) and is_whole(tmp_path)


def test_a_whole_set_stays_until_the_next_is_whole(tmp_path):
    write(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, {**INFO, "crop": (0, 2)}, stop=7)
    assert is_whole(tmp_path)
    assert json.loads((tmp_path / "celeba.json").read_text())["crop"] == [1, 2]


def test_wrong_input_leaves_nothing(tmp_path):
    def wrong_input(task: list) -> bytes:
        if 6 in task:
            raise ValueError("image 6 is bad")
        return work(task)

    with pytest.raises(ValueError, match="^image 6 is bad$"):
        write(tmp_path, work=wrong_input)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("at_a_time", [1, 3, None])
def test_pieces_are_in_order_however_many_are_made_at_a_time(at_a_time):
    def slow_at_first(task: list) -> bytes:
        time.sleep(0.05 if 0 in task else 0)
        return bytes(task)

    pieces = packed.in_order(lambda i: i, slow_at_first, 9, at_a_time)
    assert list(pieces(0)) == [b"\0\1", b"\2\3", b"\4\5", b"\6\7", b"\x08"]
    assert list(pieces(4)) == [b"\4\5", b"\6\7", b"\x08"]


def test_progress_is_said(tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 4))  # four seconds pass between any two looks
    monkeypatch.setattr(packed.time, "monotonic", lambda: next(clock))
    pieces = (work([i, i + 1][: IMAGES - i]) for i in range(0, IMAGES, 2))
    said = []
    packed.write_packed(tmp_path, "celeba", pieces, INFO, labels=LABELS, say=said.append)
    # Every second look after a chunk is more than 5 seconds after the last line.
    assert said[1] == "  4 of 11 images, 0 a second, 0.2 minutes left"  # 4 in 8 s, 7 left: 14 s
    assert [line.split()[0] for line in said] == ["writing", "4", "8", "11", "wrote"]


# --- a full disk, kills, two at once --------------------------------------------------------------


def test_no_room_is_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(packed.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**5))
    with pytest.raises(OSError, match="^0 MB are needed for .*celeba.rgb, 0 MB are free; make"):
        write(tmp_path)
    assert os.listdir(tmp_path) == []


def script(out: Path, lines: str) -> list[str]:
    """A Python process that can write the set of this file."""
    first = (
        f"import os, resource, signal, sys, time\nsys.path[:0] = {[str(ROOT), str(ROOT / 'tests')]}"
    )
    more = "import test_packed as t\nfrom pathlib import Path\nt.packed.CHUNK = 2"
    tests = str(Path(__file__).parent)
    return [
        sys.executable,
        "-c",
        f"{first}\nsys.path.insert(0, {tests!r})\n{more}\nout = Path({str(out)!r})\n{lines}",
    ]


def run(out: Path, lines: str) -> subprocess.CompletedProcess:
    return subprocess.run(script(out, lines), capture_output=True, text=True, timeout=120)


DRAWN = "t.packed.write_packed(out, 'celeba', map(t.image, range(11)), t.INFO, labels=t.LABELS)"


@pytest.mark.parametrize(("call", "left"), [("t.write(out)", 1), (DRAWN, 0)])
def test_a_full_disk_keeps_only_what_is_gone_on_from(tmp_path, call, left):
    """The system lets no file of that process grow beyond five images."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (5 * 12288, 5 * 12288))"
    done = run(tmp_path, f"{limit}\ntry: {call}\nexcept OSError as error: print(error)")
    assert done.stdout == f"[Errno 27] File too large: '{tmp_path}/celeba.rgb'\n", done.stderr
    assert len(os.listdir(tmp_path)) == left
    assert write(tmp_path)[0] == list(range(2 if left else 0, IMAGES)) and is_whole(tmp_path)


@pytest.mark.parametrize(
    ("block", "name"),
    [
        (lambda out: out.write_text("a file"), ""),
        (lambda out: (out / "celeba.json").mkdir(parents=True), "celeba.json"),
        (lambda out: (out / "celeba.rgb").mkdir(parents=True), "celeba.rgb"),
        (lambda out: (out / "celeba.rgb.part").mkdir(parents=True), "celeba.rgb.part"),
    ],
)
def test_what_is_in_the_way_is_named(tmp_path, block, name):
    block(tmp_path / "data")
    with pytest.raises(OSError) as caught:
        packed.write_packed(tmp_path / "data", "celeba", map(image, range(11)), INFO, labels=LABELS)
    where = caught.value.filename2 or caught.value.filename
    assert Path(where) == tmp_path / "data" / name and caught.value.strerror
    assert not [path for path in tmp_path.glob("data/*part") if path.is_file()]


def test_a_killed_call_is_gone_on_from(tmp_path):
    kill = "def work(task):\n    if 8 in task: os.kill(os.getpid(), signal.SIGKILL)\n"
    done = run(tmp_path, f"{kill}    return t.work(task)\nt.write(out, work=work)")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert part_in(tmp_path).stat().st_size == 8 * 12288
    seen, said = write(tmp_path)
    assert seen == [6, 7, 8, 9, 10] and is_whole(tmp_path)


def test_a_second_writer_waits_and_finds_it_whole(tmp_path):
    """The first ends, or is killed, which frees what it held."""
    slow = "def work(task):\n    time.sleep(0.3)\n    return t.work(task)\nt.write(out, work=work)"
    second = "print(*t.write(out), sep='\\n')"
    for end in ("ends", "is killed"):
        for path in tmp_path.iterdir():
            path.unlink()
        first = subprocess.Popen(script(tmp_path, slow))
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
        if end == "is killed":
            time.sleep(1)
            first.kill()
        said = run(tmp_path, second).stdout
        assert first.wait(timeout=60) == (0 if end == "ends" else -signal.SIGKILL)
        assert is_whole(tmp_path) and sorted(os.listdir(tmp_path)) == WHOLE
        if end == "ends" and "another process" in said:  # it may have come too late for that
            assert said.startswith("[]\n") and "is already there and whole; nothing to do" in said


def test_many_at_once_leave_one_whole_set(tmp_path):
    processes = [subprocess.Popen(script(tmp_path, "t.write(out)")) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert sorted(os.listdir(tmp_path)) == WHOLE and is_whole(tmp_path)
