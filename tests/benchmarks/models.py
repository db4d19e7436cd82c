"""What each preset costs: parameters, time per image and per training step, memory.

    .venv/bin/python -m tests.benchmarks.models            # all presets: about 10 minutes
    .venv/bin/python -m tests.benchmarks.models ssd_cpu    # some of them, the others stay
    .venv/bin/python -m tests.benchmarks.models --readme   # only the table in README.md

Writes data/models.json, and the table in README.md between its two markers. Each preset runs in
processes of its own, one for images and one for training: the system counts the largest size of a
process. While other programs keep a core busy, no times are taken. Times are medians; weights are
random and frames are noise, so on a trained detector non-maximum suppression may take another time.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

from helpers.models import presets
from helpers.models.networks import build_model

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
MARKERS = ("<!-- models: made by tests/benchmarks/models.py -->", "<!-- /models -->")
CLASSES = 2  # one, and the background
# Images a training step on pixels of the square that is trained on: what fits 16 GB.
BATCH = {320: 8, 300: 8, 384: 8}
LARGE_BATCH = 2
FRAMES, STEPS = 7, 4


def config_of(name: str):
    from helpers import models

    return models.edit(models.from_preset(name), {"task.model.num_classes": CLASSES})


def measure_images(name: str) -> dict:
    """Parameters, and milliseconds per frame of 720p."""
    import numpy as np

    from helpers import inference

    config = config_of(name)
    _, model = build_model(config)
    detector = inference.build_detector(model, config, {1: "object"})
    frame = np.random.default_rng(0).integers(0, 255, (720, 1280, 3)).astype(np.uint8)
    detector(frame)  # the first one makes the graph
    times = [timed(lambda: detector(frame)) for _ in range(FRAMES)]
    return {
        "input": list(detector.input_size),
        "parameters": detector.parameters,
        "ms_per_image": round(1000 * statistics.median(times), 1),
    }


def measure_steps(name: str) -> dict:
    """Milliseconds of a training step, and the largest size of this process."""
    import tensorflow as tf

    from helpers import models

    config = config_of(name)
    tile = presets.PRESETS[name].tile
    if tile:
        config = models.edit(config, {"task.model.input_size": [tile, tile, 3]})
    height, width, _ = config.task.model.input_size
    count = BATCH.get(max(height, width), LARGE_BATCH)
    config = models.with_budget(config, train_steps=100, batch_size=count, learning_rate=1e-4)
    config = models.edit(config, {"task.train_data.shuffle_buffer_size": count})
    task, model = build_model(config)
    optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)

    # A record of noise with one object, read as in training: the parsers make the targets.
    record = ROOT / "build" / f"models-{os.getpid()}.tfrecord"
    record.parent.mkdir(exist_ok=True)
    write_record(record, height, width, count)
    try:
        data = config.task.train_data.replace(input_path=str(record))
        batch = next(iter(task.build_inputs(data)))
    finally:
        record.unlink()

    @tf.function
    def step():
        task.train_step(batch, model, optimizer, [])

    step()
    times = [timed(step) for _ in range(STEPS)]
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "trained_on": [height, width],
        "batch": count,
        "ms_per_step": round(1000 * statistics.median(times)),
        # Linux counts in units of 1024 bytes, macOS in bytes.
        "step_memory_mb": round(size / 2 ** (20 if sys.platform == "darwin" else 10)),
    }


def write_record(path: Path, height: int, width: int, count: int) -> None:
    import numpy as np
    import tensorflow as tf

    def feature(**kind):
        ((name, values),) = kind.items()
        of = {"bytes": tf.train.BytesList, "int64": tf.train.Int64List, "float": tf.train.FloatList}
        return tf.train.Feature(**{f"{name}_list": of[name](value=values)})

    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)
    features = {
        "image/encoded": feature(bytes=[tf.io.encode_jpeg(noise).numpy()]),
        "image/source_id": feature(bytes=[b"1"]),
        "image/height": feature(int64=[height]),
        "image/width": feature(int64=[width]),
        "image/object/class/label": feature(int64=[1]),
        "image/object/is_crowd": feature(int64=[0]),
        "image/object/area": feature(float=[height * width / 16]),
    }
    for edge, value in (("xmin", 0.5), ("ymin", 0.5), ("xmax", 0.75), ("ymax", 0.75)):
        features[f"image/object/bbox/{edge}"] = feature(float=[value])
    example = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    with tf.io.TFRecordWriter(str(path)) as file:
        for _ in range(count):
            file.write(example)


def timed(function) -> float:
    """Seconds that `function` takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def child(what: str, name: str) -> dict:
    """What `what` measures of a preset, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.models", "--child", what, name]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: {what}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(names: list[str]) -> None:
    """Measure presets into data/models.json, which is written after each."""
    page = json.loads(presets.MEASURED.read_text()) if presets.MEASURED.is_file() else {"rows": []}
    found = {row["name"]: row for row in page["rows"]}
    busy = psutil.cpu_percent(interval=3)
    quiet = busy < 15
    if not quiet:
        print(f"the CPU is {busy:.0f} % busy: times are left out; run again when it is idle")
    for name in names:
        found[name] = {"name": name} | child("images", name) | child("steps", name)
        if not quiet:
            found[name] |= {"ms_per_image": None, "ms_per_step": None}
        print(found[name], flush=True)
        page = {
            "command": "python -m tests.benchmarks.models",
            "measured": datetime.date.today().isoformat(),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
            "rows": [found[known] for known in presets.PRESETS if known in found],
        }
        presets.MEASURED.write_text(json.dumps(page, indent=1) + "\n")


def write_readme(path: Path = README) -> None:
    """Put the table between the two markers of `path`."""
    before, rest = path.read_text().split(MARKERS[0])
    _, after = rest.split(MARKERS[1])
    body = f"{MARKERS[0]}\n{presets.preset_table(presets.preset_rows())}\n{MARKERS[1]}"
    path.write_text(before + body + after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", choices=[[], *presets.PRESETS], metavar="preset")
    parser.add_argument("--readme", action="store_true")
    parser.add_argument("--child", choices=("images", "steps"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        tool = measure_images if given.child == "images" else measure_steps
        print(json.dumps(tool(given.presets[0])))
        return
    if not given.readme:
        measure(given.presets or list(presets.PRESETS))
    write_readme()


if __name__ == "__main__":
    main()
