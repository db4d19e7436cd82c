import json
from dataclasses import replace
from pathlib import Path

import pytest
from bitmaps import image
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.annotations import formats, writing
from helpers.annotations.boxes import Annotation, Box, fault
from helpers.annotations.folders import images_in
from helpers.annotations.voc import read_voc, write_voc
from helpers.common.errors import CourseError

# How far an edge may move, in pixels, when written and read again.
ROUNDING = {"voc": 0.005, "coco": 0, "yolo": 2e-6, "vott_csv": 0, "tfod_csv": 0, "lisa_csv": 0}
HOLDS_EMPTY = {"voc", "coco", "yolo"}
HOLDS = {"voc": {"difficult", "truncated", "occluded"}, "lisa_csv": {"occluded"}}
HOLDS["coco"] = HOLDS["voc"]
TARGET = {"coco": "boxes.json", "voc": "annotations", "yolo": ""}  # all others: boxes.csv
FLOAT = 1e-9  # pixels by which a sum of floats may differ


def moved(before, after):
    """The farthest that an edge of any box has moved, in pixels."""
    pairs = [
        (old.boxes, next(a for a in after if a.image == old.image).boxes)
        for old in before
        if old.boxes
    ]
    assert all(len(old) == len(new) for old, new in pairs)
    return max(
        (
            abs(a - b)
            for old, new in pairs
            for one, other in zip(old, new, strict=True)
            for a, b in zip(one.xyxy, other.xyxy, strict=True)
        ),
        default=0.0,
    )


label = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cn", "Cs")), min_size=1
).filter(lambda text: text.strip() != "")
NAMES = ("frame_00001.bmp", "Kamera 1 é.bmp", "a%20b.bmp", "with, comma;.bmp")


@st.composite
def datasets(draw):
    found = []
    for name in NAMES[: draw(st.integers(1, len(NAMES)))]:
        width, height = draw(st.integers(1, 8000)), draw(st.integers(1, 8000))

        def span(size):
            edges = st.floats(0, size, allow_subnormal=False)
            low, high = sorted(draw(st.tuples(edges, edges)))
            return (low, high) if low < high else (0.0, float(size))

        boxes = []
        for _ in range(draw(st.integers(0, 3))):
            (xmin, xmax), (ymin, ymax) = span(width), span(height)
            flags = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
            boxes.append(Box(draw(label), xmin, ymin, xmax, ymax, *flags))
        found.append(Annotation(name, width, height, tuple(boxes)))
    return found


@pytest.mark.parametrize("kind", writing.FORMATS)
@settings(max_examples=40, deadline=None)
@given(before=datasets())
def test_what_is_written_comes_back(kind, before, tmp_path_factory):
    folder = tmp_path_factory.mktemp(kind)
    for a in before:
        image(folder / "images" / a.image, a.width, a.height)
    losses = writing.write_annotations(before, folder / TARGET.get(kind, "boxes.csv"), kind)
    expected = [a for a in before if a.boxes or kind in HOLDS_EMPTY]
    if not any(a.boxes for a in before) and kind not in HOLDS_EMPTY:
        assert losses
        return
    after = formats.read_annotations(folder)
    assert {(a.image, a.width, a.height) for a in after} == {
        (a.image, a.width, a.height) for a in expected
    }
    assert moved(before, after) <= ROUNDING[kind] + FLOAT
    lost = set()
    for old in expected:
        new = next(a for a in after if a.image == old.image)
        for one, other in zip(old.boxes, new.boxes, strict=True):
            assert other.label == one.label
            for flag in ("difficult", "truncated", "occluded"):
                held = flag in HOLDS.get(kind, ())
                assert getattr(other, flag) == (getattr(one, flag) and held)
                lost |= {flag} if getattr(one, flag) and not held else set()
    # What is lost is said, and nothing else is.
    assert {word for word in ("difficult", "truncated", "occluded") if word in str(losses)} == lost
    assert ("without objects" in str(losses)) == (len(expected) < len(before))


