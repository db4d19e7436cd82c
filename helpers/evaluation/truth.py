"""The ground truth that lesson 04 writes as a COCO json, and samples of its images."""

from pathlib import Path

import numpy as np

from helpers.annotations.boxes import Box
from helpers.common.errors import CourseError
from helpers.common.files import read_json
from helpers.common.images import read_image
from helpers.common.sampling import evenly


def read_truth(annotation_file: Path) -> dict:
    """Return a COCO json: {"images": […], "annotations": […], "categories": […]}."""
    if not Path(annotation_file).is_file():
        raise CourseError(f"{annotation_file}: missing; lesson 04 writes it")
    truth = read_json(annotation_file)
    names = ("images", "annotations", "categories")
    if not isinstance(truth, dict) or not all(isinstance(truth.get(n), list) for n in names):
        raise CourseError(f"{annotation_file}: no COCO json of images; run lesson 04 again")
    return truth


def boxes_of(truth: dict, image_id: int) -> list[Box]:
    """Return the boxes of one image of a COCO json; `iscrowd` stands for difficult."""
    labels = {category["id"]: category["name"] for category in truth["categories"]}
    return [
        Box(labels[a["category_id"]], x, y, x + w, y + h, difficult=bool(a.get("iscrowd")))
        for a in truth["annotations"]
        if a["image_id"] == image_id
        for x, y, w, h in [a["bbox"]]
    ]


def sample_images(annotation_file: Path, count: int) -> list[str]:
    """Return `count` file names, spread evenly over the images that show a counted object."""
    return [image["file_name"] for image in _sample(read_truth(annotation_file), count)]


def sample_frames(
    dataset: Path, annotation_file: Path, count: int
) -> tuple[list[np.ndarray], list[list[Box]]]:
    """Return the pictures of `sample_images`, and the boxes of each.

    Args:
        dataset: folder with images/, as lesson 03 writes it.
        annotation_file: COCO json of some of its images.
        count: how many, spread evenly over them.

    Returns:
        (pictures, truth): RGB, uint8, [height, width, 3], and their `annotations.Box`es.
    """
    truth = read_truth(annotation_file)
    sample = _sample(truth, count)
    pictures = [read_image(Path(dataset) / "images" / image["file_name"]) for image in sample]
    return pictures, [boxes_of(truth, image["id"]) for image in sample]


def _sample(truth: dict, count: int) -> list[dict]:
    counted = {a["image_id"] for a in truth["annotations"] if not a.get("iscrowd")}
    images = [image for image in truth["images"] if image["id"] in counted]
    return evenly(images or truth["images"], count)


def longest_clip(annotation_file: Path) -> list[str]:
    """Return the file names, in order, of the clip with the most images in a COCO json."""
    clips: dict[str, list[str]] = {}
    for image in read_truth(annotation_file)["images"]:
        clips.setdefault(image.get("clip", ""), []).append(image["file_name"])
    return max(clips.values(), key=len)
