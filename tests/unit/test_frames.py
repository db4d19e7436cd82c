import numpy as np
import pytest
from PIL import Image, ImageFilter

from helpers import annotations, frames, split, video
from helpers.annotations import Annotation, Box
from helpers.artifacts import read_manifest
from helpers.errors import CourseError


def scene(seed=0, size=(160, 120)):
    small = np.random.default_rng(seed).integers(0, 255, (15, 20, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.NEAREST))


def make_clip(folder, name="clip_a", count=20, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    with video.writer(folder / f"{name}.mp4", 25, (160, 120)) as write:
        for i in range(count):
            write(np.roll(scene(seed), 3 * i, axis=1))
    return folder / f"{name}.mp4"


def table(folder):
    return split.read_csv(folder / "frames.csv", frames.COLUMNS)


@pytest.fixture
def source(tmp_path):
    make_clip(tmp_path / "01_images/clips")
    (tmp_path / "01_images/sources.csv").write_text("file,licence,origin\nclip_a.mp4,own,here\n")
    return tmp_path / "01_images"


def test_every_nth_frame_with_its_number_and_time(source, tmp_path):
    out = frames.extract(source, tmp_path / "02_frames", every=6)
    rows = table(out)
    assert [row["image"] for row in rows] == [f"clip_a_{i:05d}.jpg" for i in (0, 6, 12, 18)]
    assert [row["clip"] for row in rows] == ["clip_a"] * 4
    assert [row["time"] for row in rows] == ["0.000", "0.240", "0.480", "0.720"]
    assert all(len(row["phash"]) == 16 and float(row["sharpness"]) > 0 for row in rows)
    assert (out / "sources.csv").is_file()
    with Image.open(out / "images" / rows[1]["image"]) as image:
        pixels = np.asarray(image, int)
    differences = [np.abs(pixels - np.roll(scene(), 3 * i, axis=1)).mean() for i in range(20)]
    assert np.argmin(differences) == 6


def test_max_frames_spreads_them(source, tmp_path):
    out = frames.extract(source, tmp_path / "02_frames", max_frames=3)
    assert [row["frame"] for row in table(out)] == ["0", "10", "19"]


def test_ground_truth_becomes_an_annotation_per_frame(source, tmp_path):
    (source / "clips/clip_a.boxes.csv").write_text(
        "frame,track,label,xmin,ymin,xmax,ymax,distance_m,visibility,difficult\n"
        "0,1,speed_camera,10.5,20,30,60,40,1.0,0\n"
        "0,2,car,50,20,90,60,20,0.3,1\n"
        "3,1,speed_camera,11,20,31,60,39,1.0,0\n"
    )
    out = frames.extract(source, tmp_path / "02_frames", every=2)
    assert len(list((out / "annotations").iterdir())) == 10
    first = annotations.read_voc(out / "annotations/clip_a_00000.xml")
    assert first.boxes == (
        Box("speed_camera", 10.5, 20, 30, 60),
        Box("car", 50, 20, 90, 60, difficult=True),
    )
    assert (first.image, first.width, first.height) == ("clip_a_00000.jpg", 160, 120)
    # A frame without objects says so: it is background, not forgotten.
    assert annotations.read_voc(out / "annotations/clip_a_00002.xml").boxes == ()


def test_a_wrong_number_in_the_ground_truth_is_named(source, tmp_path):
    (source / "clips/clip_a.boxes.csv").write_text(
        "frame,label,xmin,ymin,xmax,ymax\n0,radar,1,2,3,4\n1,radar,left,2,3,4\n"
    )
    with pytest.raises(CourseError, match=r"clip_a.boxes.csv: line 3: .*left"):
        frames.extract(source, tmp_path / "02_frames")
    (source / "clips/clip_a.boxes.csv").write_text(
        "frame,label,xmin,ymin,xmax,ymax\n0,radar,1,2,300,4\n"
    )
    with pytest.raises(CourseError, match=r"clip_a_00000.xml: object 1 .*xmax 300"):
        frames.extract(source, tmp_path / "02_frames")
    assert not (tmp_path / "02_frames").exists()


def test_a_video_that_ends_early_is_used_as_far_as_it_goes(source, tmp_path, capsys):
    path = make_clip(source / "clips", "clip_b", count=60, seed=1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    out = frames.extract(source, tmp_path / "02_frames")
    numbers = [int(row["frame"]) for row in table(out) if row["clip"] == "clip_b"]
    assert 0 < len(numbers) < 60
    assert numbers == list(range(len(numbers)))
    short = read_manifest(out)["counts"]["short"]
    assert short == {"clip_b.mp4": f"ends before frame {len(numbers)} of 60"}
    printed = "".join(capsys.readouterr())
    assert f"clip_b.mp4: ends before frame {len(numbers)} of 60" in printed


def test_a_file_that_is_no_video_stops_it(source, tmp_path):
    (source / "clips/clip_z.mp4").write_text("no video")
    with pytest.raises(CourseError, match=r"clip_z.mp4: not a video"):
        frames.extract(source, tmp_path / "02_frames")
    assert not (tmp_path / "02_frames").exists()


def test_empty_and_missing_folders(source, tmp_path):
    (source / "clips/clip_a.mp4").unlink()
    with pytest.raises(CourseError, match="clips: no video in it"):
        frames.extract(source, tmp_path / "02_frames")
    with pytest.raises(CourseError, match=r"nowhere: neither clips/ nor images/"):
        frames.extract(tmp_path / "nowhere", tmp_path / "02_frames")


@pytest.mark.parametrize("options", [{"every": 0}, {"every": 1.5}, {"max_frames": 0}])
def test_wrong_parameters(source, tmp_path, options):
    with pytest.raises(CourseError, match=next(iter(options))):
        frames.extract(source, tmp_path / "02_frames", **options)


def test_names_with_blanks_and_other_letters(tmp_path):
    make_clip(tmp_path / "01/clips", "Fahrt 1 über 速度", count=3)
    out = frames.extract(tmp_path / "01", tmp_path / "02_frames")
    names = [row["image"] for row in table(out)]
    assert names[2] == "Fahrt 1 über 速度_00002.jpg"
    assert all((out / "images" / name).is_file() for name in names)


def test_two_videos_of_one_name_are_refused(source, tmp_path):
    (source / "clips/clip_a.mov").write_bytes((source / "clips/clip_a.mp4").read_bytes())
    with pytest.raises(CourseError, match=r"clip_a.mov and clip_a.mp4: same name"):
        frames.extract(source, tmp_path / "02_frames")


def test_photos_are_taken_over_as_they_are(tmp_path):
    source = tmp_path / "01_images"
    (source / "images").mkdir(parents=True)
    (source / "annotations").mkdir()
    for i in range(4):
        Image.fromarray(scene(i)).save(source / f"images/photo {i}.jpg")
    (source / "images/photo 4.jpg").write_bytes(b"broken")
    box = Box("radar", 1, 1, 20, 20)
    annotations.write_voc(
        Annotation("photo 0.jpg", 160, 120, (box,)), source / "annotations/photo 0.xml"
    )
    (source / "groups.csv").write_text("image,clip\nphoto 0.jpg,street\nphoto 1.jpg,street\n")
    out = frames.extract(source, tmp_path / "02_frames")
    rows = table(out)
    assert [row["clip"] for row in rows] == ["street", "street", "photo 2", "photo 3", "photo 4"]
    assert rows[4]["phash"] == ""
    assert rows[0]["phash"] != rows[1]["phash"]
    name = "images/photo 0.jpg"
    assert (out / name).read_bytes() == (source / name).read_bytes()
    # Editing an annotation in 02 must not change 01.
    (out / "annotations/photo 0.xml").write_text("changed")
    assert annotations.read_voc(source / "annotations/photo 0.xml").boxes == (box,)
    assert len(table(frames.extract(source, tmp_path / "few", max_frames=2))) == 2


def test_blur_lowers_sharpness_and_hardly_moves_the_hash():
    sharp = Image.fromarray(scene())
    blurred = np.asarray(sharp.filter(ImageFilter.GaussianBlur(2)))
    sharp = np.asarray(sharp)
    assert frames.sharpness(blurred) < frames.sharpness(sharp) / 5

    def bits(a, b):
        return (int(frames.phash(a), 16) ^ int(frames.phash(b), 16)).bit_count()

    assert bits(sharp, blurred) <= 6 < bits(sharp, scene(1))
