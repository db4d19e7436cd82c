"""Annotation files of other tools, recognised, read and written.

A box is what `annotations.Box` says: edges in pixels, origin 0. What each format can hold:

| format | a box | rounding when written | images without objects | flags |
| --- | --- | --- | --- | --- |
| Pascal VOC XML | four edges | 0.01 pixel | yes | all |
| VoTT CSV | four edges | none | no | none |
| TFOD CSV | four edges | none | no | none |
| LISA CSV | two corners | none | no | occluded |
| COCO json | corner and size | none | yes | all |
| YOLO txt | centre and size / image | 1e-10 of the image | yes: an empty file | none |

VoTT, LISA and YOLO do not tell the size of an image: it is read from the image's header.
"""

import csv
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from helpers.annotations.boxes import Annotation, Box, check_boxes
from helpers.annotations.folders import IMAGE_SUFFIXES, images_in, natural
from helpers.annotations.voc import read_voc, write_voc
from helpers.common.errors import CourseError
from helpers.common.files import write_text
from helpers.common.images import image_size

FORMATS = {
    "voc": "Pascal VOC XML",
    "vott_csv": "VoTT CSV",
    "tfod_csv": "TFOD CSV",
    "lisa_csv": "LISA CSV",
    "coco": "COCO json",
    "yolo": "YOLO txt",
}

_CORNERS = (
    "Upper left corner X",
    "Upper left corner Y",
    "Lower right corner X",
    "Lower right corner Y",
)
_EDGES = ("xmin", "ymin", "xmax", "ymax")
# LISA's signs have this comma inside one column; its traffic lights lack the column.
_LISA_FLAGS = "Occluded,On another road"
# For each CSV format: the columns of image and label, then those of the edges.
_COLUMNS = {
    "vott_csv": ("image", "label", *_EDGES),
    "tfod_csv": ("filename", "class", *_EDGES),
    "lisa_csv": ("Filename", "Annotation tag", *_CORNERS),
}
_CLASS_FILES = ("classes.txt", "_darknet.labels", "obj.names")
_MASKS = ("SegmentationClass", "SegmentationObject")
_YOLO_LINE = re.compile(r"\s*\d+(\s+[-+.\de]+){4}\s*$")
_COCO_LIST = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')
# Pixels by which decimals that a tool has cut off may put an edge outside the image: YOLO with
# six decimals up to 0.006 in an image of 8000 pixels, COCO with two decimals 0.01.
_SLACK = 0.0101


def detect_format(path: Path | str) -> tuple[str | None, list[Path]]:
    """The format of the annotations in a folder, all levels deep, or of a file, and its files.

    The format is a key of `FORMATS`, or None where there are no annotations. Names that start
    with a dot are passed over, and a TFOD CSV beside the XML that it was made from. CourseError
    when there are two formats.
    """
    path = Path(path)
    if not path.exists():
        raise CourseError(f"{path}: no such folder or file; give the one with the annotations")
    files = [path] if path.is_file() else _below(path)
    stems = {file.stem for file in files if file.suffix.lower() in IMAGE_SUFFIXES}
    found = defaultdict(list)
    for file in files:
        if kind := _kind(file, path, stems):
            found[kind].append(file)
    if {"voc", "tfod_csv"} == set(found):
        # The old tutorials made the CSV out of the XML: the same boxes once more.
        del found["tfod_csv"]
    if len(found) > 1:
        (first, ours), (second, theirs) = list(found.items())[:2]
        raise CourseError(
            f"{path}: two formats: {FORMATS[first]} ({ours[0].relative_to(path)}) and "
            f"{FORMATS[second]} ({theirs[0].relative_to(path)}); move one of them elsewhere"
        )
    return next(iter(found.items()), (None, []))


