"""Numbered pictures: frames of a video, or single photos that somebody numbered.

`photo_001.jpg` and `frame_001.jpg` look the same to a program. So a series counts as a video only
where its name says so, where its numbers go up in steps as those of sampled frames do, or where
neighbours look alike: by 64-bit hashes, the part of pairs in which a neighbour is nearer than
another picture of the series. Measured: 0.97 for the dashcam frames of `speedtraps`, 0.48 for the
photos of `raccoon`, 0.51 for those of `bccd`.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

_SERIES = re.compile(r"(.*?)([0-9]+)(\D*)")
# A word before the number that says "one of the pictures of a video": videoplayback0051.
_WORD = re.compile(
    "frames?|video.*|clips?|playback|footage|movie|timelapse|dashcam|frm|vid|mov|mvi|seq|sequence",
    re.IGNORECASE,
)

# What cameras put before the number of a photo: IMG_1234, DSC01234.
_CAMERA = re.compile("(?i:IMG|IMGP|DSC[NF]?|DCIM|PXL|CIMG|SAM|MVIMG|PICT)|P")

_PAIRS = 10  # of neighbours: with fewer, likeness says nothing
_NEARER, _ALIKE = 0.75, 8  # part of pairs; bits
# Bits between neighbours that belong to different scenes, and how many times the usual ones.
# The scenes of `speedtraps` differ by 18 to 36, its neighbours by 2 in the median, 16 at most.
_CUT, _CUT_TIMES = 18, 3


class _Picture(NamedTuple):
    number: int
    name: str
    code: int | None  # its hash


def by_number(
    bases: Mapping[str, str], hashes: Mapping[str, int], total: int
) -> tuple[dict[str, tuple[str, str]], set[str], bool]:
    """name -> (clip, rule) of what is numbered as the frames of a video are.

    Also the names of what is numbered, but looks like single photos, and whether a series was
    cut. `total` is the number of pictures.
    """
    series: defaultdict[tuple[str, str], list[_Picture]] = defaultdict(list)
    for name, base in bases.items():
        match = _SERIES.fullmatch(base)
        # A number of more digits tells nothing: the names of web pictures.
        if match and len(match[2]) <= 12:
            before, number, after = match.groups()
            picture = _Picture(int(number), name, hashes.get(name))
            series[before, after].append(picture)
    # Series whose names differ in numbers only are of one kind, and judged together.
    kinds = defaultdict(list)
    for key, pictures in series.items():
        if len({p.number for p in pictures}) > 1:
            kinds[re.sub("[0-9]+", "#", "*".join(key))].append((key, sorted(pictures)))
    found: dict[str, tuple[str, str]] = {}
    photos: set[str] = set()
    cut = False
    for kind in kinds.values():
        alike = _look_alike([pictures for _, pictures in kind])
        for (before, after), pictures in kind:
            rule = _rule(before, after, pictures, alike)
            if not rule:
                photos |= {p.name for p in pictures if alike is not None and alike < _NEARER}
                continue
            name = _clip_name(before, after) or bases[pictures[0].name]
            parts = _scenes(pictures) if 2 * len(pictures) > total else [pictures]
            cut |= len(parts) > 1
            for part in parts:
                clip = f"{name}_{part[0].number}" if len(parts) > 1 else name
                found |= {p.name: (clip, rule) for p in part}
    return found, photos, cut


def _rule(before: str, after: str, pictures: list[_Picture], alike: float | None) -> str:
    """Key of the rule that makes a clip of a series; "" where none does."""
    words = {text: re.findall(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+", text) for text in (before, after)}
    for part in words.values():
        if _WORD.fullmatch(next((word for word in part[::-1] if len(word) > 2), "")):
            return "series"
    if len(pictures) < 3:
        return ""
    if _CAMERA.fullmatch("".join(words[before])):
        # Photos of one walk look alike, too: only those of a place that stays are one clip.
        return "alike" if alike == 1 else ""
    if alike is not None:
        return "alike" if alike >= _NEARER else ""
    steps = set(np.diff(sorted({p.number for p in pictures})).tolist())
    return "steps" if len(pictures) > 3 and len(steps) == 1 and steps != {1} else ""


def _look_alike(series: list[list[_Picture]]) -> float | None:
    """In what part of pairs a neighbour in number is nearer than another picture.

    1 where all look the same, as those of a camera on a wall; None for too few pictures.
    """
    codes, beside = [], []
    for pictures in series:
        # Of copies with one number the first: that they are alike says nothing.
        known = list({p.number: p.code for p in reversed(pictures) if p.code is not None}.values())
        beside += [(a ^ b).bit_count() for a, b in itertools.pairwise(known)]
        codes += known
    if len(beside) < _PAIRS:
        return None
    chosen = np.random.default_rng(0).integers(0, len(codes), (2000, 2))
    others = [(codes[a] ^ codes[b]).bit_count() for a, b in chosen if abs(a - b) > 1]
    if np.median(others) <= _ALIKE:
        return 1.0
    apart = np.subtract.outer(np.array(beside), np.array(others))
    return float((apart < 0).mean() + (apart == 0).mean() / 2)


def _scenes(pictures: list[_Picture]) -> list[list[_Picture]]:
    """A series cut where its pictures change at once, as they do from one video to another."""
    # A picture that cannot be decoded looks like the one before it.
    first = next((p.code for p in pictures if p.code is not None), 0)
    codes = list(itertools.accumulate((p.code for p in pictures), _last, initial=first))[1:]

    def apart(i: int, reach: int) -> int:
        """Bits between what is before i and what is from i on: the nearest of so many pairs."""
        around = itertools.product(codes[max(0, i - reach) : i], codes[i : i + reach])
        return min((a ^ b).bit_count() for a, b in around)

    places = range(1, len(pictures))
    least = max(_CUT, _CUT_TIMES * float(np.median([apart(i, 1) for i in places])))
    # Three on each side, since a single picture may be a flash.
    ends = [i for i in places if apart(i, 1) >= least and apart(i, 3) >= least]
    return [pictures[i:j] for i, j in itertools.pairwise([0, *ends, len(pictures)])]


def _last(before: int, code: int | None) -> int:
    return before if code is None else code


def _clip_name(before: str, after: str) -> str:
    """What a series is called: its name without the word frame and signs at the ends."""
    name = (before + after).strip(" _-.#()[]")
    shorter = re.sub(r"[ _.-]+frames?$", "", name, flags=re.IGNORECASE)
    return shorter.strip(" _-.#()[]")
