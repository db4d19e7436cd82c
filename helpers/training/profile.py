"""Where the time of a training step goes, and how much of the machine it uses.

One traced step is taken apart twice: by phase (forward, backward, optimizer) and by kind of
operation. What each kind computes and moves is counted in the step's graph. Both together, beside
two measured limits of the machine, make a roofline (Williams, Waterman, Patterson, 2009, "Roofline:
an insightful visual performance model", https://doi.org/10.1145/1498765.1498785).
"""

import math
import re
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.models.config import at_training_size
from helpers.models.networks import build_model
from helpers.training.batches import read_in_order

PHASES = ("forward", "backward", "optimizer")
KINDS = (
    "convolution",
    "1x1 convolution",
    "depthwise convolution",
    "matrix product",
    "batch normalisation",
    "other layers",
    "loss",
    "casts to 16 bits",
    "optimizer",
)

# Calculations for each number that comes out; for all others one.
_PER_NUMBER = {"FusedBatchNormV3": 6, "FusedBatchNormGradV3": 10, "Sigmoid": 4, "Pow": 10}
# They move nothing: they rename what is there, or are left out when the graph is optimised.
_FREE = {"Const", "Identity", "IdentityN", "NoOp", "Placeholder", "Reshape", "ZerosLike"}
# A function in a graph, such as the compiled loss, and its run in a trace.
_CALL, _COMPILED = "PartitionedCall", "ThunkExecutor::Execute"
_OPERATION = re.compile(r"([\w./-]+):(_?[A-Z]\w*)")


@dataclass(frozen=True)
class Machine:
    """What this machine can do at most, measured.

    Attributes:
        float32, bfloat16: GFLOP/s (10^9 calculations a second) of a large matrix product of
            32-bit and of 16-bit numbers.
        bandwidth: GB/s (10^9 bytes read or written a second) of a large copy in memory.
    """

    float32: float
    bfloat16: float
    bandwidth: float


@dataclass
class Work:
    """One kind of operation in one step: FLOPs, bytes read and written, seconds by phase."""

    flops: float = 0.0
    bytes: float = 0.0
    phases: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    @property
    def seconds(self) -> float:
        return sum(self.phases.values())

    @property
    def intensity(self) -> float:
        """FLOPs for each byte."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def speed(self) -> float:
        """GFLOP/s."""
        return self.flops / self.seconds / 1e9 if self.seconds else 0.0


@dataclass(frozen=True)
class Step:
    """A training step, taken apart.

    Attributes:
        batch: images in it.
        seconds: of one step, its images waiting in memory.
        with_input: of one step that also reads its images.
        input_rate: images/s that reading and preparing alone gives.
        start: seconds until the second step, which come once a run: "building the network",
            "the first images", "tracing" (Python describes the step as a graph) and "the first
            step" (TensorFlow optimises the graph).
        kinds: kind of operation -> Work, the most time first. Their seconds add up to `seconds`:
            operations run side by side, and each gets its share of a step's wall time.
    """

    batch: int
    seconds: float
    with_input: float
    input_rate: float
    start: dict[str, float]
    kinds: dict[str, Work]

    @property
    def phases(self) -> dict[str, float]:
        """Seconds of a step by phase."""
        return {phase: sum(w.phases[phase] for w in self.kinds.values()) for phase in PHASES}

    @property
    def total(self) -> Work:
        """All kinds together."""
        kinds = self.kinds.values()
        return Work(sum(w.flops for w in kinds), sum(w.bytes for w in kinds), self.phases)


def measure_machine(seconds: float = 0.5) -> Machine:
    """Measure this machine's processor; each of three measurements takes about `seconds`."""
    import tensorflow as tf

    with tf.device("CPU:0"):
        return Machine(
            float32=_product(tf.float32, seconds),
            bfloat16=_product(tf.bfloat16, seconds),
            bandwidth=_bandwidth(seconds),
        )


