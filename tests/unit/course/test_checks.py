"""The exercise checks accept right answers and hint at each usual mistake."""

import numpy as np
import pytest

from helpers.course.checks import check_box_conversion, check_iou, check_split


def overlap(a, b, clip=0.0, plus=0.0):
    width = max(clip, min(a[2], b[2]) - max(a[0], b[0]) + plus)
    height = max(clip, min(a[3], b[3]) - max(a[1], b[1]) + plus)
    return width * height


def area(box, plus=0.0):
    return (box[2] - box[0] + plus) * (box[3] - box[1] + plus)


def iou(a, b):
    return overlap(a, b) / (area(a) + area(b) - overlap(a, b))


def iou_numpy(a, b):
    a, b = np.array(a, np.float32), np.array(b, np.float32)
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    return sides.prod() / (area(a) + area(b) - sides.prod())


@pytest.mark.parametrize("answer", [iou, iou_numpy])
def test_iou_right(answer, capsys):
    assert check_iou(answer)
    assert capsys.readouterr().out.startswith("Right: ")


WRONG_IOU = {
    "not clipped": (
        lambda a, b: overlap(a, b, clip=-99) / (area(a) + area(b) - overlap(a, b, clip=-99)),
        "clip at 0",
    ),
    "plus one": (
        lambda a, b: (
            overlap(a, b, plus=1) / (area(a, 1) + area(b, 1) - overlap(a, b, plus=1))
            if overlap(a, b)
            else 0
        ),
        "no + 1",
    ),
    "union counts twice": (lambda a, b: overlap(a, b) / (area(a) + area(b)), "with itself"),
    "over the first only": (lambda a, b: overlap(a, b) / area(a), "union"),
    "over the smaller": (lambda a, b: overlap(a, b) / min(area(a), area(b)), "union"),
    "no return": (lambda a, b: None, "return"),
    "raises": (lambda a, b: a["xmin"], "raises TypeError"),
    "text": (lambda a, b: "0.5 of it", "return numbers"),
    "a pair": (lambda a, b: (iou(a, b), 1), "with itself"),
    "percent": (lambda a, b: 100 * iou(a, b), "gives 100, not 1"),
}


@pytest.mark.parametrize("kind", WRONG_IOU)
def test_iou_wrong(kind, capsys):
    answer, hint = WRONG_IOU[kind]
    assert not check_iou(answer)
    said = capsys.readouterr().out
    assert said.startswith("Not yet: ")
    assert said.count("\n") == 1
    assert hint in said


@pytest.mark.parametrize("kind", [tuple, list, np.array])
def test_conversion_right(kind):
    assert check_box_conversion(
        lambda box, width, height: kind(
            [box[1] / height, box[0] / width, box[3] / height, box[2] / width]
        )
    )


WRONG_CONVERSION = {
    "x first": (lambda b, w, h: (b[0] / w, b[1] / h, b[2] / w, b[3] / h), "y comes first"),
    "pixels": (lambda b, w, h: (b[1], b[0], b[3], b[2]), "divide y by the height"),
    "sides swapped": (lambda b, w, h: (b[1] / w, b[0] / h, b[3] / w, b[2] / h), "divide"),
    "rounded": (
        lambda b, w, h: (int(b[1]) / h, int(b[0]) / w, int(b[3]) / h, int(b[2]) / w),
        "do not round",
    ),
    "width and height": (
        lambda b, w, h: (b[1] / h, b[0] / w, (b[3] - b[1]) / h, (b[2] - b[0]) / w),
        "not (0.1, 0.25, 0.4, 0.75)",
    ),
    "three": (lambda b, w, h: (0, 0, 1), "four numbers"),
    "no return": (lambda b, w, h: None, "return"),
}


@pytest.mark.parametrize("kind", WRONG_CONVERSION)
def test_conversion_wrong(kind, capsys):
    answer, hint = WRONG_CONVERSION[kind]
    assert not check_box_conversion(answer)
    assert hint in capsys.readouterr().out


CLIPS = {f"{clip}_{frame}.jpg": clip for clip in "abc" for frame in range(4)}


def by_clip():
    return {image: "val" if clip == "b" else "train" for image, clip in CLIPS.items()}


def test_split_right(capsys):
    assert check_split(CLIPS, by_clip())
    assert "3 clips" in capsys.readouterr().out


def test_split_into_three_right(capsys):
    assert check_split(CLIPS, {i: {"a": "train", "b": "val", "c": "test"}[i[0]] for i in CLIPS})
    assert capsys.readouterr().out == "Right: 3 clips, none of them on both sides.\n"


def test_where_the_clips_are_not_known_nothing_is_called_right(capsys):
    photos = {f"{i}.jpg": f"{i}" for i in range(4)}
    assert check_split(photos, {i: "val" if i == "0.jpg" else "train" for i in photos})
    line = capsys.readouterr().out
    assert line.startswith("Each of 4 images counts as a clip of its own, so that by clip and by")
    assert check_split(CLIPS | photos, by_clip() | dict.fromkeys(photos, "val"), unknown=4)
    line = capsys.readouterr().out
    assert line.startswith("7 clips, none of them on both sides. But 4 of 16 images count as")


WRONG_SPLIT = {
    "by frame": ({**by_clip(), "a_0.jpg": "val"}, "1 of 3 clips are on both sides, such as a"),
    "image forgotten": ({k: v for k, v in by_clip().items() if k != "c_3.jpg"}, "c_3.jpg"),
    "image unknown": ({**by_clip(), "d_0.jpg": "val"}, "d_0.jpg is in the split"),
    "part misnamed": ({**by_clip(), "a_0.jpg": "tests"}, "'tests'"),
    "all in train": (dict.fromkeys(CLIPS, "train"), "no image is in val"),
}


@pytest.mark.parametrize("kind", WRONG_SPLIT)
def test_split_wrong(kind, capsys):
    split, hint = WRONG_SPLIT[kind]
    assert not check_split(CLIPS, split)
    assert hint in capsys.readouterr().out
