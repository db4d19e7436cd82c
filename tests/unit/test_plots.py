"""Each figure draws from typical and from empty input, and prints what it shows."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from helpers import plots
from helpers.annotations import Box

CAPTION = "What the figure shows."
ROAD = np.full((36, 64, 3), 120, np.uint8)
BOX = Box("speed_camera", 10, 8, 20, 30)


class Detections:
    """The part of supervision.Detections that the figures read."""

    def __init__(self, *boxes):
        self.xyxy = np.array([box[:4] for box in boxes], float).reshape(-1, 4)
        self.confidence = np.array([box[4] for box in boxes], float)

    def __len__(self):
        return len(self.xyxy)


FOUND = Detections((11, 9, 21, 31, 0.9))
ROWS = {"distance_m": [20.0, 90.0], "ymin": [1, 2], "ymax": [50, 12]}
SEEN = {"time": [0.0, 0.1], "score": [0.9, 0.4], "ymin": [1, 2], "ymax": [50, 12]}
CURVE = {name: np.linspace(0, 1, 5) for name in ("recall", "precision", "score")}
SCORED = {"AP": 0.5, "AP50": 0.9, "AP50_low": 0.8, "AP50_high": 0.95}
HISTORY = [
    {"step": 1, "total_loss": 3.0},
    {"step": 9, "total_loss": 0.5, "AP50": 0.7},
]

FIGURES = {
    "images": lambda: plots.images([ROAD] * 4, titles=list("abcd"), caption=CAPTION),
    "images with boxes": lambda: plots.images(
        [ROAD, ROAD], truth=[[BOX], []], detections=[FOUND, Detections()], caption=CAPTION
    ),
    "images zoomed": lambda: plots.images(
        [ROAD], truth=[[BOX]], labels=True, zoom=True, caption=CAPTION
    ),
    "images of other sizes": lambda: plots.images(
        [ROAD, ROAD[:20], ROAD[:, :9]], truth=[[], [], []], zoom=True, caption=CAPTION
    ),
    "histogram": lambda: plots.histogram([1, 2, 2, 5], label="size", caption=CAPTION),
    "histogram, stacked and marked": lambda: plots.histogram(
        {"counted": [1, 2], "difficult": []}, label="size", marks={"cell": 8}, caption=CAPTION
    ),
    "class_bars": lambda: plots.class_bars(
        {"car": {"counted": 9, "difficult": 2}, "sign": {"counted": 1, "difficult": 0}},
        caption=CAPTION,
    ),
    "heights_over_distance": lambda: plots.heights_over_distance(
        ROWS, lines={"difficult": 24}, caption=CAPTION
    ),
    "detections_over_time": lambda: plots.detections_over_time(SEEN, caption=CAPTION),
    "split_strip": lambda: plots.split_strip(
        {"sun": {"train": 5}, "rain": {"train": 1, "val": 4}}, caption=CAPTION
    ),
    "history": lambda: plots.history({"SSD": HISTORY}, caption=CAPTION),
    "history without scores": lambda: plots.history(
        {"one": [{"step": 1, "total_loss": 2.0}], "two": []}, caption=CAPTION
    ),
    "precision_recall": lambda: plots.precision_recall({"SSD": CURVE}, caption=CAPTION),
    "scores": lambda: plots.scores({"SSD": SCORED}, caption=CAPTION),
    "consequences": lambda: plots.consequences(
        {"right": {"loss": [2.0, 1.0], "found": 3, "objects": 4}}, caption=CAPTION
    ),
    "error_bars": lambda: plots.error_bars({"SSD": {"missed": 3}}, caption=CAPTION),
}

EMPTY = {
    "images": lambda: plots.images([], caption=CAPTION),
    "histogram": lambda: plots.histogram({"counted": []}, label="size", caption=CAPTION),
    "class_bars": lambda: plots.class_bars({}, caption=CAPTION),
    "heights_over_distance": lambda: plots.heights_over_distance(
        {"distance_m": [], "ymin": [], "ymax": []}, caption=CAPTION
    ),
    "detections_over_time": lambda: plots.detections_over_time(
        {"time": [], "score": [], "ymin": [], "ymax": []}, caption=CAPTION
    ),
    "split_strip": lambda: plots.split_strip({}, caption=CAPTION),
}


@pytest.fixture
def shown(monkeypatch):
    """What the figures hand to Jupyter, in order: (object, metadata)."""
    import IPython.display

    calls = []
    monkeypatch.setattr(
        IPython.display, "display", lambda item, **options: calls.append((item, options))
    )
    return calls


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_drawn_once_with_its_caption(name, shown, capsys, recwarn):
    FIGURES[name]()
    assert capsys.readouterr().out == f"{CAPTION}\n"
    assert len(shown) == 1
    assert not recwarn.list, [str(warning.message) for warning in recwarn.list]


@pytest.mark.parametrize("name", EMPTY)
def test_without_anything_to_show_only_the_caption_is_printed(name, shown, capsys):
    EMPTY[name]()
    assert capsys.readouterr().out == f"{CAPTION} (There is nothing to show.)\n"
    assert shown == []


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_closed(name, shown):
    import matplotlib.pyplot as plt

    FIGURES[name]()
    assert plt.get_fignums() == []


def pixels(shown) -> np.ndarray:
    data, metadata = shown[-1][0]._repr_mimebundle_()
    assert metadata["image/jpeg"]["alt"] == CAPTION
    return np.array(Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"]))))


def share(picture, colour, tolerance=40) -> float:
    near = np.abs(picture.astype(int) - colour).max(axis=2) < tolerance
    return near.mean()


BLUE, ORANGE = (0, 114, 178), (230, 159, 0)


def test_truth_is_blue_and_detections_orange(shown):
    plots.images([ROAD], caption=CAPTION)
    assert share(pixels(shown), BLUE) == share(pixels(shown), ORANGE) == 0
    plots.images([ROAD], truth=[[BOX]], caption=CAPTION)
    solid = share(pixels(shown), BLUE)
    assert solid > 0
    assert share(pixels(shown), ORANGE) == 0
    plots.images([ROAD], detections=[Detections((*BOX.xyxy, 0.9))], caption=CAPTION)
    assert share(pixels(shown), BLUE) == 0
    assert 0 < share(pixels(shown), ORANGE) < solid, "dashed: less ink than a solid line"


def test_zoom_enlarges_the_box(shown):
    far = np.zeros((720, 1280, 3), np.uint8)
    far[350:370, 600:610] = (255, 0, 0)
    box = Box("speed_camera", 590, 340, 620, 380)
    plots.images([far], truth=[[box]], caption=CAPTION)
    small = share(pixels(shown), (255, 0, 0))
    plots.images([far], truth=[[box]], zoom=True, caption=CAPTION)
    assert share(pixels(shown), (255, 0, 0)) > 4 * small


def test_photographs_are_small_files(shown):
    rng = np.random.default_rng(0)
    noisy = [rng.integers(0, 255, (360, 640, 3), dtype=np.uint8) for _ in range(6)]
    plots.images(noisy, caption=CAPTION)
    assert len(shown[0][0].data) < 400_000


def test_live_history_redraws_one_figure(monkeypatch):
    import IPython.display

    updates = []

    class Handle:
        def update(self, figure):
            updates.append(figure)

    monkeypatch.setattr(IPython.display, "display", lambda *_, **__: Handle())
    draw = plots.live_history()
    for count in (0, 1, 2):
        draw(HISTORY[:count])
    assert len(updates) == 2
