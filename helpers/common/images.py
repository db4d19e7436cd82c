"""Images on the disk and in memory: size, decoding, shrinking, perceptual hash."""

import io
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from helpers.common.errors import CourseError

# PIL answers broken files with any of these, UnidentifiedImageError being an OSError.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_ORIENTATION = 0x0112  # the EXIF tag

# Phones make 200 megapixels. More would fill the memory of a laptop: a gigabyte in colour.
MEGAPIXELS = 400
# PIL warns above this number, and raises DecompressionBombError above twice of it.
Image.MAX_IMAGE_PIXELS = MEGAPIXELS * 1_000_000 // 2 - 1
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


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

    def as_annotated(self, width: int, height: int) -> tuple[int, int]:
        """The size that boxes refer to, drawn on a picture said to be of `width` x `height`.

        As stored if that is just what is said, else upright.
        """
        stored = (self.width, self.height)
        return stored if (width, height) == stored else self.upright

    @classmethod
    def of(cls, image: Image.Image) -> "ImageSize":
        """Size of an image that PIL has opened."""
        orientation = image.getexif().get(_ORIENTATION, 1)
        return cls(*image.size, orientation if orientation in range(1, 9) else 1)


def image_size(path: Path | str) -> ImageSize | None:
    """Size of an image from its header, without decoding it; None when it cannot be read.

    So it is for what is no file, such as a folder or a pipe, and above MEGAPIXELS.
    """
    try:
        if not os.path.isfile(path):
            return None
        with Image.open(path) as image:
            return ImageSize.of(image)
    except UNREADABLE:
        return None


def decode_file(path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """The image of a file as OpenCV gives it by `flags` (BGR).

    None for what is no image, cannot be opened, or has MEGAPIXELS and more.
    """
    try:
        if not os.path.isfile(path):
            return None
        # Read through numpy, since imread cannot open names beyond ASCII on every platform.
        data = np.fromfile(path, np.uint8)
        with suppress(OSError, SyntaxError, ValueError), Image.open(io.BytesIO(data.tobytes())):
            pass  # OpenCV's own limit is far higher: a bomb is refused by its header
        return cv2.imdecode(data, flags) if data.size else None
    except (OSError, Image.DecompressionBombError, cv2.error):
        return None


def read_image(path: Path) -> np.ndarray:
    """Return an image file as RGB, uint8, [height, width, 3], turned upright.

    Raises:
        CourseError: the image cannot be read.
    """
    image = decode_file(path)
    if image is None:
        raise CourseError(
            f"{path}: not a readable image; replace it, or run lesson 03 to find all such files"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def phash(image: np.ndarray, side: int = 8) -> str:
    """Perceptual hash of a BGR or grey uint8 image: side x side bits as hex digits, 64 by default.

    Few differing bits (say up to 6 of 64) mean near-copies.
    """
    import imagehash

    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    # Averaging down first is 20 times faster than handing over the full frame; halving is the fast
    # way to average, and of many rows every other one says as much.
    grey = grey[:: max(1, grey.shape[0] // 512)]
    while min(grey.shape) >= 256:
        grey = grey[: grey.shape[0] // 2 * 2, : grey.shape[1] // 2 * 2]
        grey = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    small = cv2.resize(grey, (128, 128), interpolation=cv2.INTER_AREA)
    return str(imagehash.phash(Image.fromarray(small), hash_size=side))


def fitted_size(height: int, width: int, max_height: int, max_width: int) -> tuple[int, int]:
    """Return the (height, width) that fills max_height x max_width at the same aspect."""
    scale = min(max_height / height, max_width / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def fit(image: np.ndarray, max_height: int, max_width: int) -> np.ndarray:
    """Resize an image to fill max_height x max_width at the same aspect, without padding.

    Shrinking averages over areas: sampling points, as a plain bilinear resize does, would
    drop whole rows of a distant object.
    """
    height, width = fitted_size(image.shape[0], image.shape[1], max_height, max_width)
    if (height, width) == image.shape[:2]:
        return image
    method = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)