def real(shared, name):
    """Annotations of a real dataset, without the boxes known to be bad, and its images."""
    folder = shared / "datasets" / name
    if name == "catfaces_vott":
        remarks = []  # on data_train.txt, which has the same boxes, rounded
        found = formats.read_annotations(folder, note=remarks.append)
        assert [remark.kind for remark in remarks] == ["same picture twice"]
        return found, folder
    images = folder / ("JPEGImages" if name == "bccd" else "images")
    xml = folder / ("Annotations" if name == "bccd" else "annotations")
    disk = {path.stem: path.name for path in images_in(images)}
    found = []
    for a in formats.read_annotations(xml):
        good = tuple(box for box in a.boxes if not fault(box, a.width, a.height))
        found.append(replace(a, boxes=good, image=disk[Path(a.source).stem]))
    return found, images


@pytest.mark.parametrize("name", ["raccoon", "catfaces_vott", "bccd", "speedtraps"])
def test_real_annotations_stay_where_they_are(shared, name, tmp_path):
    before, images = real(shared, name)
    for kind in writing.FORMATS:
        folder = tmp_path / kind
        writing.write_annotations(before, folder / TARGET.get(kind, "boxes.csv"), kind)
        after = formats.read_annotations(folder, images)
        assert moved(before, after) <= ROUNDING[kind] + FLOAT, kind
        assert sum(len(a.boxes) for a in after) == sum(len(a.boxes) for a in before)
        empty = sum(not a.boxes for a in before)
        assert sum(not a.boxes for a in after) == (empty if kind in HOLDS_EMPTY else 0)


def test_two_formats_of_one_real_dataset_agree(shared):
    folder = shared / "datasets/raccoon"
    xml = formats.read_annotations(folder / "annotations")
    table = formats.read_annotations(folder / "raccoon_labels.csv", folder / "images")
    by_stem = {Path(a.image).stem: a for a in table}
    for a in xml:
        other = by_stem[Path(a.source).stem]
        assert (a.width, a.height) == (other.width, other.height)
        assert {b.xyxy for b in a.boxes} == {b.xyxy for b in other.boxes}
    # The CSV was made out of the XML: together they are no contradiction.
    assert {a.source.split("/")[0] for a in formats.read_annotations(folder)} == {"annotations"}


OBJECT = """<object><name>radar</name>{flags}<bndbox><xmin>{0}</xmin><ymin>{1}</ymin>
<xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object></annotation>"""
HEAD = """<annotation{attributes}><folder>Annotation</folder><filename>{name}</filename>{more}
<size><width>640</width><height>480</height><depth>{depth}</depth></size>"""


def voc(path, edges, name="a.jpg", *, more="", attributes="", depth=3, flags=""):
    head = HEAD.format(name=name, more=more, attributes=attributes, depth=depth)
    path.write_text(head + OBJECT.format(*edges, flags=flags))
    return path


def source(database):
    return f"<source><database>{database}</database></source>"


def test_flavours_of_voc(tmp_path):
    verified = ' verified="yes"'
    path = voc(
        tmp_path / "labelimg.xml",
        (1, 1, 640, 480),
        more=f"<path>C:\\pictures\\a.jpg</path>{source('Unknown')}",
        attributes=verified,
    )
    # LabelImg raises 0 to 1, and which 1 was a 0 nobody knows: as it stands.
    assert read_voc(path).boxes == (Box("radar", 1, 1, 640, 480),)
    path = voc(
        tmp_path / "rectlabel.xml",
        (10, 20, 30, 60),
        flags="<truncated>0</truncated><occluded>1</occluded><difficult>0</difficult>",
    )
    assert read_voc(path).boxes == (Box("radar", 10, 20, 30, 60, occluded=True),)
    edges = (0, 0.4761904761904762, 639.9999999999999, 300.5)
    path = voc(
        tmp_path / "vott.xml", edges, more=source("Unknown"), attributes=verified, flags="<pose/>"
    )
    assert read_voc(path).boxes == (Box("radar", *edges),)
    path = voc(
        tmp_path / "cvat.xml",
        (0.0, 12.25, 640.0, 480.0),
        name="night/a.jpg",
        more="<source><database>Unknown</database><image>Unknown</image></source>",
        depth="",
        flags="<occluded>0</occluded><difficult>1</difficult><attributes><attribute>"
        "<name>rotation</name><value>0.0</value></attribute></attributes>",
    )
    found = read_voc(path)
    assert found.boxes == (Box("radar", 0, 12.25, 640, 480, difficult=True),)
    assert found.image == "a.jpg"


