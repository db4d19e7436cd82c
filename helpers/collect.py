"""Pictures and footage for your class: your own, or from the web with licence and origin."""

import hashlib
import io
import re
import shutil
import time
from pathlib import Path

from helpers.annotations import images_in, natural
from helpers.artifacts import artifact
from helpers.errors import CourseError
from helpers.split import link, write_csv

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".m4v", ".webm")
OPENVERSE = "https://api.openverse.org/v1"
# Licences that let you train a detector and share what you make of it, with credit given.
LICENCES = ("cc0", "pdm", "by", "by-sa")
SOURCES = ("file", "licence", "licence_url", "creator", "origin", "words")

_PAGE = 20  # pictures per request, the most that Openverse gives without an account
_MAX_BYTES = 20_000_000
_FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
_AGENT = "detector-course/0.1 (collects training pictures, keeps licence and creator)"


def own_folder(path: Path, folder: Path, *, rebuild: bool = False) -> Path:
    """Take over your own footage or pictures in the layout of `01_images`.

    `path` is a video, a folder of videos (with `<clip>.boxes.csv` beside, if you have them),
    or a folder of images (in it, or in its images/) with Pascal VOC XML beside them or in
    annotations/, and optionally groups.csv (image,clip). Nothing in `path` is changed.
    CourseError when there is nothing to take, or both videos and images.
    """
    path = Path(path)
    if not path.exists():
        raise CourseError(f"{path}: no such folder or file; give your pictures or your video")
    # Files may be added between two runs: names, sizes and times belong to the fingerprint.
    places = (path, path / "images", path / "annotations", path / "Annotations")
    inside = (p for place in places if place.is_dir() for p in place.iterdir())
    files = [path] if path.is_file() else sorted(p for p in inside if p.is_file())
    text = "".join(f"{p} {p.stat().st_size} {p.stat().st_mtime_ns}\n" for p in files)
    contents = hashlib.sha256(text.encode()).hexdigest()[:16]
    return _own_folder(path, folder, contents=contents, rebuild=rebuild)


@artifact
def _own_folder(path: Path, folder: Path, *, contents: str) -> dict:
    files = [path] if path.is_file() else list(path.iterdir())
    videos = natural(p for p in files if p.suffix.lower() in VIDEO_SUFFIXES)
    if path.is_file() and not videos:
        kinds = ", ".join(VIDEO_SUFFIXES)
        raise CourseError(f"{path}: not a video; give a folder, or a file ending in {kinds}")
    place = path / "images" if (path / "images").is_dir() else path
    try:
        images = [] if path.is_file() else images_in(place)
    except CourseError:
        if not videos:
            raise
        images = []
    if videos and images:
        raise CourseError(
            f"{path}: {len(videos)} videos and {len(images)} images; put them into two folders"
        )
    taken = videos or images
    if videos:
        (folder / "clips").mkdir()
        for video in videos:
            if (folder / "clips").joinpath(video.name).exists():
                raise CourseError(f"{video}: another clip has this name; rename it")
            link(video, folder / "clips" / video.name)
            boxes = video.with_name(f"{video.stem}.boxes.csv")
            if boxes.is_file():
                shutil.copyfile(boxes, folder / "clips" / boxes.name)
    else:
        (folder / "images").mkdir()
        (folder / "annotations").mkdir()
        for image in images:
            link(image, folder / "images" / image.name)
        for xml in _xml_of(path, place):
            shutil.copyfile(xml, folder / "annotations" / xml.name)
        if (path / "groups.csv").is_file():
            shutil.copyfile(path / "groups.csv", folder / "groups.csv")
    rows = ({"file": p.name, "licence": "your own", "origin": path.name} for p in taken)
    write_csv(folder / "sources.csv", ("file", "licence", "origin"), rows)
    if videos:
        return {"clips": len(videos)}
    return {"images": len(images), "annotations": len(list((folder / "annotations").iterdir()))}


def _xml_of(path: Path, place: Path) -> list[Path]:
    found: dict[str, Path] = {}
    for where in (place, path / "annotations", path / "Annotations"):
        for xml in where.glob("*.xml") if where.is_dir() else ():
            if found.setdefault(xml.name, xml).parent.resolve() != xml.parent.resolve():
                raise CourseError(f"{xml}: another {xml.name} lies in {place.name}/; keep one")
    return natural(found.values())


