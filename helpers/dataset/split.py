"""Training and validation: who goes where, and the dataset folder that comes of it.

Frames of one clip are near-copies. A split that puts some of them on either side asks the
detector about pictures that it has all but seen; so the default is to split by clip.
"""

import dataclasses
import difflib
import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box, clipped, fault, swapped
from helpers.annotations.folders import SPLITS, merged, pair, read_folder
from helpers.annotations.label_map import write_label_map
from helpers.annotations.voc import write_voc
from helpers.common.artifacts import artifact
from helpers.common.errors import CourseError
from helpers.common.files import link, read_csv, write_csv
from helpers.common.images import image_size
from helpers.dataset import audit

_KEPT = "kept as it is"


def split_by_clip(
    clips: Mapping[str, str],
    val_ratio: float,
    seed: int,
    boxes_per_image: Mapping[str, int] | None = None,
    *,
    labels_per_image: Mapping[str, Mapping[str, int]] | None = None,
) -> dict[str, str]:
    """Put whole clips into validation so that its share comes closest to `val_ratio`.

    `clips` maps image to clip. The share is of images: by boxes, a few crowded clips would
    make up the whole validation. Where `boxes_per_image` is given, clips with and without
    boxes are shared out each for themselves. Among equally good choices `seed` decides. Returns
    image -> "train" or "val". CourseError when there is only one clip.

    Where `labels_per_image` counts the boxes of each label (image -> label -> boxes), the
    validation gets its share of each label too, as near as whole clips allow: one clip after
    the other, in an order drawn by `seed`, goes where it is needed more, and then single clips
    change sides as long as that helps. It takes the place of `boxes_per_image`.
    Source: Sechidis et al., On the Stratification of Multi-Label Data, ECML PKDD 2011 (the idea).
    """
    _check_ratio(val_ratio)
    if labels_per_image is not None:
        boxes_per_image = {image: sum(n.values()) for image, n in labels_per_image.items()}
    images_of, boxes_of = Counter(clips.values()), Counter()
    for image, clip in clips.items():
        boxes_of[clip] += 1 if boxes_per_image is None else boxes_per_image.get(image, 0)
    with_boxes = sorted(clip for clip in images_of if boxes_of[clip])
    if len(with_boxes) < 2:
        raise CourseError(
            f"split: {len(with_boxes)} clip with boxes; a split by clip needs two: "
            'record another clip, or use split="frame" and trust its scores less'
        )
    shuffled = random.Random(seed)
    if labels_per_image is not None:
        held_out = _stratified(clips, labels_per_image, with_boxes, val_ratio, shuffled)
        return {image: "val" if clip in held_out else "train" for image, clip in clips.items()}
    held_out = _closest(with_boxes, images_of, val_ratio, shuffled, need_one=True)
    empty = sorted(set(images_of) - set(with_boxes))
    held_out |= _closest(empty, images_of, val_ratio, shuffled, need_one=False)
    return {image: "val" if clip in held_out else "train" for image, clip in clips.items()}


def split_by_frame(images: Iterable[str], val_ratio: float, seed: int) -> dict[str, str]:
    """Split single images at random: right for photos, too kind to frames of one video."""
    _check_ratio(val_ratio)
    order = sorted(images)
    if len(order) < 2:
        raise CourseError(f"split: {len(order)} image; a split needs two: add images")
    shuffled = random.Random(seed).sample(order, len(order))
    held_out = set(shuffled[: min(max(round(len(order) * val_ratio), 1), len(order) - 1)])
    return {image: "val" if image in held_out else "train" for image in order}


def read_author_split(path: Path | str) -> dict[str, str]:
    """Read the split that a dataset's author published: a CSV file with image and split."""
    path = Path(path)
    if not path.is_file():
        raise CourseError(f'{path}: missing; this data has no author\'s split: use split="clip"')
    chosen = {}
    for number, row in enumerate(read_csv(path, ("image", "split")), 2):
        if row["split"] not in SPLITS:
            raise CourseError(f"{path}: line {number}: split {row['split']!r}; say train or val")
        chosen[row["image"]] = row["split"]
    return chosen


