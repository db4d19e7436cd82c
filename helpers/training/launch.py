"""Train on several workers, and score checkpoints beside the training.

A cluster runs one command per machine:

    python -m helpers.scale worker CONFIG FOLDER --label-map FILE     (TF_CONFIG names the cluster)
    python -m helpers.scale evaluate FOLDER --images FOLDER

`launch` runs the same commands as processes of this machine. Cluster software sets TF_CONFIG;
without it, `--hosts host:port,host:port --index 0` says the same.
"""

import argparse
import contextlib
import json
import logging
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers.common.errors import CourseError
from helpers.common.processes import child_environment, end_with_parent
from helpers.models.networks import build_model

EVALUATION = "evaluation.csv"
# Exit codes of a worker, beside 0: bad input, another worker is gone, told to stop.
BAD_INPUT, LOST, STOPPED = 2, 3, 128 + signal.SIGTERM
_STEP = re.compile(r"^step (\d+) of (\d+): (.*)$", re.MULTILINE)


def launch(
    config_path: Path,
    folder: Path,
    *,
    label_map: Path,
    workers: int = 2,
    images: Path | None = None,
    report_every: int = 10,
    checkpoint_every: int = 50,
) -> list[dict]:
    """Train with several processes of this machine, as a cluster would with several machines.

    The processes share the machine's cores and compute on them, not on a GPU. What they say is in
    <folder>.logs/. None outlives this call, nor this process. Ctrl-C stops them after the step of
    the next report, with a checkpoint; the same call goes on from the last checkpoint.

    Args:
        config_path: file that `config.save` wrote, with `runtime.distribution_strategy`
            "multi_worker_mirrored".
        folder: as for `training.train`.
        label_map: .pbtxt file with the class names.
        workers: number of processes, 1 or more; must divide the batch size.
        images: folder of the validation images; when given, one more process runs
            `continuous_eval` on the checkpoints, and the call ends when the last is scored.
        report_every, checkpoint_every: steps, as for `training.train`.

    Returns:
        The history, as `training.train` does; scores are in <folder>/evaluation.csv.

    Raises:
        CourseError: bad input, or a process that died: which, of what, and its last lines.
    """
    from helpers.training.loop import read_history

    folder = Path(folder)
    for path in (config_path, label_map, *([images] if images else [])):
        if not Path(path).exists():
            raise CourseError(f"{path}: missing; give a path that exists, relative to {Path.cwd()}")
    if workers < 1:
        raise CourseError(f"launch: workers: {workers}; give 1 or more")
    logs = folder.with_name(f"{folder.name}.logs")
    logs.mkdir(parents=True, exist_ok=True)
    hosts = [f"127.0.0.1:{port}" for port in _free_ports(workers)]
    threads = max(1, _cores() // workers)
    command = ["worker", config_path, folder, "--label-map", label_map]
    command += ["--report-every", report_every, "--checkpoint-every", checkpoint_every]
    # What a killed process leaves in it goes when the call ends.
    with tempfile.TemporaryDirectory(prefix="course-launch-") as scratch, _children() as start:
        environment = {
            "TMPDIR": scratch,
            "CUDA_VISIBLE_DEVICES": "-1",
            "TQDM_DISABLE": "1",
            "OMP_NUM_THREADS": str(threads),
            "TF_NUM_INTRAOP_THREADS": str(threads),
            # A worker that waits for another occupies one thread.
            "TF_NUM_INTEROP_THREADS": str(max(2, threads)),
        }
        crew = []
        for index in range(workers):
            cluster = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
            own = {**environment, "TF_CONFIG": json.dumps(cluster)}
            name = f"worker {index} of {workers}"
            crew.append(start(name, logs / f"worker-{index}.log", command, own))

        def start_evaluator():
            command = ["evaluate", folder, "--images", images]
            return start("the evaluator", logs / "evaluator.log", command, environment)

        try:
            _follow(crew, folder, start_evaluator if images else None)
        except KeyboardInterrupt:
            _ask_to_stop(crew)
            rows = read_history(folder)
            print(f"Stopped after step {rows[-1]['step'] if rows else 0}; run again to go on.")
    return read_history(folder)


def _follow(crew, folder: Path, start_evaluator) -> None:
    """Show the training's progress until it ends; CourseError when a process fails."""
    from tqdm.auto import tqdm

    evaluator = None
    with tqdm(desc=folder.name, unit="step") as bar:
        bar.set_postfix_str(f"starting {len(crew)} workers")
        while crew[0].process.poll() != 0:
            _check_alive(crew)
            said = _STEP.findall(crew[0].log.read_text(errors="replace"))
            if said:
                step, steps, what = said[-1]
                if bar.total is None:
                    bar.reset(total=int(steps))
                    # Not before: until then the folder may be that of another config.
                    evaluator = start_evaluator() if start_evaluator else None
                bar.set_postfix_str(what, refresh=False)
                bar.update(int(step) - bar.n)
            time.sleep(0.2)
        if bar.total:
            bar.update(bar.total - bar.n)
        if start_evaluator:
            evaluator = evaluator or start_evaluator()
            bar.set_postfix_str("scoring the last checkpoint")
            while evaluator.process.poll() is None:
                time.sleep(0.2)
            _check_alive([evaluator])


def _check_alive(crew) -> None:
    """Raise CourseError when one of the processes has failed, KeyboardInterrupt when stopped."""
    if not any(child.process.poll() for child in crew):
        return
    # The others lose contact with the first to die: of these, the one to blame is looked for.
    time.sleep(0.5)
    failed = [child for child in crew if child.process.poll()]
    child = min(failed, key=lambda child: child.process.returncode == LOST)
    if child.process.returncode == STOPPED:
        raise KeyboardInterrupt  # somebody told one of them to stop, and it told the others
    code, lines = child.process.returncode, child.log.read_text(errors="replace").splitlines()
    lines = [" ".join(line.split()) for line in lines if line.strip()]
    prefix = "CourseError: "
    if code == BAD_INPUT and lines and lines[-1].startswith(prefix):
        raise CourseError(lines[-1].removeprefix(prefix))
    end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    last = " | ".join(line[:300] for line in lines[-3:]) or "nothing"
    raise CourseError(
        f"{child.name} {end}; run again to go on from the last checkpoint. "
        f"Its log, {child.log}, ends with: {last}"
    )


def _ask_to_stop(crew, seconds: float = 30.0) -> None:
    """Let the workers save a checkpoint and end; they agree on it at their next report."""
    for child in crew:
        if child.process.poll() is None:
            child.process.terminate()
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(child.process.poll() is None for child in crew):
        time.sleep(0.1)


class _Child:
    """A process by the name that messages call it, and the file of what it says."""

    def __init__(self, name: str, log: Path, process: subprocess.Popen):
        self.name, self.log, self.process = name, log, process


@contextlib.contextmanager
def _children():
    """Give start(name, log, arguments, environment); what it started is gone afterwards.

    A child reads its standard input, of which we hold the other end: when this process dies,
    however it dies, the kernel closes it, and the child ends.
    """
    children = []

    def start(name, log, arguments, environment):
        command = [sys.executable, "-m", "helpers.scale", *map(str, arguments), "--end-with-parent"]
        with log.open("w") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=child_environment(environment),
                # Ctrl-C in a terminal reaches this process alone, which stops the others.
                start_new_session=True,
            )
        children.append(_Child(name, log, process))
        return children[-1]

    try:
        yield start
    finally:
        for child in children:
            child.process.kill()
        for child in children:
            child.process.wait()
            child.process.stdin.close()


