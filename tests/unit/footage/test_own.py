import io

import numpy as np
import pytest
from PIL import Image

from helpers.annotations import formats
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.folders import read_folder
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.dataset.split import read_author_split
from helpers.footage import frames, video
from helpers.footage.own import own_folder


def picture(seed=0, kind="JPEG"):
    noise = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "my pictures"
    folder.mkdir()
    for i in range(3):
        (folder / f"bild {i}.jpg").write_bytes(picture(i))
    return folder


def test_a_folder_of_pictures_with_xml_beside_and_below(own, tmp_path):
    (own / "bild 0.xml").write_text("<annotation/>")
    (own / "annotations").mkdir()
    (own / "annotations/bild 1.xml").write_text("<annotation/>")
    (own / "groups.csv").write_text("image,clip\nbild 0.jpg,street\n")
    (own / "notes.txt").write_text("not a picture")
    out = own_folder(own, tmp_path / "01_images")
    assert sorted(p.name for p in (out / "images").iterdir()) == [f"bild {i}.jpg" for i in range(3)]
    assert sorted(p.name for p in (out / "annotations").iterdir()) == ["bild 0.xml", "bild 1.xml"]
    rows = read_csv(out / "sources.csv", ("file", "licence", "origin"))
    assert rows[0] == {"file": "bild 0.jpg", "licence": "your own", "origin": "my pictures"}
    assert (out / "groups.csv").is_file()


def test_names_in_capitals_and_what_macos_puts_beside(own, tmp_path):
    (own / "bild 0.jpg").rename(own / "BILD.JPG")
    (own / "BILD.XML").write_text("<annotation/>")
    (own / "._BILD.JPG").write_bytes(b"Mac OS X")
    out = own_folder(own, tmp_path / "01_images")
    assert len(list((out / "images").iterdir())) == 3
    assert [p.name for p in (out / "annotations").iterdir()] == ["BILD.xml"]


def test_added_pictures_are_seen_by_the_next_run(own, tmp_path, capsys):
    own_folder(own, tmp_path / "01_images")
    own_folder(own, tmp_path / "01_images")
    assert "kept" in capsys.readouterr().out
    (own / "new.jpg").write_bytes(picture(9))
    out = own_folder(own, tmp_path / "01_images")
    assert (out / "images/new.jpg").is_file()


def test_pictures_in_a_folder_images(own, tmp_path):
    inner = tmp_path / "voc"
    inner.mkdir()
    own.rename(inner / "images")
    (inner / "Annotations").mkdir()
    (inner / "Annotations/bild 0.xml").write_text("<annotation/>")
    out = own_folder(inner, tmp_path / "01_images")
    assert len(list((out / "images").iterdir())) == 3
    assert (out / "annotations/bild 0.xml").is_file()


@pytest.mark.parametrize("whole_folder", [True, False])
def test_videos(tmp_path, whole_folder):
    footage = tmp_path / "footage"
    footage.mkdir()
    with video.video_writer(footage / "drive.MP4", 25, (32, 24)) as write:
        write(np.zeros((24, 32, 3), np.uint8))
    (footage / "drive.boxes.csv").write_text("frame,label,xmin,ymin,xmax,ymax\n0,a,1,1,9,9\n")
    path = footage if whole_folder else footage / "drive.MP4"
    out = own_folder(path, tmp_path / "01_images")
    assert sorted(p.name for p in (out / "clips").iterdir()) == ["drive.MP4", "drive.boxes.csv"]
    extracted = frames.extract_frames(out, tmp_path / "02_frames")
    assert (extracted / "annotations/drive_00000.xml").is_file()


def test_what_cannot_be_taken_is_named(own, tmp_path):
    out = tmp_path / "01_images"
    with pytest.raises(CourseError, match="nowhere: no such folder or file"):
        own_folder(tmp_path / "nowhere", out)
    with pytest.raises(CourseError, match=r"bild 0.jpg: not a video"):
        own_folder(own / "bild 0.jpg", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CourseError, match="empty: no images in it"):
        own_folder(tmp_path / "empty", out)
    (own / "drive.mp4").touch()
    with pytest.raises(CourseError, match="1 videos and 3 images"):
        own_folder(own, out)
    (own / "drive.mp4").unlink()
    (own / "annotations").mkdir()
    for place in (own, own / "annotations"):
        (place / "bild 0.xml").write_text("<annotation/>")
    with pytest.raises(CourseError, match=r"another bild 0.xml"):
        own_folder(own, out)
    assert not out.exists()


