from fractions import Fraction

import cv2
import numpy as np
import pytest
from damage import damage

from helpers.common.errors import CourseError
from helpers.footage import decoding, video


def clip(path, frames=12, size=(64, 48), fps=25.0):
    """A clip whose brightness rises by frame, left half red."""
    width, height = size
    with video.video_writer(path, fps, size) as write:
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
    about = video.video_info(path)
    assert (about.fps, about.width, about.height, about.frames) == (25.0, 64, 48, 12)
    found = list(video.read_frames(path))
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
    about = video.video_info(clip(tmp_path / "a.mp4", size=(65, 47)))
    assert (about.width, about.height) == (66, 48)


def test_rotation_of_a_phone_is_applied(tmp_path):
    path = clip(tmp_path / "a.mp4")
    turn_by_90(path)
    assert (video.video_info(path).width, video.video_info(path).height) == (48, 64)
    frame = next(video.read_frames(path))
    assert frame.shape == (64, 48, 3)
    # What was the left half is on top after a turn to the right.
    assert frame[10, 24, 0] > 150 > frame[10, 24, 1]


def test_nothing_is_left_when_writing_fails(tmp_path):
    path = clip(tmp_path / "a.mp4")
    before = path.read_bytes()

    def fail():
        with video.video_writer(path, 25, (64, 48)) as write:
            write(np.zeros((48, 64, 3), np.uint8))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_frames_are_refused(tmp_path):
    with (
        pytest.raises(CourseError, match=r"a.mp4: frame 0: float64 \(48, 64, 3\)"),
        video.video_writer(tmp_path / "a.mp4", 25, (64, 48)) as write,
    ):
        write(np.zeros((48, 64, 3)))
    with (
        pytest.raises(CourseError, match="no frame"),
        video.video_writer(tmp_path / "b.mp4", 25, (8, 8)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_video_is_named_at_once(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(CourseError, match=r"a.mp4: not a readable video"):
        video.read_frames(tmp_path / "a.mp4")
    with pytest.raises(CourseError, match=r"b.mp4: no such file"):
        video.video_info(tmp_path / "b.mp4")


def planted(path, count=60, *, gop=12, times=None, size=(160, 120), codec="libx264", **options):
    """A clip of a moving pattern, with key frames every `gop` frames; `times` in milliseconds."""
    import av

    width, height = size
    small = np.random.default_rng(0).integers(
        0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8
    )
    image = small.repeat(8, 0).repeat(8, 1)[:height, :width]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size, stream.options = gop, options
        base = Fraction(1, 1000) if times else Fraction(1, 25)
        stream.time_base = stream.codec_context.time_base = base
        for i in range(count):
            moved = np.ascontiguousarray(np.roll(image, 3 * i, axis=1))
            frame = av.VideoFrame.from_ndarray(moved, format="rgb24")
            frame.pts, frame.time_base = times[i] if times else i, base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


KINDS = {
    "mp4": ("a.mp4", {}),
    "open groups": ("a.mp4", {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}),
    "gradual refresh": ("a.mp4", {"x264-params": "intra-refresh=1:bframes=0:keyint=12"}),
    "all key frames": ("a.mp4", {"gop": 1}),
    "mkv": ("a.mkv", {}),
    "avi, no timestamps": ("a.avi", {"codec": "mpeg4", "bf": "2"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_frames_picked_out_are_those_of_reading_everything(tmp_path, kind):
    name, options = KINDS[kind]
    path = planted(tmp_path / name, 120, **options)
    every = dict(video.decode_frames(path))
    assert list(every) == list(range(120))
    for wanted in (
        {*range(0, 120, 10)},
        {*range(7, 120, 50)},
        {119},
        {60},
        {13, 14, 15, 100},
        set(),
    ):
        some = dict(video.decode_frames(path, wanted))
        assert set(some) == wanted
        assert all((some[n] == every[n]).all() for n in wanted)


def test_a_far_frame_is_jumped_to(tmp_path):
    path = planted(tmp_path / "a.mp4", 600, size=(32, 32))
    every = dict(video.decode_frames(path))
    some = dict(video.decode_frames(path, {3, 400, 590}))
    assert list(some) == [3, 400, 590]
    assert all((some[n] == every[n]).all() for n in some)


def test_times_of_a_variable_frame_rate(tmp_path):
    times = [i * 33 + 400 * (i // 20) for i in range(60)]
    about = decoding.frame_index(planted(tmp_path / "a.mp4", times=times))
    assert about.variable
    assert np.allclose(about.times, np.array(times) / 1000, atol=0.001)
    assert not decoding.frame_index(clip(tmp_path / "b.mp4")).variable
    found = video.sample_frames(tmp_path / "a.mp4", 1)
    assert found[0][0] == pytest.approx(times[30] / 1000, abs=0.02)


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_rotation_in_each_direction(tmp_path, turned):
    import av

    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(-turned)  # counted the other way round
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:16, :16] = 255
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    assert decoding.frame_index(path).rotation == turned
    upright = np.rot90(picture, -turned // 90)
    first = next(video.read_frames(path))
    assert first.shape == upright.shape == (*video.sample_frames(path, 1)[0][1].shape,)
    assert np.abs(first.astype(int) - upright).mean() < 8
    assert (video.video_info(path).height, video.video_info(path).width) == first.shape[:2]


def test_a_damaged_frame_and_those_that_build_on_it_are_named(tmp_path):
    path = planted(tmp_path / "a.mp4", bf="0")
    whole = dict(video.decode_frames(path))
    damage(path, 29)
    about = decoding.frame_index(path)
    found = list(decoding.read(path, about))
    bad = [n for n, frame in found if frame is None]
    # Packet 29 is frame 29, and the next key frame is 36.
    assert bad == list(range(29, 36))
    for number, frame in found:
        if frame is not None and number not in bad:
            assert (video.to_array(frame, 0) == whole[number]).all()
    assert [n for n, frame in decoding.read(path, about, {0, 30, 40}) if frame is None] == [30]


def test_odd_sizes_are_read(tmp_path):
    path = planted(tmp_path / "a.mkv", 5, size=(61, 47), codec="ffv1")
    assert [frame.shape for frame in video.read_frames(path)] == [(47, 61, 3)] * 5


def test_brightness_is_read_without_converting(tmp_path):
    path = clip(tmp_path / "a.mp4")
    _, frame = next(decoding.read(path, decoding.frame_index(path)))
    grey, step = video.luma(frame)
    image = video.to_array(frame, 0)
    assert grey.shape == image.shape[:2]
    expected = image @ np.array([0.114, 0.587, 0.299])
    assert np.abs((grey.astype(float) - 16) * step - expected).mean() < 2


@pytest.mark.parametrize("content", ["", "#EXTM3U\n#EXTINF:1,\nb.mp4\n", "1\n00:00 --> 00:01\nx\n"])
def test_other_files_under_the_name_of_a_video_are_refused(tmp_path, content):
    clip(tmp_path / "b.mp4")
    (tmp_path / "a.mp4").write_text(content)
    with pytest.raises(CourseError, match=r"a.mp4: not a readable video") as error:
        decoding.frame_index(tmp_path / "a.mp4")
    assert "\n" not in str(error.value)


def test_a_picture_under_the_name_of_a_video_is_refused(tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 48)).save(tmp_path / "a.mp4", "JPEG")
    with pytest.raises(CourseError, match=r"a.mp4: not a readable video"):
        video.video_info(tmp_path / "a.mp4")


@pytest.mark.parametrize("lost", [400, 4000])
def test_a_video_cut_off_before_its_index_is_refused(tmp_path, lost):
    path = planted(tmp_path / "a.mp4")  # the index comes last in this file
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(CourseError, match=r"a.mp4: not a readable video.*copy it again"):
        video.video_info(path)


def test_sound_alone_is_refused(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(CourseError, match=r"a.mp4: no readable picture"):
        decoding.frame_index(tmp_path / "a.mp4")


def test_a_name_with_a_colon(tmp_path, monkeypatch):
    clip(tmp_path / "12:30 drive.mp4", frames=3)
    monkeypatch.chdir(tmp_path)
    assert len(list(video.read_frames("12:30 drive.mp4"))) == 3


def pictures(folder, count=3, size=(64, 48)):
    paths = []
    for i in range(count):
        image = np.zeros((size[1], size[0], 3), np.uint8)
        image[..., 2] = 60 * (i + 1)  # OpenCV's order: red
        paths.append(folder / f"{i}.png")
        cv2.imwrite(str(paths[-1]), image)
    return paths


def test_images_become_a_video_in_their_order(tmp_path):
    path = tmp_path / "new" / "clip.mp4"
    assert video.video_from_images(pictures(tmp_path), path, fps=4) == path
    assert video.video_info(path) == video.VideoInfo(4.0, 64, 48, 3)
    reds = [frame[20, 20, 0] for frame in video.read_frames(path)]
    assert reds == pytest.approx([60, 120, 180], abs=8)


@pytest.mark.parametrize("broken", [0, 1])
def test_an_image_that_cannot_be_read_is_named(tmp_path, broken):
    images = pictures(tmp_path)
    images[broken].write_text("no image")
    with pytest.raises(CourseError, match=rf"{broken}.png: not a readable image"):
        video.video_from_images(images, tmp_path / "clip.mp4")
    assert not (tmp_path / "clip.mp4").exists()


def test_images_must_be_there_and_of_one_size(tmp_path):
    with pytest.raises(CourseError, match=r"clip.mp4: no images"):
        video.video_from_images([], tmp_path / "clip.mp4")
    first = pictures(tmp_path)
    (tmp_path / "other").mkdir()
    other = pictures(tmp_path / "other", 1, (32, 48))
    with pytest.raises(CourseError, match=r"clip.mp4: frame 3: uint8 \(48, 32, 3\)"):
        video.video_from_images([*first, *other], tmp_path / "clip.mp4")
    assert not (tmp_path / "clip.mp4").exists()


def test_samples_are_spread_over_the_video(tmp_path):
    source, fps, frames = tmp_path / "clip.mp4", 10.0, 12
    with video.video_writer(source, fps, (320, 180)) as write:
        for i in range(frames):
            write(np.full((180, 320, 3), np.add((30, 0, 0), 40 + 10 * i), np.uint8))
    found = video.sample_frames(source, 3)
    assert [time for time, _ in found] == pytest.approx([0.3, 0.6, 0.8], abs=0.1)
    for time, image in found:
        assert image.shape == (180, 320, 3)
        assert image[..., 1].mean() == pytest.approx(40 + 10 * time * fps, abs=6)
    assert len(video.sample_frames(source, 1)) == 1
    assert len(video.sample_frames(source, 100)) == frames
    assert video.sample_frames(source, 0) == []


def test_samples_are_rgb(tmp_path):
    path = video.video_from_images(pictures(tmp_path, 4), tmp_path / "clip.mp4")
    image = video.sample_frames(path, 1)[0][1]
    assert image[20, 20, 0] > 100 > image[20, 20, 2]


@pytest.mark.parametrize(
    ("suffix", "container", "codec"),
    [
        (".TS", "mpegts", "libx264"),  # dashcams, in capitals as they write it
        (".mts", "mpegts", "mpeg2video"),
        (".MPG", "mpeg", "mpeg2video"),
        (".vob", "vob", "mpeg2video"),
        (".MOD", "vob", "mpeg2video"),
        (".3gp", "3gp", "mpeg4"),
        (".wmv", "asf", "wmv2"),
        (".flv", "flv", "flv"),
        (".divx", "avi", "mpeg4"),
        (".mxf", "mxf", "mpeg2video"),
        (".dv", "dv", "dvvideo"),
    ],
)
def test_containers_of_cameras(tmp_path, suffix, container, codec):
    import av

    from helpers.footage.frames import extract_frames

    path = tmp_path / f"01/clips/clip{suffix}"
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        for i in range(6):
            picture = np.full((576, 720, 3), 15 * i + 20, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    about = video.video_info(path)
    assert (about.fps, about.width, about.height) == (25, 720, 576)
    out = extract_frames(tmp_path / "01", tmp_path / "02", every=2)
    assert len(list((out / "images").iterdir())) == 3


def test_the_videos_of_the_cases(shared):
    for name in ("18-dashcam-ts", "30b-mpg", "26-gopro-card/DCIM/100GOPRO"):
        files = [p for p in (shared / "cases" / name).iterdir() if p.suffix not in (".THM", ".LRV")]
        assert files
        for path in files:
            assert path.suffix.lower() in video.VIDEO_SUFFIXES
            assert len(video.sample_frames(path, 2)) == 2


def test_the_videos_of_a_folder_that_can_be_read(tmp_path):
    clip(tmp_path / "clip10.mp4")
    clip(tmp_path / "clip9.MP4")
    (tmp_path / "clip1.mp4").write_bytes(b"cut off")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "._clip9.mp4").write_bytes(b"of macOS")
    names = [path.name for path in video.readable_videos(tmp_path)]
    assert names == ["clip9.MP4", "clip10.mp4"]
    for name in names:
        (tmp_path / name).unlink()
    with pytest.raises(CourseError, match=r"clip1.mp4: not a readable video"):
        next(video.readable_videos(tmp_path))
    (tmp_path / "clip1.mp4").unlink()
    with pytest.raises(CourseError, match="no video in it"):
        next(video.readable_videos(tmp_path))
