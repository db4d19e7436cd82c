"""What lesson 03 reads of a `02_frames`, and what it makes of annotations that do not fit."""

import shutil

import numpy as np
import pytest
from PIL import Image

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.voc import write_voc
from helpers.common import artifacts
from helpers.common.errors import CourseError
from helpers.common.files import read_csv, write_csv
from helpers.common.images import ImageSize
from helpers.dataset.assemble import write_dataset
from helpers.dataset.reading import read_annotated
from helpers.dataset.sizes import Fit, fit

BOX = Box("radar", 10, 10, 30, 60)


@pytest.fixture
def frames(tmp_path):
    """A 02_frames of three photos of 100x80, one radar in each."""
    folder = tmp_path / "02_frames"
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in "abc":
        pixels = rng.integers(0, 255, (80, 100, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{name}.jpg")
        write_voc(Annotation(f"{name}.jpg", 100, 80, (BOX,)), folder / f"annotations/{name}.xml")
    rows = ({"image": f"{name}.jpg", "clip": name} for name in "abc")
    write_csv(folder / "frames.csv", ("image", "clip"), rows)
    return folder


def test_what_is_there_and_how_the_clips_are_known(frames):
    found = read_annotated(frames)
    assert (list(found.clips), found.rule, found.unknown) == (["a.jpg", "b.jpg", "c.jpg"], "", 0)
    counts = {"clip_rule": "names: each is one", "clips_unknown": 3}
    artifacts.write_manifest(frames, "extract_frames", {}, {}, counts)
    found = read_annotated(frames)
    assert (found.rule, found.unknown) == ("names: each is one", 3)
    assert found.as_pictured() == found.of_image


def test_as_pictured_knows_the_true_sizes_and_no_broken_image(frames):
    large = Annotation("a.jpg", 200, 160, (Box("radar", 20, 20, 60, 120),))
    write_voc(large, frames / "annotations/a.xml")
    path = frames / "images/b.jpg"
    path.write_bytes(path.read_bytes()[:-2])
    found = read_annotated(frames).as_pictured()
    assert list(found) == ["a.jpg", "c.jpg"]
    assert (found["a.jpg"].width, found["a.jpg"].height, found["a.jpg"].boxes) == (100, 80, (BOX,))


def test_a_remark_on_a_file_that_came_along_is_said_once(frames):
    (frames / "annotations/a.xml").write_text("<annotation>")
    [found] = read_annotated(frames).noted
    row = {"file": "sub/a.xml", "where": "", "kind": found.kind, "value": found.value, "fix": "x"}
    write_csv(frames / "remarks.csv", row, [row])
    assert [f.file for f in read_annotated(frames).noted] == ["sub/a.xml"]


@pytest.mark.parametrize("text", ["", "image,clip\na.jpg\n", "image;clip\n", "image,clip\n\0,a\n"])
def test_a_damaged_table_of_frames_says_so(frames, text):
    (frames / "frames.csv").write_text(text)
    with pytest.raises(CourseError, match=r"frames\.csv"):
        read_annotated(frames)


SIZE = ImageSize(100, 80)
TURNED = ImageSize(100, 80, 6)


@pytest.mark.parametrize(
    ("size", "stated", "boxes", "expected"),
    [
        (SIZE, (100, 80), [BOX], Fit((100, 80))),
        (SIZE, (0, 0), [BOX], Fit((100, 80))),
        (SIZE, (0, 80), [BOX], Fit((100, 80))),
        (SIZE, (99, 81), [BOX], Fit((100, 80))),
        (SIZE, (200, 160), [BOX], Fit((100, 80), (0.5, 0.5))),
        (SIZE, (4032, 3226), [BOX], Fit((100, 80), (100 / 4032, 80 / 3226))),
        (SIZE, (33, 27), [Box("radar", 3, 3, 10, 20)], Fit((100, 80), (100 / 33, 80 / 27))),
        (SIZE, (50, 40), [Box("radar", 10, 10, 90, 20)], Fit((100, 80))),
        (SIZE, (80, 100), [BOX], Fit((100, 80), None)),
        (SIZE, (80, 100), [Box("radar", 10, 10, 90, 20)], Fit((100, 80))),
        (SIZE, (160, 160), [BOX], Fit((100, 80), None)),
        (SIZE, (160, 160), [], Fit((100, 80))),
        (SIZE, (160, 160), [Box("radar", float("nan"), 0, 1, 1)], Fit((100, 80), None)),
        (TURNED, (100, 80), [BOX], Fit((100, 80))),
        (TURNED, (80, 100), [BOX], Fit((80, 100))),
        (TURNED, (160, 200), [BOX], Fit((80, 100), (0.5, 0.5))),
        (TURNED, (200, 160), [BOX], Fit((100, 80), (0.5, 0.5))),
    ],
)
def test_how_an_annotation_fits_its_picture(size, stated, boxes, expected):
    found = fit(size, Annotation("a.jpg", *stated, tuple(boxes)))
    assert found.size == expected.size
    assert found.scale == (expected.scale and pytest.approx(expected.scale))


def case(shared, name):
    if not (folder := shared / "cases" / name).is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


def as_frames(case, folder):
    """A 02_frames made of a case's pictures and XML as they lie there."""
    for name, suffix in (("images", "jpg"), ("annotations", "xml")):
        (folder / name).mkdir(parents=True)
        for path in sorted(case.rglob(f"*.{suffix}")):
            shutil.copy(path, folder / name / path.name)
    names = sorted(path.name for path in (folder / "images").iterdir())
    rows = ({"image": name, "clip": name} for name in names)
    write_csv(folder / "frames.csv", ("image", "clip"), rows)
    return folder


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("02-resized-after-labelling", "boxes scaled by 0.25"),
        ("03-labelimg-size-zero", "boxes as they are"),
        ("24-voc-without-size", "boxes as they are"),
    ],
)
def test_cases_from_the_field_that_are_mended(shared, tmp_path, name, action):
    folder = as_frames(case(shared, name), tmp_path / "02_frames")
    dataset = write_dataset(folder, tmp_path / "03_dataset")
    rows = read_csv(dataset / "audit.csv", ("kind", "action"))
    sizes = [row["action"] for row in rows if row["kind"] == "wrong size"]
    assert sizes
    assert all(said.endswith(action) for said in sizes)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("16-all-difficult", "all 5 boxes are difficult: nothing to learn"),
        ("49-pictures-renamed-after-labelling", "none of 6 annotations with boxes belongs to"),
    ],
)
def test_cases_from_the_field_that_stop(shared, tmp_path, name, says):
    folder = as_frames(case(shared, name), tmp_path / "02_frames")
    with pytest.raises(CourseError, match=says):
        write_dataset(folder, tmp_path / "03_dataset")
