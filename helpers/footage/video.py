"""Video in and out: frames as RGB arrays, and H.264 files that a browser plays."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from helpers.annotations.folders import natural
from helpers.common.errors import CourseError
from helpers.common.files import whole_file
from helpers.common.images import read_image
from helpers.common.sampling import evenly
from helpers.footage.decoding import (
    frame_index,
    frame_rate,
    opened,
    packets_of,
    pictures,
    read,
    rotation,
)
from helpers.footage.hdr import hdr_kind, standard_picture

if TYPE_CHECKING:
    import av

# Of the containers that `decoding` opens: phones, cameras, dashcams, camcorders, old computers.
VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".avi", ".mkv", ".m4v", ".webm", ".qt", ".3gp", ".3g2", ".ts", ".mts"),
    *(".m2ts", ".m2t", ".mpg", ".mpeg", ".vob", ".mod", ".tod", ".wmv", ".asf", ".flv", ".f4v"),
    *(".ogv", ".divx", ".mxf", ".dv"),
)

_threads = threading.local()


@dataclass(frozen=True)
class VideoInfo:
    """Frames per second, width and height in pixels as shown (rotation applied), and frames.

    `fps` is the mean where the rate varies: `frame_index` has the time of each frame. `frames` is
    what the header announces: a damaged file may hold fewer.
    """

    fps: float
    width: int
    height: int
    frames: int


def video_info(path: Path | str) -> VideoInfo:
    """What the header of a video says; CourseError when it cannot be read."""
    turned = rotation(path)
    with opened(path) as (file, stream):
        fps, count = frame_rate(stream), stream.frames
        size = (stream.width, stream.height)
        if not count:  # Matroska does not keep it
            count = round((file.duration or 0) / 1_000_000 * fps)
        count = count or sum(1 for _ in packets_of(file, stream))
    return VideoInfo(fps, *(size[::-1] if turned % 180 else size), count)


def videos_in(folder: Path) -> list[Path]:
    """List the videos directly in a folder, by suffix, in natural order; CourseError for none."""
    found = (p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file())
    videos = natural(p for p in found if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        kinds = ", ".join(VIDEO_SUFFIXES)
        raise CourseError(f"{folder}: no video in it; expected files ending in {kinds}")
    return videos


def readable_videos(folder: Path) -> Iterator[Path]:
    """Yield the videos of a folder that can be read; CourseError when none of them can."""
    faults = []
    videos = videos_in(folder)
    for path in videos:
        try:
            video_info(path)
        except CourseError as error:
            faults.append(error)
        else:
            yield path
    if len(faults) == len(videos):
        raise faults[0]


def read_frames(path: Path | str) -> Iterator[np.ndarray]:
    """The frames of a video in order: uint8 RGB arrays (height, width, 3), upright.

    Rotation that a phone noted in the file is applied.

    Raises:
        CourseError: at once, when the file cannot be read.
    """
    turned = rotation(path)
    return (to_array(frame, turned, "rgb24") for frame in pictures(path) if frame is not None)


def decode_frames(
    path: Path | str, wanted: set[int] | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Number and uint8 BGR image, upright, of the frames whose number is `wanted` (None: of all).

    Frames that cannot be decoded are left out.
    """
    about = frame_index(path)
    for number, frame in read(path, about, wanted):
        if frame is not None:
            yield number, to_array(frame, about.rotation)


def sample_frames(path: Path | str, count: int) -> list[tuple[float, np.ndarray]]:
    """Return `count` frames spread evenly over a video, as (seconds, RGB image)."""
    about = frame_index(path)
    wanted = set(evenly(range(len(about.times)), count, ends=False))
    found = {n: frame for n, frame in read(path, about, wanted) if frame is not None}
    return [
        (float(about.times[n]), to_array(found[n], about.rotation, "rgb24")) for n in sorted(found)
    ]


def to_array(frame: "av.VideoFrame", rotation: int, layout: str = "bgr24") -> np.ndarray:
    """A stored picture as uint8 (height, width, 3), upright; `layout` is "bgr24" or "rgb24".

    One of an HDR video is brought to standard colours.
    """
    import av

    if kind := hdr_kind(frame.color_trc):
        return turn(standard_picture(frame, kind, layout), rotation)
    # Each keeps its tables from picture to picture, and serves one thread.
    if not hasattr(_threads, "reformatter"):
        _threads.reformatter = av.video.reformatter.VideoReformatter()
    image = _threads.reformatter.reformat(frame, format=layout, threads=1).to_ndarray()
    return turn(image, rotation)


def luma(frame: "av.VideoFrame") -> tuple[np.ndarray, float]:
    """Brightness of a stored picture, not turned: uint8 (height, width), and its step.

    The step says by how many of 256 grey levels values 1 apart differ: most video uses only 220
    of them. Without a copy where the video stores 8 bits.
    """
    name = frame.format.name
    planar = name.startswith(("yuv4", "yuvj4", "nv12", "gray"))
    if not planar or frame.format.components[0].bits > 8:
        frame = frame.reformat(format="gray", threads=1)
        name = "gray"
    plane = frame.planes[0]
    values = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]  # it is a buffer
    values = values.reshape(-1, plane.line_size)
    full = name == "gray" or name.startswith("yuvj") or int(frame.color_range) == 2
    return values[: frame.height, : frame.width], 1.0 if full else 255 / 219


def turn(image: np.ndarray, rotation: int) -> np.ndarray:
    """Turn an image clockwise by 0, 90, 180 or 270 degrees."""
    turns = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
    return cv2.rotate(image, turns[rotation]) if rotation else image


@contextmanager
def video_writer(
    path: Path | str, fps: float, size: tuple[int, int]
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a video that browsers play: H.264, yuv420p, index at the front.

    Yields a function that takes the next frame, a uint8 RGB array of shape (height, width, 3)
    with `size` = (width, height). Odd sizes grow by one row or column, a copy of the last. The
    file appears under its name when the block ends well, otherwise not at all.
    """
    import av

    name = Path(path).name
    width, height = size
    written = 0
    options = {"movflags": "+faststart"}
    with (
        whole_file(path) as draft,
        av.open(str(draft), "w", format="mp4", options=options) as file,
    ):
        stream = file.add_stream("libx264", rate=Fraction(fps).limit_denominator(60_000))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "21", "preset": "veryfast"}

        def write(frame: np.ndarray) -> None:
            nonlocal written
            if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
                raise CourseError(
                    f"{name}: frame {written}: {frame.dtype} {frame.shape}; the video "
                    f"takes uint8 ({height}, {width}, 3)"
                )
            if height % 2 or width % 2:
                frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
            frame = np.ascontiguousarray(frame)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            written += 1

        yield write
        if not written:
            raise CourseError(f"{name}: no frame was written; check the video it is from")
        file.mux(stream.encode(None))


def video_from_images(images: Sequence[Path], path: Path, fps: float = 5.0) -> Path:
    """Write image files of one size, in the order given, as a video at `path`; return `path`."""
    if not images:
        raise CourseError(f"{path.name}: no images for the video; give at least one")
    size = read_image(images[0]).shape[1::-1]
    with video_writer(path, fps, size) as write:
        for image in images:
            write(read_image(image))
    return path
