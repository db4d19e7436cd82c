"""Images with an EXIF orientation: which way their boxes were drawn, and a copy without the tag."""

from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.common.images import ImageSize
from helpers.dataset.sizes import fit


def drawn_upright(size: ImageSize, annotation: Annotation | None) -> bool:
    """Whether the boxes refer to the image as its EXIF tag turns it, not to it as stored."""
    return annotation is None or fit(size, annotation).size == size.upright


def write_without_tag(source: Path, target: Path, *, upright: bool) -> None:
    """Write an image without its EXIF orientation; `upright` turns the pixels by it first."""
    from PIL import Image, ImageOps

    with Image.open(source) as image:
        pixels = ImageOps.exif_transpose(image) if upright else image.copy()
    pixels.info.pop("exif", None)
    pixels.convert("RGB").save(target, quality=95, exif=b"")
