"""Pictures from the web by search words, each with its licence, creator and origin.

Openverse and Wikimedia Commons answer with the licence of each picture; search engines that
do not are of no use here. Both are asked in turn, one request at a time.
"""

import html
import io
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from helpers.common.artifacts import artifact
from helpers.common.downloads import arriving, retry_after
from helpers.common.errors import CourseError
from helpers.common.files import write_csv

API = {
    "openverse": "https://api.openverse.org/v1/images/",
    "commons": "https://commons.wikimedia.org/w/api.php",
}
# Licences that let you train a detector and share what you make of it, with credit given.
LICENCES = ("cc0", "pdm", "by", "by-sa")
ALL_LICENCES = (*LICENCES, "by-nc", "by-nd", "by-nc-sa", "by-nc-nd")
SOURCES = ("file", "licence", "licence_url", "creator", "origin", "words")
MIN_SIDE = 256  # pixels; below, an object that is not the whole picture has nothing to show
MAX_PIXELS = 50_000_000
MAX_BYTES = 20_000_000
NEAR = 6  # differing bits of two 64-bit perceptual hashes, up to which they are near-copies

_AGENT = "detector-course/0.1 (collects training pictures with licence and creator)"
_FORMATS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp"}
_OPENVERSE_PAGE = 20  # the most that Openverse gives without an account
_COMMONS_PAGE = 50
# Commons asks programs not to take originals; of the widths it keeps this is the second largest.
_COMMONS_WIDTH = 1920
_MAX_PAGES = 20  # per service; Openverse itself ends after 12
_MAX_WAIT = 120  # seconds; a service that asks for more is left alone
_MAX_SECONDS = 60  # for one picture, however slowly it trickles in


@dataclass(frozen=True)
class Found:
    """A search result: where a picture lies, and what its licence says.

    `licence` is a short name such as "by-sa", "" when it is none of ALL_LICENCES. `width` and
    `height` are in pixels as the service states them, 0 when it does not.
    """

    url: str
    licence: str
    version: str
    licence_url: str
    creator: str
    origin: str
    width: int
    height: int


@dataclass(frozen=True)
class _Seen:
    """Addresses and looks (perceptual hashes) of what came before, and hosts that refuse us."""

    addresses: set[str] = field(default_factory=set)
    looks: list[int] = field(default_factory=list)
    refusing: set[str] = field(default_factory=set)


class _Unanswered(Exception):
    """A service gives no answer that we can use; its text says why."""


