import json
import os
import threading

import pytest
from own_pictures import BOX, annotated, picture

from helpers.annotations import write_annotations
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.pairing import read_folder
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.footage.own import own_folder


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "my pictures"
    folder.mkdir()
    for i in range(3):
        (folder / f"bild {i}.jpg").write_bytes(picture(i))
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "01_images"


def label(folder, kind, target, names=None, box=BOX):
    """Annotate pictures of 32x24 pixels, the last of the folder's own as empty."""
    given = names or [f"bild {i}.jpg" for i in range(3)]
    found = [Annotation(n, 32, 24, (box,) if names or n != "bild 2.jpg" else ()) for n in given]
    write_annotations(found, folder / target, kind)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def remarks(out):
    return read_csv(out / "remarks.csv", ("file", "where", "kind", "value", "fix"))


def test_a_folder_of_pictures_with_xml_beside_and_below(own, out, capsys):
    label(own, "voc", "annotations", ["bild 1.jpg"])
    (own / "bild 0.xml").write_text("<annotation/>")
    (own / "notes.txt").write_text("not a picture")
    own_folder(own, out)
    assert files(out / "images") == ["bild 0.jpg", "bild 1.jpg", "bild 2.jpg"]
    assert files(out / "annotations") == ["bild 0.xml", "bild 1.xml"]
    rows = read_csv(out / "sources.csv", ("file", "licence", "origin"))
    assert rows[0] == {"file": "bild 0.jpg", "licence": "your own", "origin": "my pictures"}
    assert capsys.readouterr().out.splitlines() == [
        "my pictures: 1 of 3 pictures have boxes, from 2 files (Pascal VOC XML).",
        "Annotated as showing nothing: 1 picture.",
        "Not annotated: 1 picture.",
    ]
    assert not (out / "remarks.csv").exists()


def test_xml_that_needs_no_change_keeps_what_is_not_read(own, out):
    label(own, "voc", "", ["bild 0.jpg", "bild 1.jpg"])
    text = (own / "bild 0.xml").read_text()
    (own / "bild 0.xml").write_text(text.replace("Unspecified", "Left"))
    # This one has another name inside, and no size.
    changed = (own / "bild 1.xml").read_text().replace("bild 1.jpg", "IMG_7.png")
    (own / "bild 1.xml").write_text(changed.replace("<width>32", "<width>0"))
    own_folder(own, out)
    assert "<pose>Left</pose>" in (out / "annotations/bild 0.xml").read_text()
    found = read_folder(out / "annotations")
    assert [(a.image, a.width, a.height) for a in found] == [
        ("bild 0.jpg", 32, 24),
        ("bild 1.jpg", 32, 24),
    ]


def test_names_in_capitals_and_what_macos_puts_beside(own, out):
    (own / "bild 0.jpg").rename(own / "BILD.JPG")
    (own / "BILD.XML").write_text("<annotation/>")
    (own / "._BILD.JPG").write_bytes(b"Mac OS X")
    own_folder(own, out)
    assert len(files(out / "images")) == 3
    assert files(out / "annotations") == ["BILD.xml"]


def test_added_pictures_are_seen_by_the_next_run(own, out, capsys):
    own_folder(own, out)
    own_folder(own, out)
    assert "kept" in capsys.readouterr().out
    (own / "new.jpg").write_bytes(picture(9))
    own_folder(own, out)
    assert (out / "images/new.jpg").is_file()


def test_a_stray_picture_at_the_root_does_not_hide_the_others(own, out):
    inner = own / "images"
    inner.mkdir()
    for i in range(2):
        (own / f"bild {i}.jpg").rename(inner / f"bild {i}.jpg")
    own_folder(own, out)
    assert len(files(out / "images")) == 3


@pytest.mark.parametrize(
    ("kind", "target", "says"),
    [
        ("voc", "Annotations", "2 of 3 pictures have boxes, from 3 files (Pascal VOC XML)."),
        ("yolo", "", "2 of 3 pictures have boxes, from 3 files (YOLO txt)."),
        ("coco", "result.json", "2 of 3 pictures have boxes, from 1 file (COCO json)."),
        ("vott_csv", "x-export.csv", "2 of 3 pictures have boxes, from 1 file (VoTT CSV)."),
        ("tfod_csv", "labels.csv", "2 of 3 pictures have boxes, from 1 file (TFOD CSV)."),
        ("lisa_csv", "all.csv", "2 of 3 pictures have boxes, from 1 file (LISA CSV)."),
    ],
)
def test_annotations_of_any_tool_become_voc(own, out, capsys, kind, target, says):
    label(own, kind, target)
    own_folder(own, out)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"my pictures: {says}"
    found = read_folder(out / "annotations")
    assert [a.boxes for a in found if a.boxes] == [(BOX,), (BOX,)]
    assert found[0].source == "bild 0.xml"
    empty = kind in ("voc", "yolo", "coco")
    end = "Annotated as showing nothing: 1 picture." if empty else "Not annotated: 1 picture."
    assert lines[1:] == [end]
    assert len(found) == 2 + empty


