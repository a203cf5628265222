"""Files from elsewhere, hostile until checked: fetch them, list them, read them, and make 64x64 pixels of their images.

Shared by data_prep.celeba, data_prep.chairs and data_prep.dsprites; there is nothing to run here.

Nothing is unpacked to disk. An archive is listed and refused as a whole if one member is odd; then members are read into
memory one at a time, never more of one than its listed size, and decoded only once their width and height are right.
"""

import errno
import http.client
import io
import os
import posixpath
import re
import stat
import tarfile
import urllib.error
import urllib.request
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_prep.packed import HEIGHT, WIDTH

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


class Limits(NamedTuple):
    """What an archive may hold at most; more is a bomb, or another archive."""

    members: int
    total: int  # bytes, uncompressed; the archive itself may not be larger either
    member: int  # bytes, uncompressed
    ratio: int = 100  # uncompressed to compressed, of one member


class Source(NamedTuple):
    """The files of a checked archive or folder."""

    kind: str  # "zip", "tar" or "folder"
    files: dict[str, object]  # by name, with forward slashes; the values are for `read`
    read: Callable[[str], bytes]  # OSError if the disk fails, ValueError if the file is damaged
    listing: (
        str | None
    )  # sha256 over names, sizes and times of a folder, which has no checksum of its own


# --- listing and reading ------------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[Source]:
    """A zip file, a tar file that is not compressed, or a folder, listed and checked.

    Raises FileNotFoundError, or ValueError in one line: not an archive, cut short, above `limits`, or with a member that
    has an unsafe name, is a link, a device or otherwise special, is encrypted, or has the name of another one.
    """
    if path.is_dir():
        files = _checked(path, _folder_entries(path), limits)
        lines = "".join(
            f"{name}\0{size}\0{time}\n" for name, (_, size, time) in sorted(files.items())
        )
        listing = sha256(lines.encode(errors="surrogateescape")).hexdigest()
        yield Source(
            "folder", files, lambda name: _read_file(Path(files[name][0]), files[name][1]), listing
        )
        return
    if not path.is_file():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if path.stat().st_size > limits.total:
        raise ValueError(
            f"{path} is refused: {path.stat().st_size:,} bytes, {limits.total:,} are the most expected"
        )
    with open(path, "rb") as file:
        start = file.read(512)
        if start.lstrip()[:1] == b"<":
            raise ValueError(
                f"{path} is a web page, not the data: delete it and download the file itself"
            )
        if start[:2] == b"\x1f\x8b":
            raise ValueError(
                f"{path} is compressed: call gunzip on it and pass the .tar that comes out"
            )
        if start[:2] == b"PK":
            yield from _zip_source(path, limits)
        else:
            yield from _tar_source(path, file, limits)


def _zip_source(path: Path, limits: Limits) -> Iterator[Source]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        size = path.stat().st_size
        raise ValueError(
            f"{path} is cut short at {size:,} bytes, or damaged ({error}): download it again"
        ) from error

    def read(name: str) -> bytes:
        info = files[name]
        try:
            with archive.open(info) as member:
                content = member.read(
                    info.file_size
                )  # no more, whatever the compressed data say; checks the CRC
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise ValueError(
                f"{path}: {name} is damaged ({error}): download the archive again"
            ) from error
        if len(content) != info.file_size:
            raise ValueError(f"{path}: {name} is cut short: download the archive again")
        return content

    with archive:
        files = _checked(path, _zip_entries(archive), limits)
        yield Source("zip", files, read, None)


def _tar_source(path: Path, file, limits: Limits) -> Iterator[Source]:
    try:
        with tarfile.open(path, "r:") as archive:
            files = _checked(path, _tar_entries(archive, path.stat().st_size), limits)
    except tarfile.TarError as error:
        why = (
            "it is cut short or damaged"
            if tarfile.is_tarfile(path)
            else "it is neither a zip nor a tar archive"
        )
        raise ValueError(f"{path} cannot be read: {why} ({error}); download it again") from error

    def read(name: str) -> bytes:
        offset, size = files[name]
        file.seek(offset)
        content = file.read(size)
        if len(content) != size:
            raise ValueError(f"{path}: {name} is cut short: download the archive again")
        return content

    yield Source("tar", files, read, None)


