"""One `tf.train.Example`: made of an image and its annotation, and taken apart again.

It carries the keys that Model Garden and the old Object Detection API both read.
"""

import hashlib
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from helpers.annotations.boxes import Annotation, Box, check_boxes
from helpers.common.errors import CourseError
from helpers.records.tfrecord import Example, Message, feature_text, feature_values

if TYPE_CHECKING:
    import numpy as np

BOX_KEYS = tuple(f"image/object/bbox/{edge}" for edge in ("xmin", "ymin", "xmax", "ymax"))

# What to do about a picture that is damaged: to write the records again would not mend it.
REPLACE = "replace or delete this picture where yours lie, and run on from lesson 01"

# Image files that are stored as they are: format -> its name in the example, and the colour modes
# that TensorFlow decodes (None: all).
_COPIED = {"JPEG": ("jpeg", ("L", "RGB")), "PNG": ("png", None)}
# Not imported from common.images, which needs OpenCV: Beam's environment has none.
_ORIENTATION = 0x0112  # the EXIF tag


def make_example(
    image_bytes: bytes, annotation: Annotation, label_map: Mapping[str, int], source_id: int
) -> tuple[Message, str]:
    """Make a `tf.train.Example` of an image file and its annotation.

    JPEG and PNG bytes are copied as they are; other formats, and images that EXIF turns, are
    encoded again as upright JPEG of quality 95.

    Args:
        image_bytes: contents of the image file.
        annotation: its boxes, in pixels. In the example they are fractions of the image, [0, 1].
        label_map: label -> id, from 1.
        source_id: the image's number, by which the COCO scores know it.

    Returns:
        The example, and how its image came about: "copied", "turned upright" or "converted".

    Raises:
        CourseError: the file is no image, or its size is not the annotation's; a box is faulty, or
            its label is not in the label map.
    """
    data, stored, how = _storable(image_bytes, annotation)
    check_boxes(annotation, annotation.source or annotation.image)
    for number, box in enumerate(annotation.boxes, 1):
        if box.label not in label_map:
            known = ", ".join(label_map)
            raise CourseError(
                f"{annotation.source or annotation.image}: object {number}: label {box.label!r} "
                f"is not in the label map ({known}); rename it, or add it to the map"
            )
    boxes, width, height = annotation.boxes, annotation.width, annotation.height
    # Model Garden drops the boxes of "crowds", so what is there counts as background in training,
    # and the scorer looks away: right for difficult objects, which a detector of this input
    # size cannot be asked to see.
    difficult = [int(box.difficult) for box in boxes]
    features: dict[str, dict[str, list]] = {
        "bytes_list": {
            "image/encoded": [data],
            "image/format": [stored.encode()],
            "image/filename": [annotation.image.encode()],
            "image/source_id": [str(int(source_id)).encode()],
            "image/key/sha256": [hashlib.sha256(data).hexdigest().encode()],
            "image/object/class/text": [box.label.encode() for box in boxes],
        },
        "int64_list": {
            "image/height": [height],
            "image/width": [width],
            "image/object/class/label": [label_map[box.label] for box in boxes],
            "image/object/difficult": difficult,
            "image/object/truncated": [int(box.truncated) for box in boxes],
            "image/object/is_crowd": difficult,
        },
        "float_list": {
            "image/object/bbox/xmin": [box.xmin / width for box in boxes],
            "image/object/bbox/xmax": [box.xmax / width for box in boxes],
            "image/object/bbox/ymin": [box.ymin / height for box in boxes],
            "image/object/bbox/ymax": [box.ymax / height for box in boxes],
            "image/object/area": [box.area for box in boxes],
        },
    }
    example = Example()
    for kind, lists in features.items():
        for key, values in lists.items():
            getattr(example.features.feature[key], kind).value.extend(values)
    return example, how


def _storable(data: bytes, annotation: Annotation) -> tuple[bytes, str, str]:
    """Image bytes that TensorFlow decodes, their format, and how they came about."""
    from PIL import Image, ImageOps

    name, how = annotation.image, "copied"
    try:
        with Image.open(io.BytesIO(data)) as image:
            size, kind, mode = image.size, image.format, image.mode
            turned = image.getexif().get(_ORIENTATION, 1) not in (0, 1)
            stored, modes = _COPIED.get(kind or "", ("", None))
            if turned or not stored or (modes and mode not in modes):
                how = "turned upright" if turned else "converted"
                upright = ImageOps.exif_transpose(image)
                size, stored = upright.size, "jpeg"
                buffer = io.BytesIO()
                upright.convert("RGB").save(buffer, "JPEG", quality=95, exif=b"")
                data = buffer.getvalue()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CourseError(f"{name}: not a readable image ({error}); {REPLACE}") from None
    if size != (annotation.width, annotation.height):
        raise CourseError(
            f"{name}: image of {size[0]}x{size[1]}, annotation says "
            f"{annotation.width}x{annotation.height}; correct <size> and look at the boxes"
        )
    return data, stored, how


def boxes_of(example: Message, size: tuple[int, int] | None = None) -> list[Box]:
    """Return the objects of an example, in pixels.

    Args:
        example: a `tf.train.Example`.
        size: width and height of the image that the pixels are of; None for its own.
    """
    if size is None:
        size = tuple(feature_values(example, f"image/{side}")[0] for side in ("width", "height"))
    width, height = size
    labels = feature_values(example, "image/object/class/text")
    flags = [
        feature_values(example, f"image/object/{flag}") or [0] * len(labels)
        for flag in ("difficult", "truncated")
    ]
    edges = (feature_values(example, key) for key in BOX_KEYS)
    columns = zip(labels, *edges, *flags, strict=True)
    return [
        Box(label.decode(), x1 * width, y1 * height, x2 * width, y2 * height, *map(bool, flags))
        for label, x1, y1, x2, y2, *flags in columns
    ]


def image_of(example: Message) -> "np.ndarray":
    """Return the image of an example: RGB, uint8, [height, width, 3].

    Raises CourseError when it does not decode.
    """
    import cv2  # not in Beam's environment, which only writes examples
    import numpy as np

    data = np.frombuffer(feature_values(example, "image/encoded")[0], np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if image is None:
        name = feature_text(example, "image/filename")
        raise CourseError(f"{name}: its image in the records does not decode; {REPLACE}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
