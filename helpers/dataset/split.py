"""Training and validation drawn by clip or by frame, and whether they are apart.

Frames of one clip are near-copies. A split that puts some of them on either side asks the
detector about pictures that it has all but seen; so the default is to split by clip.

Not scikit-learn's StratifiedGroupKFold: it makes folds of about equal size, so that with six clips
of unequal length a fold misses a share of 0.2 by 0.12 on average, the exact sum below by 0.01; and
it knows one class per image, so that of three labels the worst misses its share by 0.03, here by
0.002.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from helpers.common.errors import CourseError
from helpers.dataset.near_copies import leaks, read_pictures


def split_by_clip(
    clips: Mapping[str, str],
    val_ratio: float,
    seed: int,
    labels_per_image: Mapping[str, Mapping[str, int]] | None = None,
) -> dict[str, str]:
    """Put whole clips into validation so that its share of images comes closest to `val_ratio`.

    The share is of images: by boxes, a few crowded clips would make up the whole validation.
    With one label, clips with and without boxes are shared out each for themselves. With several,
    the validation gets its share of each label too, as near as whole clips allow: one clip after
    the other goes where it is needed more, and then single clips change sides as long as that
    helps. Source of the idea: Sechidis et al., On the Stratification of Multi-Label Data, ECML
    PKDD 2011.

    Args:
        clips: image -> clip.
        val_ratio: share to hold out, between 0 and 1.
        seed: decides among equally good choices.
        labels_per_image: image -> label -> number of boxes; None: a box in each image.

    Returns:
        image -> "train" or "val".

    Raises:
        CourseError: fewer than two clips have boxes.
    """
    _check_ratio(val_ratio)
    if labels_per_image is None:
        labels_per_image = {image: {"": 1} for image in clips}
    images_of = Counter(clips.values())
    with_boxes = [image for image in clips if any(labels_per_image.get(image, {}).values())]
    boxed = {clips[image] for image in with_boxes}
    if len(boxed) < 2:
        raise CourseError(_too_few(boxed, len(with_boxes)))
    generator = random.Random(seed)
    labels = {label for counts in labels_per_image.values() for label in counts if counts[label]}
    if len(labels) > 1:
        held_out = _stratified(clips, labels_per_image, sorted(labels), boxed, val_ratio, generator)
    else:
        held_out = _closest(sorted(boxed), images_of, val_ratio, generator, both_sides=True)
        empty = sorted(set(images_of) - boxed)
        held_out |= _closest(empty, images_of, val_ratio, generator, both_sides=False)
    return {image: "val" if clip in held_out else "train" for image, clip in clips.items()}


def _too_few(boxed: Iterable[str], images: int) -> str:
    """What to do without two clips with boxes, of which so many images have some."""
    if images < 2:
        return (
            f"split: images with boxes that are not difficult: {images}; a split needs two: draw "
            "boxes in more images"
        )
    return (
        f"split: all {images} images with boxes are of one clip ({min(boxed)}), and a split by "
        "clip needs two: record or annotate another clip; or, if these are single photos, set "
        'clip_pattern = "" in lesson 02; or use split = "frame": the detector is then tested on '
        "neighbours of what it has seen, and its score says little about any other place"
    )


def split_by_frame(images: Iterable[str], val_ratio: float, seed: int) -> dict[str, str]:
    """Split single images at random: right for photos, too easy for frames of one video."""
    _check_ratio(val_ratio)
    order = sorted(images)
    if len(order) < 2:
        raise CourseError(f"split: {len(order)} image; a split needs two: add images")
    shuffled = random.Random(seed).sample(order, len(order))
    held_out = set(shuffled[: min(max(round(len(order) * val_ratio), 1), len(order) - 1)])
    return {image: "val" if image in held_out else "train" for image in order}


def leak_check(folder: Path | str, chosen: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """Look for near-copies on two sides of a split, and print a line on what is found.

    Args:
        folder: holds images/; without a frames.csv with the perceptual hashes next to it, the
            images are decoded.
        chosen: image -> "train", "val" or "test".

    Returns:
        For each image of val that has one in train, and each of test that has one in train or
        val: its name, the nearest image there, and by how many of 64 bits they differ.
    """
    images = Path(folder) / "images"
    found = leaks(images, read_pictures(images, chosen), chosen)
    seen = {"val": ("validation", "the training"), "test": ("test", "training or validation")}
    for side, (name, others) in seen.items():
        count = sum(there == side for there in chosen.values())
        of_side = [leak for leak in found if chosen[leak[0]] == side]
        if of_side:
            image, other, bits = min(of_side, key=lambda leak: leak[2])
            print(
                f"Leak check: {len(of_side)} of {count} {name} images ({len(of_side) / count:.0%}) "
                f"have a near-copy in {others}, such as {image} and {other} "
                f"({bits} of 64 bits differ)."
            )
        elif count or side == "val":
            print(f"Leak check: none of {count} {name} images has a near-copy in {others}.")
    return found


def _check_ratio(val_ratio: float) -> None:
    if not isinstance(val_ratio, int | float) or not 0 < val_ratio < 1:
        raise CourseError(f"val_ratio: {val_ratio!r}; it must lie between 0 and 1, such as 0.2")


def _closest(
    clips: Sequence[str],
    weights: Mapping[str, int],
    ratio: float,
    generator: random.Random,
    *,
    both_sides: bool,
) -> set[str]:
    """The clips whose summed weight comes closest to `ratio` of all, exactly (subset sum)."""
    total = sum(weights[clip] for clip in clips)
    target = ratio * total
    # sum -> the clip that first reached it; its predecessor was reached by earlier clips only.
    reached: dict[int, str] = {0: ""}
    for clip in generator.sample(clips, len(clips)):
        for part in sorted(reached):
            # More than twice the target is farther off than nothing; one clip may have to be.
            if (new := part + weights[clip]) <= 2 * target + 1 or part == 0:
                reached.setdefault(new, clip)
        if 0 < round(target) in reached:
            break
    sums = [s for s in reached if 0 < s < total or not both_sides]
    best = min(sums, key=lambda s: (abs(s - target), s))
    chosen = set()
    while best:
        chosen.add(reached[best])
        best -= weights[reached[best]]
    return chosen


def _stratified(
    clips: Mapping[str, str],
    labels_per_image: Mapping[str, Mapping[str, int]],
    labels: Sequence[str],
    with_boxes: set[str],
    ratio: float,
    generator: random.Random,
) -> set[str]:
    """The clips whose shares of images, of empty images and of each label are near `ratio`."""
    import numpy as np

    order = sorted(set(clips.values()))
    generator.shuffle(order)
    row = {clip: i for i, clip in enumerate(order)}
    amounts = np.zeros((len(order), 2 + len(labels)))
    for image, clip in clips.items():
        counts = labels_per_image.get(image, {})
        amounts[row[clip]] += [1, not any(counts.values()), *(counts.get(x, 0) for x in labels)]
    shares = amounts / np.maximum(amounts.sum(axis=0), 1)
    # What does not occur at all, such as empty images, is not missed either.
    target = np.where(amounts.any(axis=0), ratio, 0.0)
    boxed = np.array([clip in with_boxes for clip in order])

    def misfit(held) -> np.ndarray:
        return ((held - target) ** 2).sum(axis=-1)

    chosen, held = np.zeros(len(order), bool), np.zeros(shares.shape[1])
    for i, share in enumerate(shares):
        if misfit(held + share) < misfit(held):
            chosen[i], held = True, held + share
    while True:
        moved = held + np.where(chosen[:, None], -shares, shares)
        costs = misfit(moved)
        # Each side needs a clip with boxes, and may not lose its last one.
        sides = chosen & boxed, ~chosen & boxed
        for side in sides:
            if side.sum() == 1:
                costs[side] = np.inf
        lacking = not all(side.any() for side in sides)
        best = int(np.where(boxed, costs, np.inf).argmin() if lacking else costs.argmin())
        if not lacking and costs[best] >= misfit(held) - 1e-12:
            return {clip for clip, held_out in zip(order, chosen, strict=True) if held_out}
        chosen[best], held = not chosen[best], moved[best]