def test_origins_of_voc(tmp_path):
    pascal = voc(tmp_path / "a.xml", (1, 1, 640, 480), more=source("The VOC2007 Database"))
    whole = Box("radar", 0, 0, 640, 480)
    assert read_voc(pascal).boxes == (whole,)
    assert read_voc(pascal, origin=0).boxes == (Box("radar", 1, 1, 640, 480),)
    assert formats.read_annotations(pascal)[0].boxes == (whole,)
    # A 0 proves that the header was only copied.
    copied = voc(tmp_path / "b.xml", (0, 1, 640, 480), more=source("The VOC2007 Database"))
    assert read_voc(copied).boxes == (Box("radar", 0, 1, 640, 480),)
    other = voc(tmp_path / "c.xml", (1, 1, 640, 480), more=source("my own"))
    assert read_voc(other).boxes == (Box("radar", 1, 1, 640, 480),)
    assert read_voc(other, origin=1).boxes == (whole,)
    assert formats.read_annotations(other, origin=1)[0].boxes == (whole,)
    # Written again, the edges count from 0, and are not shifted a second time.
    write_voc(read_voc(pascal), tmp_path / "d.xml")
    assert read_voc(tmp_path / "d.xml").boxes == (whole,)
    with pytest.raises(CourseError, match="origin: 2"):
        read_voc(pascal, origin=2)


# The same two boxes in an image of 200 x 100 pixels, as each format writes them.
SAME = (Box("cat", 20, 10, 60, 50), Box("dog", 100, 0, 200, 100))
YOLO = "0 0.2 0.3 0.2 0.4\n1 0.75 0.5 0.5 1\n"
COCO = {
    "images": [{"id": 7, "file_name": "sub/a.bmp", "width": 200, "height": 100}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [20, 10, 40, 40]},
        {"id": 2, "image_id": 7, "category_id": 5, "bbox": [100, 0, 100, 100]},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
}
FILES = {
    "vott_csv": (
        "cats-export.csv",
        '"image","xmin","ymin","xmax","ymax","label"\n"a.bmp",20,10.0,60,50,"cat"\n'
        '"a.bmp",100,0,200,100,"dog"\n',
    ),
    "tfod_csv": (
        "labels.csv",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.bmp,200,100,cat,20,10,60,50\n"
        "a.bmp,200,100,dog,100,0,200,100\n",
    ),
    "lisa_csv": (
        "allAnnotations.csv",
        "Filename;Annotation tag;Upper left corner X;Upper left corner Y;Lower right corner X;"
        "Lower right corner Y;Occluded,On another road;Origin file;Origin frame number\n"
        "run1/a.bmp;cat;20;10;60;50;0,0;x.avi;2\nrun1/a.bmp;dog;100;0;200;100;0,1;x.avi;2\n",
    ),
    "coco": ("instances.json", json.dumps(COCO)),
    "yolo": ("labels/a.txt", YOLO),
}


@pytest.fixture
def export(tmp_path):
    """Return make(kind, old="", new=""): a folder with one image and its annotations."""

    def make(kind, old="", new=""):
        folder = tmp_path / "export"
        image(folder / "images/a.bmp", 200, 100)
        name, text = FILES[kind]
        assert old in text
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.replace(old, new, 1) if old else text)
        if kind == "yolo":
            (folder / "data.yaml").write_text("train: images\nnc: 2\nnames: [cat, dog]\n")
        return folder

    return make


@pytest.mark.parametrize("kind", FILES)
def test_formats_are_recognised_and_agree(export, kind):
    folder = export(kind)
    (folder / "README.md").write_text("# notes")
    (folder / "train.txt").write_text("images/a.bmp\n")
    (folder / "groups.csv").write_text("image,clip\na.bmp,street\n")
    (folder / "drive.boxes.csv").write_text("frame,label,xmin,ymin,xmax,ymax\n")
    (folder / "package.json").write_text('{"name": "images"}')
    (folder / ".hidden.xml").write_text("<annotation/>")
    assert formats.survey(folder).files == {kind: [folder / FILES[kind][0]]}
    assert not formats.survey(folder).unknown
    (found,) = formats.read_annotations(folder)
    assert (found.image, found.width, found.height) == ("a.bmp", 200, 100)
    assert moved([replace(found, boxes=SAME)], [found]) < 1e-9
    assert [box.label for box in found.boxes] == ["cat", "dog"]
    assert found.source == FILES[kind][0]
    (alone,) = formats.read_annotations(folder / FILES[kind][0], folder / "images")
    assert alone == replace(found, source=Path(found.source).name)


