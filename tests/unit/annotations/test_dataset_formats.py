"""Formats of data sets and training scripts; each file is written here as its authors write it."""

import json
from pathlib import Path

import pytest
from bitmaps import image

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.formats import READERS, read_annotations, survey
from helpers.annotations.voc import write_voc
from helpers.common.errors import CourseError

CAT, DOG = Box("cat", 20, 10, 60, 50), Box("dog", 5, 6, 70.5, 80)
OBJECTS = [("cat", 20, 10, 40, 40), ("dog", 5, 6, 65.5, 74)]  # label, x, y, width, height


def dumped(data, lines=False):
    return "".join(json.dumps(d) + "\n" for d in data) if lines else json.dumps(data)


# Key of READERS -> the file's name, and its contents for a.bmp with a cat and a dog.
FILES = {
    "rows": ("annotations.csv", "images/a.bmp,20,10,60,50,cat\nimages/a.bmp,5,6,70.5,80,dog\n"),
    "imglab": (
        "training.xml",
        "<?xml version='1.0' encoding='ISO-8859-1'?>\n<dataset><name>x</name><images>"
        "<image file='images\\a.bmp'>"
        "<box top='10' left='20' width='40' height='40'><label>cat</label></box>"
        "<box top='6' left='5' width='65.5' height='74'><label>dog</label></box>"
        "</image></images></dataset>",
    ),
    "supervisely": (
        "ann/a.bmp.json",
        dumped(
            {
                "description": "",
                "tags": [],
                "size": {"height": 100, "width": 200},
                "objects": [
                    {
                        "geometryType": "rectangle",
                        "classTitle": label,
                        "points": {"exterior": [[x, y], [x + w, y + h]], "interior": []},
                    }
                    for label, x, y, w, h in OBJECTS
                ],
            }
        ),
    ),
    "scalabel": (
        "labels.json",
        dumped(
            [
                {
                    "name": "a.bmp",
                    "labels": [
                        {"category": label, "box2d": {"x1": x, "y1": y, "x2": x + w, "y2": y + h}}
                        for label, x, y, w, h in OBJECTS
                    ],
                }
            ]
        ),
    ),
    "sagemaker": (
        "output.manifest",
        dumped(
            [
                {
                    "source-ref": "s3://bucket/images/a.bmp",
                    "pets": {
                        "image_size": [{"width": 200, "height": 100, "depth": 3}],
                        "annotations": [
                            {"class_id": i, "left": x, "top": y, "width": w, "height": h}
                            for i, (_, x, y, w, h) in enumerate(OBJECTS)
                        ],
                    },
                    "pets-metadata": {"class-map": {"0": "cat", "1": "dog"}},
                }
            ],
            lines=True,
        ),
    ),
    "kitti": (
        "label_2/a.txt",
        "cat 0.00 0 -1.58 20 10 60 50 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n"
        "dog 0.00 0 -1.58 5 6 70.5 80 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n",
    ),
    "visdrone": ("annotations/a.txt", "20,10,40,40,1,4,0,0\n5,6,65,74,1,10,0,0\n"),
    "wider_face": ("faces_bbx_gt.txt", "0--Parade/a.bmp\n2\n20 10 40 40 0 0 0 0 0 0 \n5 6 65 74\n"),
    "mot": ("gt/gt.txt", "1,1,20,10,40,40,1,3,1\n1,2,5,6,65.5,74,1,4,0.5\n"),
}
LABELS = {"visdrone": ("car", "motor"), "wider_face": ("face", "face"), "mot": ("car", "bicycle")}


def lay(folder, name, text):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def read(folder):
    """Picture -> boxes, and the remarks."""
    remarks = []
    found = read_annotations(folder, note=remarks.append)
    return {a.image: a.boxes for a in found}, remarks


