"""Files from elsewhere, hostile until checked: fetch, list, read them, make 64x64 pixels of images.

Shared by data_prep.celeba, data_prep.chairs and data_prep.dsprites; there is nothing to run here.

Nothing is unpacked to disk. An archive is listed and refused as a whole if one member is odd; then
members are read into memory one at a time, never more of one than its listed size, and decoded only
once their width and height are right. The user's own folder is not an archive: its links to files
are followed, and what nobody asks for is passed over.
"""

import http.client
import io
import os
import posixpath
import re
import shutil
import ssl
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import NamedTuple

import PIL
from PIL import Image

from data_prep.packed import HEIGHT, WIDTH, alone, in_order, naming, part_of, write_packed

RESIZE = "PIL bilinear (triangle filter, antialiased) to 64x64"
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


class Limits(NamedTuple):
    """What an archive may hold at most; more is a bomb, or another archive."""

    members: int
    total: int  # bytes, uncompressed; the archive itself may not be larger either
    member: int  # bytes, uncompressed
    ratio: int = 100  # uncompressed to compressed, of one member


class Source(NamedTuple):
    """The files of a checked archive or folder."""

    path: Path
    kind: str  # "zip", "tar" or "folder"
    files: dict[str, tuple]  # by name, with forward slashes; the values are for `read`
    read: Callable[[str], bytes]  # OSError if the disk fails, ValueError if the file is damaged

    def proof(self, algorithm: str) -> dict:
        """Which files: the checksum of an archive, or of a folder's names, sizes and times."""
        if self.kind != "folder":
            return {algorithm: checksum(self.path, algorithm)}
        files = sorted(self.files.items())
        lines = "".join(f"{name}\0{size}\0{time}\n" for name, (size, _, time) in files)
        return {"listing_sha256": sha256(lines.encode(errors="surrogateescape")).hexdigest()}


class Refused(ValueError):
    """What must not be read, or is another edition: a sentence with the name of the file."""


class NotFetched(OSError):
    """A server cannot be reached, breaks off, or gives something else: a sentence that says so."""


def checksum(path: Path, algorithm: str) -> str:
    """Hex digest of a file, read in pieces."""
    with open(path, "rb") as file:
        return file_digest(file, algorithm).hexdigest()


# --- listing and reading --------------------------------------------------------------------------


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[Source]:
    """A zip file, a tar file that is not compressed, or a folder, listed and checked.

    Raises FileNotFoundError, or ValueError in one line: no archive, cut short, above `limits`, or
    with a member that has an unsafe name or that of another one, or is no plain file or folder.
    """
    if path.is_dir():
        files = _folder_files(path, limits)
        yield Source(path, "folder", files, lambda name: read_file(*files[name][:2], limits))
        return
    if not path.is_file():
        raise FileNotFoundError(f"there is no file or folder {path.absolute()}")
    size = path.stat().st_size
    if size > limits.total:
        most = f"{limits.total:,} are the most expected"
        raise Refused(f"{path} is refused: {size:,} bytes, {most}")
    with _Bounded(path, limits) as file:
        start = file.read(512)
        file.seek(0)
        if start.lstrip()[:1] == b"<":
            raise ValueError(f"{path} is a web page, not the data: delete it and download the file")
        if start[:2] == b"\x1f\x8b":
            raise ValueError(f"{path} is compressed: call gunzip on it and pass the .tar in it")
        zipped = start[:2] == b"PK"
        file.most = max(1 << 20, 256 * limits.members if zipped else 0)
        try:
            archive = zipfile.ZipFile(file) if zipped else tarfile.TarFile(fileobj=file)
            members = _zip_members(archive) if zipped else _tar_members(archive, size)
            files = _checked(path, members, limits)
        except Refused:
            raise
        except Exception as error:  # zipfile and tarfile raise a dozen kinds at odd headers
            why = "neither a zip nor a tar archive"
            if zipped or start[257:262] == b"ustar":
                why = f"cut short at {size:,} bytes, or damaged"
            raise ValueError(f"{path} is {why} ({error}): download it again") from error
        file.most = max(1 << 20, limits.member)

        def read(name: str) -> bytes:
            length, place = files[name]
            try:
                if zipped:
                    with archive.open(place) as member:
                        content = member.read(length)  # no more, whatever the data unpack to
                else:
                    file.seek(place)
                    content = file.read(length)
                if len(content) != length:
                    raise EOFError("cut short")
            except Exception as error:
                wrong = f"{path}: {name} is damaged ({error})"
                raise ValueError(f"{wrong}: download the archive again") from error
            return content

        yield Source(path, "zip" if zipped else "tar", files, read)


