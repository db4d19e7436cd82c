"""The dataset folder of lesson 03: read, audited, repaired, split and written."""

import hashlib
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.folders import SPLITS, merged, pair, read_folder
from helpers.annotations.label_map import write_label_map
from helpers.annotations.voc import write_voc
from helpers.common.artifacts import artifact
from helpers.common.errors import CourseError
from helpers.common.files import link, read_csv, write_csv
from helpers.dataset.audit import find_faults, imbalance, leak_findings
from helpers.dataset.labels import check_labels, labels_in
from helpers.dataset.near_copies import Picture, read_pictures
from helpers.dataset.orientation import drawn_upright, write_without_tag
from helpers.dataset.repair import AuditLog, repair
from helpers.dataset.split import read_author_split, split_by_clip, split_by_frame


def write_dataset(
    frames_folder: Path,
    folder: Path,
    *,
    labels: Sequence[str] | None = None,
    split: str = "clip",
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
        frames_folder: a `02_frames`: images/, annotations/ and frames.csv.
        folder: what to make.
        labels: the classes to learn, in the order of their ids; None takes all that occur.
        split: "clip", "frame" or "author" (images that the author left out stay out).
        val_ratio: share of the images to hold out, for "clip" and "frame".
        seed: draws the split.
        held_out: names the clips for validation, instead of drawing them.
        drawn: a folder of XML files that take the place of those of the same frame.
        rebuild: make it again, even if it is current.

    Returns:
        `folder`, which is kept when nothing has changed.
    """
    # XML files are drawn and corrected by hand, which the manifest of the frames cannot know.
    drawn = Path(drawn) if drawn is not None and Path(drawn).is_dir() else None
    contents = hashlib.sha256()
    for place in (Path(frames_folder) / "annotations", drawn):
        for path in sorted(Path(place).glob("*.xml")) if place else ():
            contents.update(path.name.encode() + b"\0" + path.read_bytes())
    return _write_dataset(
        Path(frames_folder),
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


@artifact("write_dataset")
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
    author = read_author_split(frames_folder / "author_split.csv") if split == "author" else None
    clips, paired, orphans = _read(frames_folder, drawn, author)

    images = frames_folder / "images"
    pictures = read_pictures(images, clips)
    found = find_faults(images, [*paired.values(), *orphans], only=clips, pictures=pictures)
    # How the classes to be learnt compare is said below.
    log = AuditLog(finding for finding in found if finding.kind != "class imbalance")
    labels = _checked(labels, paired, frames_folder)
    kept = repair(paired, pictures, labels, log)

    clips = {image: clips[image] for image in kept}
    per_image = {i: Counter(box.label for box in a.boxes) for i, a in kept.items()}
    if author is not None:
        chosen = {image: author[image] for image in clips}
    elif split == "frame":
        chosen = split_by_frame(clips, val_ratio, seed)
    elif held_out:
        chosen = _hold_out(clips, held_out)
    else:
        chosen = split_by_clip(clips, val_ratio, seed, per_image)
    across = leak_findings(images, pictures, chosen)
    log.extend([*across, *imbalance(sum(per_image.values(), Counter()))])

    _write_images(kept, pictures, images, folder)
    write_label_map(labels, folder / "label_map.pbtxt")
    rows = ({"image": i, "clip": clip, "split": chosen[i]} for i, clip in clips.items())
    write_csv(folder / "split.csv", ("image", "clip", "split"), rows)
    write_csv(folder / "audit.csv", log.COLUMNS, log.rows)
    counts = {side: _counts(side, chosen, clips, per_image, labels) for side in SPLITS}
    return {"findings": len(log.rows), "near_copies_across": len(across), **counts}


def _check_options(split: str, held_out: Sequence[str]) -> None:
    if split not in ("clip", "frame", "author"):
        raise CourseError(f'split: {split!r}; choose "clip", "frame" or "author"')
    if held_out and split != "clip":
        raise CourseError(f'split: held_out needs split="clip", not {split!r}')


def _read(
    frames_folder: Path, drawn: Path | None, listed: Container[str] | None
) -> tuple[dict[str, str], dict[str, Annotation], list[Annotation]]:
    """Image -> clip, image -> annotation, both of `listed` images only; annotations of no image."""
    rows = read_csv(frames_folder / "frames.csv", ("image", "clip"))
    clips = {row["image"]: row["clip"] for row in rows}
    annotations = merged(read_folder(frames_folder / "annotations"), drawn)
    paired = pair(list(clips), annotations)
    matched = set(map(id, paired.values()))
    orphans = [annotation for annotation in annotations if id(annotation) not in matched]
    if listed is not None:
        clips = {image: clip for image, clip in clips.items() if image in listed}
        paired = {image: annotation for image, annotation in paired.items() if image in listed}
    return clips, paired, orphans


def _checked(
    labels: Sequence[str] | None, paired: Mapping[str, Annotation], frames_folder: Path
) -> Sequence[str]:
    """The labels to learn: those given if they all occur, or all that occur."""
    there = labels_in(paired.values())
    if not there:
        raise CourseError(f"{frames_folder}: no box in any annotation; annotate some images first")
    if labels is None:
        return there
    check_labels(labels, (box.label for a in paired.values() for box in a.boxes))
    return labels


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
    """Images, clips and boxes of a side, for the manifest; CourseError when it has no box."""
    inside = [image for image in clips if chosen[image] == side]
    boxes = sum((per_image[image] for image in inside), Counter())
    if not boxes:
        raise CourseError(f"split: no box in {side}; change seed, val_ratio or held_out")
    return {
        "images": len(inside),
        "clips": len({clips[image] for image in inside}),
        "boxes": {label: boxes[label] for label in labels},
    }