@artifact
def search_openverse(
    words: str,
    folder: Path,
    limit: int = 50,
    *,
    licences: tuple[str, ...] = LICENCES,
    api: str = OPENVERSE,
) -> dict:
    """Fill `folder` with up to `limit` pictures that Openverse finds for `words`.

    Only pictures under one of `licences` that really decode are kept, each file once; of each,
    sources.csv notes licence, creator and origin. Openverse asks for a pause now and then: the
    client waits up to half a minute, and tries three times. CourseError when the service
    cannot be reached or nothing is found.
    Source: api.openverse.org/v1, "images_search".
    """
    import requests
    from tqdm.auto import tqdm

    if not words.strip():
        raise CourseError("words: empty; say what to look for, such as 'speed camera'")
    if limit < 1:
        raise CourseError(f"limit: {limit}; it must be at least 1")
    (folder / "images").mkdir()
    stem = re.sub(r"\W+", "_", words.strip().lower()).strip("_") or "picture"
    rows, hashes, skipped, page, pages = [], set(), 0, 1, 1
    with requests.Session() as session, tqdm(total=limit, desc=stem, unit="image") as bar:
        session.headers["User-Agent"] = _AGENT
        while len(rows) < limit and page <= pages:
            query = {"q": words, "license": ",".join(licences), "page": page, "page_size": _PAGE}
            try:
                answer = _get(session, f"{api}/images/", params=query)
            except requests.RequestException as error:
                if rows:
                    tqdm.write(f"{api}: no answer to page {page} ({_reason(error)}); stopped there")
                    break
                raise CourseError(
                    f"{api}: no answer to page {page} ({_reason(error)}); try again later, or "
                    "use pictures of your own"
                ) from None
            try:
                answer = answer.json()
                pages, results = int(answer["page_count"]), list(answer["results"])
            except (ValueError, KeyError, TypeError):
                raise CourseError(
                    f"{api}: page {page}: not what Openverse answers; check the address, and "
                    "that no login page stands in the way"
                ) from None
            for item in results:
                if len(rows) == limit:
                    break
                picture = _picture(session, item, licences)
                if picture is None or (key := hashlib.sha256(picture[0]).digest()) in hashes:
                    skipped += 1
                    continue
                hashes.add(key)
                name = f"{stem}_{len(rows) + 1:04d}{picture[1]}"
                (folder / "images" / name).write_bytes(picture[0])
                rows.append(
                    {
                        "file": name,
                        "licence": f"{item['license']} {item.get('license_version') or ''}".strip(),
                        "licence_url": item.get("license_url") or "",
                        "creator": item.get("creator") or "",
                        "origin": item.get("foreign_landing_url") or item["url"],
                        "words": words,
                    }
                )
                bar.update()
            page += 1
    if not rows:
        raise CourseError(f"words: {words!r}: Openverse has no usable picture; try other words")
    write_csv(folder / "sources.csv", SOURCES, rows)
    return {"images": len(rows), "skipped": skipped}


def _get(session, url: str, *, tries: int = 3, **options):
    """GET with retries for the answers that ask for one (429, 5xx) and broken connections."""
    import requests

    for attempt in range(1, tries + 1):
        wait = 2.0**attempt
        try:
            answer = session.get(url, timeout=20, **options)
            if answer.status_code != 429 and answer.status_code < 500:
                answer.raise_for_status()
                return answer
            asked = answer.headers.get("Retry-After", "")
            wait = float(asked) if asked.isdecimal() else wait
            answer.close()
            error = requests.HTTPError(f"status {answer.status_code}", response=answer)
        except (requests.ConnectionError, requests.Timeout) as problem:
            error = problem
        if attempt < tries:
            time.sleep(min(wait, 30.0))
    raise error


def _picture(session, item: dict, licences: tuple[str, ...]) -> tuple[bytes, str] | None:
    """Bytes and suffix of one search result; None for what is no picture or has no licence."""
    import requests
    from PIL import Image

    url = item.get("url") or ""
    if item.get("license") not in licences or not re.match(r"https?://", url):
        return None
    try:
        with _get(session, url, tries=1, stream=True) as answer:
            data = bytearray()
            for chunk in answer.iter_content(1 << 16):
                data += chunk
                if len(data) > _MAX_BYTES:
                    return None
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            suffix = _FORMATS.get(image.format)
    except (requests.RequestException, OSError, SyntaxError, ValueError):
        return None
    except Image.DecompressionBombError:
        return None
    return (bytes(data), suffix) if suffix else None


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    return type(error).__name__ if response is None else f"status {response.status_code}"
