"""Video in and out: frames as RGB arrays, and H.264 files that a browser plays."""

import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from helpers.common.errors import CourseError

if TYPE_CHECKING:
    import av

_threads = threading.local()

# Containers of footage. What else FFmpeg would open under a video's name is refused: pictures,
# subtitles, and playlists, which could make it read other files.
_FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg"
_JUMP = 16  # packets: leaving out fewer does not pay for emptying the decoder
_SEEK = 256  # packets: fewer are read over
_LAG = 32  # packets: an error can show up that much later, when several threads decode


@dataclass(frozen=True)
class Info:
    """Frames per second, width and height in pixels as shown (rotation applied), and frames.

    `fps` is the mean where the rate varies: `index` has the time of each frame. `frames` is what
    the header announces: a damaged file may hold fewer.
    """

    fps: float
    width: int
    height: int
    read_frames: int


@dataclass(frozen=True)
class Index:
    """The frames of a video in the order shown, as listed by its packets.

    times: seconds since the first frame, float64 (frames,), rising.
    rotation: degrees clockwise that turn a stored picture upright: 0, 90, 180 or 270.
    announced: how many frames the header promises, 0 where it does not say.
    packets: for `read`: dts, pts, number of the frame (-1: not shown) and whether it is a key
    frame, of each packet in the order of the file; None where timestamps cannot be trusted.
    """

    times: np.ndarray
    rotation: int
    announced: int
    packets: tuple[np.ndarray, ...] | None

    @property
    def variable(self) -> bool:
        """Whether the frame rate varies: some frame is shown half as long again as most are."""
        steps = np.diff(self.times)
        return bool(len(steps)) and bool(steps.max() > 1.5 * np.median(steps))


def video_info(path: Path | str) -> Info:
    """What the header of a video says; CourseError when it is no video that can be read."""
    rotation = _rotation(path)
    with _open(path) as (file, stream):
        fps, count = _rate(stream), stream.frames
        width, height = stream.width, stream.height
        if not count:  # Matroska does not keep it
            count = round((file.duration or 0) / 1_000_000 * fps)
        count = count or sum(1 for _ in _packets(file, stream))
    return Info(fps, *((height, width) if rotation % 180 else (width, height)), count)


def frame_index(path: Path | str) -> Index:
    """List the frames of a video, without decoding them: the file is read once.

    CourseError when it is no video that can be read.
    """
    rotation, listed = _rotation(path), []
    with _open(path) as (file, stream):
        base, rate, announced = float(stream.time_base), _rate(stream), stream.frames
        # AVI keeps no timestamps: FFmpeg guesses, and wrongly where frames are reordered.
        trusted = file.format.name != "avi"
        for packet in _packets(file, stream):
            listed.append((packet.dts, packet.pts, packet.is_keyframe, not packet.is_discard))
    dts, pts, key, shown = (list(column) for column in zip(*listed, strict=True))
    if None in dts or None in pts or (np.diff(dts) <= 0).any():
        return Index(np.arange(sum(shown)) / rate, rotation, announced, None)
    dts, pts, key, shown = (np.array(column) for column in (dts, pts, key, shown))
    order = np.argsort(pts, kind="stable")
    order = order[shown[order]]
    number = np.full(len(pts), -1)
    number[order] = np.arange(len(order))
    times = (pts[order] - pts[order][:1]) * base
    trusted = trusted and (np.diff(times) > 0).all()
    return Index(times, rotation, announced, (dts, pts, number, key) if trusted else None)


def read_frames(path: Path | str) -> Iterator[np.ndarray]:
    """The frames of a video in order: uint8 RGB arrays (height, width, 3), upright.

    Rotation that a phone noted in the file is applied. CourseError, at once, when the file
    cannot be read.
    """
    rotation = _rotation(path)

    def generate():
        with _open(path) as (file, stream):
            for packet in itertools.chain(_packets(file, stream), [None]):
                for frame in _decode(stream, packet):
                    if frame is not None:
                        yield to_array(frame, rotation, "rgb24")

    return generate()


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


