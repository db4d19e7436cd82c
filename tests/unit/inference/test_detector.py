import dataclasses
import shutil
import zipfile
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from helpers import models
from helpers.common.errors import CourseError
from helpers.inference.detector import Detector, load_detector, proposals, save_detector
from helpers.models.networks import CONFIG, LABEL_MAP, WEIGHTS


class Tensor:
    """What `Detector.run` returns: something with `.numpy()`."""

    def __init__(self, values):
        self.values = np.array(values, np.float32)

    def numpy(self):
        return self.values


def fake(boxes, scores, classes):
    """A Detector whose network gives the same yxyx boxes for every image; `seen` keeps those."""
    seen = []

    def run(image):
        seen.append(image)
        return Tensor(boxes), Tensor(scores), Tensor(classes)

    config = SimpleNamespace(task=SimpleNamespace(model=SimpleNamespace(input_size=[64, 128, 3])))
    return Detector(None, config, {1: "camera", 2: "car"}, run), seen


def image(height, width):
    return np.zeros((height, width, 3), np.uint8)


def test_boxes_come_back_in_pixels_of_the_image_that_was_given():
    detector, seen = fake([[16, 32, 48, 96], [0, 0, 64, 128]], [0.9, 0.2], [2, 1])
    found = detector(image(640, 1280), threshold=0.1)
    assert seen[0].shape == (64, 128, 3)
    assert found.xyxy.tolist() == [[320, 160, 960, 480], [0, 0, 1280, 640]]
    assert found.confidence == pytest.approx([0.9, 0.2])
    assert found.class_id.tolist() == [2, 1]
    assert found.data["class_name"].tolist() == ["car", "camera"]
    # An image of another aspect takes up only part of the input; both axes keep one scale.
    found = detector(image(640, 640), threshold=0.1)
    assert seen[1].shape == (64, 64, 3)
    assert found.xyxy[0].tolist() == [320, 160, 640, 480]


def test_boxes_end_at_the_edge_of_the_image():
    detector, _ = fake([[-5, -5, 200, 300]], [0.9], [1])
    found = detector(image(32, 64))
    assert found.xyxy.tolist() == [[0, 0, 64, 32]]
    assert found.xyxy.dtype == np.float32


def test_the_threshold_drops_what_scores_less_and_padding():
    detector, _ = fake([[0, 0, 9, 9]] * 4, [0.9, 0.5, 0.04, 0], [1, 1, 1, 0])
    assert len(detector(image(64, 128), threshold=0.5)) == 2
    assert len(detector(image(64, 128))) == 2
    assert len(detector(image(64, 128), threshold=0)) == 3
    nothing = detector(image(64, 128), threshold=0.95)
    assert nothing.xyxy.shape == (0, 4)
    assert nothing.data["class_name"].tolist() == []


def test_a_class_without_a_name_shows_its_number():
    detector, _ = fake([[0, 0, 9, 9]], [0.9], [3])
    assert detector(image(64, 128)).data["class_name"].tolist() == ["3"]


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((64, 128)), np.zeros((64, 128, 3)), image(64, 128)[..., :1], image(64, 128)[None]],
)
def test_what_is_no_rgb_image_is_refused(wrong):
    detector, _ = fake([[0, 0, 9, 9]], [0.9], [1])
    with pytest.raises(CourseError, match=r"image: shape \(.*; give uint8 RGB"):
        detector(wrong)


@pytest.fixture(scope="module")
def picture(tiny_dataset):
    file = sorted((tiny_dataset / "images").iterdir())[-1]
    return cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)


@pytest.fixture
def copied(trained, tmp_path):
    """A folder of the trained detector that a test may spoil."""
    for name in (WEIGHTS, CONFIG, LABEL_MAP):
        shutil.copyfile(trained.folder / name, tmp_path / name)
    return tmp_path


def eager(detector):
    """The same detector without a graph: quicker for the one image of a test."""
    return dataclasses.replace(detector, run=detector.run.python_function)


def test_a_loaded_detector_gives_what_the_trained_one_gave(trained, picture):
    loaded = load_detector(trained.folder)
    assert loaded.labels == {1: "camera"}
    assert loaded.input_size == (64, 128)
    assert loaded.parameters == trained.detector.parameters > 10_000
    # Both as graphs: without one, the CPU would compute with more bits.
    ours, theirs = (d(picture, threshold=0.01) for d in (trained.detector, loaded))
    assert len(ours) > 0
    np.testing.assert_allclose(theirs.xyxy, ours.xyxy, atol=1e-3)
    np.testing.assert_allclose(theirs.confidence, ours.confidence, atol=1e-5)