def _free_ports(number: int) -> list[int]:
    """Return ports of this machine that nothing listens on.

    Below 32768: from there on the kernel takes ports for outgoing connections, and could take one
    between this look and its use.
    """
    found = []
    for port in random.SystemRandom().sample(range(15_000, 32_000), 1000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            found.append(port)
        if len(found) == number:
            return found
    raise CourseError(f"launch: no {number} free ports from 15000 to 32000; stop other programs")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker(
    config_path: Path,
    folder: Path,
    *,
    label_map: Path,
    report_every: int = 10,
    checkpoint_every: int = 50,
) -> int:
    """Train as one worker of the cluster that TF_CONFIG names; the arguments are `launch`'s.

    SIGTERM or SIGINT to any worker stops all of them at their next report, with a checkpoint.

    Returns the exit code of the process: 0, or STOPPED.
    """
    from helpers.models import config as configs
    from helpers.training import cluster
    from helpers.training import loop as training

    config = configs.load_config(config_path)
    signals = []
    stopped = []
    # Until the first report there is nothing to save: Ctrl-C then ends this process at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def report(history):
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda number, frame: signals.append(number))
        row = history[-1]
        print(
            f"step {row['step']} of {config.trainer.train_steps}: loss {row['total_loss']:.3f}, "
            f"{row['images_per_second']:.1f} images/s"
        )
        if cluster.total(len(signals)):
            stopped.append(row["step"])
            raise KeyboardInterrupt

    training.train(
        config,
        folder,
        label_map=label_map,
        on_report=report,
        report_every=report_every,
        checkpoint_every=checkpoint_every,
    )
    return STOPPED if stopped else 0


