"""What single files say, well or badly: the rest of the file is read."""

import json
import math

import pytest
from bitmaps import image

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.formats import read_annotations
from helpers.annotations.voc import read_voc, write_voc
from helpers.common.errors import CourseError

CAT, DOG = Box("cat", 50, 25, 150, 75), Box("dog", 100, 0, 200, 100)
VOC = """<annotation><filename>a.bmp</filename>
<size><width>200</width><height>100</height></size>
<object><name>cat</name><bndbox>
<xmin>50</xmin><ymin>25</ymin><xmax>150</xmax><ymax>75</ymax></bndbox></object>
<object><name>dog</name><bndbox>
<xmin>100</xmin><ymin>0</ymin><xmax>200</xmax><ymax>100</ymax></bndbox></object>
</annotation>"""
COCO = json.dumps(
    {
        "images": [{"id": 0, "file_name": "a.bmp", "width": 200, "height": 100}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 0, "bbox": [50, 25, 100, 50]},
            {"id": 2, "image_id": 0, "category_id": 1, "bbox": [100, 0, 100, 100]},
        ],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }
)
TFOD = """filename,width,height,class,xmin,ymin,xmax,ymax
a.bmp,200,100,cat,50,25,150,75
a.bmp,200,100,dog,100,0,200,100
"""
MAKESENSE = "cat,50,25,100,50,a.bmp,200,100\ndog,100,0,100,100,a.bmp,200,100\n"
YOLO = "0 0.5 0.5 0.5 0.5\n1 0.75 0.5 0.5 1\n"
OIDV4 = "cat 50 25 150 75\ndog 100.0 0.0 200.0 100.0\n"
FILES = {
    "voc": ("a.xml", VOC),
    "coco": ("boxes.json", COCO),
    "tfod_csv": ("labels.csv", TFOD),
    "makesense_csv": ("labels.csv", MAKESENSE),
    "yolo": ("labels/a.txt", YOLO),
    "oidv4": ("Label/a.txt", OIDV4),
}


@pytest.fixture
def read(tmp_path):
    """Return read(kind, *changes): boxes and remarks of one file in which old -> new was changed.

    `names` is the data.yaml of YOLO.
    """

    def read_(kind, *changes, names="names: [cat, dog]\n"):
        image(tmp_path / "a.bmp")
        file, text = FILES[kind]
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(text.encode("utf-8", "surrogatepass"))
        if kind == "yolo":
            (tmp_path / "data.yaml").write_text(names)
        remarks = []
        found = read_annotations(tmp_path, note=remarks.append)
        for remark in remarks:
            str(remark).encode()
            assert "\n" not in str(remark)
            assert remark.fix
        return found[0].boxes if found else None, remarks

    return read_


@pytest.mark.parametrize("kind", FILES)
def test_all_say_the_same(read, kind):
    assert read(kind) == ((CAT, DOG), [])