BOX = (Box("cat", 8, 6, 24, 18),)


def label_images(own, kind, target):
    names = [f"bild {i}.jpg" for i in range(3)]
    found = [Annotation(name, 32, 24, BOX if name != "bild 2.jpg" else ()) for name in names]
    formats.write_annotations(found, own / target, kind)


@pytest.mark.parametrize(
    ("kind", "target", "says"),
    [
        ("voc", "Annotations", "my pictures: Pascal VOC XML, 3 annotations, 3 images."),
        ("yolo", "", "my pictures: YOLO txt, 3 annotations, 3 images."),
        ("coco", "result.json", "my pictures: COCO json, 3 annotations, 3 images."),
        ("vott_csv", "x-export.csv", "my pictures: VoTT CSV, 2 annotations, 3 images."),
        ("tfod_csv", "labels.csv", "my pictures: TFOD CSV, 2 annotations, 3 images."),
        ("lisa_csv", "all.csv", "my pictures: LISA CSV, 2 annotations, 3 images."),
    ],
)
def test_annotations_of_any_tool_become_voc(own, tmp_path, capsys, kind, target, says):
    label_images(own, kind, target)
    out = own_folder(own, tmp_path / "01_images")
    assert capsys.readouterr().out.strip() == says
    found = read_folder(out / "annotations")
    assert [a.boxes for a in found if a.boxes] == [BOX, BOX]
    assert found[0].source == "bild 0.xml"
    assert len(found) == int(says.split(", ")[1][0])


def test_an_export_of_yolo_with_its_split(own, tmp_path, capsys):
    label_images(own, "yolo", "")
    export = tmp_path / "export"
    for i, side in enumerate(("train", "valid", "test")):
        for kind, suffix in (("images", "jpg"), ("labels", "txt")):
            (export / side / kind).mkdir(parents=True)
            source = own / ("labels" if suffix == "txt" else "") / f"bild {i}.{suffix}"
            source.rename(export / side / kind / f"bild {i}.{suffix}")
    (own / "data.yaml").rename(export / "data.yaml")
    (export / "README.dataset.txt").write_text("0 rights reserved")
    out = own_folder(export, tmp_path / "01_images")
    assert "YOLO txt, 3 annotations, 3 images" in capsys.readouterr().out
    assert len(list((out / "images").iterdir())) == 3
    assert read_author_split(out / "author_split.csv") == {
        "bild 0.jpg": "train",
        "bild 1.jpg": "val",
    }
    extracted = frames.extract_frames(out, tmp_path / "02_frames")
    assert len(list((extracted / "annotations").iterdir())) == 3


def test_faulty_boxes_are_left_to_the_audit(own, tmp_path):
    (own / "x.csv").write_text("image,xmin,ymin,xmax,ymax,label\nbild 0.jpg,9,9,40,3,cat\n")
    out = own_folder(own, tmp_path / "01_images")
    assert read_folder(out / "annotations")[0].boxes == (Box("cat", 9, 9, 40, 3),)


def test_annotations_that_cannot_be_read_leave_nothing(own, tmp_path):
    (own / "x.csv").write_text("image,xmin,ymin,xmax,ymax,label\nbild 9.jpg,1,1,9,9,cat\n")
    with pytest.raises(CourseError, match=r"x.csv: line 2: image 'bild 9.jpg' is not among"):
        own_folder(own, tmp_path / "01_images")
    (own / "a.xml").write_text("<annotation/>")
    with pytest.raises(CourseError, match="two formats"):
        own_folder(own, tmp_path / "01_images")
    assert not (tmp_path / "01_images").exists()


def test_stills_below_footage_do_not_matter(tmp_path):
    footage = tmp_path / "footage"
    (footage / "stills").mkdir(parents=True)
    (footage / "stills/a.jpg").write_bytes(picture())
    (footage / "drive.mp4").touch()
    out = own_folder(footage, tmp_path / "01_images")
    assert [p.name for p in (out / "clips").iterdir()] == ["drive.mp4"]


def test_a_real_export_of_vott(shared, tmp_path, capsys):
    out = own_folder(shared / "datasets/catfaces_vott", tmp_path / "01_images")
    assert "catfaces_vott: VoTT CSV, 100 annotations, 101 images." in capsys.readouterr().out
    assert (out / "images/2Q__%20(1).jpg").is_file()
    assert len(read_folder(out / "annotations")) == 100
