"""Which pictures were taken together, told from their names: frames of a video, copies, bursts.

What belongs together must not be split: a detector that has seen one frame of a drive knows the
next one. Names cannot always tell, and then that is said; `series` asks the pictures as well.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

from helpers.annotations.pictures import key_of, stem_of
from helpers.annotations.remarks import Note, Remark, refuse
from helpers.annotations.series import by_number
from helpers.common.errors import CourseError
from helpers.common.files import read_csv

_ROBOFLOW = re.compile(r"(.+)\.rf\.[0-9A-Za-z]{16,}")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?![0-9a-f]{4}-)(?=.*[A-Za-z])")  # Label Studio's; no UUID
_FORMAT = re.compile(r"[_.](?:jpe?g|png|bmp|webp)$", re.IGNORECASE)
_NAMED_VIDEO = re.compile(
    r"(.+?)(?:\.[a-z0-9]{2,4}#t=|[._](?:mp4|mov|avi|mkv|m4v|webm)[-_#. ]).*[0-9].*", re.IGNORECASE
)
_DOUBLE_DASH = re.compile(r"(.*[^-])--[0-9]{4,}")
_GOPRO = re.compile(
    r"(?<![a-z0-9])(?:(G[HXSL])[0-9]{2}|(GOPR)|(GP)[0-9]{2})([0-9]{4})(?![0-9])", re.IGNORECASE
)
_STAMP = re.compile(
    r"(?<![0-9])((?:19|20)[0-9]{2})[-_.]?([01][0-9])[-_.]?([0-3][0-9])"
    r"(?:[-_. T]| at )*([0-2][0-9])[-_.:h]?([0-5][0-9])[-_.:m]?([0-5][0-9])"
    r"(?:\.?[0-9]{3})?(?![0-9])"
)
_UNIX = re.compile(r"(?<![0-9])(1[0-9]{9})([0-9]{3}|[0-9]{6}|[0-9]{9})?(?![0-9])")

SECONDS = 10  # between two pictures, or the end of one video and the start of the next

_UNKNOWN = "what {} belong to cannot be known from the names: each counts as a clip of its own"
_ONE = "what 1 picture belongs to cannot be known from its name: it counts as a clip of its own"
_SINGLE = "{} are numbered, but neighbours no more alike than others: each is a clip of its own"
_RULES = {
    "video": "the video that the name begins with ({})",
    "dash": "what stands before -- ({})",
    "gopro": "the chapters of a GoPro are one recording ({})",
    "stamp": f"times in the names, at most {SECONDS} seconds apart ({{}})",
    "series": "numbered frames of one name ({})",
    "steps": "numbers that go up in equal steps, as frames of a video do ({})",
    "alike": "numbered pictures of which neighbours look alike, as frames of a video do ({})",
    "copies": "copies that Roboflow made of one picture (photo_jpg.rf.<hash>.jpg)",
}


class Clips(NamedTuple):
    """The clip of each picture.

    Attributes:
        of: name -> clip. A picture that belongs to no other is a clip of its own.
        rule: how they were found, as a part of a sentence.
        unknown: of how many pictures the names do not tell what they belong to.
    """

    of: dict[str, str]
    rule: str
    unknown: int = 0


def clips_of(
    names: Sequence[str],
    pattern: str | None = None,
    *,
    hashes: Mapping[str, int] | None = None,
) -> Clips:
    """Find out which pictures belong together.

    Args:
        names: file names.
        pattern: overrules all that is known of names: a regular expression whose first group is
            the clip, searched in the name. What it does not fit is a clip of its own; "" makes
            each picture one.
        hashes: name -> perceptual hash of 64 bits, where there is one. Without them a numbered
            series such as raccoon-1 to raccoon-200 is never one clip, with them it is where
            neighbours look alike; and a series that holds most of all pictures is cut where the
            scene changes.

    Raises:
        CourseError: the pattern is none, has no group, or fits no name.
    """
    names = list(names)
    if pattern is not None:
        return _by_pattern(names, pattern)
    bases = {name: _base(name) for name in names}
    found = _by_name(bases)
    found |= _by_time({n: base for n, base in bases.items() if n not in found}, {})
    rest = {name: base for name, base in bases.items() if name not in found}
    numbered, photos, cut = by_number(rest, hashes or {}, len(names))
    found |= numbered
    copies = Counter(base for name, base in rest.items() if name not in found)
    found |= {n: (base, "copies") for n, base in rest.items() if copies[base] > 1}
    parts = _told(found)
    parts += ["cut where the scene changes"] if cut else []
    unknown = [name for name in names if name not in found]
    single = len(photos.intersection(unknown))
    parts = [f"names: {'; '.join(parts)}"] if parts else []
    parts += [_SINGLE.format(f"{single} pictures")] if single else []
    if others := len(unknown) - single:
        parts.append(_UNKNOWN.format(f"{others} pictures") if others > 1 else _ONE)
    of = {name: found[name][0] if name in found else bases[name] for name in names}
    return Clips(of, "; ".join(parts) or "each picture is a clip of its own", len(unknown))


def recordings_of(seconds: Mapping[str, float], pattern: str | None = None) -> Clips:
    """Find out which videos are parts of one recording.

    Args:
        seconds: file name -> how long the video lasts: the next may begin where it ends.
        pattern: as in `clips_of`.

    Raises:
        CourseError: as in `clips_of`.
    """
    names = list(seconds)
    if pattern is not None:
        return _by_pattern(names, pattern)
    bases = {name: Path(name).stem for name in names}
    found = {name: of for name, of in _by_name(bases).items() if of[1] == "gopro"}
    found |= _by_time({n: base for n, base in bases.items() if n not in found}, seconds)
    of = {name: found[name][0] if name in found else bases[name] for name in names}
    if not (parts := _told(found)):
        return Clips(of, "each video is a clip")
    members = Counter(of.values())
    rest = ["every other video is a clip"] if 1 in members.values() else []
    return Clips(of, f"names: {'; '.join([*parts, *rest])}")


def read_groups(path: Path, names: Iterable[str], note: Note = refuse) -> dict[str, str]:
    """Read the user's own table of clips, groups.csv (image,clip): name -> clip.

    An image may be called by its path, in other letter case, composed or decomposed, and with
    another suffix or none, where that leaves one picture. A row that fits no picture is noted.

    Raises:
        CourseError: the table cannot be read, or none of its rows fits.
    """
    by_name: defaultdict[str, set[str]] = defaultdict(set)
    by_stem: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        by_name[key_of(name)].add(name)
        by_stem[key_of(Path(name).stem)].add(name)
    groups: dict[str, str] = {}
    lost = None
    for line, row in enumerate(read_csv(path, ("image", "clip")), 2):
        stated, clip = row["image"].strip(), row["clip"].strip()
        parts = re.split(r"[/\\]", key_of(stated))
        fits = [
            by_name[key] or by_stem[key] or by_stem[key.rpartition(".")[0]]
            for key in ("_".join(parts[i:]) for i in range(len(parts)))
        ]
        image = next((found for found in fits if len(found) == 1), None)
        if image and clip:
            groups |= dict.fromkeys(image, clip)
            continue
        fix = "write the clip's name" if image else "write the name of a picture"
        what = f"image {stated!r} has no clip" if image else f"{stated!r} is no picture here"
        lost = Remark(path.name, f"line {line}", "no image", what, fix)
        note(lost)
    if lost and not groups:
        raise CourseError(f"{lost}; none of its rows fits")
    return groups


def _base(name: str) -> str:
    """A name without suffix, and without what Roboflow, Label Studio or a web address adds."""
    stem = stem_of(name)
    stem = unquote(stem) if "%" in stem else stem
    if copy := _ROBOFLOW.fullmatch(stem):
        stem = copy[1]
    return _FORMAT.sub("", _UPLOAD.sub("", stem, count=1))


def _told(found: dict[str, tuple[str, str]]) -> list[str]:
    """The rules that brought some together, each with its first picture as an example."""
    members = Counter(clip for clip, _ in found.values())
    told = {key: n for n, (clip, key) in reversed(found.items()) if members[clip] > 1}
    return [text.format(told[key]) for key, text in _RULES.items() if key in told]


def _by_pattern(names: list[str], pattern: str) -> Clips:
    if not pattern:
        return Clips({n: Path(n).stem for n in names}, 'clip_pattern "": each is a clip of its own')
    try:
        rule = re.compile(pattern)
    except re.error as error:
        raise CourseError(
            f"clip_pattern: {pattern!r}: no regular expression ({error}); such as '(.+)_[0-9]+'"
        ) from None
    if not rule.groups:
        raise CourseError(f"clip_pattern: {pattern!r}: put ( ) around what names the clip")
    fits = {name: match[1] for name in names if (match := rule.search(name)) and match[1]}
    if names and not fits:
        raise CourseError(
            f"clip_pattern: {pattern!r}: fits none of {len(names)} names, such as {names[0]}; "
            "give another, or None"
        )
    alone = len(names) - len(fits)
    rest = f"; {alone} that it does not fit are clips of their own" if alone else ""
    of = {name: fits.get(name, Path(name).stem) for name in names}
    return Clips(of, f"clip_pattern {pattern!r}{rest}")


def _by_name(bases: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """name -> (clip, rule) where the name says the clip."""
    found = {}
    for name, base in bases.items():
        if part := _GOPRO.search(base):
            camera = (part[1] or "GOPR").upper()
            found[name] = (f"{base[: part.start()]}{camera}_{part[4]}", "gopro")
        elif part := _NAMED_VIDEO.fullmatch(base):
            found[name] = (part[1], "video")
        elif part := _DOUBLE_DASH.fullmatch(base):
            found[name] = (part[1], "dash")
    return found


def _by_time(bases: Mapping[str, str], lasting: Mapping[str, float]) -> dict[str, tuple[str, str]]:
    """name -> (clip, rule) where the name holds a time: what is close together is one clip."""
    found: dict[str, tuple[str, str]] = {}
    for read in (_date, _unix_time):
        times = {n: at for n, base in bases.items() if (at := read(base)) is not None}
        chained, clip, end = {}, "", -np.inf
        for name, at in sorted(times.items(), key=lambda item: item[1]):
            if at > end + SECONDS:
                clip = bases[name]
            end = max(end, at + lasting.get(name, 0))
            chained[name] = (clip, "stamp")
        # Ten digits may be the number of a web picture: those do not follow each other.
        if read is _date or 2 * len(set(chained.values())) < len(chained):
            found = chained | found
    return found


def _date(base: str) -> float | None:
    """Seconds since 1970 of the date and time in a name; None without."""
    for part in _STAMP.finditer(base):
        with suppress(ValueError):  # no date: the 31st of February
            year, month, day, hour, minute, second = map(int, part.groups())
            at = datetime(year, month, day, hour, minute, second)
            return (at - datetime(1970, 1, 1)).total_seconds()
    return None


def _unix_time(base: str) -> float | None:
    part = _UNIX.search(base)
    return float(f"{part[1]}.{part[2] or 0}") if part else None