def test_nothing_to_recognise(tmp_path):
    image(tmp_path / "a.bmp", 20, 10)
    assert formats.survey(tmp_path).files == {}
    with pytest.raises(CourseError, match=r"no annotations in it; known are Pascal VOC XML, COCO"):
        formats.read_annotations(tmp_path)
    with pytest.raises(CourseError, match="nowhere: no such folder or file"):
        formats.read_annotations(tmp_path / "nowhere")


WRONG = [
    ("vott_csv", '"ymax",', "", r"cats-export.csv: line 1: no column 'ymax'"),
    ("vott_csv", '"image",', "", r"cats-export.csv: line 1: no column 'image'"),
    ("vott_csv", "10.0", "ten", r"cats-export.csv: line 2: ymin: 'ten' is no number"),
    ("vott_csv", "10.0", "nan", r"line 2: ymin: 'nan' is no number"),
    ("vott_csv", "a.bmp", "b.bmp", r"line 2: picture 'b.bmp' is not among the 1 in"),
    ("vott_csv", '50,"cat"', "50", r"line 2: 5 cells, the table has 6 columns"),
    ("vott_csv", '"cat"', '" "', r"line 2: column 'label' is empty"),
    ("tfod_csv", ",class,", ",kind of,", r"labels.csv: line 1: no column 'class'"),
    ("tfod_csv", "class,", "", r"labels.csv: line 2: 8 cells, the table has 7 columns"),
    ("tfod_csv", "cat,20", "cat,2O", r"labels.csv: line 2: xmin: '2O' is no number"),
    ("tfod_csv", "200,100,dog", "100,200,dog", r"line 3: a.bmp: size 100x200, above it is 200x100"),
    ("tfod_csv", "200,100,dog", "wide,100,dog", r"line 3: width: 'wide' is no number"),
    ("lisa_csv", "Annotation tag", "Tag", r"line 1: no column 'Annotation tag'"),
    (
        "lisa_csv",
        ";60;",
        ";;",
        r"allAnnotations.csv: line 2: Lower right corner X: '' is no number",
    ),
    ("coco", '"categories"', '"classes"', r"instances.json: no list 'categories'"),
    ("coco", '"category_id": 5', '"category_id": 6', r"annotations\[1\]: category_id 6 is not in"),
    ("coco", '"image_id": 7', '"image_id": 8', r"annotations\[0\]: image_id 8 is not in images"),
    (
        "coco",
        '"bbox": [20, 10, 40',
        '"bbox": [20, 40',
        r"annotations\[0\]: bbox is no list of four",
    ),
    ("coco", '"bbox": [20', '"bbox": [null', r"annotations\[0\]: bbox: None is no number"),
    ("coco", '"bbox": [20', '"box": [20', r"annotations\[0\]: no 'bbox'"),
    ("coco", "sub/a.bmp", "sub/b.bmp", r"images\[0\]: picture 'sub/b.bmp' is not among the 1"),
    ("coco", "}]}", "}]", r"instances.json: line 1: no JSON"),
    (
        "yolo",
        "1 0.75",
        "2 0.75",
        r"a.txt: line 2: class '2' in this file; data.yaml names 0 to 1; add its name to data.yaml",
    ),
    ("yolo", "1 0.75", "-1 0.75", r"a.txt: line 2: class '-1' in this file; data.yaml names"),
    ("yolo", "0.75", "0,75", r"a.txt: line 2: value: '0,75' is no number"),
    ("yolo", "0.75", "150", r"a.txt: line 2: .* beyond 1"),
    ("yolo", "0.5 1\n", "0.5 1 0.9\n", r"a.txt: line 2: 6 values; a box has 5"),
]


@pytest.mark.parametrize(("kind", "old", "new", "says"), WRONG)
def test_wrong_input_is_named_with_its_line(export, kind, old, new, says):
    with pytest.raises(CourseError, match=says) as error:
        formats.read_annotations(export(kind, old, new))
    assert "\n" not in str(error.value)