class _Unusable(Exception):
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
    a line that says so. CourseError when none of them answers or nothing is found.
    Sources: Openverse API v1, "images_search"; MediaWiki API, "imageinfo" and "CommonsMetadata".
    """
    import requests
    from tqdm.auto import tqdm

    _check(words, limit, services, licences)
    (folder / "images").mkdir()
    stem = re.sub(r"\W+", "_", words.lower()).strip("_")[:60] or "picture"
    rows: list[dict] = []
    left_out: Counter[str] = Counter()
    failures: dict[str, str] = {}
    seen = _Seen()
    with requests.Session() as session, tqdm(total=limit, desc=stem, unit="image") as bar:
        session.headers["User-Agent"] = _AGENT
        searches = {name: _SEARCHES[name](session, words, licences, services) for name in services}
        for found in _in_turn(searches, failures):
            try:
                data, suffix = _picture(session, found, licences, seen)
            except _Unusable as reason:
                left_out[str(reason)] += 1
                bar.set_postfix_str(f"{left_out.total()} left out")
                continue
            name = f"{stem}_{len(rows) + 1:04d}{suffix}"
            (folder / "images" / name).write_bytes(data)
            rows.append(
                {
                    "file": name,
                    "licence": f"{found.licence} {found.version}".strip(),
                    "licence_url": found.licence_url,
                    "creator": found.creator,
                    "origin": found.origin,
                    "words": words,
                }
            )
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


def licence_of(name: str, url: str) -> tuple[str, str] | None:
    """Short name and version of a Creative Commons licence, from how Commons writes it.

    `name` is such as "CC BY-SA 4.0" or "Public domain", `url` the address of the licence; either
    may be empty. None when neither says one of ALL_LICENCES, or when they contradict each other.
    """
    address = re.search(
        r"creativecommons\.org/(?:licenses/([a-z-]+)/([\d.]+)|publicdomain/(zero|mark)/([\d.]+))",
        url.lower(),
    )
    by_url = by_name = None
    if address:
        code = {"zero": "cc0", "mark": "pdm"}.get(address[3], address[1])
        by_url = (code, address[2] or address[4])
    written = re.fullmatch(r"cc[ -](by(?:-(?:nc|nd|sa))*)(?:[ -]([\d.]+).*)?", name.strip().lower())
    if written:
        by_name = (written[1], written[2] or "")
    elif dedicated := re.fullmatch(r"cc0(?: ([\d.]+))?|cc-zero", name.strip().lower()):
        by_name = ("cc0", dedicated[1] or "1.0")
    elif name.strip().lower() == "public domain":
        by_name = ("pdm", "")
    if by_url and by_name and by_url[0] != by_name[0]:
        return None
    found = by_url or by_name
    return found if found and found[0] in ALL_LICENCES else None


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
            except _Unanswered as reason:
                failures[name] = str(reason)
                del searches[name]


def _openverse(session, words: str, licences, services) -> Iterator[Found]:
    query = {"q": words, "license": ",".join(licences), "page_size": _OPENVERSE_PAGE}
    if "commons" in services:
        query["excluded_source"] = "wikimedia"  # else Openverse gives the same once more
    for page in range(1, _MAX_PAGES + 1):
        answer = _ask(session, "openverse", {**query, "page": page})
        with _in_form():
            pages = int(answer["page_count"])
            results = [_from_openverse(item) for item in answer["results"]]
        yield from results
        if page >= pages:
            return


def _commons(session, words: str, licences, services) -> Iterator[Found]:
    query = {
        "action": "query",
        "format": "json",
        "formatversion": 2,
        "generator": "search",
        "gsrsearch": f"{words} filetype:bitmap",
        "gsrnamespace": 6,  # files
        "gsrlimit": _COMMONS_PAGE,
        "prop": "imageinfo",
        "iiprop": "url|size|extmetadata",
        "iiurlwidth": _COMMONS_WIDTH,
        "iiextmetadatafilter": "LicenseShortName|LicenseUrl|Artist",
    }
    go_on: dict = {}
    for _ in range(_MAX_PAGES):
        answer = _ask(session, "commons", {**query, **go_on})
        if "error" in answer:
            raise _Unanswered(f"it says {str(answer['error'])[:120]!r}")
        with _in_form():
            pages = answer["query"]["pages"] if "query" in answer else []
            pages = sorted(pages, key=lambda page: page.get("index", 0))
            results = [_from_commons(p["imageinfo"][0]) for p in pages if p.get("imageinfo")]
            go_on = dict(answer.get("continue") or {})
        yield from results
        if not go_on:
            return


def _from_openverse(item: dict) -> Found:
    return Found(
        url=item.get("url") or "",
        licence=item["license"] if item.get("license") in ALL_LICENCES else "",
        version=item.get("license_version") or "",
        licence_url=item.get("license_url") or "",
        creator=item.get("creator") or "",
        origin=item.get("foreign_landing_url") or item.get("url") or "",
        width=int(item.get("width") or 0),
        height=int(item.get("height") or 0),
    )


def _from_commons(info: dict) -> Found:
    facts = dict(info.get("extmetadata") or {})  # PHP writes an empty one as a list
    fact = {key: str(value["value"]) for key, value in facts.items()}
    licence_url = fact.get("LicenseUrl", "")
    licence, version = licence_of(fact.get("LicenseShortName", ""), licence_url) or ("", "")
    return Found(
        url=info.get("thumburl") or info.get("url") or "",
        licence=licence,
        version=version,
        licence_url=licence_url,
        creator=_text(fact.get("Artist", "")),
        origin=info.get("descriptionurl") or info.get("url") or "",
        width=int(info.get("thumbwidth") or info.get("width") or 0),
        height=int(info.get("thumbheight") or info.get("height") or 0),
    )


@contextmanager
def _in_form():
    """Turn whatever goes wrong while an answer is taken apart into _Unanswered."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise _Unanswered("the answer is not in the form of its API") from None


