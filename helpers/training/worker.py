"""Train on several workers, and score checkpoints next to the training.

A cluster runs one command per machine:

    python -m helpers.scale worker CONFIG FOLDER --label-map FILE     (TF_CONFIG names the cluster)
    python -m helpers.scale evaluate FOLDER --images FOLDER

`launch` runs the same commands as processes of this machine. Cluster software sets TF_CONFIG;
without it, `--hosts host:port,host:port --index 0` says the same.
"""

import argparse
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers import models
from helpers.common.errors import CourseError
from helpers.common.processes import end_with_parent
from helpers.common.quiet import quiet_libraries
from helpers.training import cluster, loop
from helpers.training.evaluator import continuous_eval

# Exit codes of a worker, besides 0: bad input, another worker is gone, told to stop.
BAD_INPUT, LOST, STOPPED = 2, 3, 128 + signal.SIGTERM


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

    Returns:
        The exit code of the process: 0, or STOPPED.
    """
    config = models.load_config(config_path)
    signals: list[int] = []
    stopped = False
    # Until the first report there is nothing to save: Ctrl-C then ends this process at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def report(history: list[dict]) -> None:
        nonlocal stopped
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda number, frame: signals.append(number))
        row = history[-1]
        print(
            f"step {row['step']} of {config.trainer.train_steps}: loss {row['total_loss']:.3f}, "
            f"{row['images_per_second']:.1f} images/s"
        )
        if cluster.total(len(signals)):
            stopped = True
            raise KeyboardInterrupt

    loop.train(
        config,
        folder,
        label_map=label_map,
        on_report=report,
        report_every=report_every,
        checkpoint_every=checkpoint_every,
    )
    return STOPPED if stopped else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m helpers.scale`; returns its exit code. Bad input is one line of stderr."""
    options = vars(_parser().parse_args(arguments))
    command = options.pop("command")
    quiet_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    if options.pop("end_with_parent"):
        end_with_parent(LOST)
    try:
        if command == "evaluate":
            _leave_room(options.pop("threads"), options.pop("gpu_memory"))
            continuous_eval(**options)
            return 0
        _set_cluster(options.pop("hosts"), options.pop("index"))
        return worker(**options)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m helpers.scale", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)

    train = commands.add_parser("worker", help="train, as one worker of a cluster")
    train.add_argument("config_path", type=Path, metavar="CONFIG", help="the config's .yaml file")
    train.add_argument("folder", type=Path, help="of the training, on a disk that workers share")
    train.add_argument("--label-map", type=Path, required=True, help=".pbtxt file")
    train.add_argument("--hosts", help="host:port of all workers, with commas; else TF_CONFIG")
    train.add_argument("--index", type=int, help="this worker's place in --hosts, from 0")
    train.add_argument("--report-every", type=int, default=10, metavar="STEPS")
    train.add_argument("--checkpoint-every", type=int, default=50, metavar="STEPS")

    score = commands.add_parser("evaluate", help="score the checkpoints of a training")
    score.add_argument("folder", type=Path, help="of the training")
    score.add_argument("--images", type=Path, required=True, help="folder of the image files")
    score.add_argument("--annotation-file", type=Path, help="COCO json; else the config's")
    score.add_argument("--timeout", type=float, default=1800.0, metavar="SECONDS")
    score.add_argument("--threads", type=int, default=1)
    score.add_argument("--gpu-memory", type=int, default=2048, metavar="MB")

    for command in (train, score):
        command.add_argument("--end-with-parent", action="store_true", help=argparse.SUPPRESS)
    return parser


def _set_cluster(hosts: str | None, index: int | None) -> None:
    """Set this process's TF_CONFIG to what --hosts and --index say."""
    if hosts is None:
        return
    if os.environ.get("TF_CONFIG"):
        raise CourseError("worker: --hosts: TF_CONFIG names a cluster already; leave out one")
    names = [name.strip() for name in hosts.split(",")]
    wrong = [name for name in names if not re.fullmatch(r"[^:\s]+:\d+", name)]
    if wrong:
        raise CourseError(f"worker: --hosts: {wrong[0]!r} is not host:port, such as 10.0.0.5:2222")
    os.environ["TF_CONFIG"] = cluster.tf_config(names, index)


def _leave_room(threads: int, gpu_memory: int) -> None:
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