def find_images(folder: Path | str) -> list[Path]:
    """The images of a dataset's folder, in natural order.

    Those in images/ or JPEGImages/, else those in the folder itself, else those of all folders
    below. CourseError when there is none, or when two share a name up to the suffix.
    """
    folder = Path(folder)
    for place in (folder / "images", folder / "JPEGImages", folder):
        if place.is_dir() and any(p.suffix.lower() in IMAGE_SUFFIXES for p in place.iterdir()):
            return images_in(place)
    inner = folder / "images"
    root = inner if inner.is_dir() else folder
    below = _below(root) if root.is_dir() else []
    found = [p for p in below if p.suffix.lower() in IMAGE_SUFFIXES and p.parent.name not in _MASKS]
    if not found:
        return images_in(root)  # says what is wrong
    stems: dict[str, Path] = {}
    for image in found:
        if (other := stems.setdefault(image.stem, image)) != image:
            raise CourseError(
                f"{folder}: {other.relative_to(folder)} and {image.relative_to(folder)} would "
                f"share the annotation {image.stem}.xml; rename one"
            )
    return found


def read_annotations(
    path: Path | str, images: Path | str | None = None, *, origin: int | None = None
) -> list[Annotation]:
    """Read the annotations of a folder or file, in whichever of `FORMATS` they are.

    `images` is the folder with the images, as in `find_images`; None takes `path`, or the
    folder of the file. An annotation whose image is found carries the image's name on the
    disk, also where the file says "my%20cat.jpg" for "my cat.jpg". Images that no file mentions,
    or that have no YOLO file, are not annotated: they get no `Annotation`. `origin` goes to
    `annotations.read_voc`; every other format counts from 0.

    Faulty boxes are returned as they are, for `audit.check` to report, but an edge that
    rounding has put outside the image (0.01 pixel at most) is taken to its border. Objects
    that COCO calls a crowd become difficult.

    CourseError, with file and line: what is no number, a column or field that is missing, an
    unknown class, an image that is not there, the same image in two files.
    Sources: cocodataset.org, "Data format"; docs.ultralytics.com, "Object detection datasets";
    the CSV export of VoTT 2; the LISA traffic sign dataset (Mogelmose et al., 2012).
    """
    from tqdm.auto import tqdm

    path = Path(path)
    kind, files = detect_format(path)
    if kind is None:
        raise CourseError(f"{path}: no annotations in it; known are {', '.join(FORMATS.values())}")
    if kind == "voc":
        return [read_voc(file, origin=origin) for file in tqdm(files, FORMATS[kind], unit="file")]
    if origin:
        raise CourseError(f"origin: {origin!r}; only Pascal VOC XML comes with another than 0")
    folder = Path(images) if images is not None else path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise CourseError(f"{folder}: no such folder; give the one with the images")
    pictures = _Pictures.of(folder)
    names = _class_names(path) if kind == "yolo" else {}
    found: dict[str, tuple[Annotation, Path]] = {}
    for file in tqdm(files, FORMATS[kind], unit="file"):
        if kind == "yolo":
            annotations = [_read_yolo(file, names, pictures)]
        elif kind == "coco":
            annotations = _read_coco(file, pictures)
        else:
            annotations = _read_csv(file, kind, pictures)
        for annotation in annotations:
            _, first = found.setdefault(annotation.image, (annotation, file))
            if first != file:
                raise CourseError(
                    f"{file}: {annotation.image} is also in {first.name}; give one of the files, "
                    "or move it elsewhere"
                )
    return [annotation for annotation, _ in found.values()]


def write_annotations(
    annotations: Iterable[Annotation],
    path: Path | str,
    format: str,
    labels: Sequence[str] | None = None,
) -> list[str]:
    """Write annotations in one of `FORMATS`; return what the format could not hold.

    CSV and COCO make the file `path`. Pascal VOC makes <image>.xml in the folder `path`; YOLO
    makes labels/<image>.txt and data.yaml in it, to lie beside images/. `labels` are the
    classes in the order of their numbers, from 1 in COCO, from 0 in YOLO; None sorts those
    that occur. The list has a line for each kind of loss, and is empty when nothing was lost.

    CourseError, before anything is written, for a faulty box, a label that is not in
    `labels`, an image that occurs twice, or an unknown format.
    """
    annotations, path = list(annotations), Path(path)
    if format not in FORMATS:
        raise CourseError(f"format: {format!r}; choose one of {', '.join(FORMATS)}")
    if labels is None:
        labels = sorted({box.label for a in annotations for box in a.boxes})
    by_stem = format in ("voc", "yolo")
    seen: dict[str, str] = {}
    for annotation in annotations:
        check_boxes(annotation, annotation.image)
        key = Path(annotation.image).stem if by_stem else annotation.image
        if key in seen:
            raise CourseError(f"{annotation.image}: its file is that of {seen[key]}; rename one")
        seen[key] = annotation.image
        for number, box in enumerate(annotation.boxes, 1):
            if box.label not in labels:
                raise CourseError(
                    f"{annotation.image}: object {number}: label {box.label!r} is not in labels; "
                    f"add it: there are {', '.join(labels)}"
                )
    if by_stem:
        path.mkdir(parents=True, exist_ok=True)
    if format == "voc":
        for annotation in annotations:
            write_voc(annotation, path / f"{Path(annotation.image).stem}.xml")
    elif format == "yolo":
        _write_yolo(annotations, path, labels)
    elif format == "coco":
        write_text(path, json.dumps(_coco(annotations, labels), ensure_ascii=False) + "\n")
    else:
        _write_csv(annotations, path, format)
    return _losses(annotations, format)


