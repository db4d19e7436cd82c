"""Pictures from the web by search words, each with its licence, creator and origin.

Openverse and Wikimedia Commons answer with the licence of each picture; search engines that
do not are of no use here. Both are asked in turn, one request at a time.
"""

import io
import re
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import requests

from helpers.common.artifacts import artifact
from helpers.common.downloads import arriving
from helpers.common.errors import CourseError
from helpers.common.files import write_csv
from helpers.footage.search import (
    ALL_LICENCES,
    API,
    LICENCES,
    Found,
    UnansweredError,
    get,
    search,
)

SOURCES = ("file", "licence", "licence_url", "creator", "origin", "words")
MIN_SIDE = 256  # pixels; below, an object that is not the whole picture has nothing to show
MAX_PIXELS = 50_000_000
MAX_BYTES = 20_000_000
NEAR = 6  # differing bits of two 64-bit perceptual hashes, up to which they are near-copies

_AGENT = "detector-course/0.1 (collects training pictures with licence and creator)"
_FORMATS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp"}
_MAX_SECONDS = 60  # for one picture, however slowly it trickles in


@dataclass(frozen=True)
class _Seen:
    """Addresses and perceptual hashes of what came before, and hosts that refuse us."""

    addresses: set[str] = field(default_factory=set)
    hashes: list[int] = field(default_factory=list)
    refusing: set[str] = field(default_factory=set)


class _UnusableError(Exception):
    """A picture that is left out; its text says why, in a word or two."""


@artifact("collect_pictures")
def collect_pictures(
    words: str,
    folder: Path,
    limit: int = 50,
    *,
    services: tuple[str, ...] = ("openverse", "commons"),
    licences: tuple[str, ...] = LICENCES,
) -> dict:
    """Fill `folder` with up to `limit` pictures that the services find for `words`.

    Writes images/ and sources.csv (SOURCES: licence, creator and origin page of each). Left out
    is what has no licence among `licences`, does not decode as JPEG, PNG or WebP, has a side under
    MIN_SIDE or more than MAX_PIXELS pixels or MAX_BYTES bytes, and copies and near-copies of
    what is there. From Commons come renderings up to 1920 pixels wide.

    A service that asks for a pause gets it, up to two minutes; one that fails is left out with
    a line that says so.

    Args:
        words: what to look for.
        folder: the output.
        limit: pictures at most.
        services: keys of `search.API`, asked in turn.
        licences: some of `search.ALL_LICENCES`.

    Returns:
        The path of the folder.

    Raises:
        CourseError: none of the services answers, or nothing is found.
    """
    from helpers.common.progress import tqdm

    _check(words, limit, services, licences)
    (folder / "images").mkdir()
    stem = re.sub(r"\W+", "_", words.lower()).strip("_")[:60] or "picture"
    rows: list[dict] = []
    left_out: Counter[str] = Counter()
    failures: dict[str, str] = {}
    seen = _Seen()
    with requests.Session() as session, tqdm(total=limit, desc=stem, unit="image") as bar:
        session.headers["User-Agent"] = _AGENT
        searches = {name: search(session, name, words, licences, services) for name in services}
        for found in _in_turn(searches, failures):
            try:
                data, suffix = _picture(session, found, licences, seen)
            except _UnusableError as reason:
                left_out[str(reason)] += 1
                bar.set_postfix_str(f"{left_out.total()} left out")
                continue
            name = f"{stem}_{len(rows) + 1:04d}{suffix}"
            (folder / "images" / name).write_bytes(data)
            licence = f"{found.licence} {found.version}".strip()
            values = (name, licence, found.licence_url, found.creator, found.origin, words)
            rows.append(dict(zip(SOURCES, values, strict=True)))
            bar.update()
            if len(rows) == limit:
                break
    why = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
    if not rows and failures:
        raise CourseError(f"{why}; try again later, or use pictures of your own")
    if not rows:
        rest = f" ({reasons})" if reasons else ""
        raise CourseError(f"words: {words!r}: no usable picture{rest}; try other words")
    write_csv(folder / "sources.csv", SOURCES, rows)
    print(f"{len(rows)} pictures kept" + (f"; left out: {reasons}" if reasons else "") + ".")
    if why:
        print(f"Stopped early: {why}. For more, delete the folder and run this again later.")
    return {"images": len(rows), "left_out": dict(left_out)}


