import dataclasses
import os
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.annotations import voc
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.label_map import read_label_map
from helpers.common import artifacts
from helpers.common.errors import CourseError
from helpers.common.files import read_csv, write_csv
from helpers.dataset import split


def clips_of(sizes):
    return {f"{clip}_{i}.jpg": clip for clip, n in sizes.items() for i in range(n)}


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 30), min_size=2),
    ratio=st.floats(0.05, 0.95),
    seed=st.integers(0, 1000),
)
def test_whole_clips_and_the_closest_share(sizes, ratio, seed):
    clips = clips_of(sizes)
    chosen = split.split_by_clip(clips, ratio, seed)
    sides = {clip: {chosen[i] for i, c in clips.items() if c == clip} for clip in sizes}
    assert all(len(side) == 1 for side in sides.values())
    held = sum(value == "val" for value in chosen.values())
    assert 0 < held < len(clips)
    target = ratio * len(clips)
    sums = {0}
    for size in sizes.values():
        sums |= {s + size for s in sums}
    best = min(abs(s - target) for s in sums if 0 < s < len(clips))
    assert abs(held - target) == pytest.approx(best)


def test_clips_with_and_without_boxes_are_shared_out_each_for_themselves():
    clips = clips_of(
        {**{f"boxes_{i}": 10 for i in range(5)}, **{f"empty_{i}": 5 for i in range(5)}}
    )
    # One crowded clip must not make up the validation: the share is of images.
    crowded = {"boxes_0": 40}
    boxes = {i: 0 if c.startswith("empty") else crowded.get(c, 1) for i, c in clips.items()}
    for seed in range(5):
        chosen = split.split_by_clip(clips, 0.2, seed, boxes_per_image=boxes)
        held = {clips[image] for image, side in chosen.items() if side == "val"}
        assert sorted(clip.split("_")[0] for clip in held) == ["boxes", "empty"]


def test_the_seed_decides_among_equals():
    clips = clips_of({f"c{i}": 10 for i in range(10)})
    assert split.split_by_clip(clips, 0.2, 3) == split.split_by_clip(clips, 0.2, 3)
    assert len({str(split.split_by_clip(clips, 0.2, seed)) for seed in range(8)}) > 3


def test_many_clips_are_split_fast_and_exactly():
    clips = clips_of({f"photo_{i}": 1 for i in range(5000)})
    assert Counter(split.split_by_clip(clips, 0.2, 0).values()) == {"train": 4000, "val": 1000}


def test_what_cannot_be_split_says_so():
    with pytest.raises(CourseError, match="1 clip with boxes"):
        split.split_by_clip(clips_of({"only": 10}), 0.2, 0)
    with pytest.raises(CourseError, match="val_ratio: 20"):
        split.split_by_clip(clips_of({"a": 1, "b": 1}), 20, 0)
    with pytest.raises(CourseError, match="1 image"):
        split.split_by_frame(["a.jpg"], 0.2, 0)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(
        st.tuples(st.integers(1, 12), st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=30
    ),
    ratio=st.floats(0.05, 0.95),
    seed=st.integers(0, 1000),
)
def test_stratified_whole_clips_with_boxes_on_both_sides(counts, ratio, seed):
    clips = clips_of({f"c{i:02d}": n for i, (n, _, _) in enumerate(counts)})
    found = {f"c{i:02d}_0.jpg": {"car": a, "sign": b} for i, (_, a, b) in enumerate(counts)}
    if sum(a + b > 0 for _, a, b in counts) < 2:
        with pytest.raises(CourseError, match="with boxes"):
            split.split_by_clip(clips, ratio, seed, labels_per_image=found)
        return
    chosen = split.split_by_clip(clips, ratio, seed, labels_per_image=found)
    assert chosen == split.split_by_clip(clips, ratio, seed, labels_per_image=found)
    for side in ("train", "val"):
        assert any(sum(n.values()) for image, n in found.items() if chosen[image] == side)
    for clip in set(clips.values()):
        assert len({chosen[image] for image in clips if clips[image] == clip}) == 1


def test_a_rare_class_gets_its_share_in_both_parts():
    clips = clips_of({f"c{i:02d}": 10 for i in range(40)})
    found = {
        i: {"car": 5, "sign": 3 if clips[i] in ("c03", "c11", "c20", "c31") else 0} for i in clips
    }
    drawn = set()
    for seed in range(10):
        chosen = split.split_by_clip(clips, 0.25, seed, labels_per_image=found)
        held = {clips[image] for image, side in chosen.items() if side == "val"}
        assert len(held) == 10
        assert len(held & {"c03", "c11", "c20", "c31"}) == 1
        drawn.add(frozenset(held))
    assert len(drawn) > 5


