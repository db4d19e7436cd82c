"""Frames and photos that were looked at: how sharp, how alike, and which are dropped for it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from helpers.common.errors import CourseError
from helpers.common.images import decode_file, fit
from helpers.footage.stepping import Limits

COLUMNS = ("image", "clip", "frame", "time", "sharpness", "phash")
DROPPED_COLUMNS = ("thumbnail", "clip", "frame", "time", "sharpness", "phash", "reason", "detail")
BLURRED, NEAR_COPY, DAMAGED = "blurred", "near-copy", "damaged"
_THUMBNAIL = 240  # pixels: the longer side


class Take(NamedTuple):
    """A frame or photo that was looked at. `reason` is empty for what is kept."""

    image: str
    clip: str
    frame: int | None = None
    time: float | None = None
    sharpness: float | None = None
    phash: int | None = None
    reason: str = ""
    detail: str = ""

    @property
    def number(self) -> int:
        """The number of a video's frame; photos have none."""
        assert self.frame is not None
        return self.frame

    @property
    def thumbnail(self) -> str:
        """File name in `dropped/`; "" for what could not be decoded."""
        return "" if self.reason == DAMAGED else f"{Path(self.image).stem}.jpg"

    def row(self) -> dict:
        """Its row of frames.csv."""
        row = {name: getattr(self, name) for name in COLUMNS}
        for name, form in (("time", ".3f"), ("sharpness", ".1f"), ("phash", "016x")):
            if row[name] is not None:
                row[name] = format(row[name], form)
        return row

    def dropped_row(self) -> dict:
        """Its row of dropped.csv."""
        row = self.row()
        del row["image"]
        return row | {"thumbnail": self.thumbnail, "reason": self.reason, "detail": self.detail}


def sharpness(image: np.ndarray) -> float:
    """Variance of the Laplacian of a BGR or grey uint8 image: low means blurred.

    The value depends on what the image shows: compare frames of one clip, not of two roads.
    Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    edges = cv2.Laplacian(grey, cv2.CV_16S, ksize=1)
    # In OpenCV: numpy's var() makes 64-bit numbers of them first, and takes eight times as long.
    mean = cv2.sumElems(edges)[0] / edges.size
    return cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - mean**2


def judged(takes: Iterable[Take], limits: Limits, folder: Path) -> Iterator[Take]:
    """Yield the takes of one clip, in order, with the reason why some are dropped.

    Of those, a thumbnail in `folder/dropped` replaces the image in `folder/images`.
    """
    takes = list(takes)
    sharp = [take.sharpness for take in takes if take.sharpness is not None]
    least = (limits.min_sharpness or 0) * float(np.median(sharp)) if sharp else 0
    bits = -1 if limits.near_copies is None else limits.near_copies
    last_image = ""
    last_hash: int | None = None
    for take in takes:
        if take.phash is not None and take.sharpness is not None:
            apart = 65 if last_hash is None else (take.phash ^ last_hash).bit_count()
            if take.sharpness < least:
                detail = f"sharpness {take.sharpness:.1f}, under {least:.1f}"
                take = take._replace(reason=BLURRED, detail=detail)
            elif apart <= bits:
                take = take._replace(reason=NEAR_COPY, detail=f"{apart} bits from {last_image}")
            else:
                last_image, last_hash = take.image, take.phash
        if take.reason:
            _to_thumbnail(folder, take)
        yield take


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write a BGR or grey uint8 image as JPEG of quality 95."""
    # imencode, since imwrite cannot open names beyond ASCII on every platform.
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise CourseError(f"{path.name}: could not be written as JPEG; check the video")
    path.write_bytes(data.tobytes())


def _to_thumbnail(folder: Path, take: Take) -> None:
    path = folder / "images" / take.image
    if not path.exists():
        return
    if take.reason != DAMAGED:
        image = decode_file(path, cv2.IMREAD_REDUCED_COLOR_2)
        if image is None:  # a pixel wide: there is no half of it
            image = decode_file(path)
        assert image is not None  # its hash was taken
        small = max(image.shape) <= _THUMBNAIL
        shown = image if small else fit(image, _THUMBNAIL, _THUMBNAIL)
        write_jpeg(folder / "dropped" / take.thumbnail, shown)
    path.unlink()