# Kind of file, what changes, what is left of CAT and DOG, kind and text of the remark.
BAD = [
    ("voc", ("<xmin>50", "<xmin>fifty"), (DOG,), "bad line", "object 1: <xmin>: 'fifty' is no nu"),
    ("voc", ("<xmin>50", "<xmin>nan"), (DOG,), "bad line", "object 1: <xmin>: 'nan' is no number"),
    ("voc", ("<ymax>75</ymax>", ""), (DOG,), "bad line", "object 1: <ymax> missing"),
    ("voc", ("cat", " "), (DOG,), "bad line", "object 1: <name> is empty"),
    ("voc", ("<width>200", "<width>nan"), (CAT, DOG), "bad line", "size: width: 'nan' is no numb"),
    ("voc", ("<width>200", "<width>1e400"), (CAT, DOG), "bad line", "size: width: '1e400' is no"),
    ("voc", ("<width>200", "<width>" + "9" * 5000), (CAT, DOG), "bad line", "size: width: '999"),
    ("voc", ("<width>200", "<width>99999999999"), (CAT, DOG), "bad line", "is impossible"),
    ("voc", ("<ann", "<?xml version='1.0' encoding='x'?><ann"), None, "not understood", "broken"),
    ("voc", ("cat", "c\0t"), None, "not understood", "a.xml: broken XML"),
    ("coco", ("[50,", '["fifty",'), (DOG,), "bad line", "annotations[0]: bbox: 'fifty' is no"),
    ("coco", ("[50,", "[NaN,"), (DOG,), "bad line", "annotations[0]: bbox: nan is no number"),
    ("coco", ("[50,", "[[[50]],"), (DOG,), "bad line", "annotations[0]: bbox: a list is no number"),
    ("coco", ("[50,", "["), (DOG,), "bad line", "annotations[0]: bbox is no list of four"),
    ("coco", ('"category_id": 0', '"category_id": 7'), (DOG,), "bad line", "category_id 7 is not"),
    ("coco", ('"image_id": 0', '"image_id": 7'), (DOG,), "bad line", "image_id 7 is not in images"),
    ("coco", ('{"id": 1, "image_id"', '7, {"image_id"'), (CAT, DOG), "bad line", "no 'image_id'"),
    ("coco", ('"width": 200', '"width": ' + "9" * 99), (CAT, DOG), "bad line", "images[0]: size"),
    ("coco", ('"cat"', '""'), None, "not understood", "categories[0]: name is empty"),
    ("coco", ('"cat"', "7"), None, "not understood", "categories[0]: name is empty"),
    ("coco", ('"cat"', r'"c\u0000t"'), None, "not understood", "categories[0]: name 'c\\x00t' has"),
    ("coco", ('"cat"', r'"\ud800"'), None, "not understood", "name '\\ud800' has a control"),
    (
        "coco",
        ('1, "name"', '0, "name"'),
        None,
        "not understood",
        "[1]: id 0 is both 'cat' and 'dog'",
    ),
    ("coco", ("200", "9" * 5000), None, "not understood", "no JSON that can be read"),
    ("coco", ("[50,", "[" * 100_000), None, "not understood", "no JSON that can be read"),
    (
        "coco",
        ('"bbox": [50, 25, 100, 50]', '"segmentation": [[1, 2], 3]'),
        (DOG,),
        "bad line",
        "no po",
    ),
    ("coco", ('"bbox": [50, 25, 100, 50]', '"segmentation": [[]]'), (DOG,), "bad line", "no polyg"),
    ("coco", ('"bbox": [50, 25, 100, 50]', '"segmentation": 7'), (DOG,), "bad line", "no 'bbox'"),
    ("tfod_csv", (",50,", ",fifty,"), (DOG,), "bad line", "line 2: xmin: 'fifty' is no number"),
    ("tfod_csv", (",50,25,", ',"50,5",25,'), (DOG,), "bad line", "xmin: '50,5' is no number"),
    ("tfod_csv", (",50,25,", ",50,5,25,"), (DOG,), "bad line", "line 2: 9 cells, the table has 8"),
    ("tfod_csv", (",50,25,", ",50,"), (DOG,), "bad line", "line 2: 7 cells, the table has 8"),
    ("tfod_csv", ("cat", ""), (DOG,), "bad line", "line 2: column 'class' is empty"),
    ("tfod_csv", ("cat", "c\x07t"), (DOG,), "bad line", "line 2: column 'class' 'c\\x07t' has a"),
    ("tfod_csv", ("a.bmp", "b.bmp"), (DOG,), "no image", "line 2: picture 'b.bmp' is not among"),
    ("tfod_csv", ("cat", "c\0t"), None, "not understood", "line 2: a zero byte"),
    ("tfod_csv", ("dog", '"dog'), (CAT,), "bad line", "line 3: no CSV from here on"),
    ("tfod_csv", ("dog", "d" * 200_000), (CAT,), "bad line", "no CSV from here on (field larger"),
    ("makesense_csv", (",50,", ",,"), (DOG,), "bad line", "line 1: bbox_x: '' is no number"),
    ("yolo", ("0.5 ", "x "), (DOG,), "bad line", "line 1: value: 'x' is no number"),
    ("yolo", ("0.5 0.5 0.5 0.5", "0.5 0.5"), (DOG,), "bad line", "line 1: 3 values; a box has"),
    ("yolo", ("0.5 0.5 0.5 0.5", "0.5 0.5 0.5 0.5 0.9"), (DOG,), "bad line", "line 1: 6 values"),
    ("yolo", ("0.5 0.5 0.5 0.5", "100 50 100 50"), (DOG,), "bad line", "far beyond 1"),
    ("yolo", ("0 0.5 0.5", "0 1.5 1.5"), (DOG,), "bad line", "lies outside the image"),
    ("yolo", ("0 ", "9" * 5000 + " "), (DOG,), "bad line", "line 1: class '9999"),
    ("yolo", ("0 ", "0.5 "), (DOG,), "bad line", "line 1: class '0.5' in this file; data.yaml"),
    ("oidv4", ("0.0 200", "nan 200"), (CAT,), "bad line", "line 2: edge: 'nan' is no number"),
    ("oidv4", ("dog ", ""), (CAT,), "bad line", "line 2: '100.0 0.0 200.0 100.0'; it must be"),
]


