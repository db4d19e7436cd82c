from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.annotations import voc
from helpers.annotations.boxes import Annotation, Box, fault, iou, problem, repaired
from helpers.annotations.folders import images_in
from helpers.annotations.label_map import read_label_map, write_label_map
from helpers.annotations.pairing import merged, pair, read_folder
from helpers.common.errors import CourseError

GOOD = """<annotation><filename>a.jpg</filename>
<size><width>640</width><height>480</height><depth>3</depth></size>
<object><name>radar</name><truncated>1</truncated><difficult>0</difficult>
<bndbox><xmin>10</xmin><ymin>20.5</ymin><xmax>30</xmax><ymax>60</ymax></bndbox></object>
</annotation>"""

label = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cn", "Cs")), min_size=1
).filter(lambda text: text.strip() != "")


@st.composite
def annotated(draw):
    width, height = draw(st.integers(1, 8000)), draw(st.integers(1, 8000))

    def span(size):
        low = draw(st.integers(0, size * 100 - 1))
        return low / 100, draw(st.integers(low + 1, size * 100)) / 100

    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        (xmin, xmax), (ymin, ymax) = span(width), span(height)
        flags = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
        boxes.append(Box(draw(label), xmin, ymin, xmax, ymax, *flags))
    return Annotation("Kamera 1 é.jpg", width, height, tuple(boxes))


@settings(max_examples=60, deadline=None)
@given(annotation=annotated())
def test_voc_comes_back_as_it_was_written(annotation, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "Kamera 1 é.xml"
    voc.write_voc(annotation, path)
    again = voc.read_voc(path)
    assert again.source == path.name
    assert Annotation(again.image, again.width, again.height, again.boxes) == annotation


def test_whole_coordinates_are_written_without_a_point(tmp_path):
    box = Box("radar", 1.0, 2.345, 30.0, 40.0)
    voc.write_voc(Annotation("a.jpg", 100, 100, (box,)), tmp_path / "a.xml")
    text = (tmp_path / "a.xml").read_text()
    assert "<xmin>1</xmin>" in text
    assert "<ymin>2.35</ymin>" in text or "<ymin>2.34</ymin>" in text


def test_reads_coordinates_as_they_stand(tmp_path):
    (tmp_path / "a.xml").write_text(GOOD)
    found = voc.read_voc(tmp_path / "a.xml")
    assert (found.image, found.width, found.height) == ("a.jpg", 640, 480)
    assert found.boxes == (Box("radar", 10.0, 20.5, 30.0, 60.0, truncated=True),)


def test_takes_the_file_name_out_of_a_windows_path(tmp_path):
    (tmp_path / "a.xml").write_text(GOOD.replace("a.jpg", r"C:\pictures\b.jpg"))
    assert voc.read_voc(tmp_path / "a.xml").image == "b.jpg"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text[:80], "broken XML"),
        (lambda text: "", "broken XML"),
        (lambda text: "<html></html>", "root <html>"),
        (lambda text: text.replace("width>", "breadth>"), "<size> missing or 0"),
        (lambda text: text.replace("640", "wide"), "size: width: 'wide' is no number"),
        (lambda text: text.replace("ymax>", "bottom>"), "object 1: <ymax> missing"),
        (lambda text: text.replace("bndbox", "polygon"), "object 1: <xmin> missing"),
        (lambda text: text.replace("radar", " "), "object 1: <name> is empty"),
        (
            lambda text: '<!DOCTYPE a [<!ENTITY e "x">]>' + text.replace("radar", "&e;"),
            "declares entities",
        ),
    ],
)
def test_broken_files_are_named_in_one_line(tmp_path, change, says):
    (tmp_path / "bad.xml").write_text(change(GOOD))
    with pytest.raises(CourseError, match=r"bad.xml") as error:
        voc.read_voc(tmp_path / "bad.xml")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        (Box("a", 50, 10, 40, 20), "inverted"),
        (Box("a", 10, 50, 20, 40), "inverted"),
        (Box("a", 10, 10, 10, 20), "zero area"),
        (Box("a", -1, 10, 20, 20), "outside"),
        (Box("a", 10, 10, 101, 20), "outside"),
        (Box("a", 10, 10, 20, 80.5), "outside"),
        (Box("a", float("nan"), 10, 20, 20), "not a number"),
    ],
)
def test_faulty_boxes_are_found_and_not_written(tmp_path, box, kind):
    assert fault(box, 100, 80)[0] == kind
    assert ";" in problem(box, 100, 80)
    with pytest.raises(CourseError, match=r"a.xml: object 2"):
        voc.write_voc(Annotation("a.jpg", 100, 80, (Box("a", 0, 0, 9, 9), box)), tmp_path / "a.xml")
    assert not (tmp_path / "a.xml").exists()


