"""Single frames out of a video: found by timestamp, decoded with no more than they need.

Footage is long, frames are few, and files are damaged: stretches between key frames are jumped
over, and a frame that cannot be decoded, or builds on one that cannot, is named.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from helpers.common.errors import CourseError
from helpers.footage.hdr import hdr_kind

if TYPE_CHECKING:
    import av

# Containers of footage. What else FFmpeg would open under a video's name is refused: pictures,
# subtitles, and playlists, which could make it read other files.
_FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,mxf,dv"
_JUMP = 16  # packets: leaving out fewer does not pay for emptying the decoder
_SEEK = 256  # packets: fewer are read over
_LAG = 32  # packets: an error can show up that much later, when several threads decode


class Packets(NamedTuple):
    """The packets of a video in the order of the file: int64 or bool arrays (packets,).

    `number` is that of the frame in the order shown, -1 for a packet that is not shown; `key`
    tells key frames, on which what follows builds.
    """

    dts: np.ndarray
    pts: np.ndarray
    number: np.ndarray
    key: np.ndarray


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a video in the order shown, as listed by its packets.

    Attributes:
        times: seconds since the first frame, float64 (frames,), rising.
        rotation: degrees clockwise that turn a stored picture upright: 0, 90, 180 or 270.
        announced: how many frames the header promises, 0 where it does not say.
        packets: what `read` finds frames by; None where timestamps cannot be trusted.
        hdr: "HLG" or "PQ" for an HDR video, else "".
    """

    times: np.ndarray
    rotation: int
    announced: int
    packets: Packets | None
    hdr: str = ""

    @property
    def variable(self) -> bool:
        """Whether the frame rate varies: some frame is shown half as long again as most are."""
        steps = np.diff(self.times)
        return bool(len(steps)) and bool(steps.max() > 1.5 * np.median(steps))


def frame_index(path: Path | str) -> FrameIndex:
    """List the frames of a video, without decoding them: the file is read once.

    Raises:
        CourseError: the video cannot be read.
    """
    turned, listed = rotation(path), []
    with opened(path) as (file, stream):
        base, rate, announced = float(stream.time_base), frame_rate(stream), stream.frames
        hdr = hdr_kind(stream.codec_context.color_trc)
        # AVI keeps no timestamps: FFmpeg guesses, and wrongly where frames are reordered.
        trusted = file.format.name != "avi"
        for packet in packets_of(file, stream):
            listed.append((packet.dts, packet.pts, packet.is_keyframe, not packet.is_discard))
    dts, pts, key, shown = (np.array(column) for column in zip(*listed, strict=True))
    if None in dts or None in pts or (np.diff(dts) <= 0).any():
        return FrameIndex(np.arange(sum(shown)) / rate, turned, announced, None, hdr)
    order = np.argsort(pts, kind="stable")
    order = order[shown[order]]
    number = np.full(len(pts), -1)
    number[order] = np.arange(len(order))
    times = (pts[order] - pts[order][:1]) * base
    trusted = trusted and (np.diff(times) > 0).all()
    packets = Packets(dts, pts, number, key) if trusted else None
    return FrameIndex(times, turned, announced, packets, hdr)


def read(
    path: Path | str, about: FrameIndex, wanted: Collection[int] | None = None
) -> Iterator[tuple[int, "av.VideoFrame | None"]]:
    """Number and stored picture of the `wanted` frames (None: of all).

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
    packets = about.packets
    group = _groups(packets)
    place = {n: i for i, n in enumerate(packets.number.tolist()) if n in wanted}
    number_at = {packets.pts[i]: n for n, i in place.items()}
    missing, trouble = set(place), set()
    runs = _runs(packets, group, sorted(place.values()))
    for plan in (runs, [[0, runs[-1][1]]]) if runs else ():
        starts = [start for start, _ in plan]
        for at, frame in _decoded(path, packets, plan, set(place.values())):
            if frame is None or frame.is_corrupt:
                trouble |= {group[at], group[max(0, at - _LAG)]}
                continue
            if starts and at >= starts[0] and frame.pts >= packets.pts[starts[0]]:
                landed = starts.pop(0)
                if landed and (frame.pts != packets.pts[landed] or frame.pict_type != 1):
                    break  # no whole picture, but one that is refreshed bit by bit: no jumps
            if (found := number_at.get(frame.pts)) is not None:
                missing.discard(found)
                yield found, frame
        else:
            if not any(starts):
                break
    trouble |= {group[place[n]] for n in missing}
    if trouble:
        yield from _read_again(path, packets, sorted(trouble), number_at, missing, wanted)


def _groups(packets: Packets) -> np.ndarray:
    """The key frame's packet of each packet: the last one at or before it in the file."""
    return np.maximum.accumulate(np.where(packets.key, np.arange(len(packets.key)), 0))


