"""Frames out of footage, each with its clip, frame number, time, sharpness and hash."""

import shutil
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from helpers.annotations import Annotation, Box, images_in, natural, write_voc
from helpers.artifacts import artifact
from helpers.collect import VIDEO_SUFFIXES
from helpers.errors import CourseError
from helpers.split import link, read_csv, write_csv
from helpers.video import decode, info

COLUMNS = ("image", "clip", "frame", "time", "sharpness", "phash")
_BOX_COLUMNS = ("frame", "label", "xmin", "ymin", "xmax", "ymax")


def sharpness(image: np.ndarray) -> float:
    """Variance of the Laplacian of a BGR or grey uint8 image: low means blurred.

    The value depends on what the image shows: compare frames of one clip, not of two roads.
    Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_16S, ksize=1).var())


def phash(image: np.ndarray) -> str:
    """Perceptual hash of a BGR or grey uint8 image: 64 bits as 16 hex digits.

    Few differing bits (say up to 6) mean near-copies.
    """
    import imagehash
    from PIL import Image

    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    # Averaging down first is 20 times faster than handing over the full frame.
    small = cv2.resize(grey, (128, 128), interpolation=cv2.INTER_AREA)
    return str(imagehash.phash(Image.fromarray(small)))


@artifact
def extract(source: Path, folder: Path, *, every: int = 1, max_frames: int | None = None) -> dict:
    """Make `02_frames` from `01_images`: frames of clips as JPEG, or photos as they are.

    Of a video every `every`-th frame is taken; `max_frames` bounds the frames per video, or
    the photos in all, spread evenly. Where `<clip>.boxes.csv` gives the ground truth, each
    frame gets an XML file with all its boxes. A video that ends before its header says is used
    as far as it goes, and named in a warning.
    """
    if not isinstance(every, int) or every < 1:
        raise CourseError(f"every: {every!r}; it must be a whole number from 1")
    if max_frames is not None and max_frames < 1:
        raise CourseError(f"max_frames: {max_frames!r}; it must be at least 1, or None")
    source, folder = Path(source), Path(folder)
    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    if (source / "clips").is_dir():
        rows, counts = _from_videos(source / "clips", folder, every, max_frames)
    elif (source / "images").is_dir():
        rows, counts = _from_photos(source, folder, max_frames)
    else:
        raise CourseError(f"{source}: neither clips/ nor images/ in it; run lesson 01 first")
    write_csv(folder / "frames.csv", COLUMNS, rows)
    for name in ("sources.csv", "author_split.csv"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    return {"frames": len(rows), **counts}


def _from_videos(clips: Path, folder: Path, every: int, max_frames: int | None):
    from tqdm.auto import tqdm

    videos = natural(p for p in clips.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        kinds = ", ".join(VIDEO_SUFFIXES)
        raise CourseError(f"{clips}: no video in it; expected files ending in {kinds}")
    for first, second in pairwise(videos):
        if first.stem == second.stem:
            raise CourseError(f"{clips}: {first.name} and {second.name}: same name; rename one")
    abouts = {path: info(path) for path in videos}
    plans = {p: _spread(range(0, a.frames, every), max_frames) for p, a in abouts.items()}
    rows, short = [], {}
    with tqdm(total=sum(map(len, plans.values())), desc="frames", unit="frame") as bar:
        for path, about in abouts.items():
            wanted = plans[path]
            truth = _read_boxes(path.with_name(f"{path.stem}.boxes.csv"))
            found = 0
            for number, image in decode(path, set(wanted)):
                found += 1
                bar.update()
                name = f"{path.stem}_{number:05d}.jpg"
                _write_jpeg(folder / "images" / name, image)
                row = (name, path.stem, number, f"{number / about.fps:.3f}")
                rows.append(_row(*row, image))
                if truth is not None:
                    height, width = image.shape[:2]
                    stem = Path(name).stem
                    annotation = Annotation(name, width, height, tuple(truth[number]))
                    write_voc(annotation, folder / "annotations" / f"{stem}.xml")
            if found < len(wanted):
                short[path.name] = f"ends before frame {wanted[found]} of {about.frames}"
                tqdm.write(f"{path.name}: {short[path.name]}; kept what could be read")
    if not rows:
        raise CourseError(f"{clips}: no frame could be read; check that the videos play")
    counts = {"clips": len(videos), "annotated": len(list((folder / "annotations").iterdir()))}
    return rows, {**counts, "short": short} if short else counts


def _spread(numbers, most: int | None) -> list:
    numbers = list(numbers)
    if most is None or len(numbers) <= most:
        return numbers
    return [numbers[round(i)] for i in np.linspace(0, len(numbers) - 1, most)]


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    # imencode, since imwrite cannot open names beyond ASCII on every platform.
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise CourseError(f"{path.name}: could not be written as JPEG; check the video")
    path.write_bytes(data.tobytes())


def _read_boxes(path: Path) -> dict[int, list[Box]] | None:
    if not path.is_file():
        return None
    boxes = defaultdict(list)
    for line, row in enumerate(read_csv(path, _BOX_COLUMNS), 2):
        try:
            edges = (float(row[name]) for name in _BOX_COLUMNS[2:])
            difficult = bool(int(row.get("difficult") or 0))
            boxes[int(row["frame"])].append(Box(row["label"], *edges, difficult=difficult))
        except (TypeError, ValueError) as error:
            raise CourseError(f"{path.name}: line {line}: {error}; correct the number") from None
    return boxes


def _from_photos(source: Path, folder: Path, max_frames: int | None):
    from tqdm.auto import tqdm

    photos = _spread(images_in(source / "images"), max_frames)
    groups = {}
    if (source / "groups.csv").is_file():
        rows = read_csv(source / "groups.csv", ("image", "clip"))
        groups = {row["image"]: row["clip"] for row in rows}
    rows, annotated = [], 0
    for path in tqdm(photos, desc="photos", unit="photo"):
        link(path, folder / "images" / path.name)
        xml = source / "annotations" / f"{path.stem}.xml"
        if xml.is_file():
            annotated += 1
            # A copy, since labelling tools rewrite an XML file in place.
            shutil.copyfile(xml, folder / "annotations" / xml.name)
        # Read through numpy, since imread cannot open names beyond ASCII on every platform.
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
        rows.append(_row(path.name, groups.get(path.name, path.stem), "", "", image))
    clips = len({row["clip"] for row in rows})
    return rows, {"clips": clips, "annotated": annotated}


def _row(name: str, clip: str, frame: int | str, time: str, image: np.ndarray | None) -> dict:
    # An unreadable photo keeps its row: the audit of lesson 03 names it.
    values = ("", "")
    if image is not None:
        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        values = (f"{sharpness(grey):.1f}", phash(grey))
    return dict(zip(COLUMNS, (name, clip, frame, time, *values), strict=True))
