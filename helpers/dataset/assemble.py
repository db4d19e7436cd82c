"""The dataset folder of lesson 03: read, audited, repaired, split and written."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.folders import SPLITS, images_in
from helpers.annotations.label_map import write_label_map
from helpers.annotations.voc import write_voc
from helpers.common.artifacts import artifact
from helpers.common.errors import CourseError
from helpers.common.files import link, read_csv, write_csv
from helpers.dataset.audit import find_faults
from helpers.dataset.author import in_words, left_out, read_author_split, usual_split
from helpers.dataset.findings import finding
from helpers.dataset.labels import check_labels, labels_in, tidy
from helpers.dataset.near_copies import Picture
from helpers.dataset.orientation import drawn_upright, write_without_tag
from helpers.dataset.reading import read_annotated
from helpers.dataset.repair import AuditLog, repair
from helpers.dataset.sizes import fit
from helpers.dataset.split import split_by_clip, split_by_frame
from helpers.dataset.whole_set import imbalance, leak_findings, one_sided


def write_dataset(
    frames_folder: Path,
    folder: Path,
    *,
    labels: Sequence[str] | None = None,
    split: str | None = None,
    val_ratio: float = 0.2,
    seed: int = 0,
    held_out: tuple[str, ...] = (),
    drawn: Path | None = None,
    rebuild: bool = False,
) -> Path:
    """Make the dataset folder from frames and annotations: images, XML, split, label map.

    What cannot be trained on is mended or left out, never silently: each such box or image
    is a row of `audit.csv`, whose column `action` says what was done. An image without an
    XML file is left out, one whose XML holds no object stays as background.

    Args:
        frames_folder: a `02_frames`: images/, annotations/, frames.csv; split.csv, if the
            pictures came with a split, and remarks.csv on what lessons 01 and 02 could not read.
        folder: what to make.
        labels: the classes to learn, in the order of their ids; None takes all that occur.
        split: "clip", "frame" or "author" (images that the author left out stay out). None
            keeps the author's if there is one and no clips are held out, else splits by clip.
        val_ratio: share of the images to hold out, for "clip" and "frame".
        seed: draws the split.
        held_out: names the clips for validation, instead of drawing them.
        drawn: a folder of XML files that take the place of those of the same frame.
        rebuild: make it again, even if it is current.

    Returns:
        `folder`, which is kept when nothing has changed.

    Raises:
        CourseError: a parameter cannot be used, there is nothing to learn from, a side is without
            boxes, or most boxes were drawn on pictures of another shape.
    """
    frames_folder = Path(frames_folder)
    if split is None:
        split = "clip" if held_out else usual_split(frames_folder)
    if split == "author":
        rows = read_csv(frames_folder / "frames.csv", ("image", "clip"))
        print(in_words(read_author_split(frames_folder), [row["image"] for row in rows]))
    # XML files are drawn and corrected by hand, which the manifest of the frames cannot know.
    drawn = Path(drawn) if drawn is not None and Path(drawn).is_dir() else None
    contents = hashlib.sha256()
    for place in (frames_folder / "annotations", drawn):
        for path in sorted(filter(Path.is_file, place.glob("*.xml"))) if place else ():
            contents.update(os.fsencode(path.name) + b"\0" + path.read_bytes())
    return _write_dataset(
        frames_folder,
        folder,
        labels=labels,
        split=split,
        val_ratio=val_ratio,
        seed=seed,
        held_out=held_out,
        drawn=drawn,
        annotations=contents.hexdigest()[:16],
        rebuild=rebuild,
    )


@artifact("write_dataset 2")
def _write_dataset(
    frames_folder: Path,
    folder: Path,
    *,
    labels: Sequence[str] | None,
    split: str,
    val_ratio: float,
    seed: int,
    held_out: tuple[str, ...],
    drawn: Path | None,
    annotations: str,
) -> dict:
    _check_options(split, held_out)
    images = frames_folder / "images"
    frames = read_annotated(frames_folder, drawn)
    clips, pictures, of_image = frames.clips, frames.pictures, frames.of_image
    strays = _strays(clips, pictures, images)
    author = read_author_split(frames_folder) if split == "author" else None
    if author is not None:
        strays += left_out(author, clips, frames_folder)
        clips = {image: clip for image, clip in clips.items() if image in author}
    paired = {i: a for i, a in of_image.items() if i in clips and i in pictures}
    matched = set(map(id, of_image.values()))
    orphans = [annotation for annotation in frames.annotations if id(annotation) not in matched]

    found = find_faults(images, [*paired.values(), *orphans], only=clips, pictures=pictures)
    log = AuditLog()
    log.add_remarks([*frames.noted, *strays])
    # How the classes to be learnt compare is said below.
    log.extend(finding for finding in found if finding.kind != "class imbalance")
    labels = _checked(labels, paired)
    kept = repair(paired, pictures, labels, log)
    _check_kept(kept, paired, pictures, log)

    clips = {image: clips[image] for image in clips if image in kept}
    if author is None:
        chosen = _choose(clips, kept, split, val_ratio, seed, held_out)
    else:
        chosen = {image: author[image] for image in clips}
    _check_sides(chosen, kept, split)
    per_image = {i: Counter(box.label for box in a.boxes) for i, a in kept.items()}
    across = leak_findings(images, pictures, chosen)
    log.extend([*across, *one_sided(per_image, chosen)])
    log.extend(imbalance(sum(per_image.values(), Counter())))

    _write_images(kept, pictures, images, folder)
    write_label_map(labels, folder / "label_map.pbtxt")
    rows = ({"image": i, "clip": clip, "split": chosen[i]} for i, clip in clips.items())
    write_csv(folder / "split.csv", ("image", "clip", "split"), rows)
    write_csv(folder / "audit.csv", log.COLUMNS, log.rows)
    counts = {
        side: _counts(side, chosen, clips, per_image, labels)
        for side in SPLITS
        if side in chosen.values()
    }
    return {"findings": len(log.rows), "near_copies_across": len(across), **counts}


def _check_options(split: str, held_out: Sequence[str]) -> None:
    if split not in ("clip", "frame", "author"):
        raise CourseError(f'split: {split!r}; choose "clip", "frame" or "author"')
    if isinstance(held_out, str):
        raise CourseError(f"held_out: {held_out!r}; give a list of clips")
    if held_out and split != "clip":
        raise CourseError(f'split: held_out needs split="clip", not {split!r}')


def _strays(clips: Mapping[str, str], pictures: Mapping[str, Picture], images: Path) -> list:
    """Findings for images that frames.csv lists and that are gone, and for those it lacks."""
    gone = [image for image in clips if image not in pictures]
    found = [
        finding(image, 0, "no image", "listed in frames.csv, gone from images/") for image in gone
    ]
    for path in images_in(images):
        if path.name not in clips:
            fix = "run lesson 02 again with it in the folder that lesson 01 reads"
            found.append(finding(path.name, 0, "not used", "not listed in frames.csv", fix))
    return found


def _checked(labels: Sequence[str] | None, paired: Mapping[str, Annotation]) -> list[str]:
    """The labels to learn: those given if they all occur, or all that occur."""
    if labels is None:
        return labels_in(paired.values())
    check_labels(labels, (box.label for a in paired.values() for box in a.boxes))
    return [tidy(label) for label in labels]


def _check_kept(
    kept: Mapping[str, Annotation],
    paired: Mapping[str, Annotation],
    pictures: Mapping[str, Picture],
    log: AuditLog,
) -> None:
    """Raise CourseError when most boxes fit no picture, or nothing is left to learn."""
    with_boxes = {image: a for image, a in paired.items() if a.boxes}
    strange = [
        (image, a, size)
        for image, a in with_boxes.items()
        if (size := pictures[image].size) and fit(size, a).scale is None
    ]
    if 2 * len(strange) > len(with_boxes):
        image, stated, size = strange[0]
        raise CourseError(
            f"{stated.source or image}: says {stated.width}x{stated.height}, {image} is "
            f"{size.width}x{size.height}, and so on in {len(strange)} of {len(with_boxes)} "
            "annotations: nothing tells where their boxes belong in pictures of another shape; "
            "give lesson 01 the pictures that were annotated, or annotate these"
        )
    boxes = [box for annotation in kept.values() for box in annotation.boxes]
    if not boxes:
        count = sum(len(a.boxes) for a in paired.values())
        why = Counter(row["kind"] for row in log.rows if "left out" in row["action"])
        most = f", most for: {why.most_common(1)[0][0]}" if why else ""
        raise CourseError(
            f"none of {count} boxes can be learnt{most}; the audit of lesson 03 says what is wrong "
            "with each, and its widget draws them again"
        )
    if all(box.difficult for box in boxes):
        raise CourseError(
            f"all {len(boxes)} boxes are difficult: nothing to learn; take <difficult>1 "
            "(in COCO: iscrowd) out of the annotations of objects that a detector shall find"
        )


def _choose(
    clips: Mapping[str, str],
    kept: Mapping[str, Annotation],
    split: str,
    val_ratio: float,
    seed: int,
    held_out: Sequence[str],
) -> dict[str, str]:
    """Image -> side, drawn by frame or by clip, or by the clips held out."""
    if split == "frame":
        return split_by_frame(clips, val_ratio, seed)
    if held_out:
        return _hold_out(clips, held_out)
    per_image = {i: Counter(box.label for box in a.boxes) for i, a in kept.items()}
    chosen = split_by_clip(clips, val_ratio, seed, per_image)
    counted = _counted(kept)
    if {chosen[image] for image, labels in counted.items() if labels} == {"train", "val"}:
        return chosen
    # Clips with difficult objects only cannot make up a side.
    return split_by_clip(clips, val_ratio, seed, counted)


def _counted(kept: Mapping[str, Annotation]) -> dict[str, Counter[str]]:
    """Image -> label -> number of boxes that are learnt and scored: those not difficult."""
    return {i: Counter(b.label for b in a.boxes if not b.difficult) for i, a in kept.items()}


def _check_sides(chosen: Mapping[str, str], kept: Mapping[str, Annotation], split: str) -> None:
    """Raise CourseError for a side without a box that is learnt or scored."""
    advice = {
        "author": 'use split = "clip", or annotate images of it',
        "frame": "use another seed, or a larger val_ratio",
        "clip": "name a clip with boxes in held_out",
    }
    with_boxes = {chosen[image] for image, labels in _counted(kept).items() if labels}
    for side in ("train", "val", *({"test"} & set(chosen.values()))):
        if side not in with_boxes:
            images = sum(there == side for there in chosen.values())
            raise CourseError(
                f"split: no box in {side} that is not difficult ({images} images); {advice[split]}"
            )


def _hold_out(clips: Mapping[str, str], held_out: Sequence[str]) -> dict[str, str]:
    there = sorted(set(clips.values()))
    if unknown := sorted(set(held_out) - set(there)):
        raise CourseError(f"held_out: no clip {unknown[0]!r}; there are {', '.join(there)}")
    return {image: "val" if clip in held_out else "train" for image, clip in clips.items()}


def _write_images(
    kept: Mapping[str, Annotation], pictures: Mapping[str, Picture], images: Path, folder: Path
) -> None:
    """Images and their XML; images without an EXIF orientation are linked, not copied."""
    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    for image, annotation in kept.items():
        source, target, size = images / image, folder / "images" / image, pictures[image].size
        assert size is not None  # what is no image was left out
        if size.orientation == 1:
            link(source, target)
        else:
            write_without_tag(source, target, upright=drawn_upright(size, annotation))
        write_voc(annotation, folder / "annotations" / f"{Path(image).stem}.xml")


def _counts(
    side: str,
    chosen: Mapping[str, str],
    clips: Mapping[str, str],
    per_image: Mapping[str, Counter],
    labels: Sequence[str],
) -> dict:
    """Images, clips and boxes of a side, for the manifest."""
    inside = [image for image in clips if chosen[image] == side]
    boxes = sum((per_image[image] for image in inside), Counter())
    return {
        "images": len(inside),
        "clips": len({clips[image] for image in inside}),
        "boxes": {label: boxes[label] for label in labels},
    }