def test_thousands_of_photos_are_stratified_fast():
    found = {f"{i}.jpg": {f"class_{j}": int(j == i % 7) * 2 for j in range(7)} for i in range(3000)}
    clips = {image: image for image in found}
    chosen = split.split_by_clip(clips, 0.2, 1, labels_per_image=found)
    per_class = Counter(i % 7 for i in range(3000) if chosen[f"{i}.jpg"] == "val")
    assert all(abs(count - 3000 / 7 * 0.2) <= 2 for count in per_class.values())


def test_near_copies_across_the_split_are_found(frames, capsys):
    chosen = {f"{c}_{i:05d}.jpg": "val" if c == "b" else "train" for c in "abcd" for i in range(5)}
    assert split.leak_check(frames, chosen) == []
    assert "none of 5 validation images" in capsys.readouterr().out
    with Image.open(frames / "images/a_00002.jpg") as image:
        image.resize((200, 160)).save(frames / "images/b_00001.jpg", quality=60)
    [(image, other, bits)] = split.leak_check(frames, chosen)
    assert (image, other) == ("b_00001.jpg", "a_00002.jpg")
    assert bits <= 6
    line = capsys.readouterr().out
    assert line.startswith("Leak check: 1 of 5 validation images (20%)")
    assert line.count("\n") == 1


def test_near_copies_across_the_split_are_in_the_audit(frames, tmp_path):
    scene(0).save(frames / "images/b_00001.jpg")
    dataset = split.write_dataset(frames, tmp_path / "d", held_out=("b",))
    assert audited(dataset) == {
        ("b_00001.jpg", "0", "same picture twice", "kept as it is"),
        ("b_00001.jpg", "0", "neighbour across the split", "kept as it is"),
    }
    assert artifacts.read_manifest(dataset)["counts"]["near_copies_across"] == 1


def test_a_dataset_of_two_classes_is_stratified(frames, tmp_path):
    for clip in "ac":
        put(frames, f"{clip}_00000.jpg", RADAR, Box("car", 50, 10, 90, 60))
    for seed in range(5):
        dataset = split.write_dataset(frames, tmp_path / f"d{seed}", val_ratio=0.5, seed=seed)
        counts = artifacts.read_manifest(dataset)["counts"]
        assert counts["train"]["boxes"]["car"] == counts["val"]["boxes"]["car"] == 1


def test_by_frame_takes_the_share_whatever_the_order():
    images = [f"{i}.jpg" for i in range(50)]
    chosen = split.split_by_frame(images, 0.2, 1)
    assert Counter(chosen.values()) == {"train": 40, "val": 10}
    assert chosen == split.split_by_frame(images[::-1], 0.2, 1)
    assert set(split.split_by_frame(["a", "b"], 0.01, 0).values()) == {"train", "val"}


def test_the_authors_split(tmp_path):
    path = tmp_path / "author_split.csv"
    path.write_text("image,split\na.jpg,train\nb.jpg,val\n")
    assert split.read_author_split(path) == {"a.jpg": "train", "b.jpg": "val"}
    path.write_text("image,split\na.jpg,test\n")
    with pytest.raises(CourseError, match=r"line 2: split 'test'"):
        split.read_author_split(path)
    path.write_text("image;split\na.jpg;val\n")
    with pytest.raises(CourseError, match="no column 'image'"):
        split.read_author_split(path)
    with pytest.raises(CourseError, match="no author's split"):
        split.read_author_split(tmp_path / "none.csv")


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
    dataset = split.write_dataset(frames, tmp_path / "03_dataset", val_ratio=0.34)
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
    dataset = split.write_dataset(frames, tmp_path / "d", held_out=("b", "c"))
    assert {i[0] for i, side in chosen(dataset).items() if side == "val"} == {"b", "c"}
    with pytest.raises(CourseError, match="no clip 'x'; there are a, b, c, d"):
        split.write_dataset(frames, tmp_path / "e", held_out=("x",))
    assert not (tmp_path / "e").exists()


def test_annotations_corrected_by_hand_are_taken_up(frames, tmp_path):
    artifacts.write_manifest(frames, "frames.extract", {}, {}, {})
    dataset = split.write_dataset(frames, tmp_path / "d")
    before = artifacts.read_manifest(dataset)["fingerprint"]
    assert artifacts.read_manifest(split.write_dataset(frames, dataset))["fingerprint"] == before
    put(frames, "a_00000.jpg", dataclasses.replace(RADAR, xmin=RADAR.xmin + 1))
    split.write_dataset(frames, dataset)
    assert read(dataset, "a_00000.jpg").boxes[0].xmin == RADAR.xmin + 1


