"""Pictures read from the disk, and those that show all but the same: exact and near-copies."""

import hashlib
import io
import os
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.annotations.folders import SPLITS, images_in
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.common.images import UNREADABLE, ImageSize, phash
from helpers.dataset.decodable import too_thin, whole

# Differing bits of 64 up to which two pictures may be near-copies, and of 256 up to which a
# closer look agrees. Measured: copies at half the size and a low quality differ by up to 4 and
# 14, consecutive dashcam frames by 2 to 6 and 14 to 60, different roads by 4 to 6 and 58 to 108.
NEAR, _NEAR_FINE = 6, 50


@dataclass(frozen=True)
class Picture:
    """What was read of an image file.

    `size` is None when the file is no image, `sha256` the digest of its bytes, `phash` the
    perceptual hash (64 bits as 16 hex digits), `problem` why the image cannot be decoded ("" when
    it can).
    """

    size: ImageSize | None
    sha256: str
    phash: str = ""
    problem: str = ""


def read_pictures(
    images_folder: Path | str, only: Container[str] | None = None
) -> dict[str, Picture]:
    """Read the images of a folder, on all CPU cores: file name -> `Picture`.

    Every file is read whole. A JPEG is decoded at an eighth of its size or so, in grey, for
    the perceptual hash. Where `frames.csv` next to the folder has the hash already, an image
    that goes on to its end is not decoded. What TensorFlow would not decode has a `problem`.
    `only` limits it to these names.
    """
    paths = [path for path in images_in(images_folder) if only is None or path.name in only]
    frames = read_frames(images_folder)
    hashes = {name: row.get("phash") or "" for name, row in frames.items()}
    read = _in_threads(lambda path: _read(path, hashes.get(path.name, "")), paths, "read images")
    return {path.name: picture for path, picture in zip(paths, read, strict=True)}


def read_frames(images_folder: Path | str) -> dict[str, dict[str, str]]:
    """Return the rows of frames.csv next to the folder, by image, in its order; {} without."""
    try:
        rows = read_csv(Path(images_folder).parent / "frames.csv", ("image", "clip"))
    except CourseError:  # none, or a table of another kind
        return {}
    return {row["image"]: row for row in rows if row["clip"]}


def exact_copies(pictures: Mapping[str, Picture]) -> dict[str, str]:
    """Return each image whose file repeats an earlier one byte by byte -> the earlier one."""
    first: dict[str, str] = {}
    readable = {name: picture for name, picture in pictures.items() if not picture.problem}
    pairs = {name: first.setdefault(p.sha256, name) for name, p in readable.items()}
    return {name: other for name, other in pairs.items() if other != name}


def near_copies(
    images_folder: Path | str, pictures: Mapping[str, Picture], clips: Mapping[str, str]
) -> list[tuple[str, str, int]]:
    """Find the images that are near-copies of an earlier one of another clip.

    `clips` maps image to clip; an image without is a clip of its own. Returns image, the nearest
    earlier one, and by how many of 64 bits they differ (0 to 6).
    """
    import numpy as np

    copies = exact_copies(pictures)
    names = [name for name, p in pictures.items() if p.phash and name not in copies]
    clip = np.unique([clips.get(name, f"/{name}") for name in names], return_inverse=True)[1]
    place = np.arange(len(names))

    def barred(rows: slice) -> np.ndarray:
        return (clip[rows, None] == clip[None]) | (place[rows, None] <= place[None])

    return _nearest(images_folder, pictures, names, names, barred)


def leaks(
    images_folder: Path | str, pictures: Mapping[str, Picture], split: Mapping[str, str]
) -> list[tuple[str, str, int]]:
    """Find near-copies on two sides of a split.

    `split` maps image to "train", "val" or "test". Returns for each image of val that has one in
    train, and each of test that has one in train or val: its name, that of the nearest there,
    and by how many of 64 bits they differ (0 to 6).
    """
    seen: list[str] = []
    found = []
    for side in SPLITS:
        names = [n for n, picture in pictures.items() if picture.phash and split.get(n) == side]
        found += _nearest(images_folder, pictures, names, seen)
        seen += names
    return found