def _runs(packets: Packets, group: np.ndarray, places: list[int]) -> list[list[int]]:
    """Runs of packets [start, stop) that decode the packets `places`."""
    runs: list[list[int]] = []
    for at in places:
        start = group[at]
        # Pictures shown before their key frame may build on the group before it.
        if start and packets.pts[at] < packets.pts[start]:
            start = group[start - 1]
        _extend(runs, start, at + 1, _JUMP)
    return runs


def _read_again(
    path: Path | str,
    packets: Packets,
    trouble: list[int],
    number_at: dict[int, int],
    missing: set[int],
    wanted: set[int],
):
    """Decode the groups where an error came up by themselves: what is `missing`, and damaged."""
    group = _groups(packets)
    end_of = dict(itertools.pairwise([*np.unique(group).tolist(), len(group)]))
    runs: list[list[int]] = []
    good = set()
    for start in trouble:
        # From one key frame earlier: some streams refresh the picture bit by bit.
        _extend(runs, group[max(0, start - 1)], end_of[start], 0)
    for _, frame in _decoded(path, packets, runs, None):
        if frame is not None and not frame.is_corrupt:
            good.add(frame.pts)
            if (found := number_at.get(frame.pts)) in missing:
                missing.discard(found)
                yield found, frame
    for start in trouble:
        shown = [i for i in range(start, end_of[start]) if packets.number[i] >= 0]
        bad = [i for i in shown if packets.pts[i] not in good]
        # What follows in the file, up to the next key frame, builds on the damaged picture.
        for i in range(bad[0], end_of[start]) if bad else ():
            if packets.number[i] in wanted:
                yield int(packets.number[i]), None


def _extend(runs: list, start: int, stop: int, gap: int) -> None:
    """Add packets [start, stop) to the last run when they are at most `gap` behind it."""
    if runs and start - runs[-1][1] <= gap:
        runs[-1][1] = max(stop, runs[-1][1])
    else:
        runs.append([int(start), int(stop)])


def _decoded(path, packets: Packets, runs: Sequence, needed: set | None):
    """Decode runs of packets [start, stop): yields (packet now fed, picture or None for an error).

    With `needed`, packets elsewhere whose pictures no other one builds on are left out, and long
    ways are seeked.
    """
    with opened(path) as (file, stream):
        coming, at = enumerate(packets_of(file, stream)), -1
        for start, stop in runs:
            if needed is not None and start - at > _SEEK:
                file.seek(int(packets.dts[start]), stream=stream)
                landed = list(itertools.islice(packets_of(file, stream), 1))
                dts = landed[0].dts if landed else None
                at = stop if dts is None else int(np.searchsorted(packets.dts, dts))
                coming = enumerate(itertools.chain(landed, packets_of(file, stream)), at)
            elif at >= 0:
                stream.codec_context.flush_buffers()
            for at, packet in coming:
                if at >= start:
                    useful = needed is None or at in needed
                    stream.codec_context.skip_frame = "DEFAULT" if useful else "NONREF"
                    yield from ((at, frame) for frame in decode(stream, packet))
                if at >= stop - 1:
                    break
            yield from ((at, frame) for frame in decode(stream, None))


def _count(path, wanted: set[int]):
    """`read` where only the order of the pictures tells their numbers."""
    number, damaged = -1, False
    last = max(wanted, default=-1)
    bad = []
    for frame in pictures(path):
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


@contextmanager
def opened(path: Path | str):
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
            f"{path}: not a readable video; copy it again if it was cut off, "
            "or convert it to .mp4 (H.264)"
        ) from None
    with file:
        stream = file.streams.best("video")
        if not isinstance(stream, av.VideoStream) or stream.codec_context is None:
            raise CourseError(f"{path}: no readable picture in it; convert it to .mp4 (H.264)")
        stream.thread_type = "AUTO"
        yield file, stream


def packets_of(file, stream) -> Iterator["av.Packet"]:
    """The packets of a stream, as far as the file goes."""
    import av

    with suppress(av.FFmpegError):
        for packet in file.demux(stream):
            if packet.size:
                yield packet


def decode(stream, packet) -> list:
    """The pictures that come out for a packet (None: the last ones); [None] for an error."""
    import av

    try:
        return stream.decode(packet)
    except av.FFmpegError:
        return [None]


def pictures(path: Path | str, threads: str = "AUTO") -> Iterator["av.VideoFrame | None"]:
    """The stored pictures of a video in order, None for each error."""
    with opened(path) as (file, stream):
        stream.thread_type = threads
        for packet in itertools.chain(packets_of(file, stream), [None]):
            yield from decode(stream, packet)


def rotation(path: Path | str) -> int:
    """Degrees clockwise that turn the first picture upright; CourseError when there is none."""
    # Slices, since by frames several pictures would be waited for.
    for frame in pictures(path, "SLICE"):
        if frame is not None:
            return round(-frame.rotation / 90) * 90 % 360
    raise CourseError(f"{path}: not a readable video: no frame in it; copy it again")


def frame_rate(stream) -> float:
    """Frames per second, the mean where the rate varies."""
    # The time base of a raw stream may pass for its rate.
    rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    return float(next((rate for rate in rates if rate and rate <= 1000), 30))
