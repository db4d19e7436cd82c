"""How large a batch this machine can train: tried in a child process, which may run out of memory.

The child, `python -m helpers.training.batch_size CONFIG FIRST MOST ROWS`, trains a few steps of
each size, and writes a line of json to the file ROWS after each.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers import models
from helpers.common.devices import gpu_memory, gpus
from helpers.common.errors import CourseError
from helpers.common.processes import child_process, end_with_parent
from helpers.common.quiet import quiet_libraries

# What a row says: the probe continued after it, or why it did not.
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
        config: from `for_records`.
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
        (what the layers compute, which is kept for the backward pass), batch_mb (images, labels).
        With a GPU memory_mb is that of the GPU, and libraries_mb 0.

    Raises:
        CourseError: the config cannot be trained at all, or `first` and `most` make no sense.
    """
    if first < 1 or most < first:
        raise CourseError(
            f"probe_batch_sizes: first: {first}, most: {most}; give 1 <= first <= most"
        )
    limit = memory_mb * _MB if memory_mb else _SPARE * _free()
    deadline = time.monotonic() + seconds
    # The rate is not what is tried, and a preset has no schedule yet.
    rate = "trainer.optimizer_config.learning_rate"
    steady = {f"{rate}.type": "constant", f"{rate}.constant.learning_rate": 1e-4}
    steady["trainer.optimizer_config.warmup.type"] = None
    config = models.edit(models.at_training_size(config), steady)
    with tempfile.TemporaryDirectory(prefix="course-probe-") as scratch:
        path, written, log = (Path(scratch) / name for name in ("config.yaml", "rows", "log"))
        models.save_config(config, path)
        written.touch()
        command = ["helpers.training.batch_size", path, first, most, written]
        with child_process(command, log) as child:
            outcome = _watch(child, written, limit, deadline)
        rows = _rows(written)
        if outcome is None and child.returncode:
            # Native code that gets no memory aborts, and the system kills where memory is out.
            outcome = FULL
            killed = child.returncode == -signal.SIGKILL
            if child.returncode == _BAD_INPUT or not (rows or killed):
                lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
                raise CourseError(
                    f"probe_batch_sizes: the child ended with {child.returncode}: {lines[-1]}"
                )
    sizes = _sizes(first, most)
    ended = len(rows) == len(sizes) or (rows and rows[-1]["outcome"] != FITS)
    if outcome and not ended:
        rows.append({"batch": sizes[len(rows)], "outcome": outcome})
    return rows


def probe_advice(rows: list[dict], seconds: float) -> str:
    """Return a line that says why a probe ended, and what to do about it.

    Args:
        rows: of `probe_batch_sizes`, one at least.
        seconds: that it had.
    """
    *before, last = rows
    largest = f"{before[-1]['batch']} images fit" if before else "nothing was measured"
    if last["outcome"] == LATE:
        return (
            f"After {seconds:g} seconds there was no time left for a batch of {last['batch']} "
            f"({largest}): the machine is slow, or busy with something else. To know more, close "
            f"other programs or set probe_seconds = {3 * seconds:g}."
        )
    if last["outcome"] == FULL:
        fix = "take that" if before else "take a preset with a smaller input"
        return f"A batch of {last['batch']} needs more memory than is free; {largest}, {fix}."
    if last["outcome"] == NO_FASTER:
        return f"A batch of {last['batch']} is hardly faster than half of it; both fit."
    return f"A batch of {last['batch']} fits, the largest that was tried."


def _watch(child: subprocess.Popen, written: Path, limit: float, deadline: float) -> str | None:
    """Wait for the child; FULL or LATE when it takes too much, None when it ended."""
    import psutil

    from helpers.common.progress import tqdm

    process = psutil.Process(child.pid)
    with tqdm(desc="batch sizes", unit="size") as bar:
        while child.poll() is None:
            # A page is only counted once it is used: 20 ms are some 50 MB.
            time.sleep(0.02)
            try:
                taken = process.memory_info().rss
            except psutil.Error:
                break
            rows = _rows(written)
            if len(rows) > bar.n:
                bar.update(len(rows) - bar.n)
                if speed := rows[-1].get("images_per_second"):
                    memory = f"{rows[-1]['memory_mb']:.0f} MB"
                    bar.set_postfix_str(f"{rows[-1]['batch']}: {speed:.1f} images/s, {memory}")
            if taken > limit:
                return FULL
            if time.monotonic() > deadline:
                return LATE
    child.wait()
    return None


def _rows(written: Path) -> list[dict]:
    """The rows that the child has written whole."""
    *whole, _ = written.read_text().split("\n")
    return [json.loads(line) for line in whole]


def _sizes(first: int, most: int) -> list[int]:
    """first, 2 first, 4 first, ... up to `most`."""
    return [first << i for i in range((most // first).bit_length())]


def _free() -> float:
    """Bytes that are free: of the machine, or of its container."""
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


def _try_sizes(path: Path, first: int, most: int, written: Path) -> None:
    """What the child does: write a row for each size, until the next brings nothing."""
    import tensorflow as tf

    config = models.load_config(path)
    peak = gpu_memory if gpus() else _peak
    task, model = models.build_model(config)
    optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
    trained = sum(_bytes(weight) for weight in model.trainable_weights)
    known = {
        "libraries_mb": 0.0 if gpus() else _peak() / _MB,
        "weights_mb": sum(_bytes(weight) for weight in model.weights) / _MB,
        "gradients_mb": trained / _MB,
    }
    before = 0.0
    for size in _sizes(first, most):
        row: dict = {"batch": size}
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
        with written.open("a") as file:
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
    quiet_libraries()
    end_with_parent(1)
    # Linux kills this process first when memory runs out.
    if Path("/proc/self/oom_score_adj").exists():
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        _try_sizes(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    except CourseError as error:
        print(error)
        sys.exit(_BAD_INPUT)