def read(
    path: Path | str, about: Index, wanted: Collection[int] | None = None
) -> Iterator[tuple[int, "av.VideoFrame | None"]]:
    """Number and stored picture of the `wanted` frames (None: of all): see `to_array`, `luma`.

    Only what they need is decoded: stretches between key frames are jumped over where that pays,
    and pictures that no other one builds on are left out. Each frame is known by its timestamp,
    so it is the very frame that reading everything would give.

    At the end comes (number, None) for each wanted frame that is damaged, or builds on one that
    is. Numbers rise, except for frames read a second time, since the first met an error there.
    """
    wanted = set(range(len(about.times)) if wanted is None else wanted)
    if about.packets is None:
        yield from _count(path, wanted)
        return
    _, pts, number, key = about.packets
    start_of = np.maximum.accumulate(np.where(key, np.arange(len(key)), 0))
    end_of = dict(itertools.pairwise([*np.unique(start_of).tolist(), len(key)]))
    place = {n: i for i, n in enumerate(number.tolist()) if n in wanted}
    number_at = {pts[i]: n for n, i in place.items()}
    missing, trouble = set(place), set()

    runs = []
    for at in sorted(place.values()):
        start = start_of[at]
        # Pictures shown before their key frame may build on the stretch before it.
        if start and pts[at] < pts[start]:
            start = start_of[start - 1]
        _extend(runs, start, at + 1, _JUMP)
    for plan in (runs, [[0, runs[-1][1]]]) if runs else ():
        starts = [start for start, _ in plan]
        for at, frame in _pictures(path, about, plan, set(place.values())):
            if frame is None or frame.is_corrupt:
                trouble |= {start_of[at], start_of[max(0, at - _LAG)]}
                continue
            if starts and at >= starts[0] and frame.pts >= pts[starts[0]]:
                landed = starts.pop(0)
                if landed and (frame.pts != pts[landed] or frame.pict_type != 1):
                    break  # no whole picture, but one that is refreshed bit by bit: no jumps
            if (found := number_at.get(frame.pts)) is not None:
                missing.discard(found)
                yield found, frame
        else:
            if not any(starts):
                break

    trouble |= {start_of[place[n]] for n in missing}
    if not trouble:
        return
    runs, good = [], set()
    for start in sorted(trouble):
        # From one key frame earlier: some streams refresh the picture bit by bit.
        _extend(runs, start_of[max(0, start - 1)], end_of[start], 0)
    for _, frame in _pictures(path, about, runs, None):
        if frame is not None and not frame.is_corrupt:
            good.add(frame.pts)
            if (found := number_at.get(frame.pts)) in missing:
                missing.discard(found)
                yield found, frame
    for start in sorted(trouble):
        bad = [i for i in range(start, end_of[start]) if number[i] >= 0 and pts[i] not in good]
        # What follows in the file, up to the next key frame, builds on the damaged picture.
        for i in range(bad[0], end_of[start]) if bad else ():
            if number[i] in wanted:
                yield int(number[i]), None


def _extend(runs: list, start: int, stop: int, gap: int) -> None:
    if runs and start - runs[-1][1] <= gap:
        runs[-1][1] = max(stop, runs[-1][1])
    else:
        runs.append([int(start), int(stop)])


def _pictures(path, about: Index, runs, needed: set | None):
    """Decode runs of packets [start, stop): yields (packet now fed, picture or None for an error).

    With `needed`, packets elsewhere whose pictures no other one builds on are left out, and long
    ways are seeked.
    """
    dts = about.packets[0]
    with _open(path) as (file, stream):
        packets, at = enumerate(_packets(file, stream)), -1
        for start, stop in runs:
            if needed is not None and start - at > _SEEK:
                file.seek(int(dts[start]), stream=stream)
                landed = list(itertools.islice(_packets(file, stream), 1))
                at = int(np.searchsorted(dts, landed[0].dts)) if landed else stop
                packets = enumerate(itertools.chain(landed, _packets(file, stream)), at)
            elif at >= 0:
                stream.codec_context.flush_buffers()
            for at, packet in packets:
                if at >= start:
                    useful = needed is None or at in needed
                    stream.codec_context.skip_frame = "DEFAULT" if useful else "NONREF"
                    yield from ((at, frame) for frame in _decode(stream, packet))
                if at >= stop - 1:
                    break
            yield from ((at, frame) for frame in _decode(stream, None))


