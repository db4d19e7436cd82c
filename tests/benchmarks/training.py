"""Images a second of a whole training run, next to Model Garden's own trainer on the same config.

python -m tests.benchmarks.training runs/course/04_records runs/speedtraps/04_records

Each run is a process of its own, counted from its start to its end: imports, preparing the
records, tracing, training, evaluations, checkpoints. Ours is `prepare_records` and
`training.train`; stock is `official.core.train_lib.run_experiment` as the command line
`official.vision.train` calls it. Both get the same records of lesson 04, preset, batch, steps,
seed, optimizer and rate, report every 10 steps and save every 50. Two cases:

whole  ssd_mobilenet_v2_fpn at 320x320 on whole frames. Both score all validation images, at
       the same steps, with COCO metrics.
tiles  the course's ssd_cpu on tiles of 320x320. Stock reads tiles that were cut for it (ours
       counts the cutting), and neither evaluates: stock can only score at the size it trains
       at, and the course scores whole frames with this detector.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
EVERY, SAVE = 10, 50
CASES = {
    "whole": {"preset": "ssd_mobilenet_v2_fpn", "batch": 8, "steps": 160, "tile": None},
    "tiles": {"preset": "ssd_cpu", "batch": 12, "steps": 400, "tile": 320},
}
NAMES = {"ours": "the course", "stock": "Model Garden"}
ROWS = (
    ("seconds", "whole run, s", "{:.1f}"),
    ("images_per_second", "images/s, whole run", "{:.2f}"),
    ("prepare", "preparing records, s", "{:.1f}"),
    ("start", "start-up and tracing, s", "{:.1f}"),
    ("step", "a step, s", "{:.3f}"),
    ("evaluation", "evaluations, s", "{:.1f}"),
    ("end", "after the last report, s", "{:.1f}"),
    ("loss_first", "loss, first 10 steps", "{:.3f}"),
    ("loss_last", "loss, last 10 steps", "{:.3f}"),
    ("AP50", "AP50 at the end", "{:.3f}"),
)


class Clock:
    """What happened when, in seconds since the parent started this process."""

    def __init__(self, began: float):
        self.began, self.prepare, self.evaluations = began, 0.0, []
        self.reports: list[tuple[float, bool]] = []  # when; whether an evaluation came before
        self.losses: list[float] = []
        self.last = 0.0  # end of the last report or evaluation

    def now(self) -> float:
        return time.monotonic() - self.began

    def report(self, loss: float) -> None:
        fresh = len(self.evaluations) == sum(scored for _, scored in self.reports)
        self.reports.append((self.now(), not fresh))
        self.losses.append(loss)
        self.last = self.now()

    def evaluated(self, began: float) -> None:
        self.last = self.now()
        self.evaluations.append(self.last - began)

    def row(self) -> dict:
        times = [when for when, _ in self.reports]
        gaps = [
            b - a for a, (b, scored) in zip(times, self.reports[1:], strict=False) if not scored
        ]
        step = statistics.median(gaps) / EVERY if gaps else float("nan")
        return {
            "prepare": self.prepare,
            # What the first report waited for beyond its steps.
            "start": times[0] - self.prepare - EVERY * step,
            "step": step,
            "evaluation": sum(self.evaluations),
            "loss_first": self.losses[0],
            "loss_last": self.losses[-1],
            "last": self.last,
        }


def settings(job: dict, records: Path):
    """The config that both train: a preset, fitted to `records`, at the size that is trained."""
    from helpers import models
    from helpers.models.presets import PRESETS

    case = CASES[job["case"]]
    config = models.for_records(models.from_preset(case["preset"]), records, seed=0)
    rate = PRESETS[case["preset"]].learning_rate * case["batch"] / 8
    return models.with_budget(
        config, train_steps=job["steps"], batch_size=case["batch"], learning_rate=rate
    )


def ours(job: dict, clock: Clock) -> dict:
    """`prepare_records`, then `training.train`."""
    from helpers.common.quiet import quiet_libraries

    quiet_libraries()
    from helpers import evaluation
    from helpers.records import prepare_records
    from helpers.training import train

    records, folder, truth = Path(job["records"]), Path(job["folder"]), Path(job["truth"])
    height, width, _ = settings(job, records).task.model.input_size
    began = clock.now()
    prepared = prepare_records(
        records, folder / "records", height=height, width=width, tile=CASES[job["case"]]["tile"]
    )
    clock.prepare = clock.now() - began
    last: dict = {}

    def score(detector) -> dict:
        began = clock.now()
        found, _ = evaluation.predict(detector, Path(job["images"]), truth)
        last.update(evaluation.coco_metrics(truth, found))
        clock.evaluated(began)
        return {"AP50": last["AP50"]}

    train(
        settings(job, prepared),
        folder / "trained",
        label_map=prepared / "label_map.pbtxt",
        evaluate=score if job["evaluations"] else None,
        evaluate_every=job["steps"] // max(1, job["evaluations"]),
        on_report=lambda history: clock.report(history[-1]["total_loss"]),
        report_every=EVERY,
        checkpoint_every=SAVE,
    )
    return {"AP50": last.get("AP50")}


def stock(job: dict, clock: Clock) -> dict:
    """`run_experiment` as `official/vision/train.py` calls it."""
    from official.common import distribute_utils
    from official.core import task_factory, train_lib
    from official.modeling import performance
    from official.vision import registry_imports  # noqa: F401  (registers the tasks)

    from helpers import models

    records, folder = Path(job["tiles"] or job["records"]), Path(job["folder"])
    tile = CASES[job["case"]]["tile"]
    changes = {
        "trainer.steps_per_loop": EVERY,
        "trainer.summary_interval": EVERY,
        "trainer.checkpoint_interval": SAVE,
        "trainer.max_to_keep": 2,
        "trainer.validation_interval": job["steps"] // max(1, job["evaluations"]),
        "trainer.validation_steps": -1,
    }
    if tile:
        changes["task.model.input_size"] = [tile, tile, 3]
    config = models.edit(settings(job, records), changes)
    performance.set_mixed_precision_policy(config.runtime.mixed_precision_dtype)
    strategy = distribute_utils.get_distribution_strategy(
        config.runtime.distribution_strategy, num_gpus=config.runtime.num_gpus
    )
    with strategy.scope():
        task = task_factory.get_task(config.task, logging_dir=str(folder))
    last: dict = {}

    def scored(logs) -> None:
        # From the last report on: a checkpoint is written in it too, in the background.
        last.update({name: float(value) for name, value in logs.items()})
        clock.evaluated(clock.reports[-1][0])

    train_lib.run_experiment(
        distribution_strategy=strategy,
        task=task,
        mode="train_and_eval" if job["evaluations"] else "train",
        params=config,
        model_dir=str(folder),
        train_actions=[lambda logs: clock.report(float(logs["total_loss"]))],
        eval_actions=[scored],
        enable_async_checkpointing=True,
    )
    return {"AP50": last.get("AP50")}


def child(job: dict) -> None:
    clock = Clock(job["began"])
    row = {"ours": ours, "stock": stock}[job["who"]](job, clock)
    Path(job["out"]).write_text(json.dumps(clock.row() | row))


def run(job: dict, scratch: Path) -> dict:
    """Run one process to its end; return its row with the wall time of the whole."""
    job["folder"] = str(scratch / f"{job['case']}-{job['who']}-{time.monotonic_ns()}")
    job["out"] = f"{job['folder']}.json"
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}
    job["began"] = time.monotonic()
    command = [sys.executable, "-m", "tests.benchmarks.training", "child", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - job["began"]
    if done.returncode:
        sys.exit(f"{job['who']}, {job['case']}: failed\n{done.stderr[-3000:]}")
    row = json.loads(Path(job["out"]).read_text())
    images = job["steps"] * CASES[job["case"]]["batch"]
    row |= {"seconds": seconds, "images_per_second": images / seconds}
    return row | {"end": seconds - row.pop("last")}


def compare(case: str, records: Path, given, scratch: Path) -> dict:
    """Alternate both sides `given.rounds` times on one folder of records; print the table."""
    from helpers.common.artifacts import read_manifest
    from helpers.records import feature_values, prepare_records, read_examples

    images = scratch / "images"
    images.mkdir(parents=True)
    for path in sorted(records.glob("*.tfrecord")):  # into the page cache, for both alike
        for item in read_examples(path):
            if path.name.startswith("val-"):
                name = feature_values(item, "image/filename")[0].decode()
                (images / name).write_bytes(feature_values(item, "image/encoded")[0])
    spec = CASES[case]
    job = {
        "case": case,
        "records": str(records.resolve()),
        "images": str(images),
        "truth": str(records.resolve() / "val.json"),
        "steps": given.steps or spec["steps"],
        "evaluations": 0 if spec["tile"] else given.evaluations,
        "tiles": None,
    }
    if spec["tile"]:
        from helpers import models

        height, width, _ = models.from_preset(spec["preset"]).task.model.input_size
        tiles = scratch / "tiles"
        prepare_records(records, tiles, height=height, width=width, tile=spec["tile"])
        job["tiles"] = str(tiles)
    found: dict[str, list[dict]] = {"ours": [], "stock": []}
    for number in range(given.rounds):
        for who in ("ours", "stock") if number % 2 == 0 else ("stock", "ours"):
            found[who].append(run(job | {"who": who}, scratch))
    counts = read_manifest(records)["counts"]
    table = {
        who: {
            key: statistics.median([row[key] for row in rows])
            for key, _, _ in ROWS
            if rows[0].get(key) is not None
        }
        for who, rows in found.items()
    }
    ratio = table["ours"]["images_per_second"] / table["stock"]["images_per_second"]
    print(
        f"\n{case}: {spec['preset']}, {records.parent.name}: {counts['train']['images']} training "
        f"and {counts['val']['images']} validation images; {job['steps']} steps of "
        f"{spec['batch']}, {job['evaluations']} evaluations, rounds: {given.rounds}"
    )
    print(f"{'':<26}" + "".join(f"{name:>14}" for name in NAMES.values()))
    for key, title, form in ROWS:
        cells = [form.format(row[key]) if key in row else "" for row in table.values()]
        print(f"{title:<26}" + "".join(f"{cell:>14}" for cell in cells))
    print(f"images/s, ratio {ratio:.2f}; of a step {_ratio(table, 'step'):.2f}")
    return job | {"rows": found, "median": table, "ratio": ratio}


def _ratio(table: dict, key: str) -> float:
    return table["stock"][key] / table["ours"][key]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", type=Path, nargs="+", help="a 04_records folder")
    parser.add_argument("--case", choices=CASES, action="append", help="one only; default both")
    parser.add_argument("--steps", type=int, help="a multiple of 10; default 160 whole, 400 tiles")
    parser.add_argument("--evaluations", type=int, default=2, help="spread evenly; case whole")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write all numbers here")
    given = parser.parse_args()
    for case in given.case or CASES:
        steps = given.steps or CASES[case]["steps"]
        # Ours evaluates only where it reports, and stock where a loop of its steps ends.
        if steps < 3 * EVERY or steps % (EVERY * max(1, given.evaluations)):
            parser.error(f"--steps {steps}: give a multiple of {EVERY} x evaluations, 30 or more")
    results = []
    with tempfile.TemporaryDirectory() as name:
        for case in given.case or CASES:
            for number, records in enumerate(given.records):
                scratch = Path(name) / f"{case}-{number}"
                scratch.mkdir()
                results.append(compare(case, records, given, scratch))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(json.loads(sys.argv[2]))
    else:
        main()
