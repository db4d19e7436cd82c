import os
import struct
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest

from helpers.common.errors import CourseError
from helpers.common.images import (
    ImageSize,
    decode_file,
    fit,
    fitted_size,
    image_size,
    phash,
    read_image,
)


def image(height, width):
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((720, 1280), (64, 114)),  # height is the limit
        ((100, 400), (32, 128)),  # width is
        ((64, 128), (64, 128)),
        ((16, 32), (64, 128)),  # small images grow
        ((1, 5000), (1, 128)),  # and none vanishes
    ],
)
def test_an_image_fills_the_input_at_its_own_aspect(size, expected):
    assert fitted_size(*size, 64, 128) == expected
    assert fit(image(*size), 64, 128).shape == (*expected, 3)


def test_every_size_fits_into_the_input():
    rng = np.random.default_rng(0)
    for height, width in rng.integers(1, 4000, (300, 2)):
        fitted = fitted_size(height, width, 384, 640)
        assert fitted[0] <= 384
        assert fitted[1] <= 640
        assert fitted[0] == 384 or fitted[1] == 640


def test_shrinking_averages_so_that_thin_things_stay():
    lines = image(512, 1024)
    lines[::8] = 255  # one row in eight: the mean is an eighth of white
    assert fit(lines, 64, 128).mean() == pytest.approx(255 / 8, abs=1)
    assert fit(lines, 64, 128).std() < 2
    same = image(64, 128)
    assert fit(same, 64, 128) is same


def noise(seed=0, size=(48, 64)):
    small = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    return cv2.resize(small, (640, 480), interpolation=cv2.INTER_CUBIC)


def test_a_file_is_read_upright_in_rgb(tmp_path):
    path = tmp_path / "Größe 速度.jpg"
    red = PIL.Image.new("RGB", (64, 32), (200, 10, 10))
    exif = red.getexif()
    exif[0x0112] = 6  # a phone held upright
    red.save(path, exif=exif)
    picture = read_image(path)
    assert picture.shape == (64, 32, 3)
    assert picture[..., 0].min() > 150 > picture[..., 1:].max()
    assert image_size(path) == ImageSize(64, 32, 6)
    assert decode_file(path).shape == (64, 32, 3)
    assert decode_file(path, cv2.IMREAD_GRAYSCALE).shape == (64, 32)


@pytest.mark.parametrize("data", [b"", b"no image", None])
def test_what_is_no_image_is_named(tmp_path, data):
    path = tmp_path / "a.jpg"
    if data is not None:
        path.write_bytes(data)
    assert decode_file(path) is None
    assert image_size(path) is None
    with pytest.raises(CourseError, match=r"a.jpg: not a readable image; replace it"):
        read_image(path)


def test_boxes_refer_to_the_picture_as_stored_or_upright():
    turned = ImageSize(64, 32, 6)
    assert turned.upright == (32, 64)
    assert turned.as_annotated(64, 32) == (64, 32)
    assert turned.as_annotated(32, 64) == turned.as_annotated(1, 1) == (32, 64)


@pytest.mark.parametrize("side", [8, 16])
def test_the_hash_survives_shrinking_and_tells_pictures_apart(side):
    def apart(one, other):
        return (int(phash(one, side), 16) ^ int(phash(other, side), 16)).bit_count()

    picture = noise()
    assert len(phash(picture, side)) == side**2 // 4
    assert apart(picture, cv2.resize(picture, (320, 240), interpolation=cv2.INTER_AREA)) < side
    assert apart(picture, cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)) < side
    assert apart(picture, noise(1)) > side * side / 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(12000, 9000), (16320, 12240)], ids=str)
def test_photos_of_108_and_200_megapixels_are_read(tmp_path, size):
    path = tmp_path / "phone.png"
    PIL.Image.new("1", size).save(path)
    small = decode_file(path, cv2.IMREAD_REDUCED_GRAYSCALE_8)
    assert small.shape == (size[1] // 8, size[0] // 8)
    assert image_size(path) == ImageSize(*size)


@pytest.mark.parametrize("side", [20_000, 40_000])  # the second is above OpenCV's own limit
def test_a_bomb_is_refused_by_its_header(tmp_path, side):
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT")
    assert decode_file(path) is None
    assert image_size(path) is None
    with pytest.raises(CourseError, match=r"bomb.png: not a readable image"):
        read_image(path)


def test_what_is_no_file_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for ever
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    names = ("pipe.jpg", "folder.jpg", "link.jpg", "loop.jpg", "x" * 300 + ".jpg")
    for path in (tmp_path / name for name in names):
        assert decode_file(path) is None
        assert image_size(path) is None