def labelled(boxes):
    return [(box.label, *box.xyxy) for box in boxes]


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_each_kind_is_recognised_and_read(kind, tmp_path):
    picture = "img1/000001.bmp" if kind == "mot" else "images/a.bmp"
    image(tmp_path / picture)
    lay(tmp_path, *FILES[kind])
    assert list(survey(tmp_path).files) == [kind]
    found, remarks = read(tmp_path)
    whole = kind in ("visdrone", "wider_face")
    cat, dog = LABELS.get(kind, ("cat", "dog"))
    right = 70 if whole else 70.5
    boxes = [(cat, 20, 10, 60, 50), (dog, 5, 6, right, 80)]
    assert {name: labelled(its) for name, its in found.items()} == {Path(picture).name: boxes}
    assert remarks == []


@pytest.mark.parametrize("kind", FILES)
def test_a_picture_that_is_not_there_is_said(kind, tmp_path):
    image(tmp_path / "images/b.bmp")
    lay(tmp_path, *FILES[kind])
    found, remarks = read(tmp_path)
    assert found == {}
    assert [remark.kind for remark in remarks] == ["no image"]


ROWS = {
    "semicolons": "00000.bmp;20;10;60;50;11\n00001.bmp;1;2;3;4;11\n",
    "blanks": '00000.bmp 20 10 60 50 1 "class 11" "red"\n00001.bmp 1 2 3 4 0 "class 11"\n',
    "tabs": "00000.bmp\t20\t10\t60\t50\t11\n00001.bmp\t1\t2\t3\t4\t11\n",
    "with sizes": "00000.bmp,20,10,60,50,11,200,100\n00001.bmp,1,2,3,4,11,200,100\n",
    "paths": "C:\\x\\00000.bmp,20,10,60,50,11\n/home/me/00001.bmp,1,2,3,4,11\n",
    "keras-yolo3": "/x/00000.bmp 20,10,60,50,11\n/x/00001.bmp 1,2,3,4,11\n",
    "comment": "#ImgNo#.ppm;#leftCol#;##topRow#\n00000.bmp;20;10;60;50;11\n00001.bmp;1;2;3;4;11\n",
    "columns": "image_name,x_min,y_min,x_max,y_max,class_name\n"
    "00000.bmp,20,10,60,50,11\n00001.bmp,1,2,3,4,11\n",
    "other order": "Frame,class_id,x1,x2,y1,y2\n00000.bmp,11,20,60,10,50\n00001.bmp,11,1,3,2,4\n",
    "stems": "image,label,left,top,right,bottom\n00000,11,20,10,60,50\n00001,11,1,2,3,4\n",
    "fractions": "image,label,left,top,right,bottom\n"
    "00000,11,.1,.1,.3,.5\n00001,11,0.005,0.02,0.015,0.04\n",
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_of_boxes_in_their_dialects(kind, tmp_path):
    for name in ("00000.bmp", "00001.bmp"):
        image(tmp_path / name)
    text = ROWS[kind].replace(",.", ",0.")
    lay(tmp_path, "gt.txt" if "csv" not in kind else "gt.csv", text)
    lay(tmp_path, "classes.txt", "\n".join(f"class {i}" for i in range(12)))
    found, remarks = read(tmp_path)
    assert list(survey(tmp_path).files) == ["rows"]
    assert {
        name: [tuple(round(e, 6) for e in b.xyxy) for b in its] for name, its in found.items()
    } == {
        "00000.bmp": [(20, 10, 60, 50)],
        "00001.bmp": [(1, 2, 3, 4)],
    }
    assert {box.label for its in found.values() for box in its} == {"class 11"}
    assert found["00000.bmp"][0].occluded == (kind == "blanks")
    assert remarks == []


def test_classes_by_number_that_no_list_names_are_said(tmp_path):
    image(tmp_path / "a.bmp")
    lay(tmp_path, "gt.txt", "a.bmp;20;10;60;50;11\na.bmp;1;2;3;4;0\n")
    found, (remark,) = read(tmp_path)
    assert [box.label for box in found["a.bmp"]] == ["11", "0"]
    assert remark.kind == "class by number"
    assert "classes 11, 0: no list names them" in remark.value


def test_numbers_give_way_to_a_file_with_the_names(tmp_path):
    """TrainYourOwnYOLO leaves VoTT's CSV and the list of keras-yolo3 side by side."""
    image(tmp_path / "a.bmp")
    lay(
        tmp_path,
        "export.csv",
        '"image","xmin","ymin","xmax","ymax","label"\n"a.bmp",20.4,10,60,50,"cat"\n',
    )
    lay(tmp_path, "data_train.txt", "/home/x/a.bmp 20,10,60,50,0\n")
    found, (remark,) = read(tmp_path)
    assert labelled(found["a.bmp"]) == [("cat", 20.4, 10, 60, 50)]
    assert remark.kind == "same picture twice"
    lay(tmp_path, "data_train.txt", "/home/x/a.bmp 90,10,99,50,0\n")
    with pytest.raises(CourseError, match=r"other boxes for a\.bmp"):
        read(tmp_path)


def test_a_row_without_a_box_is_a_picture_that_shows_nothing(tmp_path):
    for name in ("a.bmp", "b.bmp"):
        image(tmp_path / name)
    for text in ("a.bmp,20,10,60,50,cat\nb.bmp,,,,,\n", "a.bmp 20,10,60,50,0\nb.bmp\n"):
        lay(tmp_path, "train.txt", text)
        assert read(tmp_path)[0]["b.bmp"] == ()


def test_x_y_width_and_height_are_not_taken_for_corners(tmp_path):
    image(tmp_path / "a.bmp")
    lay(tmp_path, "boxes.csv", "a.bmp,120,10,60,50,cat\na.bmp,20,50,60,30,cat\n")
    found, (remark,) = read(tmp_path)
    assert found == {}
    assert "if they are x, y, width and height" in str(remark)
    # The advice leads on.
    head = "image_name,bbox_x,bbox_y,bbox_width,bbox_height,label_name\n"
    lay(tmp_path, "boxes.csv", head + "a.bmp,120,10,60,50,cat\na.bmp,20,50,60,30,cat\n")
    assert labelled(read(tmp_path)[0]["a.bmp"])[0] == ("cat", 120, 10, 180, 60)


def test_a_table_without_labels_is_of_one_class(tmp_path):
    image(tmp_path / "a.bmp")
    lay(tmp_path, "train.csv", "image,xmin,ymin,xmax,ymax\na.bmp,20,10,60,50\n")
    assert labelled(read(tmp_path)[0]["a.bmp"]) == [("object", 20, 10, 60, 50)]


def test_bad_rows_are_said_and_the_others_read(tmp_path):
    image(tmp_path / "a.bmp")
    lay(tmp_path, "b.csv", "a.bmp,20,10,60,50,cat\nhello\na.bmp,20,10,60,ten,cat\n")
    found, remarks = read(tmp_path)
    assert labelled(found["a.bmp"]) == [("cat", 20, 10, 60, 50)]
    assert [(r.where, r.kind) for r in remarks] == [("line 2", "bad line"), ("line 3", "bad line")]


def test_areas_in_which_nobody_looked_are_left_out_and_said(tmp_path):
    image(tmp_path / "a.bmp")
    dont_care = "DontCare -1 -1 -10 1 2 30 40 -1 -1 -1 -1000 -1000 -1000 -10\n"
    lay(tmp_path, "l/a.txt", dont_care + FILES["kitti"][1].replace("0.00 0", "0.40 2"))
    found, (remark,) = read(tmp_path)
    assert [(b.label, b.truncated, b.occluded) for b in found["a.bmp"]] == [
        ("cat", True, True),
        ("dog", True, True),
    ]
    assert remark.kind == "not used"
    lay(tmp_path, "l/a.txt", "1,2,30,40,0,0,0,0\n20,10,40,40,0,4,1,2\n")
    found, (remark,) = read(tmp_path)
    (car,) = found["a.bmp"]
    assert (car.label, car.difficult, car.truncated, car.occluded) == ("car", True, True, True)
    assert remark.kind == "not used"


def test_pictures_of_wider_face_without_faces_and_faces_that_do_not_count(tmp_path):
    for name in ("a.bmp", "b.bmp"):
        image(tmp_path / name)
    none = "x/a.bmp\n0\n0 0 0 0 0 0 0 0 0 0 \n"
    lay(tmp_path, "gt.txt", none + "x/b.bmp\n1\n1 2 30 40 0 0 0 1 2 0\n")
    found, remarks = read(tmp_path)
    assert found["a.bmp"] == ()
    assert [(b.difficult, b.occluded) for b in found["b.bmp"]] == [(True, True)]
    assert remarks == []
    lay(tmp_path, "gt.txt", none + "x/b.bmp\n2\n1 2 30 40 0 0 0 1 2 0\n")
    assert "1 lines of faces, above them stands '2'" in read(tmp_path)[1][0].value


def test_sequences_of_mot_are_kept_apart(tmp_path):
    for place, x in (("S1", 20), ("S2", 30)):
        image(tmp_path / place / "img1/000001.bmp", width=200 + x)
        lay(
            tmp_path, f"{place}/gt/gt.txt", f"1,1,{x},10,40,40,0,-1,-1,-1\n2,1,1,1,9,9,1,-1,-1,-1\n"
        )
        lay(tmp_path, f"{place}/det/det.txt", "1,-1,20,10,40,40,0.9,-1,-1,-1\n")
    found, remarks = read(tmp_path)
    assert {name: labelled(its) for name, its in found.items()} == {
        "S1_000001.bmp": [("object", 20, 10, 60, 50)],
        "S2_000001.bmp": [("object", 30, 10, 70, 50)],
    }
    assert all(box.difficult for its in found.values() for box in its)
    assert {r.kind for r in remarks} == {"no image"}  # frame 2
    assert [r.file for r in survey(tmp_path).unknown] == ["S1/det/det.txt", "S2/det/det.txt"]


def test_old_files_of_bdd100k_and_what_has_no_box(tmp_path):
    image(tmp_path / "a.bmp")
    box = {"category": "car", "box2d": {"x1": 20, "y1": 10, "x2": 60, "y2": 50}}
    box["attributes"] = {"occluded": True, "truncated": False}
    lane = {"category": "lane", "poly2d": [[1, 2, "L"], [3, 4, "L"]]}
    page = {"name": "a", "frames": [{"timestamp": 1, "objects": [box, lane]}]}
    lay(tmp_path, "a.json", json.dumps(page))
    found, (remark,) = read(tmp_path)
    assert labelled(found["a.bmp"]) == [("car", 20, 10, 60, 50)]
    assert found["a.bmp"][0].occluded
    assert "lane as a line or an area" in remark.value


def test_polygons_of_the_labelme_of_mit(tmp_path):
    image(tmp_path / "a.bmp")
    corners = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((20, 10), (60, 30), (40, 50)))
    shape = f"<polygon><username>me</username>{corners}</polygon>"
    lay(
        tmp_path,
        "a.xml",
        "<annotation><filename>a.bmp</filename><imagesize><nrows>100</nrows></imagesize>"
        f"<object><name>cat\n</name><deleted>0</deleted>{shape}</object>"
        f"<object><name>old</name><deleted>1</deleted>{shape}</object></annotation>",
    )
    assert labelled(read(tmp_path)[0]["a.bmp"]) == [("cat", 20, 10, 60, 50)]


