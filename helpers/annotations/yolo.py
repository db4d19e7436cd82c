"""Annotations as YOLO txt: a file for each image, a box in each line, classes by number."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box, repaired
from helpers.annotations.folders import files_below
from helpers.annotations.pictures import Pictures
from helpers.annotations.reading import around, bad_line, box_near, label_of, number
from helpers.annotations.remarks import Note, Remark
from helpers.common.errors import CourseError
from helpers.common.files import read_text, write_text
from helpers.common.yaml_files import read_yaml

CLASS_FILES = ("classes.txt", "_darknet.labels", "obj.names")
# Class and box, or class and polygon.
_LINE = re.compile(r"\s*\d+(\.0*)?(\s+[-+.\de]+){4}((\s+[-+.\de]+){2})*\s*$")
# Beyond this many times the image, values are pixels, not fractions.
_FRACTIONS = 2.0


def matches(file: Path, head: str) -> bool:
    """Whether a file is YOLO txt, by its first lines."""
    if file.suffix.lower() != ".txt" or is_class_list(file):
        return False
    return any(_LINE.match(line) for line in head.strip().splitlines()[:5])


def is_class_list(file: Path) -> bool:
    """Whether a file lists the classes, one in each line: data_classes.txt of keras-yolo3, too."""
    name = file.name.lower()
    return name in CLASS_FILES or name.endswith("_classes.txt") or file.suffix == ".names"


def read(
    file: Path, pictures: Pictures, note: Note, *, classes: "Classes | None" = None
) -> Iterator[Annotation]:
    """Read the file of one image. `classes` collects the unknown ones; None notes each line."""
    ours = classes or Classes(file)
    image = pictures.named(file.stem, None, file, note=note)
    if image is None:
        return
    known = ours.of(file)
    if known is None:
        return
    boxes, bad = [], False
    names, source = known
    for line, text in enumerate(read_text(file).splitlines(), 1):
        cells = text.split()
        if not cells:
            continue
        where = f"line {line}"
        class_number = _whole(cells[0])
        label = None if class_number is None else names.get(class_number)
        if label is None:
            ours.miss(cells[0], names, source, file, where)
            bad = True
            continue
        try:
            box, beyond = _box(label, cells, *image[1:])
        except CourseError as error:
            bad_line(file, where, error, note)
            bad = True
            continue
        if beyond:
            value = f"{text.strip()[:60]!r} reaches beyond the image"
            note(Remark(str(file), where, "clipped", value, "it is clipped: look whether it fits"))
        boxes.append(box)
    if classes is None:
        for remark in ours.remarks():
            note(remark)
    # Of bad lines alone nobody knows where the objects are: that is not an empty picture.
    if boxes or not bad:
        yield Annotation(*image, tuple(boxes))


def write(annotations: Sequence[Annotation], folder: Path, labels: Sequence[str]) -> None:
    """Write labels/<image>.txt and data.yaml; `labels` get the numbers 0, 1, … in that order."""
    import yaml

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


class Classes:
    """What the class numbers of the files at `path` mean, and the numbers that no list explains."""

    def __init__(self, path: Path) -> None:
        self._root = path if path.is_dir() else path.parent
        self._found: dict[Path, tuple[dict[int, str], Path | None] | CourseError] = {}
        # (number as written, its list's file, its list's numbers) -> file -> line
        self._missed: dict[tuple[str, Path | None, str], dict[Path, str]] = {}
        self._faults: dict[str, list[Path]] = {}

    def of(self, file: Path) -> tuple[dict[int, str], Path | None] | None:
        """Return number -> label for a file, and the list that says so; empty where none does.

        The lists in the file's folder and in those above count, up to `path`; where there are
        none, those in all folders below `path`; else those beside it. None, and a remark for
        `remarks`, where a list cannot be read, or two disagree.
        """
        folder = file.parent
        if folder not in self._found:
            try:
                self._found[folder] = self._nearest(folder)
            except CourseError as error:
                self._found[folder] = error
        found = self._found[folder]
        if isinstance(found, CourseError):
            self._faults.setdefault(str(found), []).append(file)
            return None
        return found

    def _nearest(self, folder: Path) -> tuple[dict[int, str], Path | None]:
        above = [p for p in (folder, *folder.parents) if p.is_relative_to(self._root)]
        places: tuple[Iterable[Path], ...] = (
            (file for place in above for file in _files_in(place)),
            files_below(self._root),
            _files_in(self._root.absolute().parent),
        )
        for files in places:
            names, source = _agreed(files)
            if source:
                return names, source
        return {}, None

    def miss(
        self, cell: str, names: Mapping[int, str], source: Path | None, file: Path, where: str
    ) -> None:
        """Note that a line of `file` has a class `cell` that `source` does not name."""
        known = ", ".join(map(str, sorted(names)))
        if names and sorted(names) == list(range(len(names))):
            known = f"0 to {len(names) - 1}" if len(names) > 1 else "0"
        self._missed.setdefault((cell[:20], source, known), {}).setdefault(file, where)

    def remarks(self) -> Iterator[Remark]:
        """Yield a remark for each class that is in no list, with how many files have it."""
        for text, its_files in self._faults.items():
            listed, _, fault = text.partition(": ")
            value, _, fix = fault.rpartition("; ")
            count = f"{len(its_files)} files" if len(its_files) > 1 else its_files[0].name
            value = f"{value}, so nothing says what the classes in {count} are"
            yield Remark(listed, "", "not understood", value, fix)
        for (cell, source, known), files in self._missed.items():
            (file, where), *others = files.items()
            count = f"{len(files)} files, such as this" if others else "this file"
            if source:
                value = f"class {cell!r} in {count}; {source.name} names {known}"
                fix = f"add its name to {source.name}, or delete its lines"
            else:
                value = f"nothing says what class {cell!r} in {count} is"
                fix = "add classes.txt with a label in each line, or names to data.yaml"
            yield Remark(str(file), where, "bad line", value, fix)


def _box(label: str, cells: Sequence[str], width: int, height: int) -> tuple[Box, bool]:
    """The box that a line states, inside the image, and whether it had to be clipped."""
    values = [number(cell, "value") for cell in cells[1:]]
    if len(values) == 4:
        x, y, w, h = values
        edges = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    elif len(values) >= 6 and len(values) % 2 == 0:
        edges = around(zip(values[::2], values[1::2], strict=True))
    else:
        raise CourseError(
            f"{len(cells)} values; a box has 5: class, x, y, width, height; export boxes or "
            "polygons, not results"
        )
    if not all(-1 <= value <= _FRACTIONS for value in values):
        raise CourseError(
            f"{' '.join(cells)[:60]!r} is far beyond 1; YOLO counts in fractions of the image"
        )
    xmin, ymin, xmax, ymax = edges
    pixels = (xmin * width, ymin * height, xmax * width, ymax * height)
    box = box_near(label, pixels, width, height)
    # As long as the values are fractions, what sticks out is left for the audit to find.
    if all(-0.001 <= value <= 1.001 for value in values):
        return box, False
    clipped = repaired(box, width, height)
    if clipped is None:
        raise CourseError(f"{' '.join(cells)[:60]!r} lies outside the image; draw the box again")
    return clipped, True


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _agreed(files: Iterable[Path]) -> tuple[dict[int, str], Path | None]:
    """The classes that the lists among `files` give, and the first list."""
    first: Path | None = None
    names: dict[int, str] = {}
    for file in files:
        found = _names_in(file)
        if found is None:
            continue
        if first is None:
            first, names = file, found
        elif found != names:
            raise CourseError(
                f"{file}: other classes than in {first.name}; delete the wrong one of the two"
            )
    return names, first


def _names_in(file: Path) -> dict[int, str] | None:
    """The classes that a file lists; None for a file that is no such list."""
    if file.suffix == ".data":  # of darknet: says which file lists them
        listed = re.search(r"^\s*names\s*=\s*(.*\S)", read_text(file), re.MULTILINE)
        other = file.with_name(re.split(r"[/\\]", listed[1])[-1]) if listed else file
        if other == file or not other.is_file() or is_class_list(other):
            return None
        file = other
    elif file.suffix in (".yaml", ".yml"):
        return _names_in_yaml(file)
    elif not is_class_list(file):
        return None
    lines = [line.strip() for line in read_text(file).splitlines()]
    return _checked({i: line for i, line in enumerate(lines) if line}, file)


def _names_in_yaml(file: Path) -> dict[int, str] | None:
    """The classes that a data.yaml lists; None for one that lists none."""
    data = read_yaml(file, words=True)
    names = data.get("names") if isinstance(data, dict) else None
    if not names and not isinstance(names, str):
        return None
    if isinstance(names, list):
        return _checked(dict(enumerate(names)), file)
    if isinstance(names, dict) and all(_whole(key) is not None for key in names):
        return _checked({_whole(key): name for key, name in names.items()}, file)
    raise CourseError(
        f"{file}: names {repr(names)[:40]}; write them as a list, or as number: label"
    )


def _checked(names: Mapping, file: Path) -> dict[int, str]:
    try:
        return {key: label_of(name, f"name of class {key}") for key, name in names.items()}
    except CourseError as error:
        raise CourseError(f"{file}: {error}") from None


def _whole(text: str) -> int | None:
    """A class number in any notation ("3", "3.000000"); None for what is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() and 0 <= value < 1e9 else None
