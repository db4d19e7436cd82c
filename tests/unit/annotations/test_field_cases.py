"""The inputs from the field, as far as reading them goes."""

from collections import Counter

import pytest

from helpers.annotations.formats import read_annotations, survey

# Case -> pictures, annotated ones, boxes, formats, kinds of remarks with their number.
CASES = {
    "01-labelstudio-yolo-notes": (5, 5, 5, ["yolo"], {}),
    "03-labelimg-size-zero": (5, 5, 5, ["voc"], {}),
    "04-cvat-mask-iscrowd": (5, 5, 5, ["coco"], {}),
    "05-tfod-csv-no-extension": (5, 5, 5, ["tfod_csv"], {}),
    "06-makesense-csv-no-header": (5, 5, 5, ["makesense_csv"], {}),
    "06c-makesense-csv-header": (5, 5, 5, ["makesense_csv"], {}),
    "07-cvat-two-tasks-same-frame-names": (6, 6, 6, ["voc"], {}),
    "08-cvat-video-with-voc-export": (0, 40, 40, ["voc"], {}),
    "09-cvat-rotated-box": (5, 5, 5, ["coco"], {"rotated box": 3}),
    "10-vott-video-frames": (8, 8, 8, ["vott_csv"], {}),
    "11-labelstudio-hash-prefix": (5, 5, 5, ["yolo"], {}),
    "17b-heic-among-jpg": (5, 5, 5, ["voc"], {"unreadable image": 1, "no image": 3}),
    "19-yolo-polygons-mixed": (6, 6, 6, ["yolo"], {}),
    "20-yolo-out-of-bounds": (6, 6, 6, ["yolo"], {"clipped": 1}),
    "22-tfod-train-test-folders": (8, 8, 8, ["voc", "tfod_csv"], {}),
    "23-tfodcourse-collectedimages": (6, 6, 6, ["voc"], {"same picture twice": 3}),
    "24-voc-without-size": (5, 5, 5, ["voc"], {}),
    "25-unicode-nfd-coco": (4, 4, 4, ["coco"], {}),
    "31b-lisa-box-only": (5, 5, 5, ["lisa_csv"], {}),
    "36-voc-imagesets": (6, 6, 6, ["voc"], {}),
    "38-yolo-float-class-ids": (5, 5, 5, ["yolo"], {}),
    "40-labelme-json": (5, 5, 5, ["labelme"], {}),
    "43-via-csv": (4, 4, 4, ["via"], {}),
    "44-csv-rows-of-deleted-pictures": (5, 5, 5, ["tfod_csv"], {"no image": 1}),
    "46-oidv4-toolkit": (4, 4, 4, ["oidv4"], {}),
    "49-pictures-renamed-after-labelling": (6, 0, 0, ["voc"], {"no image": 6}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_case_from_the_field_is_read(shared, case):
    folder = shared / "cases" / case
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    pictures, annotated, boxes, formats, remarks = CASES[case]
    seen = survey(folder)
    notes = list(seen.unknown)
    found = read_annotations(folder, seen.pictures, note=notes.append)
    assert len(seen.pictures.names) == pictures
    assert len(found) == annotated
    assert sum(len(a.boxes) for a in found) == boxes
    assert not any(box.difficult for a in found for box in a.boxes)
    assert list(seen.files) == formats
    assert Counter(note.kind for note in notes) == remarks


def test_a_rotated_box_of_cvat_is_upright(shared):
    folder = shared / "cases/09-cvat-rotated-box"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    found = read_annotations(folder, note=lambda remark: None)
    assert found[0].boxes[0].xyxy == pytest.approx((280, 140, 320, 340))
