import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.annotations import voc
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.folders import read_folder
from helpers.common import images
from helpers.common.errors import CourseError
from helpers.common.images import ImageSize
from helpers.dataset import audit
from helpers.plots import figures as plots


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


def frames_csv(folder, *rows):
    lines = ["image,clip,frame,time,sharpness,phash"]
    lines += [f"{image},{clip},0,0,1,{phash}" for image, clip, phash in rows]
    (folder.parent / "frames.csv").write_text("\n".join(lines) + "\n")


def test_wrong_size_and_a_box_judged_by_the_true_one(folder):
    small = of(Box("radar", 10, 10, 90, 70), size=(50, 40))
    assert findings(folder, small) == {("a.xml", 0, "wrong size")}
    large = of(Box("radar", 10, 10, 190, 70), size=(200, 160))
    assert findings(folder, large) == {("a.xml", 0, "wrong size"), ("a.xml", 1, "outside")}


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
    assert {p.phash for p in audit.look(folder).values()} == {"0" * 16}
    assert findings(folder, *found) == set()
    with Image.open(folder / "a.jpg") as image:
        image.save(folder / "b.jpg", quality=60)
    assert findings(folder, *found) == {("b.jpg", 0, "near copy")}


def test_the_hash_is_that_of_the_frames_table(tmp_path):
    cv2 = pytest.importorskip("cv2")

    for seed in range(8):
        picture(tmp_path / f"{seed}.jpg", (640, 480), seed)
        exact = images.phash(cv2.imread(str(tmp_path / f"{seed}.jpg")))
        quick = audit.look(tmp_path, {f"{seed}.jpg"})[f"{seed}.jpg"].phash
        assert (int(exact, 16) ^ int(quick, 16)).bit_count() <= 4


def test_ten_thousand_hashes_are_compared_in_seconds():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 1 << 64, 10_000, np.uint64)
    codes[5_000:] = codes[:5_000] ^ np.uint64(3)
    size = ImageSize(1, 1)
    read = {
        f"{i}.jpg": audit.Picture(size, str(i), f"{code:016x}", "0" * 64)
        for i, code in enumerate(codes)
    }
    split = {f"{i}.jpg": "train" if i < 5_000 else "val" for i in range(10_000)}
    start = time.process_time()
    found = audit.leaks("nowhere", read, split)
    assert time.process_time() - start < 10
    assert sorted(found) == sorted((f"{i + 5000}.jpg", f"{i}.jpg", 2) for i in range(5_000))