@pytest.mark.parametrize(("kind", "change", "left", "remark", "says"), BAD)
def test_a_bad_line_is_a_remark_and_the_rest_is_read(read, kind, change, left, remark, says):
    found, (only,) = read(kind, change)
    assert found == left
    assert only.kind == remark
    assert says in str(only)


TURNED = "<attributes><attribute><name>rotation</name><value>90.0</value></attribute></attributes>"
ROBOX = """<robndbox><cx>100</cx><cy>50</cy><w>100</w><h>50</h><angle>1.5707963267948966</angle>"""


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("voc", ("<name>cat</name>", f"<name>cat</name>{TURNED}")),
        ("voc", ("<bndbox>", f"{ROBOX}</robndbox><part>")),
        ("coco", ("[50, 25, 100, 50]", '[50, 25, 100, 50], "attributes": {"rotation": 90}')),
    ],
)
def test_a_rotated_box_becomes_the_upright_one_around_it(read, kind, change):
    changes = [change]
    if "<part>" in change[1]:
        changes.append(("</bndbox>", "</part>"))
    (box, dog), (remark,) = read(kind, *changes)
    assert box.xyxy == pytest.approx((75, 0, 125, 100))
    assert dog == DOG
    assert remark.kind == "rotated box"
    assert "turned by 90 degrees" in remark.value


def test_rotated_boxes_do_not_end_the_reading_of_a_single_file(tmp_path):
    (tmp_path / "a.xml").write_text(VOC.replace("<name>cat</name>", f"<name>cat</name>{TURNED}"))
    assert read_voc(tmp_path / "a.xml").boxes[0].xyxy == pytest.approx((75, 0, 125, 100))


@pytest.mark.parametrize("degrees", [0, 180, 360, -180])
def test_half_a_turn_is_no_rotation(read, degrees):
    turned = f'[50, 25, 100, 50], "attributes": {{"rotation": {degrees}}}'
    assert read("coco", ("[50, 25, 100, 50]", turned)) == ((CAT, DOG), [])


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("voc", [("<size><width>200</width><height>100</height></size>", "")]),
        ("voc", [("<width>200", "<width>0")]),
        ("voc", [("<height>100</height>", "")]),
        ("voc", [("<filename>a.bmp", "<filename>elsewhere.jpg")]),
        ("voc", [("<filename>a.bmp</filename>", "")]),
        ("voc", [("cat", "\n\tcat\n")]),
        ("voc", [("<annotation>", "<!-- <wrong> --><annotation>")]),
        ("coco", [('"width": 200', '"width": 0')]),
        ("coco", [('"width": 200', '"width": null')]),
        ("coco", [('"id": 0, "file', '"id": "0", "file')]),
        ("coco", [('"image_id": 0', '"image_id": 0.0')]),
        ("coco", [("[50,", '["50",')]),
        ("coco", [('"name": "dog"}', '"name": "dog"}, {"id": 9, "name": "never used"}')]),
        ("tfod_csv", [("a.bmp,200", "a,200"), ("a.bmp,200", "A.JPG,200")]),
        ("tfod_csv", [("a.bmp,200,100,cat", "a.bmp,0,0,cat")]),
        ("tfod_csv", [("a.bmp,200", r"C:\my\a.bmp,200")]),
        ("tfod_csv", [("filename", "\ufefffilename")]),
        ("tfod_csv", [("cat", '"cat"'), ("\n", "\r\n")]),
        ("yolo", [("0 0.5", "0.000000 0.5"), ("1 0.75", "1. 0.75")]),
        ("yolo", [("0 0.5 0.5 0.5 0.5", "0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75")]),
        ("yolo", [("0 0.5", "\n  0\t0.5")]),
        ("oidv4", [("cat 50", "  cat  50")]),
    ],
)
def test_variants_say_the_same(read, kind, changes):
    assert read(kind, *changes) == ((CAT, DOG), [])