def continuous_eval(
    folder: Path,
    images: Path,
    *,
    annotation_file: Path | None = None,
    timeout: float = 1800.0,
    poll: float = 1.0,
) -> list[dict]:
    """Score each checkpoint of a training that runs elsewhere, until its last step is scored.

    Steps that <folder>/evaluation.csv has already are not scored again. A checkpoint that the
    training deletes before it is read is left out.

    Args:
        folder: of `training.train`.
        images: folder of the image files.
        annotation_file: COCO json; None takes `task.annotation_file` of the config.
        timeout: seconds without a new checkpoint after which to end.
        poll: seconds between two looks.

    Returns:
        The rows of evaluation.csv: step, the COCO metrics (nan where there is nothing to find)
        and the seconds that scoring took.

    Raises:
        CourseError: a file is missing, or a checkpoint is not of the folder's config.
    """
    import tensorflow as tf

    from helpers.evaluation import scores as evaluation
    from helpers.inference import detector as detectors
    from helpers.models import config as configs
    from helpers.training import loop as training

    folder, images = Path(folder), Path(images)
    if not images.is_dir():
        raise CourseError(f"{images}: missing; give the folder of the validation images")
    table = folder / EVALUATION
    rows, seen = training.read_rows(table), time.monotonic()
    passed = {row["step"] for row in rows}
    detector, last = None, None
    while last is None or last not in passed:
        if time.monotonic() - seen > timeout:
            print(f"{folder.name}: no new checkpoint for {timeout:g} seconds, scoring ends.")
            break
        new = sorted(set(finished_checkpoints(folder)) - passed)
        if detector is None and (folder / "training.yaml").is_file():
            config = configs.load_config(folder / "training.yaml")
            last = config.trainer.train_steps
            truth = Path(annotation_file or config.task.annotation_file)
            if not truth.is_file():
                raise CourseError(f"{truth}: missing; run lesson 04, which writes it")
            # The whole images' model; one that is trained on tiles has the same weights.
            _, model = build_model(config)
            categories = json.loads(truth.read_text())["categories"]
            labels = {entry["id"]: entry["name"] for entry in categories}
            detector = detectors.build_detector(model, config, labels)
            weights = tf.train.Checkpoint(model=model)
            continue
        if not new or detector is None:
            time.sleep(poll)
            continue
        step, began = new[0], time.monotonic()
        passed.add(step)
        try:
            status = weights.read(finished_checkpoints(folder)[step])
            status.assert_existing_objects_matched().expect_partial()
        except (KeyError, tf.errors.NotFoundError):
            print(f"{folder.name}: the checkpoint of step {step} is gone already, left out.")
            continue
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            line = " ".join(str(error).split())[:200]
            raise CourseError(
                f"{folder}: the checkpoint of step {step} is unreadable, or not of training.yaml "
                f"({line}); train again"
            ) from None
        results, _ = evaluation.predict(detector, images, truth)
        scores = evaluation.coco_metrics(truth, results)
        row = {"step": step}
        row |= {name: float("nan") if value is None else value for name, value in scores.items()}
        seen = time.monotonic()
        row["seconds"] = round(seen - began, 1)
        rows = sorted([*rows, row], key=lambda row: row["step"])
        training.write_rows(table, rows)
        print(f"step {step} of {last}: AP {row['AP']:.3f}, AP50 {row['AP50']:.3f}")
    return rows


