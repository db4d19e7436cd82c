"""Train on several workers that are processes of this machine, and score their checkpoints."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from helpers.common.errors import CourseError
from helpers.common.processes import child_process
from helpers.training.cluster import tf_config
from helpers.training.history import read_history
from helpers.training.worker import BAD_INPUT, LOST, STOPPED

_REPORT = re.compile(r"^step (\d+) of (\d+): (.*)$", re.MULTILINE)


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

    The processes share the machine's cores and compute on them, not on a GPU. Their output is in
    <folder>.logs/. None outlives this call, nor this process. Ctrl-C stops them after the step of
    the next report, with a checkpoint; the same call resumes from the last checkpoint.

    Args:
        config_path: file that `save_config` wrote, with `runtime.distribution_strategy`
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
    folder = Path(folder)
    for path in (config_path, label_map, *([images] if images else [])):
        if not Path(path).exists():
            raise CourseError(f"{path}: missing; give a path that exists, relative to {Path.cwd()}")
    if workers < 1:
        raise CourseError(f"launch: workers: {workers}; give 1 or more")
    logs = folder.with_name(f"{folder.name}.logs")
    logs.mkdir(parents=True, exist_ok=True)
    hosts = [f"127.0.0.1:{port}" for port in _free_ports(workers)]
    # In it is what a killed process leaves: it goes when the call ends.
    with tempfile.TemporaryDirectory(prefix="course-launch-") as scratch, _children() as start:
        variables = _variables(workers) | {"TMPDIR": scratch}
        train = ["worker", config_path, folder, "--label-map", label_map]
        train += ["--report-every", report_every, "--checkpoint-every", checkpoint_every]
        crew = [
            start(
                f"worker {index} of {workers}",
                logs / f"worker-{index}.log",
                train,
                variables | {"TF_CONFIG": tf_config(hosts, index)},
            )
            for index in range(workers)
        ]
        score = ["evaluate", folder, "--images", images]
        evaluator = partial(start, "the evaluator", logs / "evaluator.log", score, variables)
        try:
            _follow(crew, folder.name, evaluator if images else None)
        except KeyboardInterrupt:
            _stop(crew)
            rows = read_history(folder)
            print(f"Stopped after step {rows[-1]['step'] if rows else 0}; run again to resume.")
    return read_history(folder)


@dataclass(frozen=True)
class _Child:
    """A process, with its name in messages and the file of its output."""

    name: str
    log: Path
    process: subprocess.Popen

    def output(self) -> str:
        return self.log.read_text(errors="replace")


@contextlib.contextmanager
def _children() -> Iterator[Callable[..., _Child]]:
    """Yield start(name, log, arguments, variables); what it started is gone afterwards."""
    with contextlib.ExitStack() as stack:

        def start(name, log, arguments, variables):
            command = ["helpers.scale", *arguments, "--end-with-parent"]
            return _Child(name, log, stack.enter_context(child_process(command, log, variables)))

        yield start


def _variables(workers: int) -> dict[str, str]:
    """Environment variables by which each process takes its share of the machine's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = max(1, (cores or 1) // workers)
    return {
        "CUDA_VISIBLE_DEVICES": "-1",
        "TQDM_DISABLE": "1",
        "OMP_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        # A worker that waits for another occupies one thread.
        "TF_NUM_INTEROP_THREADS": str(max(2, threads)),
    }


def _free_ports(number: int) -> list[int]:
    """Ports of this machine that nothing listens on.

    Below 32768: from there on the kernel takes ports for outgoing connections, and could take one
    between this look and its use.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(range(15_000, 32_000), 1000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            found.append(port)
        if len(found) == number:
            return found
    raise CourseError(f"launch: no {number} free ports from 15000 to 32000; stop other programs")


def _follow(
    crew: Sequence[_Child], name: str, start_evaluator: Callable[[], _Child] | None
) -> None:
    """Show the training's progress until it ends, and wait until its last checkpoint is scored."""
    from helpers.common.progress import tqdm

    evaluator = None
    with tqdm(desc=name, unit="step") as bar:
        bar.set_postfix_str(f"starting {len(crew)} workers")
        for _ in _ticks(crew):
            reports = _REPORT.findall(crew[0].output())
            if not reports:
                continue
            step, steps, text = reports[-1]
            if bar.total is None:
                bar.reset(total=int(steps))
                # Not before: until now the folder may be that of another config.
                evaluator = start_evaluator() if start_evaluator else None
            bar.set_postfix_str(text, refresh=False)
            bar.update(int(step) - bar.n)
        if start_evaluator:
            bar.set_postfix_str("scoring the last checkpoint")
            for _ in _ticks([evaluator or start_evaluator()]):
                bar.refresh()


def _ticks(children: Sequence[_Child]) -> Iterator[None]:
    """Yield five times a second until the first process is done, and once more then.

    Raises CourseError when one of them fails, KeyboardInterrupt when one was told to stop.
    """
    while (code := children[0].process.poll()) != 0:
        if code or any(child.process.poll() for child in children):
            raise _failure(children)
        yield
        time.sleep(0.2)
    yield


def _failure(children: Sequence[_Child]) -> BaseException:
    """What to raise when at least one process has failed."""
    # The others lose contact with the first to die: of these, the one to blame is looked for.
    time.sleep(0.5)
    failed = [child for child in children if child.process.poll()]
    child = min(failed, key=lambda child: child.process.returncode == LOST)
    code = child.process.returncode
    if code == STOPPED:
        return KeyboardInterrupt()  # somebody told one of them to stop, and it told the others
    lines = [" ".join(line.split()) for line in child.output().splitlines() if line.strip()]
    prefix = "CourseError: "
    if code == BAD_INPUT and lines and lines[-1].startswith(prefix):
        return CourseError(lines[-1].removeprefix(prefix))
    end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    last = " | ".join(line[:300] for line in lines[-3:]) or "nothing"
    return CourseError(
        f"{child.name} {end}; run again to resume from the last checkpoint. "
        f"Its log, {child.log}, ends with: {last}"
    )


def _stop(crew: Sequence[_Child], seconds: float = 30.0) -> None:
    """Let the workers save a checkpoint and end; they agree on it at their next report."""
    end = time.monotonic() + seconds
    for child in crew:
        child.process.terminate()
    for child in crew:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0, end - time.monotonic()))
