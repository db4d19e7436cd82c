import os
from pathlib import Path

import pytest
from bitmaps import image

from helpers.annotations.pictures import Pictures, key_of, stem_of
from helpers.common.errors import CourseError


@pytest.fixture
def folder(tmp_path):
    """Return make(*names): the `Pictures` of a folder with an image of each name, all different."""

    def make(*names):
        for number, name in enumerate(names, 1):
            image(tmp_path / name, 100 + number, 50)
        return Pictures.of(tmp_path)

    return make


def names(pictures):
    return {path.relative_to(pictures.folder).as_posix(): n for path, n in pictures.names.items()}


def kinds(pictures):
    return {remark.file: remark.kind for remark in pictures.remarks}


def test_pictures_of_all_levels_are_found(folder):
    found = folder("logo.bmp", "images/b.JPG", "JPEGImages/train/deep/c.webp", ".trash/d.jpg")
    assert set(names(found).values()) == {"logo.bmp", "b.JPG", "c.webp"}
    assert found.remarks == ()


def test_names_of_several_folders_get_what_tells_the_folders_apart(folder):
    found = folder(
        "set/drive1/JPEGImages/f_0.jpg",
        "set/drive1/JPEGImages/f_1.jpg",
        "set/drive2/JPEGImages/f_0.png",
        "set/night/JPEGImages/x.jpg",
    )
    assert names(found) == {
        "set/drive1/JPEGImages/f_0.jpg": "drive1_f_0.jpg",
        # Its folder is kept together.
        "set/drive1/JPEGImages/f_1.jpg": "drive1_f_1.jpg",
        "set/drive2/JPEGImages/f_0.png": "drive2_f_0.png",
        "set/night/JPEGImages/x.jpg": "x.jpg",
    }


def test_names_are_unique_whatever_the_folders(folder):
    found = folder(
        *("a.jpg", "A.png", "x/a.jpg", "x/y/a.jpg", "x_y/a.jpg", "x_a.jpg", "z/u\u0308.jpg"),
        "w/\xfc.jpg",
    )
    flat = [stem_of(key_of(name)) for name in found.names.values()]
    assert len(flat) == len(set(flat)) == 8
    assert not any("/" in name for name in found.names.values())


def test_the_same_bytes_under_one_name_are_one_picture(tmp_path):
    for place in ("collected", "train"):
        image(tmp_path / place / "a.bmp", 30, 20)
    image(tmp_path / "train/other.bmp", 30, 20)
    found = Pictures.of(tmp_path)
    assert names(found) == {"collected/a.bmp": "a.bmp", "train/other.bmp": "other.bmp"}
    assert found.copies == {tmp_path / "train/a.bmp": tmp_path / "collected/a.bmp"}
    assert kinds(found) == {"train/a.bmp": "same picture twice"}
    assert found.find("train/a.bmp", tmp_path / "boxes.csv") == tmp_path / "collected/a.bmp"


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    image(tmp_path / "elsewhere/a.bmp")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "linked").symlink_to(tmp_path / "elsewhere")
    (mine / "again").symlink_to(mine)
    (tmp_path / "elsewhere/back").symlink_to(mine)
    assert list(Pictures.of(mine).names.values()) == ["a.bmp"]


@pytest.mark.parametrize("what", ["folder", "pipe", "broken link", "link to itself"])
def test_what_is_only_called_like_a_picture_is_left_out(tmp_path, what):
    image(tmp_path / "good.jpg")
    bad = tmp_path / "p3.jpg"
    if what == "folder":
        bad.mkdir()
    elif what == "pipe":
        os.mkfifo(bad)
    else:
        bad.symlink_to(bad if what == "link to itself" else tmp_path / "nowhere.jpg")
    found = Pictures.of(tmp_path)
    assert list(found.names.values()) == ["good.jpg"]
    assert kinds(found) == {"p3.jpg": "unreadable image"}


def test_pictures_that_are_not_read_are_named_with_what_to_do(folder):
    found = folder("a.jpg", "IMG_1.HEIC", "IMG_2.HEIC", "scan.tif")
    assert list(found.names.values()) == ["a.jpg"]
    heic, tiff = sorted(map(str, found.remarks))
    assert "IMG_1.HEIC: HEIC is not read; 2 such pictures" in heic
    assert "convert with" in heic
    assert tiff.startswith("scan.tif: TIFF is not read")


def test_masks_are_no_photos(folder):
    found = folder("images/a.jpg", "masks/a.png", "SegmentationClass/a.png")
    assert list(found.names.values()) == ["a.jpg"]
    assert kinds(found) == {"masks": "not used", "SegmentationClass": "not used"}


def test_a_folder_of_photos_may_be_called_masks(folder):
    assert list(folder("masks/face.jpg").names.values()) == ["face.jpg"]


def test_a_name_that_is_no_utf8_can_be_written(tmp_path):
    image(tmp_path / os.fsdecode(b"caf\xe9.bmp"))
    found = Pictures.of(tmp_path)
    assert list(found.names.values()) == ["café.bmp"]
    assert found.find("café.bmp", tmp_path / "a.csv") is not None


