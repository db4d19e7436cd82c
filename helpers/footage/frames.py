"""Frames out of footage, each with its clip, frame number, time, sharpness and hash."""

import os
import shutil
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from helpers.common.sampling import evenly
from helpers.footage import video
from helpers.footage.decoding import FrameIndex, frame_index, read
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
        source: `01_images`, a folder with `clips/` or `images/`. Where `<clip>.boxes.csv` gives
            the ground truth, each frame gets an XML file with all its boxes.
        folder: the output.
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
    clips and varying frame rates are said.

    Returns:
        The path of the folder.

    Raises:
        CourseError: no video can be read, or a parameter cannot be used.
    """
    _check(every, seconds, count, max_frames, min_sharpness, near_copies)
    source, folder = Path(source), Path(folder)
    for name in ("images", "annotations", "dropped"):
        (folder / name).mkdir()
    limits = _Limits(min_sharpness or 0, -1 if near_copies is None else near_copies)
    if (source / "clips").is_dir():
        step = (every, seconds, count, max_frames)
        takes, counts = _from_videos(source / "clips", folder, step, limits)
    elif (source / "images").is_dir():
        takes, counts = _from_photos(source, folder, max_frames, limits)
    else:
        raise CourseError(f"{source}: neither clips/ nor images/ in it; run lesson 01 first")
    kept = [take for take in takes if not take.reason]
    dropped = [take for take in takes if take.reason]
    write_csv(folder / "frames.csv", COLUMNS, map(_row, kept))
    write_csv(folder / "dropped.csv", DROPPED_COLUMNS, map(_dropped_row, dropped))
    for name in ("sources.csv", "author_split.csv"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    return {"frames": len(kept), **counts, **Counter(take.reason for take in dropped)}


class _Limits(NamedTuple):
    """What a frame must reach: a part of its clip's median sharpness, and over so many bits."""

    sharpness: float
    bits: int


class _Take(NamedTuple):
    """A frame or photo that was looked at. `reason` is empty for what is kept."""

    image: str
    clip: str
    frame: int | None = None
    time: float | None = None
    sharpness: float | None = None
    phash: int | None = None
    reason: str = ""
    detail: str = ""

    @property
    def number(self) -> int:
        """The number of a video's frame; photos have none."""
        assert self.frame is not None
        return self.frame


def _check(every, seconds, count, max_frames, min_sharpness, near_copies) -> None:
    steps = {"every": every, "seconds": seconds, "count": count}
    given = {name: value for name, value in steps.items() if value is not None}
    if len(given) > 1:
        text = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise CourseError(f"{text}: give one of every, seconds and count, not {len(given)}")
    for name, value, fits, rule in (
        ("every", every, _is_count, "a whole number from 1"),
        ("count", count, _is_count, "a whole number from 1"),
        ("seconds", seconds, lambda v: 0 < v < np.inf, "a number above 0, such as 0.5"),
        ("max_frames", max_frames, lambda v: v >= 1, "at least 1, or None"),
        ("min_sharpness", min_sharpness, lambda v: 0 <= v <= 1, "0 to 1, a part of the median"),
        ("near_copies", near_copies, lambda v: 0 <= v <= 64, "0 to 64 differing bits"),
    ):
        if value is not None and not fits(value):
            raise CourseError(f"{name}: {value!r}; it must be {rule}")


def _is_count(value) -> bool:
    return isinstance(value, int) and value >= 1


def _from_videos(
    clips: Path, folder: Path, step: tuple, limits: _Limits
) -> tuple[list[_Take], dict]:
    """The frames of all videos in a folder, written, and counts for the manifest."""
    from tqdm.auto import tqdm

    videos = _videos_in(clips)
    listing = tqdm(videos, desc="list frames", unit="clip", leave=False)
    abouts = {path: frame_index(path) for path in listing}
    plans = {path: _chosen(about.times, *step) for path, about in abouts.items()}
    # Before the long part: a wrong number in one of them ends it.
    truths = {path: _read_boxes(path.with_name(f"{path.stem}.boxes.csv")) for path in videos}
    takes: list[_Take] = []
    notes: defaultdict[str, dict] = defaultdict(dict)
    annotated = 0
    with tqdm(total=sum(map(len, plans.values())), desc="frames", unit="frame") as bar:
        for path, about in abouts.items():
            for text in _peculiarities(about):
                tqdm.write(f"{path.name}: {text}")
            found, size = _write_frames(path, about, plans[path], folder, bar)
            judged = list(_judged(found, limits, folder))
            if (truth := truths[path]) is not None:
                annotated += _annotate(truth, folder, judged, size)
            takes += judged
            if early := _early_end(about, judged):
                notes["short"][path.name] = early
                tqdm.write(f"{path.name}: {early}; kept what could be read")
            if about.rotation:
                notes["turned"][path.name] = about.rotation
    if all(take.reason == DAMAGED for take in takes):
        raise CourseError(f"{clips}: no frame could be read; check that the videos play")
    counts: dict = {"clips": len(videos), "annotated": annotated, **notes}
    if variable := [path.name for path, about in abouts.items() if about.variable]:
        counts["variable_rate"] = variable
    return takes, counts