def check(path: Path, limits: Limits) -> None:
    """Raise what `opened` raises, if anything."""
    with opened(path, limits):
        pass


class _Bounded(io.BufferedReader):
    """An archive of which no header, list of members or member can have more read than is right.

    zipfile reads the list of members at once, tarfile a long name or pax header, whatever its size.
    """

    def __init__(self, path: Path, limits: Limits):
        super().__init__(io.FileIO(path))
        self.path, self.limits, self.most = path, limits, 1 << 20

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > self.most:
            claim = f"a header in it claims {size:,} bytes"
            raise Refused(f"{self.path} is refused: {claim}, {self.most:,} are the most expected")
        content = super().read(size)
        if content.count(b"PK\1\2") > self.limits.members:  # each opens an entry in a zip's list
            raise Refused(f"{self.path} is refused: more than {self.limits.members:,} members")
        return content


# Name, size, size as stored, place (None: a folder), whether it is a plain file or folder.
Member = tuple[str, int, int, object, bool]


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the packing system has no such kinds
        plain = kind in (0, stat.S_IFREG, stat.S_IFDIR) and not info.flag_bits & 1  # encrypted
        plain = plain and info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        place = None if info.is_dir() else info
        yield info.orig_filename, info.file_size, info.compress_size, place, plain


def _tar_members(archive: tarfile.TarFile, size_on_disk: int) -> Iterator[Member]:
    while (member := archive.next()) is not None:
        archive.members.clear()  # TarFile would keep them all
        if member.offset_data + member.size > size_on_disk:
            raise EOFError(f"{member.name[:100]!r} ends behind the end of the archive")
        plain = (member.isreg() or member.isdir()) and not member.issparse()
        place = None if member.isdir() else member.offset_data
        yield member.name, member.size, member.size, place, plain


def _checked(path: Path, members: Iterator[Member], limits: Limits) -> dict[str, tuple]:
    """Size and place of the members that are files, by name; Refused if one is odd or too many."""
    files, count, total = {}, 0, 0
    for name, size, stored, place, plain in members:
        count, total = count + 1, total + size
        short = posixpath.normpath(name)  # ./a is a
        odd = None
        if not plain:
            odd = "is a link, special, encrypted or compressed in an unusual way"
        elif ".." in name.split("/") or not re.match(r"(?!/|[A-Za-z]:)[^\\\0-\x1f]+\Z", name):
            odd = "has an unsafe name"
        elif size > limits.member:
            odd = f"is {size:,} bytes large, {limits.member:,} are the most expected"
        elif size > limits.ratio * max(stored, 512):  # a few lines of text may shrink more
            odd = f"would unpack {stored:,} bytes to {size:,}"
        elif short in files:
            odd = "is there twice"
        if odd:
            raise Refused(f"{path} is refused: {name[:100]!r} {odd}")
        if count > limits.members or total > limits.total:
            most = f"{limits.members:,} members or {limits.total:,} bytes in them"
            raise Refused(f"{path} is refused: more than {most}")
        if place is not None:
            files[short] = size, place
    return files


def _folder_files(top: Path, limits: Limits) -> dict[str, tuple]:
    """Size, path and time of the files in a folder and in those within it, by name.

    A link to a file is that file (a cache, DVC, git-annex). Links to folders, devices, and folders
    that may not be read are passed over: what is wanted of them will be missing by its name.
    """
    os.scandir(top).close()  # if it may not be read, says so
    files = {}
    for folder, _, names in os.walk(top):
        for path in (Path(folder, name) for name in names):
            size, time = 0, 0  # of a link whose file is not there: said if it is asked for
            if path.is_file():
                size, time = path.stat().st_size, path.stat().st_mtime_ns
            if path.is_file() or path.is_symlink():
                files[path.relative_to(top).as_posix()] = size, path, time
        if len(files) > limits.members:
            raise Refused(f"{top} is refused: it holds more than {limits.members:,} files")
    return files


def read_file(size: int, path: Path, limits: Limits) -> bytes:
    """A file of the user's own, of this size when it was listed; ValueError if it is too large."""
    if size > limits.member:
        most = f"{limits.member:,} are the most expected"
        raise Refused(f"{path} is refused: {size:,} bytes, {most}")
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(f"{path} is a link to a file that is not there: fetch it")
    with open(path, "rb") as file:
        content = file.read(size + 1)
    if len(content) != size:
        raise ValueError(f"{path} has changed since it was listed: leave it alone and start again")
    return content


# --- pixels ---------------------------------------------------------------------------------------