@dataclass(frozen=True)
class _Pictures:
    """The images that annotations may speak of: file name -> path, and the folder."""

    folder: Path
    by_name: Mapping[str, Path]
    by_stem: Mapping[str, Path]

    @classmethod
    def of(cls, folder: Path) -> "_Pictures":
        try:
            found = find_images(folder)
        except CourseError:
            # COCO and TFOD CSV may come without images; two images may not share a name.
            if any(p.suffix.lower() in IMAGE_SUFFIXES for p in _below(folder)):
                raise
            found = []
        return cls(folder, {p.name: p for p in found}, {p.stem: p for p in found})

    def find(self, stated: str, where: str, *, stem: bool = False) -> Path:
        """Path of the image that an annotation calls `stated`; CourseError without one."""
        known = self.by_stem if stem else self.by_name
        name = re.split(r"[/\\]", stated.strip())[-1]
        image = known.get(name) or known.get(unquote(name))
        if image is None:
            there = f"not among the {len(known)} in {self.folder.name}" if known else "not there"
            raise CourseError(
                f"{where}: image {stated!r} is {there}; correct the name, or add the image"
            )
        return image

    def named(self, stated: str, size: tuple[int, int] | None, where: str):
        """Name, width and height of an image, from its header where `size` is None."""
        if size and not self.by_name:
            return re.split(r"[/\\]", stated.strip())[-1], *size
        image = self.find(stated, where)
        return image.name, *(size or self.size(image))

    @staticmethod
    def size(image: Path) -> tuple[int, int]:
        size = image_size(image)
        if size is None:
            raise CourseError(f"{image}: no image that can be read; replace it or delete it")
        # Upright, as the tools show an image to the annotator.
        return size.upright


def _below(folder: Path) -> list[Path]:
    """Files of a folder, all levels deep, without those whose name or folder starts with a dot."""
    found = list(folder.rglob("*"))
    hidden = (any(part.startswith(".") for part in p.relative_to(folder).parts) for p in found)
    return natural(p for p, out in zip(found, hidden, strict=True) if not out and p.is_file())


def _kind(file: Path, root: Path, image_stems: set[str]) -> str | None:
    """Format of a single file by name and first lines; None for what is no annotation."""
    suffix = file.suffix.lower()
    if suffix == ".xml":
        return "voc"
    if suffix not in (".json", ".csv", ".txt") or file.name in _CLASS_FILES:
        return None
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        if suffix == ".json":
            return "coco" if _COCO_LIST.search(lines.read(1 << 16)) else None
        first = lines.readline(1 << 16)
    if suffix == ".txt":
        folders = (root.name, *file.relative_to(root).parts[:-1])
        ours = file.stem in image_stems or "labels" in folders
        return "yolo" if ours or _YOLO_LINE.match(first) else None
    # Some of the columns are enough: the reader says which of the others is missing.
    columns = {name.strip(' "\n\r') for name in re.split("[,;]", first)}
    for kind, (image, label, *edges) in _COLUMNS.items():
        boxes_of_images = {label, *edges} <= columns and "frame" not in columns
        if boxes_of_images or (image in columns and columns & set(edges)):
            return kind
    return None


