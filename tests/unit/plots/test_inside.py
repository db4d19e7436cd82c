"""What a detector sees: its proposals, and one object from its anchors to its detections."""

import numpy as np
import pytest

from helpers import plots
from helpers.annotations.boxes import Box
from helpers.common.errors import CourseError

RED, GREEN = (220, 30, 30), (30, 200, 60)


@pytest.fixture
def ssd(untrained):
    return untrained("ssd")


@pytest.fixture
def faster_rcnn(untrained):
    return untrained("faster_rcnn")


@pytest.fixture
def shown(monkeypatch):
    """The figures that would be displayed."""
    figures = []
    monkeypatch.setattr(
        "helpers.plots.draw.show", lambda figure, caption, photo: figures.append(figure)
    )
    return figures


@pytest.fixture(scope="module")
def scene():
    """A large red object on the left, a small green one on the right."""
    image = np.full((96, 160, 3), 90, np.uint8)
    image[2:94, 0:50], image[40:60, 130:150] = RED, GREEN
    return image, [Box("camera", 0, 2, 50, 94), Box("camera", 130, 40, 150, 60)]


def colours(figure) -> list[bool]:
    """Whether the red, and whether the green object is in all three pictures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    thirds = np.array_split(np.asarray(canvas.buffer_rgba())[..., :3].astype(int), 3, axis=1)
    return [
        all((np.abs(third - colour).max(axis=2) < 30).mean() > 0.002 for third in thirds)
        for colour in (RED, GREEN)
    ]


def test_the_largest_object_that_counts_is_shown(ssd, scene, shown):
    image, (large, small) = scene
    plots.inside(ssd, image, [large, small], caption="Inside.")
    assert colours(shown[-1]) == [True, False]
    difficult = Box("camera", *large.xyxy, difficult=True)
    plots.inside(ssd, image, [difficult, small], caption="Inside.")
    assert colours(shown[-1]) == [False, True]
    plots.inside(ssd, image, [small, difficult], number=1, caption="Inside.")
    assert colours(shown[-1]) == [True, False]
    # Without one that counts, the largest is better than none.
    plots.inside(ssd, image, [difficult], caption="Inside.")
    assert colours(shown[-1]) == [True, False]
    assert shown[-1].axes[0].get_title() == "0 anchors have to find it"


def labels(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_an_ssd_shows_boxes_before_and_after_nms(ssd, scene, shown):
    plots.inside(ssd, *scene, threshold=0, caption="Inside.")
    first, second, third = (ax.get_title() for ax in shown[0].axes)
    assert "to find it, IoU 0." in first
    assert second.endswith("boxes before NMS")
    assert third.endswith("left after NMS, scored 0 or more")
    assert {"box before NMS: opacity shows the score", "detected, with score"} < {*labels(shown[0])}


def test_a_faster_rcnn_shows_proposals_and_detections(faster_rcnn, scene, shown):
    plots.inside(faster_rcnn, *scene, threshold=0, caption="Inside.")
    _, second, third = (ax.get_title() for ax in shown[0].axes)
    assert second.endswith("best proposals of the first stage")
    assert "left after the second stage" in third
    assert {"proposal: opacity shows the score", "detected, with score"} < {*labels(shown[0])}


def test_a_threshold_leaves_weak_detections_out(ssd, scene, shown):
    plots.inside(ssd, *scene, threshold=1, caption="Inside.")
    assert shown[0].axes[2].get_title().startswith("0 left")


def test_inside_needs_an_object_that_is_there(ssd, scene, capsys):
    image, truth = scene
    plots.inside(ssd, image, truth[:1], number=0, caption="Inside.")
    assert capsys.readouterr().out.startswith("Inside.\n")
    with pytest.raises(CourseError, match="number: 5; the image has 1 objects, from 0"):
        plots.inside(ssd, image, truth[:1], number=5, caption="Inside.")
    with pytest.raises(CourseError, match="number: 0; the image has 0 objects, from 0"):
        plots.inside(ssd, image, [], caption="Inside.")


def test_proposals_are_drawn_and_named_as_such(faster_rcnn, scene, shown):
    plots.proposals(faster_rcnn, scene[0], count=7, caption="Proposals.")
    (ax,) = shown[0].axes
    assert len(ax.patches) == 7
    assert [patch.get_alpha() for patch in ax.patches] == sorted(p.get_alpha() for p in ax.patches)
    assert labels(shown[0]) == ["proposal: opacity shows the score"]


def test_an_ssd_has_no_proposals_to_show(ssd, scene):
    with pytest.raises(CourseError, match="is an SSD, it has none; load a Faster R-CNN"):
        plots.proposals(ssd, scene[0], caption="Proposals.")