def test_faulty_boxes_are_left_to_the_audit(own, out):
    (own / "x.csv").write_text("image,xmin,ymin,xmax,ymax,label\nbild 0.jpg,9,9,40,3,cat\n")
    own_folder(own, out)
    assert read_folder(out / "annotations")[0].boxes == (Box("cat", 9, 9, 40, 3),)


def test_a_line_for_each_kind_of_remark_and_all_of_them_in_a_table(own, out, capsys):
    rows = ["bild 0.jpg,1,1,9,9,cat", "gone.jpg,1,1,9,9,cat", "away.jpg,1,1,9,9,cat"]
    (own / "x.csv").write_text("\n".join(["image,xmin,ymin,xmax,ymax,label", *rows]))
    (own / "export.json").write_text('{"annotations": 3}')
    own_folder(own, out)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "my pictures: 1 of 3 pictures have boxes, from 1 file (VoTT CSV)."
    assert any(line.startswith("No image: 2, such as x.csv: line 3: ") for line in said)
    assert any(line.startswith("Not understood: export.json: ") for line in said)
    assert said[-1] == "All 3 remarks are in remarks.csv."
    assert [(r["file"], r["where"], r["kind"]) for r in remarks(out)] == [
        ("export.json", "", "not understood"),
        ("x.csv", "line 3", "no image"),
        ("x.csv", "line 4", "no image"),
    ]


def test_a_table_made_of_the_same_boxes_is_named(own, out, capsys):
    label(own, "voc", "")
    label(own, "tfod_csv", "labels.csv", ["bild 0.jpg"])
    own_folder(own, out)
    assert "Not used: labels.csv: 1 file of TFOD CSV" in capsys.readouterr().out


def test_what_looks_like_annotations_and_is_not_understood_ends_the_lesson(own, out):
    for i in range(2):
        (own / f"bild {i}.json").write_text(json.dumps({"regions": [1, 2]}))
    with pytest.raises(CourseError) as caught:
        own_folder(own, out)
    said = str(caught.value)
    assert "3 pictures, and nothing understood of the annotations: bild 0.json: " in said
    assert "(and 1 more)" in said
    assert "export" in said
    assert "to draw boxes instead, move these files out" in said
    assert not out.exists()


def test_annotations_of_which_none_fits_a_picture(own, out):
    label(own, "voc", "xml", ["IMG_1.jpg", "IMG_2.jpg"])
    with pytest.raises(CourseError, match="none of 2 annotations belongs to a picture") as caught:
        own_folder(own, out)
    assert "they expect 'IMG_1.jpg', 'IMG_2.jpg'" in str(caught.value)
    assert "'bild 0.jpg'" in str(caught.value)
    assert "rename the pictures back" in str(caught.value)