def test_makesense_with_a_header(read):
    header = "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height"
    assert read("makesense_csv", ("cat", f"{header}\ncat")) == ((CAT, DOG), [])


def test_a_label_may_have_two_words(read):
    assert read("oidv4", ("dog", "big dog"))[0][1].label == "big dog"


@pytest.mark.parametrize(
    "names",
    [
        "names: ['cat', \"dog\"]\n",
        "names:\n  0: cat\n  1: dog\n",
        "{nc: 2, names: {1: dog, 0: cat}}",
        "nc: 2\nnames:\n- cat\n- dog\n",
    ],
)
def test_class_names_in_any_notation(read, names):
    assert read("yolo", names=names) == ((CAT, DOG), [])


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("a: &a [x, x]\nb: &b [*a, *a]\nnames: *b\n", "data.yaml: line 2: not YAML (an alias"),
        ("names: " + "[" * 5000, "data.yaml: not YAML"),
        ("names: [cat\n", "data.yaml: line 2: not YAML"),
        ("names: cat\n", "data.yaml: names 'cat', so nothing says"),
        (f"names: {{{'9' * 900}: cat}}\n", "data.yaml: names {'9999"),
        ("names: [cat, '']\n", "data.yaml: name of class 1 is empty, so nothing says"),
        ("names: [cat, [dog]]\n", "data.yaml: name of class 1 is empty"),
    ],
)
def test_a_list_of_classes_that_cannot_be_used(read, names, says):
    found, (remark,) = read("yolo", names=names)
    assert found is None
    assert says in str(remark)


def test_an_unknown_class_is_one_remark_for_all_files(tmp_path):
    (tmp_path / "data.yaml").write_text("names: [a, b, c, d, e, f, g]\n")
    for number in range(12):
        image(tmp_path / f"images/{number}.bmp")
        path = tmp_path / f"labels/{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("7 0.5 0.5 0.5 0.5\n3 0.5 0.5 0.5 0.5\n")
    remarks = []
    found = read_annotations(tmp_path, note=remarks.append)
    assert [a.boxes[0].label for a in found] == ["d"] * 12
    assert [str(remark) for remark in remarks] == [
        "labels/0.txt: line 1: class '7' in 12 files, such as this; data.yaml names 0 to 6; add "
        "its name to data.yaml, or delete its lines"
    ]


