import shutil

import pytest
from own_pictures import BOX, annotated

from helpers.annotations import write_annotations
from helpers.annotations.boxes import Annotation
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.footage.own import own_folder
from helpers.footage.sides import side_in

SIX = [f"p{i}" for i in range(6)]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "01_images"


def sides(out):
    """Side -> the names that split.csv gives it, without suffix; None without that table."""
    if not (out / "split.csv").exists():
        return None
    found = {}
    for row in read_csv(out / "split.csv", ("image", "split")):
        found.setdefault(row["split"], []).append(row["image"].removesuffix(".jpg"))
    return {side: sorted(names) for side, names in found.items()}


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["train/a", "train/b", "val/c"], {"train": ["a", "b"], "val": ["c"]}),
        (["images/train/a", "images/test/b"], {"train": ["a"], "val": ["b"]}),
        (["train2017/a", "val2017/b"], {"train": ["a"], "val": ["b"]}),
        (["obj_train_data/a", "obj_valid_data/b"], {"train": ["a"], "val": ["b"]}),
        (["Training/x/a", "Validation/y/b"], {"train": ["a"], "val": ["b"]}),
        (
            ["x/train/images/a", "x/valid/images/b", "x/test/images/c"],
            {"train": ["a"], "val": ["b"], "test": ["c"]},
        ),
        # A class called train, below the sides.
        (["train/train/a", "train/bus/b", "test/train/c"], {"train": ["a", "b"], "val": ["c"]}),
        # The folders near the root say nothing: those near the pictures do.
        (["test_data/train/a", "test_data/val/b"], {"train": ["a"], "val": ["b"]}),
        (["cards_train/a", "cards_val/b"], {"train": ["a"], "val": ["b"]}),
        (["train/a", "bus/b"], None),
        (["val/a", "test/b"], None),
        (["train_station/a", "test_track/b"], None),
    ],
)
def test_folders(tmp_path, out, capsys, places, expected):
    own_folder(annotated(tmp_path / "own", places), out)
    assert sides(out) == expected
    assert ("The author's split is kept" in capsys.readouterr().out) == (expected is not None)


def test_what_is_said_of_two_sides_and_of_pictures_on_none(tmp_path, out, capsys):
    own_folder(annotated(tmp_path / "own", ["train/a", "train/b", "test/c", "more/d"]), out)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "The author's split is kept: 2 train, 1 val (folders train and test; test became val).",
        'On no side of it: 1 of 4 pictures, left out; split="clip" in lesson 03 takes them as '
        "well.",
    ]


def test_copies_in_folders_of_the_sides(tmp_path, out):
    own = annotated(tmp_path / "own", [f"collected/{name}" for name in SIX])
    for i, name in enumerate(SIX):
        target = own / ("test" if i > 3 else "train")
        target.mkdir(exist_ok=True)
        for suffix in ("jpg", "xml"):
            shutil.copyfile(own / f"collected/{name}.{suffix}", target / f"{name}.{suffix}")
    own_folder(own, out)
    assert sides(out) == {"train": SIX[:4], "val": SIX[4:]}
    assert len(list((out / "images").iterdir())) == 6


def test_a_picture_on_two_sides_is_held_out(tmp_path, out, capsys):
    own = annotated(tmp_path / "own", ["train/a", "train/b", "val/c"])
    for suffix in ("jpg", "xml"):
        shutil.copyfile(own / f"train/b.{suffix}", own / f"val/b.{suffix}")
    own_folder(own, out)
    assert sides(out) == {"train": ["a"], "val": ["b", "c"]}
    assert "On two sides of it: b.jpg; not trained on." in capsys.readouterr().out


def write_lists(own, lists):
    for name, lines in lists.items():
        path = own / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")


VOC = "ImageSets/Main"


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (
            {f"{VOC}/train.txt": SIX[:4], f"{VOC}/val.txt": SIX[4:], f"{VOC}/trainval.txt": SIX},
            {"train": SIX[:4], "val": SIX[4:]},
        ),
        (
            {f"{VOC}/trainval.txt": SIX[:4], f"{VOC}/test.txt": SIX[4:]},
            {"train": SIX[:4], "val": SIX[4:]},
        ),
        (
            {
                f"{VOC}/train.txt": SIX[:2],
                f"{VOC}/val.txt": SIX[2:4],
                f"{VOC}/test.txt": SIX[4:],
                f"{VOC}/cat_train.txt": [f"{name} 1" for name in SIX],
            },
            {"train": SIX[:2], "val": SIX[2:4], "test": SIX[4:]},
        ),
        (
            {
                "train.txt": [f"/content/data/{name}.jpg" for name in SIX[:4]],
                "test.txt": [f"C:\\data\\{name}.jpg" for name in SIX[4:]],
            },
            {"train": SIX[:4], "val": SIX[4:]},
        ),
        ({f"{VOC}/default.txt": SIX}, None),
        ({"train.txt": SIX}, None),
        (
            {
                "data.yaml": ["path: ../data", "train: part1", "val: part2", "names: [cat]"],
                "part1/x": [],
            },
            None,
        ),
        (
            {
                "data.yaml": ["train: ../a.txt", "val: [b.txt]", "test:", "names: [cat]"],
                "a.txt": [f"./{name}.jpg" for name in SIX[:5]],
                "b.txt": SIX[5:],
            },
            {"train": SIX[:5], "val": SIX[5:]},
        ),
        # As our own exports of YOLO have it.
        ({"data.yaml": ["train: .", "val: .", "names: [cat]"]}, None),
    ],
)
def test_lists(tmp_path, out, lists, expected):
    own = annotated(tmp_path / "own", SIX)
    write_lists(own, lists)
    own_folder(own, out)
    assert sides(out) == expected


