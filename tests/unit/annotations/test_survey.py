import json
import os
from dataclasses import replace

import pytest
from bitmaps import image

from helpers.annotations import formats
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.formats import read_annotations, survey
from helpers.annotations.voc import write_voc
from helpers.common.errors import CourseError

CAT = Box("cat", 20, 10, 60, 50)
CSV = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def coco(path, *boxes, category="cat"):
    """Write COCO json: boxes (file name, x, y, w, h)."""
    names = list(dict.fromkeys(box[0] for box in boxes))
    page = {
        "images": [
            {"id": i, "file_name": n, "width": 200, "height": 100} for i, n in enumerate(names)
        ],
        "annotations": [
            {"id": i, "image_id": names.index(n), "category_id": 0, "bbox": list(xywh)}
            for i, (n, *xywh) in enumerate(boxes)
        ],
        "categories": [{"id": 0, "name": category}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(page))


def voc(path, *boxes):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_voc(Annotation(f"{path.stem}.bmp", 200, 100, boxes), path)


def read(folder):
    """What `read_annotations` finds: picture -> boxes; and its remarks."""
    remarks = []
    found = read_annotations(folder, note=remarks.append)
    assert len({a.image for a in found}) == len(found)
    return {a.image: a.boxes for a in found}, remarks


STRANGERS = {
    "boxes.ndjson": '{"dataRow": {"id": 1}}\n',
    "ds.json": '{"dm_format_version": "1.0", "items": []}',
    "dota/a.txt": "20.0 10.0 60.0 10.0 60.0 50.0 20.0 50.0 car 0\n",
    "detections.csv": "file,score,x_min,y_min,x_max,y_max\n",
    "train.record-00000-of-00002": "\x01",
    "boxes.mat": "MATLAB 5.0",
    "other.xml": "<project><name>x</name></project>",
    "cut.json": '{"bbox": [1, 2',
    "empty.xml": "",
    "a.json": '{"anything": "beside a picture"}',
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_looks_like_annotations_and_is_not_read_is_named(tmp_path, name):
    image(tmp_path / "a.bmp")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(STRANGERS[name])
    seen = survey(tmp_path)
    assert not seen.files
    (remark,) = seen.unknown
    assert (remark.file, remark.kind) == (name, "not understood")
    assert "\n" not in str(remark)
    assert "export" in remark.fix
    with pytest.raises(CourseError, match=rf"no annotations in it \({name}: "):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("README.txt", "cat 1 2 3"),
        ("notes.json", '{"categories": [{"id": 0, "name": "cat"}], "info": {}}'),
        ("classes.txt", "cat\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\n"),
        ("ImageSets/Main/train.txt", "a\n"),
        ("cat_train.txt", "2007_1.jpg  1\n2007_2.jpg -1\n2007_3.jpg 0\n1.jpg 1\n2.jpg 1\n"),
        ("train.txt", "images/1.jpg\nimages/2.jpg\n3.jpg\n4.jpg\n5.jpg\n6.jpg\n"),
        ("groups.csv", "image,clip\na.bmp,x\n"),
        ("split.csv", "image,split\na.bmp,train\n"),
        ("drive.boxes.csv", "frame,label,xmin,ymin,xmax,ymax\n"),
        ("package.json", '{"name": "images"}'),
        ("prices.csv", "fruit,price\napple,1\n"),
        ("class-descriptions-boxable.csv", "/m/011k07,Tortoise\n"),
        ("settings.xml.bak", "<x/>"),
        (".hidden.json", '{"bbox": []}'),
        ("label_map.pbtxt", "item { id: 1 name: 'cat' }"),
    ],
)
def test_what_is_no_annotation_is_not_mentioned(tmp_path, name, text):
    image(tmp_path / "a.bmp")
    voc(tmp_path / "a.xml", CAT)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    assert survey(tmp_path).unknown == []
    assert read(tmp_path) == ({"a.bmp": (CAT,)}, [])


