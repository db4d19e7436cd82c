"""Score a detector on the annotated frames of another dataset: does it work elsewhere?

    make course WORKSPACE=runs/speedtraps DATASET=speedtraps COURSE_MIRROR=../shared
    .venv/bin/python -m helpers.course run --workspace runs/broad -p broad true \\
        --only 01,02,03,04,05,06
    .venv/bin/python -m tests.benchmarks.elsewhere runs/broad/06_ssd runs/speedtraps

Of the second workspace the lessons 01 to 04 suffice. All its images with an object are taken,
those for training as well; labels are compared by their number.
"""

import json
import sys
import tempfile
from pathlib import Path

from helpers import evaluation
from helpers.inference import detector


def annotated(workspace: Path) -> dict:
    """COCO json of all images that hold an object, of both splits."""
    parts = [
        json.loads((workspace / "04_records" / f"{split}.json").read_text())
        for split in ("train", "val")
    ]
    boxes = [box for part in parts for box in part["annotations"]]
    seen = {box["image_id"] for box in boxes}
    return {
        "images": [image for part in parts for image in part["images"] if image["id"] in seen],
        "annotations": [box | {"id": number} for number, box in enumerate(boxes, 1)],
        "categories": parts[0]["categories"],
    }


def main(model: Path, workspace: Path) -> None:
    page = annotated(workspace)
    with tempfile.TemporaryDirectory() as folder:
        truth = Path(folder) / "truth.json"
        truth.write_text(json.dumps(page))
        images = workspace / "03_dataset" / "images"
        results, milliseconds = evaluation.predict(detector.load_detector(model), images, truth)
        metrics = evaluation.coco_metrics(truth, results)
        low, high, drawn = evaluation.ap50_interval(truth, results)
    print(
        f"{len(page['images'])} images: AP50 {metrics['AP50']:.3f} ({low:.3f} to {high:.3f} "
        f"by {drawn}), AP {metrics['AP']:.3f}, {milliseconds:.0f} ms an image"
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
