"""The dataset folder: what is written, repaired, left out, and said in audit.csv."""

import dataclasses
import os

import numpy as np
import pytest
from PIL import Image

from helpers.annotations import voc
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.label_map import read_label_map
from helpers.common import artifacts
from helpers.common.errors import CourseError
from helpers.common.files import read_csv, write_csv
from helpers.dataset.assemble import write_dataset
from helpers.dataset.split import leak_check

RADAR = Box("radar", 10, 10, 30, 60)


def scene(seed):
    """A picture of soft blobs, 100x80: unlike those of other seeds, like itself when resized."""
    blobs = np.random.default_rng(seed).integers(0, 255, (8, 10, 3), np.uint8)
    return Image.fromarray(blobs).resize((100, 80), Image.Resampling.BICUBIC)


@pytest.fixture
def frames(tmp_path):
    """Four clips of five frames of 100x80, one radar in each; clip d shows nothing."""
    folder = tmp_path / "02_frames"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    rows = []
    for clip in "abcd":
        for i in range(5):
            name = f"{clip}_{i:05d}.jpg"
            scene(len(rows)).save(folder / "images" / name)
            put(folder, name, *([] if clip == "d" else [RADAR]))
            rows.append({"image": name, "clip": clip})
    write_csv(folder / "frames.csv", ("image", "clip"), rows)
    return folder


def put(folder, image, *boxes, size=(100, 80)):
    """Write an annotation without the checks of `write_voc`."""
    objects = "".join(
        f"<object><name>{b.label}</name><bndbox><xmin>{b.xmin}</xmin><ymin>{b.ymin}</ymin>"
        f"<xmax>{b.xmax}</xmax><ymax>{b.ymax}</ymax></bndbox></object>"
        for b in boxes
    )
    (folder / "annotations" / image.replace("jpg", "xml")).write_text(
        f"<annotation><filename>{image}</filename><size><width>{size[0]}</width>"
        f"<height>{size[1]}</height></size>{objects}</annotation>"
    )


def audited(dataset):
    rows = read_csv(dataset / "audit.csv", ("file", "object", "kind", "action"))
    return {(row["file"], row["object"], row["kind"], row["action"]) for row in rows}


def chosen(dataset):
    return {r["image"]: r["split"] for r in read_csv(dataset / "split.csv", ("image", "split"))}


def read(dataset, image):
    return voc.read_voc(dataset / "annotations" / image.replace("jpg", "xml"))


def test_the_dataset_folder(frames, tmp_path):
    dataset = write_dataset(frames, tmp_path / "03_dataset", val_ratio=0.34)
    assert read_label_map(dataset / "label_map.pbtxt") == {"radar": 1}
    rows = read_csv(dataset / "split.csv", ("image", "clip", "split"))
    assert len(rows) == 20
    per_clip = {row["clip"]: row["split"] for row in rows}
    assert sum(per_clip[clip] == "val" for clip in "abc") == 1
    assert audited(dataset) == set()
    assert read(dataset, "a_00000.jpg").boxes == (RADAR,)
    assert read(dataset, "d_00000.jpg").boxes == ()
    image = "images/a_00000.jpg"
    assert os.path.samefile(frames / image, dataset / image)
    counts = artifacts.read_manifest(dataset)["counts"]
    assert counts["val"]["boxes"] == {"radar": 5}
    assert counts["train"]["boxes"] == {"radar": 10}


def test_held_out_clips(frames, tmp_path):
    dataset = write_dataset(frames, tmp_path / "d", held_out=("b", "c"))
    assert {i[0] for i, side in chosen(dataset).items() if side == "val"} == {"b", "c"}
    with pytest.raises(CourseError, match="no clip 'x'; there are a, b, c, d"):
        write_dataset(frames, tmp_path / "e", held_out=("x",))
    assert not (tmp_path / "e").exists()