def test_each_side_may_have_a_list_of_its_own(tmp_path):
    for side, names in (("train", "cat\ndog\n"), ("val", "dog\ncat\n")):
        image(tmp_path / side / f"{side}.bmp")
        (tmp_path / side / f"{side}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
        (tmp_path / side / "classes.txt").write_text(names)
    found = {a.image: a.boxes[0].label for a in read_annotations(tmp_path)}
    assert found == {"train.bmp": "cat", "val.bmp": "dog"}


def test_a_list_beside_the_folder_counts_only_without_one_in_it(tmp_path):
    image(tmp_path / "mine/a.bmp")
    (tmp_path / "mine/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("names: [dog]\n")
    assert read_annotations(tmp_path / "mine")[0].boxes[0].label == "dog"
    (tmp_path / "mine/classes.txt").write_text("cat\n")
    assert read_annotations(tmp_path / "mine")[0].boxes[0].label == "cat"


def test_what_sticks_out_of_a_yolo_image_is_clipped_and_said(read):
    (cat, _), (remark,) = read("yolo", ("0.5 0.5 0.5 0.5", "0.9 0.5 1.0371 0.5"))
    assert cat.xyxy == pytest.approx((200 * (0.9 - 1.0371 / 2), 25, 200, 75))
    assert (remark.where, remark.kind) == ("line 1", "clipped")


RLE = '"segmentation": {"counts": [1, 2], "size": [100, 200]}'


@pytest.mark.parametrize(
    ("first", "second", "difficult"),
    [
        # CVAT writes each mask as a crowd, with attributes.
        (f'"iscrowd": 1, {RLE}', f'"iscrowd": 1, {RLE}', [False, False]),
        (f'"iscrowd": 1, "attributes": {{}}, {RLE}', '"iscrowd": 0', [False, False]),
        # A crowd of COCO's own; and what this project writes for a difficult object.
        (f'"iscrowd": 1, {RLE}', '"iscrowd": 0', [True, False]),
        ('"iscrowd": 1', '"iscrowd": 1', [True, True]),
    ],
)
def test_a_mask_of_one_object_is_no_crowd(read, first, second, difficult):
    boxes, remarks = read(
        "coco", ('"id": 1,', f'"id": 1, {first},'), ('"id": 2,', f'"id": 2, {second},')
    )
    assert [box.difficult for box in boxes] == difficult
    assert not remarks


def test_coco_without_a_box_has_one_around_the_polygon(read):
    polygon = '"segmentation": [[50, 25, 150, 30, 60, 75]], "bbox": []'
    assert read("coco", ('"bbox": [50, 25, 100, 50]', polygon)) == ((CAT, DOG), [])


def test_a_picture_listed_twice_is_read_once(read):
    twice = '{"id": 5, "file_name": "A.bmp", "width": 200, "height": 100}, {"id": 0,'
    _, (remark,) = read("coco", ('{"id": 0,', twice))
    assert (remark.where, remark.kind) == ("images[1]", "same picture twice")


@pytest.mark.parametrize("label", ["", " ", "c\0t", "a\x1bb", "\ud800", "\uffff"])
def test_what_no_file_can_hold_is_not_written_over_a_good_one(tmp_path, label):
    path = tmp_path / "a.xml"
    write_voc(Annotation("a.bmp", 200, 100, (CAT,)), path)
    before = path.read_bytes()
    for check in (True, False):
        with pytest.raises(CourseError, match=r"^a.xml: .*(is empty|control character)"):
            write_voc(
                Annotation("a.bmp", 200, 100, (CAT, Box(label, 0, 0, 9, 9))), path, check=check
            )
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "a.xml"
    write_voc(Annotation("a.bmp", 200, 100, (CAT,)), path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(CourseError, match=r"a\.xml: the disk is full"):
        write_voc(Annotation("a.bmp", 200, 100, (DOG,)), path)
    monkeypatch.undo()
    assert read_voc(path).boxes == (CAT,)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("degrees", [10, 45, 90, 123.4, -60])
def test_the_box_around_a_turned_one(degrees):
    from helpers.annotations.boxes import turned

    found = turned(CAT, degrees)
    angle = math.radians(degrees)
    corners = [
        (dx * math.cos(angle) - dy * math.sin(angle), dx * math.sin(angle) + dy * math.cos(angle))
        for dx in (-50, 50)
        for dy in (-25, 25)
    ]
    xs, ys = zip(*corners, strict=True)
    expected = (100 + min(xs), 50 + min(ys), 100 + max(xs), 50 + max(ys))
    assert found.xyxy == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("voc", [("<xmin>50", "<xmin>x"), ("<xmin>100", "<xmin>y")]),
        ("coco", [('"bbox": [50', '"bbox": ["x"'), ('"bbox": [100', '"bbox": ["y"')]),
        (
            "coco",
            [('"category_id": 0', '"category_id": 5'), ('"category_id": 1', '"category_id": 5')],
        ),
        ("tfod_csv", [(",50,", ",x,"), (",100,0", ",y,0")]),
        ("yolo", [("0 0.5", "7 0.5"), ("1 0.75", "0 y")]),
        ("yolo", [("0 0.5", "7 0.5"), ("1 0.75", "8 0.75")]),
        ("oidv4", [("50 25", "50 nan"), ("dog 100.0", "dog nan")]),
    ],
)
def test_a_picture_of_bad_boxes_alone_is_not_an_empty_one(read, kind, changes):
    found, remarks = read(kind, *changes)
    assert found is None
    assert len(remarks) == 2


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_a_picture_without_objects_is_an_empty_one(tmp_path, kind):
    image(tmp_path / "a.bmp")
    if kind == "voc":
        write_voc(Annotation("a.bmp", 0, 0), tmp_path / "a.xml")
    else:
        (tmp_path / "a.txt").write_text("")
    assert read_annotations(tmp_path)[0].boxes == ()
