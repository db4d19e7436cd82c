from dataclasses import replace

import pytest

from helpers.annotations.boxes import Annotation, Box
from helpers.dataset.statistics import box_statistics, share_under


def test_statistics_are_in_pixels_of_the_input():
    box = Box("car", 100, 200, 300, 300)
    wide = Annotation("a.jpg", 1000, 500, (box, replace(box, xmax=100)))
    [row] = box_statistics([wide], (500, 500))
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
    sign = Box("sign", 0, 0, 50, 50)
    found = [
        Annotation("a.jpg", 100, 80, (*boxes, sign)),
        Annotation("b.jpg", 100, 80, (boxes[3],)),
    ]
    assert share_under(box_statistics(found, (100, 80))) == [
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