def _read_csv(file: Path, kind: str, pictures: _Pictures) -> Iterator[Annotation]:
    image_column, label_column, *edge_columns = _COLUMNS[kind]
    names: dict[str, tuple[str, int, int]] = {}
    called: dict[str, str] = {}
    boxes: dict[tuple[str, int, int], list[Box]] = defaultdict(list)
    for line, row in _rows(file, kind):
        where = f"{file}: line {line}"
        stated, label = row[image_column], row[label_column]
        if not label.strip():
            raise CourseError(f"{where}: column {label_column!r} is empty; write the label into it")
        size = _stated_size(row, where)
        if stated not in names:
            names[stated] = pictures.named(stated, size, where)
            first = called.setdefault(names[stated][0], stated)
            if first != stated and not pictures.by_name:
                raise CourseError(
                    f"{where}: {stated} and {first} have the same file name; rename one, or add "
                    "the images"
                )
        name, width, height = names[stated]
        if size and size != (width, height):
            raise CourseError(
                f"{where}: {name}: size {size[0]}x{size[1]}, above it is {width}x{height}; "
                "correct one"
            )
        edges = [_number(row[column], f"{where}: {column}") for column in edge_columns]
        flags = (row.get(_LISA_FLAGS) or row.get("Occluded") or "0") if kind == "lisa_csv" else "0"
        occluded = flags.split(",")[0].strip() == "1"
        boxes[names[stated]].append(_box(label, edges, width, height, occluded=occluded))
    for image, its_boxes in boxes.items():
        yield Annotation(*image, tuple(its_boxes))