def crop_box(text: str, size: tuple[int, int]) -> Box:
    """The box "left,top,right,bottom" within an image of this width and height; or ValueError."""
    numbers = re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})", text.replace(" ", ""))
    left, top, right, bottom = map(int, numbers.groups()) if numbers else (0, 0, 0, 0)
    if not (left < right <= size[0] and top < bottom <= size[1]):
        within = f"within {size[0]} by {size[1]} pixels"
        raise ValueError(f"the crop box must be left,top,right,bottom {within}, not {text!r}")
    return left, top, right, bottom


def decode(content: bytes, name: str, kind: str, size: tuple[int, int], box: Box) -> bytes:
    """One image file as packed bytes (3 planes of 64x64): its box, resized by a triangle filter.

    `kind` is PIL's name of the only format allowed. Pixels of partly transparent images are laid on
    white. Raises ValueError naming the image if it cannot be read or has another size; pixels are
    decoded only once the size is right.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=[kind])  # the header alone
        if image.size != size:
            found, right = (f"{width} by {height}" for width, height in (image.size, size))
            raise Refused(f"{name} has {found} pixels, {right} expected")
        if image.mode not in ("RGB", "RGBA", "L", "LA", "P"):
            raise Refused(f"{name} is in PIL's mode {image.mode}, RGB expected")
        if image.mode in ("RGBA", "LA") or "transparency" in image.info:
            image = Image.alpha_composite(Image.new("RGBA", size, "white"), image.convert("RGBA"))
        small = image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=box)
    except Refused:
        raise
    except Exception as error:  # PIL raises a dozen kinds for damaged files
        why = re.sub(r" ?<_io.BytesIO[^>]*>", "", str(error))
        wrong = f"{name} is not a {kind} image that can be read ({why})"
        raise ValueError(f"{wrong}: take a fresh copy of the data") from error
    return b"".join(plane.tobytes() for plane in small.split())


def pack_images(
    out: Path, stem: str, source: Source, names: list[str], labels: bytes, facts: dict,
    kind: str, size: tuple[int, int], crop: Box, at_a_time: int | None, say: Callable[[str], None],
) -> dict:  # fmt: skip
    """Pack the images `names` of a source, in this order, with these facts; what the JSON says."""

    def read(i: int) -> tuple[str, bytes]:
        return f"{source.path}: {names[i]}", source.read(names[i])

    def work(images: list[tuple[str, bytes]]) -> bytes:
        return b"".join(decode(content, name, kind, size, crop) for name, content in images)

    info = {
        **facts, "source": "official", "images": len(names), "channels": 3,
        "layout": f"{source.kind}, {names[0]}", "crop": list(crop), "resize": RESIZE,
        "software": f"Pillow {PIL.__version__}",
    }  # fmt: skip
    pieces = in_order(read, work, len(names), at_a_time)
    return write_packed(out, stem, pieces, info, labels=labels, say=say)


# --- fetching -------------------------------------------------------------------------------------


def download(path: Path, url: str, check: Callable[[Path], None], say=lambda line: None) -> None:
    """Fetch `url` to `path`, continuing an earlier `.part`; `check` looks before it gets its name.

    Raises NotFetched when the server cannot be reached, answers with a web page, or the
    connection breaks (what came is kept), OSError if the disk is full or the like, and what `check`
    raises (ValueError) when what came is not the file (it is deleted).
    """
    part = part_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.parent, say), naming(part):
        if path.exists():
            check(path)
            say(f"{path} is already there and whole")
            return
        _fetch(url, part, say)
        try:
            check(part)
        except ValueError:
            part.unlink()
            raise
        os.replace(part, path)
        say(f"downloaded and checked {path}")


def _fetch(url: str, part: Path, say: Callable[[str], None]) -> None:
    """Append to `part` what it lacks of `url`."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    say(f"downloading {url}" + (f" from byte {have:,}" if have else ""))
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            if answer.headers.get_content_type() == "text/html":
                raise NotFetched(f"{url} answered with a web page instead of {part.stem}")
            content_range = answer.headers.get("Content-Range", "")
            resumed = answer.status == 206 and content_range.startswith(f"bytes {have}-")
            with open(part, "ab" if resumed else "wb") as file:
                start = file.tell()
                shutil.copyfileobj(answer, file)
                came = file.tell() - start
            if came < int(answer.headers.get("Content-Length", 0)):
                raise http.client.IncompleteRead(b"")
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:  # 416: nothing is left to send, it may be the whole
            raise NotFetched(f"{url} answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        remedy = f"offline? Fetch {part.stem} elsewhere and pass it with --path"
        raise NotFetched(f"cannot reach {url} ({error.reason}); {remedy}") from error
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        came = f"the connection broke after {part.stat().st_size:,} bytes"
        raise NotFetched(f"{came}; the same command continues") from error
