"""Simulated footage: same seed same clip, boxes that fit what is drawn, files that play."""

import csv
import hashlib
import subprocess
import sys
from dataclasses import astuple, replace

import av
import cv2
import numpy as np
import pytest

from helpers.common.errors import CourseError
from helpers.footage.roadside import sprites
from helpers.footage.roadside.scene import (
    COLUMNS,
    LABELS,
    LIGHTS,
    build_scene,
    clip_specs,
    frames,
    render_clip,
    render_frame,
    render_roadside,
)
from helpers.footage.roadside.view import FPS, ClipSpec, Thing, prepare

SMALL = {"width": 320, "height": 180}


def digest(spec, count=4):
    found = hashlib.sha256()
    for _, (image, boxes) in zip(range(count), frames(spec), strict=False):
        found.update(image.tobytes())
        found.update(repr([astuple(box) for box in boxes]).encode())
    return found.hexdigest()


@pytest.fixture(scope="module")
def scenes():
    specs = clip_specs(5, 21, **SMALL)
    return [build_scene(spec) for spec in specs]


@pytest.fixture(scope="module")
def bare():
    """An empty road, seen by a camera that hardly moves."""
    scene = build_scene(ClipSpec("bare", 5, 1.0, "overcast", 640, 360))
    scene.strips, scene.wires, scene.speed = [], [], 0.5
    return scene


def shot(scene, *things):
    """Frame 3 of the scene with `things` only: (image, boxes)."""
    post = sprites.post(np.random.default_rng(0), sky(scene), 0.1, 1.0, (90, 90, 90))
    out_of_sight = Thing(post, 5.0, 9e3)
    return render_frame(prepare(replace(scene, things=[*things, out_of_sight])), 3)


def sky(scene):
    return sprites.Sky(scene.light, sprites.unit((0.3, 0.6, -0.5)))


def camera_thing(scene, maker, x, s):
    quads = maker(np.random.default_rng(3), sky(scene))
    return Thing(quads, x, s, "speed_camera", len(quads))


def test_same_seed_gives_the_same_pixels_and_boxes():
    rain = clip_specs(4, 9, seconds=0.5, **SMALL)[3]
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = digest(rain)
        cv2.setNumThreads(4)
        assert digest(rain) == alone
    finally:
        cv2.setNumThreads(threads)
    assert digest(replace(rain, seed=rain.seed + 1)) != alone


def test_broad_clips_differ_more_from_each_other():
    def greys(broad):
        """Mean brightness of the middle of the sky and of the road, in each clip."""
        found = []
        for spec in clip_specs(10, 30, **SMALL, broad=broad):
            image, _ = render_frame(build_scene(spec), 2)
            found.append([image[10:60, 80:240].mean(), image[120:140, 140:180].mean()])
        return np.array(found)

    plain, broad = greys(False), greys(True)
    assert (np.abs(broad - plain).max(axis=1) > 2).all(), "each camera exposes in its own way"
    assert broad[:, 0].std() > plain[:, 0].std()
    spec = clip_specs(1, 30, seconds=0.2, **SMALL, broad=True)[0]
    assert digest(spec, 2) == digest(spec, 2)


def test_frames_can_be_drawn_in_any_order(scenes):
    first, _ = render_frame(scenes[3], 7)
    render_frame(scenes[3], 40)
    again, _ = render_frame(scenes[3], 7)
    assert np.array_equal(first, again)


def test_clip_specs_are_prefix_stable_and_show_every_light():
    many = clip_specs(12, 4)
    assert clip_specs(5, 4) == many[:5]
    for start in range(8):
        assert {spec.light for spec in many[start : start + 5]} == set(LIGHTS)
    assert many[0].name == "roadside_000_sun"
    assert len({spec.seed for spec in many}) == 12
    assert clip_specs(5, 5)[0].seed != many[0].seed


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"count": 2, "seconds": 0}, {"count": 2, "width": 321}, {"seed": -1}]
)
def test_wrong_numbers_are_named(wrong):
    with pytest.raises(CourseError, match="roadside: "):
        clip_specs(**{"count": 1, "seed": 1, **wrong})


@pytest.mark.parametrize(
    "maker",
    sorted({*sprites.SPEED_CAMERAS, *sprites.BROAD_SPEED_CAMERAS}, key=lambda m: m.__name__),
)
def test_box_is_where_the_object_changes_the_picture(maker, bare):
    without, boxes = shot(bare)
    assert boxes == []
    for s, x in ((9.0, 4.2), (16.0, -4.0), (40.0, 5.0)):
        with_it, (box,) = shot(bare, camera_thing(bare, maker, x, s))
        changed = np.abs(with_it.astype(int) - without).sum(2) > 4
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        drawn = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert np.allclose(drawn, (box.xmin, box.ymin, box.xmax, box.ymax), atol=2.0)
        assert box.visibility == 1.0
        assert box.distance_m == pytest.approx(s, abs=0.1)


