"""Archives from strangers, unpacked safely."""

import gzip
import lzma
import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from helpers.common.downloads import LARGEST
from helpers.common.errors import CourseError, refusals

# What the two libraries raise for archives that are cut off, garbled or encrypted.
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    gzip.BadGzipFile,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
)
_MAX_UNPACKED = LARGEST  # bytes
_MAX_FILES = 50_000


def unpack(archive: Path, folder: Path, name: str = "") -> None:
    """Unpack a zip or tar file as `folder`, without the single top folder that many have.

    Args:
        archive: the file.
        folder: missing or empty; it appears whole or not at all.
        name: how messages call the archive, by default as the file.

    Raises:
        CourseError: before anything is written, for names that lead out of the folder, links and
            devices, and more than 2 GB or 50 000 files; also for a file that is no archive, is cut
            off or fails its checksum.
    """
    from helpers.common.progress import tqdm

    name = name or archive.name
    is_tar = tarfile.is_tarfile(archive)
    try:
        with (
            refusals(folder),
            tarfile.open(archive) if is_tar else zipfile.ZipFile(archive) as bundle,
        ):
            members: Sequence[tarfile.TarInfo | str]
            if isinstance(bundle, tarfile.TarFile):
                members = files = _checked(name, bundle)
                # Missing in Python 3.11 before 3.11.4, which Debian 12 has.
                bundle.extraction_filter = getattr(tarfile, "data_filter", lambda entry, _: entry)
            else:
                files = _checked(name, map(_as_tar, bundle.infolist()))
                members = [entry.name for entry in files]
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as scratch:
                root = Path(scratch) / "all"
                root.mkdir()
                bundle.extractall(root, tqdm(members, desc=f"unpack {name}", unit="file"))
                if isinstance(bundle, tarfile.TarFile) and bundle.fileobj:
                    while bundle.fileobj.read(1 << 20):
                        pass  # the checksum of a compressed tar stands at its end
                paths = [PurePosixPath(entry.name) for entry in files]
                tops = {path.parts[0] for path in paths}
                if len(tops) == 1 and all(len(path.parts) > 1 for path in paths):
                    root /= tops.pop()
                root.rename(folder)
    except BROKEN as error:
        raise CourseError(f"{name}: broken archive ({error}); get it again") from None


def _as_tar(entry: zipfile.ZipInfo) -> tarfile.TarInfo:
    """An entry of a zip file as a tar file would list it."""
    info = tarfile.TarInfo(entry.filename)
    info.size = entry.file_size
    if entry.is_dir():
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(entry.external_attr >> 16):
        info.type = tarfile.SYMTYPE
    return info


def _checked(name: str, entries: Iterable[tarfile.TarInfo]) -> list[tarfile.TarInfo]:
    """The entries that are no folders; CourseError when one is unsafe, or they are too large."""
    files, size = [], 0
    for entry in entries:
        if not entry.isdir():
            files.append(entry)
            size += entry.size
        # At once, since a compressed tar is unpacked just to be listed.
        if size > _MAX_UNPACKED or len(files) > _MAX_FILES:
            raise CourseError(f"{name}: too large when unpacked; it was not unpacked")
    folders = {folder for entry in files for folder in PurePosixPath(entry.name).parents}
    for entry in files:
        path = PurePosixPath(entry.name)
        if path in folders:
            fault = " is a file and a folder"
        elif not entry.isreg() or path.is_absolute() or ".." in path.parts or not path.parts:
            fault = ": a link, or a path out of the folder"
        elif re.search(r"[\\:\0]", entry.name):
            fault = ": a backslash, a colon or a zero byte in the name"
        else:
            continue
        raise CourseError(
            f"{name}: {entry.name!r}{fault}; it was not unpacked: get the archive from "
            "its own address"
        )
    return files