_SEARCHES = {"openverse": _openverse, "commons": _commons}


def _ask(session, service: str, query: dict) -> dict:
    """The JSON object that a service answers to `query`."""
    import requests

    try:
        answer = _get(session, API[service], tries=4, params=query).json()
    except requests.JSONDecodeError:
        raise _Unanswered(
            "the answer is no JSON; check that no login page stands in the way"
        ) from None
    except requests.RequestException as error:
        raise _Unanswered(f"no answer ({_reason(error)})") from None
    if not isinstance(answer, dict):
        raise _Unanswered("the answer is not in the form of its API")
    return answer


def _get(session, url: str, *, tries: int, **options):
    """GET that tries again, after the pause asked for, on 429, 5xx and broken connections."""
    import requests
    from requests.exceptions import ChunkedEncodingError
    from tqdm.auto import tqdm

    for attempt in range(1, tries + 1):
        wait = 2.0**attempt
        try:
            answer = session.get(url, timeout=(10, 20), **options)
        except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError) as problem:
            error = problem
        else:
            if answer.status_code != 429 and answer.status_code < 500:
                answer.raise_for_status()
                return answer
            answer.close()
            asked = retry_after(answer)
            wait = wait if asked is None else asked
            error = requests.HTTPError(response=answer)
            if wait > _MAX_WAIT:
                break
        if attempt < tries:
            if wait >= 5:
                tqdm.write(f"{urlsplit(url).netloc}: {_reason(error)}; next try in {wait:.0f} s")
            time.sleep(wait)
    raise error


def _picture(session, found: Found, licences, seen: _Seen) -> tuple[bytes, str]:
    """Bytes and suffix of a search result; _Unusable for what is left out."""
    if found.licence not in licences:
        raise _Unusable("without such a licence")
    if not re.match(r"https?://", found.url):
        raise _Unusable("without address")
    if found.url in seen.addresses:
        raise _Unusable("copies")
    seen.addresses.add(found.url)
    if found.width and found.height:
        _check_size(found.width, found.height)
    host = urlsplit(found.url).netloc
    if host in seen.refusing:
        raise _Unusable("at hosts that refuse")
    data = _download(session, found.url, host, seen.refusing)
    suffix, look = _decode(data)
    if any((look ^ other).bit_count() <= NEAR for other in seen.looks):
        raise _Unusable("copies")
    seen.looks.append(look)
    return data, suffix


def _download(session, url: str, host: str, refusing: set[str]) -> bytes:
    import requests

    data = bytearray()
    try:
        with _get(session, url, tries=2, stream=True) as answer:
            deadline = time.monotonic() + _MAX_SECONDS
            for chunk in arriving(answer):
                data += chunk
                if len(data) > MAX_BYTES:
                    raise _Unusable("too large")
                if time.monotonic() > deadline:
                    raise _Unusable("too slow")
    except requests.HTTPError as error:
        if error.response.status_code == 429:
            refusing.add(host)
        raise _Unusable("unreachable") from None
    except (requests.RequestException, OSError):
        raise _Unusable("unreachable") from None
    return bytes(data)


def _decode(data: bytes) -> tuple[str, int]:
    """Suffix and perceptual hash of an image that decodes to its end."""
    import warnings

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
                raise _Unusable("no pictures")
            _check_size(*image.size)
            image.load()
            return _FORMATS[image.format], int(phash(np.asarray(image.convert("L"))), 16)
    except _Unusable:
        raise
    except Exception:  # decoders fail in any way on bytes that are no image
        raise _Unusable("no pictures") from None


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise _Unusable("too small")
    if width * height > MAX_PIXELS:
        raise _Unusable("too large")


def _text(markup: str) -> str:
    """What a reader sees of a line of HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is None:
        return type(error).__name__
    asked = retry_after(response)
    wait = f", asks to wait {asked:.0f} s" if asked else ""
    return f"status {response.status_code}{wait}"