def test_what_cannot_be_taken_is_named(own, tmp_path, out):
    with pytest.raises(CourseError, match=r"nowhere: not found; looked in .*\w"):
        own_folder(tmp_path / "nowhere", out)
    with pytest.raises(CourseError, match=r"bild 0.jpg: not a video; give a folder"):
        own_folder(own / "bild 0.jpg", out)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CourseError, match="empty: no images in it, and no videos"):
        own_folder(empty, out)
    (empty / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(CourseError, match=r"that can be read: IMG_1.HEIC: HEIC"):
        own_folder(empty, out)
    (empty / "IMG_1.HEIC").unlink()
    label(own, "coco", "../empty/all.json")
    with pytest.raises(CourseError, match=r"annotations \(COCO json\), but no images in it"):
        own_folder(empty, out)
    label(own, "voc", "")
    label(own, "coco", "all.json", ["bild 0.jpg"], box=Box("cat", 1, 2, 30, 9))
    with pytest.raises(CourseError, match=r"other boxes for bild 0.jpg than Pascal VOC"):
        own_folder(own, out)
    assert not out.exists()


def test_pictures_that_cannot_be_read_are_listed_and_left_out(own, out, capsys):
    label(own, "voc", "")
    (own / "bild 0.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (own / "IMG_1.HEIC").write_bytes(b"x")
    own_folder(own, out)
    assert files(out / "images") == ["bild 1.jpg", "bild 2.jpg"]
    assert files(out / "annotations") == ["bild 1.xml", "bild 2.xml"]
    said = capsys.readouterr().out
    assert "1 of 2 pictures have boxes" in said
    kinds = {row["file"]: (row["kind"], row["value"]) for row in remarks(out)}
    assert kinds["bild 0.jpg"][0] == kinds["IMG_1.HEIC"][0] == "unreadable image"
    assert kinds["bild 0.jpg"][1].startswith("HEIC, in spite of its name")


def test_folders_pipes_and_broken_links_named_like_pictures_and_odd_names(own, out):
    (own / "p3.jpg").mkdir()
    (own / "p3.jpg/inside.jpg").write_bytes(picture(5))
    (own / "p4.jpg").symlink_to(own / "nothing.jpg")
    (own / "p5.jpg").symlink_to(own / "p5.jpg")
    os.mkfifo(own / "p6.jpg")
    long = "n" * 246 + ".jpg"
    (own / long).write_bytes(picture(6))
    with open(os.fsencode(own) + b"/br\xfccke.jpg", "wb") as file:  # Latin-1
        file.write(picture(7))
    worker = threading.Thread(target=own_folder, args=(own, out), daemon=True)
    worker.start()
    worker.join(20)
    assert not worker.is_alive()
    taken = set(files(out / "images"))
    assert {"inside.jpg", "brücke.jpg", "bild 0.jpg"} <= taken
    assert any(name.endswith("nnn.jpg") for name in taken)
    unreadable = {row["file"] for row in remarks(out) if row["kind"] == "unreadable image"}
    assert unreadable == {"p3.jpg", "p4.jpg", "p5.jpg", "p6.jpg"}


def test_the_same_names_in_two_folders_are_two_clips(tmp_path, out, capsys):
    annotated(tmp_path / "own", [f"drive{d}/frame_{i:06d}" for d in (1, 2) for i in range(3)])
    own_folder(tmp_path / "own", out)
    names = [f"drive{d}_frame_{i:06d}" for d in (1, 2) for i in range(3)]
    assert files(out / "images") == [f"{name}.jpg" for name in names]
    assert files(out / "annotations") == [f"{name}.xml" for name in names]
    assert {a.image for a in read_folder(out / "annotations")} == {f"{name}.jpg" for name in names}
    groups = {r["image"]: r["clip"] for r in read_csv(out / "groups.csv", ("image", "clip"))}
    assert groups == {f"{name}.jpg": name[:6] for name in names}
    assert "The same names lie in 2 folders: each folder counts as a clip." in (
        capsys.readouterr().out
    )


def test_folders_of_one_class_each_and_of_sides_are_no_clips(tmp_path, out):
    own = tmp_path / "own"
    annotated(own, ["apple/1", "apple/2"], Box("apple", 1, 1, 9, 9))
    annotated(own, ["pear/1", "pear/2"], Box("pear", 1, 1, 9, 9), first=5)
    own_folder(own, out)
    assert not (out / "groups.csv").exists()
    annotated(tmp_path / "sides", ["train/1", "train/2", "valid/1", "valid/2"])
    own_folder(tmp_path / "sides", out, rebuild=True)
    assert files(out / "images") == ["train_1.jpg", "train_2.jpg", "valid_1.jpg", "valid_2.jpg"]
    assert not (out / "groups.csv").exists()


def test_ones_own_table_of_clips(own, out, capsys):
    (own / "groups.csv").write_text("image,clip\nBILD 0,street\nbild 1.png,street\nx,street\n")
    own_folder(own, out)
    assert (out / "groups.csv").read_text().split("\n")[1:3] == [
        "bild 0.jpg,street",
        "bild 1.jpg,street",
    ]
    assert "groups.csv: line 4: 'x' is no picture here" in capsys.readouterr().out
    (own / "groups.csv").write_text("image,clip\nx,street\ny,street\n")
    with pytest.raises(CourseError, match=r"groups.csv: line 3: 'y' is no picture here.*"):
        own_folder(own, out)


def test_licences_that_come_with_the_pictures_are_kept(own, out):
    table = "file,licence,origin,creator\nbild 1.jpg,CC BY 4.0,https://x.org,Ada\n"
    (own / "sources.csv").write_text(table)
    own_folder(own, out)
    rows = read_csv(out / "sources.csv", ("file", "licence", "creator"))
    assert [row["licence"] for row in rows] == ["your own", "CC BY 4.0", "your own"]
    (own / "sources.csv").write_text("id\n3\n")
    own_folder(own, out)
    assert len(read_csv(out / "sources.csv", ("file", "licence", "origin"))) == 3


def test_pictures_of_which_none_can_be_read(own, out):
    for image in own.iterdir():
        image.write_bytes(b"<html>")
    with pytest.raises(CourseError, match=r"no images in it that can be read: bild 2.jpg: a web"):
        own_folder(own, out)


def test_a_linked_folder_is_looked_into(own, tmp_path, out):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/link").symlink_to(own)
    (own / "back").symlink_to(tmp_path / "data")
    own_folder(tmp_path / "data", out)
    assert len(files(out / "images")) == 3


def test_a_real_export_of_vott(shared, out, capsys):
    own_folder(shared / "datasets/catfaces_vott", out)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "catfaces_vott: 100 of 101 pictures have boxes, from 1 file (VoTT CSV)."
    assert said[1] == "Not annotated: 1 picture."
    assert (out / "images/2Q__%20(1).jpg").is_file()
    assert len(read_folder(out / "annotations")) == 100