def test_half_the_bits_give_nearly_the_same(trained, picture, tmp_path):
    save_detector(trained.detector, tmp_path / "half", half=True)
    save_detector(trained.detector, tmp_path / "whole")
    sizes = [(tmp_path / name / WEIGHTS).stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.65 * sizes[1]
    half = eager(load_detector(tmp_path / "half"))
    ours, theirs = trained.detector(picture, threshold=0)[:3], half(picture, threshold=0)[:3]
    np.testing.assert_allclose(theirs.confidence, ours.confidence, atol=0.01)
    np.testing.assert_allclose(theirs.xyxy[0], ours.xyxy[0], atol=1)
    files = {WEIGHTS, CONFIG, LABEL_MAP}
    assert {path.name for path in (tmp_path / "half").iterdir()} == files


def truncate(folder):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def flip_bytes(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    (folder / WEIGHTS).write_bytes(data)


def write_text(folder):
    (folder / WEIGHTS).write_text("version https://git-lfs")


def write_array(folder):
    with (folder / WEIGHTS).open("wb") as file:
        np.save(file, np.zeros(3))


def write_words(folder):
    np.savez(folder / WEIGHTS, **{"0000/kernel:0": np.array(["abc"])})


def claim_20_gigabytes(folder):
    """A file of a few bytes whose one array says that it is of 20 GB."""
    head = {"descr": "<f4", "fortran_order": False, "shape": (5_000_000_000,)}
    with zipfile.ZipFile(folder / WEIGHTS, "w") as bundle, bundle.open("a.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, head)
    data = bytearray((folder / WEIGHTS).read_bytes())
    place = data.index(b"PK\x01\x02") + 24  # the size in the list of contents
    data[place : place + 4] = (4_290_000_000).to_bytes(4, "little")
    (folder / WEIGHTS).write_bytes(data)


def mark(offset, value):
    """Set two bytes of each entry in the archive's list: flags (8) or method (10)."""

    def spoil(folder):
        data = bytearray((folder / WEIGHTS).read_bytes())
        for signature, shift in ((b"PK\x01\x02", offset), (b"PK\x03\x04", offset - 2)):
            place = data.find(signature)
            while place >= 0:
                data[place + shift : place + shift + 2] = value.to_bytes(2, "little")
                place = data.find(signature, place + 4)
        (folder / WEIGHTS).write_bytes(data)

    return spoil


def other_config(**changes):
    def change(folder):
        config = models.load_config(folder / CONFIG)
        changed = {key.replace("__", "."): value for key, value in changes.items()}
        models.save_config(models.edit(config, changed), folder / CONFIG)

    return change


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "missing; train first"),
        (truncate, "unreadable"),
        (flip_bytes, "unreadable"),
        (write_text, "unreadable"),
        (write_array, "unreadable"),
        (write_words, "no decimal numbers in it"),
        (claim_20_gigabytes, r"4\.3 GB unpacked, more than any detector"),
        (mark(8, 1), "unreadable .*encrypted"),
        (mark(10, 99), "unreadable .*not supported"),
        (other_config(task__model__head__num_convs=2), r"has \d+ weights, the config's model \d+"),
        (other_config(task__model__num_classes=4), r"shape \(.*do not belong together"),
    ],
)
def test_weights_that_cannot_be_used_are_named_in_one_line(copied, spoil, fault):
    spoil(copied)
    with pytest.raises(CourseError, match=rf"{WEIGHTS}: .*{fault}") as error:
        load_detector(copied)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        (None, "image: NoneType; give a NumPy array"),
        ([[1, 2, 3]], "image: list; give a NumPy array"),
        (np.zeros((0, 0, 3), np.uint8), r"image: shape \(0, 0, 3\)"),
        (np.zeros((8, 8), np.uint8), r"image: shape \(8, 8\)"),
        (np.zeros((8, 8, 3), np.float32), "float32; give uint8"),
    ],
)
def test_what_is_no_image_is_refused(trained, image, fault):
    with pytest.raises(CourseError, match=fault):
        trained.detector(image)


@pytest.mark.parametrize("threshold", ["0.5", None, -0.1, 1.5, float("nan")])
def test_what_is_no_threshold_is_refused(trained, picture, threshold):
    with pytest.raises(CourseError, match=r"threshold: .*number from 0 to 1"):
        trained.detector(picture, threshold=threshold)


def test_an_ssd_has_no_proposals(trained, picture):
    with pytest.raises(CourseError, match="is an SSD, it has none; load a Faster R-CNN"):
        proposals(trained.detector, picture)


def test_a_faster_rcnn_shows_its_proposals(untrained, picture):
    found = proposals(untrained("faster_rcnn"), picture, count=7)
    assert len(found) == 7
    assert found.confidence.tolist() == sorted(found.confidence, reverse=True)
    assert set(found.class_id) == {0}
    height, width = picture.shape[:2]
    assert found.xyxy.min() >= 0
    # In pixels of the image, not of the smaller input.
    assert found.xyxy[:, [0, 2]].max() <= width + 1e-3
    assert found.xyxy[:, [1, 3]].max() <= height + 1e-3
    assert found.xyxy[:, 3].max() > 64
