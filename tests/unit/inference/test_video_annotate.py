import csv

import numpy as np
import pytest

from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.footage import video
from helpers.inference.video import annotate_video

WIDTH, HEIGHT, FPS, FRAMES = 320, 180, 10.0, 12


@pytest.fixture
def clip(tmp_path):
    """Reddish frames that grow brighter."""
    path = tmp_path / "clip.mp4"
    with video.video_writer(path, FPS, (WIDTH, HEIGHT)) as write:
        for i in range(FRAMES):
            write(np.full((HEIGHT, WIDTH, 3), np.add((30, 0, 0), 40 + 10 * i), np.uint8))
    return path


class Stub:
    """A detector that sees the same two objects everywhere; keeps what it was given."""

    def __init__(self, fail_at=None):
        self.seen, self.fail_at = [], fail_at

    def __call__(self, image, threshold):
        import supervision as sv

        if len(self.seen) == self.fail_at:
            raise RuntimeError("out of memory")
        self.seen.append((image, threshold))
        scores = np.array([0.9, 0.3])
        keep = scores >= threshold
        return sv.Detections(
            xyxy=np.array([[100, 60, 180, 140], [10, 10, 50, 40]], np.float32)[keep],
            confidence=scores[keep],
            class_id=np.array([1, 2])[keep],
            data={"class_name": np.array(["camera", "car"])[keep]},
        )


def rows(folder):
    with (folder / "detections.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_frame_is_detected_drawn_and_listed(clip, tmp_path):
    import av

    stub, folder = Stub(), tmp_path / "11_video"
    counts = annotate_video(clip, folder, detect=stub, threshold=0.2)
    assert counts["frames"] == FRAMES == len(stub.seen)
    assert set(counts["milliseconds"]) == {"read", "detect", "draw and write"}
    assert all(value > 0 for value in counts["milliseconds"].values())
    assert read_manifest(folder)["counts"] == counts
    with av.open(str(folder / "annotated.mp4")) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert video.video_info(folder / "annotated.mp4") == video.VideoInfo(FPS, WIDTH, HEIGHT, FRAMES)
    found = rows(folder)
    assert len(found) == 2 * FRAMES
    assert list(found[0].values()) == [
        *("0", "0.000", "camera", "0.900"),
        *("100.0", "60.0", "180.0", "140.0"),
    ]
    assert list(found[-1].values()) == [
        *("11", "1.100", "car", "0.300"),
        *("10.0", "10.0", "50.0", "40.0"),
    ]


def test_boxes_are_drawn_in_orange_where_the_object_is(clip, tmp_path):
    annotate_video(clip, tmp_path / "a", detect=Stub(), threshold=0.5)
    for frame in video.read_frames(tmp_path / "a" / "annotated.mp4"):
        red, green, blue = frame[100, 99:102].mean(axis=0)
        assert red > green + 20 > blue + 40  # the left edge of the box
        for pixel in (frame[100, 140], frame[25, 10]):  # its inside; a box that scores less
            red, green, blue = pixel.astype(int)
            assert red - green == pytest.approx(30, abs=14)
            assert green == pytest.approx(blue, abs=14)


def test_boxes_are_dashed_as_all_guesses_are(clip, tmp_path):
    annotate_video(clip, tmp_path / "a", detect=Stub(), threshold=0.5)
    frame = next(iter(video.read_frames(tmp_path / "a" / "annotated.mp4"))).astype(int)
    edge = frame[62:138, 99:102].mean(axis=1)
    drawn = edge[:, 1] - edge[:, 2] > 30
    assert 0.3 < drawn.mean() < 0.9
    assert (drawn[1:] != drawn[:-1]).sum() >= 6


def test_the_threshold_goes_to_the_detector_and_the_list(clip, tmp_path):
    stub = Stub()
    annotate_video(clip, tmp_path / "a", detect=stub, threshold=0.5)
    assert {threshold for _, threshold in stub.seen} == {0.5}
    assert {row["label"] for row in rows(tmp_path / "a")} == {"camera"}
    annotate_video(clip, tmp_path / "a", detect=stub, threshold=0.95)
    assert rows(tmp_path / "a") == []
    assert video.video_info(tmp_path / "a" / "annotated.mp4").frames == FRAMES


def test_the_detector_sees_upright_rgb_frames(tmp_path):
    path = tmp_path / "red.mp4"
    with video.video_writer(path, FPS, (64, 48)) as write:
        write(np.full((48, 64, 3), (220, 20, 20), np.uint8))
    stub = Stub()
    annotate_video(path, tmp_path / "a", detect=stub)
    image, threshold = stub.seen[0]
    assert image.shape == (48, 64, 3)
    assert image[20, 20, 0] > 180 > 60 > image[20, 20, 2]
    assert threshold == 0.4


@pytest.mark.parametrize(("seconds", "frames"), [(0.5, 5), (60, FRAMES), (None, FRAMES)])
def test_only_so_many_seconds_are_taken(clip, tmp_path, seconds, frames):
    counts = annotate_video(clip, tmp_path / "a", detect=Stub(), seconds=seconds)
    assert counts["frames"] == video.video_info(tmp_path / "a" / "annotated.mp4").frames == frames
    assert rows(tmp_path / "a")[-1]["frame"] == str(frames - 1)


def test_another_detector_of_the_same_name_is_run_all_the_same(clip, tmp_path):
    class Named(Stub):
        def __repr__(self):  # as a trained Detector's, which shows its labels only
            return "Detector()"

    for _ in range(2):
        stub = Named()
        annotate_video(clip, tmp_path / "a", detect=stub, seconds=0.2)
        assert len(stub.seen) == 2


def test_an_error_leaves_what_was_there(clip, tmp_path):
    folder = tmp_path / "a"
    with pytest.raises(RuntimeError, match="out of memory"):
        annotate_video(clip, folder, detect=Stub(fail_at=3))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    annotate_video(clip, folder, detect=Stub())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(RuntimeError, match="out of memory"):
        annotate_video(clip, folder, detect=Stub(fail_at=3))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert set(before) == {"annotated.mp4", "detections.csv", "manifest.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "a"}


def test_a_video_that_ends_early_is_annotated_as_far_as_it_goes(tmp_path, capsys):
    clip, rng = tmp_path / "clip.mp4", np.random.default_rng(0)
    with video.video_writer(clip, FPS, (WIDTH, HEIGHT)) as write:
        for _ in range(FRAMES):
            write(rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8))
    data = clip.read_bytes()
    # The index is at the front, so that a file cut short still announces all its frames.
    clip.write_bytes(data[: int(len(data) * 0.7)])
    assert video.video_info(clip).frames == FRAMES
    counts = annotate_video(clip, tmp_path / "a", detect=Stub())
    assert 0 < counts["frames"] < FRAMES
    assert f"ends after frame {counts['frames']} of {FRAMES}" in capsys.readouterr().out


def test_a_video_that_is_missing_is_named(tmp_path):
    with pytest.raises(CourseError, match=r"b.mp4: no such file"):
        annotate_video(tmp_path / "b.mp4", tmp_path / "a", detect=Stub())
    assert list(tmp_path.iterdir()) == []