def _rows(file: Path, kind: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each row of a CSV file, with commas or with semicolons."""
    wanted = _COLUMNS[kind]
    with file.open(newline="", encoding="utf-8-sig") as lines:
        try:
            header = lines.readline()
            lines.seek(0)
            delimiter = ";" if header.count(";") > header.count(",") else ","
            reader = csv.DictReader(lines, delimiter=delimiter)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            if lacking := [name for name in wanted if name not in reader.fieldnames]:
                raise CourseError(
                    f"{file}: line 1: no column {lacking[0]!r}; {FORMATS[kind]} has "
                    f"{', '.join(wanted)}"
                )
            for row in reader:
                if any(row[name] is None for name in wanted):
                    raise CourseError(
                        f"{file}: line {reader.line_num}: fewer cells than columns; complete it"
                    )
                yield reader.line_num, row
        except (UnicodeDecodeError, csv.Error) as error:
            raise CourseError(f"{file}: no CSV in UTF-8 ({error}); export it again") from None


def _read_coco(file: Path, pictures: _Pictures) -> list[Annotation]:
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise CourseError(
            f"{file}: line {error.lineno}: no JSON ({error.msg}); export it again"
        ) from None
    except UnicodeDecodeError as error:
        raise CourseError(f"{file}: not UTF-8 ({error}); export it again") from None
    for name in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(name), list):
            raise CourseError(f"{file}: no list {name!r}; export the objects as COCO json")

    def field(group: str, index: int, name: str):
        item = data[group][index]
        value = item.get(name) if isinstance(item, dict) else None
        if value is None or (name != "bbox" and not isinstance(value, int | str)):
            raise CourseError(f"{file}: {group}[{index}]: no {name!r}; export the file again")
        return value

    labels = {
        field("categories", i, "id"): str(field("categories", i, "name"))
        for i in range(len(data["categories"]))
    }
    images: dict[object, tuple[str, int, int]] = {}
    taken: dict[str, int] = {}
    for i, item in enumerate(data["images"]):
        where = f"{file}: images[{i}]"
        number, stated = field("images", i, "id"), str(field("images", i, "file_name"))
        size = _stated_size(item, where)
        images.setdefault(number, image := pictures.named(stated, size, where))
        if images[number] is not image or taken.setdefault(image[0], i) != i:
            raise CourseError(f"{where}: {stated!r}, id {number}: given twice; delete one")
    boxes = defaultdict(list)
    for i, item in enumerate(data["annotations"]):
        where = f"{file}: annotations[{i}]"
        number, category = (
            field("annotations", i, "image_id"),
            field("annotations", i, "category_id"),
        )
        if number not in images:
            raise CourseError(f"{where}: image_id {number!r} is not in images; add it there")
        if category not in labels:
            raise CourseError(
                f"{where}: category_id {category!r} is not in categories, which has "
                f"{', '.join(map(str, labels))}; add it there"
            )
        xywh = field("annotations", i, "bbox")
        if not isinstance(xywh, list) or len(xywh) != 4:
            raise CourseError(f"{where}: bbox {xywh!r}; it must be [x, y, width, height]")
        x, y, w, h = (_number(value, f"{where}: bbox") for value in xywh)
        more = item["attributes"] if isinstance(item.get("attributes"), dict) else {}
        flags = {name: more.get(name) is True for name in ("truncated", "occluded")}
        flags["difficult"] = bool(item.get("iscrowd")) or more.get("difficult") is True
        _, width, height = images[number]
        boxes[number].append(_box(labels[category], (x, y, x + w, y + h), width, height, **flags))
    return [Annotation(*image, tuple(boxes[number])) for number, image in images.items()]


def _read_yolo(file: Path, names: Mapping[int, str], pictures: _Pictures) -> Annotation:
    image = pictures.find(file.stem, str(file), stem=True)
    width, height = pictures.size(image)
    boxes = []
    for line, text in enumerate(_text(file).splitlines(), 1):
        where, cells = f"{file}: line {line}", text.split()
        if not cells:
            continue
        if len(cells) != 5:
            raise CourseError(
                f"{where}: {len(cells)} values; a box has 5: class, x, y, width, height. Export "
                "boxes, not polygons or results"
            )
        if not names:
            raise CourseError(
                f"{where}: nothing says what class {cells[0]} is; add classes.txt with a label "
                "in each line"
            )
        if not cells[0].isdecimal() or int(cells[0]) not in names:
            known = ", ".join(f"{number} {name}" for number, name in list(names.items())[:10])
            raise CourseError(f"{where}: class {cells[0]!r} is unknown; the classes are {known}")
        x, y, w, h = values = [_number(cell, where) for cell in cells[1:]]
        if not all(-0.001 <= value <= 1.001 for value in values):
            raise CourseError(
                f"{where}: {text.strip()!r}: beyond 1; YOLO counts in fractions of the image"
            )
        edges = ((x - w / 2) * width, (y - h / 2) * height)
        edges += ((x + w / 2) * width, (y + h / 2) * height)
        boxes.append(_box(names[int(cells[0])], edges, width, height))
    return Annotation(image.name, width, height, tuple(boxes))


def _class_names(path: Path) -> dict[int, str]:
    """Number -> label, as a YOLO export gives it in data.yaml, classes.txt or obj.names."""
    folder = path if path.is_dir() else path.parent
    inside, above = _below(folder), natural(p for p in folder.parent.iterdir() if p.is_file())
    for files in (inside, above):
        found: dict[Path, dict[int, str]] = {}
        for file in files:
            if file.name in _CLASS_FILES or file.suffix == ".names":
                lines = [line.strip() for line in _text(file).splitlines()]
                found[file] = {i: line for i, line in enumerate(lines) if line}
            elif file.suffix in (".yaml", ".yml") and (names := _names_in_yaml(file)):
                found[file] = names
        for file, names in found.items():
            first = next(iter(found))
            if names != found[first]:
                raise CourseError(
                    f"{file}: other classes than in {first.name}; delete the wrong one"
                )
        if found:
            return next(iter(found.values()))
    return {}


def _names_in_yaml(file: Path) -> dict[int, str]:
    import yaml

    try:
        # The base loader leaves every word a word: a class may be called "no" or "1".
        data = yaml.load(_text(file), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise CourseError(f"{file}: {line}no YAML; correct it or delete the file") from None
    names = data.get("names") if isinstance(data, dict) else None
    if isinstance(names, list):
        return {i: str(name) for i, name in enumerate(names)}
    if isinstance(names, dict) and all(key.isdecimal() for key in names):
        return {int(key): str(name) for key, name in names.items()}
    if names is None:
        return {}
    raise CourseError(f"{file}: names {names!r}; write them as a list, or as number: label")


def _write_yolo(annotations: Sequence[Annotation], folder: Path, labels: Sequence[str]) -> None:
    import yaml

    number = {label: i for i, label in enumerate(labels)}
    for annotation in annotations:
        lines = []
        for box in annotation.boxes:
            width, height = annotation.width, annotation.height
            values = ((box.xmin + box.xmax) / 2 / width, (box.ymin + box.ymax) / 2 / height)
            values += ((box.xmax - box.xmin) / width, (box.ymax - box.ymin) / height)
            lines.append(f"{number[box.label]} " + " ".join(f"{v:.10f}" for v in values) + "\n")
        write_text(folder / "labels" / f"{Path(annotation.image).stem}.txt", "".join(lines))
    # No `path`: trainers then start from the folder of this file.
    data = {"train": "images", "val": "images", "names": dict(enumerate(labels))}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    write_text(folder / "data.yaml", text)


def _coco(annotations: Sequence[Annotation], labels: Sequence[str]) -> dict:
    category = {label: i for i, label in enumerate(labels, 1)}
    images, objects = [], []
    for number, a in enumerate(annotations, 1):
        images.append({"id": number, "file_name": a.image, "width": a.width, "height": a.height})
        for box in a.boxes:
            item = {
                "id": len(objects) + 1,
                "image_id": number,
                "category_id": category[box.label],
                "bbox": [box.xmin, box.ymin, box.xmax - box.xmin, box.ymax - box.ymin],
                "area": box.area,
                "iscrowd": int(box.difficult),
            }
            # As CVAT writes them.
            if box.truncated or box.occluded:
                item["attributes"] = {"truncated": box.truncated, "occluded": box.occluded}
            objects.append(item)
    categories = [{"id": number, "name": label} for label, number in category.items()]
    return {"images": images, "annotations": objects, "categories": categories}


def _write_csv(annotations: Sequence[Annotation], path: Path, kind: str) -> None:
    header = {
        "vott_csv": ("image", *_EDGES, "label"),
        "tfod_csv": ("filename", "width", "height", "class", *_EDGES),
        "lisa_csv": ("Filename", "Annotation tag", *_CORNERS, _LISA_FLAGS),
    }[kind]
    # VoTT quotes all that is no number.
    quoting = csv.QUOTE_NONNUMERIC if kind == "vott_csv" else csv.QUOTE_MINIMAL
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        delimiter = ";" if kind == "lisa_csv" else ","
        writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator="\n")
        writer.writerow(header)
        for a in annotations:
            for box in a.boxes:
                edges = [int(e) if float(e).is_integer() else float(e) for e in box.xyxy]
                row = {
                    "vott_csv": (a.image, *edges, box.label),
                    "tfod_csv": (a.image, a.width, a.height, box.label, *edges),
                    "lisa_csv": (a.image, box.label, *edges, f"{box.occluded:d},0"),
                }[kind]
                writer.writerow(row)
    part.replace(path)


def _losses(annotations: Sequence[Annotation], kind: str) -> list[str]:
    if kind in ("voc", "coco"):
        return []
    lost = Counter()
    for annotation in annotations:
        if not annotation.boxes and kind != "yolo":
            lost["images without objects"] += 1
        for box in annotation.boxes:
            for flag in ("difficult", "truncated", "occluded"):
                if getattr(box, flag) and (kind, flag) != ("lisa_csv", "occluded"):
                    lost[f"marks {flag!r}"] += 1
    return [f"{FORMATS[kind]} cannot hold {count} {what}" for what, count in lost.items()]


def _box(label: str, edges: Sequence[float], width: int, height: int, **flags: bool) -> Box:
    """A box; an edge that lies outside by no more than rounding is taken to the border."""
    inside = []
    for edge, size in zip(edges, (width, height, width, height), strict=True):
        nearest = min(max(edge, 0.0), float(size))
        inside.append(nearest if abs(edge - nearest) <= _SLACK else edge)
    return Box(label, *inside, **flags)


def _number(value: object, where: str) -> float:
    try:
        number = float(value)
        if math.isfinite(number) and not isinstance(value, bool):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise CourseError(f"{where}: {value!r} is no number; correct it")


def _stated_size(item: Mapping, where: str) -> tuple[int, int] | None:
    """Width and height, or None where one is missing or 0, as some tools leave them."""
    if not (item.get("width") and item.get("height")):
        return None
    width, height = (int(_number(item[key], f"{where}: {key}")) for key in ("width", "height"))
    return (width, height) if width > 0 and height > 0 else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CourseError(f"{file}: not UTF-8 ({error.reason}); save it as UTF-8") from None