def _check(words: str, limit: int, services: tuple[str, ...], licences: tuple[str, ...]) -> None:
    if not words.strip():
        raise CourseError("words: empty; say what to look for, such as 'speed camera'")
    if limit < 1:
        raise CourseError(f"limit: {limit}; it must be at least 1")
    for option, given, known in (
        ("services", services, tuple(API)),
        ("licences", licences, ALL_LICENCES),
    ):
        wrong = [given] if isinstance(given, str) else [item for item in given if item not in known]
        if wrong or not given:
            value = repr(wrong[0]) if wrong else "empty"
            raise CourseError(f"{option}: {value}; give a list of {', '.join(known)}")


def _in_turn(searches: dict[str, Iterator[Found]], failures: dict[str, str]) -> Iterator[Found]:
    """One result of each search after the other; a search that fails is noted and dropped."""
    while searches:
        for name in list(searches):
            try:
                yield next(searches[name])
            except StopIteration:
                del searches[name]
            except UnansweredError as reason:
                failures[name] = str(reason)
                del searches[name]


def _picture(
    session: requests.Session, found: Found, licences: Sequence[str], seen: _Seen
) -> tuple[bytes, str]:
    """Bytes and suffix of a search result; _UnusableError for what is left out."""
    if found.licence not in licences:
        raise _UnusableError("without such a licence")
    if not re.match(r"https?://", found.url):
        raise _UnusableError("without address")
    if found.url in seen.addresses:
        raise _UnusableError("copies")
    seen.addresses.add(found.url)
    if found.width and found.height:
        _check_size(found.width, found.height)
    host = urlsplit(found.url).netloc
    if host in seen.refusing:
        raise _UnusableError("at hosts that refuse")
    try:
        data = _download(session, found.url)
    except requests.RequestException as error:
        if getattr(error.response, "status_code", None) == 429:
            seen.refusing.add(host)
        raise _UnusableError("unreachable") from None
    suffix, bits = _decode(data)
    if any((bits ^ other).bit_count() <= NEAR for other in seen.hashes):
        raise _UnusableError("copies")
    seen.hashes.append(bits)
    return data, suffix


def _download(session: requests.Session, url: str) -> bytes:
    data = bytearray()
    with get(session, url, tries=2, stream=True) as answer:
        deadline = time.monotonic() + _MAX_SECONDS
        for chunk in arriving(answer):
            data += chunk
            if len(data) > MAX_BYTES:
                raise _UnusableError("too large")
            if time.monotonic() > deadline:
                raise _UnusableError("too slow")
    return bytes(data)


def _decode(data: bytes) -> tuple[str, int]:
    """Suffix and perceptual hash of an image that decodes to its end."""
    import numpy as np
    from PIL import Image

    from helpers.common.images import phash

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we look ourselves
            image = Image.open(io.BytesIO(data))
        with image:
            moving = image.format != "MPO" and getattr(image, "n_frames", 1) > 1
            if image.format not in _FORMATS or moving:
                raise _UnusableError("no pictures")
            _check_size(*image.size)
            image.load()
            return _FORMATS[image.format], int(phash(np.asarray(image.convert("L"))), 16)
    except _UnusableError:
        raise
    except Exception:  # decoders fail in any way on bytes that are no image
        raise _UnusableError("no pictures") from None


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise _UnusableError("too small")
    if width * height > MAX_PIXELS:
        raise _UnusableError("too large")
