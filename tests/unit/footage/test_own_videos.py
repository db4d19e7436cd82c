import numpy as np
import pytest
from own_pictures import annotated, picture

from helpers.annotations import write_annotations
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.pairing import read_folder
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.footage import frames, video
from helpers.footage.own import own_folder
from helpers.footage.own_videos import owner

BOX = Box("cat", 8, 6, 24, 18)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "01_images"


def film(path, count=4, size=(32, 24)):
    """A video of `count` frames; written as mp4, whatever its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_suffix(".mp4")
    with video.video_writer(plain, 25, size) as write:
        for i in range(count):
            write(np.full((*size[::-1], 3), 60 * i, np.uint8))
    return plain.rename(path)


def export(folder, kind, numbers, size=(32, 24), name="frame_{:06d}"):
    """Annotations of frames as CVAT exports them, without the frames; every second is empty."""
    found = [
        Annotation(f"{name.format(n)}.png", *size, (BOX,) if i % 2 == 0 else ())
        for i, n in enumerate(numbers)
    ]
    write_annotations(found, folder, kind)


def boxes(out, clip):
    rows = read_csv(out / f"clips/{clip}.boxes.csv", ("frame", "label", "xmin", "difficult"))
    return [(int(r["frame"]), r["label"], float(r["xmin"]), float(r["ymax"])) for r in rows]


def annotated_frames(out, clip):
    return [int(row["frame"]) for row in read_csv(out / f"clips/{clip}.frames.csv", ("frame",))]


def remarks(out):
    return read_csv(out / "remarks.csv", ("file", "where", "kind", "value", "fix"))


@pytest.mark.parametrize("whole_folder", [True, False])
def test_videos_with_their_boxes(tmp_path, out, capsys, whole_folder):
    footage = film(tmp_path / "footage/drive.MP4", 1).parent
    (footage / "drive.boxes.csv").write_text("frame,label,xmin,ymin,xmax,ymax\n0,a,1,1,9,9\n")
    own_folder(footage if whole_folder else footage / "drive.MP4", out)
    assert sorted(p.name for p in (out / "clips").iterdir()) == ["drive.MP4", "drive.boxes.csv"]
    extracted = frames.extract_frames(out, tmp_path / "02_frames")
    assert (extracted / "annotations/drive_00000.xml").is_file()


def test_a_camera_card(tmp_path, out, capsys):
    card = tmp_path / "card"
    for place in ("DCIM/100GOPRO/GX010012.MP4", "DCIM/101GOPRO/GX010013.mts"):
        film(card / place, 1)
    (card / "DCIM/100GOPRO/GX010012.THM").write_bytes(b"x")
    (card / "DCIM/100GOPRO/GL010012.LRV").write_bytes(b"x")
    (card / "DCIM/lost.mp4").symlink_to(card / "nothing")
    (card / "DCIM/folder.mp4").mkdir()
    own_folder(card, out)
    assert sorted(p.name for p in (out / "clips").iterdir()) == ["GX010012.MP4", "GX010013.mts"]
    said = capsys.readouterr().out
    assert "card: 2 videos." in said
    assert "what the camera wrote beside its videos (2 files)" in said
    assert "DCIM/lost.mp4: no such file; check the name" in said


def test_a_video_that_cannot_be_opened_is_left_out(tmp_path, out, capsys):
    own = film(tmp_path / "own/a.mp4", 1).parent
    (own / "b.mp4").write_bytes(b"no video")
    own_folder(own, out)
    assert [p.name for p in (out / "clips").iterdir()] == ["a.mp4"]
    assert "Not used: b.mp4: not a readable video; copy it again" in capsys.readouterr().out
    (own / "a.mp4").write_bytes(b"no video")
    with pytest.raises(CourseError, match=r"no images or videos in it that can be read: a.mp4"):
        own_folder(own, out)


def test_the_same_name_in_two_folders_and_a_long_one(tmp_path, out):
    own = tmp_path / "own"
    for place in ("monday/raw/clip.mp4", "tuesday/raw/CLIP.avi", "other.mp4", "n" * 250 + ".mp4"):
        film(tmp_path / "plain.mp4", 1)
        (own / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain.mp4").rename(own / place)
    own_folder(own, out)
    names = sorted(p.name for p in (out / "clips").iterdir())
    assert names == ["monday_clip.mp4", "n" * 180 + ".mp4", "other.mp4", "tuesday_CLIP.avi"]


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_annotations_of_the_frames_of_one_video(tmp_path, out, capsys, kind):
    own = tmp_path / "own"
    film(own / "drive1.mp4")
    export(own / "export", kind, [0, 1, 2])
    own_folder(own, out)
    assert boxes(out, "drive1") == [(0, "cat", 8, 18), (2, "cat", 8, 18)]
    assert annotated_frames(out, "drive1") == [0, 1, 2]
    assert "Annotated frames: 3 (" in capsys.readouterr().out
    assert not (out / "remarks.csv").exists()


TRACKS = """<annotations><meta><task><original_size><width>32</width><height>24</height>
</original_size><source>{0}.mp4</source></task></meta>
<track id="0" label="cat"><box frame="{1}" outside="0" occluded="0" xtl="8" ytl="6" xbr="24"
ybr="18"/></track></annotations>"""


def test_tracks_of_cvat_beside_each_video(tmp_path, out):
    own = tmp_path / "own"
    for number, name in enumerate(("east", "west")):
        film(own / f"{name}.mp4")
        (own / f"{name}.xml").write_text(TRACKS.format(name, number))
    own_folder(own, out)
    assert boxes(out, "east") == [(0, "cat", 8, 18)]
    assert boxes(out, "west") == [(1, "cat", 8, 18)]


def test_annotated_frames_reach_the_next_lesson(tmp_path, out):
    own = tmp_path / "own"
    film(own / "drive1.mp4")
    export(own / "export", "voc", [1, 3])
    own_folder(own, out)
    extracted = frames.extract_frames(out, tmp_path / "02_frames")
    found = {a.image: len(a.boxes) for a in read_folder(extracted / "annotations")}
    assert found == {"drive1_00001.jpg": 1, "drive1_00003.jpg": 0}


def test_frames_of_several_videos_by_the_folder_of_their_annotations(tmp_path, out):
    own = tmp_path / "own"
    film(own / "drive_1.mp4")
    film(own / "drive_1_night.mp4", size=(64, 48))
    export(own / "task drive_1", "voc", [0])
    export(own / "drive_1_night", "yolo", [2, 3], size=(64, 48))
    export(own / "whose", "voc", [1])
    own_folder(own, out)
    assert annotated_frames(out, "drive_1") == [0]
    assert annotated_frames(out, "drive_1_night") == [2, 3]
    assert boxes(out, "drive_1_night") == [(2, "cat", 8, 18)]
    (remark,) = remarks(out)
    assert (remark["file"], remark["kind"]) == ("whose/frame_000001.xml", "not used")
    assert "no telling which of 2 videos" in remark["value"]


def test_names_that_begin_with_the_video_or_say_the_time(tmp_path, out):
    own = tmp_path / "own"
    film(own / "yard.mp4")
    film(own / "street.mp4")
    export(own / "a", "voc", [2], name="street_{:05d}")
    export(own / "a", "voc", ["0.04"], name="yard.mp4#t={}")
    own_folder(own, out)
    assert annotated_frames(out, "street") == [2]
    assert annotated_frames(out, "yard") == [1]


def test_frames_counted_from_one_and_frames_that_the_video_lacks(tmp_path, out):
    own = tmp_path / "own"
    film(own / "drive1.mp4")
    export(own / "export", "voc", [1, 2, 3, 4])
    own_folder(own, out)
    assert annotated_frames(out, "drive1") == [0, 1, 2, 3]
    export(own / "export", "voc", [7])
    own_folder(own, out)
    assert annotated_frames(out, "drive1") == [1, 2, 3]
    assert {row["value"] for row in remarks(out)} == {
        "frame_000004.png is no frame of drive1.mp4, which has 4",
        "frame_000007.png is no frame of drive1.mp4, which has 4",
    }


def test_boxes_drawn_on_a_smaller_rendering_are_scaled_and_others_not_used(tmp_path, out):
    own = tmp_path / "own"
    film(own / "drive1.mp4", size=(64, 48))
    export(own / "export", "voc", [0])
    own_folder(own, out)
    assert boxes(out, "drive1") == [(0, "cat", 16, 36)]
    export(own / "export", "voc", [0], size=(32, 32))
    own_folder(own, out)
    assert "drawn on 32x32 pixels, drive1.mp4 has 64x48" in remarks(out)[0]["value"]


def test_pictures_beside_videos(tmp_path, out, capsys):
    own = tmp_path / "own"
    film(own / "drive1.mp4")
    (own / "still.jpg").write_bytes(picture())
    (own / "IMG_1.HEIC").write_bytes(b"x")
    own_folder(own, out)
    assert [p.name for p in (out / "clips").iterdir()] == ["drive1.mp4"]
    said = capsys.readouterr().out
    assert "Not used: still.jpg: 1 picture beside what is taken; to use " in said
    assert "Unreadable image: IMG_1.HEIC: HEIC is not read" in said
    annotated(own, ["frames/frame_000003"])
    own_folder(own, out)
    assert not (out / "clips").exists()
    assert len(list((out / "images").iterdir())) == 2
    said = capsys.readouterr().out
    assert "own: 1 of 2 pictures have boxes" in said
    assert "Not used: drive1.mp4: 1 video beside what is taken; to use " in said


def test_photos_with_a_few_videos_are_photos_and_boxes_of_videos_go_first(tmp_path, out):
    own = tmp_path / "own"
    film(own / "IMG_1.mov")
    for i in range(3):
        (own / f"IMG_{i}.jpg").write_bytes(picture(i))
    own_folder(own, out)
    assert len(list((out / "images").iterdir())) == 3
    (own / "IMG_1.boxes.csv").write_text("frame,label,xmin,ymin,xmax,ymax\n0,a,1,1,9,9\n")
    own_folder(own, out)
    assert (out / "clips/IMG_1.mov").is_file()


def test_videos_in_folders_of_the_sides(tmp_path, out, capsys):
    for place in ("train/a.mp4", "test/b.mp4"):
        film(tmp_path / "own" / place, 1)
    own_folder(tmp_path / "own", out)
    assert "folders train and test; held_out in lesson 03" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("x/drive1/frame_000001.xml", "drive1"),
        ("drive10/frame_1.xml", "drive10"),
        ("DRIVE1.mp4/1.png", "drive1"),
        ("x/drive1_000012.png", "drive1"),
        ("drive100/1.png", None),
        ("frame_000001.png", None),
    ],
)
def test_owner(tmp_path, named, expected):
    videos = [tmp_path / "drive1.mp4", tmp_path / "drive10.mp4"]
    found = owner(named, videos)
    assert (found and found.stem) == expected
