"""How large a batch this machine can train: tried in a child process, which may run out of memory.

    rows = probe(config)

The child, `python -m helpers.training.batch_size CONFIG FIRST MOST ROWS`, trains a few steps of
each size.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers.common.devices import gpu_memory, gpus
from helpers.common.errors import CourseError
from helpers.common.processes import child_environment, end_with_parent
from helpers.models import config as configs
from helpers.models.config import at_training_size
from helpers.models.networks import build_model

# What a row says: the probe went on after it, or why it did not.
FITS, FULL, NO_FASTER, LATE = "fits", "out of memory", "hardly faster", "no time left"

GAIN = 1.1  # a doubled batch should bring so many times the images a second
_SPARE = 0.9  # of the free memory: the rest is for the notebook and the browser
_BAD_INPUT = 2
_MB = 1e6
# Forward operations whose results the backward pass reads again.
_KEPT = {
    "AddV2", "AvgPool", "BiasAdd", "ConcatV2", "Conv2D", "DepthwiseConv2dNative", "Einsum",
    "FusedBatchNormV3", "MatMul", "MaxPool", "Mul", "Relu", "Relu6", "ResizeNearestNeighbor",
    "Sigmoid",
}  # fmt: skip


def probe_batch_sizes(
    config, *, first: int = 1, most: int = 256, seconds: float = 25, memory_mb: float | None = None
) -> list[dict]:
    """Train a few steps of ever larger batches in a child process, until it is no longer of use.

    The batches are those that training reads: the config's images at its training size (tiles
    where the records hold tiles), augmented and shuffled, but from a shorter queue. The batch
    doubles until memory is full, a doubling brings less than a tenth more images a second, or time
    is over. A child that grows beyond the memory is killed before the machine starts to swap.

    Args:
        config: from `config.for_records`.
        first: batch to start from.
        most: largest batch to try.
        seconds: of wall time for all of it; the child's start and each size's first step, in
            which TensorFlow plans it, count.
        memory_mb: megabytes (10^6 bytes) that the child may take; None for nine tenths of what is
            free.

    Returns:
        A row for each batch: batch; outcome (FITS, or why the probe ended: FULL, NO_FASTER, LATE);
        and, but after FULL and LATE: seconds_per_step, images_per_second; memory_mb, the most that
        the child has taken so far; and what arithmetic says of it, in MB: libraries_mb (the child
        before its first step, measured), weights_mb, gradients_mb, optimizer_mb, activations_mb
        (what the layers put out, which is kept for the backward pass), batch_mb (images, labels).
        With a GPU memory_mb is that of the GPU, and libraries_mb 0.

    Raises CourseError when the config cannot be trained at all.
    """
    import psutil
    from tqdm.auto import tqdm

    if first < 1 or most < first:
        raise CourseError(f"probe: first: {first}, most: {most}; give 1 <= first <= most")
    limit = memory_mb * _MB if memory_mb else _SPARE * _free()
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="course-probe-") as scratch:
        said, log = Path(scratch) / "rows", Path(scratch) / "log"
        said.touch()
        # The rate is not what is tried, and a preset has no schedule yet.
        rate = "trainer.optimizer_config.learning_rate"
        steady = {f"{rate}.type": "constant", f"{rate}.constant.learning_rate": 1e-4}
        steady["trainer.optimizer_config.warmup.type"] = None
        config = configs.edit(at_training_size(config), steady)
        configs.save_config(config, Path(scratch) / "config.yaml")
        with log.open("w") as file, tqdm(desc="batch sizes", unit="size") as bar:
            child = subprocess.Popen(
                [
                    *(
                        sys.executable,
                        "-P",
                        "-m",
                        "helpers.training.batch_size",
                        Path(scratch) / "config.yaml",
                    ),
                    *(str(first), str(most), said),
                ],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=child_environment(),
                start_new_session=True,  # Ctrl-C reaches this process, which ends the child
            )
            try:
                outcome = _watch(child, psutil.Process(child.pid), said, limit, deadline, bar)
            finally:
                child.kill()
                child.wait()
                child.stdin.close()
        rows = _rows(said)
        if outcome is None and child.returncode not in (0, -signal.SIGKILL):
            if child.returncode == _BAD_INPUT or not rows:
                lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
                raise CourseError(f"probe: the child ended with {child.returncode}: {lines[-1]}")
            outcome = FULL  # native code that gets no memory aborts
        elif outcome is None and child.returncode:
            outcome = FULL  # killed: that is what the system does where memory is out
    sizes = _sizes(first, most)
    if outcome and len(rows) < len(sizes) and not (rows and rows[-1]["outcome"] != FITS):
        rows.append({"batch": sizes[len(rows)], "outcome": outcome})
    return rows


def _watch(child, process, said: Path, limit: float, deadline: float, bar) -> str | None:
    """Wait for the child, and kill it when it takes too much: FULL or LATE, None when it ended."""
    import psutil

    shown = 0
    while child.poll() is None:
        # A page is only counted once it is used: 20 ms are some 50 MB.
        time.sleep(0.02)
        try:
            taken = process.memory_info().rss
        except psutil.Error:
            break
        rows = _rows(said) if said.stat().st_size else []
        if len(rows) > shown:
            bar.update(len(rows) - shown)
            row, shown = rows[-1], len(rows)
            if "images_per_second" in row:
                rate = f"{row['images_per_second']:.1f} images/s, {row['memory_mb']:.0f} MB"
                bar.set_postfix_str(f"{row['batch']}: {rate}")
        if taken > limit or time.monotonic() > deadline:
            child.kill()
            return FULL if taken > limit else LATE
    child.wait()
    return None


def _rows(said: Path) -> list[dict]:
    """The rows that the child has written whole."""
    text = said.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _sizes(first: int, most: int) -> list[int]:
    sizes = [first]
    while sizes[-1] * 2 <= most:
        sizes.append(sizes[-1] * 2)
    return sizes


def _free() -> float:
    """Bytes that this process may still take: of the machine, or of its container."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        group = Path("/sys/fs/cgroup")
        most = (group / "memory.max").read_text().strip()
        if most != "max":
            free = min(free, int(most) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return free


def _peak() -> float:
    """Bytes of memory that this process has taken at most."""
    import resource

    try:
        # Not ru_maxrss: on Linux that starts at the size of the process that started this one.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024)


def _try_sizes(path: Path, first: int, most: int, said: Path) -> None:
    """What the child does: a row in `said` for each size, until the next brings nothing."""
    import tensorflow as tf

    config = configs.load_config(path)
    peak = gpu_memory if gpus() else _peak
    task, model = build_model(config)
    optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
    trained = sum(_bytes(weight) for weight in model.trainable_weights)
    known = {
        "libraries_mb": 0.0 if gpus() else _peak() / _MB,
        "weights_mb": sum(_bytes(weight) for weight in model.weights) / _MB,
        "gradients_mb": trained / _MB,
    }
    before = 0.0
    for size in _sizes(first, most):
        row = {"batch": size}
        try:
            row |= _try(config, task, model, optimizer, size)
            slots = [v for v in optimizer.variables() if v.shape.rank]
            row["optimizer_mb"] = sum(map(_bytes, slots)) / _MB
            row |= {**known, "memory_mb": peak() / _MB, "outcome": FITS}
            if row["images_per_second"] < GAIN * before:
                row["outcome"] = NO_FASTER
            before = row["images_per_second"]
        except (tf.errors.ResourceExhaustedError, MemoryError):
            row["outcome"] = FULL
        with said.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if row["outcome"] != FITS:
            return


def _try(config, task, model, optimizer, size: int) -> dict:
    """Seconds per step, images a second and the bytes of activations with one batch size."""
    import tensorflow as tf

    data = config.task.train_data
    queue = min(data.shuffle_buffer_size, 2 * size)
    data = data.replace(global_batch_size=size, shuffle_buffer_size=queue)
    batches = iter(task.build_inputs(data))

    # One for each size, as training has it: with one for all, operations would not know theirs.
    @tf.function
    def step(batch):
        return task.train_step(batch, model, optimizer)

    batch = next(batches)
    plan = step.get_concrete_function(batch)
    kept = [
        op.outputs[0]
        for op in plan.graph.get_operations()
        if op.type in _KEPT and not op.name.startswith("gradient_tape")
    ]
    kept = [t for t in kept if t.shape.is_fully_defined() and t.shape.rank > 1]
    step(batch)
    began, steps = time.monotonic(), 0
    while steps < 3 or (time.monotonic() - began < 1 and steps < 20):
        step(next(batches))["loss"].numpy()
        steps += 1
    each = (time.monotonic() - began) / steps
    return {
        "seconds_per_step": each,
        "images_per_second": size / each,
        "activations_mb": sum(map(_bytes, kept)) / _MB,
        "batch_mb": sum(map(_bytes, tf.nest.flatten(batch))) / _MB,
    }


def _bytes(tensor) -> int:
    return tensor.shape.num_elements() * tensor.dtype.size


if __name__ == "__main__":
    import helpers.common.quiet  # noqa: F401  (turns the libraries' log messages off)

    end_with_parent(1)
    # Linux kills this process first when memory runs out.
    if Path("/proc/self/oom_score_adj").exists():
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        _try_sizes(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    except CourseError as error:
        sys.exit(print(error) or _BAD_INPUT)