NAMED = {
    "a.txt": ("2\n20 10 60 50\n1 2 3 4\n", "BBox-Label-Tool"),
    "a.json": ("version https://git-lfs.github.com/spec/v1\noid sha256:36\nsize 565\n", "git lfs"),
    "train.yaml": (
        "- boxes:\n  - {label: Green, x_max: 582.4, x_min: 573.3, y_max: 276, y_min: 256}\n"
        "  path: ./rgb/a.bmp\n",
        "YAML",
    ),
    "signs.csv": (
        "name,class,x_center_image,y_center_image,width,height\n0,11,0.58,0.53,0.03,0.04\n",
        "columns image,xmin,ymin,xmax,ymax,label",
    ),
    "export.csv": ("ID,DataRow ID,Labeled Data,Label\n1,2,https://x/a.bmp,{}\n", "Labelbox"),
    "labels.csv": ("ImageID,Source,LabelName,Confidence\na,verification,/m/01,1\n", "whole images"),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_read_is_called_by_its_name(name, tmp_path):
    image(tmp_path / "a.bmp")
    text, word = NAMED[name]
    lay(tmp_path, name, text)
    (remark,) = survey(tmp_path).unknown
    assert (remark.kind, remark.file) == ("not understood", name)
    assert word in str(remark)


def test_the_table_that_remarks_advise_is_read(tmp_path):
    image(tmp_path / "a.bmp")
    lay(tmp_path, "mine.yaml", "boxes: []\n")
    (remark,) = survey(tmp_path).unknown
    columns = remark.fix.rpartition(" ")[2]
    lay(tmp_path, "mine.csv", f"{columns}\na.bmp,20,10,60,50,cat\n")
    assert labelled(read(tmp_path)[0]["a.bmp"]) == [("cat", 20, 10, 60, 50)]


@pytest.mark.parametrize(
    "text",
    ["names: [cat]\nnc: 1\ntrain: images\n", "task:\n  losses:\n    box_loss_weight: 50\n"],
)
def test_yaml_without_boxes_is_not_mentioned(text, tmp_path):
    image(tmp_path / "a.bmp")
    lay(tmp_path, "data.yaml", text)
    assert survey(tmp_path).unknown == []


def test_a_label_map_alone_is_said(tmp_path):
    image(tmp_path / "a.bmp")
    lay(tmp_path, "label_map.pbtxt", "item { id: 1 name: 'cat' }")
    (remark,) = survey(tmp_path).unknown
    assert (remark.kind, remark.value) == ("not used", "a label map: names of classes, no boxes")
    write_voc(Annotation("a.bmp", 200, 100, (CAT,)), tmp_path / "a.xml")
    assert survey(tmp_path).unknown == []


@pytest.mark.parametrize(
    ("lists", "label"),
    [
        ({"obj.data": "classes = 1\nnames = data/signs.txt\n", "signs.txt": "stop\n"}, "stop"),
        ({"data_classes.txt": "stop\n"}, "stop"),
    ],
)
def test_lists_of_classes_of_darknet_and_keras_yolo3(lists, label, tmp_path):
    image(tmp_path / "a.bmp")
    lay(tmp_path, "a.txt", "0 0.2 0.3 0.2 0.4\n")
    for name, text in lists.items():
        lay(tmp_path, name, text)
    assert [box.label for box in read(tmp_path)[0]["a.bmp"]] == [label]


def test_pictures_that_are_pointers_of_git_lfs_are_said(tmp_path):
    lay(tmp_path, "a.jpg", "version https://git-lfs.github.com/spec/v1\noid sha256:36\nsize 9\n")
    lay(tmp_path, "a.csv", "a.jpg,20,10,60,50,cat\n")
    found, (remark,) = read(tmp_path)
    assert (found, remark.kind) == ({}, "unreadable image")
    assert "git lfs pull" in remark.fix


def test_pictures_in_ppm_are_said(tmp_path):
    lay(tmp_path, "a.ppm", "P6")
    (remark,) = survey(tmp_path).unknown
    assert remark.kind == "unreadable image"
    assert "*.ppm" in remark.fix


def test_all_of_these_are_among_the_readers():
    assert set(FILES) < set(READERS)
