"""Archives from strangers, unpacked safely."""

import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from helpers.common.downloads import LARGEST
from helpers.common.errors import CourseError

_MAX_UNPACKED = LARGEST  # bytes
_MAX_FILES = 50_000


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar file into `folder`, without the single top folder that many have.

    CourseError, before anything is written, for names that lead out of the folder, links and
    devices, and more than 2 GB or 50 000 files; also for a file that is no archive, is cut off
    or fails its checksum.
    """
    from tqdm.auto import tqdm

    try:
        with _opened(archive) as (files, read):
            _check_items(archive, files)
            tops = {item.path.parts[0] for item in files}
            deep = all(len(item.path.parts) > 1 for item in files)
            skip = 1 if len(tops) == 1 and deep else 0
            for item in tqdm(files, desc=f"unpack {archive.name}", unit="file"):
                target = folder.joinpath(*item.path.parts[skip:])
                target.parent.mkdir(parents=True, exist_ok=True)
                # Neither library yields more bytes than the size declared and summed above.
                with read(item) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
    except _BROKEN as error:
        raise CourseError(f"{archive.name}: broken archive ({error}); get it again") from None


# What the two libraries raise for archives that are cut off, garbled or encrypted.
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError),
)


@dataclass(frozen=True)
class _Item:
    """An entry of an archive that is no folder; `plain` unless a link, a device or the like."""

    name: str
    size: int
    plain: bool
    entry: zipfile.ZipInfo | tarfile.TarInfo

    @property
    def path(self) -> PurePosixPath:
        return PurePosixPath(self.name)


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[list[_Item], Callable[[_Item], IO[bytes]]]]:
    """The entries of a zip or tar file, and a function that opens one of them."""
    items: list[_Item] = []
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as bundle:
            total = 0
            for entry in bundle:
                if not entry.isdir():
                    items.append(_Item(entry.name, entry.size, entry.isreg(), entry))
                    total += entry.size
                if total > _MAX_UNPACKED or len(items) > _MAX_FILES:
                    break  # a compressed tar would be unpacked further just to be listed
            yield items, lambda item: bundle.extractfile(item.entry)
    else:
        with zipfile.ZipFile(archive) as bundle:
            for entry in bundle.infolist():
                if not entry.is_dir():
                    plain = not stat.S_ISLNK(entry.external_attr >> 16)
                    items.append(_Item(entry.filename, entry.file_size, plain, entry))
            yield items, lambda item: bundle.open(item.entry)


def _check_items(archive: Path, items: list[_Item]) -> None:
    if len(items) > _MAX_FILES or sum(item.size for item in items) > _MAX_UNPACKED:
        raise CourseError(f"{archive.name}: too large when unpacked; it was not unpacked")
    folders = {folder for item in items for folder in item.path.parents}
    for item in items:
        if item.path in folders:
            raise CourseError(
                f"{archive.name}: {item.name!r} is a file and a folder; it was not unpacked: get "
                "the archive from its own address"
            )
        unsafe = not item.plain or item.path.is_absolute() or ".." in item.path.parts
        if unsafe or not item.path.parts or re.search(r"[\\:\0]", item.name):
            raise CourseError(
                f"{archive.name}: {item.name!r}: a link, or a path out of the "
                "folder; it was not unpacked: get the archive from its own address"
            )