def test_boxes_drawn_by_hand_lie_apart_and_win(frames, tmp_path):
    drawn = tmp_path / "labels"
    dataset = split.write_dataset(frames, tmp_path / "d", drawn=drawn)  # nothing drawn yet
    (drawn / "annotations").mkdir(parents=True)
    put(drawn, "a_00000.jpg", dataclasses.replace(RADAR, xmin=RADAR.xmin + 2))
    (frames / "annotations" / "b_00000.xml").unlink()
    put(drawn, "b_00000.jpg")
    split.write_dataset(frames, dataset, drawn=drawn / "annotations")
    assert read(dataset, "a_00000.jpg").boxes[0].xmin == RADAR.xmin + 2
    assert read(dataset, "a_00001.jpg").boxes[0].xmin == RADAR.xmin
    assert read(dataset, "b_00000.jpg").boxes == ()


def test_images_outside_the_authors_split_stay_out(frames, tmp_path):
    (frames / "author_split.csv").write_text("image,split\na_00000.jpg,train\nb_00000.jpg,val\n")
    dataset = split.write_dataset(frames, tmp_path / "d", split="author")
    assert chosen(dataset) == {"a_00000.jpg": "train", "b_00000.jpg": "val"}
    assert len(list((dataset / "images").iterdir())) == 2
    assert audited(dataset) == set()


def test_only_the_classes_asked_for(frames, tmp_path):
    car = Box("car", 50, 10, 90, 60)
    put(frames, "a_00000.jpg", RADAR, car)
    put(frames, "a_00001.jpg", car)
    dataset = split.write_dataset(frames, tmp_path / "d", labels=["radar"], held_out=("c",))
    assert read(dataset, "a_00000.jpg").boxes == (RADAR,)
    assert read(dataset, "a_00001.jpg").boxes == ()
    assert audited(dataset) == {("all files", "0", "class left out", "2 boxes left out")}
    both = split.write_dataset(frames, tmp_path / "e", held_out=("c",))
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
    dataset = split.write_dataset(frames, tmp_path / "d", held_out=("c",))
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
        ("b_00000.xml", "0", "wrong size", "size set to 100x80, boxes as they are"),
        ("b_00001.jpg", "0", "no annotation", "image left out"),
        ("b_00002.jpg", "0", "unreadable image", "image left out"),
        ("d_00001.jpg", "0", "same picture twice", "kept as it is"),
        ("gone.xml", "0", "no image", "annotation left out"),
    }


def test_a_picture_whose_only_box_is_broken_is_no_background(frames, tmp_path):
    put(frames, "a_00001.jpg", dataclasses.replace(RADAR, xmax=RADAR.xmin))
    put(frames, "a_00002.jpg", dataclasses.replace(RADAR, xmax=RADAR.xmin), RADAR)
    put(frames, "a_00003.jpg")
    dataset = split.write_dataset(frames, tmp_path / "d", held_out=("c",))
    assert "a_00001.jpg" not in chosen(dataset)
    assert {"a_00002.jpg", "a_00003.jpg"} <= set(chosen(dataset))
    assert audited(dataset) == {
        ("a_00001.xml", "1", "zero area", "image left out: its only box is none"),
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
    dataset = split.write_dataset(frames, tmp_path / "d", held_out=("c",))
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
        ({"held_out": ("d",)}, "no box in val"),
    ],
)
def test_wrong_parameters_leave_nothing_behind(frames, tmp_path, options, says):
    with pytest.raises(CourseError, match=says):
        split.write_dataset(frames, tmp_path / "d", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["02_frames"]


def test_a_folder_without_boxes_says_so(frames, tmp_path):
    for image in (frames / "images").iterdir():
        put(frames, image.name)
    with pytest.raises(CourseError, match="no box in any annotation"):
        split.write_dataset(frames, tmp_path / "d")


def test_boxes_are_kept_with_their_notes(frames, tmp_path):
    noted = Box("radar", 1, 2.25, 30, 60, difficult=True, truncated=True, occluded=True)
    path = frames / "annotations/a_00000.xml"
    voc.write_voc(Annotation("a_00000.jpg", 100, 80, (noted,)), path)
    dataset = split.write_dataset(frames, tmp_path / "d", held_out=("c",))
    assert read(dataset, "a_00000.jpg").boxes == (noted,)