def finished_checkpoints(folder: Path) -> dict[int, str]:
    """Return step -> path of the checkpoints that the training has finished writing."""
    import tensorflow as tf

    from helpers.training.loop import CHECKPOINTS

    state = tf.train.get_checkpoint_state(str(folder / CHECKPOINTS))
    paths = state.all_model_checkpoint_paths if state else []
    return {int(path.rsplit("-", 1)[1]): path for path in paths}


def _step_back(threads: int, gpu_memory: int) -> None:
    """Leave the machine to the training: few threads, a low priority, part of the GPU."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.nice(10)
    import cv2
    import tensorflow as tf

    cv2.setNumThreads(threads)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=gpu_memory)
        tf.config.set_logical_device_configuration(gpu, [limit])


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m helpers.scale", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("worker", help="train, as one worker of a cluster")
    one.add_argument("config_path", type=Path, metavar="CONFIG", help="the config's .yaml file")
    one.add_argument("folder", type=Path, help="of the training, on a disk that workers share")
    one.add_argument("--label-map", type=Path, required=True, help=".pbtxt file")
    one.add_argument("--hosts", help="host:port of all workers, with commas; else TF_CONFIG")
    one.add_argument("--index", type=int, help="this worker's place in --hosts, from 0")
    one.add_argument("--report-every", type=int, default=10, metavar="STEPS")
    one.add_argument("--checkpoint-every", type=int, default=50, metavar="STEPS")
    other = commands.add_parser("evaluate", help="score the checkpoints of a training")
    other.add_argument("folder", type=Path, help="of the training")
    other.add_argument("--images", type=Path, required=True, help="folder of the image files")
    other.add_argument("--annotation-file", type=Path, help="COCO json; else the config's")
    other.add_argument("--timeout", type=float, default=1800.0, metavar="SECONDS")
    other.add_argument("--threads", type=int, default=1)
    other.add_argument("--gpu-memory", type=int, default=2048, metavar="MB")
    for command in (one, other):
        command.add_argument("--end-with-parent", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _name_cluster(hosts: str | None, index: int | None) -> None:
    """Say in TF_CONFIG, for this process, what --hosts and --index say."""
    if hosts is None:
        return
    if os.environ.get("TF_CONFIG"):
        raise CourseError("worker: --hosts: TF_CONFIG names a cluster already; leave out one")
    names = [name.strip() for name in hosts.split(",")]
    wrong = [name for name in names if not re.fullmatch(r"[^:\s]+:\d+", name)]
    if wrong:
        raise CourseError(f"worker: --hosts: {wrong[0]!r} is not host:port, such as 10.0.0.5:2222")
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": names}, "task": task})


def main(arguments: list[str] | None = None) -> int:
    """Run a command of this module; returns its exit code. Bad input is one line of stderr."""
    import helpers.common.quiet  # noqa: F401  (turns the libraries' log messages off)

    given = _arguments(arguments)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stdout.reconfigure(line_buffering=True)
    if given.end_with_parent:
        end_with_parent(LOST)
    try:
        if given.command == "evaluate":
            _step_back(given.threads, given.gpu_memory)
            continuous_eval(
                given.folder,
                given.images,
                annotation_file=given.annotation_file,
                timeout=given.timeout,
            )
            return 0
        _name_cluster(given.hosts, given.index)
        return worker(
            given.config_path,
            given.folder,
            label_map=given.label_map,
            report_every=given.report_every,
            checkpoint_every=given.checkpoint_every,
        )
    except CourseError as error:
        print(f"CourseError: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return STOPPED
    except Exception as error:
        import tensorflow as tf

        if not isinstance(error, tf.errors.OpError):
            raise
        line = re.sub(r"\{\{.*?\}\}", "", " ".join(error.message.split())).strip()[:300]
        print(f"lost another worker, or TensorFlow failed: {line}", file=sys.stderr)
        return LOST