def test_folders_that_a_data_yaml_names(tmp_path, out):
    own = annotated(tmp_path / "own", ["part1/a", "part1/b", "part2/c"])
    write_lists(own, {"data.yaml": ["train: ../part1", "val: ../part2", "names: {0: cat}"]})
    own_folder(own, out)
    assert sides(out) == {"train": ["a", "b"], "val": ["c"]}


def test_a_list_with_names_of_no_picture_is_remarked_on(tmp_path, out, capsys):
    own = annotated(tmp_path / "own", SIX)
    write_lists(own, {f"{VOC}/train.txt": [*SIX[:4], "gone"], f"{VOC}/val.txt": SIX[4:]})
    own_folder(own, out)
    assert "No image: ImageSets/Main/train.txt: 1 of 5 names fit no picture, such as 'gone'" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("tfod_csv", ("train_labels.csv", "test_labels.csv")),
        ("coco", ("instances_train2017.json", "instances_val2017.json")),
        ("coco", ("train.json", "test.json")),
        ("tfod_csv", ("annotations.csv", "annotations_test.csv")),
        ("tfod_csv", ("labels/boxes.csv", "labels/val_boxes.csv")),
        ("vott_csv", ("cats/Train-export.csv", "cats/Valid-export.csv")),
        ("voc", ("train/Annotations", "val/Annotations")),
    ],
)
def test_annotation_files_named_after_the_sides(tmp_path, out, kind, names):
    own = annotated(tmp_path / "own", [f"images/{name}" for name in SIX])
    for xml in (own / "images").glob("*.xml"):
        xml.unlink()
    for target, its in zip(names, (SIX[:4], SIX[4:]), strict=True):
        found = [Annotation(f"{name}.jpg", 32, 24, (BOX,)) for name in its]
        write_annotations(found, own / target, kind)
    own_folder(own, out)
    assert sides(out) == {"train": SIX[:4], "val": SIX[4:]}


def test_tables_named_after_the_sides_beside_the_xml_they_were_made_from(tmp_path, out):
    own = annotated(tmp_path / "own", [f"images/{name}" for name in SIX])
    for side, its in (("train", SIX[:4]), ("test", SIX[4:]), ("all", SIX)):
        found = [Annotation(f"{name}.jpg", 32, 24, (BOX,)) for name in its]
        write_annotations(found, own / f"data/{side}_labels.csv", "tfod_csv")
    own_folder(own, out)
    assert sides(out) == {"train": SIX[:4], "val": SIX[4:]}


def test_a_table_of_another_name_does_not_become_the_training(tmp_path, out):
    own = annotated(tmp_path / "own", [f"images/{name}" for name in SIX])
    for name, its in (("faces", SIX[:4]), ("cars_test", SIX[4:])):
        found = [Annotation(f"{stem}.jpg", 32, 24, (BOX,)) for stem in its]
        write_annotations(found, own / f"{name}.csv", "tfod_csv")
    own_folder(own, out)
    assert sides(out) is None


def test_a_side_without_annotations_is_none(tmp_path, out):
    own = annotated(tmp_path / "own", ["train/a", "val/b", "test/c"])
    (own / "test/c.xml").unlink()
    own_folder(own, out)
    assert sides(out) == {"train": ["a"], "val": ["b"]}


def test_files_of_single_pictures_do_not_make_a_split(tmp_path, out):
    own_folder(annotated(tmp_path / "own", ["train 1", "test 1"]), out)
    assert sides(out) is None


@pytest.mark.parametrize("table", ["split.csv", "author_split.csv"])
def test_ones_own_table_goes_before_all(tmp_path, out, table):
    own = annotated(tmp_path / "own", [f"train/{name}" for name in SIX[:5]] + ["val/p5"])
    rows = [f"{name},train" for name in SIX[2:]] + ["train/p0.jpg,test", "P1.png,Validation"]
    (own / table).write_text("\n".join(["image,split", *rows]))
    own_folder(own, out)
    assert sides(out) == {"train": SIX[2:], "val": ["p1"], "test": ["p0"]}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            "p0,train\nx9,val\n",
            r"split.csv: line 3: image 'x9' is none of the 6 pictures.*'p0.jpg'",
        ),
        ("p0,train\np1,later\n", r"split.csv: line 3: split 'later'; say one of train, val, test"),
        ("p0,train\np1,train\n", r"split.csv: train; it must name pictures for train and for val"),
        ("p0\n", r"split.csv: line 2: not 2 cells"),
    ],
)
def test_a_table_that_cannot_be_followed(tmp_path, out, rows, says):
    own = annotated(tmp_path / "own", SIX)
    (own / "split.csv").write_text(f"image,split\n{rows}")
    with pytest.raises(CourseError, match=says):
        own_folder(own, out)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("train", "train"),
        ("trainval", "train"),
        ("obj_train_data", "train"),
        ("TrainImages", "train"),
        ("val2017", "val"),
        ("VALID", "val"),
        ("Test-Set", "test"),
        ("training_set", "train"),
        ("dayTrain", None),
        ("train_val", None),
        ("contest", None),
        ("train1", None),
    ],
)
def test_side_in_a_name(name, side):
    assert side_in(name) == side
