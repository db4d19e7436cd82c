"""What Model Garden's parser, which training uses, gets from records."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from helpers.common.errors import CourseError
from helpers.common.files import read_json
from helpers.records.examples import REPLACE
from helpers.records.tfrecord import (
    AGAIN,
    Message,
    feature_text,
    feature_values,
    read_examples,
    serialized,
)


def located(files: Sequence[Path]) -> Iterator[tuple[str, Message]]:
    """Yield (where, example) for each record: file, number and image, for messages."""
    for path in files:
        for number, example in enumerate(read_examples(path), 1):
            name = feature_text(example, "image/filename")
            yield f"{path.name}: record {number} ({name})", example


def check_parsed(
    files: Sequence[Path],
    expected: Mapping[int, list],
    where: str,
    on_image: Callable[[], object],
) -> None:
    """CourseError unless Model Garden's parser gets the boxes `expected` from `files`."""
    import numpy as np
    import tensorflow as tf

    parse = _parse_function(max(map(len, expected.values()), default=0) or 1)
    data = tf.data.TFRecordDataset([str(path) for path in files])
    data = data.map(parse, num_parallel_calls=os.cpu_count() or 1, deterministic=True)
    try:
        for number, found in data.as_numpy_iterator():
            stated = np.array(expected[int(number)], np.float32).reshape(-1, 7)
            more = (found[len(stated) :, 4] >= 0).any()  # rows that only pad are of class -1
            if more or not np.allclose(found[: len(stated)], stated, rtol=1e-4, atol=1e-5):
                raise CourseError(
                    f"{where}: image {int(number)}: Model Garden's parser gets other boxes than "
                    f"the COCO json states; {AGAIN}"
                )
            on_image()
    except tf.errors.InvalidArgumentError as error:
        raise CourseError(_unparsed(files, parse) or f"{where}: {error.message}") from None


def expected_boxes(path: Path) -> dict[int, list[tuple]]:
    """Image id -> (ymin, xmin, ymax, xmax, class, crowd, area) of its objects in a COCO json."""
    # As fractions of the image: records may hold it smaller than it was, the json does not.
    truth = read_json(path)
    try:
        sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
        expected: dict[int, list] = {number: [] for number in sizes}
        for item in truth["annotations"]:
            (x, y, width, height), (rows, columns) = item["bbox"], sizes[item["image_id"]]
            box = (y / rows, x / columns, (y + height) / rows, (x + width) / columns)
            label = (item["category_id"], item["iscrowd"], item["area"] / rows / columns)
            expected[item["image_id"]].append(box + label)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise CourseError(f"{path}: not a COCO json as lesson 04 writes it; {AGAIN}") from None
    return expected


def _parse_function(most_objects: int) -> Callable:
    """A function from a serialized record to its id and rows as in `_expected`, padded."""
    import tensorflow as tf
    from official.vision.dataloaders import retinanet_input, tf_example_decoder

    # Of the network only the size of its input is asked for here, and boxes come back in
    # pixels of the image: the smallest will do.
    parser = retinanet_input.Parser(
        output_size=[32, 32],
        min_level=3,
        max_level=5,
        num_scales=1,
        aspect_ratios=[1.0],
        anchor_size=4.0,
        max_num_instances=most_objects,
    )
    decode = tf_example_decoder.TfExampleDecoder().decode
    parse = parser.parse_fn(is_training=False)

    def parsed(record):
        found = parse(decode(record))[1]["groundtruths"]
        rows, columns = (tf.cast(found[side], tf.float32) for side in ("height", "width"))
        boxes = found["boxes"] / tf.stack([rows, columns, rows, columns])
        labels = (found["classes"], found["is_crowds"], found["areas"] / rows / columns)
        parts = (*tf.unstack(boxes, axis=1), *labels)
        return found["source_id"], tf.stack([tf.cast(p, tf.float32) for p in parts], axis=1)

    return parsed


def _unparsed(files: Sequence[Path], parse: Callable) -> str | None:
    """What is wrong with the first record that `parse` refuses: TensorFlow does not say which."""
    import tensorflow as tf

    for where, example in located(files):
        try:
            image = tf.io.decode_image(feature_values(example, "image/encoded")[0], channels=3)
        except tf.errors.InvalidArgumentError:
            return f"{where}: image does not decode; {REPLACE}"
        try:
            parse(serialized(example))
        except tf.errors.InvalidArgumentError:
            height, width = image.shape[:2]
            return f"{where}: an image of {width}x{height} is too narrow to train on; {REPLACE}"
    return None