def test_more_wrong_input(export, tmp_path):
    folder = export("yolo")
    (folder / "labels/b.txt").write_text("")
    (folder / "labels/b.txt").unlink()
    (folder / "classes.txt").write_text("dog\ncat\n")
    says = (
        r"data.yaml: other classes than in classes.txt, so nothing says what the classes in a.txt"
    )
    with pytest.raises(CourseError, match=says):
        formats.read_annotations(folder)
    (folder / "classes.txt").unlink()
    (folder / "data.yaml").write_text("train: images\nnames: [cat\n")
    with pytest.raises(CourseError, match=r"data.yaml: line \d: not YAML"):
        formats.read_annotations(folder)
    (folder / "data.yaml").write_text("names: cat\n")
    with pytest.raises(CourseError, match=r"data.yaml: names 'cat'.* write them as a list"):
        formats.read_annotations(folder)
    (folder / "data.yaml").unlink()
    with pytest.raises(CourseError, match=r"a.txt: line 1: nothing says what class '0' in this"):
        formats.read_annotations(folder)
    with pytest.raises(CourseError, match="nowhere: no such folder"):
        formats.read_annotations(folder, tmp_path / "nowhere")
    (folder / "images/a.bmp").write_bytes(b"BM")
    (folder / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(CourseError, match=r"images/a.bmp: no picture that can be read"):
        formats.read_annotations(folder)
    (folder / "images/a.bmp").unlink()
    with pytest.raises(CourseError, match=r"a.txt: picture 'a' is not there"):
        formats.read_annotations(folder)


def test_images_of_one_name_that_are_not_there_are_refused(tmp_path):
    header = "filename,width,height,class,xmin,ymin,xmax,ymax"
    rows = [f"cam{i}/0001.jpg,200,100,radar,1,1,{9 * i},9" for i in (1, 2)]
    (tmp_path / "boxes.csv").write_text("\n".join([header, *rows]))
    with pytest.raises(CourseError, match=r"line 3: cam2/0001.jpg and cam1/0001.jpg would be one"):
        formats.read_annotations(tmp_path)


def test_a_folder_above_called_labels_says_nothing(tmp_path):
    folder = tmp_path / "labels" / "set 1"
    folder.mkdir(parents=True)
    (folder / "README.txt").write_text("Some notes.")
    (folder / "a.xml").write_text("<annotation/>")
    seen = formats.survey(folder)
    assert (seen.files, seen.unknown) == ({"voc": [folder / "a.xml"]}, [])


def test_sizes_that_are_stated_need_no_images(export):
    for kind in ("tfod_csv", "coco"):
        folder = export(kind)
        (folder / "images/a.bmp").unlink()
        (found,) = formats.read_annotations(folder)
        assert (found.image, found.width, found.height) == ("a.bmp", 200, 100)
        (folder / FILES[kind][0]).unlink()


def test_percent_signs_of_vott(export):
    folder = export("vott_csv", "a.bmp", "my%20cat%20(1).bmp")
    (folder / "images/a.bmp").rename(folder / "images/my cat (1).bmp")
    image(folder / "images/a.bmp", 200, 100)
    assert [a.image for a in formats.read_annotations(folder)] == ["my cat (1).bmp", "a.bmp"]
    # Two spellings of one image are one image.
    text = (folder / "cats-export.csv").read_text().replace('"a.bmp"', '"my cat (1).bmp"')
    (folder / "cats-export.csv").write_text(text)
    assert [len(a.boxes) for a in formats.read_annotations(folder)] == [2]


def test_images_without_objects_survive(export):
    folder = export("yolo")
    image(folder / "images/empty.bmp", 20, 10)
    image(folder / "images/forgotten.bmp", 20, 10)
    (folder / "labels/empty.txt").write_text("\n")
    assert {a.image: len(a.boxes) for a in formats.read_annotations(folder)} == {
        "a.bmp": 2,
        "empty.bmp": 0,
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "names:\n  0: cat\n  1: dog\n"),
        ("labels/classes.txt", "cat\ndog\n"),
        ("obj.names", "cat\ndog"),
        ("train/_darknet.labels", "cat\r\ndog\r\n"),
    ],
)
def test_class_names_of_yolo(export, name, text):
    folder = export("yolo")
    (folder / "data.yaml").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    assert [box.label for box in formats.read_annotations(folder)[0].boxes] == ["cat", "dog"]


def test_class_names_beside_the_folder_of_labels(export):
    folder = export("yolo")
    assert len(formats.read_annotations(folder / "labels", folder / "images")[0].boxes) == 2