def test_a_car_in_front_lowers_visibility_and_cuts_the_box(bare):
    target = camera_thing(bare, sprites.camera_tower, bare.x, 30.0)
    _, (free,) = shot(bare, target)
    quads = sprites.car(np.random.default_rng(1), sky(bare), style="hatch")
    _, boxes = shot(bare, target, Thing(quads, bare.x, 12.0, "car", len(quads)))
    covered = next(box for box in boxes if box.label == "speed_camera")
    assert free.visibility == 1.0
    assert 0.1 < covered.visibility < 0.8
    assert covered.ymax < free.ymax - 3
    assert covered.ymin == pytest.approx(free.ymin)
    # Behind a van that hides all of it, it is not listed at all.
    quads = sprites.car(np.random.default_rng(1), sky(bare), style="van")
    _, boxes = shot(bare, target, Thing(quads, bare.x, 4.0, "car", len(quads)))
    assert [box.label for box in boxes] == ["car"]


def test_the_border_of_the_image_lowers_visibility_and_clips_the_box(bare):
    _, (inside,) = shot(bare, camera_thing(bare, sprites.camera_tower, bare.x + 3.0, 6.0))
    _, (box,) = shot(bare, camera_thing(bare, sprites.camera_tower, bare.x + 3.0, 3.4))
    assert box.visibility < 0.95 * inside.visibility
    assert box.xmax == 640
    assert box.ymax < 360  # the dashboard hides the foot


def test_every_light_renders_and_looks_different(scenes):
    brightness = {}
    for scene in scenes:
        image, boxes = render_frame(scene, 10)
        assert image.shape == (180, 320, 3)
        assert image.dtype == np.uint8
        assert image.std() > 12
        brightness[scene.spec.light] = image[:90].mean()
        assert {box.label for box in boxes} <= set(LABELS)
    assert set(brightness) == set(LIGHTS)
    assert brightness["dusk"] < brightness["overcast"] < 220


def test_boxes_are_sane_and_of_all_sizes(scenes):
    rows, without = [], 0
    for scene in scenes:
        for index in range(0, scene.spec.frames, 6):
            _, boxes = render_frame(scene, index)
            assert len({box.track for box in boxes}) == len(boxes)
            without += not any(box.label == "speed_camera" for box in boxes)
            rows += boxes
    lines = 720 / 180
    for box in rows:
        assert 0 <= box.xmin < box.xmax <= 320
        assert 0 <= box.ymin < box.ymax <= 180
        assert 0.1 <= box.visibility <= 1
        height = (box.ymax - box.ymin) * lines
        assert height >= 8
        assert box.difficult == int(height < 24 or box.visibility < 0.4)
    cameras = [(box.ymax - box.ymin) * lines for box in rows if box.label == "speed_camera"]
    assert min(cameras) < 24
    assert max(cameras) > 120
    assert without > 0
    narrow = [box for box in rows if box.label == "speed_camera" and box.visibility > 0.95]
    assert np.median([(b.xmax - b.xmin) / (b.ymax - b.ymin) for b in narrow]) < 0.6
    assert {box.label for box in rows} == set(LABELS)


def test_clip_is_h264_that_a_browser_plays(tmp_path):
    spec = clip_specs(1, 2, seconds=0.4, **SMALL)[0]
    path = render_clip(spec, tmp_path)
    assert path == tmp_path / "roadside_000_sun.mp4"
    with av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == FPS
        assert (stream.width, stream.height) == (320, 180)
        images = [frame.to_ndarray(format="rgb24") for frame in clip.decode(stream)]
    assert len(images) == spec.frames == 12
    first, boxes = next(frames(spec))
    assert np.abs(images[0].astype(int) - first).mean() < 6
    with open(tmp_path / "roadside_000_sun.boxes.csv", newline="") as table:
        listed = list(csv.DictReader(table))
    assert tuple(listed[0]) == COLUMNS
    first_rows = [row for row in listed if row["frame"] == "0"]
    assert len(first_rows) == len(boxes)
    assert float(first_rows[0]["xmin"]) == pytest.approx(boxes[0].xmin, abs=0.006)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # a browser can start at once
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_is_left_of_a_clip_that_fails(tmp_path, monkeypatch):
    spec = clip_specs(1, 2, seconds=0.4, **SMALL)[0]

    def failing(spec):
        yield next(frames(spec))
        raise RuntimeError("planted")

    monkeypatch.setattr("helpers.footage.roadside.scene.frames", failing)
    with pytest.raises(RuntimeError, match="planted"):
        render_clip(spec, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_render_makes_a_whole_folder(tmp_path):
    folder = render_roadside(tmp_path / "01_images", clips=2, seconds=0.1, seed=6)
    names = sorted(path.name for path in (folder / "clips").iterdir())
    assert names == [
        "roadside_000_sun.boxes.csv", "roadside_000_sun.mp4",
        "roadside_001_overcast.boxes.csv", "roadside_001_overcast.mp4",
    ]  # fmt: skip
    with open(folder / "sources.csv", newline="") as table:
        sources = list(csv.DictReader(table))
    assert [row["file"] for row in sources] == [f"clips/{n}" for n in names if n.endswith("mp4")]
    assert {row["licence"] for row in sources} == {"CC0-1.0, rendered by this course"}
    assert "seed" in sources[0]["origin"]


def test_import_is_light():
    code = (
        "import sys, time, numpy, cv2; t = time.perf_counter(); "
        "import helpers.footage.roadside.scene; "
        "t = time.perf_counter() - t; "
        "heavy = ('tensorflow', 'matplotlib', 'pandas', 'scipy', 'av'); "
        "print(t, [name for name in heavy if name in sys.modules])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert all(run.strip().endswith("[]") for run in runs)
    assert min(float(run.split()[0]) for run in runs) < 0.3
