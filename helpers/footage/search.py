"""Search services for pictures that name the licence of each: Openverse and Wikimedia Commons.

Sources: Openverse API v1, "images_search"; MediaWiki API, "imageinfo" and "CommonsMetadata".
"""

import html
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests

from helpers.common.downloads import RETRY, reason, wait_after

API = {
    "openverse": "https://api.openverse.org/v1/images/",
    "commons": "https://commons.wikimedia.org/w/api.php",
}
# Licences that let you train a detector and share what you make of it, with credit given.
LICENCES = ("cc0", "pdm", "by", "by-sa")
ALL_LICENCES = (*LICENCES, "by-nc", "by-nd", "by-nc-sa", "by-nc-nd")

_OPENVERSE_PAGE = 20  # the most that Openverse gives without an account
_COMMONS_PAGE = 50
# Commons asks programs not to take originals; of the widths it keeps this is the second largest.
_COMMONS_WIDTH = 1920
_MAX_PAGES = 20  # per service; Openverse itself ends after 12


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


class UnansweredError(Exception):
    """A service gives no answer that we can use; its text says why."""


def search(
    session: requests.Session,
    service: str,
    words: str,
    licences: Sequence[str],
    services: Sequence[str],
) -> Iterator[Found]:
    """What `service` finds for `words`, best first; `services` are all that are asked.

    Raises:
        UnansweredError: the service fails; also in the middle.
    """
    if service == "openverse":
        return _openverse(session, words, licences, elsewhere="commons" in services)
    return _commons(session, words)


def _openverse(session, words: str, licences, *, elsewhere: bool) -> Iterator[Found]:
    query = {"q": words, "license": ",".join(licences), "page_size": _OPENVERSE_PAGE}
    if elsewhere:  # Commons is asked itself, and Openverse would give the same once more
        query["excluded_source"] = "wikimedia"
    for page in range(1, _MAX_PAGES + 1):
        answer = _ask(session, "openverse", {**query, "page": page})
        with _in_form():
            pages = int(answer["page_count"])
            results = [_from_openverse(item) for item in answer["results"]]
        yield from results
        if page >= pages:
            return


def _commons(session, words: str) -> Iterator[Found]:
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
    rest: dict = {}
    for _ in range(_MAX_PAGES):
        answer = _ask(session, "commons", {**query, **rest})
        if "error" in answer:
            raise UnansweredError(f"it says {str(answer['error'])[:120]!r}")
        with _in_form():
            pages = answer["query"]["pages"] if "query" in answer else []
            pages = sorted(pages, key=lambda page: page.get("index", 0))
            results = [_from_commons(p["imageinfo"][0]) for p in pages if p.get("imageinfo")]
            rest = dict(answer.get("continue") or {})
        yield from results
        if not rest:
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
    """Turn whatever goes wrong while an answer is taken apart into UnansweredError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise UnansweredError("the answer is not in the form of its API") from None


def _ask(session, service: str, query: dict) -> dict:
    """The JSON object that a service answers to `query`."""
    try:
        answer = get(session, API[service], params=query).json()
    except requests.JSONDecodeError:
        raise UnansweredError(
            "the answer is not JSON; check whether a login page answered instead"
        ) from None
    except requests.RequestException as error:
        raise UnansweredError(f"no answer ({reason(error)})") from None
    if not isinstance(answer, dict):
        raise UnansweredError("the answer is not in the form of its API")
    return answer


def get(session: requests.Session, url: str, *, tries: int = 4, **options) -> requests.Response:
    """GET that tries again, after a pause, what may pass: status 429, 5xx, broken connections.

    Raises:
        requests.RequestException: the last failure, when the tries are used up.
    """
    retry = RETRY.new(total=tries - 1)
    while True:
        try:
            answer = session.get(url, timeout=(10, 20), **options)
            answer.raise_for_status()
            return answer
        except requests.RequestException as error:
            if error.response is not None:
                error.response.close()
            retry = wait_after(error, retry, urlsplit(url).netloc)


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


def _text(markup: str) -> str:
    """What a reader sees of a line of HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())