def test_a_class_may_be_called_no(export):
    folder = export("yolo")
    (folder / "data.yaml").write_text("names: [no, 1.0]\n")
    assert [box.label for box in formats.read_annotations(folder)[0].boxes] == ["no", "1.0"]


def test_rounding_puts_no_edge_outside_and_mends_nothing_else(export):
    folder = export("yolo", "0.75 0.5 0.5 1\n", "0.75 0.5 0.500001 1\n")
    assert formats.read_annotations(folder)[0].boxes[1].xmax == 200
    (folder / "labels/a.txt").write_text("1 0.75 0.5 0.6 1\n")
    box = formats.read_annotations(folder)[0].boxes[0]
    assert box.xmax == pytest.approx(210)
    assert fault(box, 200, 100)[0] == "outside"


def test_sizes_are_those_of_the_upright_image(export):
    from PIL import Image

    folder = export("yolo")
    (folder / "images/a.bmp").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side, 100 wide
    Image.new("RGB", (100, 200)).save(folder / "images/a.jpg", exif=exif)
    (found,) = formats.read_annotations(folder)
    assert (found.width, found.height) == (200, 100)


def test_crowds_and_attributes_of_coco(export):
    folder = export(
        "coco", '"bbox": [20', '"iscrowd": 1, "attributes": {"occluded": true}, "bbox": [20'
    )
    assert formats.read_annotations(folder)[0].boxes[0] == replace(
        SAME[0], difficult=True, occluded=True
    )


def test_a_byte_order_mark_and_commas_in_lisa(export):
    folder = export("lisa_csv")
    text = (folder / "allAnnotations.csv").read_text().replace(",", "|").replace(";", ",")
    text = text.replace("|On another road", "").replace("0|0", "1").replace("0|1", "0")
    (folder / "allAnnotations.csv").write_text(text, encoding="utf-8-sig")
    (found,) = formats.read_annotations(folder)
    assert [box.occluded for box in found.boxes] == [True, False]


def test_labels_give_the_numbers(tmp_path):
    one = Annotation("a.jpg", 200, 100, SAME)
    writing.write_annotations([one], tmp_path, "yolo", ["dog", "bird", "cat"])
    assert [line[0] for line in (tmp_path / "labels/a.txt").read_text().splitlines()] == ["2", "0"]
    writing.write_annotations([one], tmp_path / "x.json", "coco", ["dog", "bird", "cat"])
    data = json.loads((tmp_path / "x.json").read_text())
    assert [item["category_id"] for item in data["annotations"]] == [3, 1]
    assert [item["id"] for item in data["categories"]] == [1, 2, 3]


def test_whole_numbers_are_written_as_such(tmp_path):
    writing.write_annotations([Annotation("a.jpg", 200, 100, SAME)], tmp_path / "x.csv", "tfod_csv")
    assert (tmp_path / "x.csv").read_text().splitlines()[1] == "a.jpg,200,100,cat,20,10,60,50"


def test_what_must_not_be_written(tmp_path):
    good = Annotation("a.jpg", 200, 100, SAME)
    bad = Annotation("b.jpg", 50, 50, SAME)
    out = tmp_path / "out"
    for kind in writing.FORMATS:
        with pytest.raises(CourseError, match=r"b.jpg: object 1 \(cat\): xmax 60 is beyond"):
            writing.write_annotations([good, bad], out, kind)
        with pytest.raises(CourseError, match=r"a.jpg: object 2: label 'dog' is not in labels"):
            writing.write_annotations([good], out, kind, ["cat"])
        with pytest.raises(CourseError, match=r"a.jpg: its file is that of a.jpg"):
            writing.write_annotations([good, good], out, kind)
    with pytest.raises(CourseError, match=r"a.png: its file is that of a.jpg"):
        writing.write_annotations([good, replace(good, image="a.png")], out, "yolo")
    with pytest.raises(CourseError, match="format: 'xls'; choose one of voc"):
        writing.write_annotations([good], out, "xls")
    assert not out.exists()
    writing.write_annotations([good], tmp_path / "x.csv", "tfod_csv")
    with pytest.raises(CourseError, match="origin: 1; only Pascal VOC"):
        formats.read_annotations(tmp_path / "x.csv", origin=1)
