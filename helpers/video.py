"""Video in and out: frames as RGB arrays, and H.264 files that a browser plays."""

import csv
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from helpers.artifacts import artifact, read_manifest
from helpers.errors import CourseError


@dataclass(frozen=True)
class Info:
    """Frames per second, width and height in pixels as shown (rotation applied), and frames.

    `frames` is what the header announces: a damaged file may hold fewer.
    """

    fps: float
    width: int
    height: int
    frames: int


def info(path: Path | str) -> Info:
    """What the header of a video says; CourseError when it is no video that can be read."""
    path = Path(path)
    if not path.is_file():
        raise CourseError(f"{path}: no such file; check the name of the video")
    capture = cv2.VideoCapture(str(path))
    try:
        fps, width, height, count = (
            capture.get(key)
            for key in (
                cv2.CAP_PROP_FPS,
                cv2.CAP_PROP_FRAME_WIDTH,
                cv2.CAP_PROP_FRAME_HEIGHT,
                cv2.CAP_PROP_FRAME_COUNT,
            )
        )
    finally:
        capture.release()
    if width < 1 or count < 1:
        raise CourseError(f"{path}: not a video that can be read; convert it to .mp4 (H.264)")
    return Info(fps if fps > 0 else 30.0, int(width), int(height), int(count))


def frames(path: Path | str) -> Iterator[np.ndarray]:
    """The frames of a video in order: uint8 RGB arrays (height, width, 3), upright.

    Rotation that a phone noted in the file is applied. CourseError, at once, when the file
    cannot be read.
    """
    info(path)
    return (cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for _, image in decode(path))


def decode(path: Path | str, wanted: set[int] | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Number and uint8 BGR image of the frames whose number is `wanted` (None: of all).

    The file is read in sequence, because seeking lands on another frame in many files; what
    is not wanted is decoded, but not converted to an image.
    """
    capture = cv2.VideoCapture(str(path))
    last = None if wanted is None else max(wanted, default=-1)
    number = 0
    try:
        while (last is None or number <= last) and capture.grab():
            if wanted is None or number in wanted:
                done, image = capture.retrieve()
                if not done:
                    return
                yield number, image
            number += 1
    finally:
        capture.release()


@contextmanager
def writer(
    path: Path | str, fps: float, size: tuple[int, int]
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a video that browsers play: H.264, yuv420p, index at the front.

    Yields a function that takes the next frame, a uint8 RGB array of shape (height, width, 3)
    with `size` = (width, height). Odd sizes grow by one row or column, a copy of the last. The
    file appears under its name when the block ends well, otherwise not at all.
    """
    import av

    path = Path(path)
    width, height = size
    part = path.with_name(f".{path.name}.part")
    written = 0
    try:
        with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as file:
            stream = file.add_stream("libx264", rate=Fraction(fps).limit_denominator(60_000))
            stream.width, stream.height = width + width % 2, height + height % 2
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "21", "preset": "veryfast"}

            def write(frame: np.ndarray) -> None:
                nonlocal written
                if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
                    raise CourseError(
                        f"{path.name}: frame {written}: {frame.dtype} {frame.shape}; the video "
                        f"takes uint8 ({height}, {width}, 3)"
                    )
                if height % 2 or width % 2:
                    frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
                frame = np.ascontiguousarray(frame)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                written += 1

            yield write
            if not written:
                raise CourseError(f"{path.name}: no frame was written; check the video it is from")
            file.mux(stream.encode(None))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def annotate(
    source: Path | str,
    folder: Path,
    *,
    detect: Callable,
    threshold: float = 0.4,
    seconds: float | None = None,
) -> dict:
    """Write `folder`/annotated.mp4 and `folder`/detections.csv of a video.

    Args:
        source: the video.
        detect: a `detector.Detector`.
        threshold: detections with a lower score are neither drawn nor listed.
        seconds: how much of the video to take; None takes all.

    Returns:
        {"frames": how many, "milliseconds": {"read": …, "detect": …, "draw and write": …}},
        milliseconds per frame, the first frame left out.
    """
    return read_manifest(
        _annotate(
            Path(source), folder, detect=detect, threshold=threshold, seconds=seconds, rebuild=True
        )
    )["counts"]


@artifact
def _annotate(source: Path, folder: Path, *, detect, threshold: float, seconds) -> dict:
    import supervision as sv
    from tqdm.auto import tqdm

    about = info(source)
    count = about.frames if seconds is None else min(about.frames, round(seconds * about.fps))
    colour = sv.Color.from_hex("#E69F00")
    boxes = sv.BoxAnnotator(color=colour, thickness=max(2, about.width // 500))
    names = sv.LabelAnnotator(
        color=colour, text_color=sv.Color.BLACK, text_scale=about.width / 2400, text_padding=4
    )
    times = []
    size = (about.width, about.height)
    with (
        (folder / "detections.csv").open("w", newline="") as file,
        writer(folder / "annotated.mp4", about.fps, size) as write,
        tqdm(total=count, desc="video", unit="frame") as bar,
    ):
        table = csv.writer(file)
        table.writerow(("frame", "time", "label", "score", "xmin", "ymin", "xmax", "ymax"))
        began = time.perf_counter()
        for number, frame in enumerate(itertools.islice(frames(source), count)):
            read = time.perf_counter()
            found = detect(frame, threshold=threshold)
            detected = time.perf_counter()
            labels = found.data["class_name"]
            for label, score, xyxy in zip(labels, found.confidence, found.xyxy, strict=True):
                edges = (f"{value:.1f}" for value in xyxy)
                table.writerow((number, f"{number / about.fps:.3f}", label, f"{score:.3f}", *edges))
            if len(found):
                # supervision draws on BGR.
                scene = boxes.annotate(frame[..., ::-1].copy(), found)
                text = [f"{a} {b:.2f}" for a, b in zip(labels, found.confidence, strict=True)]
                frame = names.annotate(scene, found, labels=text)[..., ::-1]
            write(frame)
            done = time.perf_counter()
            times.append((read - began, detected - read, done - detected))
            began = done
            bar.update()
    if len(times) < count:
        print(f"{source.name}: ends after frame {len(times)} of {count}; the rest is damaged.")
    means = 1000 * np.array(times[1:] or times).mean(axis=0)
    steps = ("read", "detect", "draw and write")
    return {
        "frames": len(times),
        "milliseconds": dict(zip(steps, means.round(2).tolist(), strict=True)),
    }


def from_images(images: Sequence[Path], path: Path, fps: float = 5.0) -> Path:
    """Write image files of one size, in the order given, as a video at `path`; return `path`."""
    if not images:
        raise CourseError(f"{path.name}: no images for the video; give at least one")

    def picture(image: Path) -> np.ndarray:
        found = cv2.imread(str(image))
        if found is None:
            raise CourseError(f"{image}: not an image that can be read; replace it")
        return cv2.cvtColor(found, cv2.COLOR_BGR2RGB)

    size = picture(images[0]).shape[1::-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    with writer(path, fps, size) as write:
        for image in images:
            write(picture(image))
    return path


def sample(path: Path | str, count: int) -> list[tuple[float, np.ndarray]]:
    """Return `count` frames spread evenly over a video, as (seconds, RGB image)."""
    about = info(path)
    wanted = {round(i) for i in np.linspace(0, about.frames - 1, count + 2)[1:-1]}
    return [
        (number / about.fps, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        for number, image in decode(path, wanted)
    ]