def _read_file(path: Path, size: int) -> bytes:
    with open(path, "rb") as file:
        content = file.read(size + 1)
    if len(content) != size:
        raise ValueError(
            f"{path} has changed since it was listed: leave the folder alone and start again"
        )
    return content


Entry = tuple[
    str, int, int, object, str | None
]  # name, size, size as stored, for `read` (None: a folder), what is odd


def _zip_entries(archive: zipfile.ZipFile) -> Iterator[Entry]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the packing system has no such kinds
        odd = None
        if info.flag_bits & 1:
            odd = "is encrypted"
        elif kind == stat.S_IFLNK:
            odd = "is a link"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            odd = "is a device or otherwise special"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            odd = "is compressed in an unusual way"
        yield (
            info.orig_filename,
            info.file_size,
            info.compress_size,
            None if info.is_dir() else info,
            odd,
        )


def _tar_entries(archive: tarfile.TarFile, size_on_disk: int) -> Iterator[Entry]:
    while (member := archive.next()) is not None:
        archive.members.clear()  # TarFile would keep them all
        odd = None
        if member.islnk() or member.issym():
            odd = "is a link"
        elif not (member.isreg() or member.isdir()) or member.issparse():
            odd = "is a device or otherwise special"
        elif member.offset_data + member.size > size_on_disk:
            odd = "ends behind the end of the archive, which is cut short: download it again"
        yield (
            member.name,
            member.size,
            member.size,
            None if member.isdir() else (member.offset_data, member.size),
            odd,
        )


def _folder_entries(top: Path) -> Iterator[Entry]:
    folders = [top]
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as found:
            for entry in found:
                facts = entry.stat(follow_symlinks=False)
                name = os.path.relpath(entry.path, top).replace(os.sep, "/")
                odd = None
                if stat.S_ISLNK(facts.st_mode):
                    odd = "is a link"
                elif stat.S_ISDIR(facts.st_mode):
                    folders.append(Path(entry.path))
                elif not stat.S_ISREG(facts.st_mode):
                    odd = "is a device or otherwise special"
                handle = (
                    (entry.path, facts.st_size, facts.st_mtime_ns)
                    if stat.S_ISREG(facts.st_mode)
                    else None
                )
                yield name, facts.st_size if handle else 0, facts.st_size, handle, odd


def _checked(path: Path, entries: Iterable[Entry], limits: Limits) -> dict:
    """The entries that are files, by name; raises ValueError at the first that is odd or one too many."""
    files, count, total = {}, 0, 0
    for name, size, stored, handle, odd in entries:
        count, total = count + 1, total + size
        if odd is None and (
            name.startswith("/")
            or re.search(r"^[A-Za-z]:|\\|[\0-\x1f]", name)
            or ".." in name.split("/")
            or not name
        ):
            odd = "has an unsafe name"
        elif odd is None and size > limits.member:
            odd = f"is {size:,} bytes large, {limits.member:,} are the most expected"
        elif odd is None and size > limits.ratio * max(
            stored, 512
        ):  # a few lines of text may shrink more
            odd = f"would unpack {stored:,} bytes to {size:,}"
        name = posixpath.normpath(name) if odd is None else name  # ./a is a
        if odd is None and name in files:
            odd = "is there twice"
        if odd:
            raise ValueError(f"{path} is refused: {name[:100]!r} {odd}")
        if count > limits.members or total > limits.total:
            raise ValueError(
                f"{path} is refused: more than {limits.members:,} members or {limits.total:,} bytes in them"
            )
        if handle is not None:
            files[name] = handle
    return files


def checksum(path: Path, algorithm: str) -> str:
    """Hex digest of a file, read in pieces."""
    with open(path, "rb") as file:
        return file_digest(file, algorithm).hexdigest()


# --- pixels -------------------------------------------------------------------------------------------------------


