import numpy as np
import pytest

from helpers import video
from helpers.errors import CourseError


def clip(path, frames=12, size=(64, 48), fps=25.0):
    """A clip whose brightness rises by frame, left half red."""
    width, height = size
    with video.writer(path, fps, size) as write:
        for i in range(frames):
            frame = np.full((height, width, 3), 15 * i + 20, np.uint8)
            frame[:, : width // 2] = (200, 10, 10)
            write(frame)
    return path


def turn_by_90(path):
    """Write a phone's rotation into the track header: the matrix that means 90 degrees."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    matrix = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4").tobytes()
    data[at : at + 36] = matrix
    path.write_bytes(data)


def test_frames_come_back_in_order_and_in_rgb(tmp_path):
    path = clip(tmp_path / "Größe 速度.mp4")
    about = video.info(path)
    assert (about.fps, about.width, about.height, about.frames) == (25.0, 64, 48, 12)
    found = list(video.frames(path))
    assert len(found) == 12
    assert found[0].shape == (48, 64, 3)
    assert found[0].dtype == np.uint8
    rising = [frame[24, 48].mean() for frame in found]
    assert rising == sorted(rising)
    red, green, blue = found[0][24, 10]
    assert red > 150 > max(green, blue)


def test_a_browser_can_play_it(tmp_path):
    import av

    path = clip(tmp_path / "a.mp4")
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_odd_sizes_grow_by_one(tmp_path):
    about = video.info(clip(tmp_path / "a.mp4", size=(65, 47)))
    assert (about.width, about.height) == (66, 48)


def test_rotation_of_a_phone_is_applied(tmp_path):
    path = clip(tmp_path / "a.mp4")
    turn_by_90(path)
    assert (video.info(path).width, video.info(path).height) == (48, 64)
    frame = next(video.frames(path))
    assert frame.shape == (64, 48, 3)
    # What was the left half is on top after a turn to the right.
    assert frame[10, 24, 0] > 150 > frame[10, 24, 1]


def test_nothing_is_left_when_writing_fails(tmp_path):
    path = clip(tmp_path / "a.mp4")
    before = path.read_bytes()

    def fail():
        with video.writer(path, 25, (64, 48)) as write:
            write(np.zeros((48, 64, 3), np.uint8))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_frames_are_refused(tmp_path):
    with (
        pytest.raises(CourseError, match=r"a.mp4: frame 0: float64 \(48, 64, 3\)"),
        video.writer(tmp_path / "a.mp4", 25, (64, 48)) as write,
    ):
        write(np.zeros((48, 64, 3)))
    with pytest.raises(CourseError, match="no frame"), video.writer(tmp_path / "b.mp4", 25, (8, 8)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_video_is_named_at_once(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(CourseError, match=r"a.mp4: not a video"):
        video.frames(tmp_path / "a.mp4")
    with pytest.raises(CourseError, match=r"b.mp4: no such file"):
        video.info(tmp_path / "b.mp4")
