import io
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers import plots
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.pairing import read_folder
from helpers.dataset import audit
from helpers.dataset.findings import kinds
from helpers.dataset.near_copies import read_pictures
from helpers.dataset.statistics import box_statistics


def picture(path, size=(100, 80), seed=None, **options):
    """Write a picture of soft blobs, another for each file name or `seed`."""
    seed = sum(path.name.encode()) if seed is None else seed
    blobs = np.random.default_rng(seed).integers(0, 255, (8, 10, 3), np.uint8)
    Image.fromarray(blobs).resize(size, Image.Resampling.BICUBIC).save(path, **options)


def findings(folder, *found, labels=None, **options):
    return {(f.file, f.object, f.kind) for f in audit.find_faults(folder, found, labels, **options)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    picture(tmp_path / "images/a.jpg")
    return tmp_path / "images"


def of(*boxes, image="a.jpg", size=(100, 80), source=None):
    return Annotation(image, *size, boxes, source or f"{image[:-4]}.xml")


GOOD = Box("radar", 10, 10, 30, 40)


def test_nothing_is_found_where_nothing_is_wrong(folder):
    assert audit.find_faults(folder, [of(Box("radar", 0, 0, 100, 80), GOOD)], ["radar"]) == []


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
    found = findings(folder, of(GOOD), of(image="gone.jpg"))
    assert found == {("b.jpg", 0, "no annotation"), ("gone.xml", 0, "no image")}


def test_an_image_that_is_none(folder):
    (folder / "b.jpg").write_bytes(b"<html>not found</html>")
    assert findings(folder, of(GOOD), of(GOOD, image="b.jpg")) == {("b.jpg", 0, "unreadable image")}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("hashed", [False, True])
def test_an_image_that_is_cut_short(folder, suffix, hashed):
    path = folder / f"b{suffix}"
    picture(path)
    path.write_bytes(path.read_bytes()[:-300])
    if hashed:  # then whole images are not decoded
        frames_csv(folder, ("a.jpg", "a", "0123456789abcdef"), (path.name, "b", "f" * 16))
    found = audit.find_faults(folder, [of(GOOD), of(GOOD, image=path.name, source="b.xml")])
    assert [(f.file, f.kind) for f in found] == [(path.name, "unreadable image")]
    assert "cut short" in found[0].value


def saved(format, **options):
    """A picture as the bytes of a file."""
    blobs = np.random.default_rng(1).integers(0, 255, (8, 10, 3), np.uint8)
    image = Image.fromarray(blobs).resize((100, 80), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.convert(options.pop("mode", "RGB")).save(file, format, **options)
    return file.getvalue()


def with_preview(jpeg):
    """A JPEG that holds another one, whole, in a segment, as those of cameras do."""
    preview = saved("JPEG")
    segment = b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview
    return jpeg[:2] + segment + jpeg[2:]


# What TensorFlow says to each was looked up with its own decoder.
FILES = {
    "whole": ("a.jpg", saved("JPEG"), True),
    "garbage behind it": ("a.jpg", saved("JPEG") + b"x" * 500, True),
    "progressive": ("a.jpg", saved("JPEG", progressive=True), True),
    "grey": ("a.jpg", saved("JPEG", mode="L"), True),
    "four inks": ("a.jpg", saved("JPEG", mode="CMYK"), True),
    "a GIF by another name": ("a.jpg", saved("GIF"), True),
    "palette": ("a.png", saved("PNG", mode="P"), True),
    "16 bit": (
        "a.png",
        cv2.imencode(".png", np.full((80, 100), 999, np.uint16))[1].tobytes(),
        True,
    ),
    "two bytes short": ("a.jpg", saved("JPEG")[:-2], False),
    "a third short": ("a.jpg", saved("JPEG")[:-900], False),
    "short, but for its preview": ("a.jpg", with_preview(saved("JPEG"))[:-2], False),
    "the end is zeros": ("a.jpg", saved("JPEG")[:-900] + bytes(900), False),
    "PNG without its end": ("a.png", saved("PNG")[:-12], False),
    "PNG with a wrong checksum": ("a.png", saved("PNG")[:-13] + b"x" + saved("PNG")[-12:], False),
    "half a BMP": ("a.bmp", saved("BMP")[:-9000], False),
    "half a WebP": ("a.webp", saved("WEBP")[:-300], False),
    "a web page": ("a.jpg", b"<html>not found</html>", False),
    "nothing": ("a.jpg", b"", False),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("hashed", [False, True])
def test_pictures_that_tensorflow_does_not_decode(tmp_path, kind, hashed):
    name, data, good = FILES[kind]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / name).write_bytes(data)
    if hashed and good:  # only what was decoded in lesson 02 has a hash
        frames_csv(tmp_path / "images", (name, "a", "f" * 16))
    problem = read_pictures(tmp_path / "images")[name].problem
    assert (problem == "") == good, problem


def test_a_picture_as_thin_as_a_thread(folder):
    Image.new("RGB", (1, 3000)).save(folder / "thread.jpg")
    found = audit.find_faults(folder, [of(GOOD), of(image="thread.jpg", size=(1, 3000))])
    assert ("thread.jpg", "unreadable image", "1x3000 pixels: too thin to be resized") in {
        (f.file, f.kind, f.value) for f in found
    }


def test_a_pipe_a_folder_and_a_loop_named_like_pictures(folder):
    os.mkfifo(folder / "pipe.jpg")
    (folder / "folder.jpg").mkdir()
    (folder / "loop.jpg").symlink_to("loop.jpg")
    read = read_pictures(folder)
    assert all(read[name].problem for name in read if name != "a.jpg")
    assert not read["a.jpg"].problem


def frames_csv(folder, *rows):
    lines = ["image,clip,frame,time,sharpness,phash"]
    lines += [f"{image},{clip},0,0,1,{phash}" for image, clip, phash in rows]
    (folder.parent / "frames.csv").write_text("\n".join(lines) + "\n")


def test_wrong_size_and_a_box_judged_by_the_true_one(folder):
    small = of(Box("radar", 10, 10, 90, 70), size=(50, 40))
    assert findings(folder, small) == {("a.xml", 0, "wrong size")}
    large = of(Box("radar", 10, 10, 190, 70), size=(200, 160))
    [found] = audit.find_faults(folder, [large])
    assert found.value == (
        "XML says 200x160, the image is 100x80: resized by 0.5 since it was annotated"
    )
    beyond = of(Box("radar", 10, 10, 210, 70), size=(200, 160))
    assert findings(folder, beyond) == {("a.xml", 0, "wrong size"), ("a.xml", 1, "outside")}
    other = of(Box("radar", 10, 10, 90, 70), size=(160, 160))
    [found] = audit.find_faults(folder, [other])
    assert found.value.endswith("another shape, so that its boxes belong to another picture")


def test_a_name_inside_that_differs(folder):
    assert findings(folder, of(GOOD, image="other.jpg", source="a.xml")) == {
        ("a.xml", 0, "file name")
    }


def test_an_image_that_exif_turns(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(folder / "a.jpg", exif=exif)
    upright = of(Box("radar", 10, 10, 70, 95), size=(80, 100))
    assert findings(folder, upright) == {("a.jpg", 0, "rotated by EXIF")}


@pytest.mark.parametrize("label", ["Radar", "radar ", "raddar", "house"])
def test_labels_that_are_not_known(folder, label):
    found = audit.find_faults(folder, [of(Box(label, 1, 1, 50, 50))], ["radar", "car"])
    slip = label != "house"
    assert [(f.object, f.kind) for f in found] == [(1, "label" if slip else "class left out")]
    assert ("'radar'" in found[0].fix) == slip


def test_labels_that_look_like_a_more_frequent_one(folder):
    boxes = [Box("radar", 2 * i, 1, 2 * i + 20, 50) for i in range(20)]
    for slip in ("Radar", " radar", "raddar"):
        found = findings(folder, of(*boxes, Box(slip, 60, 1, 80, 50)))
        assert found == {("a.xml", 21, "label")}
    assert findings(folder, of(*boxes, Box("car", 40, 1, 90, 50))) == {
        ("all files", 0, "class imbalance")
    }


@pytest.mark.parametrize(
    ("often", "rare"),
    [
        ("speed_limit_40", "speed_limit_50"),
        ("boeing_737", "boeing_747"),
        ("A4", "A3"),
        ("lane 1", "lane 11"),
    ],
)
def test_a_rare_label_with_other_digits_is_another_class(folder, often, rare):
    boxes = [Box(often, 2 * i, 1, 2 * i + 20, 50) for i in range(20)]
    found = audit.find_faults(folder, [of(*boxes, Box(rare, 60, 1, 80, 50))])
    assert [f.kind for f in found] == ["class imbalance"]
    [left_out] = audit.find_faults(folder, [of(Box(rare, 60, 1, 80, 50))], [often])
    assert left_out.kind == "class left out"


def test_two_frequent_labels_that_are_alike_are_two_classes(folder):
    cats = [Box("cart", 3 * i, 1, 3 * i + 20, 50) for i in range(8)]
    carts = [Box("carts", 3 * i, 30, 3 * i + 20, 75) for i in range(8)]
    assert findings(folder, of(*cats, *carts)) == set()


def test_every_finding_says_what_it_does_and_how_to_mend_it(folder):
    found = audit.find_faults(folder, [of(Box("radar", 50, 10, 40, 20))])
    assert all((f.value, f.effect, f.fix) for f in found)


def test_only_looks_at_the_images_asked_for(folder):
    picture(folder / "b.jpg")
    assert audit.find_faults(folder, [of(GOOD)], only={"a.jpg"}) == []


def test_a_box_drawn_twice_by_hand(folder):
    near = Box("radar", 10, 10, 50, 50), Box("radar", 11, 10, 50, 51)
    found = audit.find_faults(folder, [of(GOOD, *near)])
    assert [(f.object, f.kind) for f in found] == [(3, "same box twice")]
    assert "IoU 0.95, over 0.9" in found[0].value
    hidden = replace(near[1], difficult=True), replace(near[1], label="car")
    for other in hidden:
        assert findings(folder, of(GOOD, near[0], other)) == set()
    spelt = of(near[0], replace(near[0], label="Radar"), GOOD)
    assert ("a.xml", 2, "same box twice") in findings(folder, spelt)


def cars(*more):
    """Annotations of 40 images with a car of about 30x20 pixels each, and `more` in the last."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(40):
        width, height = 30 * rng.uniform(0.7, 1.4), 20 * rng.uniform(0.7, 1.4)
        box = Box("car", 20, 20, 20 + width, 20 + height)
        found.append(of(box, *(more if i == 39 else ()), image=f"{i}.jpg"))
    return found


@pytest.fixture
def road(folder):
    for i in range(40):
        picture(folder / f"{i}.jpg", seed=i)
    (folder / "a.jpg").unlink()
    return folder


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        (Box("car", 60, 40, 65, 45), "small"),
        (Box("car", 1, 1, 98, 78), "large"),
        (Box("car", 2, 60, 95, 66), "odd shape"),
    ],
)
def test_boxes_unlike_all_others_of_their_label(road, box, kind):
    found = audit.find_faults(road, cars(box))
    assert [(f.file, f.object, f.kind) for f in found] == [("39.xml", 2, kind)]
    assert "half of all 'car' have" in found[0].value
    other = findings(road, *cars(replace(box, label="truck")))
    assert other == {("all files", 0, "class imbalance")}
    if kind != "large":
        assert audit.find_faults(road, cars(replace(box, truncated=True))) == []
        assert audit.find_faults(road, cars(replace(box, xmin=0, xmax=box.xmax - box.xmin))) == []


def test_few_boxes_are_not_judged_by_their_quartiles(road):
    last = cars(Box("car", 60, 40, 65, 45))[-10:]
    assert audit.find_faults(road, last, only={a.image for a in last}) == []


def test_a_class_ten_times_rarer(road):
    bus = Box("bus", 50, 50, 80, 70)
    found = audit.find_faults(road, cars(bus, replace(bus, ymin=40)))
    assert [(f.file, f.kind) for f in found] == [("all files", "class imbalance")]
    assert "'bus' 2 boxes, 'car' 40" in found[0].value
    buses = [replace(a, boxes=(*a.boxes, bus)) for a in cars()[:5]]
    assert audit.find_faults(road, [*buses, *cars()[5:]]) == []


def test_photos_without_objects_are_named(road):
    empty = [replace(a, boxes=()) if a.image == "7.jpg" else a for a in cars()]
    assert findings(road, *empty) == {("7.xml", 0, "empty")}


def test_frames_without_objects_are_named_between_frames_with_some(road):
    frames_csv(road, *((f"{i}.jpg", "ab"[i // 20], "") for i in range(40)))
    for gap, expected in ((range(7, 8), {"7.xml"}), (range(7, 9), set()), (range(18, 20), set())):
        found = [replace(a, boxes=()) if int(a.image[:-4]) in gap else a for a in cars()]
        assert findings(road, *found) == {(name, 0, "empty") for name in expected}


def test_the_same_picture_twice(folder):
    copy = folder / "b.jpg"
    copy.write_bytes((folder / "a.jpg").read_bytes())
    found = audit.find_faults(folder, [of(GOOD), of(GOOD, image="b.jpg")])
    assert [(f.file, f.kind, f.value) for f in found] == [
        ("b.jpg", "same picture twice", "the same bytes as a.jpg")
    ]
    found = audit.find_faults(folder, [of(GOOD), of(Box("radar", 1, 1, 9, 9), image="b.jpg")])
    assert found[0].value == "the same bytes as a.jpg, but with other boxes"


def test_nearly_the_same_picture(folder):
    with Image.open(folder / "a.jpg") as image:
        image.resize((60, 48)).save(folder / "b.jpg", quality=60)
    picture(folder / "c.jpg")
    found = [of(GOOD), of(GOOD, image="b.jpg", size=(60, 48)), of(GOOD, image="c.jpg")]
    assert findings(folder, *found) == {("b.jpg", 0, "near copy")}
    frames_csv(folder, *((f"{name}.jpg", "one clip", "") for name in "abc"))
    assert findings(folder, *found) == set()
    sides = {"a.jpg": "train", "b.jpg": "val", "c.jpg": "val"}
    assert findings(folder, *found, split=sides) == {("b.jpg", 0, "neighbour across the split")}
    assert findings(folder, *found, split=dict.fromkeys(sides, "train")) == set()


def test_hashes_of_the_frames_table_are_used_and_looked_at_closer(folder):
    picture(folder / "b.jpg")
    found = [of(GOOD), of(GOOD, image="b.jpg")]
    # Equal hashes, but the pictures differ: the closer look says so.
    frames_csv(folder, ("a.jpg", "a", "0" * 16), ("b.jpg", "b", "0" * 16))
    assert {p.phash for p in read_pictures(folder).values()} == {"0" * 16}
    assert findings(folder, *found) == set()
    with Image.open(folder / "a.jpg") as image:
        image.save(folder / "b.jpg", quality=60)
    assert findings(folder, *found) == {("b.jpg", 0, "near copy")}


def test_statistics_and_findings_are_drawn(folder, capsys):
    labels = ("car", "sign", "radar", "bus", "van")
    boxes = [Box(label, 5, 5, 30 + i, 25) for i, label in enumerate(labels)]
    nothing = Box("car", float("nan"), 1, 2, 3)
    found = [of(*boxes, Box("car", 90, 10, 120, 30), Box("car", 50, 50, 50, 60), nothing)]
    rows = box_statistics(found, (50, 40))
    options = {"images": 1, "input_size": (50, 40)}
    (folder / "b.jpg").write_bytes(b"no image")
    findings = audit.find_faults(folder, found)
    assert len({f.kind for f in findings}) == 5
    for most in (1, 12):
        plots.findings(folder, found, findings, most=most, caption="What is wrong.")
    plots.statistics(rows, **options, caption="What there is.")
    assert "What is wrong.\n" in capsys.readouterr().out
    plots.findings(folder, found, [], caption="What is wrong.")
    plots.statistics([], **options, caption="What there is.")
    assert capsys.readouterr().out.count("(There is nothing to show.)") == 2


def test_every_kind_says_what_it_does():
    planted = Path(__file__).read_text()
    planted += Path(__file__).with_name("test_assemble.py").read_text()
    assert all(f'"{kind}"' in planted for kind in kinds())
    assert all(texts["effect"] for texts in kinds().values())


def test_the_two_bad_boxes_of_bccd(shared):
    where = shared / "datasets/bccd"
    found = audit.find_faults(where / "JPEGImages", read_folder(where / "Annotations"))
    unfit = [(f.file, f.object) for f in found if f.kind == "zero area"]
    assert unfit == [("BloodImage_00338.xml", 13), ("BloodImage_00343.xml", 4)]
    assert {f.kind for f in found} == {
        "zero area",
        "same box twice",
        "near copy",
        "odd shape",
        "small",
        "large",
        "class imbalance",
    }
    assert len(found) == 21


def test_the_copies_of_raccoon(shared):
    where = shared / "datasets/raccoon"
    found = audit.find_faults(where / "images", read_folder(where / "annotations"))
    copies = {f.file for f in found if f.kind == "same picture twice"}
    assert copies == {f"raccoon-{number}.jpg" for number in (74, 98, 116, 120)}
