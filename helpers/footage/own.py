"""Footage and pictures of your own, copied into the layout of `01_images`."""

import hashlib
import re
import shutil
from pathlib import Path

from helpers.annotations.folders import IMAGE_SUFFIXES, find_images, natural
from helpers.annotations.formats import FORMATS, detect_format, read_annotations
from helpers.annotations.voc import write_voc
from helpers.common.artifacts import artifact
from helpers.common.errors import CourseError
from helpers.common.files import link, write_csv
from helpers.footage.video import VIDEO_SUFFIXES

# Folders of the parts of a dataset, as exports call them: valid, train2017, obj_train_data, …
_SIDE = re.compile(r"(?:obj_)?(train|val)(?:ing|id|idation)?(?:_data|[0-9]{4})?")


def own_folder(path: Path, folder: Path, *, rebuild: bool = False) -> Path:
    """Copy your own footage or pictures into the layout of `01_images`.

    XML is copied, all else becomes Pascal VOC XML; a line says what was recognised. groups.csv
    (image,clip) and author_split.csv (image,split) are taken along; the latter is made where the
    images lie in folders such as train and val. Nothing in `path` is changed.

    Args:
        path: a video, a folder of videos (with `<clip>.boxes.csv` next to them, if you have
            them), or a folder of images, found as `find_images` does, with annotations in any one
            of `FORMATS` anywhere in it.
        folder: the output, in the layout of `01_images`.
        rebuild: copy again what is there already.

    Returns:
        The path of the folder.

    Raises:
        CourseError: there is nothing to take, both videos and images, or annotations that cannot
            be read (as `read_annotations` says).
    """
    path = Path(path)
    if not path.exists():
        raise CourseError(f"{path}: no such folder or file; give your pictures or your video")
    # Files may be added between two runs: names, sizes and times belong to the fingerprint.
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    text = "".join(f"{p} {p.stat().st_size} {p.stat().st_mtime_ns}\n" for p in files)
    contents = hashlib.sha256(text.encode()).hexdigest()[:16]
    return _own_folder(path, folder, contents=contents, rebuild=rebuild)


@artifact("own_folder")
def _own_folder(path: Path, folder: Path, *, contents: str) -> dict:
    files = [path] if path.is_file() else list(path.iterdir())
    files = [p for p in files if not p.name.startswith(".")]  # macOS adds a ._clip.mov
    videos = natural(p for p in files if p.suffix.lower() in VIDEO_SUFFIXES)
    if path.is_file() and not videos:
        kinds = ", ".join(VIDEO_SUFFIXES)
        raise CourseError(f"{path}: not a video; give a folder, or a file ending in {kinds}")
    if videos:
        inner = path / "images"
        files += list(inner.iterdir()) if inner.is_dir() else []
        images = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
        if images:
            raise CourseError(
                f"{path}: {len(videos)} videos and {len(images)} images; put them into two folders"
            )
        counts = _take_videos(videos, folder)
    else:
        images = find_images(path)
        counts = _take_images(path, images, folder)
    rows = ({"file": p.name, "licence": "your own", "origin": path.name} for p in videos or images)
    write_csv(folder / "sources.csv", ("file", "licence", "origin"), rows)
    return counts


def _take_videos(videos: list[Path], folder: Path) -> dict:
    (folder / "clips").mkdir()
    for video in videos:
        link(video, folder / "clips" / video.name)
        boxes = video.with_name(f"{video.stem}.boxes.csv")
        if boxes.is_file():
            shutil.copyfile(boxes, folder / "clips" / boxes.name)
    return {"clips": len(videos)}


def _take_images(path: Path, images: list[Path], folder: Path) -> dict:
    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    for image in images:
        link(image, folder / "images" / image.name)
    kind, files = detect_format(path)
    if kind == "voc":
        # Copies, since the files may hold more than is read: poses, parts, attributes.
        taken: dict[str, Path] = {}
        for xml in files:
            if (other := taken.setdefault(xml.stem, xml)) != xml:
                raise CourseError(f"{xml}: another {xml.name} lies in {other.parent}; keep one")
            shutil.copyfile(xml, folder / "annotations" / f"{xml.stem}.xml")
    elif kind:
        for annotation in read_annotations(path):
            xml = folder / "annotations" / f"{Path(annotation.image).stem}.xml"
            write_voc(annotation, xml, check=False)
    count = len(list((folder / "annotations").iterdir()))
    found = f"{FORMATS[kind]}, {count} annotations" if kind else "no annotations"
    print(f"{path.name}: {found}, {len(images)} images.")
    if split := _author_split(path, images):
        write_csv(folder / "author_split.csv", ("image", "split"), split)
    for name in ("groups.csv", "author_split.csv"):
        if (path / name).is_file():
            shutil.copyfile(path / name, folder / name)
    return {"images": len(images), "annotations": count, "format": kind}


def _author_split(path: Path, images: list[Path]) -> list[dict[str, str]]:
    """Rows image, split where images lie in folders for training and for validation."""
    rows = []
    for image in images:
        for part in image.relative_to(path).parts[:-1]:
            if side := _SIDE.fullmatch(part.lower()):
                rows.append({"image": image.name, "split": side[1]})
                break
    return rows if len({row["split"] for row in rows}) == 2 else []
