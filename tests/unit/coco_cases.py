"""Ground truth and detections as COCO has them, small enough to count by hand."""

import json

import numpy as np

SIDE = 200


def truth_file(folder, objects, images=None, categories=(1,)):
    """A COCO json. `objects`: (image, category, xywh[, difficult]); `images`: {id: clip}."""
    images = images or {image: "" for image in sorted({item[0] for item in objects})}
    entries = []
    for number, clip in images.items():
        entry = {"id": number, "file_name": f"{number}.jpg", "width": SIDE, "height": SIDE}
        entries.append(entry | ({"clip": clip} if clip else {}))
    annotations = [
        {
            "id": i,
            "image_id": image,
            "category_id": category,
            "bbox": list(map(float, box)),
            "area": float(box[2] * box[3]),
            "iscrowd": int(any(difficult)),
        }
        for i, (image, category, box, *difficult) in enumerate(objects, 1)
    ]
    names = [{"id": number, "name": f"class{number}"} for number in categories]
    path = folder / "val.json"
    path.write_text(
        json.dumps({"images": entries, "annotations": annotations, "categories": names})
    )
    return path


def result(image, category, box, score):
    return {
        "image_id": image,
        "category_id": category,
        "bbox": list(map(float, box)),
        "score": float(score),
    }


def random_case(folder, seed):
    """Crowded images of three classes with difficult objects; detections near and far."""
    rng = np.random.default_rng(seed)
    objects, results = [], []
    for image in range(1, 9):
        for _ in range(rng.integers(0, 7)):
            box = np.append(rng.uniform(0, 120, 2), rng.uniform(8, 80, 2))
            category = int(rng.integers(1, 4))
            objects.append((image, category, box, bool(rng.random() < 0.3)))
            for _ in range(rng.integers(0, 4)):
                near = box + rng.normal(0, rng.uniform(0.5, 12), 4)
                near[2:] = near[2:].clip(2)
                seen = category if rng.random() < 0.9 else int(rng.integers(1, 4))
                results.append(result(image, seen, near, rng.random()))
        for _ in range(rng.integers(0, 4)):
            box = np.append(rng.uniform(0, 120, 2), rng.uniform(8, 80, 2))
            results.append(result(image, int(rng.integers(1, 4)), box, rng.random()))
    images = {image: "" for image in range(1, 9)}
    return truth_file(folder, objects, images, (1, 2, 3)), results


def four_faults(folder):
    """Two true positives, and one fault of each kind at a threshold of 0.5."""
    path = truth_file(
        folder,
        [
            (1, 1, (10, 10, 40, 40)),
            (1, 1, (100, 10, 40, 40)),
            (2, 1, (10, 10, 60, 60)),
            (3, 1, (10, 10, 30, 30)),
        ],
        {1: "a", 2: "a", 3: "b", 4: "b"},
    )
    results = [
        result(1, 1, (10, 10, 40, 40), 0.95),
        result(1, 1, (12, 10, 40, 40), 0.7),  # duplicate
        result(1, 1, (101, 10, 40, 40), 0.9),
        result(3, 1, (20, 20, 30, 30), 0.8),  # localization
        result(4, 1, (100, 100, 30, 30), 0.6),  # background
        result(2, 1, (10, 10, 60, 60), 0.3),  # true, but below the threshold
        result(4, 1, (0, 0, 30, 30), 0.2),
    ]
    return path, results


def correlated(folder, clips=12, frames=10, named=True):
    """Clips of which a detector finds every object or none, as near-copies have it."""
    rng = np.random.default_rng(1)
    found = rng.random(clips) < 0.6
    images = {i: f"clip{i // frames:02d}" if named else "" for i in range(clips * frames)}
    path = truth_file(folder, [(i, 1, (10, 10, 40, 40)) for i in images], images)
    results = [result(i, 1, (10, 10, 40, 40), rng.random()) for i in images if found[i // frames]]
    # False positives, so that the order of the scores counts.
    results += [result(i, 1, (100, 100, 40, 40), rng.random()) for i in images if i % 7 == 0]
    return path, results
