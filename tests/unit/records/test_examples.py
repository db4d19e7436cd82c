"""Examples hold what both readers ask for, and give it back."""

import io

import numpy as np
import pytest
from PIL import Image
from sample_pictures import BOXES, MAP, encoded, of

from helpers.annotations.boxes import Box
from helpers.common.errors import CourseError
from helpers.records import tfrecord
from helpers.records.examples import boxes_of, image_of, make_example

tf = pytest.importorskip("tensorflow")


def test_an_example_holds_what_both_readers_ask_for():
    data = encoded()
    item = make_example(data, of(*BOXES), MAP, 7)[0]
    expected = {
        "image/encoded": [data],
        "image/format": [b"jpeg"],
        "image/filename": [b"a.jpg"],
        "image/height": [80],
        "image/width": [100],
        "image/source_id": [b"7"],
        "image/object/bbox/xmin": [0.1, 0.5],
        "image/object/bbox/xmax": [0.3, 1.0],
        "image/object/bbox/ymin": [0.25, 0.13125],
        "image/object/bbox/ymax": [0.75, 1.0],
        "image/object/class/text": [b"radar", b"car"],
        "image/object/class/label": [1, 2],
        "image/object/difficult": [0, 1],
        "image/object/truncated": [0, 1],
        "image/object/is_crowd": [0, 1],
        "image/object/area": [800.0, 3475.0],
    }
    for key, value in expected.items():
        found = tfrecord.feature_values(item, key)
        assert found == (pytest.approx(value) if isinstance(value[0], float) else value), key
    assert len(tfrecord.feature_values(item, "image/key/sha256")[0]) == 64


def test_a_background_image_has_no_objects():
    item = make_example(encoded(), of(), MAP, 1)[0]
    assert tfrecord.feature_values(item, "image/object/class/label") == []


def test_png_is_copied_and_others_become_jpeg():
    png = encoded("PNG", "RGBA")
    item = make_example(png, of(), MAP, 1)[0]
    assert tfrecord.feature_values(item, "image/encoded") == [png]
    assert tfrecord.feature_values(item, "image/format") == [b"png"]
    for data in (encoded("BMP"), encoded("WEBP"), encoded("JPEG", "CMYK"), encoded("GIF", "P")):
        item = make_example(data, of(), MAP, 1)[0]
        stored = tfrecord.feature_values(item, "image/encoded")[0]
        assert tfrecord.feature_values(item, "image/format") == [b"jpeg"]
        assert tf.io.decode_jpeg(stored).shape == (80, 100, 3)


def test_an_image_that_exif_turns_is_stored_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(exif=exif)
    item = make_example(data, of(size=(80, 100)), MAP, 1)[0]
    stored = tfrecord.feature_values(item, "image/encoded")[0]
    assert tf.io.decode_jpeg(stored).shape == (100, 80, 3)
    assert Image.open(io.BytesIO(stored)).getexif().get(0x0112) is None
    with pytest.raises(CourseError, match="image of 80x100, annotation says 100x80"):
        make_example(data, of(), MAP, 1)[0]


@pytest.mark.parametrize(
    ("data", "annotation", "says"),
    [
        (b"no image", of(), "a.jpg: not a readable image"),
        (encoded(size=(50, 40)), of(), "image of 50x40"),
        (encoded(), of(Box("radar", 30, 1, 10, 9)), "a.xml: object 1 .*not right of"),
        (encoded(), of(Box("radar", 30, 1, 101, 9)), "a.xml: object 1 .*beyond"),
        (encoded(), of(BOXES[0], Box("bus", 1, 1, 9, 9)), "a.xml: object 2: label 'bus'"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(data, annotation, says):
    with pytest.raises(CourseError, match=says):
        make_example(data, annotation, MAP, 1)[0]


def test_boxes_come_back_in_pixels():
    item, how = make_example(encoded(), of(*BOXES), MAP, 1)
    assert how == "copied"
    for found, box in zip(boxes_of(item), BOXES, strict=True):
        assert found.xyxy == pytest.approx(box.xyxy)
        assert (found.label, found.difficult, found.truncated) == (
            box.label, box.difficult, box.truncated
        )  # fmt: skip
    half = boxes_of(item, (50, 40))
    assert half[1].xyxy == pytest.approx([edge / 2 for edge in BOXES[1].xyxy])
    assert boxes_of(make_example(encoded(), of(), MAP, 1)[0]) == []


def test_records_from_elsewhere_need_no_flags():
    item, _ = make_example(encoded(), of(*BOXES), MAP, 1)
    for flag in ("difficult", "truncated"):
        del item.features.feature[f"image/object/{flag}"]
    assert [box.difficult for box in boxes_of(item)] == [False, False]


def test_the_image_comes_back_as_rgb():
    red = np.zeros((80, 100, 3), np.uint8)
    red[..., 0] = 255
    buffer = io.BytesIO()
    Image.fromarray(red).save(buffer, "PNG")
    item, _ = make_example(buffer.getvalue(), of(), MAP, 1)
    assert (image_of(item) == red).all()


def test_an_image_in_the_records_that_does_not_decode_is_named():
    buffer = io.BytesIO()
    Image.new("RGB", (100, 80)).save(buffer, "PNG")
    item, _ = make_example(buffer.getvalue(), of(), MAP, 1)
    item.features.feature["image/encoded"].bytes_list.value[:] = [b"not an image"]
    with pytest.raises(CourseError, match=r"^a\.jpg: its image in the records does not decode"):
        image_of(item)
