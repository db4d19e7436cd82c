"""The frames of lesson 02 and their annotations, read for the audit and for the dataset."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.pairing import merged, pair, read_folder
from helpers.annotations.remarks import Remark
from helpers.common.artifacts import MANIFEST, read_manifest
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.dataset.findings import Finding, read_remarks, remarked
from helpers.dataset.near_copies import Picture, read_pictures
from helpers.dataset.sizes import fitted


@dataclass(frozen=True)
class Annotated:
    """What lies in a `02_frames`.

    Attributes:
        clips: image -> clip, in the order of frames.csv.
        pictures: image -> what was read of its file.
        annotations: all that was read, as the files say, also those of no image.
        of_image: image -> its annotation, as the file says.
        noted: findings about what could not be read, here and in lessons 01 and 02.
        rule: how lesson 02 knew the clips, as a part of a sentence; "" where it did not say.
        unknown: of how many images it did not know what they belong to.
    """

    clips: dict[str, str]
    pictures: dict[str, Picture]
    annotations: list[Annotation]
    of_image: dict[str, Annotation]
    noted: list[Finding] = field(default_factory=list)
    rule: str = ""
    unknown: int = 0

    def as_pictured(self) -> dict[str, Annotation]:
        """Return image -> annotation as the image is: with its true size, boxes scaled to it.

        Images that cannot be decoded are left out; boxes that no scale makes fit stay as they are.
        """
        return {
            image: fitted(annotation, picture.size)
            for image, annotation in self.of_image.items()
            if (picture := self.pictures.get(image)) and picture.size and not picture.problem
        }


def read_annotated(frames_folder: Path | str, drawn: Path | str | None = None) -> Annotated:
    """Read the images and annotations of a `02_frames`; those in `drawn` take the others' place.

    Raises:
        CourseError: no annotation has a box, or none with a box belongs to an image that can be
            decoded.
    """
    folder = Path(frames_folder)
    rows = read_csv(folder / "frames.csv", ("image", "clip"))
    clips = {row["image"]: row["clip"] for row in rows}
    remarks: list[Remark] = []
    annotations = read_folder(folder / "annotations", remarks.append)
    annotations = merged(annotations, drawn, remarks.append)
    noted = read_remarks(folder)
    # An XML file that came along as it was is read for the second time.
    known = {(Path(f.file).stem, f.kind, f.value) for f in noted}
    new = map(remarked, remarks)
    noted += [f for f in new if (Path(f.file).stem, f.kind, f.value) not in known]

    with_boxes = [annotation for annotation in annotations if annotation.boxes]
    if not with_boxes:
        raise CourseError(
            f"{folder / 'annotations'}: no box in any annotation; annotate some images first: open "
            "lesson 03 (make lab), give workspace, dataset and your classes, such as labels = "
            '["crane"], in its parameters cell, run it up to here, then the cell under "Draw and '
            'mend"; draw, and run it again from the top'
        )
    of_image = pair(list(clips), annotations)
    pictures = read_pictures(folder / "images", clips)
    counts = read_manifest(folder)["counts"] if (folder / MANIFEST).is_file() else {}
    rule, unknown = counts.get("clip_rule", ""), counts.get("clips_unknown", 0)
    found = Annotated(clips, pictures, annotations, of_image, noted, rule, unknown)
    if not any(annotation.boxes for annotation in of_image.values()):
        raise CourseError(_strangers(with_boxes, list(clips), folder))
    if not any(annotation.boxes for annotation in found.as_pictured().values()):
        image = next(image for image, annotation in of_image.items() if annotation.boxes)
        why = pictures[image].problem if image in pictures else "it is gone"
        raise CourseError(
            f"{folder / 'images' / image}: {why}; so are all images with boxes: give lesson 01 "
            "images that can be opened"
        )
    return found


def _strangers(annotations: Sequence[Annotation], images: Sequence[str], folder: Path) -> str:
    """Why no annotation belongs to an image."""
    first = annotations[0]
    place = folder / "annotations" / first.source if first.source else folder
    return (
        f"{place}: none of {len(annotations)} annotations with boxes belongs to an image: this one "
        f"expects {first.image}, the first of {len(images)} images is {min(images, default='')}; "
        "name the images as they were named when they were annotated, and run lesson 01 again"
    )
