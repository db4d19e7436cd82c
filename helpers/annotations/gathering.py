"""Which pictures lie in somebody's folder, and a name for each that no other has."""

import hashlib
import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from helpers.annotations.folders import (
    IMAGE_SUFFIXES,
    entries_below,
    is_image,
    key_of,
    natural,
    readable,
)
from helpers.annotations.remarks import Note, Remark

# Pictures that OpenCV and TensorFlow do not both decode, and what to do about it.
OTHER_SUFFIXES = {
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".avif": "AVIF",
    ".jxl": "JPEG XL",
    ".jp2": "JPEG 2000",
    ".ppm": "PPM",
    ".pgm": "PGM",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".dng": "RAW",
    ".cr2": "RAW",
    ".cr3": "RAW",
    ".nef": "RAW",
    ".arw": "RAW",
    ".raf": "RAW",
    ".orf": "RAW",
    ".rw2": "RAW",
}
CONVERT = "convert with: magick mogrify -format jpg"
# Folders of segmentation masks beside the photos: those of PASCAL, and what others call them.
_MASKS = ("segmentationclass", "segmentationobject", "masks", "mask")
_LENGTH = 180  # bytes of a stem: what is written beside a picture adds to it, up to 255


def gather(folder: Path) -> tuple[dict[Path, str], dict[Path, Path], tuple[Remark, ...]]:
    """Return `names`, `copies` and `remarks` of the `Pictures` of a folder, all levels deep."""
    remarks: list[Remark] = []
    found = natural(_usable(entries_below(folder), folder, remarks.append))
    copies = _copies(found)
    if copies:
        first, kept = next(iter(copies.items()))
        value = f"byte for byte {shown(kept, folder)}; {len(copies)} such copies are used once"
        fix = "nothing to do, or give one of the two folders"
        remarks.append(Remark(shown(first, folder), "", "same picture twice", value, fix))
    names = _flat_names([path for path in found if path not in copies], folder)
    return names, copies, tuple(remarks)


def shown(path: Path, folder: Path) -> str:
    """Return a path as its owner finds it: relative to `folder` where it lies in it."""
    if path.is_relative_to(folder):
        path = path.relative_to(folder)
    return readable(path.as_posix())


def stem_of(name: str) -> str:
    """Return a name without its suffix if that is one of a picture: "a.mp4#t=1.5" has none."""
    stem, dot, suffix = name.rpartition(".")
    known = f".{suffix.lower()}" in (*IMAGE_SUFFIXES, *OTHER_SUFFIXES)
    return stem if dot and stem and known else name


def _usable(entries: Iterable[Path], folder: Path, note: Note) -> list[Path]:
    """The pictures among `entries`; what only looks like one is noted."""
    found: list[Path] = []
    others: dict[str, list[Path]] = defaultdict(list)
    for path in entries:
        if kind := OTHER_SUFFIXES.get(path.suffix.lower()):
            others[kind].append(path)
        elif is_image(path) and (fault := _no_file(path)):
            note(Remark(shown(path, folder), "", "unreadable image", fault, "replace it"))
        elif is_image(path):
            found.append(path)
    for kind, paths in others.items():
        value = f"{kind} is not read; {len(paths)} such pictures are left out"
        fix = f"{CONVERT} *{paths[0].suffix}"
        note(Remark(shown(paths[0], folder), "", "unreadable image", value, fix))
    masks = _masks(found, folder)
    for place in dict.fromkeys(path.parent for path in found if path in masks):
        value = f"{sum(p.parent == place for p in masks)} masks of pictures that lie elsewhere"
        fix = "nothing to do; if they are photos, rename the folder"
        note(Remark(shown(place, folder), "", "not used", value, fix))
    return [path for path in found if path not in masks]


def _masks(paths: Sequence[Path], folder: Path) -> set[Path]:
    """The masks among `paths`, each named like a picture in a folder not called after masks."""

    def suspect(path: Path) -> bool:
        return path.parent != folder and path.parent.name.lower() in _MASKS

    stems = {stem_of(key_of(path.name)) for path in paths if not suspect(path)}
    return {path for path in paths if suspect(path) and stem_of(key_of(path.name)) in stems}


def _no_file(path: Path) -> str | None:
    """What stands in the place of a picture: a folder, a pipe, a link that leads nowhere."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    if stat.S_ISREG(mode):
        return None
    return "a folder, no picture" if stat.S_ISDIR(mode) else "no file but a pipe or device"


def _copies(paths: Sequence[Path]) -> dict[Path, Path]:
    """Path -> earlier path with the same name and the same bytes."""
    groups = index(((key_of(path.name), path.stat().st_size), path) for path in paths)
    copies: dict[Path, Path] = {}
    for group in groups.values():
        if len(group) > 1:
            first: dict[str, Path] = {}
            for path in group:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if (kept := first.setdefault(digest, path)) != path:
                    copies[path] = kept
    return copies


def _flat_names(paths: Sequence[Path], folder: Path) -> dict[Path, str]:
    """Path -> name, no two of which share a stem."""
    prefixes = _prefixes(paths, folder)
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        name = readable(unicodedata.normalize("NFC", prefixes.get(path.parent, "") + path.name))
        stem, suffix = os.path.splitext(name)
        stem = base = stem.encode()[-_LENGTH:].decode(errors="ignore")
        number = 1
        while key_of(stem) in taken:
            number += 1
            stem = f"{base}_{number}"
        taken.add(key_of(stem))
        names[path] = stem + suffix
    return names


def _prefixes(paths: Sequence[Path], folder: Path) -> dict[Path, str]:
    """Folder -> what to put before the names in it, for folders that share a name with others."""
    group: dict[Path, set[Path]] = {path.parent: {path.parent} for path in paths}
    for same in index((stem_of(key_of(path.name)), path) for path in paths).values():
        joined = set().union(*(group[path.parent] for path in same))
        if len(joined) > len(group[same[0].parent]):
            group |= dict.fromkeys(joined, joined)
    prefixes = {}
    for places in {id(places): places for places in group.values() if len(places) > 1}.values():
        parts = {place: place.relative_to(folder).parts for place in places}
        first = next(iter(parts.values()))
        head = min(in_common(first, other) for other in parts.values())
        tail = min(in_common(first[head:][::-1], other[head:][::-1]) for other in parts.values())
        for place, own in parts.items():
            prefixes[place] = "".join(f"{part}_" for part in own[head : len(own) - tail])
    return prefixes


def index(pairs: Iterable[tuple]) -> dict:
    found = defaultdict(list)
    for key, path in pairs:
        found[key].append(path)
    return dict(found)


def parts_of(stated: str) -> list[str]:
    """The parts of a path as any system writes it, as they are compared."""
    return [key_of(p) for p in PurePosixPath(stated.strip().replace("\\", "/")).parts if p != "/"]


def in_common(ours: Iterable[str], theirs: Iterable[str]) -> int:
    """How many parts two paths share from the start."""
    count = 0
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            break
        count += 1
    return count
