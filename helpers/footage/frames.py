"""Frames out of footage, each with its clip, frame number, time, sharpness and hash."""

import os
import shutil
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from helpers.annotations.boxes import Annotation
from helpers.annotations.clips import Clips, recordings_of
from helpers.annotations.remarks import Note, Remark
from helpers.annotations.voc import write_voc
from helpers.common.artifacts import artifact
from helpers.common.errors import CourseError
from helpers.common.files import read_csv, write_csv
from helpers.common.images import phash
from helpers.footage import video
from helpers.footage.decoding import FrameIndex, frame_index, read
from helpers.footage.ground_truth import GroundTruth, read_ground_truth
from helpers.footage.photos import take_photos
from helpers.footage.stepping import Limits, Step
from helpers.footage.takes import (
    COLUMNS,
    DAMAGED,
    DROPPED_COLUMNS,
    Take,
    judged,
    sharpness,
    write_jpeg,
)


@artifact("extract_frames 2")
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
    clip_pattern: str | None = None,
) -> dict:
    """Make `02_frames` from `01_images`: frames of clips as JPEG, or photos as they are.

    Args:
        source: `01_images`, a folder with `clips/` or `images/`. Where `<clip>.boxes.csv` gives
            the ground truth, each frame gets an XML file with all its boxes. Where
            `<clip>.frames.csv` lists the frames that are annotated, only those are taken.
        folder: the output.
        every: take every n-th frame of each video; of annotated frames those that lie at least so
            many apart. At most one of `every`, `seconds` and `count` may be given; none means
            every frame.
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
        clip_pattern: a regular expression whose first group is the clip, searched in the names of
            the videos or photos; "" makes each a clip of its own. None finds out, as
            `recordings_of` and `clips_of` do.

    Photos have no times: all of them are taken, or `max_frames`. Those of one clip are compared
    with each other as frames are. The clips of `groups.csv` go before all others.

    Writes `images/`, `annotations/`, `frames.csv` (times in seconds since the video's first
    frame), `dropped.csv` with the reason ("blurred", "near-copy", "damaged"), in `dropped/` a
    thumbnail of each, and remarks.csv with what could not be used, after the remarks of
    `source`. A damaged video is used as far as it can be decoded; that, turned phone clips,
    varying frame rates and HDR are said.

    Returns:
        The path of the folder.

    Raises:
        CourseError: no video can be read, or a parameter cannot be used.
    """
    step = Step(every, seconds, count, max_frames)
    limits = Limits(min_sharpness, near_copies)
    step.check()
    limits.check()
    source, folder = Path(source), Path(folder)
    for name in ("images", "annotations", "dropped"):
        (folder / name).mkdir()
    remarks: list[Remark] = []
    if (source / "clips").is_dir():
        how = (step, limits, clip_pattern, remarks.append)
        takes, counts = _from_videos(source / "clips", folder, *how)
    elif (source / "images").is_dir():
        how = (step, limits, clip_pattern, remarks.append)
        takes, counts = take_photos(source, folder, *how)
    else:
        raise CourseError(f"{source}: neither clips/ nor images/ in it; run lesson 01 first")
    kept = [take for take in takes if not take.reason]
    dropped = [take for take in takes if take.reason]
    write_csv(folder / "frames.csv", COLUMNS, (take.row() for take in kept))
    write_csv(folder / "dropped.csv", DROPPED_COLUMNS, (take.dropped_row() for take in dropped))
    for name in ("sources.csv", "split.csv"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    _write_remarks(source, folder, remarks)
    return {"frames": len(kept), **counts, **Counter(take.reason for take in dropped)}


def _write_remarks(source: Path, folder: Path, remarks: list[Remark]) -> None:
    """Write remarks.csv: what `source` has, and what came up here, of which a few are printed."""
    table = source / "remarks.csv"
    rows = read_csv(table, Remark._fields) if table.is_file() else []
    for remark in remarks[:3]:
        print(f"{remark}.")
    if len(remarks) > 3:
        print(f"All {len(remarks)} such remarks are in remarks.csv.")
    if rows or remarks:
        every = [*rows, *(remark._asdict() for remark in remarks)]
        write_csv(folder / "remarks.csv", Remark._fields, every)


def _from_videos(
    clips: Path, folder: Path, step: Step, limits: Limits, pattern: str | None, note: Note
) -> tuple[list[Take], dict]:
    """The frames of all videos in a folder, written, and counts for the manifest."""
    from helpers.common.progress import tqdm

    abouts = _indexed(_videos_in(clips), note)
    # Before the long part: what is wrong with a table ends it.
    truths = {p: read_ground_truth(p, len(about.times), note) for p, about in abouts.items()}
    recordings = _recordings(abouts, pattern)
    plans = {p: step.chosen(about.times, _annotated(truths[p])) for p, about in abouts.items()}
    takes: list[Take] = []
    notes: defaultdict[str, dict] = defaultdict(dict)
    annotated = 0
    with tqdm(total=sum(map(len, plans.values())), desc="frames", unit="frame") as bar:
        for path, about in abouts.items():
            for text in _peculiarities(about):
                tqdm.write(f"{path.name}: {text}")
            clip = recordings.of[path.name]
            found, size = _write_frames(path, clip, about, plans[path], folder, bar)
            of_video = list(judged(found, limits, folder))
            if (truth := truths[path]) is not None:
                annotated += _annotate(truth, folder, of_video, size)
            takes += of_video
            if early := _early_end(about, of_video):
                notes["short"][path.name] = early
                tqdm.write(f"{path.name}: {early}; kept what could be read")
            if about.rotation:
                notes["turned"][path.name] = about.rotation
            if about.hdr:
                notes["hdr"][path.name] = about.hdr
    if all(take.reason == DAMAGED for take in takes):
        raise CourseError(f"{clips}: no frame could be read; check that the videos play")
    counts: dict = {"clips": len(set(recordings.of.values())), "annotated": annotated, **notes}
    if variable := [path.name for path, about in abouts.items() if about.variable]:
        counts["variable_rate"] = variable
    return takes, counts | {"clip_rule": recordings.rule}


def _videos_in(clips: Path) -> list[Path]:
    videos = video.videos_in(clips)
    stems: dict[str, Path] = {}
    for path in videos:
        if (other := stems.setdefault(path.stem, path)) != path:
            raise CourseError(f"{clips}: {other.name} and {path.name}: same name; rename one")
    return videos


def _indexed(videos: Sequence[Path], note: Note) -> dict[Path, FrameIndex]:
    """The frames that each video lists; one that cannot be read is noted and left out."""
    from helpers.common.progress import tqdm

    abouts = {}
    fault = None
    for path in tqdm(videos, desc="list frames", unit="clip", leave=False):
        try:
            abouts[path] = frame_index(path)
        except CourseError as error:
            fault = error
            value, _, fix = str(error).removeprefix(f"{path}: ").partition("; ")
            note(Remark(path.name, "", "not used", value, fix))
    if fault and not abouts:
        raise fault
    return abouts


def _annotated(truth: GroundTruth | None) -> Collection[int] | None:
    """The frames to choose from, where only some are annotated."""
    return truth.frames or None if truth is not None else None


def _recordings(abouts: Mapping[Path, FrameIndex], pattern: str | None) -> Clips:
    return recordings_of({p.name: float(about.times[-1]) for p, about in abouts.items()}, pattern)


def _annotate(truth: GroundTruth, folder: Path, takes: list[Take], size: tuple[int, int]) -> int:
    """Write the ground truth of the frames kept of a video; how many files."""
    known = [take for take in takes if not take.reason and truth.knows(take.number)]
    for take in known:
        annotation = Annotation(take.image, *size, tuple(truth.boxes.get(take.number, ())))
        # A box that is outside or empty is for the audit of lesson 03, as those of pictures are.
        xml = folder / f"annotations/{Path(take.image).stem}.xml"
        write_voc(annotation, xml, check=False)
    return len(known)


def _early_end(about: FrameIndex, takes: list[Take]) -> str:
    """Where a video breaks off that holds less than it should; "" for a whole one."""
    whole = [take.number for take in takes if take.reason != DAMAGED]
    lost = len(whole) < len(takes) and (not whole or whole[-1] < takes[-1].number)
    if not lost and len(about.times) >= about.announced:
        return ""
    end = takes[len(whole)].number if lost and whole else len(about.times) * bool(whole)
    return f"ends before frame {end} of {max(about.announced, end)}"


def _peculiarities(about: FrameIndex) -> Iterator[str]:
    if about.rotation:
        yield f"turned by {about.rotation} degrees clockwise, as the file notes"
    if about.hdr:
        yield f"HDR ({about.hdr}): tone-mapped to standard colours (BT.709)"
    if about.variable:
        steps = np.diff(about.times)
        slow, fast = 1 / steps.max(), 1 / np.median(steps)
        yield f"variable frame rate, {slow:.3g} to {fast:.3g} frames per second"


def _write_frames(
    path: Path, clip: str, about: FrameIndex, numbers: list[int], folder: Path, bar
) -> tuple[list[Take], tuple[int, int]]:
    """Write the frames of a video as JPEG; their `Take`s in order, and their width, height."""
    workers = min(4, os.cpu_count() or 1)
    waiting: deque[Future] = deque()
    done, damaged = [], []
    # Decoding runs ahead by a few frames only: each of them is megabytes. OpenCV's own threads,
    # which wait for each other busily, would take the CPU from it.
    with _one_thread(), ThreadPoolExecutor(workers) as pool:
        try:
            for number, frame in read(path, about, numbers):
                name, time = f"{path.stem}_{number:05d}.jpg", float(about.times[number])
                take = Take(name, clip, number, time)
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


def _write_frame(take: Take, frame, rotation: int, folder: Path) -> tuple[Take, tuple[int, int]]:
    """Write one decoded frame; its sharpness and hash filled in, and (width, height)."""
    # Brightness is what the video stores: no need to convert for it.
    grey, step = video.luma(frame)
    sharp = sharpness(grey) * step**2
    bits = int(phash(video.turn(grey, rotation)), 16)
    image = video.to_array(frame, rotation)
    write_jpeg(folder / "images" / take.image, image)
    return take._replace(sharpness=sharp, phash=bits), image.shape[1::-1]