@pytest.mark.parametrize(
    ("xyxy", "expected"),
    [
        ((10, 10, 20, 20), (10, 10, 20, 20)),
        ((20, 10, 10, 20), (10, 10, 20, 20)),
        ((-5, -5, 120, 90), (0, 0, 100, 80)),
        ((130, 70, 90, 10), (90, 10, 100, 70)),
        ((110, 10, 120, 20), None),
        ((10, 10, 10, 20), None),
        ((float("nan"), 10, 20, 20), None),
        ((10, 10, float("inf"), 20), None),
    ],
)
def test_boxes_are_repaired_if_something_is_left(xyxy, expected):
    box = Box("a", *xyxy, truncated=True)
    found = repaired(box, 100, 80)
    assert found == (expected and Box("a", *expected, truncated=True))


def test_intersection_over_union():
    box = Box("a", 0, 0, 10, 10)
    assert iou(box, box) == iou(Box("a", 5, 5, 5, 9), Box("b", 5, 5, 5, 9)) == 1
    assert iou(box, Box("a", 5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert iou(box, Box("a", 10, 0, 20, 10)) == iou(box, Box("a", 0, 30, 9, 40)) == 0


def test_a_box_over_the_whole_image_is_fine():
    assert problem(Box("a", 0, 0, 100, 80), 100, 80) is None


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(label, min_size=1, unique=True))
def test_label_map_comes_back(labels, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "label_map.pbtxt"
    write_label_map(labels, path)
    expected = {name: number for number, name in enumerate(labels, 1)}
    # A Freebase id would be read as display_name, which we never write.
    assert read_label_map(path) == expected


def test_label_maps_of_others_are_read(tmp_path):
    path = tmp_path / "map.pbtxt"
    path.write_text(
        '# COCO\nitem {\n  name: "/m/01g317"\n  id: 1\n  display_name: "person"\n}\n'
        "item { id: 3 display_name: 'speed camera' }\nitem{id:2,name:'radar'}"
    )
    assert read_label_map(path) == {"person": 1, "speed camera": 3, "radar": 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no item"),
        ("item { id: 0 name: 'a' }", "ids start at 1"),
        ("item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "given twice"),
        ("item { id: 1 name: 'a' } item { id: 2 name: 'a' }", "given twice"),
        ("item { name: 'a' }", "no id or no name"),
    ],
)
def test_wrong_label_maps_are_refused(tmp_path, text, says):
    (tmp_path / "map.pbtxt").write_text(text)
    with pytest.raises(CourseError, match=says):
        read_label_map(tmp_path / "map.pbtxt")


def test_folders_are_read_as_people_count(tmp_path):
    for name in ("frame10", "frame9", "frame100"):
        (tmp_path / f"{name}.xml").write_text(GOOD)
        (tmp_path / f"{name}.jpg").touch()
    (tmp_path / "._frame9.xml").write_bytes(b"\0\5\x16\7")  # as macOS leaves it
    assert [a.source for a in read_folder(tmp_path)] == [
        "frame9.xml",
        "frame10.xml",
        "frame100.xml",
    ]
    assert [p.stem for p in images_in(tmp_path)] == ["frame9", "frame10", "frame100"]


def test_images_that_would_share_an_annotation_are_refused(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.png").touch()
    with pytest.raises(CourseError, match=r"a.jpg and a.png would share"):
        images_in(tmp_path)


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(CourseError, match="nowhere: no such folder"):
        images_in(tmp_path / "nowhere")
    with pytest.raises(CourseError, match="no images in it"):
        images_in(tmp_path)
    with pytest.raises(CourseError, match="nowhere: no such folder"):
        read_folder(tmp_path / "nowhere")


def test_the_xml_with_the_images_stem_wins():
    by_stem = Annotation("old_name.jpg", 10, 10, source="a.xml")
    by_name = Annotation("b.jpg", 10, 10)
    assert pair(["a.jpg", "b.jpg", "c.jpg"], [by_stem, by_name]) == {
        "a.jpg": by_stem,
        "b.jpg": by_name,
    }


def test_how_letters_are_composed_makes_no_difference(tmp_path):
    whole, parts = "Br\xfccke.jpg", "Bru\u0308cke.jpg"
    one = Annotation(whole, 10, 10, source="Br\xfccke.xml")
    assert pair([parts], [one]) == pair([parts], [Annotation(whole, 10, 10)]) | {parts: one}
    voc.write_voc(Annotation(parts, 10, 10), tmp_path / "Bru\u0308cke.xml")
    assert [a.image for a in merged([one], tmp_path)] == [parts]


def test_real_annotations_of_two_tools_are_read(shared):
    frames = read_folder(Path(shared) / "datasets/speedtraps/annotations")
    assert len(frames) == 491
    assert sum(len(a.boxes) for a in frames) == 389
    photos = read_folder(Path(shared) / "datasets/raccoon/annotations")
    assert {box.label for a in photos for box in a.boxes} == {"raccoon"}
