"""Images and annotations from which the tests make datasets."""

import hashlib
import io

import numpy as np
from PIL import Image

from helpers.annotations.boxes import Annotation, Box

MAP = {"radar": 1, "car": 2}
BOXES = (
    Box("radar", 10, 20, 30, 60),
    Box("car", 50, 10.5, 100, 80, difficult=True, truncated=True),
)


def encoded(kind="JPEG", mode="RGB", size=(100, 80), **options):
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def of(*boxes, size=(100, 80)):
    return Annotation("a.jpg", *size, boxes, "a.xml")


def contents(folder):
    """Name -> digest of the files of a folder, the manifest's stamp of the run apart."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }
