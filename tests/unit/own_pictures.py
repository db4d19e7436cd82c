"""Small folders such as people bring: pictures of noise, each with an annotation."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.annotations import write_annotations
from helpers.annotations.boxes import Annotation, Box

BOX = Box("cat", 8, 6, 24, 18)


def picture(seed: int = 0, kind: str = "JPEG") -> bytes:
    """An image file of 32x24 pixels; every seed gives another."""
    noise = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


def annotated(folder: Path, places: list[str], box: Box = BOX, first: int = 0) -> Path:
    """A picture and its XML for each of `places`, such as "drive1/frame_0"; returns `folder`."""
    for seed, place in enumerate(places, first):
        path = folder / f"{place}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(seed))
        write_annotations([Annotation(path.name, 32, 24, (box,))], path.parent, "voc")
    return folder
