"""Frames out of footage, each with its clip, frame number, time, sharpness and hash."""

import os
import shutil
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.folders import images_in, natural
from helpers.annotations.voc import write_voc
from helpers.common.artifacts import artifact
from helpers.common.errors import CourseError
from helpers.common.files import link, read_csv, write_csv
from helpers.common.images import decode_file, phash
from helpers.footage import video
from helpers.footage.video import VIDEO_SUFFIXES

COLUMNS = ("image", "clip", "frame", "time", "sharpness", "phash")
DROPPED_COLUMNS = ("thumbnail", "clip", "frame", "time", "sharpness", "phash", "reason", "detail")
BLURRED, NEAR_COPY, DAMAGED = "blurred", "near-copy", "damaged"
_BOX_COLUMNS = ("frame", "label", "xmin", "ymin", "xmax", "ymax")
_THUMBNAIL = 240  # pixels: the longer side


def sharpness(image: np.ndarray) -> float:
    """Variance of the Laplacian of a BGR or grey uint8 image: low means blurred.

    The value depends on what the image shows: compare frames of one clip, not of two roads.
    Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    edges = cv2.Laplacian(grey, cv2.CV_16S, ksize=1)
    # In OpenCV: numpy's var() makes 64-bit numbers of them first, and takes eight times as long.
    mean = cv2.sumElems(edges)[0] / edges.size
    return cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - mean**2


@artifact("extract_frames")
def extract_frames(
    source: Path,
    folder: Path,
    *,
    every: int | None = None,
    seconds: float | None = None,
    count: int | None = None,
    max_frames: int | None = None,
    min_sharpness: float | None = None,
    near_copies: int | None = None,
) -> dict:
    """Make `02_frames` from `01_images`: frames of clips as JPEG, or photos as they are.

    Args:
        source: folder with `clips/` or `images/`. Where `<clip>.boxes.csv` gives the ground
            truth, each frame gets an XML file with all its boxes.
        every: take every n-th frame of each video. At most one of `every`, `seconds` and `count`
            may be given; none means every frame.
        seconds: take the frame nearest to 0, 1, 2 … times so many seconds, by the times that the
            video gives its frames. They need not be evenly spaced.
        count: take so many frames of each video, spread evenly from the first to the last.
        max_frames: of the frames taken so far, keep at most so many per video, or of the photos
            in all, spread evenly.
        min_sharpness: drop a frame as blurred when its sharpness is under this part (0 to 1) of
            the median of the frames taken from its clip. Not an absolute value, since a road in
            fog is less sharp than one in sunshine, however still the camera.
        near_copies: drop a frame when at most so many of the 64 bits of its hash differ from
            those of the last frame kept of its clip.

    Photos have no times: all of them are taken, or `max_frames`. Those that `groups.csv` puts
    into one clip are compared with each other as frames are.

    Writes `images/`, `annotations/`, `frames.csv` (times in seconds since the clip's first
    frame), `dropped.csv` with the reason ("blurred", "near-copy", "damaged"), and in `dropped/`
    a thumbnail of each. A damaged video is used as far as it can be decoded; that, turned phone
    clips and varying frame rates are said. Raises CourseError for what is no video.
    """
    _check(every, seconds, count, max_frames, min_sharpness, near_copies)
    source, folder = Path(source), Path(folder)
    for name in ("images", "annotations", "dropped"):
        (folder / name).mkdir()
    if (source / "clips").is_dir():
        step = (every, seconds, count, max_frames)
        clips, counts = _from_videos(source / "clips", folder, step, min_sharpness, near_copies)
    elif (source / "images").is_dir():
        clips, counts = _from_photos(source, folder, max_frames, min_sharpness, near_copies)
    else:
        raise CourseError(f"{source}: neither clips/ nor images/ in it; run lesson 01 first")
    kept = [take for take in clips if not take.reason]
    dropped = [take for take in clips if take.reason]
    write_csv(folder / "frames.csv", COLUMNS, map(_row, kept))
    write_csv(folder / "dropped.csv", DROPPED_COLUMNS, map(_dropped_row, dropped))
    for name in ("sources.csv", "author_split.csv"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    reasons = [take.reason for take in dropped]
    return {
        "frames": len(kept),
        **counts,
        **{reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
    }


class _Take(NamedTuple):
    """A frame or photo that was looked at. `reason` is empty for what is kept."""

    image: str
    clip: str
    frame: int | None
    time: float | None
    sharpness: float | None
    phash: int | None
    reason: str = ""
    detail: str = ""


def _check(every, seconds, count, max_frames, min_sharpness, near_copies) -> None:
    steps = {"every": every, "seconds": seconds, "count": count}
    given = {name: value for name, value in steps.items() if value is not None}
    if len(given) > 1:
        text = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise CourseError(f"{text}: give one of every, seconds and count, not {len(given)}")
    for name, value in (("every", every), ("count", count)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise CourseError(f"{name}: {value!r}; it must be a whole number from 1")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise CourseError(f"seconds: {seconds!r}; it must be a number above 0, such as 0.5")
    if max_frames is not None and max_frames < 1:
        raise CourseError(f"max_frames: {max_frames!r}; it must be at least 1, or None")
    if min_sharpness is not None and not 0 <= min_sharpness <= 1:
        raise CourseError(
            f"min_sharpness: {min_sharpness!r}; it is a part of the clip's median, from 0 to 1"
        )
    if near_copies is not None and not 0 <= near_copies <= 64:
        raise CourseError(f"near_copies: {near_copies!r}; it must be 0 to 64 differing bits")


def _from_videos(clips: Path, folder: Path, step, min_sharpness, near_copies):
    from tqdm.auto import tqdm

    found = (p for p in clips.iterdir() if not p.name.startswith("."))
    videos = natural(p for p in found if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        kinds = ", ".join(VIDEO_SUFFIXES)
        raise CourseError(f"{clips}: no video in it; expected files ending in {kinds}")
    stems: dict[str, Path] = {}
    for path in videos:
        if (other := stems.setdefault(path.stem, path)) != path:
            raise CourseError(f"{clips}: {other.name} and {path.name}: same name; rename one")
    listing = tqdm(videos, desc="list frames", unit="clip", leave=False)
    abouts = {path: video.frame_index(path) for path in listing}
    plans = {path: _chosen(about.times, *step) for path, about in abouts.items()}
    takes, short, annotated = [], {}, 0
    with tqdm(total=sum(map(len, plans.values())), desc="frames", unit="frame") as bar:
        for path, about in abouts.items():
            for text in _said(about):
                tqdm.write(f"{path.name}: {text}")
            truth = _read_boxes(path.with_name(f"{path.stem}.boxes.csv"))
            found, sizes = _written(path, about, plans[path], folder, bar)
            judged = list(_judged(found, min_sharpness, near_copies))
            for take in judged:
                if take.reason:
                    _to_thumbnail(folder, take)
                elif truth is not None:
                    boxes = tuple(truth[take.frame])
                    annotation = Annotation(take.image, *sizes, boxes)
                    write_voc(annotation, folder / f"annotations/{Path(take.image).stem}.xml")
                    annotated += 1
            takes += judged
            whole = [take.frame for take in judged if take.reason != DAMAGED]
            lost = len(whole) < len(judged) and (not whole or whole[-1] < judged[-1].frame)
            if lost or len(about.times) < about.announced:
                end = judged[len(whole)].frame if lost and whole else len(about.times) * bool(whole)
                short[path.name] = f"ends before frame {end} of {max(about.announced, end)}"
                tqdm.write(f"{path.name}: {short[path.name]}; kept what could be read")
    if all(take.reason == DAMAGED for take in takes):
        raise CourseError(f"{clips}: no frame could be read; check that the videos play")
    counts = {"clips": len(videos), "annotated": annotated}
    turned = {path.name: about.rotation for path, about in abouts.items() if about.rotation}
    variable = [path.name for path, about in abouts.items() if about.variable]
    notes = {"short": short, "turned": turned, "variable_rate": variable}
    return takes, counts | {name: note for name, note in notes.items() if note}


def _chosen(times: np.ndarray, every, seconds, count, max_frames) -> list[int]:
    """Numbers of the frames to take of a video, rising."""
    numbers = range(0, len(times), every or 1)
    if seconds is not None:
        # Finer than any video; a smaller step would only fill the memory.
        marks = np.arange(0, times[-1] + 1e-6, max(seconds, 0.0005))
        after = np.searchsorted(times, marks).clip(1, max(1, len(times) - 1))
        before = after - 1
        after = after.clip(max=len(times) - 1)
        nearest = np.where(marks - times[before] <= times[after] - marks, before, after)
        numbers = np.unique(nearest).tolist()
    if count is not None:
        numbers = _spread(numbers, count)
    return _spread(numbers, max_frames)


def _said(about: video.Index) -> Iterator[str]:
    if about.rotation:
        yield f"turned by {about.rotation} degrees clockwise, as the file notes"
    if about.variable:
        steps = np.diff(about.times)
        slow, fast = 1 / steps.max(), 1 / np.median(steps)
        yield f"variable frame rate, {slow:.3g} to {fast:.3g} frames per second"


def _written(path: Path, about: video.Index, numbers: list[int], folder: Path, bar):
    """Write the frames of a video as JPEG; their `_Take`s in order, and their width, height."""
    takes, size = {}, (0, 0)
    workers = min(4, os.cpu_count() or 1)
    waiting = deque()

    def finish():
        nonlocal size
        number, future = waiting.popleft()
        sharp, bits, size = future.result()
        takes[number] = _Take(name(number), path.stem, number, time(number), sharp, bits)

    def name(number):
        return f"{path.stem}_{number:05d}.jpg"

    def time(number):
        return float(about.times[number])

    # Decoding runs ahead by a few frames only: each of them is megabytes. OpenCV's own threads,
    # which wait for each other busily, would take the processors from it.
    with _one_thread(), ThreadPoolExecutor(workers) as pool:
        try:
            for number, frame in video.read(path, about, numbers):
                if frame is None:
                    waiting.append((number, None))
                    while waiting[0][1]:
                        finish()
                    waiting.popleft()
                    detail = "it, or a frame it builds on, cannot be decoded"
                    lost = _Take(name(number), path.stem, number, time(number), None, None)
                    takes[number] = lost._replace(reason=DAMAGED, detail=detail)
                else:
                    target = folder / "images" / name(number)
                    waiting.append((number, pool.submit(_finish, frame, about.rotation, target)))
                    bar.update()
                    while len(waiting) > 2 * workers:
                        finish()
            while waiting:
                finish()
        finally:
            pool.shutdown(cancel_futures=True)
    return [takes[number] for number in sorted(takes)], size


@contextmanager
def _one_thread():
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _finish(frame, rotation: int, target: Path) -> tuple[float, int, tuple[int, int]]:
    """Write one decoded frame; its sharpness, hash, and (width, height)."""
    # Brightness is what the video stores: no need to convert for it.
    grey, step = video.luma(frame)
    sharp = sharpness(grey) * step**2
    bits = int(phash(video.turn(grey, rotation)), 16)
    image = video.to_array(frame, rotation)
    _write_jpeg(target, image)
    return sharp, bits, image.shape[1::-1]


def _judged(takes: Iterable[_Take], min_sharpness, near_copies) -> Iterator[_Take]:
    """The frames of one clip, in order, with the reason why some are dropped."""
    takes = list(takes)
    sharp = [take.sharpness for take in takes if take.sharpness is not None]
    least = (min_sharpness or 0) * float(np.median(sharp)) if sharp else 0
    last = None
    for take in takes:
        if take.reason or take.phash is None:
            yield take
            continue
        if take.sharpness < least:
            detail = f"sharpness {take.sharpness:.1f}, under {least:.1f}"
            yield take._replace(reason=BLURRED, detail=detail)
            continue
        if last is not None and near_copies is not None:
            apart = (take.phash ^ last.phash).bit_count()
            if apart <= near_copies:
                yield take._replace(reason=NEAR_COPY, detail=f"{apart} bits from {last.image}")
                continue
        last = take
        yield take


def _to_thumbnail(folder: Path, take: _Take) -> None:
    """Put a thumbnail of a dropped frame into `dropped/` in place of its image."""
    path = folder / "images" / take.image
    if not path.exists():
        return
    if take.reason != DAMAGED:
        image = decode_file(path, cv2.IMREAD_REDUCED_COLOR_2)
        scale = min(1, _THUMBNAIL / max(image.shape))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        _write_jpeg(folder / "dropped" / _thumbnail(take), small)
    path.unlink()


def _thumbnail(take: _Take) -> str:
    return "" if take.reason == DAMAGED else f"{Path(take.image).stem}.jpg"


def _spread(numbers, most: int | None) -> list:
    numbers = list(numbers)
    if most is None or len(numbers) <= most:
        return numbers
    return [numbers[round(i)] for i in np.linspace(0, len(numbers) - 1, most)]


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    # imencode, since imwrite cannot open names beyond ASCII on every platform.
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise CourseError(f"{path.name}: could not be written as JPEG; check the video")
    path.write_bytes(data)


def _read_boxes(path: Path) -> dict[int, list[Box]] | None:
    if not path.is_file():
        return None
    boxes = defaultdict(list)
    for line, row in enumerate(read_csv(path, _BOX_COLUMNS), 2):
        try:
            edges = (float(row[name]) for name in _BOX_COLUMNS[2:])
            difficult = bool(int(row.get("difficult") or 0))
            boxes[int(row["frame"])].append(Box(row["label"], *edges, difficult=difficult))
        except (TypeError, ValueError) as error:
            raise CourseError(f"{path.name}: line {line}: {error}; correct the number") from None
    return boxes


def _from_photos(source: Path, folder: Path, max_frames, min_sharpness, near_copies):
    from tqdm.auto import tqdm

    photos = _spread(images_in(source / "images"), max_frames)
    groups = {}
    if (source / "groups.csv").is_file():
        rows = read_csv(source / "groups.csv", ("image", "clip"))
        groups = {row["image"]: row["clip"] for row in rows}
    takes = defaultdict(list)
    for path in tqdm(photos, desc="photos", unit="photo"):
        link(path, folder / "images" / path.name)
        image = decode_file(path, cv2.IMREAD_GRAYSCALE)
        clip = groups.get(path.name, path.stem)
        # An unreadable photo keeps its row: the audit of lesson 03 names it.
        seen = (None, None) if image is None else (sharpness(image), int(phash(image), 16))
        takes[clip].append(_Take(path.name, clip, None, None, *seen))
    judged = [take for clip in takes.values() for take in _judged(clip, min_sharpness, near_copies)]
    place = {path.name: i for i, path in enumerate(photos)}
    judged.sort(key=lambda take: place[take.image])
    for take in judged:
        if take.reason:
            _to_thumbnail(folder, take)
    kept = {Path(take.image).stem for take in judged if not take.reason}
    gone = {path.stem for path in images_in(source / "images")} - kept
    annotated = 0
    for xml in natural((source / "annotations").glob("*.xml")):
        # One of no picture's name comes along: lesson 03 knows it by what it says inside.
        if xml.stem not in gone:
            annotated += xml.stem in kept
            # A copy, since labelling tools rewrite an XML file in place.
            shutil.copyfile(xml, folder / "annotations" / xml.name)
    return judged, {"clips": len(takes), "annotated": annotated}


def _row(take: _Take) -> dict:
    values = (
        take.image,
        take.clip,
        "" if take.frame is None else take.frame,
        "" if take.time is None else f"{take.time:.3f}",
        "" if take.sharpness is None else f"{take.sharpness:.1f}",
        "" if take.phash is None else f"{take.phash:016x}",
    )
    return dict(zip(COLUMNS, values, strict=True))


def _dropped_row(take: _Take) -> dict:
    row = _row(take)
    del row["image"]
    return {"thumbnail": _thumbnail(take), **row, "reason": take.reason, "detail": take.detail}
