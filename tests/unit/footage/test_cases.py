"""The inputs from the field in ../shared/cases, each taken through lessons 01 to 03."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from helpers.annotations.pairing import read_folder
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.dataset.assemble import write_dataset
from helpers.footage.frames import extract_frames
from helpers.footage.own import own_folder


@pytest.fixture(scope="session")
def cases(shared) -> Path:
    if not (shared / "cases").is_dir():
        pytest.skip(f"the cases are not at {shared / 'cases'}")
    return shared / "cases"


@pytest.fixture
def frames_of(cases, tmp_path):
    """Takes a case through lessons 01 and 02; returns its 02_frames."""

    def run(case: str, **step) -> Path:
        own_folder(cases / case, tmp_path / "01_images")
        return extract_frames(tmp_path / "01_images", tmp_path / "02_frames", **step)

    return run


class Right(NamedTuple):
    """What a case should become.

    Attributes:
        boxes: label -> number of boxes in 03_dataset.
        images: number of images there.
        clips: number of clips in 02_frames; None: one for each image.
        sides: images in train, val and test of a split that came with it.
        first: the edges of the first box, to 0.01 pixel.
        findings: kind -> rows in the audit.
        said: a part of what lesson 01 prints.
    """

    boxes: dict[str, int]
    images: int = 5
    clips: int | None = None
    sides: tuple[int, ...] = ()
    first: tuple[float, ...] = (100, 80, 220, 190)
    findings: dict[str, int] | None = None
    said: str = ""


CRANES = {"crane": 5}
CASES = {
    "01-labelstudio-yolo-notes": Right(CRANES, said="from 5 files (YOLO txt)"),
    "02-resized-after-labelling": Right({"crane": 6}, images=6, findings={"wrong size": 6}),
    "03-labelimg-size-zero": Right({"person": 5}),
    "04-cvat-mask-iscrowd": Right(CRANES),
    "05-tfod-csv-no-extension": Right({"car": 5}),
    "06-makesense-csv-no-header": Right(CRANES, said="from 1 file (makesense.ai CSV)"),
    "06c-makesense-csv-header": Right(CRANES, said="from 1 file (makesense.ai CSV)"),
    "07-cvat-two-tasks-same-frame-names": Right({"crane": 6}, images=6, clips=2),
    "09-cvat-rotated-box": Right(
        CRANES, first=(280, 140, 320, 340), findings={"rotated box": 3}, said="turned by 90 degrees"
    ),
    "10-vott-video-frames": Right(
        {"crane": 8}, images=8, clips=2, first=(100.12, 80.12, 220.12, 190.12)
    ),
    "11-labelstudio-hash-prefix": Right(CRANES),
    "17-heic-named-jpg": Right(
        {"crane": 4},
        images=4,
        first=(110, 87, 232, 199),
        findings={"unreadable image": 1},
        said="IMG_0.jpg: HEIC, in spite of its name",
    ),
    "17b-heic-among-jpg": Right(
        CRANES,
        findings={"unreadable image": 1, "no image": 3},
        said="IMG_7.HEIC: HEIC is not read; 3 such pictures are left out; convert",
    ),
    "19-yolo-polygons-mixed": Right({"crane": 6}, images=6, sides=(3, 3)),
    "20-yolo-out-of-bounds": Right({"crane": 6}, images=6, findings={"clipped": 1}),
    "22-tfod-train-test-folders": Right(
        {"crane": 8},
        images=8,
        sides=(6, 2),
        findings={"not used": 1},
        said="6 train, 2 val (folders train and test; test became val)",
    ),
    "23-tfodcourse-collectedimages": Right(
        {"ThumbsUp": 6}, images=6, sides=(4, 2), findings={"same picture twice": 3}
    ),
    "24-voc-without-size": Right(CRANES),
    "25-unicode-nfd-coco": Right({"crane": 4}, images=4),
    "34-groups-csv-no-extension": Right({"crane": 8}, images=8, clips=2),
    "36-voc-imagesets": Right(
        {"crane": 6}, images=6, sides=(4, 2), said="(lists train.txt and val.txt)"
    ),
    "38-yolo-float-class-ids": Right(CRANES),
    "40-labelme-json": Right(CRANES),
    "43-via-csv": Right({"crane": 4}, images=4),
    "44-csv-rows-of-deleted-pictures": Right({"car": 5}, findings={"no image": 1}),
    "46-oidv4-toolkit": Right({"Apple": 4}, images=4),
}


@pytest.mark.parametrize("case", CASES)
def test_pictures(frames_of, tmp_path, capsys, case):
    right = CASES[case]
    frames = frames_of(case)
    said = capsys.readouterr().out
    assert f"{right.images} of {right.images} pictures have boxes" in said
    assert right.said in said
    clips = {row["clip"] for row in read_csv(frames / "frames.csv", ("clip",))}
    assert len(clips) == (right.clips or right.images)

    dataset = write_dataset(frames, tmp_path / "03_dataset")
    found = read_folder(dataset / "annotations")
    assert len(found) == right.images
    assert Counter(box.label for a in found for box in a.boxes) == right.boxes
    assert found[0].boxes[0].xyxy == pytest.approx(right.first, abs=0.011)
    audit = read_csv(dataset / "audit.csv", ("kind", "action"))
    assert Counter(row["kind"] for row in audit) == (right.findings or {})
    split = Counter(row["split"] for row in read_csv(dataset / "split.csv", ("image", "split")))
    if right.sides:
        assert tuple(split[s] for s in ("train", "val", "test") if split[s]) == right.sides
    assert split["train"]
    assert split["val"]


@pytest.mark.parametrize(
    ("case", "frames", "clips"),
    [
        ("18-dashcam-ts", 4, 1),  # the second begins when the first ends
        ("26-gopro-card", 4, 1),  # two chapters
        ("27-phone-hdr-hlg", 6, 3),
        ("30b-mpg", 2, 1),
    ],
)
def test_videos(frames_of, case, frames, clips):
    folder = frames_of(case, count=2)
    rows = read_csv(folder / "frames.csv", ("image", "clip"))
    assert (len(rows), len({row["clip"] for row in rows})) == (frames, clips)


def test_a_video_with_the_annotations_of_its_frames(frames_of, tmp_path, capsys):
    frames = frames_of("08-cvat-video-with-voc-export", every=10)
    assert "Annotated frames: 40 (Pascal VOC XML)." in capsys.readouterr().out
    assert len(read_csv(frames / "frames.csv", ("image",))) == 4
    dataset = write_dataset(frames, tmp_path / "03_dataset", split="frame")
    assert all(annotation.boxes for annotation in read_folder(dataset / "annotations"))


def test_frames_of_one_clip_are_never_on_both_sides(frames_of, tmp_path):
    frames = frames_of("31b-lisa-box-only")
    assert {row["clip"] for row in read_csv(frames / "frames.csv", ("clip",))} == {"dayClip1"}
    with pytest.raises(CourseError, match=r"all 5 images with boxes are of one clip \(dayClip1\)"):
        write_dataset(frames, tmp_path / "03_dataset")


def test_nothing_to_learn_is_said_in_lesson_03(frames_of, tmp_path):
    with pytest.raises(CourseError, match="all 5 boxes are difficult: nothing to learn"):
        write_dataset(frames_of("16-all-difficult"), tmp_path / "03_dataset")


def test_pictures_renamed_after_labelling(cases, tmp_path):
    with pytest.raises(CourseError, match="none of 6 annotations belongs to a picture") as caught:
        own_folder(cases / "49-pictures-renamed-after-labelling", tmp_path / "01_images")
    assert "they expect 'IMG_20240512_0.jpg'" in str(caught.value)


def test_records_in_place_of_pictures(cases, tmp_path):
    with pytest.raises(CourseError, match=r"thumb0001.tfrecord: TFRecord, which is not read"):
        own_folder(cases / "29-vott-tfrecords", tmp_path / "01_images")