def test_pictures_that_are_not_used_are_in_the_survey(tmp_path):
    image(tmp_path / "a.bmp")
    image(tmp_path / "IMG_7.HEIC")
    assert [remark.kind for remark in survey(tmp_path).unknown] == ["unreadable image"]


def test_formats_of_different_pictures_are_all_read(tmp_path):
    for name in "abcd":
        image(tmp_path / f"{name}.bmp")
    voc(tmp_path / "a.xml", CAT)
    coco(tmp_path / "boxes.json", ("b.bmp", 20, 10, 40, 40))
    (tmp_path / "old.csv").write_text(f"{CSV}c.bmp,200,100,cat,20,10,60,50\n")
    (tmp_path / "d.txt").write_text("cat 20 10 60 50\n")
    assert read(tmp_path) == (dict.fromkeys(("a.bmp", "b.bmp", "c.bmp", "d.bmp"), (CAT,)), [])
    assert list(survey(tmp_path).files) == ["voc", "coco", "tfod_csv", "oidv4"]


def test_two_formats_that_agree_are_one(tmp_path):
    for name in "ab":
        image(tmp_path / f"{name}.bmp")
        voc(tmp_path / f"{name}.xml", replace(CAT, difficult=True))
    coco(tmp_path / "boxes.json", ("a.bmp", 20.4, 10, 40, 40), ("b.bmp", 20, 10, 40, 40.3))
    found, (remark,) = read(tmp_path)
    assert found["a.bmp"] == (replace(CAT, difficult=True),)
    assert (remark.file, remark.kind) == ("boxes.json", "same picture twice")
    assert "a.bmp is also in a.xml (and 1 more), with the same boxes: the Pascal" in remark.value


@pytest.mark.parametrize(
    "other", [("a.bmp", 20, 12, 40, 40), ("a.bmp", 20, 10, 40, 43), ("a.bmp", 90, 10, 40, 40)]
)
def test_two_formats_that_disagree_end_in_one_line(tmp_path, other):
    image(tmp_path / "a.bmp")
    voc(tmp_path / "xml/a.xml", CAT)
    coco(tmp_path / "boxes.json", other)
    says = r"^boxes.json: COCO json has other boxes for a.bmp than Pascal VOC XML in xml/a.xml"
    with pytest.raises(CourseError, match=says):
        read(tmp_path)


def test_a_csv_made_of_the_xml_is_ignored_but_for_other_pictures(tmp_path):
    for name in "ab":
        image(tmp_path / f"{name}.bmp")
    voc(tmp_path / "a.xml", CAT)
    rows = "a.bmp,200,100,cat,1,1,9,9\nb.bmp,200,100,cat,20,10,60,50\n"
    (tmp_path / "labels.csv").write_text(CSV + rows)
    assert read(tmp_path) == ({"a.bmp": (CAT,), "b.bmp": (CAT,)}, [])


def test_files_of_one_format_add_up(tmp_path):
    for name in "abc":
        image(tmp_path / f"{name}.bmp")
    coco(tmp_path / "train.json", ("a.bmp", 20, 10, 40, 40), ("b.bmp", 20, 10, 40, 40))
    coco(tmp_path / "val.json", ("b.bmp", 20, 10, 40, 40), ("b.bmp", 1, 1, 9, 9))
    coco(tmp_path / "dogs.json", ("b.bmp", 20, 10, 40, 40), category="dog")
    found, remarks = read(tmp_path)
    assert found["a.bmp"] == (CAT,)
    assert found["b.bmp"] == (replace(CAT, label="dog"), CAT, Box("cat", 1, 1, 10, 10))
    assert {(r.file, r.kind) for r in remarks} == {
        ("train.json", "same picture twice"),
        ("val.json", "same picture twice"),
    }