def _count(path, wanted: set[int]):
    """`read` where only the order of the pictures tells their numbers."""
    number, damaged = -1, False
    last = max(wanted, default=-1)
    bad = []
    with _open(path) as (file, stream):
        for packet in itertools.chain(_packets(file, stream), [None]):
            for frame in _decode(stream, packet):
                if frame is None:
                    damaged = True
                    continue
                number += 1
                damaged = frame.is_corrupt or (damaged and not frame.key_frame)
                if number in wanted:
                    wanted.discard(number)
                    if damaged:
                        bad.append(number)
                    else:
                        yield number, frame
            if number >= last:
                break
    yield from ((n, None) for n in sorted({*bad, *wanted}))


def to_array(frame: "av.VideoFrame", rotation: int, layout: str = "bgr24") -> np.ndarray:
    """A picture of `read` as uint8 (height, width, 3), upright; `layout` "bgr24" or "rgb24"."""
    import av

    # Each keeps its tables from picture to picture, and serves one thread.
    if not hasattr(_threads, "reformatter"):
        _threads.reformatter = av.video.reformatter.VideoReformatter()
    image = _threads.reformatter.reformat(frame, format=layout, threads=1).to_ndarray()
    return turn(image, rotation)


def luma(frame: "av.VideoFrame") -> tuple[np.ndarray, float]:
    """Brightness of a picture of `read`, not turned: uint8 (height, width), and its step.

    The step says by how many of 256 grey levels the values 1 apart differ: most video uses only
    220 of them. Without a copy where the video stores 8 bits.
    """
    name = frame.format.name
    if (
        not name.startswith(("yuv4", "yuvj4", "nv12", "gray"))
        or frame.format.components[0].bits > 8
    ):
        frame = frame.reformat(format="gray", threads=1)
        name = "gray"
    plane = frame.planes[0]
    values = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    full = name == "gray" or name.startswith("yuvj") or int(frame.color_range) == 2
    return values[: frame.height, : frame.width], 1.0 if full else 255 / 219


def turn(image: np.ndarray, rotation: int) -> np.ndarray:
    """Turn an image clockwise by 0, 90, 180 or 270 degrees."""
    turns = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
    return cv2.rotate(image, turns[rotation]) if rotation else image


@contextmanager
def _open(path: Path | str):
    """The container and its video stream; CourseError when there is none."""
    import av

    path = Path(path)
    if not path.is_file():
        raise CourseError(f"{path}: no such file; check the name of the video")
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    try:
        # In full, since FFmpeg takes what is before a colon for a protocol.
        file = av.open(str(path.absolute()), options=options, metadata_errors="replace")
    except av.FFmpegError:
        raise CourseError(
            f"{path}: not a video that can be read; copy it again if it was cut off, "
            "or convert it to .mp4 (H.264)"
        ) from None
    with file:
        stream = file.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise CourseError(f"{path}: no picture that can be read; convert it to .mp4 (H.264)")
        stream.thread_type = "AUTO"
        yield file, stream


def _packets(file, stream):
    """The packets of a stream, as far as the file goes."""
    import av

    with suppress(av.FFmpegError):
        for packet in file.demux(stream):
            if packet.size:
                yield packet


def _decode(stream, packet) -> list:
    """The pictures that come out for a packet (None: the last ones); [None] for an error."""
    import av

    try:
        return stream.decode(packet)
    except av.FFmpegError:
        return [None]


def _rotation(path: Path | str) -> int:
    """Degrees clockwise that turn the first picture upright; CourseError when there is none."""
    with _open(path) as (file, stream):
        stream.thread_type = "SLICE"  # no waiting for several pictures
        for packet in itertools.chain(_packets(file, stream), [None]):
            for frame in _decode(stream, packet):
                if frame is not None:
                    return round(-frame.rotation / 90) * 90 % 360
    raise CourseError(f"{path}: not a video that can be read: no frame in it; copy it again")


def _rate(stream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 30)


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


def video_from_images(images: Sequence[Path], path: Path, fps: float = 5.0) -> Path:
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
    with video_writer(path, fps, size) as write:
        for image in images:
            write(picture(image))
    return path


def sample_frames(path: Path | str, count: int) -> list[tuple[float, np.ndarray]]:
    """Return `count` frames spread evenly over a video, as (seconds, RGB image)."""
    about = frame_index(path)
    wanted = {round(i) for i in np.linspace(0, len(about.times) - 1, count + 2)[1:-1]}
    found = {n: frame for n, frame in read(path, about, wanted) if frame is not None}
    return [
        (float(about.times[n]), to_array(found[n], about.rotation, "rgb24")) for n in sorted(found)
    ]


VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".m4v", ".webm")
