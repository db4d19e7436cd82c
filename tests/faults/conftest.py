"""What the faults are planted in: a folder of pictures as somebody brings it, and what follows."""

import shutil

import numpy as np
import pytest
from PIL import Image

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.writing import write_annotations
from helpers.common.errors import CourseError
from helpers.dataset.assemble import write_dataset
from helpers.footage.frames import extract_frames
from helpers.footage.own import own_folder
from helpers.records.writing import write_records

SIZE = (64, 48)


def refusal(call):
    """The one line with which `call` refuses; "" when it does what it is asked."""
    try:
        call()
    except CourseError as error:
        line = str(error)
    else:
        return ""
    assert "\n" not in line, line
    assert len(line) < 700, line
    return line


def photos(folder, count=6):
    """Write p0.jpg, p1.jpg, … unlike one another; return an annotation of each."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(noise).resize(SIZE, Image.Resampling.NEAREST).save(folder / f"p{i}.jpg")
        label = ("cat", "dog")[i % 2]
        found.append(Annotation(f"p{i}.jpg", *SIZE, (Box(label, 8.0, 6.0, 40.0, 30.0 + i),)))
    return found


@pytest.fixture(scope="session")
def _course(tmp_path_factory):
    root = tmp_path_factory.mktemp("course")
    write_annotations(photos(root / "own"), root / "own", "voc")
    own_folder(root / "own", root / "01_images")
    extract_frames(root / "01_images", root / "02_frames")
    write_dataset(root / "02_frames", root / "03_dataset", split="frame", val_ratio=0.34)
    write_records(root / "03_dataset", root / "04_records", shards=1)
    return root


@pytest.fixture
def course(_course, tmp_path):
    """A workspace of its own: own/, 01_images/, 02_frames/, 03_dataset/, 04_records/."""
    return shutil.copytree(_course, tmp_path / "course")