def test_copies_of_pictures_with_their_xml_are_read_once(tmp_path):
    for place in ("collected", "train"):
        for name in "ab":
            image(tmp_path / f"{place}/{name}.bmp", ord(name), 100)
            voc(tmp_path / f"{place}/{name}.xml", CAT)
    found, (remark,) = read(tmp_path)
    assert found == {"a.bmp": (CAT,), "b.bmp": (CAT,)}
    assert "is also in collected/a.xml (and 1 more), with the same boxes" in remark.value


def test_xml_of_several_folders_belongs_to_the_picture_beside_it(tmp_path):
    for number, place in enumerate(("drive1", "drive2")):
        image(tmp_path / f"{place}/JPEGImages/f_0.bmp", 200 + number, 100)
        voc(tmp_path / f"{place}/Annotations/f_0.xml", replace(CAT, label=place))
    found, remarks = read(tmp_path)
    assert {name: boxes[0].label for name, boxes in found.items()} == {
        "drive1_f_0.bmp": "drive1",
        "drive2_f_0.bmp": "drive2",
    }
    assert not remarks


def test_roboflow_has_a_file_for_each_side(tmp_path):
    for side in ("train", "valid", "test"):
        for tool, name in (("coco", "_annotations.coco.json"), ("csv", "_annotations.csv")):
            picture = f"{side}_jpg.rf.0123456789abcdef.jpg"
            image(tmp_path / tool / side / picture)
            if tool == "coco":
                coco(tmp_path / tool / side / name, (picture, 20, 10, 40, 40))
            else:
                row = f"{picture},200,100,cat,20,10,60,50\n"
                (tmp_path / tool / side / name).write_text(CSV + row)
    for tool in ("coco", "csv"):
        found, remarks = read(tmp_path / tool)
        assert list(found.values()) == [(CAT,)] * 3
        assert not remarks


def test_one_bad_file_does_not_hide_the_others(tmp_path):
    for name in "abc":
        image(tmp_path / f"{name}.bmp")
    voc(tmp_path / "a.xml", CAT)
    (tmp_path / "b.xml").write_text("<annotation><object>")
    (tmp_path / "c.xml").write_bytes(b"\xff\xfe\x00")
    found, (remark,) = read(tmp_path)
    assert found == {"a.bmp": (CAT,)}
    assert (remark.file, remark.kind) == ("b.xml", "not understood")
    assert "broken XML" in remark.value
    assert [r.file for r in survey(tmp_path).unknown] == ["c.xml"]


def test_every_reader_can_be_asked_alone(tmp_path):
    image(tmp_path / "a.bmp")
    (tmp_path / "classes.txt").write_text("cat\n")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n7 0.2 0.3 0.2 0.4\n")
    remarks = []
    seen = survey(tmp_path)
    reader = formats.READERS["yolo"]
    (found,) = reader.read(tmp_path / "a.txt", seen.pictures, remarks.append)
    assert found.boxes == (Box("cat", 50, 25, 150, 75),)
    assert [remark.where for remark in remarks] == ["line 2"]


def test_two_pictures_of_which_one_is_missing_do_not_share_their_boxes(tmp_path):
    image(tmp_path / "cam1/7.jpg")
    rows = [f"{place}/7.jpg,200,100,cat,20,10,60,50" for place in ("/x/cam1", "cam1", "cam2")]
    (tmp_path / "boxes.csv").write_text(CSV + "\n".join(rows))
    found, (remark,) = read(tmp_path)
    assert found == {"7.jpg": (CAT, CAT)}
    assert "line 4: cam2/7.jpg and /x/cam1/7.jpg would be one picture, 7.jpg" in str(remark)


def test_names_that_are_no_utf8_are_read_and_can_be_written(tmp_path):
    image(tmp_path / os.fsdecode(b"caf\xe9.bmp"))
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("0 0.5 0.5 0.5 0.5\n1 1\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    remarks = []
    (found,) = read_annotations(tmp_path, note=remarks.append)
    assert (found.image, found.source) == ("café.bmp", "café.txt")
    assert str(remarks[0]).startswith("café.txt: line 2: ")
    write_voc(found, tmp_path / "out.xml")
