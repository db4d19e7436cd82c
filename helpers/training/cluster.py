"""Where a training runs: this machine, several GPUs of it, or the workers of a cluster.

`runtime.distribution_strategy` of a Model Garden config decides. A cluster is named by the
environment's TF_CONFIG, as cluster software sets it, or by `runtime.worker_hosts` and
`runtime.task_index`; each worker is a process of its own and runs the same training.
"""

import contextlib
import functools
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from helpers.common.devices import gpus
from helpers.common.errors import CourseError
from helpers.models.config_check import check_share

KINDS = ("one_device", "mirrored", "multi_worker_mirrored")
# Where a training runs, not what it trains: it may resume elsewhere.
KEYS = tuple(
    f"runtime.{name}"
    for name in (
        "distribution_strategy",
        "num_gpus",
        "worker_hosts",
        "task_index",
        "all_reduce_alg",
        "num_packs",
    )
)


def strategy(config):
    """Return the tf.distribute strategy that the config's `runtime` asks for.

    "one_device", and "mirrored" with `runtime.num_gpus` up to 1, is TensorFlow's default: the
    first GPU, or the CPU. With several workers the call waits until all have made it.

    Raises:
        CourseError: a strategy that this course does not know, GPUs that are not there, a cluster
            that does not fit the config, or a batch or images that cannot be shared.
    """
    import tensorflow as tf
    from official.common import distribute_utils

    runtime = config.runtime
    kind = str(runtime.distribution_strategy).lower()
    if kind not in (*KINDS, "off"):
        raise CourseError(
            f"config: runtime.distribution_strategy: {runtime.distribution_strategy!r}; "
            f"give one of {', '.join(KINDS)}"
        )
    size = _cluster_size(runtime)
    algorithm = {"num_gpus": runtime.num_gpus, "all_reduce_alg": runtime.all_reduce_alg}
    if kind == "multi_worker_mirrored":
        # Before the start, which waits for all workers: those that fail now would be missed.
        check_share(config, size)
        distribute_utils.configure_cluster(runtime.worker_hosts, runtime.task_index)
        try:
            found = distribute_utils.get_distribution_strategy(kind, **algorithm)
        except (RuntimeError, ValueError) as error:
            line = " ".join(str(error).split())
            raise CourseError(
                f"config: runtime.distribution_strategy: the workers cannot start ({line}); "
                "start each as `python -m helpers.scale worker`"
            ) from None
    elif size > 1:
        raise CourseError(
            f"config: runtime.distribution_strategy: {kind!r} trains on one machine, but the "
            f"cluster has {size} workers; set it to 'multi_worker_mirrored'"
        )
    elif kind == "mirrored" and runtime.num_gpus > 1:
        if runtime.num_gpus > gpus():
            raise CourseError(
                f"config: runtime.num_gpus: {runtime.num_gpus}, but TensorFlow sees {gpus()} here; "
                "give no more than that"
            )
        found = distribute_utils.get_distribution_strategy(kind, **algorithm)
    else:
        found = tf.distribute.get_strategy()
    check_share(config, found.num_replicas_in_sync)
    return found


def count(strategy) -> int:
    """Return how many workers a strategy has."""
    resolver = _resolver(strategy)
    if resolver is None:
        return 1
    spec = resolver.cluster_spec()
    return sum(spec.num_tasks(job) for job in ("chief", "worker") if job in spec.jobs)


def is_chief(strategy) -> bool:
    """Whether this process writes the files: the chief, or worker 0 of a cluster without one."""
    resolver = _resolver(strategy)
    if resolver is None:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def _resolver(strategy):
    """Return the strategy's cluster; None without one."""
    resolver = getattr(strategy, "cluster_resolver", None)
    return resolver if resolver is not None and resolver.task_type else None


@contextlib.contextmanager
def place_to_write(strategy, folder: Path) -> Iterator[Path]:
    """The folder itself on the chief; on other workers one that is gone afterwards.

    They take part in each checkpoint, since the running means of batch normalisation are spread
    over the workers, but their copies are of no use.
    """
    if is_chief(strategy):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="course-worker-") as place:
        yield Path(place)


def total(number: int) -> int:
    """Return the sum of the numbers with which the workers of the running training call this.

    All of them have to call it, and it waits until they have.
    """
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    if count(strategy) == 1:
        return number

    sums = strategy.experimental_local_results(_adder(strategy)(tf.constant(number)))
    return int(sums[0]) // len(sums)


@functools.cache
def _adder(strategy):
    """Return a compiled sum over all replicas; ten times as fast as one that is not."""
    import tensorflow as tf

    def add(number):
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(number))

    return tf.function(lambda number: strategy.run(add, args=(number,)))


def tf_config(hosts: Sequence[str], index: int | None) -> str:
    """Return the TF_CONFIG of worker `index` (from 0) of a cluster of "host:port" addresses."""
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": list(hosts)}, "task": task})


def _cluster_size(runtime) -> int:
    """Return how many workers there are; CourseError when this process is not one of them."""
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        tree = json.loads(text)
        cluster, task = tree.get("cluster", {}), tree.get("task", {})
        hosts = {kind: list(cluster.get(kind, [])) for kind in ("chief", "worker")}
        own = range(len(hosts.get(task.get("type"), [])))
    except (ValueError, AttributeError, TypeError):
        raise CourseError(
            f"TF_CONFIG: {text[:80]!r} is not a cluster; give "
            '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'
        ) from None
    size = len(hosts["chief"]) + len(hosts["worker"])
    if size:
        if task.get("index") not in own:
            raise CourseError(
                f"TF_CONFIG: task {task} is not one of the cluster's {size} workers; give a type "
                "that it has and an index from 0 (an evaluator is no worker: start it with "
                "`python -m helpers.scale evaluate`)"
            )
        return size
    size = len((runtime.worker_hosts or "").split(","))
    if size > 1 and runtime.task_index not in range(size):
        raise CourseError(
            f"config: runtime.task_index: {runtime.task_index}, but runtime.worker_hosts names "
            f"{size} workers; give each another index, 0 to {size - 1}"
        )
    return size
