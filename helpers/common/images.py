"""Images on the disk and in memory: size, decoding, shrinking, perceptual hash."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from helpers.common.errors import CourseError


@dataclass(frozen=True)
class ImageSize:
    """Width and height in pixels as stored, and the EXIF orientation (1 = upright)."""

    width: int
    height: int
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once the EXIF orientation is applied."""
        turned = self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)

    def as_annotated(self, annotation) -> tuple[int, int]:
        """The size that the boxes refer to: as stored if the annotation says just that."""
        stored = (self.width, self.height)
        return stored if (annotation.width, annotation.height) == stored else self.upright


def image_size(path: Path | str) -> ImageSize | None:
    """Size of an image from its header, without decoding it; None when it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return _size(image)
    except unreadable():
        return None


def _size(image) -> ImageSize:
    orientation = image.getexif().get(0x0112, 1)
    return ImageSize(*image.size, orientation if orientation in range(1, 9) else 1)


def phash(image: np.ndarray) -> str:
    """Perceptual hash of a BGR or grey uint8 image: 64 bits as 16 hex digits.

    Few differing bits (say up to 6) mean near-copies.
    """
    import imagehash
    from PIL import Image

    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    # Averaging down first is 20 times faster than handing over the full frame; halving is the fast
    # way to average, and of many rows every other one says as much.
    grey = grey[:: max(1, grey.shape[0] // 512)]
    while min(grey.shape) >= 256:
        grey = grey[: grey.shape[0] // 2 * 2, : grey.shape[1] // 2 * 2]
        grey = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    small = cv2.resize(grey, (128, 128), interpolation=cv2.INTER_AREA)
    return str(imagehash.phash(Image.fromarray(small)))


def decode_file(path: Path, flags: int) -> np.ndarray | None:
    """The image of a file as cv2.imdecode gives it by `flags`; None for what is no image."""
    # Read through numpy, since imread cannot open names beyond ASCII on every platform.
    data = np.fromfile(path, np.uint8)
    return cv2.imdecode(data, flags) if data.size else None


def fitted_size(height: int, width: int, max_height: int, max_width: int) -> tuple[int, int]:
    """Return the (height, width) that fills max_height x max_width at the same aspect."""
    scale = min(max_height / height, max_width / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def fit(image: np.ndarray, max_height: int, max_width: int) -> np.ndarray:
    """Resize an image to fill max_height x max_width at the same aspect, without padding.

    Shrinking averages over areas: sampling points, as a plain bilinear resize does, would
    drop whole rows of a distant object.
    """
    height, width = fitted_size(*image.shape[:2], max_height, max_width)
    if (height, width) == image.shape[:2]:
        return image
    method = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)


def read_image(path: Path) -> np.ndarray:
    """Return an image file as RGB, uint8, [height, width, 3]."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise CourseError(f"{path}: not a readable image; run lesson 03, which finds such files")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def unreadable() -> tuple[type[Exception], ...]:
    from PIL import Image

    # PIL answers broken files with any of these, UnidentifiedImageError being an OSError.
    return OSError, SyntaxError, ValueError, Image.DecompressionBombError
