import numpy as np
import pytest
from PIL import Image

from helpers import annotations, audit
from helpers.annotations import Annotation, Box


def picture(path, size=(100, 80), **options):
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(path, **options)


def findings(folder, *found, labels=None):
    return {(f.file, f.object, f.kind) for f in audit.check(folder, found, labels)}


@pytest.fixture
def folder(tmp_path):
    picture(tmp_path / "a.jpg")
    return tmp_path


def of(*boxes, image="a.jpg", size=(100, 80), source="a.xml"):
    return Annotation(image, *size, boxes, source)


def test_nothing_is_found_where_nothing_is_wrong(folder):
    good = of(Box("radar", 0, 0, 100, 80), Box("radar", 10, 10, 30, 40))
    assert audit.check(folder, [good], ["radar"]) == []
    assert audit.check(folder, [of()]) == []


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        (Box("radar", 50, 10, 40, 20), "inverted"),
        (Box("radar", 10, 10, 10, 20), "zero area"),
        (Box("radar", 10, 10, 120, 20), "outside"),
        (Box("radar", float("inf"), 10, 120, 20), "not a number"),
        (Box("radar", 10, 10, 12, 40), "tiny"),
    ],
)
def test_faulty_boxes(folder, box, kind):
    assert findings(folder, of(Box("radar", 1, 1, 50, 50), box)) == {("a.xml", 2, kind)}


def test_a_small_box_that_is_marked_difficult_is_no_slip(folder):
    assert findings(folder, of(Box("radar", 10, 10, 12, 40, difficult=True))) == set()


def test_the_same_box_twice(folder):
    box = Box("radar", 1, 1, 50, 50)
    assert findings(folder, of(box, Box("car", 1, 1, 50, 50), box)) == {
        ("a.xml", 3, "same box twice")
    }


def test_images_and_annotations_without_each_other(folder):
    picture(folder / "b.jpg")
    found = findings(folder, of(), of(image="gone.jpg", source="gone.xml"))
    assert found == {("b.jpg", 0, "no annotation"), ("gone.xml", 0, "no image")}


def test_an_image_that_is_none(folder):
    (folder / "b.jpg").write_bytes(b"<html>not found</html>")
    assert ("b.jpg", 0, "unreadable image") in findings(
        folder, of(), of(image="b.jpg", source="b.xml")
    )


def test_wrong_size_and_a_box_judged_by_the_true_one(folder):
    small = of(Box("radar", 10, 10, 90, 70), size=(50, 40))
    assert findings(folder, small) == {("a.xml", 0, "wrong size")}
    large = of(Box("radar", 10, 10, 190, 70), size=(200, 160))
    assert findings(folder, large) == {("a.xml", 0, "wrong size"), ("a.xml", 1, "outside")}


def test_a_name_inside_that_differs(folder):
    assert findings(folder, of(image="other.jpg")) == {("a.xml", 0, "file name")}


def test_an_image_that_exif_turns(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(folder / "a.jpg", exif=exif)
    upright = of(Box("radar", 10, 10, 70, 95), size=(80, 100))
    assert findings(folder, upright) == {("a.jpg", 0, "rotated by EXIF")}


@pytest.mark.parametrize("label", ["Radar", "radar ", "raddar", "house"])
def test_labels_that_are_not_known(folder, label):
    found = audit.check(folder, [of(Box(label, 1, 1, 50, 50))], ["radar", "car"])
    slip = label != "house"
    assert [(f.object, f.kind) for f in found] == [(1, "label" if slip else "class left out")]
    assert ("'radar'" in found[0].fix) == slip


def test_labels_that_look_like_a_more_frequent_one(folder):
    boxes = [Box("radar", i, 1, i + 20, 50) for i in range(20)]
    for slip in ("Radar", " radar", "raddar"):
        found = findings(folder, of(*boxes, Box(slip, 40, 1, 90, 50)))
        assert found == {("a.xml", 21, "label")}
    assert findings(folder, of(*boxes, Box("car", 40, 1, 90, 50))) == set()


def test_every_finding_says_what_it_does_and_how_to_mend_it(folder):
    found = audit.check(folder, [of(Box("radar", 50, 10, 40, 20))])
    assert all((f.value, f.effect, f.fix) for f in found)


def test_only_looks_at_the_images_asked_for(folder):
    picture(folder / "b.jpg")
    assert audit.check(folder, [of()], only={"a.jpg"}) == []


def test_the_two_bad_boxes_of_bccd(shared):
    where = shared / "datasets/bccd"
    found = audit.check(where / "JPEGImages", annotations.read_folder(where / "Annotations"))
    assert [(f.file, f.object, f.kind) for f in found] == [
        ("BloodImage_00338.xml", 13, "zero area"),
        ("BloodImage_00343.xml", 4, "zero area"),
    ]
