"""Annotations as YOLO txt: a file for each image, a box in each line, classes by number."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.folders import files_below, natural
from helpers.annotations.reading import Pictures, box_near, number, text_of
from helpers.common.errors import CourseError
from helpers.common.files import write_text

CLASS_FILES = ("classes.txt", "_darknet.labels", "obj.names")


def read(file: Path, pictures: Pictures, names: Mapping[int, str]) -> list[Annotation]:
    """Read the file of one image; `names` are those of the classes. CourseError with the line."""
    image = pictures.find(file.stem, str(file), stem=True)
    width, height = pictures.size(image)
    boxes = [
        _box(text, names, width, height, f"{file}: line {line}")
        for line, text in enumerate(text_of(file).splitlines(), 1)
        if text.strip()
    ]
    return [Annotation(image.name, width, height, tuple(boxes))]


def write(annotations: Sequence[Annotation], folder: Path, labels: Sequence[str]) -> None:
    """Write labels/<image>.txt and data.yaml; `labels` get the numbers 0, 1, … in that order."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    class_number = {label: i for i, label in enumerate(labels)}
    for annotation in annotations:
        lines = []
        for box in annotation.boxes:
            width, height = annotation.width, annotation.height
            values = (
                (box.xmin + box.xmax) / 2 / width,
                (box.ymin + box.ymax) / 2 / height,
                (box.xmax - box.xmin) / width,
                (box.ymax - box.ymin) / height,
            )
            fractions = " ".join(f"{value:.10f}" for value in values)
            lines.append(f"{class_number[box.label]} {fractions}\n")
        write_text(folder / "labels" / f"{Path(annotation.image).stem}.txt", "".join(lines))
    # No `path`: trainers then start from the folder of this file.
    data = {"train": "images", "val": "images", "names": dict(enumerate(labels))}
    write_text(folder / "data.yaml", yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def class_names(path: Path) -> dict[int, str]:
    """Return number -> label, as an export gives it in data.yaml, classes.txt or obj.names.

    Looks below the folder `path`, or that of the file `path`, then right above. Empty where
    nothing says it; CourseError where two files disagree.
    """
    folder = path if path.is_dir() else path.parent
    above = natural(p for p in folder.parent.iterdir() if p.is_file())
    for files in (files_below(folder), above):
        found = {file: names for file in files if (names := _names_in(file)) is not None}
        if not found:
            continue
        first, *others = found
        for other in others:
            if found[other] != found[first]:
                raise CourseError(
                    f"{other}: other classes than in {first.name}; delete the wrong one"
                )
        return found[first]
    return {}


def _box(text: str, names: Mapping[int, str], width: int, height: int, where: str) -> Box:
    """The box that a line states."""
    cells = text.split()
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
        known = ", ".join(f"{key} {name}" for key, name in list(names.items())[:10])
        raise CourseError(f"{where}: class {cells[0]!r} is unknown; the classes are {known}")
    x, y, w, h = values = [number(cell, where) for cell in cells[1:]]
    if not all(-0.001 <= value <= 1.001 for value in values):
        raise CourseError(
            f"{where}: {text.strip()!r}: beyond 1; YOLO counts in fractions of the image"
        )
    edges = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
    return box_near(names[int(cells[0])], edges, width, height)


def _names_in(file: Path) -> dict[int, str] | None:
    """The classes that a file lists; None for a file that is no such list."""
    if file.name in CLASS_FILES or file.suffix == ".names":
        lines = [line.strip() for line in text_of(file).splitlines()]
        return {i: line for i, line in enumerate(lines) if line}
    return _names_in_yaml(file) if file.suffix in (".yaml", ".yml") else None


def _names_in_yaml(file: Path) -> dict[int, str] | None:
    import yaml

    try:
        # The base loader leaves every word a word: a class may be called "no" or "1".
        data = yaml.load(text_of(file), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise CourseError(f"{file}: {line}no YAML; correct it or delete the file") from None
    names = data.get("names") if isinstance(data, dict) else None
    if not names and not isinstance(names, str):
        return None
    if isinstance(names, list):
        return {i: str(name) for i, name in enumerate(names)}
    if isinstance(names, dict) and all(key.isdecimal() for key in names):
        return {int(key): str(name) for key, name in names.items()}
    raise CourseError(f"{file}: names {names!r}; write them as a list, or as number: label")
