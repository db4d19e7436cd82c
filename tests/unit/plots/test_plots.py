"""Each figure draws from typical and from empty input, and prints what it shows."""

import base64
import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from helpers import plots
from helpers.annotations.boxes import Box
from helpers.common.errors import CourseError
from helpers.plots.training import SNAPSHOTS_CAPTION
from helpers.training.snapshots import SNAPSHOTS as SNAPSHOTS_FILE

CAPTION = "What the figure shows."
ROAD = np.full((36, 64, 3), 120, np.uint8)
BOX = Box("speed_camera", 10, 8, 20, 30)


class Detections:
    """The part of supervision.Detections that the figures read."""

    def __init__(self, *boxes):
        self.xyxy = np.array([box[:4] for box in boxes], float).reshape(-1, 4)
        self.confidence = np.array([box[4] for box in boxes], float)
        self.data = {"class_name": np.array([box[5] for box in boxes if len(box) > 5])}

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
SNAPSHOTS = [
    {"step": step, "found": [[], [[11, 9, 21, 31, step / 100]]]} for step in range(0, 100, 9)
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
    "split_strip of three sides": lambda: plots.split_strip(
        {"sun": {"train": 5}, "rain": {"val": 4}, "fog": {"test": 2}}, caption=CAPTION
    ),
    "class_bars of many": lambda: plots.class_bars(
        {f"class {i}": {"counted": i, "difficult": i % 2} for i in range(40)}, caption=CAPTION
    ),
    "history": lambda: plots.history({"SSD": HISTORY}, caption=CAPTION),
    "history without scores": lambda: plots.history(
        {"one": [{"step": 1, "total_loss": 2.0}], "two": []}, caption=CAPTION
    ),
    "snapshots": lambda: plots.snapshots(
        SNAPSHOTS, [ROAD, ROAD[:20]], [[BOX], []], history=HISTORY, caption=CAPTION
    ),
    "precision_recall": lambda: plots.precision_recall({"SSD": CURVE}, caption=CAPTION),
    "scores": lambda: plots.scores({"SSD": SCORED}, caption=CAPTION),
    "scores of nothing": lambda: plots.scores(
        {"SSD": dict.fromkeys(SCORED, None)}, caption=CAPTION
    ),
    "consequences": lambda: plots.consequences(
        {"right": {"loss": [2.0, 1.0], "found": 3, "objects": 4}}, caption=CAPTION
    ),
    "error_bars": lambda: plots.error_bars({"SSD": {"missed": 3}}, caption=CAPTION),
    "confusion": lambda: plots.confusion(["car", "sign"], np.eye(3, dtype=int), caption=CAPTION),
    "confusion of twenty": lambda: plots.confusion(
        [f"class{i}" for i in range(20)], np.zeros((21, 21), int), caption=CAPTION
    ),
}