def test_annotations_corrected_by_hand_are_taken_up(frames, tmp_path):
    artifacts.write_manifest(frames, "extract_frames", {}, {}, {})
    dataset = write_dataset(frames, tmp_path / "d")
    before = artifacts.read_manifest(dataset)["fingerprint"]
    assert artifacts.read_manifest(write_dataset(frames, dataset))["fingerprint"] == before
    put(frames, "a_00000.jpg", dataclasses.replace(RADAR, xmin=RADAR.xmin + 1))
    write_dataset(frames, dataset)
    assert read(dataset, "a_00000.jpg").boxes[0].xmin == RADAR.xmin + 1


def test_boxes_drawn_by_hand_lie_apart_and_win(frames, tmp_path):
    drawn = tmp_path / "labels"
    dataset = write_dataset(frames, tmp_path / "d", drawn=drawn)  # nothing drawn yet
    (drawn / "annotations").mkdir(parents=True)
    put(drawn, "a_00000.jpg", dataclasses.replace(RADAR, xmin=RADAR.xmin + 2))
    (frames / "annotations" / "b_00000.xml").unlink()
    put(drawn, "b_00000.jpg")
    write_dataset(frames, dataset, drawn=drawn / "annotations")
    assert read(dataset, "a_00000.jpg").boxes[0].xmin == RADAR.xmin + 2
    assert read(dataset, "a_00001.jpg").boxes[0].xmin == RADAR.xmin
    assert read(dataset, "b_00000.jpg").boxes == ()


def test_images_outside_the_authors_split_stay_out(frames, tmp_path, capsys):
    (frames / "split.csv").write_text("image,split\na_00000.jpg,train\nb_00000.jpg,val\n")
    dataset = write_dataset(frames, tmp_path / "d")
    assert chosen(dataset) == {"a_00000.jpg": "train", "b_00000.jpg": "val"}
    assert len(list((dataset / "images").iterdir())) == 2
    assert audited(dataset) == {("all files", "0", "not used", "left out")}
    assert "kept: 1 train, 1 val; 18 images are on no side" in capsys.readouterr().out
    assert len(chosen(write_dataset(frames, tmp_path / "e", split="clip"))) == 20
    assert len(chosen(write_dataset(frames, tmp_path / "f", held_out=("b",)))) == 20


def test_three_sides_stay_apart(frames, tmp_path, capsys):
    sides = {"a": "train", "b": "val", "c": "test", "d": "train"}
    rows = [f"{clip}_{i:05d}.jpg,{sides[clip]}" for clip in "abcd" for i in range(5)]
    (frames / "split.csv").write_text("\n".join(["image,split", *rows, ""]))
    scene(0).save(frames / "images/c_00001.jpg")  # that of a_00000.jpg
    scene(5).save(frames / "images/c_00002.jpg")  # that of b_00000.jpg
    dataset = write_dataset(frames, tmp_path / "d")
    assert {image[0]: side for image, side in chosen(dataset).items()} == sides
    counts = artifacts.read_manifest(dataset)["counts"]
    assert [counts[side]["images"] for side in ("train", "val", "test")] == [10, 5, 5]
    leaks = [
        row for row in read_csv(dataset / "audit.csv", ("kind", "value")) if "across" in row["kind"]
    ]
    assert [row["value"].partition(":")[0] for row in leaks] == [
        "like a_00000.jpg in train",
        "like b_00000.jpg in val",
    ]
    capsys.readouterr()
    assert len(leak_check(dataset, chosen(dataset))) == 2
    one, two = capsys.readouterr().out.splitlines()
    assert one == "Leak check: none of 5 validation images has a near-copy in the training."
    assert two.startswith("Leak check: 2 of 5 test images (40%) have a near-copy in training or")


def test_a_side_without_boxes_says_what_works(frames, tmp_path):
    (frames / "split.csv").write_text("image,split\na_00000.jpg,train\nd_00000.jpg,val\n")
    with pytest.raises(CourseError, match=r'no box in val .*1 images.*split = "clip"'):
        write_dataset(frames, tmp_path / "d")