def _videos_in(clips: Path) -> list[Path]:
    found = (p for p in clips.iterdir() if not p.name.startswith("."))
    videos = natural(p for p in found if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        kinds = ", ".join(VIDEO_SUFFIXES)
        raise CourseError(f"{clips}: no video in it; expected files ending in {kinds}")
    stems: dict[str, Path] = {}
    for path in videos:
        if (other := stems.setdefault(path.stem, path)) != path:
            raise CourseError(f"{clips}: {other.name} and {path.name}: same name; rename one")
    return videos


def _annotate(
    truth: dict[int, list[Box]], folder: Path, takes: list[_Take], size: tuple[int, int]
) -> int:
    """Write the ground truth of the frames kept of a video; how many files."""
    kept = [take for take in takes if not take.reason]
    for take in kept:
        annotation = Annotation(take.image, *size, tuple(truth[take.number]))
        write_voc(annotation, folder / f"annotations/{Path(take.image).stem}.xml")
    return len(kept)


def _early_end(about: FrameIndex, takes: list[_Take]) -> str:
    """Where a video breaks off that holds less than it should; "" for a whole one."""
    whole = [take.number for take in takes if take.reason != DAMAGED]
    lost = len(whole) < len(takes) and (not whole or whole[-1] < takes[-1].number)
    if not lost and len(about.times) >= about.announced:
        return ""
    end = takes[len(whole)].number if lost and whole else len(about.times) * bool(whole)
    return f"ends before frame {end} of {max(about.announced, end)}"


def _chosen(times: np.ndarray, every, seconds, count, max_frames) -> list[int]:
    """Numbers of the frames to take of a video, rising."""
    numbers: Sequence[int] = range(0, len(times), every or 1)
    if seconds is not None:
        # Finer than any video; a smaller step would only fill the memory.
        marks = np.arange(0, times[-1] + 1e-6, max(seconds, 0.0005))
        after = np.searchsorted(times, marks).clip(1, max(1, len(times) - 1))
        before = after - 1
        after = after.clip(max=len(times) - 1)
        nearest = np.where(marks - times[before] <= times[after] - marks, before, after)
        numbers = np.unique(nearest).tolist()
    if count is not None:
        numbers = evenly(numbers, count)
    return evenly(numbers, max_frames)


def _peculiarities(about: FrameIndex) -> Iterator[str]:
    if about.rotation:
        yield f"turned by {about.rotation} degrees clockwise, as the file notes"
    if about.variable:
        steps = np.diff(about.times)
        slow, fast = 1 / steps.max(), 1 / np.median(steps)
        yield f"variable frame rate, {slow:.3g} to {fast:.3g} frames per second"


def _write_frames(
    path: Path, about: FrameIndex, numbers: list[int], folder: Path, bar
) -> tuple[list[_Take], tuple[int, int]]:
    """Write the frames of a video as JPEG; their `_Take`s in order, and their width, height."""
    workers = min(4, os.cpu_count() or 1)
    waiting: deque[Future] = deque()
    done, damaged = [], []
    # Decoding runs ahead by a few frames only: each of them is megabytes. OpenCV's own threads,
    # which wait for each other busily, would take the CPU from it.
    with _one_thread(), ThreadPoolExecutor(workers) as pool:
        try:
            for number, frame in read(path, about, numbers):
                name, time = f"{path.stem}_{number:05d}.jpg", float(about.times[number])
                take = _Take(name, path.stem, number, time)
                if frame is None:
                    detail = "it, or a frame it builds on, cannot be decoded"
                    damaged.append(take._replace(reason=DAMAGED, detail=detail))
                    continue
                waiting.append(pool.submit(_write_frame, take, frame, about.rotation, folder))
                bar.update()
                if len(waiting) > 2 * workers:
                    done.append(waiting.popleft().result())
            done += [future.result() for future in waiting]
        finally:
            pool.shutdown(cancel_futures=True)
    # Last the damaged ones: a frame can be decoded and turn out to build on one that cannot.
    takes = {take.frame: take for take in [*(take for take, _ in done), *damaged]}
    return [takes[number] for number in sorted(takes)], done[-1][1] if done else (0, 0)


@contextmanager
def _one_thread():
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _write_frame(take: _Take, frame, rotation: int, folder: Path) -> tuple[_Take, tuple[int, int]]:
    """Write one decoded frame; its sharpness and hash filled in, and (width, height)."""
    # Brightness is what the video stores: no need to convert for it.
    grey, step = video.luma(frame)
    sharp = sharpness(grey) * step**2
    bits = int(phash(video.turn(grey, rotation)), 16)
    image = video.to_array(frame, rotation)
    _write_jpeg(folder / "images" / take.image, image)
    return take._replace(sharpness=sharp, phash=bits), image.shape[1::-1]


def _judged(takes: Iterable[_Take], limits: _Limits, folder: Path) -> Iterator[_Take]:
    """The frames of one clip, in order, with the reason why some are dropped."""
    takes = list(takes)
    sharp = [take.sharpness for take in takes if take.sharpness is not None]
    least = limits.sharpness * float(np.median(sharp)) if sharp else 0
    last_image = ""
    last_hash: int | None = None
    for take in takes:
        if take.phash is not None and take.sharpness is not None:
            apart = 65 if last_hash is None else (take.phash ^ last_hash).bit_count()
            if take.sharpness < least:
                detail = f"sharpness {take.sharpness:.1f}, under {least:.1f}"
                take = take._replace(reason=BLURRED, detail=detail)
            elif apart <= limits.bits:
                take = take._replace(reason=NEAR_COPY, detail=f"{apart} bits from {last_image}")
            else:
                last_image, last_hash = take.image, take.phash
        if take.reason:
            _to_thumbnail(folder, take)
        yield take


def _to_thumbnail(folder: Path, take: _Take) -> None:
    """Put a thumbnail of a dropped frame into `dropped/` in place of its image."""
    path = folder / "images" / take.image
    if not path.exists():
        return
    if take.reason != DAMAGED:
        image = decode_file(path, cv2.IMREAD_REDUCED_COLOR_2)
        assert image is not None  # its hash was taken
        scale = min(1, _THUMBNAIL / max(image.shape))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        _write_jpeg(folder / "dropped" / _thumbnail(take), small)
    path.unlink()


def _thumbnail(take: _Take) -> str:
    return "" if take.reason == DAMAGED else f"{Path(take.image).stem}.jpg"


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    # imencode, since imwrite cannot open names beyond ASCII on every platform.
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise CourseError(f"{path.name}: could not be written as JPEG; check the video")
    path.write_bytes(data.tobytes())


def _read_boxes(path: Path) -> dict[int, list[Box]] | None:
    if not path.is_file():
        return None
    boxes = defaultdict(list)
    for line, row in enumerate(read_csv(path, _BOX_COLUMNS), 2):
        try:
            difficult = bool(int(row.get("difficult") or 0))
            xmin, ymin, xmax, ymax = (float(row[name]) for name in _BOX_COLUMNS[2:])
            box = Box(row["label"], xmin, ymin, xmax, ymax, difficult)
            boxes[int(row["frame"])].append(box)
        except (TypeError, ValueError) as error:
            raise CourseError(f"{path.name}: line {line}: {error}; correct the number") from None
    return boxes


def _from_photos(
    source: Path, folder: Path, max_frames: int | None, limits: _Limits
) -> tuple[list[_Take], dict]:
    """The photos of a folder, taken over with their annotations, and counts for the manifest."""
    from tqdm.auto import tqdm

    every = images_in(source / "images")
    photos = evenly(every, max_frames)
    groups = {}
    if (source / "groups.csv").is_file():
        rows = read_csv(source / "groups.csv", ("image", "clip"))
        groups = {row["image"]: row["clip"] for row in rows}
    clips = defaultdict(list)
    for path in tqdm(photos, desc="photos", unit="photo"):
        link(path, folder / "images" / path.name)
        take = _Take(path.name, groups.get(path.name, path.stem))
        image = decode_file(path, cv2.IMREAD_GRAYSCALE)
        if image is not None:  # lesson 03 names the others
            take = take._replace(sharpness=sharpness(image), phash=int(phash(image), 16))
        clips[take.clip].append(take)
    judged = {take.image: take for clip in clips.values() for take in _judged(clip, limits, folder)}
    takes = [judged[path.name] for path in photos]
    kept = {Path(take.image).stem for take in takes if not take.reason}
    gone = {path.stem for path in every} - kept
    annotated = 0
    for xml in natural((source / "annotations").glob("*.xml")):
        # One of no picture's name comes along: lesson 03 knows it by what it says inside.
        if xml.stem not in gone:
            annotated += xml.stem in kept
            # A copy, since labelling tools rewrite an XML file in place.
            shutil.copyfile(xml, folder / "annotations" / xml.name)
    return takes, {"clips": len(clips), "annotated": annotated}


def _row(take: _Take) -> dict:
    row = {name: getattr(take, name) for name in COLUMNS}
    for name, form in (("time", ".3f"), ("sharpness", ".1f"), ("phash", "016x")):
        if row[name] is not None:
            row[name] = format(row[name], form)
    return row


def _dropped_row(take: _Take) -> dict:
    row = _row(take) | {"thumbnail": _thumbnail(take), "reason": take.reason, "detail": take.detail}
    del row["image"]
    return row
