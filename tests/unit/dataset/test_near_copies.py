import time

import cv2
import numpy as np
from PIL import Image

from helpers.common.images import ImageSize, phash
from helpers.dataset import near_copies
from helpers.dataset.near_copies import Picture, leaks, read_pictures


def test_the_hash_is_that_of_the_frames_table(tmp_path):
    for seed in range(8):
        blobs = np.random.default_rng(seed).integers(0, 255, (8, 10, 3), np.uint8)
        path = tmp_path / f"{seed}.jpg"
        Image.fromarray(blobs).resize((640, 480), Image.Resampling.BICUBIC).save(path)
        exact = phash(cv2.imread(str(path)))
        quick = read_pictures(tmp_path, {path.name})[path.name].phash
        assert (int(exact, 16) ^ int(quick, 16)).bit_count() <= 4


def test_ten_thousand_hashes_are_compared_in_seconds(monkeypatch):
    monkeypatch.setattr(near_copies, "_fine_hash", lambda path: "0" * 64)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 1 << 64, 10_000, np.uint64)
    codes[5_000:] = codes[:5_000] ^ np.uint64(3)
    size = ImageSize(1, 1)
    read = {f"{i}.jpg": Picture(size, str(i), f"{code:016x}") for i, code in enumerate(codes)}
    split = {f"{i}.jpg": "train" if i < 5_000 else "val" for i in range(10_000)}
    start = time.process_time()
    found = leaks("nowhere", read, split)
    assert time.process_time() - start < 10
    assert sorted(found) == sorted((f"{i + 5000}.jpg", f"{i}.jpg", 2) for i in range(5_000))


def test_a_table_of_another_kind_next_to_the_images_is_none(tmp_path):
    (tmp_path / "frames.csv").write_text("time,speed\n0.1,30\n")
    assert near_copies.read_frames(tmp_path / "images") == {}
    (tmp_path / "frames.csv").write_text("image,clip\na.jpg,one\n")
    assert list(near_copies.read_frames(tmp_path / "images")) == ["a.jpg"]


def test_a_file_that_cannot_be_read_is_a_problem_of_that_file(tmp_path):
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "nowhere")
    (picture,) = near_copies.read_pictures(tmp_path).values()
    assert picture.size is None
    assert picture.problem
