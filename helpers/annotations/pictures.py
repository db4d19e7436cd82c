"""The pictures of somebody's folder: which there are, what to call each, which a file means."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from helpers.annotations.folders import key_of, readable
from helpers.annotations.gathering import (
    CONVERT,
    gather,
    in_common,
    index,
    parts_of,
    shown,
    stem_of,
)
from helpers.annotations.remarks import Note, Remark, refuse

_HASH = re.compile(r"[0-9a-f]{8}-(?=.)")  # Label Studio's, before the name of an upload


@dataclass(frozen=True)
class Pictures:
    """The pictures below a folder, by path, each with a name that no other has.

    Attributes:
        folder: where they were looked for.
        names: path -> flat name, in natural order: the name of the file; where pictures of
            several folders share one, all pictures of these folders get what tells the folders
            apart in front ("drive1_frame_000000.jpg").
        copies: path of a picture that lies in two folders under one name, byte for byte -> that of
            the one in `names`.
        remarks: what was left out, and why.
        frame_size: width and height of pictures that are not there since they are frames of one
            video; None where there is no such video.
    """

    folder: Path
    names: Mapping[Path, str] = field(default_factory=dict)
    copies: Mapping[Path, Path] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    frame_size: tuple[int, int] | None = None

    @classmethod
    def of(cls, folder: Path | str) -> "Pictures":
        """Collect the pictures of a folder, all levels deep; there may be none."""
        folder = Path(folder)
        return cls(folder, *gather(folder))

    def find(self, stated: str, where_from: Path) -> Path | None:
        """Return the picture that an annotation file calls `stated`; None for none, or for several.

        By its name, without regard to case and to how "ü" is composed; else with "%20" decoded;
        else by the stem, if the suffix is another or missing; else without the eight digits that
        Label Studio puts in front. Of several that lie in different folders, the one whose path
        ends like the stated one, or else that lies nearest to the file `where_from`.
        """
        found = self._candidates(stated, where_from)
        return found[0] if len(found) == 1 else None

    def named(
        self,
        stated: str,
        size: tuple[int, int] | None,
        file: Path,
        where: str = "",
        note: Note = refuse,
    ) -> tuple[str, int, int] | None:
        """Return the flat name, width and height of the picture that `file` calls `stated`.

        Width and height are those of `size`; where it is None, those of the picture, upright. If
        there are no pictures at all, the stated name and size are taken. None, after a remark, for
        a picture that is not there or whose size cannot be read.
        """
        image = self.find(stated, file)
        if image is not None:
            size = size or picture_size(image)
            if size is None:
                value, fix = unreadable(image)
                note(Remark(shown(image, self.folder), "", "unreadable image", value, fix))
                return None
            return self.names[image], *size
        size = size or self.frame_size
        if not self.names and size:
            last = PurePosixPath(stated.strip().replace("\\", "/")).name
            return readable(last or stated), *size
        shown_name, fix = repr(readable(stated)), "correct the name, or add the picture"
        if several := self._candidates(stated, file):
            places = " or ".join(shown(path, self.folder) for path in several[:2])
            value = f"picture {shown_name} may be {places}"
            fix = "write the folder in front of the name"
        elif self.names:
            value = f"picture {shown_name} is not among the {len(self.names)} in the folder"
        else:
            value = f"picture {shown_name} is not there"
        note(Remark(str(file), where, "no image", value, fix))
        return None

    def _candidates(self, stated: str, file: Path) -> list[Path]:
        """What may be called `stated`: one picture, or several that nothing tells apart."""
        for text in dict.fromkeys((stated, unquote(stated))):
            *folders, name = parts_of(text) or [""]
            stem = stem_of(name)
            for known, key in (
                (self._by_name, name),
                (self._by_stem, stem),
                (self._by_stem, _HASH.sub("", stem, count=1)),
                (self._by_rest, stem),
            ):
                if found := known.get(key):
                    return self._nearest(found, folders, file)
        return []

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence["_Place"]]:
        return index((key_of(place.path.name), place) for place in self._places)

    @cached_property
    def _by_stem(self) -> Mapping[str, Sequence["_Place"]]:
        return index((stem_of(key_of(place.path.name)), place) for place in self._places)

    @cached_property
    def _by_rest(self) -> Mapping[str, Sequence["_Place"]]:
        stems = ((stem_of(key_of(place.path.name)), place) for place in self._places)
        return index((_HASH.sub("", s, count=1), place) for s, place in stems if _HASH.match(s))

    @cached_property
    def _places(self) -> Sequence["_Place"]:
        paths = (*self.names, *self.copies)
        return [_Place(path, parts_of(shown(path.parent, self.folder))) for path in paths]

    def _nearest(self, found: Sequence["_Place"], folders: list[str], file: Path) -> list[Path]:
        """Those of `found` that a stated path with these `folders`, or its file, points to."""
        if len(found) > 1:
            theirs, stem = parts_of(shown(file.parent, self.folder)), key_of(file.stem)
            # train_labels.csv speaks of the pictures in train/; val/train_1.txt of one picture.
            own = any(stem_of(key_of(place.path.name)) == stem for place in found)
            words = set() if own else set(re.split(r"[^a-z0-9]+", stem))

            def fit(place: _Place) -> tuple[int, int, int]:
                ours = place.folders
                tail = in_common(ours[::-1], folders[::-1])
                head = in_common(ours, theirs)
                shared = head + in_common(ours[head:][::-1], theirs[head:][::-1])
                return tail, len(words.intersection(ours)), 2 * shared - len(ours)

            fits = [fit(place) for place in found]
            best = max(fits)
            found = [place for place, how in zip(found, fits, strict=True) if how == best]
        return list({self.copies.get(place.path, place.path): None for place in found})


class _Place(NamedTuple):
    """A picture, and the names of the folders that it lies in, as they are compared."""

    path: Path
    folders: list[str]


def in_other_folder(stated: str, other: str) -> bool:
    """Whether two paths of one picture name different folders: "cam1/7.jpg" and "cam2/7.jpg"."""
    ours, theirs = (parts_of(unquote(path))[-2::-1] for path in (stated, other))
    return any(one != another for one, another in zip(ours, theirs, strict=False))


def picture_size(image: Path) -> tuple[int, int] | None:
    """Width and height of a picture, upright, as tools show it; None where it cannot be read."""
    from helpers.common.images import image_size

    size = image_size(image)
    return None if size is None else size.upright


def unreadable(image: Path) -> tuple[str, str]:
    """Return what a picture that cannot be read is, by its first bytes, and what to do about it."""
    try:
        with image.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        return f"cannot be opened ({error.strerror})", "replace it"
    if head[4:8] == b"ftyp":
        kind = "AVIF" if head[8:12] in (b"avif", b"avis") else "HEIC"
        return (
            f"{kind}, in spite of its name, which is not read",
            f"{CONVERT} {readable(image.name)}",
        )
    if not head:
        return "an empty file", "copy it again"
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS in place of the picture", "run git lfs pull where it is from"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page, no picture", "download the picture itself"
    return "no picture that can be read", "replace it"
