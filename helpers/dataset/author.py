"""The split that came with the pictures: read from split.csv, and kept."""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from helpers.annotations.folders import SPLITS
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.dataset.findings import ALL, Finding, finding

# The name that folders of earlier runs have.
_OLD = "author_split.csv"


def usual_split(frames_folder: Path | str) -> str:
    """Return "author" where the pictures came with a split, else "clip"."""
    return "author" if _table(Path(frames_folder)).is_file() else "clip"


def read_author_split(path: Path | str) -> dict[str, str]:
    """Read the split of a dataset's author: image -> "train", "val" or "test".

    Args:
        path: a CSV file with the columns image and split, or a `02_frames` that holds it.

    Raises:
        CourseError: it is missing, names another side, or puts an image on two.
    """
    path = Path(path)
    path = _table(path) if path.is_dir() else path
    if not path.is_file():
        raise CourseError(f'{path}: missing; this data has no author\'s split: use split="clip"')
    chosen: dict[str, str] = {}
    for number, row in enumerate(read_csv(path, ("image", "split")), 2):
        image, side = row["image"], row["split"].strip().lower()
        if side not in SPLITS:
            sides = ", ".join(SPLITS)
            raise CourseError(f"{path}: line {number}: split {row['split']!r}; write {sides}")
        if (other := chosen.setdefault(image, side)) != side:
            raise CourseError(f"{path}: line {number}: {image} is in {other}, too; keep one line")
    # Of two sides the one that does not train holds out, whatever its name.
    if "val" not in chosen.values():
        chosen = {image: "val" if side == "test" else side for image, side in chosen.items()}
    return chosen


def in_words(author: Mapping[str, str], images: Collection[str]) -> str:
    """Return what an author's split makes of the images."""
    sides = Counter(author[image] for image in images if image in author)
    shares = ", ".join(f"{sides[side]} {side}" for side in SPLITS if sides[side])
    text = f"The author's split is kept: {shares}"
    if left := sum(image not in author for image in images):
        text += f"; {left} images are on no side of it and stay out"
    return f'{text}. split = "clip" would draw anew.'


def left_out(
    author: Mapping[str, str], images: Collection[str], frames_folder: Path
) -> list[Finding]:
    """Return a finding where an author's split leaves images out.

    Raises CourseError when it knows none of them.
    """
    table = _table(frames_folder)
    left = [image for image in images if image not in author]
    if left and len(left) == len(images):
        raise CourseError(
            f"{table}: none of its {len(author)} images is here: it says "
            f"{next(iter(author), 'nothing')}, the first image is {left[0]}; write the images' "
            'names into it, or use split = "clip"'
        )
    if not left:
        return []
    value = f"{len(left)} of {len(images)} images are not in {table.name}, such as {left[0]}"
    return [finding(ALL, 0, "not used", value, f"add them to {table.name}")]


def _table(frames_folder: Path) -> Path:
    table, old = frames_folder / "split.csv", frames_folder / _OLD
    return old if old.is_file() and not table.is_file() else table
