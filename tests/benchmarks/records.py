"""How fast records are written and read back, next to the alternatives.

python -m tests.benchmarks.records speedtraps ../shared/datasets/speedtraps
python -m tests.benchmarks.records growth
python -m tests.benchmarks.records verify ../shared/datasets/speedtraps
"""

import argparse
import contextlib
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers.annotations.folders import SPLITS
from helpers.annotations.label_map import write_label_map
from helpers.common.files import write_csv

ROOT = Path(__file__).parents[2]


def timed(function) -> float:
    """Seconds that `function` takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def dataset(source: Path, folder: Path) -> Path:
    """The 03_dataset of `source`'s own split: the images in train.txt, and one for validation."""
    from helpers.common import artifacts

    train = {Path(line).stem for line in (source / "train.txt").read_text().split()}
    held = {Path(line).stem for line in (source / "test.txt").read_text().split()}
    xml = {path.stem: path for path in source.rglob("*.xml")}
    rows = []
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    for image in sorted(source.rglob("*.jpg")):
        side = "train" if image.stem in train else "val" if image.stem in held else None
        if side == "train" or (side == "val" and not any(r["split"] == "val" for r in rows)):
            shutil.copyfile(image, folder / "images" / image.name)
            shutil.copyfile(xml[image.stem], folder / "annotations" / f"{image.stem}.xml")
            rows.append({"image": image.name, "clip": "all", "split": side})
    write_csv(folder / "split.csv", ("image", "clip", "split"), rows)
    write_label_map(["radar"], folder / "label_map.pbtxt")
    artifacts.write_manifest(folder, "tests.benchmarks.records", {}, {}, {})
    return folder


def against_copy(data: Path, scratch: Path, rounds: int) -> None:
    """Records against copying the same files one by one, side by side."""
    from helpers import records

    images = sorted((data / "images").iterdir())
    copied, copies, writes = scratch / "copied", [], []

    def copy() -> None:
        for path in images:
            shutil.copyfile(path, copied / path.name)

    for _ in range(rounds):
        shutil.rmtree(copied, ignore_errors=True)
        copied.mkdir()
        copies.append(timed(copy))
        shutil.rmtree(scratch / "04_records", ignore_errors=True)
        with contextlib.redirect_stderr(io.StringIO()):
            writes.append(timed(lambda: records.write_records(data, scratch / "04_records")))
    copy_, write = statistics.median(copies), statistics.median(writes)
    count = len(images)
    print(f"{count} images, {sum(p.stat().st_size for p in images) / 1e6:.0f} MB, {rounds} rounds")
    for name, seconds in (("copying", copies), ("write_records", writes)):
        rates = (count / statistics.median(seconds), count / min(seconds))
        print(f"{name:<16} {rates[0]:7.0f} images/s, the best {rates[1]:.0f}")
    print(f"ratio {copy_ / write:.2f} of medians, {min(copies) / min(writes):.2f} of the best")


def against_model_garden(data: Path, scratch: Path) -> None:
    """The whole process, start included, against Model Garden's writer from a COCO json."""
    from helpers import records

    made = records.write_records(data, scratch / "04_records")
    (scratch / "mg").mkdir()
    garden = [sys.executable, "-m", "official.vision.data.create_coco_tf_record"]
    garden += [f"--image_dir={data / 'images'}", "--num_shards=4"]
    garden += [f"--object_annotations_file={made / 'train.json'}"]
    garden += [f"--output_file_prefix={scratch / 'mg' / 'train'}"]
    for name, extra in (("own pool", []), ("one process", ["--num_processes=0"])):
        seconds = timed(
            lambda extra=extra: subprocess.run(garden + extra, check=True, capture_output=True)
        )
        print(f"create_coco_tf_record, {name:<12} {seconds:6.2f} s")
    ours = [sys.executable, "-m", "helpers.records", "write", str(data), str(scratch / "ours")]
    seconds = []
    for _ in range(3):
        shutil.rmtree(scratch / "ours", ignore_errors=True)
        seconds.append(
            timed(lambda: subprocess.run(ours, check=True, capture_output=True, cwd=ROOT))
        )
    print(f"python -m helpers.records write     {statistics.median(seconds):6.2f} s")


def growth(scratch: Path, counts: list[int]) -> None:
    """Cost as work grows: small images, a process for each size."""
    import numpy as np
    from PIL import Image

    from helpers.annotations import voc
    from helpers.annotations.boxes import Annotation, Box

    buffer = io.BytesIO()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(buffer, "JPEG")
    for count in counts:
        folder = scratch / str(count)
        for name in ("images", "annotations"):
            (folder / name).mkdir(parents=True)
        rows = []
        for i in range(count):
            (folder / "images" / f"{i}.jpg").write_bytes(buffer.getvalue())
            box = Annotation(
                f"{i}.jpg", 64, 48, (Box("radar", 1, 2, 30, 40), Box("radar", 9, 9, 20, 20))
            )
            voc.write_voc(box, folder / "annotations" / f"{i}.xml")
            rows.append({"image": f"{i}.jpg", "clip": str(i // 10), "split": SPLITS[i % 10 == 0]})
        write_csv(folder / "split.csv", ("image", "clip", "split"), rows)
        write_label_map(["radar"], folder / "label_map.pbtxt")
        shards = str(max(4, count // 1000))
        command = [
            sys.executable,
            "-m",
            "helpers.records",
            "write",
            str(folder),
            str(scratch / "out"),
        ]
        shutil.rmtree(scratch / "out", ignore_errors=True)
        child = subprocess.Popen(
            [*command, "--shards", shards],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        began = time.perf_counter()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        assert status == 0, status
        rate, memory = count / seconds, usage.ru_maxrss / 1024
        print(f"{count:7d} images: {seconds:6.2f} s, {rate:6.0f} images/s, {memory:.0f} MB at most")
        shutil.rmtree(folder)


def verification(data: Path, scratch: Path) -> None:
    """How many frames a minute and core `verify` reads back, its imports apart."""
    from helpers import records

    made = records.write_records(data, scratch / "04_records")
    images = sum(1 for _ in (data / "images").iterdir())
    records.verify_records(made)  # imports TensorFlow, warms the cache
    spent, clock = time.process_time(), time.perf_counter()
    records.verify_records(made)
    spent, clock = time.process_time() - spent, time.perf_counter() - clock
    print(f"{images} frames: {clock:.1f} s by the clock, {spent:.1f} s of CPU time")
    print(f"{images / spent * 60:.0f} frames a minute and core")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("speedtraps", "growth", "verify"))
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if given.what == "growth":
            growth(scratch, [1_000, 10_000, 100_000])
        else:
            data = dataset(given.source, scratch / "03_dataset")
            if given.what == "verify":
                verification(data, scratch)
            else:
                against_copy(data, scratch, given.rounds)
                against_model_garden(data, scratch)