@pytest.mark.parametrize(
    ("disk", "stated"),
    [
        ("a.jpg", "a.jpg"),
        ("a.jpg", "a"),
        ("a.JPG", "a.jpg"),
        ("IMG_1.jpg", "img_1.JPG"),
        ("a.jpg", "a.png"),
        ("a.jpg", "a.HEIC"),
        ("a.jpg", r"C:\Users\me\pictures\a.jpg"),
        ("a.jpg", "file:///home/me/a.jpg"),
        ("my cat.jpg", "my%20cat.jpg"),
        ("my%20cat.jpg", "my%20cat.jpg"),
        ("100%.jpg", "100%.jpg"),
        ("Bru\u0308cke.jpg", "Br\xfccke.jpg"),
        ("Br\xfccke.jpg", "bru\u0308cke"),
        ("road_0.jpg", "a1b2c300-road_0.jpg"),
        ("road_0.jpg", "a1b2c300-road_0"),
        ("a1b2c300-road_0.jpg", "road_0.jpg"),
        ("v.mp4#t=1.5.jpg", "v.mp4#t=1.5.jpg"),
        ("v.mp4#t=1.5.jpg", "v.mp4#t=1.5"),
        ("deep/er/a.jpg", "elsewhere/a.jpg"),
    ],
)
def test_a_picture_is_found_by_what_a_file_calls_it(folder, tmp_path, disk, stated):
    # The others are near misses.
    found = folder(disk, "v.mp4#t=1.jpg", "cat.jpg", "aa.jpg", "b1b2c300-way_0.jpg")
    assert found.find(stated, tmp_path / "boxes.csv") == tmp_path / disk


@pytest.mark.parametrize("stated", ["b.jpg", "", "/", "a1b2c30-a.jpg", "a.jpg.bak", "v.mp4#t=2"])
def test_what_is_not_there_is_not_found(folder, tmp_path, stated):
    assert folder("a.jpg", "v.mp4#t=1.jpg").find(stated, tmp_path / "boxes.csv") is None


@pytest.mark.parametrize(
    ("file", "stated", "picture"),
    [
        ("boxes.json", "train/1.jpg", "set/images/train/1.jpg"),
        ("boxes.json", r"x\images\val\1.jpg", "set/images/val/1.jpg"),
        ("set/labels/train/1.txt", "1", "set/images/train/1.jpg"),
        ("set/labels/val/1.txt", "1", "set/images/val/1.jpg"),
        ("set/images/val/1.xml", "1.jpg", "set/images/val/1.jpg"),
        ("val_labels.csv", "1.jpg", "set/images/val/1.jpg"),
        ("annotations/instances_train.json", "1.jpg", "set/images/train/1.jpg"),
        ("1.xml", "1.jpg", "1.jpg"),
        ("labels/val/train_1.txt", "train_1", "images/val/train_1.jpg"),
        ("boxes.json", "1", "1.jpg"),
    ],
)
def test_of_pictures_with_one_name_the_path_or_the_file_tells(
    folder, tmp_path, file, stated, picture
):
    found = folder(
        *("set/images/train/1.jpg", "set/images/val/1.jpg", "1.jpg"),
        *("images/val/train_1.jpg", "images/train/train_1.jpg"),
    )
    assert found.find(stated, tmp_path / file) == tmp_path / picture


def test_what_nothing_tells_apart_is_not_guessed(folder, tmp_path):
    found = folder("one/a.jpg", "two/a.jpg", "b.jpg", "b.png", "a1b2c300-c.jpg", "b1b2c300-c.jpg")
    for stated in ("a.jpg", "b", "c.jpg"):
        assert found.find(stated, tmp_path / "boxes.csv") is None
    with pytest.raises(CourseError, match=r"b.csv: line 2: picture 'a.jpg' may be .*a.jpg or"):
        found.named("a.jpg", None, Path("b.csv"), "line 2")


def test_a_size_comes_from_the_file_or_from_the_picture(folder, tmp_path):
    found = folder("a.bmp")
    assert found.named("a.bmp", (7, 8), tmp_path / "x.csv") == ("a.bmp", 7, 8)
    assert found.named("a.bmp", None, tmp_path / "x.csv") == ("a.bmp", 101, 50)


def test_without_pictures_what_is_stated_counts(tmp_path):
    nothing = Pictures.of(tmp_path)
    assert nothing.named(r"sub\My Cat.jpg", (7, 8), tmp_path / "x.csv") == ("My Cat.jpg", 7, 8)
    with pytest.raises(CourseError, match=r"picture 'a.jpg' is not there"):
        nothing.named("a.jpg", None, Path("x.csv"))
    frames = Pictures(tmp_path, frame_size=(320, 240))
    assert frames.named("frame_000012", None, Path("x.txt")) == ("frame_000012", 320, 240)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC, in spite of its name"),
        (b"", "an empty file"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\xff\xd8\xff", "no picture that can be read"),
    ],
)
def test_a_picture_that_cannot_be_read_is_called_what_it_is(tmp_path, head, says):
    (tmp_path / "a.jpg").write_bytes(head)
    remarks = []
    found = Pictures.of(tmp_path)
    assert found.named("a.jpg", None, tmp_path / "a.txt", note=remarks.append) is None
    assert [(r.file, r.kind) for r in remarks] == [("a.jpg", "unreadable image")]
    assert says in remarks[0].value
