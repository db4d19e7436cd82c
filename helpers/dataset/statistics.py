"""Statistics of boxes, in the pixels of the network's input: how many, how large, where."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from helpers.annotations.boxes import Annotation


def box_statistics(
    annotations: Iterable[Annotation], input_size: tuple[int, int]
) -> list[dict[str, object]]:
    """Measure each box as the network will see it; for pandas or `plots.statistics`.

    Args:
        annotations: boxes that are inverted, empty or no numbers are left out.
        input_size: (width, height) of the network's input; images are resized to fit into it
            and keep their aspect.

    Returns:
        A row for each box: image, label, difficult; width, height and side (root of the area) in
        pixels of the input; aspect (width / height); x and y, the centre as a fraction of the
        image, 0 to 1.
    """
    rows = []
    for annotation in annotations:
        if min(annotation.width, annotation.height) < 1:
            continue
        scale = min(input_size[0] / annotation.width, input_size[1] / annotation.height)
        for box in annotation.boxes:
            width, height = (box.xmax - box.xmin) * scale, (box.ymax - box.ymin) * scale
            if not (math.isfinite(box.area) and width > 0 and height > 0):
                continue
            rows.append(
                {
                    "image": annotation.image,
                    "label": box.label,
                    "difficult": box.difficult,
                    "width": width,
                    "height": height,
                    "side": math.sqrt(width * height),
                    "aspect": width / height,
                    "x": (box.xmin + box.xmax) / 2 / annotation.width,
                    "y": (box.ymin + box.ymax) / 2 / annotation.height,
                }
            )
    return rows


def share_under(
    rows: Iterable[Mapping], limits: Sequence[float] = (8, 16, 32)
) -> list[dict[str, object]]:
    """Summarise the rows of `box_statistics` by label, most frequent first.

    Columns: label, images (with it), boxes, per_image (mean number of boxes in such an image),
    side (the median, pixels of the network's input), and for each limit the share, 0 to 1, of
    boxes whose side is below it: under_8, under_16, under_32.
    """
    by_label = defaultdict(list)
    for row in rows:
        by_label[row["label"]].append(row)
    found = []
    for label, part in sorted(by_label.items(), key=lambda item: -len(item[1])):
        sides = [row["side"] for row in part]
        images = len({row["image"] for row in part})
        found.append(
            {
                "label": label,
                "images": images,
                "boxes": len(part),
                "per_image": len(part) / images,
                "side": median(sides),
                **{f"under_{n:g}": sum(s < n for s in sides) / len(sides) for n in limits},
            }
        )
    return found