def crop_box(text: str, size: tuple[int, int]) -> Box:
    """The box "left,top,right,bottom" within an image of this width and height; ValueError for anything else."""
    numbers = re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})", text.replace(" ", ""))
    left, top, right, bottom = map(int, numbers.groups()) if numbers else (0, 0, 0, 0)
    if not (left < right <= size[0] and top < bottom <= size[1]):
        raise ValueError(
            f"the crop box must be left,top,right,bottom within {size[0]} by {size[1]} pixels, not {text!r}"
        )
    return left, top, right, bottom


def decode(content: bytes, name: str, kind: str, size: tuple[int, int], box: Box) -> bytes:
    """One image file as packed bytes (3 planes of 64x64): its box, resized with antialiasing (triangle filter).

    `kind` is PIL's name of the only format allowed. Pixels of partly transparent images are laid on white. Raises
    ValueError naming the image if it cannot be read or has another size; pixels are decoded only once the size is right.
    """
    problem = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", Image.DecompressionBombWarning
            )  # PIL only warns from MAX_IMAGE_PIXELS on
            image = Image.open(io.BytesIO(content), formats=[kind])
        if image.size != size:
            problem = (
                f"has {image.size[0]} by {image.size[1]} pixels, {size[0]} by {size[1]} expected"
            )
        elif image.mode not in ("RGB", "RGBA", "L", "LA", "P"):
            problem = f"is in PIL's mode {image.mode}, RGB expected"
        elif image.mode in ("RGBA", "LA") or "transparency" in image.info:
            image = Image.alpha_composite(Image.new("RGBA", size, "white"), image.convert("RGBA"))
        if problem is None:
            small = image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=box)
    except Exception as error:  # PIL raises a dozen kinds for damaged files
        raise ValueError(
            f"{name} is not a {kind} image that can be read ({error}): take a fresh copy of the data"
        ) from error
    if problem:
        raise ValueError(f"{name} {problem}: another edition of the data?")
    return np.asarray(small).transpose(2, 0, 1).tobytes()


def decode_all(
    images: list[tuple[str, bytes]], kind: str, size: tuple[int, int], box: Box
) -> bytes:
    """`decode` of several (name, content), joined; at the top level, so that other processes can be sent to do it."""
    return b"".join(decode(content, name, kind, size, box) for name, content in images)


# --- fetching -----------------------------------------------------------------------------------------------------


def download(
    path: Path, url: str, check: Callable[[Path], None], say: Callable[[str], None]
) -> None:
    """Fetch `url` to `path`, continuing an earlier `.part`; `check` looks at it before it gets its name.

    Raises OSError when the server cannot be reached, answers with a web page or the connection breaks (what came is
    kept), and what `check` raises (ValueError) when what came is not the file (it is deleted).
    """
    if path.exists():
        check(path)
        say(f"{path} is already there and whole")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    say(f"downloading {url}" + (f" from byte {have:,}" if have else ""))
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            if answer.headers.get_content_type() == "text/html":
                raise OSError(f"{url} answered with a web page instead of {path.name}")
            resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            )
            expected = answer.headers.get("Content-Length")
            with open(part, "ab" if have and resumed else "wb") as file:
                start = file.tell()
                while piece := answer.read(1 << 18):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
                if expected is not None and file.tell() - start < int(expected):
                    raise http.client.IncompleteRead(b"")
    except urllib.error.HTTPError as error:
        if not (
            error.code == 416 and have
        ):  # 416: nothing is left to send, so the part may be the whole
            raise OSError(f"{url} answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise OSError(
            f"cannot reach {url} ({error.reason}); offline? Fetch {path.name} elsewhere and pass it with --path"
        ) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        came = part.stat().st_size if part.exists() else 0
        raise OSError(
            f"the connection broke after {came:,} bytes; the same command continues"
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            wrong = (
                f"cannot write {part} ({error.strerror}); make room, and the same command continues"
            )
            raise OSError(error.errno, wrong) from error
        raise
    try:
        check(part)
    except ValueError:
        part.unlink()
        raise
    os.replace(part, path)
    say(f"downloaded and checked {path}")