def test_clips_with_difficult_objects_only_do_not_make_up_a_side(frames, tmp_path):
    hard = dataclasses.replace(RADAR, difficult=True)
    for i in range(5):
        annotation = Annotation(f"c_{i:05d}.jpg", 100, 80, (hard,))
        voc.write_voc(annotation, frames / f"annotations/c_{i:05d}.xml")
    held = set()
    for seed in range(6):
        dataset = write_dataset(frames, tmp_path / f"d{seed}", val_ratio=0.4, seed=seed)
        held |= {i[0] for i, side in chosen(dataset).items() if side == "val"} - {"d"}
        counts = artifacts.read_manifest(dataset)["counts"]
        assert counts["train"]["images"] + counts["val"]["images"] == 20
    assert {"a", "b"} & held


def test_nothing_but_difficult_objects_is_nothing_to_learn(frames, tmp_path):
    hard = dataclasses.replace(RADAR, difficult=True)
    for path in (frames / "annotations").glob("[abc]*"):
        annotation = Annotation(f"{path.stem}.jpg", 100, 80, (hard,))
        voc.write_voc(annotation, path)
    with pytest.raises(CourseError, match="all 15 boxes are difficult: nothing to learn; take"):
        write_dataset(frames, tmp_path / "d")


def test_no_box_that_can_be_learnt(frames, tmp_path):
    for path in (frames / "annotations").glob("[abc]*"):
        put(frames, f"{path.stem}.jpg", Box("radar", 120, 10, 140, 60))
    with pytest.raises(CourseError, match="none of 15 boxes can be learnt, most for: outside"):
        write_dataset(frames, tmp_path / "d")


def test_annotations_of_other_pictures(frames, tmp_path):
    for path in (frames / "annotations").glob("*"):
        path.unlink()
    put(frames, "IMG_1.jpg", RADAR)
    put(frames, "IMG_2.jpg", RADAR)
    with pytest.raises(CourseError, match=r"IMG_1.xml: none of 2 .* expects IMG_1.jpg, .* a_00000"):
        write_dataset(frames, tmp_path / "d")


def test_only_unreadable_images_have_boxes(frames, tmp_path):
    for path in (frames / "images").glob("[abc]*"):
        path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CourseError, match="its end is missing; so are all images with boxes"):
        write_dataset(frames, tmp_path / "d")


def test_pictures_resized_after_labelling(frames, tmp_path):
    doubled = Box("radar", 20, 20, 60, 120)
    for i in range(5):
        put(frames, f"a_{i:05d}.jpg", doubled, size=(200, 160))
    put(frames, "b_00000.jpg", Box("radar", 3.3, 3.3, 10, 20), size=(33, 27))  # a third, rounded
    put(frames, "b_00001.jpg", RADAR, size=(100, 81))  # a slip by a pixel
    put(frames, "b_00002.jpg", Box("radar", 10, 10, 90, 60), size=(50, 40))  # boxed at full size
    put(frames, "b_00003.jpg", RADAR, size=(90, 90))
    put(frames, "b_00004.jpg", size=(90, 90))  # without boxes no box is wrong
    put(frames, "c_00000.jpg", RADAR, size=(0, 0))
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    for i in range(5):
        assert read(dataset, f"a_{i:05d}.jpg").boxes == (RADAR,)
    [box] = read(dataset, "b_00000.jpg").boxes
    assert box.xyxy == pytest.approx((10, 9.78, 30.3, 59.26), abs=0.01)
    assert read(dataset, "b_00001.jpg").boxes == (RADAR,)
    assert read(dataset, "b_00002.jpg").boxes == (Box("radar", 10, 10, 90, 60),)
    assert "b_00003.jpg" not in chosen(dataset)
    assert "b_00004.jpg" in chosen(dataset)
    assert read(dataset, "c_00000.jpg").boxes == (RADAR,)
    as_it_is = "size set to 100x80, boxes as they are"
    assert {row for row in audited(dataset) if row[2] == "wrong size"} == {
        *(
            (f"a_{i:05d}.xml", "0", "wrong size", "size set to 100x80, boxes scaled by 0.5")
            for i in range(5)
        ),
        ("b_00000.xml", "0", "wrong size", "size set to 100x80, boxes scaled by 2.996"),
        *((f"{name}.xml", "0", "wrong size", as_it_is) for name in ("b_00001", "b_00002")),
        ("b_00003.xml", "0", "wrong size", "image left out"),
        ("b_00004.xml", "0", "wrong size", as_it_is),
        ("c_00000.xml", "0", "wrong size", as_it_is),
    }