def _nearest(
    images_folder: Path | str,
    pictures: Mapping[str, Picture],
    names: Sequence[str],
    others: Sequence[str],
    barred: Callable | None = None,
) -> list[tuple[str, str, int]]:
    """(name, nearest other, differing bits) where that is near; `barred` says which do not count.

    All pairs, but in blocks of numpy: 10 000 take a second.
    """
    import numpy as np

    if not others:
        return []
    codes, other_codes = (
        np.array([int(pictures[name].phash, 16) for name in part], np.uint64)
        for part in (names, others)
    )
    found = []
    for start in range(0, len(names), 256):
        rows = slice(start, start + 256)
        bits = np.bitwise_count(codes[rows, None] ^ other_codes[None])
        if barred:
            bits[barred(rows)] = 255
        for name, best, least in zip(names[rows], bits.argmin(1), bits.min(1), strict=True):
            if least <= NEAR:
                found.append((name, others[best], int(least)))
    return _confirmed(Path(images_folder), found)


def _confirmed(folder: Path, pairs: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """The pairs that are near-copies by a finer hash too."""
    names = list(dict.fromkeys(name for pair in pairs for name in pair[:2]))
    hashes = _in_threads(_fine_hash, [folder / name for name in names], "compare images")
    fine = dict(zip(names, hashes, strict=True))

    def alike(a: str, b: str) -> bool:
        # An image that cannot be decoded is reported as such, and like nothing.
        return bool(a and b) and (int(a, 16) ^ int(b, 16)).bit_count() <= _NEAR_FINE

    return [pair for pair in pairs if alike(fine[pair[0]], fine[pair[1]])]


def _in_threads(function: Callable, paths: Sequence[Path], what: str) -> list:
    """Results of `function`, in order. Decoding leaves the interpreter free: threads do."""
    from tqdm.contrib.concurrent import thread_map

    from helpers.common.progress import tqdm

    look = {"tqdm_class": tqdm, "desc": what, "unit": "image", "delay": 2}
    return thread_map(function, paths, max_workers=os.cpu_count(), **look)


def _read(path: Path, known: str) -> Picture:
    """What a file holds; `known` is its hash by frames.csv, "" when it has none."""
    from PIL import Image

    if not path.is_file():  # a pipe would wait for ever
        return Picture(None, "", problem="no file: a folder, a pipe, or a link to nothing")
    data, size, digest = b"", None, ""
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        with Image.open(io.BytesIO(data)) as image:
            size, kind = ImageSize.of(image), image.format
            if not whole(data, kind):
                return Picture(size, digest, problem="cut short or damaged: its end is missing")
            if too_thin(size.width, size.height):
                thin = f"{size.width}x{size.height} pixels: too thin to be resized"
                return Picture(size, digest, problem=thin)
            # The course took the hash when it decoded the image.
            hashed = re.fullmatch("[0-9a-f]{16}", known) and kind in ("JPEG", "PNG")
            return Picture(size, digest, known if hashed else phash(_grey(image)))
    except UNREADABLE as error:
        problem = f"broken or cut short: {error}"
        if size is None:
            problem = f"{len(data)} bytes that are no image, or one cut short"
        return Picture(size, digest, problem=problem)


def _fine_hash(path: Path) -> str:
    """A perceptual hash of 256 bits; "" for an image that cannot be decoded."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return phash(_grey(image), 16)
    except UNREADABLE:
        return ""


def _grey(image):
    """The pixels of an image in grey, decoded at a fraction of its size where the format can."""
    import numpy as np
    from PIL import ImageOps

    image.draft("L", (128, 128))
    # Upright, as OpenCV reads it for the hashes in frames.csv.
    return np.asarray(ImageOps.exif_transpose(image).convert("L"))
