"""The split that comes with a dataset as lists of pictures, or in a data.yaml."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from helpers.annotations.folders import SPLITS
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note, Remark
from helpers.common.errors import CourseError
from helpers.common.files import read_text
from helpers.common.yaml_files import read_yaml
from helpers.footage.sides import Found, listed, side_in


def of_lists(path: Path, files: Sequence[Path], pictures: Pictures, note: Note) -> Found:
    """The sides by lists of pictures: train.txt, val.txt, test.txt."""
    lists: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        if file.suffix.lower() == ".txt" and (side := side_in(file.stem)):
            lists[side].append(file)
    members = {}
    used = set()
    for side, found in lists.items():
        # trainval.txt holds what train.txt and val.txt hold together.
        exact = [file for file in found if "trainval" not in file.stem.lower()] or found
        members[side] = {name for file in exact for name in _names_in(file, path, pictures, note)}
        used |= {file.name for file in exact}
    return members, f"lists {listed(used)}"


def of_yaml(path: Path, files: Sequence[Path], pictures: Pictures) -> Found:
    """The sides by a data.yaml, as YOLO trainers read it: folders, or lists of images."""
    for file in files:
        if file.suffix.lower() not in (".yaml", ".yml"):
            continue
        try:
            data = read_yaml(file, words=True)
        except CourseError:
            continue  # no YAML: the readers of annotations remark on it
        if not isinstance(data, dict):
            continue
        members = {}
        for key in SPLITS:
            places = data.get(key) or []
            names: set[str] = set()
            for place in [places] if isinstance(places, str) else places:
                names |= _names_at(str(place), file, str(data.get("path") or ""), path, pictures)
            members[key] = names
        if members["train"] and (members["val"] or members["test"]):
            return members, file.name
    return {}, ""


def _names_at(place: str, file: Path, base: str, path: Path, pictures: Pictures) -> set[str]:
    """Pictures in what a data.yaml calls a side: a folder or a list, below the folder `path`."""
    # Roboflow writes "../train/images" for what lies beside its data.yaml.
    relative = re.sub(r"^(\.{1,2}[/\\])+", "", place.replace("\\", "/"))
    for folder in (file.parent, file.parent / base, path):
        there = folder / relative
        if there.is_dir():
            root = there.resolve()
            return {n for p, n in pictures.names.items() if p.resolve().is_relative_to(root)}
        if there.is_file():
            return set(_names_in(there, path, pictures, lambda remark: None))
    return set()


def _names_in(file: Path, path: Path, pictures: Pictures, note: Note) -> Iterator[str]:
    """Names of the pictures that a list has, a line each; a remark on those that it lacks."""
    try:
        lines = [line.strip() for line in read_text(file).splitlines()]
    except CourseError:
        return  # no list of names in that case; it is named among what was not understood
    lines = [line for line in lines if line]
    missing = []
    for line in lines:
        # The lists of a class in ImageSets/Main have 1 or -1 behind the name.
        image = pictures.find(line, file) or pictures.find(line.split()[0], file)
        if image is None:
            missing.append(line)
        else:
            yield pictures.names[image]
    if missing and len(missing) < len(lines):
        value = f"{len(missing)} of {len(lines)} names fit no picture, such as {missing[0]!r}"
        where = str(file.relative_to(path))
        note(Remark(where, "", "no image", value, "add the pictures, or delete the lines"))