def _product(dtype, seconds: float, size: int = 2048) -> float:
    """GFLOP/s of the product of two square matrices."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.stateless_uniform([size, size], (0, 0)), dtype)
    if dtype != tf.float32:
        # Small first: without instructions for 16 bits a large one takes many seconds.
        small = matrix[:512, :512]
        if _best(lambda: tf.linalg.matmul(small, small), 0.05) > 0.02:
            size, matrix = 512, small
    return 2 * size**3 / _best(lambda: tf.linalg.matmul(matrix, matrix), seconds) / 1e9


def _bandwidth(seconds: float, size: int = 256 << 20) -> float:
    """GB/s of a copy of `size` bytes, far beyond any cache, by one thread for each core."""
    import os

    cores = os.cpu_count() or 1
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    parts = list(zip(np.array_split(source, cores), np.array_split(target, cores), strict=True))
    with ThreadPoolExecutor(cores) as pool:
        best = _best(
            lambda: list(pool.map(lambda part: np.copyto(part[1], part[0]), parts)), seconds
        )
    return 2 * size / best / 1e9


def _best(function, seconds: float) -> float:
    """Shortest time of a call of `function`, in calls over `seconds`, at least two."""
    times, end = [], time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def profile_step(config, *, steps: int = 5) -> Step:
    """Build the detector of `config`, and take a step of its training apart.

    Nothing that was trained changes. On two cores it takes about 20 s for the course's SSD, most
    of it once a run (`Step.start`). A GPU is not used.

    Args:
        config: from `config.for_records`; on tiles where its records are tiles, as in training.
        steps: how many steps each figure is measured on.

    Raises CourseError for records that are not there, or too few for one batch.
    """
    import tensorflow as tf

    start: dict[str, float] = {}

    @contextmanager
    def timed(name: str):
        began = time.perf_counter()
        yield
        start[name] = time.perf_counter() - began

    folder = Path(config.task.train_data.input_path).parent
    counts = read_manifest(folder)["counts"]
    batch = config.task.train_data.global_batch_size
    if counts["train"]["images"] < batch:
        raise CourseError(
            f"{folder}: {counts['train']['images']} training images are less than one batch of "
            f"{batch}; set task.train_data.global_batch_size lower"
        )
    config = at_training_size(config)
    with tf.device("CPU:0"):
        with timed("building the network"):
            task, model = build_model(config)
            optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
            metrics = task.build_metrics(training=True)

        @tf.function
        def train_step(batch):
            return task.train_step(batch, model, optimizer, metrics)[task.loss]

        with timed("the first images"):
            data = iter(read_in_order(task, config.task.train_data))
            held = next(data)
        with timed("tracing"):
            graph = train_step.get_concrete_function(held).graph
        with timed("the first step"):
            train_step(held).numpy()
        train_step(held).numpy()
        seconds = statistics.median(_times(lambda: train_step(held).numpy(), steps))
        spent = _trace(lambda: train_step(held).numpy(), min(3, steps))
        # The first of them find images that were read meanwhile.
        with_input = _times(lambda: train_step(next(data)).numpy(), 2 * steps)[steps:]
        rate = batch / statistics.median(_times(lambda: next(data), 2 * steps)[steps:])
    kinds = _kinds(graph, model.name, spent)
    busy = sum(work.seconds for work in kinds.values())
    for work in kinds.values():
        work.phases = {phase: s * seconds / busy for phase, s in work.phases.items()}
    kinds = dict(sorted(kinds.items(), key=lambda item: -item[1].seconds))
    return Step(batch, seconds, statistics.median(with_input), rate, start, kinds)


def _times(function, count: int) -> list[float]:
    return [_time(function) for _ in range(count)]


def _time(function) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _trace(function, count: int) -> dict[tuple[str, str], float]:
    """Return the seconds that each operation (name, type) ran in one call of `function`."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(count):
                function()
        space = xplane_pb2.XSpace()
        (path,) = Path(folder).rglob("*.xplane.pb")
        space.ParseFromString(path.read_bytes())
    spent: dict[tuple[str, str], float] = {}
    compiled: list[tuple[int, float]] = []
    for plane in space.planes:
        names = {number: event.name for number, event in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                seconds = event.duration_ps / 1e12 / count
                if names[event.metadata_id] == _COMPILED:
                    compiled.append((1000 * line.timestamp_ns + event.offset_ps, seconds))
                found = _OPERATION.fullmatch(names[event.metadata_id].partition("#")[0])
                if found:
                    spent[found.groups()] = spent.get(found.groups(), 0.0) + seconds
    # It does not say what was compiled: in each step first the loss, then its gradient.
    compiled.sort()
    for place, (_, seconds) in enumerate(compiled):
        key = (_CALL, _CALL) if place % 2 == 0 else (f"{_CALL}_1", _CALL)
        spent[key] = spent.get(key, 0.0) + seconds
    return spent


def _kinds(graph, scope: str, spent: dict[tuple[str, str], float]) -> dict[str, Work]:
    """Count what the operations of a step's graph compute, and give each kind its seconds.

    Args:
        graph: of the traced step.
        scope: name of the model, under which its operations lie.
        spent: (name, type) -> seconds, of the graph as TensorFlow runs it: some operations are
            merged there, others added, and the names still tell which they came from.
    """
    operations = graph.get_operations()
    order = {operation.name: i for i, operation in enumerate(operations)}
    backward = [
        i for name, i in order.items() if name.startswith("gradient_tape/") or name == f"{_CALL}_1"
    ]
    first, last = min(backward), max(backward)

    def phase(name: str) -> str:
        place = order.get(name, first if "gradient_tape/" in name else 0)
        return PHASES[(place >= first) + (place > last)]

    kinds = {kind: Work() for kind in KINDS}
    for operation in operations:
        if operation.type not in _FREE and not operation.type.endswith("VariableOp"):
            kind = _kind(operation.name, operation.type, operation, scope, phase(operation.name))
            kinds[kind].flops += sum(map(flops, _parts(operation)))
            kinds[kind].bytes += moved(operation)
    for (name, type_), seconds in spent.items():
        name = re.sub(r"-\d+-CastTo.*", "", name)
        operation = graph.get_operation_by_name(name) if name in order else None
        kind = _kind(name, type_, operation, scope, phase(name))
        kinds[kind].phases[phase(name)] += seconds
    return {kind: work for kind, work in kinds.items() if work.seconds}


def _parts(operation) -> list:
    """The operations that a call of a function stands for; any other stands for itself.

    What a compiled function moves is what goes in and comes out: the rest stays in registers.
    """
    if operation.type != _CALL:
        return [operation]
    body = operation.graph._get_function(operation.get_attr("f").name).graph
    return [part for part in body.get_operations() if part.type not in _FREE]


def _kind(name: str, type_: str, operation, scope: str, phase: str) -> str:
    if phase == "optimizer":
        return "optimizer"
    if type_ == "Cast":
        return "casts to 16 bits"
    if "Depthwise" in type_:
        return "depthwise convolution"
    if "Conv2D" in type_:
        while operation is not None and "Conv2D" not in operation.type:
            # One operation computes a convolution and what follows it, and bears the last name.
            operation = operation.inputs[0].op if len(operation.inputs) else None
        kernel = _kernel(operation) if operation is not None else (0, 0)
        return "1x1 convolution" if kernel[:2] == (1, 1) else "convolution"
    if "MatMul" in type_:
        return "matrix product"
    if "BatchNorm" in type_:
        return "batch normalisation"
    inside = f"{scope}/" in name or type_ == "AddN"  # AddN at the top adds gradients
    return "other layers" if inside else "loss"


def flops(operation) -> float:
    """Return the calculations of one operation of a graph (a multiplication and an addition: 2).

    Convolutions and matrix products are exact; of others, about one for each number that comes
    out. 0 where the graph does not know the shapes.
    """
    if "Conv2D" in operation.type or "Conv2d" in operation.type:
        forward = "Backprop" not in operation.type
        out = _numbers(operation.outputs[0] if forward else operation.inputs[2])
        height, width, channels, _ = _kernel(operation)
        return 2 * out * height * width * (1 if "Depthwise" in operation.type else channels)
    out = _numbers(operation.outputs[0]) if operation.outputs else 0
    if operation.type == "MatMul":
        rows, columns = operation.inputs[0].shape
        inner = rows if operation.get_attr("transpose_a") else columns
        return 2 * out * (inner or 0)
    return out * _PER_NUMBER.get(operation.type, 1)


def moved(operation) -> float:
    """Return the bytes that one operation of a graph reads and writes, in 32 bits a number."""
    return 4 * sum(_numbers(tensor) for tensor in [*operation.inputs, *operation.outputs])


def _kernel(operation) -> tuple[int, ...]:
    """Height, width, channels in and out of a convolution's kernel."""
    of_filter = "BackpropFilter" in operation.type
    return tuple((operation.outputs[0] if of_filter else operation.inputs[1]).shape)


def _numbers(tensor) -> int:
    known = tensor.dtype.is_floating and tensor.shape.is_fully_defined()
    return math.prod(tensor.shape) if known else 0