def test_most_pictures_of_another_shape_stop_it(frames, tmp_path):
    for clip in "ab":
        for i in range(5):
            put(frames, f"{clip}_{i:05d}.jpg", RADAR, size=(90, 90))
    with pytest.raises(
        CourseError, match=r"a_00000.xml: says 90x90, a_00000.jpg is 100x80, .* 10 of 15"
    ):
        write_dataset(frames, tmp_path / "d")


def test_a_picture_resized_and_turned(frames, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(0).save(frames / "images/a_00000.jpg", exif=exif)  # 100x80, shown as 80x100
    put(frames, "a_00000.jpg", Box("radar", 20, 20, 60, 120), size=(160, 200))
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    found = read(dataset, "a_00000.jpg")
    assert (found.width, found.height, found.boxes) == (80, 100, (RADAR,))


def test_remarks_come_first_with_what_was_done(frames, tmp_path):
    rows = [
        ("notes.json", "", "not understood", "a list of names", "take it out"),
        ("a.csv", "line 3", "bad line", "x is no number", "correct it"),
        ("a.csv", "line 4", "rotated box", "45 degrees", "look at it"),
        ("a.csv", "line 5", "clipped", "1.02", "look at it"),
        ("a.csv", "", "class by number", "classes 0, 1", "add classes.txt"),
        ("b.csv", "", "no such kind", "odd", "look at it"),
    ]
    names = ("file", "where", "kind", "value", "fix")
    write_csv(frames / "remarks.csv", names, (dict(zip(names, row, strict=True)) for row in rows))
    (frames / "annotations/b_00001.xml").unlink()
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    found = read_csv(dataset / "audit.csv", ("file", "kind", "value", "action"))
    assert [(r["file"], r["kind"], r["value"], r["action"]) for r in found[:6]] == [
        ("notes.json", "not understood", "a list of names", "not read"),
        ("a.csv", "bad line", "line 3: x is no number", "line left out"),
        ("a.csv", "rotated box", "line 4: 45 degrees", "taken as the upright box around it"),
        ("a.csv", "clipped", "line 5: 1.02", "clipped to the image"),
        ("a.csv", "class by number", "classes 0, 1", "the number is the label"),
        ("b.csv", "not understood", "odd", "not read"),
    ]
    assert (found[6]["file"], found[6]["kind"]) == ("b_00001.jpg", "no annotation")


def test_one_bad_file_is_not_the_end(frames, tmp_path):
    (frames / "annotations/a_00000.xml").write_text("<annotation>")
    (frames / "annotations/zz.xml").mkdir()
    nan = dataclasses.replace(RADAR, xmin=float("nan"))
    put(frames, "a_00001.jpg", nan)
    put(frames, "a_00002.jpg", RADAR, nan)
    drawn = tmp_path / "labels"
    drawn.mkdir()
    (drawn / "b_00000.xml").write_bytes(b"\xff\xfeno XML")
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",), drawn=drawn)
    # Of what has an object that nobody can place, nothing is known: it is no background.
    assert {"a_00000.jpg", "a_00001.jpg"}.isdisjoint(chosen(dataset))
    assert read(dataset, "a_00002.jpg").boxes == (RADAR,)
    assert {row[:3] for row in audited(dataset)} == {
        ("a_00000.jpg", "0", "no annotation"),
        ("a_00000.xml", "0", "not understood"),
        ("a_00001.jpg", "0", "no annotation"),
        ("a_00001.xml", "0", "bad line"),
        ("a_00002.xml", "0", "bad line"),
        ("b_00000.xml", "0", "not understood"),
        ("zz.xml", "0", "not understood"),
    }


def test_pictures_that_went_or_came_by_hand(frames, tmp_path):
    (frames / "images/a_00000.jpg").unlink()
    scene(99).save(frames / "images/new.jpg")
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    assert {"a_00000.jpg", "new.jpg"}.isdisjoint(chosen(dataset))
    assert audited(dataset) == {
        ("a_00000.jpg", "0", "no image", "annotation left out"),
        ("new.jpg", "0", "not used", "left out"),
    }


def test_classes_on_one_side_only(frames, tmp_path):
    put(frames, "a_00000.jpg", RADAR, Box("car", 50, 10, 90, 60))
    put(frames, "c_00000.jpg", RADAR, Box("van", 50, 10, 90, 60))
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    rows = read_csv(dataset / "audit.csv", ("kind", "value"))
    assert [row["value"] for row in rows if row["kind"] == "class on one side"] == [
        "'car' in train only, boxes: 1",
        "'van' in val only, boxes: 1",
    ]


def test_only_spellings_that_leave_no_doubt_are_merged(frames, tmp_path):
    for i, label in enumerate(("Radar", "radar ", "ra\x85dar", "rádar", "ra\u0301dar", "raddar")):
        put(frames, f"a_{i % 5:05d}.jpg", RADAR, Box(label, 50, 10, 90, 60 + i))
    for i, label in enumerate(("speed_limit_40", "speed_limit_50")):
        put(frames, f"b_{i:05d}.jpg", RADAR, Box(label, 50, 10, 90, 60))
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    assert set(read_label_map(dataset / "label_map.pbtxt")) == {
        "radar",
        "rádar",
        "raddar",
        "ra dar",
        "speed_limit_40",
        "speed_limit_50",
    }


def test_only_the_classes_asked_for(frames, tmp_path):
    car = Box("car", 50, 10, 90, 60)
    put(frames, "a_00000.jpg", RADAR, car)
    put(frames, "a_00001.jpg", car)
    dataset = write_dataset(frames, tmp_path / "d", labels=["radar"], held_out=("c",))
    assert read(dataset, "a_00000.jpg").boxes == (RADAR,)
    assert read(dataset, "a_00001.jpg").boxes == ()
    assert audited(dataset) == {("all files", "0", "class left out", "2 boxes left out")}
    both = write_dataset(frames, tmp_path / "e", held_out=("c",))
    assert read_label_map(both / "label_map.pbtxt") == {"car": 1, "radar": 2}


def test_what_is_bad_is_mended_or_left_out_and_listed(frames, tmp_path):
    put(frames, "a_00000.jpg", RADAR, Box("radar", 80, 10, 120, 60))
    put(frames, "a_00001.jpg", Box("radar", 120, 10, 140, 60), RADAR)
    put(frames, "a_00002.jpg", Box("radar", 40, 10, 30, 60), RADAR, RADAR)
    put(frames, "a_00003.jpg", Box("Radar ", *RADAR.xyxy))
    put(frames, "a_00004.jpg", RADAR, dataclasses.replace(RADAR, ymax=61))
    scene(16).save(frames / "images/b_00003.jpg")  # that of d_00001.jpg
    put(frames, "b_00000.jpg", RADAR, size=(200, 160))
    (frames / "annotations/b_00001.xml").unlink()
    (frames / "images/b_00002.jpg").write_bytes(b"no image")
    put(frames, "gone.jpg", RADAR)
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    assert read(dataset, "a_00000.jpg").boxes == (RADAR, Box("radar", 80, 10, 100, 60))
    for number in (1, 3, 4):
        assert read(dataset, f"a_0000{number}.jpg").boxes == (RADAR,)
    assert read(dataset, "a_00002.jpg").boxes == (Box("radar", 30, 10, 40, 60), RADAR)
    assert (read(dataset, "b_00000.jpg").width, read(dataset, "b_00000.jpg").height) == (100, 80)
    assert {"b_00001.jpg", "b_00002.jpg", "gone.jpg"}.isdisjoint(chosen(dataset))
    assert audited(dataset) == {
        ("a_00000.xml", "2", "outside", "clipped to the image"),
        ("a_00001.xml", "1", "outside", "left out: nothing of it is inside"),
        ("a_00002.xml", "1", "inverted", "edges swapped"),
        ("a_00002.xml", "3", "same box twice", "left out"),
        ("a_00003.xml", "1", "label", "read as 'radar'"),
        ("a_00004.xml", "2", "same box twice", "left out"),
        ("all files", "0", "label", "1 boxes read as 'radar'"),
        ("b_00000.xml", "0", "wrong size", "size set to 100x80, boxes scaled by 0.5"),
        ("b_00001.jpg", "0", "no annotation", "image left out"),
        ("b_00002.jpg", "0", "unreadable image", "image left out"),
        ("d_00001.jpg", "0", "same picture twice", "kept as it is"),
        ("gone.xml", "0", "no image", "annotation left out"),
    }


def test_boxes_with_two_faults_or_beyond_repair(frames, tmp_path):
    nan = dataclasses.replace(RADAR, xmin=float("nan"))
    put(frames, "a_00000.jpg", RADAR, Box("radar", 130, 50, 90, 70), nan)
    put(frames, "a_00001.jpg", RADAR, Box("radar", 140, 50, 130, 70))
    put(frames, "a_00002.jpg", RADAR, Box("radar", 50, 10, 50, 20))
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    assert read(dataset, "a_00000.jpg").boxes == (RADAR, Box("radar", 90, 50, 100, 70))
    for number in (1, 2):
        assert read(dataset, f"a_0000{number}.jpg").boxes == (RADAR,)
    assert audited(dataset) == {
        ("a_00000.xml", "2", "inverted", "edges swapped"),
        ("a_00000.xml", "0", "bad line", "line left out"),
        ("a_00001.xml", "2", "inverted", "left out: nothing of it is inside"),
        ("a_00002.xml", "2", "zero area", "left out"),
    }


def test_images_that_are_cut_short_are_left_out(frames, tmp_path):
    path = frames / "images/a_00000.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    assert "a_00000.jpg" not in chosen(dataset)
    assert audited(dataset) == {("a_00000.jpg", "0", "unreadable image", "image left out")}


def test_the_xml_names_its_image(frames, tmp_path):
    path = frames / "annotations/a_00000.xml"
    path.write_text(path.read_text().replace("a_00000.jpg", "other.jpg"))
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    assert read(dataset, "a_00000.jpg").image == "a_00000.jpg"
    assert audited(dataset) == {("a_00000.xml", "0", "file name", "kept as it is")}


def test_a_picture_whose_only_box_is_broken_is_no_background(frames, tmp_path):
    put(frames, "a_00001.jpg", dataclasses.replace(RADAR, xmax=RADAR.xmin))
    put(frames, "a_00002.jpg", dataclasses.replace(RADAR, xmax=RADAR.xmin), RADAR)
    put(frames, "a_00003.jpg")
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    assert "a_00001.jpg" not in chosen(dataset)
    assert {"a_00002.jpg", "a_00003.jpg"} <= set(chosen(dataset))
    assert audited(dataset) == {
        ("a_00001.xml", "1", "zero area", "image left out: its only box is broken"),
        ("a_00002.xml", "1", "zero area", "left out"),
        ("a_00003.xml", "0", "empty", "kept as it is"),
    }


@pytest.mark.parametrize("boxed_upright", [True, False])
def test_images_that_exif_turns_are_written_as_they_were_boxed(frames, tmp_path, boxed_upright):
    pixels = np.zeros((80, 100, 3), np.uint8)
    pixels[:, :50] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(frames / "images/a_00000.jpg", exif=exif)
    size = (80, 100) if boxed_upright else (100, 80)
    put(frames, "a_00000.jpg", Box("radar", 5, 5, 60, 70), size=size)
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    with Image.open(dataset / "images/a_00000.jpg") as image:
        assert image.size == size
        assert 0x0112 not in image.getexif()
        # The bright left half lies on top once the image is turned to the right.
        spot = (70, 10) if boxed_upright else (10, 70)
        assert image.getpixel(spot)[0] > 200
    action = "written upright, without the tag" if boxed_upright else "tag removed"
    assert [row[3] for row in audited(dataset)] == [action]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": "random"}, "split: 'random'"),
        ({"split": "frame", "held_out": ("a",)}, "held_out needs"),
        ({"labels": ["radio"]}, "labels: 'radio' is in no annotation"),
        ({"labels": "radar"}, "give a list"),
        ({"labels": []}, "give a list"),
        ({"labels": ["radar", "\x01"]}, "give a list"),
        ({"labels": ["radar", "Radar"]}, "labels: 'Radar' is given twice"),
        ({"held_out": ("d",)}, "no box in val"),
        ({"held_out": "abc"}, "held_out: 'abc'; give a list of clips"),
        ({"val_ratio": "0.2"}, "val_ratio: '0.2'; it must lie between 0 and 1"),
    ],
)
def test_wrong_parameters_leave_nothing_behind(frames, tmp_path, options, says):
    with pytest.raises(CourseError, match=says):
        write_dataset(frames, tmp_path / "d", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["02_frames"]


def test_a_folder_without_boxes_says_so(frames, tmp_path):
    for image in (frames / "images").iterdir():
        put(frames, image.name)
    with pytest.raises(CourseError, match="no box in any annotation"):
        write_dataset(frames, tmp_path / "d")


def test_boxes_are_kept_with_their_notes(frames, tmp_path):
    noted = Box("radar", 1, 2.25, 30, 60, difficult=True, truncated=True, occluded=True)
    path = frames / "annotations/a_00000.xml"
    voc.write_voc(Annotation("a_00000.jpg", 100, 80, (noted,)), path)
    dataset = write_dataset(frames, tmp_path / "d", held_out=("c",))
    assert read(dataset, "a_00000.jpg").boxes == (noted,)


def test_near_copies_across_the_split_are_in_the_audit(frames, tmp_path):
    scene(0).save(frames / "images/b_00001.jpg")
    dataset = write_dataset(frames, tmp_path / "d", held_out=("b",))
    assert audited(dataset) == {
        ("b_00001.jpg", "0", "same picture twice", "kept as it is"),
        ("b_00001.jpg", "0", "neighbour across the split", "kept as it is"),
    }
    assert artifacts.read_manifest(dataset)["counts"]["near_copies_across"] == 1


def test_a_dataset_of_two_classes_is_stratified(frames, tmp_path):
    for clip in "ac":
        put(frames, f"{clip}_00000.jpg", RADAR, Box("car", 50, 10, 90, 60))
    for seed in range(5):
        dataset = write_dataset(frames, tmp_path / f"d{seed}", val_ratio=0.5, seed=seed)
        counts = artifacts.read_manifest(dataset)["counts"]
        assert counts["train"]["boxes"]["car"] == counts["val"]["boxes"]["car"] == 1


def test_near_copies_across_the_split_are_found(frames, capsys):
    chosen = {f"{c}_{i:05d}.jpg": "val" if c == "b" else "train" for c in "abcd" for i in range(5)}
    assert leak_check(frames, chosen) == []
    assert "none of 5 validation images" in capsys.readouterr().out
    with Image.open(frames / "images/a_00002.jpg") as image:
        image.resize((200, 160)).save(frames / "images/b_00001.jpg", quality=60)
    [(image, other, bits)] = leak_check(frames, chosen)
    assert (image, other) == ("b_00001.jpg", "a_00002.jpg")
    assert bits <= 6
    line = capsys.readouterr().out
    assert line.startswith("Leak check: 1 of 5 validation images (20%)")
    assert line.count("\n") == 1