def leak_check(folder: Path | str, chosen: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """Look for near-copies of which one trains and one tests, and say in one line what is found.

    `folder` holds images/, and frames.csv with the perceptual hashes if it can; without, the
    images are decoded. `chosen` maps image to "train" or "val". Returns for each such image of
    val: its name, the nearest image of train, and by how many of 64 bits they differ.
    """
    images = Path(folder) / "images"
    found = audit.leaks(images, audit.look(images, chosen), chosen)
    val = sum(side == "val" for side in chosen.values())
    if not found:
        print(f"Leak check: none of {val} validation images has a near-copy in the training.")
    else:
        image, other, bits = min(found, key=lambda pair: pair[2])
        print(
            f"Leak check: {len(found)} of {val} validation images ({len(found) / val:.0%}) have a "
            f"near-copy in the training, such as {image} and {other} ({bits} of 64 bits differ)."
        )
    return found


def check_labels(labels: Sequence[str], found: Iterable[str]) -> None:
    """Raise CourseError unless `labels` is a list of different labels that all occur in `found`.

    Case and blanks around a label are not looked at, as in `write_dataset`.
    """
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise CourseError(f'labels: {labels!r}; give a list, such as ["speed_camera"]')
    simple = {label.strip().casefold(): label.strip() for label in found}
    seen = set()
    for label in labels:
        key = label.strip().casefold()
        if key in seen:
            raise CourseError(f"labels: {label!r} is given twice; delete one")
        seen.add(key)
        if key not in simple:
            near = difflib.get_close_matches(key, simple, n=1, cutoff=0.5)
            hint = f" (nearest: {simple[near[0]]})" if near else ""
            there = ", ".join(sorted(simple.values()))
            raise CourseError(f"labels: {label!r} is in no annotation; there are {there}{hint}")


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

    `labels` are the classes to learn, in the order of their ids; None takes all that occur.
    `split` is "clip", "frame" or "author" (images that the author left out stay out);
    `held_out` names the clips for validation, instead of drawing them. XML files in the folder
    `drawn`, if there is one, take the place of those of the same frame.

    What cannot be trained on is mended or left out, never silently: each such box or image
    is a row of `audit.csv`, whose column `action` says what was done. An image without an
    XML file is left out, one whose XML holds no object stays as background.
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
    if split not in ("clip", "frame", "author"):
        raise CourseError(f'split: {split!r}; choose "clip", "frame" or "author"')
    if held_out and split != "clip":
        raise CourseError(f'split: held_out needs split="clip", not {split!r}')
    rows = read_csv(frames_folder / "frames.csv", ("image", "clip"))
    clips = {row["image"]: row["clip"] for row in rows}
    found = merged(read_folder(frames_folder / "annotations"), drawn)
    paired = pair(list(clips), found)
    matched = {id(annotation) for annotation in paired.values()}
    orphans = [annotation for annotation in found if id(annotation) not in matched]
    if split == "author":
        listed = read_author_split(frames_folder / "author_split.csv")
        clips = {image: clip for image, clip in clips.items() if image in listed}
        paired = {image: a for image, a in paired.items() if image in clips}
    images = frames_folder / "images"
    pictures = audit.look(images, clips)
    findings = audit.find_faults(
        images, [*paired.values(), *orphans], only=clips, pictures=pictures
    )
    # How classes compare is said below, of those to be learnt.
    findings = [item for item in findings if item.kind != "class imbalance"]
    log = [{**dataclasses.asdict(item), "action": ""} for item in findings]
    if labels is None:
        spelt = Counter(box.label.strip() for a in paired.values() for box in a.boxes)
        # Spellings that differ in case are one class, under the most frequent of them.
        labels = sorted({s.casefold(): s for s, _ in reversed(spelt.most_common())}.values())
    if not labels:
        raise CourseError(f"{frames_folder}: no box in any annotation; annotate some images first")
    check_labels(labels, (box.label for a in paired.values() for box in a.boxes))
    kept = _mend(paired, images, labels, log)

    boxes = {image: len(annotation.boxes) for image, annotation in kept.items()}
    clips = {image: clip for image, clip in clips.items() if image in kept}
    if split == "author":
        chosen = {image: listed[image] for image in clips}
    elif split == "frame":
        chosen = split_by_frame(clips, val_ratio, seed)
    elif held_out:
        if unknown := sorted(set(held_out) - set(clips.values())):
            there = ", ".join(sorted(set(clips.values())))
            raise CourseError(f"held_out: no clip {unknown[0]!r}; there are {there}")
        chosen = {image: "val" if c in held_out else "train" for image, c in clips.items()}
    elif len(labels) > 1:
        per_image = {i: Counter(box.label for box in a.boxes) for i, a in kept.items()}
        chosen = split_by_clip(clips, val_ratio, seed, labels_per_image=per_image)
    else:
        chosen = split_by_clip(clips, val_ratio, seed, boxes)
    across = audit.neighbours(images, pictures, chosen)
    learnt = Counter(box.label for annotation in kept.values() for box in annotation.boxes)
    for item in (*across, *audit.imbalance(learnt)):
        log.append({**dataclasses.asdict(item), "action": _KEPT})

    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    for image, annotation in kept.items():
        _take_image(images / image, folder / "images" / image, annotation)
        write_voc(annotation, folder / "annotations" / f"{Path(image).stem}.xml")
    write_label_map(labels, folder / "label_map.pbtxt")
    write_csv(
        folder / "split.csv",
        ("image", "clip", "split"),
        ({"image": i, "clip": clips[i], "split": chosen[i]} for i in clips),
    )
    write_csv(folder / "audit.csv", (*audit.COLUMNS, "action"), log)
    counts: dict = {"findings": len(log), "near_copies_across": len(across)}
    for name in SPLITS:
        inside = [image for image in clips if chosen[image] == name]
        per_class = Counter(box.label for image in inside for box in kept[image].boxes)
        counts[name] = {
            "images": len(inside),
            "clips": len({clips[image] for image in inside}),
            "boxes": {label: per_class[label] for label in labels},
        }
        if not sum(per_class.values()):
            raise CourseError(f"split: no box in {name}; change seed, val_ratio or held_out")
    return counts


def _check_ratio(val_ratio: float) -> None:
    if not 0 < val_ratio < 1:
        raise CourseError(f"val_ratio: {val_ratio}; it must lie between 0 and 1, such as 0.2")


def _closest(
    clips: list[str],
    weights: Mapping[str, int],
    ratio: float,
    generator: random.Random,
    *,
    need_one: bool,
) -> set[str]:
    """The set of clips whose summed weight comes closest to `ratio` of all (subset sum)."""
    order = generator.sample(clips, len(clips))
    total = sum(weights[clip] for clip in clips)
    target = ratio * total
    # sum -> the clip that first reached it; its predecessor was reached by earlier clips only.
    reached: dict[int, str] = {0: ""}
    for clip in order:
        for part in sorted(reached):
            # More than twice the target is farther off than nothing; one clip may have to be.
            if (new := part + weights[clip]) <= 2 * target + 1 or part == 0:
                reached.setdefault(new, clip)
        if 0 < round(target) in reached:
            break
    sums = [s for s in reached if not need_one or 0 < s < total]
    best = min(sums, key=lambda s: (abs(s - target), s))
    chosen = set()
    while best:
        clip = reached[best]
        chosen.add(clip)
        best -= weights[clip]
    return chosen


def _stratified(
    clips: Mapping[str, str],
    labels_per_image: Mapping[str, Mapping[str, int]],
    with_boxes: Sequence[str],
    ratio: float,
    generator: random.Random,
) -> set[str]:
    """Whole clips whose shares of images, of empty images and of each label are near `ratio`."""
    import numpy as np

    labels = sorted({label for n in labels_per_image.values() for label in n if n[label]})
    order = sorted(set(clips.values()))
    generator.shuffle(order)
    row = {clip: i for i, clip in enumerate(order)}
    amounts = np.zeros((len(order), 2 + len(labels)))
    for image, clip in clips.items():
        inside = labels_per_image.get(image, {})
        amounts[row[clip]] += [1, not any(inside.values()), *(inside.get(x, 0) for x in labels)]
    shares = amounts / np.maximum(amounts.sum(axis=0), 1)
    # What does not occur at all, such as empty images, is not missed either.
    target = np.where(amounts.any(axis=0), ratio, 0.0)
    boxed = np.isin(order, with_boxes)
    chosen = np.zeros(len(order), bool)

    def misfit(held) -> np.ndarray:
        return ((held - target) ** 2).sum(axis=-1)

    held = np.zeros(shares.shape[1])
    for i, share in enumerate(shares):
        if misfit(held + share) < misfit(held):
            chosen[i], held = True, held + share
    while True:
        moved = held + np.where(chosen[:, None], -shares, shares)
        costs = misfit(moved)
        # Each side needs a clip with boxes, and may not lose its last one.
        for side in (chosen & boxed, ~chosen & boxed):
            costs[side] = np.inf if side.sum() == 1 else costs[side]
        lacking = not (chosen & boxed).any() or not (~chosen & boxed).any()
        best = int(np.where(boxed, costs, np.inf).argmin() if lacking else costs.argmin())
        if not lacking and costs[best] >= misfit(held) - 1e-12:
            return {clip for clip, side in zip(order, chosen, strict=True) if side}
        chosen[best], held = not chosen[best], moved[best]


def _mend(
    paired: Mapping[str, Annotation], images: Path, labels: Sequence[str], log: list[dict]
) -> dict[str, Annotation]:
    """Annotations with boxes that can be trained on; what is done to each is logged."""
    known = {label.strip().casefold(): label for label in labels}
    rows = defaultdict(list)
    for row in log:
        rows[row["file"]].append(row)
    strange: Counter[str] = Counter()
    renamed: Counter[tuple[str, str]] = Counter()
    kept = {}
    for image, annotation in paired.items():
        own = rows[image] + (rows[annotation.source] if annotation.source else [])
        size = image_size(images / image)
        if size is None:
            _act(own, "unreadable image", "image left out")
            continue
        width, height = size.as_annotated(annotation)
        _act(own, "wrong size", f"size set to {width}x{height}, boxes as they are")
        _act(own, "rotated by EXIF", audit.turning(size, annotation))
        boxes: list[Box] = []
        broken = False
        for number, box in enumerate(annotation.boxes, 1):
            label = known.get(box.label.strip().casefold())
            if label is None:
                strange[box.label] += 1
                for row in own:
                    if row["object"] == number:
                        row["action"] = "left out with its label"
                continue
            if label != box.label:
                renamed[box.label, label] += 1
                _act(own, "label", f"read as {label!r}", number)
                box = dataclasses.replace(box, label=label)
            wrong = fault(box, width, height)
            if wrong and wrong[0] in ("inverted", "outside"):
                box = clipped(swapped(box), width, height)
                lost = fault(box, width, height) is not None
                action = "edges swapped" if wrong[0] == "inverted" else "clipped to the image"
                _act(own, wrong[0], "left out: nothing of it is inside" if lost else action, number)
                if lost:
                    continue
            elif wrong:
                _act(own, wrong[0], "left out", number)
                broken = True
                continue
            if audit.twin(box, boxes):
                _act(own, "same box twice", "left out", number)
                continue
            boxes.append(box)
        if broken and not boxes:
            # Something is there, nobody knows where: as background it would teach the opposite.
            for row in own:
                if row["action"] == "left out":
                    row["action"] = "image left out: its only box is none"
            continue
        kept[image] = Annotation(image, width, height, tuple(boxes), f"{Path(image).stem}.xml")
    _act(log, "no annotation", "image left out")
    _act(log, "no image", "annotation left out")
    summary = [(label, f"{count} boxes left out") for label, count in sorted(strange.items())]
    for (label, meant), count in sorted(renamed.items()):
        summary.append((label, f"{count} boxes read as {meant!r}"))
    for label, action in summary:
        finding = audit.unknown_label("all files", 0, label, labels)
        log.append({**dataclasses.asdict(finding), "action": action})
    for row in log:
        row["action"] = row["action"] or _KEPT
    return kept


def _act(rows: Iterable[dict], kind: str, action: str, number: int | None = None) -> None:
    for row in rows:
        if row["kind"] == kind and number in (None, row["object"]):
            row["action"] = action


def _take_image(source: Path, target: Path, annotation: Annotation) -> None:
    if image_size(source).orientation == 1:
        link(source, target)
    else:
        audit.write_upright(source, target, annotation)