def applied(folder, target, *found, labels=None):
    """Fix a copy; return {(file, object, kind): action} and what is found in the copy."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    rows = audit.write_fixed(
        folder, found, audit.find_faults(folder, found, labels), target, labels=labels
    )
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    after = audit.find_faults(target / "images", read_folder(target / "annotations"), labels)
    return (
        {(row["file"], row["object"], row["kind"]): row["action"] for row in rows},
        {(f.file, f.object, f.kind) for f in after},
    )


def test_mechanical_faults_are_fixed_in_a_copy(folder, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "bcefgh":
        picture(folder / f"{name}.jpg", exif=exif if name == "c" else b"")
    (folder / "d.jpg").write_bytes((folder / "a.jpg").read_bytes())
    (folder / "f.jpg").write_bytes(b"no image")
    found = [
        of(
            GOOD,
            Box("radar", 60, 10, 40, 30),
            Box("radar", 50, 10, 50, 20),
            Box("radar", 80, 10, 120, 30),
            Box("radar", 120, 10, 140, 30),
            Box("radar ", 10, 50, 30, 70),
            replace(GOOD, ymax=41),
            Box("radar", 130, 50, 90, 70),
            Box("radar", float("nan"), 50, 90, 70),
        ),
        of(GOOD, image="b.jpg", size=(50, 60)),
        of(Box("radar", 10, 10, 70, 95), image="c.jpg", size=(80, 100)),
        of(GOOD, image="other.jpg", source="e.xml"),
        of(GOOD, image="f.jpg"),
        of(Box("radar", 10, 10, 190, 150), image="g.jpg", size=(200, 160)),
        of(GOOD, image="gone.jpg"),
    ]
    done, after = applied(folder, tmp_path / "fixed", *found)
    assert done == {
        ("gone.xml", 0, "no image"): "annotation left out",
        ("a.xml", 2, "inverted"): "edges swapped",
        ("a.xml", 3, "zero area"): "deleted",
        ("a.xml", 4, "outside"): "clipped to the image",
        ("a.xml", 5, "outside"): "deleted: nothing of it is in the image",
        ("a.xml", 6, "label"): "renamed to 'radar'",
        ("a.xml", 7, "same box twice"): "deleted",
        ("a.xml", 8, "inverted"): "edges swapped, clipped",
        ("a.xml", 9, "not a number"): "deleted",
        ("b.xml", 0, "wrong size"): "size set to 100x80: the boxes fit",
        ("c.jpg", 0, "rotated by EXIF"): "written upright, without the tag",
        ("d.jpg", 0, "same picture twice"): "left out, a.jpg is kept",
        ("d.jpg", 0, "no annotation"): "left to a person",
        ("e.xml", 0, "file name"): "name set to e.jpg",
        ("f.jpg", 0, "unreadable image"): "left out, with its annotation",
        ("g.xml", 0, "wrong size"): "left to a person: not all boxes fit into 100x80",
        ("g.xml", 1, "outside"): "left to a person",
        ("h.jpg", 0, "no annotation"): "left to a person",
    }
    assert after == {
        ("g.xml", 0, "wrong size"),
        ("g.xml", 1, "outside"),
        ("h.jpg", 0, "no annotation"),
    }
    fixed = voc.read_voc(tmp_path / "fixed/annotations/a.xml")
    assert fixed.boxes == (
        GOOD,
        Box("radar", 40, 10, 60, 30),
        Box("radar", 80, 10, 100, 30),
        Box("radar", 10, 50, 30, 70),
        Box("radar", 90, 50, 100, 70),
    )
    with Image.open(tmp_path / "fixed/images/c.jpg") as image:
        assert image.size == (80, 100)
    lines = (tmp_path / "fixed/fixes.csv").read_text().splitlines()
    assert lines[0] == "file,object,kind,value,effect,fix,action"
    assert len(lines) == 1 + len(done)


def test_only_the_findings_given_are_fixed(folder, tmp_path):
    found = [
        of(*(Box("radar", 2 * i, 1, 2 * i + 20, 50) for i in range(20)), Box("raddar", 1, 1, 9, 9))
    ]
    [finding] = [f for f in audit.find_faults(folder, found) if f.kind == "label"]
    [row] = audit.write_fixed(folder, found, [finding], tmp_path / "one")
    assert row["action"] == "renamed to 'radar'"
    assert audit.write_fixed(folder, found, [], tmp_path / "none") == []
    kept = voc.read_voc(tmp_path / "none/annotations/a.xml")
    assert kept.boxes == found[0].boxes
    faulty = [of(Box("radar", 10, 10, 120, 20))]
    with pytest.raises(CourseError, match="clip it to 100"):
        audit.write_fixed(folder, faulty, [], tmp_path / "faulty")
    assert not (tmp_path / "faulty").exists()


def test_labels_are_fixed_to_those_allowed(folder, tmp_path):
    house = Box("house", 50, 10, 80, 40)
    found = of(replace(GOOD, label="RADAR"), house)
    done, _ = applied(folder, tmp_path / "fixed", found, labels=["radar"])
    assert done == {
        ("a.xml", 1, "label"): "renamed to 'radar'",
        ("a.xml", 2, "class left out"): "left to a person",
    }


def test_a_copy_keeps_its_clips(folder, tmp_path):
    frames_csv(folder, ("a.jpg", "drive", ""))
    audit.write_fixed(folder, [of(GOOD)], [], tmp_path / "fixed")
    assert (tmp_path / "fixed/groups.csv").read_text() == "image,clip\na.jpg,drive\n"


def test_statistics_are_in_pixels_of_the_input():
    box = Box("car", 100, 200, 300, 300)
    wide = of(box, replace(box, xmax=100), size=(1000, 500))
    [row] = audit.box_statistics([wide], (500, 500))
    assert row == {
        "image": "a.jpg",
        "label": "car",
        "difficult": False,
        "width": 100,
        "height": 50,
        "side": pytest.approx(5000**0.5),
        "aspect": 2,
        "x": 0.2,
        "y": 0.5,
    }


def test_the_share_of_objects_that_will_be_invisible():
    boxes = [Box("car", 0, 0, side, side) for side in (6, 12, 20, 40)]
    found = [of(*boxes, Box("sign", 0, 0, 50, 50)), of(boxes[3], image="b.jpg")]
    assert audit.share_under(audit.box_statistics(found, (100, 80))) == [
        {
            "label": "car",
            "images": 2,
            "boxes": 5,
            "per_image": 2.5,
            "side": 20,
            "under_8": 0.2,
            "under_16": 0.4,
            "under_32": 0.6,
        },
        {
            "label": "sign",
            "images": 1,
            "boxes": 1,
            "per_image": 1,
            "side": 50,
            "under_8": 0,
            "under_16": 0,
            "under_32": 0,
        },
    ]


def test_statistics_and_findings_are_drawn(folder, capsys):
    labels = ("car", "sign", "radar", "bus", "van")
    boxes = [Box(label, 5, 5, 30 + i, 25) for i, label in enumerate(labels)]
    nothing = Box("car", float("nan"), 1, 2, 3)
    found = [of(*boxes, Box("car", 90, 10, 120, 30), Box("car", 50, 50, 50, 60), nothing)]
    rows = audit.box_statistics(found, (50, 40))
    options = {"images": 1, "input_size": (50, 40)}
    (folder / "b.jpg").write_bytes(b"no image")
    findings = audit.find_faults(folder, found)
    assert len({f.kind for f in findings}) == 5
    for most in (1, 12):
        plots.findings(folder, found, findings, most=most, caption="What is wrong.")
    plots.statistics(rows, **options, caption="What there is.")
    assert capsys.readouterr().out.count("What is wrong.\n") == 2
    plots.findings(folder, found, [], caption="What is wrong.")
    plots.statistics([], **options, caption="What there is.")
    assert capsys.readouterr().out.count("(There is nothing to show.)") == 2


def test_every_kind_says_what_it_does():
    from helpers.dataset.audit import _EFFECTS

    planted = Path(__file__).read_text()
    assert all(f'"{kind}"' in planted for kind in _EFFECTS)


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