EMPTY = {
    "snapshots": lambda: plots.snapshots([], [ROAD], [[]], caption=CAPTION),
    "snapshots without pictures": lambda: plots.snapshots(SNAPSHOTS, [], [], caption=CAPTION),
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
def test_figures_are_not_kept(name, shown):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    FIGURES[name]()
    assert plt.get_fignums() == before


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


def texts(monkeypatch) -> list[str]:
    """Every text that is put on axes from now on."""
    from matplotlib.axes import Axes

    written = []
    annotate, text = Axes.annotate, Axes.text

    def annotated(self, words, *args, **options):
        written.append(words)
        return annotate(self, words, *args, **options)

    def put(self, x, y, s, **options):
        written.append(s)
        return text(self, x, y, s, **options)

    monkeypatch.setattr(Axes, "annotate", annotated)
    monkeypatch.setattr(Axes, "text", put)
    return written


def test_classes_are_written_at_every_box(shown, monkeypatch):
    written = texts(monkeypatch)
    found = Detections((11, 9, 21, 31, 0.9, "car"), (40, 5, 50, 20, 0.5, "speed_camera"))
    options = {"truth": [[BOX]], "detections": [found], "caption": CAPTION}
    plots.images([ROAD], labels=True, **options)
    assert written == ["speed_camera", "car 0.90", "speed_camera 0.50"]
    del written[:]
    plots.images([ROAD], **options)
    assert written == ["0.90", "0.50"]
    del written[:]
    plots.augmentations([ROAD, ROAD], [[BOX], [BOX]], labels=True, caption=CAPTION)
    assert written == ["speed_camera"] * 2


def test_snapshots_of_several_classes_name_them(shown, monkeypatch):
    written = texts(monkeypatch)
    taken = [{"step": 9, "found": [[[11, 9, 21, 31, 0.9]]], "names": [["car"]]}]
    plots.snapshots(taken, [ROAD], [[BOX]], caption=CAPTION)
    assert written == ["step 9", "speed_camera", "car 0.90"]
    del written[:]
    same = [taken[0] | {"names": [["speed_camera"]]}]
    plots.snapshots(same, [ROAD], [[BOX]], caption=CAPTION)
    assert written == ["step 9", "0.90"]


def test_pictures_may_be_files(shown, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, colour in zip(paths, (BLUE, ORANGE), strict=True):
        Image.new("RGB", (64, 36), colour).save(path)
    plots.images([paths[0], ROAD], caption=CAPTION)
    assert share(pixels(shown), BLUE) > 0.3
    plots.images(paths, caption=CAPTION)
    assert min(share(pixels(shown), BLUE), share(pixels(shown), ORANGE)) > 0.3
    with pytest.raises(CourseError, match=r"c.png: not a readable image"):
        plots.images([tmp_path / "c.png"], caption=CAPTION)


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


@pytest.fixture
def redrawn(monkeypatch):
    """What is displayed, in order: (number of the display, picture)."""
    import IPython.display

    calls, count = [], itertools.count()

    class Handle:
        def __init__(self):
            self.number = next(count)

        def update(self, picture):
            calls.append((self.number, picture))

    def display(picture, display_id=None):
        handle = Handle()
        handle.update(picture)
        return handle

    monkeypatch.setattr(IPython.display, "display", display)
    return calls


def test_live_history_redraws_one_figure(redrawn, capsys):
    draw = plots.live_history()
    for count in (0, 1, 2):
        draw(HISTORY[:count])
    assert [number for number, _ in redrawn] == [0, 0, 0]
    assert capsys.readouterr().out.count("Left: the loss") == 1


def test_snapshots_are_added_below_the_curves(redrawn, tmp_path, capsys):
    draw = plots.live_history(snapshots=tmp_path, pictures=[ROAD, ROAD], truth=[[BOX], [BOX]])
    draw(HISTORY[:1])
    assert [number for number, _ in redrawn] == [0], "no snapshots yet"
    heights = []
    for count in (1, 1, 2):
        (tmp_path / SNAPSHOTS_FILE).write_text(json.dumps(SNAPSHOTS[:count]))
        del redrawn[:]
        draw(HISTORY)
        numbers = [number for number, _ in redrawn]
        # Drawn again where there is something new.
        assert numbers == ([0, 1] if count != len(heights) else [0])
        if numbers[-1]:
            heights.append(Image.open(io.BytesIO(redrawn[-1][1].data)).height)
    assert heights[1] > 1.5 * heights[0]
    assert capsys.readouterr().out.count(SNAPSHOTS_CAPTION) == 1


def test_the_ring_is_around_the_best_score(shown):
    def rings(rows) -> np.ndarray:
        plots.history({"SSD": rows}, caption=CAPTION)
        picture = np.array(Image.open(io.BytesIO(shown[-1][0].data)).convert("RGB"))
        return (np.abs(picture.astype(int) - BLUE).max(axis=2) < 40)[:, picture.shape[1] // 2 :]

    rows = [{"step": step, "total_loss": 1.0, "AP50": 0.5} for step in (10, 20, 30)]
    early, late = (
        [row | {"score": score} for row, score in zip(rows, scores, strict=True)]
        for scores in ((0.3, 0.2, 0.1), (0.1, 0.2, 0.3))
    )
    half = rings(early).shape[1] // 2
    # The same curve; only the place of the ring tells them apart.
    assert (rings(early) & ~rings(late))[:, :half].any()
    assert (rings(late) & ~rings(early))[:, half:].any()


def strip(shown, taken, pictures, truth, **options) -> np.ndarray:
    plots.snapshots(taken, pictures, truth, caption=CAPTION, **options)
    return np.array(Image.open(io.BytesIO(shown[-1][0].data)))


def test_snapshots_have_few_rows_the_first_and_the_last_among_them(shown):
    # Only the last shows a detection.
    taken = [{"step": i, "found": [[]]} for i in range(40)]
    taken[-1]["found"] = [[[11, 9, 21, 31, 0.9]]]
    six = strip(shown, taken, [ROAD], [[]])
    assert six.shape == strip(shown, taken[-6:], [ROAD], [[]]).shape
    assert strip(shown, taken, [ROAD], [[]], most=3).shape[0] < 0.6 * six.shape[0]
    rows = np.array_split(six[:-40], 6)
    assert [share(row, ORANGE) > 0 for row in rows] == [False] * 5 + [True]
    taken[0]["found"], taken[-1]["found"] = taken[-1]["found"], [[]]
    rows = np.array_split(strip(shown, taken, [ROAD], [[]])[:-40], 6)
    assert [share(row, ORANGE) > 0 for row in rows] == [True] + [False] * 5


def test_snapshots_show_an_object_large_and_leaves_weak_detections_out(shown):
    far = np.zeros((720, 1280, 3), np.uint8)
    far[350:370, 600:610] = (255, 0, 0)
    box = Box("speed_camera", 595, 345, 615, 375)
    weak = [{"step": 1, "found": [[[595, 345, 615, 375, 0.19]]]}]
    picture = strip(shown, weak, [far], [[box]])
    assert share(picture, (255, 0, 0)) > 0.005, "200 of 921 600 pixels before"
    assert share(picture[:-40], ORANGE) == 0
    strong = [{"step": 1, "found": [[[595, 345, 615, 375, 0.21]]]}]
    assert share(strip(shown, strong, [far], [[box]])[:-40], ORANGE) > 0
    elsewhere = [{"step": 1, "found": [[[100, 100, 150, 150, 0.9]]]}]
    assert share(strip(shown, elsewhere, [far], [[box]])[:-40], ORANGE) == 0


def test_statistics_order_labels_by_number_and_then_as_they_come(monkeypatch):
    figures = []
    monkeypatch.setattr("helpers.plots.draw.show", lambda figure, caption: figures.append(figure))
    labels = ["van", "car", "bin", "sign", "camera", "camera"]
    columns = {name: 0.5 for name in ("side", "aspect", "width", "height", "x", "y")}
    rows = [{"image": f"{i}.jpg", "label": label} | columns for i, label in enumerate(labels)]
    plots.statistics(rows, images=9, input_size=(640, 384), caption=CAPTION)
    (figure,) = figures
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["camera", "van", "car", "2 more"]
    per_image = figure.axes[0].patches
    assert [bar.get_height() for bar in per_image] == [3, 6], "9 images, 6 with one object"
